"""Cold start and break-even: by hand, and by simulation of the interval."""

from __future__ import annotations

from math import inf
from random import Random

import msgspec
import pytest

from llmjoules.records.coldstart import break_even, cold_start, ratio_interval
from llmjoules.records.record import Call, Energy, Run, WarmUp
from tests.builders import energy, make_run, phase

LOADING_J = 30 * 2 + 20 * 0.1 + 25 * 0.4 + 15 * 0.05  # as tests.builders has it


def test_the_steps_until_the_first_token_come_in_order() -> None:
    steps = cold_start(make_run(), "cpu")
    assert [step.name for step in steps] == ["import", "tokenizer", "model", "pipeline", "first token"]
    assert sum(step.joules for step in steps[:-1]) == pytest.approx(LOADING_J)
    assert steps[-1].joules == pytest.approx(40 * 0.2)  # the inference's prefill: there was no warm-up
    assert cold_start(make_run(first=False), "cpu") == ()


def test_loading_is_small_after_nineteen_times_its_part_of_a_request() -> None:
    runs = [make_run(), *(make_run(first=False, repeat=n) for n in (1, 2))]
    found = break_even(runs, "cpu")
    assert found.requests == pytest.approx(19 * LOADING_J / 80)
    assert found.low < found.requests < found.high
    assert found.basis == "one load"
    assert found.loading_j / (found.loading_j + found.requests * found.request_j) == pytest.approx(0.05)


def test_over_several_loads_the_interval_holds_what_differs_between_them() -> None:
    runs = [make_run(load=f"load-{n}", inference_w=power) for n, power in enumerate((38.0, 40.0, 42.0))]
    found = break_even(runs, "cpu")
    assert found.basis == "loads"
    # Loading is the same in each, so the interval is the request's alone: 80 ± 9.94 J over three loads.
    assert found.low == pytest.approx(19 * LOADING_J / (80 + 9.937), rel=1e-3)
    assert found.high == pytest.approx(19 * LOADING_J / (80 - 9.937), rel=1e-3)


def with_first_call(run: Run, joules: tuple[float, ...]) -> Run:
    calls = tuple(
        Call(start_s=float(n), end_s=n + 1.0, energy=(Energy(channel="cpu:0", joules=j, uncertainty_j=0.1),))
        for n, j in enumerate(joules)
    )
    return msgspec.structs.replace(run, warm_up=WarmUp(rule="auto", ended="settled", calls=calls))


def test_what_the_first_call_took_beyond_a_later_one_is_part_of_loading() -> None:
    found = break_even([with_first_call(make_run(), (50.0, 11.0, 9.0, 10.0))], "cpu")
    assert found.loading_j == pytest.approx(LOADING_J + 40)
    unknown = break_even([with_first_call(make_run(), (50.0, 11.0))], "cpu")  # no later calls to hold it against
    assert unknown.loading_j == pytest.approx(LOADING_J)


def without_figure(run: Run, name: str) -> Run:
    lost = energy("cpu:0", None, reason="too_short: …")
    phases = tuple(
        msgspec.structs.replace(found, energy=(lost,)) if found.name == name else found for found in run.phases
    )
    return msgspec.structs.replace(run, phases=phases)


def test_a_step_too_short_for_the_meter_spoils_nothing_and_a_long_one_does() -> None:
    short = break_even([without_figure(make_run(), "pipeline")], "cpu")
    at_mean_power_j = (LOADING_J - 0.75) / 2.5 * 0.05
    assert short.loading_j == pytest.approx(LOADING_J - 0.75 + at_mean_power_j)
    assert cold_start(without_figure(make_run(), "pipeline"), "cpu")[3].reason == "too_short: …"
    long = break_even([without_figure(make_run(), "import")], "cpu")
    assert (long.requests, long.reason) == (None, "missing: no loading has a figure")


def test_the_first_token_of_an_older_record_with_a_warm_up_is_not_guessed() -> None:
    run = make_run()
    warm = phase("warm-up", 3.55, 3.6, 30.0)
    older = msgspec.structs.replace(run, phases=(*run.phases[:-1], warm, run.phases[-1]))
    assert [step.name for step in cold_start(older, "cpu")][-1] == "pipeline"


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says() -> None:
    random, covered, tries = Random(5), 0, 4000
    for _ in range(tries):
        a, b = random.gauss(100, 10), random.gauss(40, 4)
        low, high = ratio_interval(a, 1.96 * 10, b, 1.96 * 4)
        covered += low <= 2.5 <= high
    assert 0.935 <= covered / tries <= 0.965


def test_a_request_that_may_cost_nothing_has_no_upper_end() -> None:
    assert ratio_interval(10.0, 1.0, 2.0, 3.0) == (0.0, inf)
