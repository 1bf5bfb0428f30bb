"""`--repeats auto`: when it stops, and that stopping does not spoil the interval. Truths are simulated or by hand."""

from __future__ import annotations

from math import sqrt

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.difference import difference, widened
from llmjoules.records.ending import WIDENED
from llmjoules.records.stopping import judge, lag_one, runs_per_load
from tests.records.studies import covers, ended, judged, repeats

STUDIES = 1000
TOLERANCE = 2 * sqrt(0.92 * 0.08 / STUDIES)  # two standard errors of a share seen in so many studies: 1.7 points


def one_each(*values: float) -> dict[str, list[float]]:
    return {str(load): [value] for load, value in enumerate(values)}


def test_five_runs_are_the_least_and_thirty_the_most() -> None:
    assert judge(one_each(*[100.0] * 4), precision=0.02).reason.startswith("least: 4 of at least 5")
    wild = judge(one_each(*[50.0, 150.0] * 15), precision=0.02)
    assert wild.stop
    assert wild.reason.startswith("most: ")
    assert not judge(one_each(*[50.0, 150.0] * 14), precision=0.02).stop


def test_it_stops_when_the_interval_is_narrow_for_the_second_time() -> None:
    # 99, 101, 99, 101, 100: sd 1, t(4) 2.7764, half-width 2.7764 / sqrt(5) = 1.2417 %. One more 100: sd 0.8944,
    # t(5) 2.5706, 0.9386 %.
    first = judge(one_each(99, 101, 99, 101, 100), precision=0.0125)
    assert not first.stop
    assert first.half_width == pytest.approx(0.012417, abs=1e-6)
    second = judge(one_each(99, 101, 99, 101, 100, 100), precision=0.0125)
    assert second.stop
    assert second.half_width == pytest.approx(0.009386, abs=1e-6)
    assert second.reason == "precise: ± 0.94 % over 6 loads, wanted ± 1.2 %"
    assert second.estimate is not None
    assert second.estimate.basis == "loads"


def test_loads_that_happen_to_agree_are_not_believed_beyond_the_scatter_inside_them() -> None:
    """The mean of each load is 100 exactly; inside, runs are 10 % apart."""
    alike = {str(load): [90.0, 110.0] for load in range(5)}
    assert judge(alike, precision=0.02).reason.startswith("wide")
    close = {str(load): [99.9, 100.1] for load in range(5)}
    assert judge(close, precision=0.02).stop


def test_runs_of_one_process_count_for_fewer() -> None:
    # Variance 20/19, lag one −0.95 + 0.05: below 0.3, so 0.3: inflation 13/7, variance 20/(20 − 13/7) instead of 20/19,
    # t(19) 2.0930: 2.0930 * sqrt(20 / (20 - 13/7) * 13/7 / 20) = 0.66962
    found = judge({"a": [99.0, 101.0] * 10}, precision=0.001, loads=1)
    assert found.half_width == pytest.approx(0.0066962, abs=1e-6)
    assert found.estimate is not None
    assert found.estimate.basis == "runs"
    assert "of one process" in found.reason


def test_one_load_is_enough_only_where_there_can_be_no_other() -> None:
    alike = {"a": [99.9, 100.1] * 6}
    assert judge(alike, precision=0.02).reason.startswith("least: one load")
    assert judge(alike, precision=0.02, loads=1).reason.startswith("precise")
    assert judge({**alike, "b": [99.9, 100.1] * 6}, precision=0.02).reason.startswith("wide")  # a first look at loads


def test_repeats_that_drift_count_for_almost_none() -> None:
    # 100 … 105: sd 1.8708, t(5) 2.5706; lag one 0.5, and 1/6 for its bias: inflation 5, and 5/1 for the variance
    # that the sample cannot show: 5 times the plain half-width of 2.5706 * 1.8708 / sqrt(6) = 1.9633.
    ramp = judge({"a": [100.0 + k for k in range(6)]}, precision=0.02)
    assert ramp.half_width == pytest.approx(5 * 1.9633 / 102.5, rel=1e-4)


