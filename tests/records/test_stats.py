"""Statistics on records, against tables and sums worked out by hand."""

from __future__ import annotations

from math import pi, sqrt, tan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records import stats
from llmjoules.records.record import (
    Energy,
    Error,
    Failed,
    Load,
    Model,
    Phase,
    Published,
    System,
    Tokens,
    Total,
    Workload,
)
from llmjoules.records.stats import Estimate, estimate, estimate_of, t_975
from tests.builders import make_run
from tests.records.studies import TRUTH, repeats

# Student's t, two-sided 95 %, as printed in statistics tables to four digits.
TABLE = {
    1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060, 9: 2.2622, 10: 2.2281,
    12: 2.1788, 15: 2.1314, 20: 2.0860, 24: 2.0639, 25: 2.0595, 29: 2.0452, 30: 2.0423, 31: 2.0395, 40: 2.0211,
    50: 2.0086, 60: 2.0003, 80: 1.9901, 100: 1.9840, 120: 1.9799, 1000: 1.9623, 10**9: 1.9600,
}  # fmt: skip


@pytest.mark.parametrize(("degrees", "t"), TABLE.items())
def test_t_is_that_of_the_tables(degrees: int, t: float) -> None:
    assert t_975(degrees) == pytest.approx(t, abs=1e-4)


@pytest.mark.parametrize("degrees", [1, 2])
def test_t_is_that_of_the_closed_form(degrees: int) -> None:
    closed = {1: tan(pi * 0.475), 2: 0.95 / sqrt(2 * 0.975 * 0.025)}  # Cauchy; t = (2p-1) / sqrt(2p(1-p))
    assert t_975(degrees) == pytest.approx(closed[degrees], abs=1e-4)


def test_t_falls_all_the_way_to_the_normal_point() -> None:
    points = [t_975(degrees) for degrees in range(1, 500)]
    assert points == sorted(points, reverse=True)
    assert points[-1] > 1.9600


def test_several_loads_give_an_interval_over_the_means_of_loads() -> None:
    # Means of the loads 2, 4, 6: mean 4, standard deviation 2, t(2) = 4.3027: 4.3027 * 2 / sqrt(3) = 4.96833
    result = estimate({"a": [1.0, 2.0, 3.0], "b": [4.0], "c": [5.0, 7.0]})
    assert result == Estimate(mean=4.0, half_width=pytest.approx(4.96833, abs=1e-4), basis="loads", runs=6, loads=3)


@pytest.mark.parametrize(("loads", "each", "between", "rho"), [(5, 5, 3.0, 0.3), (25, 1, 3.0, 0.0), (3, 8, 1.0, 0.0)])
def test_intervals_over_loads_cover_the_truth(loads: int, each: int, between: float, rho: float) -> None:
    """In 93 to 97 % of 1000 studies, give or take two standard errors of a share seen in so many (1.4 points)."""
    rng = np.random.default_rng(loads)
    covered = sum(within(repeats(rng, loads, each, 3.0, between, rho)) for _ in range(1000)) / 1000
    assert 0.93 - 0.014 <= covered <= 0.97 + 0.014


def test_intervals_over_runs_of_one_load_do_not_where_loads_differ() -> None:
    """Why repeats get loads of their own: 25 runs of one load, with loads as far apart as runs."""
    rng = np.random.default_rng(1)
    assert sum(within(repeats(rng, 1, 25, 1.0, 1.0)) for _ in range(1000)) / 1000 < 0.4


def within(values: np.ndarray) -> bool:
    found = estimate({str(load): row.tolist() for load, row in enumerate(values)})
    return found.half_width is not None and abs(found.mean - TRUTH) <= found.half_width


def test_a_load_with_many_runs_weighs_no_more_than_one_with_few() -> None:
    assert estimate({"a": [10.0] * 9, "b": [20.0]}).mean == 15.0


def test_repeats_inside_one_process_say_that_they_are_only_that() -> None:
    # 3, 5, 7, 9: mean 6, variance 20/3, t(3) = 3.1824: 3.1824 * 2.581989 / 2 = 4.10847
    result = estimate({"a": [3.0, 5.0, 7.0, 9.0]})
    assert result == Estimate(mean=6.0, half_width=pytest.approx(4.10847, abs=1e-4), basis="runs", runs=4, loads=1)


def test_one_run_has_no_interval() -> None:
    assert estimate({"a": [3.0]}) == Estimate(mean=3.0, half_width=None, basis="one run", runs=1, loads=1)


def test_loads_without_a_value_do_not_count() -> None:
    assert estimate({"a": [], "b": [3.0]}) == Estimate(mean=3.0, half_width=None, basis="one run", runs=1, loads=1)


@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.floats(1, 1e6), min_size=1, max_size=4), min_size=2, max_size=6),
    st.floats(0.1, 100),
)
def test_an_interval_scales_with_its_unit(values: dict[str, list[float]], factor: float) -> None:
    one, other = estimate(values), estimate({load: [v * factor for v in vs] for load, vs in values.items()})
    assert other.mean == pytest.approx(one.mean * factor)
    assert other.half_width == pytest.approx(one.half_width * factor, abs=1e-6 * other.mean)


