"""The sweet spot: what is claimed of curves whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmjoules.sitegen.sweetspot import CLAIMED_FROM, SweetSpot, sweet_spot

Study = list[dict[str, list[float]]]


def may_be_claimed(curve: Study) -> bool:
    """Is the lowest mean 1.5 standard errors below each other? If not, no test that keeps 5 % tells it from them, so
    the thousands of draws can be left out."""
    loads = [np.array([np.mean(runs) for runs in setting.values()]) for setting in curve]
    means, squares = [one.mean() for one in loads], [one.var(ddof=1) / len(one) for one in loads]
    best = int(np.argmin(means))
    return all(
        mean - means[best] > 1.5 * sqrt(square + squares[best])
        for index, (mean, square) in enumerate(zip(means, squares, strict=True))
        if index != best
    )


def found_in(curves: Iterable[Study]) -> list[SweetSpot]:
    """What is said of each curve that may be claimed, and of every tenth of all."""
    return [sweet_spot(curve, seed) for seed, curve in enumerate(curves) if may_be_claimed(curve) or seed % 10 == 0]


def study(
    generator: np.random.Generator, truths: list[float], loads: int, repeats: int, load_sd: float, run_sd: float
) -> Study:
    """J/token of settings whose truth is known, with a spread between loads and one within them."""
    return [
        {
            str(load): list(
                truth * (1 + load_sd * generator.standard_normal() + run_sd * generator.standard_normal(repeats))
            )
            for load in range(loads)
        }
        for truth in truths
    ]


@pytest.mark.parametrize(("loads", "repeats"), [(2, 3), (3, 2), (5, 5), (25, 1)])
@pytest.mark.parametrize("rungs", [2, 4])
def test_of_equal_settings_a_winner_is_claimed_at_most_once_in_twenty_curves(
    rungs: int, loads: int, repeats: int
) -> None:
    """120 curves; 5 % of them and three standard errors of a count make 13."""
    generator = np.random.default_rng(7)
    found = found_in(study(generator, [1.0] * rungs, loads, repeats, 0.01, 0.01) for _ in range(120))
    assert sum(spot.claimed for spot in found) <= 13
    assert all(sum(spot.p_best) == pytest.approx(1) for spot in found)
    assert all(spot.best in spot.flat for spot in found)


@pytest.mark.parametrize(
    ("loads", "spreads", "curves"),
    [
        ((2, 25), (3.0, 0.3), 1000),  # Welch's interval alone names one in 7 % of curves, the draws alone in 9 %
        ((2, 10), (3.0, 1.0), 500),  # Welch 11 %
        ((2, 25), (1.0, 1.0), 200),  # Welch 12 %
        ((5, 25), (1.0, 10.0), 200),
        ((2, 25, 25), (3.0, 1.0, 1.0), 100),
        ((3, 3, 3, 3, 3, 3), (1.0, 1.0, 1.0, 1.0, 1.0, 10.0), 100),
    ],
)
def test_nor_is_it_with_unequal_numbers_of_loads_and_unequal_spreads(
    loads: tuple[int, ...], spreads: tuple[float, ...], curves: int
) -> None:
    """5 % of the curves and three standard errors of a count."""
    generator = np.random.default_rng(17)
    found = found_in(
        [
            {str(load): [100 + spread * generator.standard_normal()] for load in range(count)}
            for count, spread in zip(loads, spreads, strict=True)
        ]
        for _ in range(curves)
    )
    assert sum(spot.claimed for spot in found) <= 0.05 * curves + 3 * sqrt(0.05 * 0.95 * curves)


def test_loads_of_unequal_numbers_of_runs_name_no_winner_either() -> None:
    generator = np.random.default_rng(18)
    found = found_in(
        [
            {
                str(load): list(100 + spread * (generator.standard_normal() + generator.standard_normal(runs)))
                for load, runs in enumerate(generator.integers(1, 6, count))
            }
            for count, spread in ((3, 3.0), (10, 1.0))
        ]
        for _ in range(120)
    )
    assert sum(spot.claimed for spot in found) <= 0.05 * 120 + 3 * sqrt(0.05 * 0.95 * 120)


@pytest.mark.parametrize(("loads", "errors"), [(3, 8.0), (4, 6.0), (5, 5.0)])
def test_a_setting_that_is_lower_by_several_standard_errors_is_named(loads: int, errors: float) -> None:
    """errors: true distance in standard errors of the difference; by the interval alone 97 % and more are named."""
    generator = np.random.default_rng(19)
    truths = [100.0, 100.0 + errors * sqrt(2 / loads)]
    found = [sweet_spot(study(generator, truths, loads, 1, 0.01, 0.0), seed) for seed in range(100)]
    assert sum(spot.claimed and spot.best == 0 for spot in found) >= 90


@pytest.mark.parametrize(("apart", "claimed"), [(6.80, False), (6.84, True)])
def test_two_settings_are_apart_beyond_the_root_of_the_sum_of_their_squared_half_widths(
    apart: float, claimed: bool
) -> None:
    """Loads at 1 and 2: ± 12.7062 / 2 = 6.3531. Loads one apart: ± 4.30265 / √3 = 2.4841. Together ± 6.8215. Draws lie
    within 3.24 and 2.20 of the means, so that all of them agree on the lower one."""
    other = 1.5 + apart
    spot = sweet_spot([{"a": [1.0], "b": [2.0]}, {"a": [other - 1], "b": [other], "c": [other + 1]}])
    assert spot.p_best == (1.0, 0.0)
    assert spot.claimed is claimed
    assert spot.flat == ((0,) if claimed else (0, 1))


def test_many_that_are_each_apart_may_together_leave_too_much_doubt() -> None:
    """Five settings of 25 loads, each 2.2 standard errors of the difference above the lowest, so beyond Banerjee's
    2.064: that none of them is lower is less probable than 97.5 %, so the likeliest of them lie on flat ground too."""
    noise = np.random.default_rng(20).standard_normal(25)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    rungs = [100 + noise, *([100 + 2.2 * sqrt(2 / 25) + noise] * 5)]
    spot = sweet_spot([{str(load): [value] for load, value in enumerate(rung)} for rung in rungs])
    assert spot.best == 0
    assert spot.p_best is not None
    assert spot.p_best[0] < CLAIMED_FROM <= sum(spot.p_best[one] for one in spot.flat)
    assert 1 < len(spot.flat) < 6
    assert not spot.claimed
    assert sweet_spot([{str(load): [value] for load, value in enumerate(rung)} for rung in rungs[:2]]).claimed


@given(
    st.lists(
        st.lists(st.lists(st.floats(1, 2), min_size=1, max_size=3), min_size=1, max_size=4), min_size=2, max_size=4
    )
)
@settings(max_examples=60, deadline=None)
def test_claimed_flat_and_the_probability_agree(values: list[list[list[float]]]) -> None:
    spot = sweet_spot([{str(load): runs for load, runs in enumerate(loads)} for loads in values])
    assert spot.best in spot.flat
    assert spot.claimed == (spot.flat == (spot.best,) and all(len(loads) > 1 for loads in values))
    if spot.p_best is not None:
        assert sum(spot.p_best[one] for one in spot.flat) >= CLAIMED_FROM
    assert not spot.claimed or (spot.p_best is not None and spot.p_best[spot.best] >= CLAIMED_FROM)


def test_the_right_one_is_claimed_where_it_is_clearly_lower() -> None:
    generator = np.random.default_rng(8)
    found = [sweet_spot(study(generator, [1.0, 1.05, 1.2], 5, 5, 0.01, 0.01), seed) for seed in range(100)]
    assert sum(spot.claimed and spot.best == 0 for spot in found) >= 90
    assert all(spot.best == 0 for spot in found if spot.claimed)


def test_settings_that_cannot_be_told_from_the_best_are_flat_and_others_are_not() -> None:
    generator = np.random.default_rng(9)
    spot = sweet_spot(study(generator, [1.0, 1.001, 1.5], 5, 5, 0.01, 0.01))
    assert spot.flat == (0, 1)
    assert not spot.claimed
    assert spot.p_best[2] == 0
    assert max(spot.p_best) < CLAIMED_FROM


def test_the_same_values_and_seed_give_the_same_answer() -> None:
    values = study(np.random.default_rng(10), [1.0, 1.01], 3, 3, 0.01, 0.01)
    assert sweet_spot(values) == sweet_spot(values)


def test_of_two_settings_with_two_loads_of_one_run_each_the_bootstrap_can_be_counted_out() -> None:
    """Loads at 1 and 2 against loads at 3 and 4, stretched by 12.7062 / 1.96 about 1.5 and 3.5: means are -1.74, 1.5,
    4.74 with 1/4, 1/2, 1/4, and 0.26, 3.5, 6.74 with the same. The second is lower where the first is 1.5 and it is
    0.26 (1/8), or where the first is 4.74 and it is 0.26 or 3.5 (3/16): 5/16."""
    spot = sweet_spot([{"a": [1.0], "b": [2.0]}, {"a": [3.0], "b": [4.0]}])
    assert spot.p_best == pytest.approx((11 / 16, 5 / 16), abs=0.03)
    assert not spot.claimed


def test_one_load_names_no_winner_and_one_run_no_probability() -> None:
    one_load = sweet_spot([{"a": [1.0, 1.01, 0.99]}, {"a": [2.0, 2.01, 1.99]}])
    assert one_load.flat == (0,)
    assert not one_load.claimed
    one_run = sweet_spot([{"a": [1.0]}, {"a": [2.0, 2.01, 1.99]}])
    assert one_run.p_best is None
    assert one_run.flat == (0, 1)
    assert not one_run.claimed
