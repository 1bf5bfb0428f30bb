"""Figures that cannot be are found, and those that can be are left alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records import physics
from llmjoules.records.physics import Finding, findings, flagged
from llmjoules.records.record import (
    Accelerator,
    Energy,
    Figures,
    Model,
    Part,
    Phase,
    Published,
    Run,
    System,
    Tokens,
    Total,
    Workload,
)
from tests.builders import NVML, make_run

REPLACE = msgspec.structs.replace


def published(joules: float = 840.0, seconds: float = 6.0, gpus: int = 1, **more: Any) -> Published:
    """By default what the study measured on one A100: 140 W."""
    fields: dict[str, Any] = {
        "schema": "llmjoules/1",
        "id": "x",
        "source": "a test",
        "model": Model(name="m"),
        "system": System(name="s", accelerators=(Accelerator(name="NVIDIA A100-SXM4-40GB"),) * gpus, devices_used=gpus),
        "workload": Workload(prompt_tokens=10, new_tokens=200, batch_size=1),
        "meters": (NVML,),
        "phases": (
            Phase(name="inference", start_s=0.0, end_s=seconds, energy=(Energy(channel="gpu:0", joules=joules),)),
        ),
        "totals": {"gpu": Total(joules=joules, source="measured", channels=("gpu:0",))},
    }  # fmt: skip
    return Published(**(fields | more))


def codes(record: Any) -> list[str]:
    return [finding.flag for finding in findings(record)]


def only(record: Any) -> Finding:
    found = findings(record)
    assert len(found) == 1
    return found[0]


def test_plausible_figures_have_no_findings() -> None:
    assert findings(published()) == ()
    assert findings(make_run()) == ()


# The study's Table 1 as printed: J/token, tokens/s, GPUs. Implied power is their product (hotcarbon24/claims.md).
@pytest.mark.parametrize(
    ("j_per_token", "rate", "gpus", "code"),
    [
        (3.1378, 32.891, 1, None),  # 103 W: wrong, and still plausible
        (22.7482, 17.04, 8, None),  # 387.6 W, 48 W a GPU: just above 45 W less the sensor's 10 %
        (16.94, 16.32, 8, "power_below_idle:gpu"),  # 276.5 W, 35 W a GPU
    ],
)
def test_implied_power_exposes_some_rows_of_the_study_and_not_others(
    j_per_token: float, rate: float, gpus: int, code: str | None
) -> None:
    figures = Figures(component="gpu", j_per_token=j_per_token, tokens_per_s=rate)
    totals = {"gpu": Total(joules=None, source="measured", channels=("gpu",), reason="missing: not stated")}
    record = published(gpus=gpus, figures=figures, totals=totals, phases=())
    stated = REPLACE(record, figures=REPLACE(figures, power_w=j_per_token * rate))
    assert codes(stated) == ([code] if code else [])


def test_power_above_the_limit_names_the_unit_that_would_be_possible() -> None:
    found = only(published(joules=840_000.0))
    assert (found.code, found.about) == ("power_above_limit", "gpu")
    assert found.numbers == {"power_w": 140_000.0, "limit_w": 400.0, "devices": 1}
    assert "a thousandth, 140 W, would be possible" in found.sentence


def test_power_below_idle_names_the_unit_that_would_be_possible() -> None:
    assert "a thousand times more, 140 W, would be possible" in only(published(joules=0.84)).sentence


def test_a_limit_that_the_record_states_counts_more_than_the_data_sheet() -> None:
    board = Accelerator(name="NVIDIA A100-SXM4-40GB", power_limit_w=100.0)
    found = only(published(system=System(name="s", accelerators=(board,), devices_used=1)))
    assert found.numbers["limit_w"] == 100.0


def test_a_device_that_is_not_known_is_not_judged() -> None:
    unknown = System(name="s", accelerators=(Accelerator(name="Secret 9000"),), devices_used=1)
    assert findings(published(joules=1e6, system=unknown)) == ()


def test_a_stretch_that_is_too_short_for_a_counter_is_not_judged() -> None:
    assert findings(published(joules=0.0, seconds=0.3)) == ()


def test_a_run_below_half_of_its_own_idle_power_is_found() -> None:
    idle = Phase(name="idle", start_s=0.0, end_s=1.0, energy=(Energy(channel="cpu:0", joules=200.0),))
    run = make_run()
    inference = run.phase("inference")
    assert inference is not None
    watts = (run.totals["cpu"].joules or 0.0) / inference.duration_s
    assert watts < 90
    assert codes(REPLACE(run, phases=(idle, *run.phases[1:]))) == ["power_below_idle:cpu"]


def test_phases_are_held_against_totals() -> None:
    totals = {"gpu": Total(joules=900.0, source="measured", channels=("gpu:0",))}
    assert only(published(totals=totals)).numbers == {"phase_j": 840.0, "total_j": 900.0}


def test_parts_may_not_exceed_their_phase_by_more_than_their_uncertainty() -> None:
    def split(prefill_j: float, uncertainty_j: float) -> Published:
        energy = (Energy(channel="gpu:0", joules=prefill_j, uncertainty_j=uncertainty_j),)
        rest = (Energy(channel="gpu:0", joules=420.0),)
        parts = (
            Part(name="prefill", start_s=0.0, end_s=3.0, energy=energy),
            Part(name="decode", start_s=3.0, end_s=6.0, energy=rest),
        )
        whole = published().phases[0]
        return published(phases=(REPLACE(whole, parts=parts),))

    assert codes(split(420.0, 0.0)) == []
    assert codes(split(500.0, 0.0)) == ["parts_above_phase:gpu"]
    assert codes(split(500.0, 80.0)) == []


def test_joules_per_token_times_tokens_are_the_joules() -> None:
    tokens = Tokens(prompt=10, generated=200, useful=200)
    assert codes(published(tokens=tokens, figures=Figures(component="gpu", j_per_token=4.2))) == []
    found = only(published(tokens=tokens, figures=Figures(component="gpu", j_per_token=4.7)))
    assert found.code == "per_token_not_joules"
    assert found.numbers == pytest.approx({"product_j": 940.0, "stated_j": 840.0})


def test_rates_are_held_against_times() -> None:
    tokens = Tokens(prompt=10, generated=180, useful=180)
    assert codes(published(tokens=tokens, figures=Figures(component="gpu", tokens_per_s=30.0))) == []
    assert codes(published(tokens=tokens, figures=Figures(component="gpu", tokens_per_s=33.0))) == ["rate_not_time"]


def test_more_tokens_than_asked_for_and_more_useful_than_generated() -> None:
    assert codes(published(tokens=Tokens(prompt=10, generated=342, useful=342))) == ["tokens_above_limit"]
    assert codes(published(tokens=Tokens(prompt=10, generated=100, useful=101))) == ["tokens_above_generated"]


def test_a_single_row_faster_than_the_memory_is_found_but_not_of_sparse_models() -> None:
    figures = Figures(component="gpu", tokens_per_s=844.0)
    dense = Model(name="org/Llama-8B", parameters=8_000_000_000, dtype="bfloat16")
    fast = {"figures": figures, "workload": Workload(batch_size=1)}
    found = only(published(model=dense, **fast))
    assert found.code == "rate_above_bandwidth"
    assert found.numbers["most_per_s"] == pytest.approx(127.5)  # 2.04e12 B/s over 16e9 B
    assert findings(published(model=REPLACE(dense, name="org/Mixtral-8x7B"), **fast)) == ()
    assert findings(published(model=dense, figures=figures, workload=Workload(batch_size=64))) == ()


def test_times_that_cannot_be() -> None:
    run = make_run()
    assert isinstance(run, Run)
    late = REPLACE(run, tokens=REPLACE(run.tokens, times_s=(1e6,)))
    assert codes(late) == ["tokens_outside_inference"]
    backwards = Phase(name="tokenizer", start_s=1.0, end_s=0.5)
    assert codes(published(phases=(backwards, *published().phases))) == ["ends_before_it_begins:tokenizer"]


def test_flags_are_added_to_those_there_once() -> None:
    record = published(joules=840_000.0, flags=("tokens_assumed", "power_above_limit:gpu"))
    assert flagged(record) == ("tokens_assumed", "power_above_limit:gpu")


@given(
    joules=st.floats(0, 1e12, allow_nan=False),
    seconds=st.floats(1e-9, 1e9),
    gpus=st.integers(1, 64),
    rate=st.one_of(st.none(), st.floats(-1e12, 1e12)),
)
def test_whatever_the_figures_the_checks_answer(joules: float, seconds: float, gpus: int, rate: float | None) -> None:
    figures = Figures(component="gpu", tokens_per_s=rate, j_per_token=rate, power_w=rate)
    for finding in findings(published(joules, seconds, gpus, figures=figures)):
        assert finding.sentence
        assert finding.flag.startswith(finding.code)


def test_figures_without_a_total_are_held_against_idle_and_limit_too() -> None:
    def printed(j_per_token: float, rate: float, gpus: int) -> Published:
        figures = Figures(component="gpu", j_per_token=j_per_token, tokens_per_s=rate)
        return published(gpus=gpus, figures=figures, totals={}, phases=())

    assert codes(printed(3.1378, 32.891, 1)) == []
    assert codes(printed(16.94, 16.32, 8)) == ["power_below_idle:gpu"]  # 276 W, 35 W a board
    found = only(printed(8.162, 511.1, 1))
    assert found.sentence.startswith("4172 W is above the 400 W that such a device may draw")


def test_every_code_is_one_that_a_check_gives() -> None:
    source = Path(physics.__file__).read_text()
    assert set(re.findall(r'code="(\w+)"', source)) == physics.CODES
