"""The sweet spot: what is claimed of curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from llmjoules.sitegen.sweetspot import CLAIMED_FROM, sweet_spot

Study = list[dict[str, list[float]]]


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
@pytest.mark.parametrize("settings", [2, 4])
def test_of_equal_settings_a_winner_is_claimed_at_most_once_in_twenty_curves(
    settings: int, loads: int, repeats: int
) -> None:
    """120 curves; 5 % of them and three standard errors of a count make 13."""
    generator = np.random.default_rng(7)
    found = [sweet_spot(study(generator, [1.0] * settings, loads, repeats, 0.01, 0.01), seed) for seed in range(120)]
    assert sum(spot.claimed for spot in found) <= 13
    assert all(sum(spot.p_best) == pytest.approx(1) for spot in found)
    assert all(spot.best in spot.flat for spot in found)


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