def test_a_cell_without_figures_comes_to_an_end() -> None:
    assert not judge({}, precision=0.02, without_figure=29).stop
    assert judge({}, precision=0.02, without_figure=30).stop
    assert judge(one_each(1.0, 2.0), precision=0.02, least=2, without_figure=28).stop
    assert judge({"a": []}, precision=0.02).estimate is None


def test_a_mean_of_zero_has_no_relative_width_and_goes_on_to_the_most() -> None:
    zero = judge(one_each(*[0.0] * 6), precision=0.02)
    assert zero.half_width is None
    assert not zero.stop


figures = st.lists(st.lists(st.floats(50, 150), min_size=1, max_size=4), min_size=1, max_size=12)


@given(figures, st.sampled_from([0.125, 8.0, 1024.0]), st.floats(0.001, 0.5))
def test_the_unit_of_the_figures_changes_nothing(values: list[list[float]], factor: float, precision: float) -> None:
    one = judge({str(k): v for k, v in enumerate(values)}, precision=precision)
    other = judge({str(k): [factor * x for x in v] for k, v in enumerate(values)}, precision=precision)
    assert one.reason == other.reason
    runs = sum(map(len, values))
    assert not (one.stop and runs < 5)
    assert one.stop or runs < 30


def test_a_judgement_is_json() -> None:
    found = judge(one_each(99, 101, 99, 101, 100, 100), precision=0.0125)
    assert msgspec.json.decode(msgspec.json.encode(found))["estimate"]["loads"] == 6


def test_each_run_has_a_load_of_its_own_unless_loads_are_limited() -> None:
    assert runs_per_load(None) == 1
    assert [runs_per_load(loads) for loads in (1, 4, 5, 15)] == [30, 8, 6, 2]


def test_autocorrelation_is_that_of_the_definition() -> None:
    values = np.random.default_rng(5).normal(0, 1, 50)
    off = values - values.mean()
    assert lag_one(list(values)) == pytest.approx(float((off[1:] * off[:-1]).sum() / (off * off).sum()))
    assert lag_one([2.0, 2.0]) == 0.0


@pytest.mark.parametrize(
    ("loads", "between", "rho", "precision"),
    [
        (30, 0.0, 0.0, 0.02),
        (30, 3.0, 0.0, 0.025),
        (15, 0.0, 0.3, 0.025),
        (15, 3.0, 0.3, 0.03),
        (5, 3.0, 0.3, 0.05),
        (1, 0.0, 0.3, 0.03),
    ],
)
def test_intervals_of_studies_that_stopped_cover_the_truth(
    loads: int, between: float, rho: float, precision: float
) -> None:
    """Of 95 % at most three points are lost to stopping, whatever the spread between loads and the autocorrelation."""
    rng = np.random.default_rng(loads)
    stops = [judged(repeats(rng, loads, 30 // loads, 3.0, between, rho), precision) for _ in range(STUDIES)]
    covered = sum(covers(judgement) for judgement, _ in stops) / STUDIES
    assert covered >= 0.92 - TOLERANCE
    if not between and not rho:
        assert np.median([runs for _, runs in stops]) <= 14


def test_equal_cells_that_both_stopped_are_called_different_in_at_most_six_of_a_hundred() -> None:
    """With the scatter widened as `compare` does; without that, in more. The bench has other studies."""
    rng = np.random.default_rng(1)
    wrong = dict.fromkeys((1.0, WIDENED), 0)
    for _ in range(STUDIES):
        sides = [ended(rng, 1, 3.0, 0.0) for _ in "ab"]
        for factor in wrong:
            a, b = (widened(points, factor if precise else 1.0) for points, precise in sides)
            wrong[factor] += difference(a, b).verdict != "not told apart"
    assert wrong[WIDENED] / STUDIES <= 0.06
    assert wrong[1.0] / STUDIES > 0.065
