"""The difference of two sides: by hand, and against simulated studies of known truth."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.difference import Difference, Point, difference

Array = npt.NDArray[np.float64]


def points(*joules: float, seconds: float | None = None) -> list[Point]:
    return [Point(value, seconds) for value in joules]


def test_for_equal_numbers_of_loads_it_is_welch_worked_out_by_hand() -> None:
    # Variances 4 and 9/4, of the means 4/3 and 3/4: error √(25/12); (25/12)² / ((16/9 + 9/16) / 2) = 3.70920 degrees.
    found = difference(points(10, 12, 14), points(10.5, 12, 13.5))
    assert found.degrees == pytest.approx(3.70920, abs=1e-5)
    assert found.joules.half_width == pytest.approx(2.86443 * sqrt(25 / 12), rel=1e-5)
    assert found.p == 1.0


def test_unequal_numbers_of_loads_are_those_worked_out_by_hand() -> None:
    # A 10, 12, 14: variance 4, 4/3 of the mean. B 20, 21, 22, 23: variance 5/3, 5/12 of the mean. Difference 9.5,
    # error sqrt(1.75) = 1.322876. Upper bounds: times t(2)² = 18.5128 and t(3)² = 10.1280, 24.6838 and 4.21998. For the
    # ratio of 21.5 / 12 that of A counts 3.21007 times, 79.2369: 83.4568² / (79.2369² / 2 + 4.21998² / 3) = 2.21452
    # degrees; for the difference 28.9038² / (24.6838² / 2 + 4.21998² / 3) = 2.68989, which is more.
    found = difference(points(10, 12, 14), points(20, 21, 22, 23))
    assert found.joules.value == 9.5
    assert found.degrees == pytest.approx(2.21452, abs=1e-4)
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
    assert found.joules.half_width is not None
    if abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (abs(found.joules.value) > found.joules.half_width)
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


def joules_and_seconds(
    rng: np.random.Generator, studies: int, loads: tuple[int, int], truth: tuple[float, float], paired: bool
) -> list[Array]:
    """Two sides of studies × loads × (J, s): watts and seconds with noise of 3 and 2 %, and a drift of the machine
    that pairs share."""
    drift = rng.normal(0, 3, (studies, loads[0])) if paired else 0.0
    sides = []
    for count, (watts, seconds) in zip(loads, ((40.0, 1.0), truth), strict=True):
        p = watts * (1 + rng.normal(0, 0.03, (studies, count)))
        t = seconds * (1 + rng.normal(0, 0.02, (studies, count)))
        sides.append(np.stack([p * t + drift, t], axis=-1))
    return sides


def beyond_their_error(a: Array, b: Array, paired: bool = False) -> Iterator[Difference]:
    """Of sides of studies × loads, the differences larger than their standard error: of others p is 0.3 and more
    whatever the degrees, which need not be worked out a thousand times."""
    count_a, count_b = a.shape[1], b.shape[1]
    squares = (b - a).var(1, ddof=1) / count_a if paired else a.var(1, ddof=1) / count_a + b.var(1, ddof=1) / count_b
    large = abs(b.mean(1) - a.mean(1)) > np.sqrt(squares)
    for one, other in zip(a[large].tolist(), b[large].tolist(), strict=True):
        yield difference(points(*one), points(*other), paired=paired)


def holds(low: float | None, value: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= value <= high


@pytest.mark.parametrize(("loads", "paired"), [((5, 5), False), ((5, 12), False), ((8, 8), True)])
def test_intervals_of_the_difference_and_its_parts_cover_the_truth(loads: tuple[int, int], paired: bool) -> None:
    """In 93 to 97 % of studies, give or take two standard errors of a share seen in 1000 (1.4 points)."""
    rng, studies = np.random.default_rng(loads[1]), 1000
    watts, seconds = 50.0, 0.7  # B draws more and is faster: parts of opposite sign
    truth = {
        "joules": 50 * 0.7 - 40,
        "power": (50 - 40) * (1 + 0.7) / 2,
        "time": (50 + 40) / 2 * (0.7 - 1),
    }
    covered = dict.fromkeys([*truth, "percent"], 0)
    a, b = joules_and_seconds(rng, studies, loads, (watts, seconds), paired)
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        found = difference([Point(*x) for x in one], [Point(*x) for x in other], paired=paired)
        for name, value in truth.items():
            part = getattr(found, name)
            covered[name] += abs(part.value - value) <= part.half_width
        covered["percent"] += holds(found.percent_low, 100 * (35 / 40 - 1), found.percent_high)
    for name, count in covered.items():
        assert 0.93 - 0.014 <= count / studies <= 0.97 + 0.014, name


@pytest.mark.parametrize(("loads", "paired"), [((3, 3), False), ((5, 5), False), ((12, 5), False), ((6, 6), True)])
def test_equal_settings_are_called_different_in_at_most_six_of_a_hundred(loads: tuple[int, int], paired: bool) -> None:
    """Of 2000 studies each; two standard errors of such a share are one point."""
    a, b = joules_and_seconds(np.random.default_rng(sum(loads)), 2000, loads, (40.0, 1.0), paired)
    wrong = sum(one.verdict != "not told apart" for one in beyond_their_error(a[..., 0], b[..., 0], paired))
    assert wrong / 2000 <= 0.06


def normal(rng: np.random.Generator, studies: int, mean: float, spread: float, count: int) -> Array:
    return mean + spread * rng.standard_normal((studies, count))


@pytest.mark.parametrize(
    ("loads", "spreads"),
    [((2, 3), (10.0, 1.0)), ((2, 10), (3.0, 1.0)), ((2, 25), (1.0, 1.0)), ((25, 2), (1.0, 1.0))],
)
def test_nor_are_they_with_few_and_unequal_loads(loads: tuple[int, int], spreads: tuple[float, float]) -> None:
    """At 5 % and at 0.5 %, as `check` takes of ten figures, and three standard errors of a count of 800.

    Welch calls 8 to 12 % of them different, and 3 to 7 % at 0.5 %.
    """
    rng, studies = np.random.default_rng(sum(loads)), 800
    a, b = (normal(rng, studies, 100, 0.1 * s, n) for n, s in zip(loads, spreads, strict=True))
    ps = [one.p or 0.0 for one in beyond_their_error(a, b)]
    for level in (0.05, 0.005):
        expected = level * studies
        assert sum(p < level for p in ps) <= expected + 3 * sqrt(expected)


def test_a_ratio_far_from_one_is_covered_though_loads_are_few_and_unequal() -> None:
    """B takes ten times as much. With the degrees of the difference 16 % would be missed, with Welch's 21 %."""
    rng, studies = np.random.default_rng(8), 400
    a, b = normal(rng, studies, 10, 0.1, 2), normal(rng, studies, 100, 1.0, 25)
    found = [difference(points(*one), points(*other)) for one, other in zip(a.tolist(), b.tolist(), strict=True)]
    missed = sum(not holds(one.percent_low, 900.0, one.percent_high) for one in found)
    assert missed <= 0.05 * studies + 3 * sqrt(0.05 * studies)


@pytest.mark.parametrize(("loads", "errors", "power"), [(5, 4.0, 0.92), (10, 3.0, 0.81)])
def test_equal_numbers_of_loads_keep_the_power_of_welch(loads: int, errors: float, power: float) -> None:
    """errors: the true difference in its standard errors. The root of the two squared intervals has 0.86 and 0.76."""
    rng, studies = np.random.default_rng(loads), 1000
    apart = 0.1 * errors * sqrt(2 / loads)
    a, b = normal(rng, studies, 100, 0.1, loads), normal(rng, studies, 100 + apart, 0.1, loads)
    told = sum(one.verdict == "dearer" for one in beyond_their_error(a, b)) / studies
    assert told >= power - 2 * sqrt(power * (1 - power) / studies)