def test_figures_of_a_run_are_those_worked_out_by_hand() -> None:
    run = make_run(inference_s=2.0, inference_w=40.0, new_tokens=20)
    assert stats.joules(run, "cpu") == 80.0  # 40 W for 2 s
    assert stats.inference_s(run) == pytest.approx(2.0)
    assert stats.tokens_per_s(run) == pytest.approx(10.0)  # 20 tokens in 2 s
    assert stats.joules_per_token(run, "cpu") == 4.0  # 80 J over 20 tokens
    assert stats.implied_power_w(run, "cpu") == pytest.approx(40.0)  # 4 J/token times 10 tokens/s


def test_a_batch_divides_by_the_tokens_of_all_its_rows() -> None:
    run = make_run(inference_s=2.0, inference_w=40.0, tokens=Tokens(prompt=28, generated=80, useful=60))
    assert stats.joules_per_token(run, "cpu") == 1.0
    assert stats.tokens_per_s(run) == pytest.approx(40.0)


def test_what_was_not_measured_is_none_and_never_zero() -> None:
    run = make_run()
    for figure in (stats.joules, stats.joules_per_token, stats.implied_power_w):
        assert figure(run, "gpu") is None
    assert stats.joules_per_token(make_run(tokens=Tokens(prompt=7, generated=0, useful=0)), "cpu") is None
    no_inference = make_run(phases=run.phases[:-1])
    assert stats.inference_s(no_inference) is None
    assert stats.tokens_per_s(no_inference) is None
    assert stats.implied_power_w(no_inference, "cpu") is None


def test_an_estimate_of_runs_groups_them_by_process_and_leaves_out_runs_without_the_figure() -> None:
    runs = [
        make_run(inference_w=watts, inference_s=1.0, load=load)
        for watts, load in ((10.0, "a"), (20.0, "a"), (35.0, "b"))
    ] + [make_run(totals={}, load="c")]
    result = estimate_of(runs, lambda run: stats.joules(run, "cpu"))
    # 15 and 35 J: mean 25, standard deviation sqrt(200), t(1) = 12.7062: 12.7062 * sqrt(200) / sqrt(2) = 127.062
    assert result == Estimate(mean=25.0, half_width=pytest.approx(127.062, abs=1e-3), basis="loads", runs=3, loads=2)
    assert estimate_of(runs, lambda run: stats.joules(run, "gpu")) is None


def test_which_run_of_a_process_loaded_it_makes_no_difference_to_the_estimate() -> None:
    runs = [make_run(load="a", inference_s=1.0), make_run(load="a", inference_s=3.0, first=False)]
    swapped = [make_run(load="a", inference_s=1.0, first=False), make_run(inference_s=3.0)]
    swapped[1].load = Load(id="a", first=True)
    assert estimate_of(runs, stats.inference_s) == estimate_of(swapped, stats.inference_s)


def published(**more: object) -> Published:
    fields = {
        "id": "p", "schema": "llmjoules/1", "model": Model(name="M"), "system": System(name="S"), "source": "A paper",
        "totals": {"gpu": Total(joules=100.0, source="measured")},
    }  # fmt: skip
    return Published(**{**fields, **more})


def test_a_published_figure_has_what_its_source_states_and_none_of_the_rest() -> None:
    bare = published()
    assert stats.joules(bare, "gpu") == 100.0
    for figure in (stats.joules_per_token, stats.implied_power_w):
        assert figure(bare, "gpu") is None
    assert stats.tokens_per_s(bare) is stats.generated_tokens(bare) is stats.inference_s(bare) is None
    stated = published(
        workload=Workload(new_tokens=10, batch_size=5), phases=(Phase(name="inference", start_s=1.0, end_s=5.0),)
    )
    assert stats.joules_per_token(stated, "gpu") == 2.0  # 100 J over 5 rows of 10 tokens
    assert stats.tokens_per_s(stated) == 12.5  # 50 tokens in 4 s
    assert stats.implied_power_w(stated, "gpu") == 25.0
    counted = published(tokens=Tokens(prompt=1, generated=40, useful=40), workload=Workload(new_tokens=10))
    assert stats.joules_per_token(counted, "gpu") == 2.5


def test_a_failed_run_has_the_figures_that_it_got_to() -> None:
    run = make_run()
    shared = {name: getattr(run, name) for name in ("id", "schema", "model", "system", "cell", "class_", "load")}
    failed = Failed(
        **shared, repeat=0, clock=run.clock, phases=run.phases[:2], error=Error(phase="model", message="no")
    )
    assert stats.joules(failed, "cpu") is stats.joules_per_token(failed, "cpu") is None
    assert stats.tokens_per_s(failed) is stats.generated_tokens(failed) is stats.inference_s(failed) is None


def test_a_record_without_a_load_stands_for_itself_in_an_estimate() -> None:
    one = estimate_of([published()], lambda record: stats.joules(record, "gpu"))
    assert one == Estimate(mean=100.0, half_width=None, basis="one run", runs=1, loads=1)


def test_a_part_of_the_channels_is_not_the_whole() -> None:
    energies = (
        Energy(channel="gpu:0", joules=1.0),
        Energy(channel="gpu:1", joules=None),
        Energy(channel="x", joules=4.0),
    )
    assert stats.joules_of(energies, ("gpu:0", "x")) == 5.0
    assert stats.joules_of(energies, ("gpu:0", "gpu:1")) is None
    assert stats.joules_of(energies, ("gpu:0", "gpu:2")) is None
    assert stats.joules_of(energies, ()) is None
