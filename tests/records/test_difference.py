"""The difference of two sides: by hand, and against simulated studies of known truth."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.difference import Difference, Point, difference

STUDIES = 1000


def points(*joules: float, seconds: float | None = None) -> list[Point]:
    return [Point(value, seconds) for value in joules]


def test_welch_is_that_worked_out_by_hand() -> None:
    # A 10, 12, 14: variance 4, 4/3 of the mean. B 20, 21, 22, 23: variance 5/3, 5/12 of the mean. Difference 9.5,
    # error sqrt(1.75) = 1.322876; degrees 1.75² / ((4/3)²/2 + (5/12)²/3) = 3.234.
    found = difference(points(10, 12, 14), points(20, 21, 22, 23))
    assert found.joules.value == 9.5
    assert found.degrees == pytest.approx(3.234, abs=1e-3)
    assert found.joules.half_width is not None
    # The point of t: 95 % of the density between the bounds, summed on a fine grid of angles (x = tan u).
    x = np.tan((np.arange(200_000) + 0.5) / 200_000 * np.pi - np.pi / 2)
    density = (1 + x**2 / found.degrees) ** (-(found.degrees + 1) / 2) * (1 + x**2)
    inside = density[abs(x) <= found.joules.half_width / sqrt(1.75)].sum() / density.sum()
    assert inside == pytest.approx(0.95, abs=2e-5)
    assert found.verdict == "dearer"
    assert found.percent == pytest.approx(100 * 9.5 / 12)


def test_pairs_are_compared_by_their_differences() -> None:
    # Differences 1, 2, 3, 6: mean 3, half-width 3.43740 (t(3) = 3.1824), though the sides scatter by far more.
    found = difference(points(10, 50, 90, 130), points(11, 52, 93, 136), paired=True)
    assert found.joules.value == 3.0
    assert found.joules.half_width == pytest.approx(3.43740, abs=1e-4)
    assert found.verdict == "not told apart"


def test_one_run_on_a_side_has_no_interval_and_no_verdict() -> None:
    found = difference(points(10.0), points(20.0, 21.0))
    assert found.joules.half_width is found.p is found.percent_low is None
    assert found.verdict == "unknown"


sides = st.lists(st.tuples(st.floats(1, 100), st.floats(0.1, 10)), min_size=2, max_size=6)


@given(sides, sides)
def test_the_parts_add_up_and_are_the_means_of_power_and_time(
    a: list[tuple[float, float]], b: list[tuple[float, float]]
) -> None:
    found = difference([Point(*x) for x in a], [Point(*x) for x in b])
    assert found.power is not None
    assert found.time is not None
    (ja, ta), (jb, tb) = (np.mean(side, axis=0) for side in (a, b))
    assert found.power.value == pytest.approx((jb / tb - ja / ta) * (ta + tb) / 2, rel=1e-9, abs=1e-9)
    assert found.time.value == pytest.approx((jb / tb + ja / ta) / 2 * (tb - ta), rel=1e-9, abs=1e-9)
    assert found.power.value + found.time.value == pytest.approx(found.joules.value, rel=1e-9, abs=1e-9)


@given(sides, sides)
def test_the_percentage_leaves_out_zero_exactly_where_the_difference_does(
    a: list[tuple[float, float]], b: list[tuple[float, float]]
) -> None:
    found = difference([Point(*x) for x in a], [Point(*x) for x in b])
    assert found.p is not None
    if found.percent_low is not None and found.percent_high is not None and abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (not found.percent_low <= 0 <= found.percent_high)


@given(sides, sides)
def test_swapping_the_sides_swaps_the_verdict(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> None:
    one = difference([Point(*x) for x in a], [Point(*x) for x in b])
    other = difference([Point(*x) for x in b], [Point(*x) for x in a])
    assert other.joules.value == pytest.approx(-one.joules.value)
    assert {one.verdict, other.verdict} in ({"cheaper", "dearer"}, {"not told apart"})


def test_no_time_no_parts() -> None:
    found = difference(points(10, 12), points(20, 21))
    assert found.power is found.time is None


def simulated(rng: np.random.Generator, loads: tuple[int, int], truth: tuple[float, float], paired: bool) -> Difference:
    """Sides of watts and seconds with noise of 3 and 2 %, and a drift of the machine that pairs share."""
    drift = rng.normal(0, 3, loads[0]) if paired else np.zeros(max(loads))
    sides = []
    for count, (watts, seconds) in zip(loads, ((40.0, 1.0), truth), strict=True):
        p = watts * (1 + rng.normal(0, 0.03, count))
        t = seconds * (1 + rng.normal(0, 0.02, count))
        sides.append([Point(p[k] * t[k] + drift[k], t[k]) for k in range(count)])
    return difference(*sides, paired=paired)


def holds(low: float | None, value: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= value <= high


@pytest.mark.parametrize(("loads", "paired"), [((5, 5), False), ((5, 12), False), ((8, 8), True)])
def test_intervals_of_the_difference_and_its_parts_cover_the_truth(loads: tuple[int, int], paired: bool) -> None:
    """In 93 to 97 % of studies, give or take two standard errors of a share seen in a thousand (1.4 points)."""
    rng = np.random.default_rng(loads[1])
    watts, seconds = 50.0, 0.7  # B draws more and is faster: parts of opposite sign
    truth = {
        "joules": 50 * 0.7 - 40,
        "power": (50 - 40) * (1 + 0.7) / 2,
        "time": (50 + 40) / 2 * (0.7 - 1),
    }
    covered = dict.fromkeys([*truth, "percent"], 0)
    for _ in range(STUDIES):
        found = simulated(rng, loads, (watts, seconds), paired)
        for name, value in truth.items():
            part = getattr(found, name)
            covered[name] += abs(part.value - value) <= part.half_width
        covered["percent"] += holds(found.percent_low, 100 * (35 / 40 - 1), found.percent_high)
    for name, count in covered.items():
        assert 0.93 - 0.014 <= count / STUDIES <= 0.97 + 0.014, name


@pytest.mark.parametrize(("loads", "paired"), [((3, 3), False), ((5, 5), False), ((12, 5), False), ((6, 6), True)])
def test_equal_settings_are_called_different_in_at_most_six_of_a_hundred(loads: tuple[int, int], paired: bool) -> None:
    """Of 2000 studies each; two standard errors of such a share are one point."""
    rng = np.random.default_rng(sum(loads))
    wrong = sum(simulated(rng, loads, (40.0, 1.0), paired).verdict != "not told apart" for _ in range(2 * STUDIES))
    assert wrong / (2 * STUDIES) <= 0.06
