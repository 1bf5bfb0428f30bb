"""Looking after every block: bounds against published ones, error rates against simulated pairs of equal cells."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from llmjoules.records.sequential import Look, bounds, judge, look, look_levels, paired, spent

STUDIES = 1000


def test_bounds_are_the_published_ones() -> None:
    """Two-sided 5 %, O'Brien-Fleming-like spending, equal looks: DeMets and Lan 1994, and the R package ldbounds."""
    assert bounds([1.0]) == [pytest.approx(1.960, abs=1e-3)]
    assert bounds([0.5, 1.0]) == pytest.approx([2.963, 1.969], abs=1e-3)
    assert bounds([0.25, 0.5, 0.75, 1.0]) == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=1e-3)
    assert bounds([0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=1e-3)


def test_all_of_alpha_is_spent_at_the_end_and_none_at_the_beginning() -> None:
    assert spent(1.0) == pytest.approx(0.05)
    assert spent(0.0) == 0.0
    assert spent(0.2) < 1e-5
    assert sum(look_levels(8)) > 0.05  # looks overlap: their own levels add up to more than what they spend


def test_a_paired_interval_is_that_worked_out_by_hand() -> None:
    # 1, 2, 3, 6: mean 3, variance 14/3, t(3) 3.1824: 3.1824 * 2.160247 / 2 = 3.43740
    found = paired([1.0, 2.0, 3.0, 6.0])
    assert found.difference == 3.0
    assert found.half_width == pytest.approx(3.43740, abs=1e-4)
    assert paired([1.0]).half_width is None


def test_a_look_says_why_it_stops() -> None:
    assert look([1.0, 1.0, 1.0]).reason.startswith("least: 3 of at least 4")
    assert look([10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 10.0], most=8).reason.startswith("different")
    assert look([1.0, -1.0] * 4, most=10, resolution=10.0).reason.startswith("resolved")
    assert look([1.0, -1.0] * 4, most=8).reason.startswith("most")
    assert not look([1.0, -1.0] * 4, most=10).stop
    with pytest.raises(ValueError, match="9 blocks"):
        look([1.0] * 9, most=8)


def studied(differences: np.ndarray, resolution: float | None = None) -> Look:
    for blocks in range(4, len(differences) + 1):
        found = look(differences[:blocks].tolist(), most=len(differences), resolution=resolution)
        if found.stop:
            break
    return found


@pytest.mark.parametrize(("most", "resolution"), [(8, None), (20, None), (20, 1.0)])
def test_equal_cells_are_called_different_in_five_of_a_hundred_studies(most: int, resolution: float | None) -> None:
    rng = np.random.default_rng(most)
    wrong = [studied(rng.normal(0, 1.5, most), resolution).different for _ in range(STUDIES)]
    assert sum(wrong) / STUDIES <= 0.06 + sqrt(0.06 * 0.94 / STUDIES)


@pytest.mark.parametrize(("spread", "most"), [(3.0, 20), (8.0, 12)])
def test_two_equal_cells_in_turns_are_called_different_in_at_most_six_of_a_hundred(spread: float, most: int) -> None:
    """As a study stops that looks after each block, also where it stops since both are equal within 2 %."""
    rng = np.random.default_rng(most)
    wrong = 0
    for _ in range(2 * STUDIES):
        drift = rng.normal(0, 5, most)  # of the machine, which both see
        a, b = (dict(enumerate(100 + drift + rng.normal(0, spread, most))) for _ in "ab")
        wrong += judge(a, b, precision=0.02, most=most).different
    assert wrong / (2 * STUDIES) <= 0.06


def test_blocks_count_where_both_sides_have_a_figure_and_stop_at_the_first_look_that_says_so() -> None:
    a = dict.fromkeys(range(8), 100.0) | {2: 100.5, 5: 99.5}
    b = {n: value + 10 + 0.5 * (n % 2) for n, value in a.items() if n != 3}
    found = judge(a, b, precision=0.02, most=20)
    assert found.reason.startswith("different: ")
    assert (found.blocks, found.mean_a) == (5, pytest.approx(100.0))  # 0, 1, 2, 4, 5
    assert found.difference == pytest.approx((10 + 10.5 + 10 + 10 + 10.5) / 5)
    assert judge({}, {}, precision=0.02).reason.startswith("least: 0 of")


def test_the_interval_at_the_stop_covers_the_truth_and_a_clear_difference_stops_early() -> None:
    rng = np.random.default_rng(7)
    looks = [studied(rng.normal(2.0, 1.5, 20)) for _ in range(STUDIES)]
    covered = [abs(found.difference - 2.0) <= (found.half_width or 0.0) for found in looks]
    assert sum(covered) / STUDIES >= 0.95 - 2 * sqrt(0.05 * 0.95 / STUDIES)
    assert np.median([found.blocks for found in looks]) < 15


def test_stopping_at_the_first_star_would_call_one_in_five_different() -> None:
    """What the bounds are for: the same studies, each look at the plain 5 %."""
    rng = np.random.default_rng(20)
    stars = 0
    for _ in range(STUDIES):
        values = rng.normal(0, 1.5, 20)
        stars += any((paired(values[:n].tolist()).p or 1) < 0.05 for n in range(4, 21))
    assert stars / STUDIES > 0.15
