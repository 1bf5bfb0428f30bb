"""Tokens in step with a sensor that looks for a part of its period only."""

from __future__ import annotations

import msgspec
import pytest

from llmjoules.records.record import Channel, MeterInfo
from llmjoules.runner.aliasing import REASON, channels_in_step, without_figures
from llmjoules.runner.totals import totals
from tests.builders import NVML, make_run

QUARTER = Channel(id="gpu:0", component="gpu", kind="counter", period_s=0.1, duty=0.25)


def in_step(channel: Channel, cadence_s: float, tokens: int = 50) -> bool:
    meter = MeterInfo(name="nvml", channels=(channel,))
    return channels_in_step([meter], [1 + cadence_s * k for k in range(tokens)]) == {"gpu:0"}


@pytest.mark.parametrize("cadence_ms", [20, 50, 100, 200, 33.33, 49.5])
def test_a_whole_number_of_tokens_a_period_or_of_periods_a_token_is_in_step(cadence_ms: float) -> None:
    assert in_step(QUARTER, cadence_ms / 1000)


@pytest.mark.parametrize("cadence_ms", [37, 130, 3, 70])
def test_other_cadences_are_not_and_many_tokens_a_period_blur(cadence_ms: float) -> None:
    assert not in_step(QUARTER, cadence_ms / 1000)


def test_a_sensor_that_always_looks_or_a_few_tokens_have_no_cadence_to_fear() -> None:
    assert not in_step(msgspec.structs.replace(QUARTER, duty=1.0), 0.05)
    assert not in_step(QUARTER, 0.05, tokens=9)


def test_figures_of_such_a_channel_are_taken_out_of_inference_and_decode_alone() -> None:
    run = make_run(meter=NVML)
    phases = without_figures(run.phases, {"gpu:0"})
    inference = phases[-1]
    assert (inference.energy[0].joules, inference.energy[0].reason) == (None, REASON)
    prefill, decode = inference.parts
    assert (prefill.energy[0].joules is not None, decode.energy[0].joules) == (True, None)
    assert phases[:-1] == run.phases[:-1]
    assert totals([NVML], inference.energy)["gpu"].joules is None
    assert without_figures(run.phases, set()) == run.phases
