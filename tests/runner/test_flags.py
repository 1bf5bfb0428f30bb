"""Flags: what a reader should know before trusting a figure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llmjoules.records.record import DeviceState, Energy, MeterInfo, Model, Run
from llmjoules.runner.flags import flags
from tests.builders import NVML, RAPL, make_run


def with_energies(*energies: Energy) -> Run:
    """A run whose inference has these energies, each of one channel."""
    run = make_run(meter=NVML, device="cuda")
    phases = tuple(
        msgspec.structs.replace(phase, energy=energies, parts=()) if phase.name == "inference" else phase
        for phase in run.phases
    )
    return msgspec.structs.replace(run, phases=phases)


def with_state(**state: Any) -> Run:
    run = make_run(meter=NVML, device="cuda", inference_s=2.0)
    at_s = run.phase("inference").start_s + 1
    return msgspec.structs.replace(run, states={"gpu:0": (DeviceState(at_s=at_s, **state),)})


def test_a_plain_run_has_none() -> None:
    assert flags(make_run(), True, []) == ()


def test_a_phase_without_a_figure_is_named_with_the_reasons_code() -> None:
    assert flags(with_energies(Energy(channel="gpu:0", joules=None, reason="gap: …")), True, []) == ("gap:inference",)


@pytest.mark.parametrize(("second_j", "expected"), [(104.0, ()), (90.0, ("disagreement:gpu:0@power",))])
def test_two_readings_of_one_device_that_differ_by_more_than_both_bands_are_flagged(
    second_j: float, expected: tuple[str, ...]
) -> None:
    run = with_energies(
        Energy(channel="gpu:0", joules=100.0, uncertainty_j=2.0),
        Energy(channel="gpu:0@power", joules=second_j, uncertainty_j=3.0),
    )
    assert flags(run, True, []) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"throttling": ()}, ()),
        ({"throttling": ("idle", "application clocks")}, ()),
        ({"throttling": ("hardware thermal slowdown",)}, ("throttled:gpu:0",)),
        ({"throttling": ("power cap",), "other_processes": 2}, ("throttled:gpu:0", "shared:gpu:0")),
        ({"other_processes": 0}, ()),
    ],
)
def test_a_device_that_was_held_down_or_shared_is_flagged(state: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert flags(with_state(**state), True, []) == expected


def test_weights_that_the_first_inference_read_from_disk_are_flagged_unless_warmed_up() -> None:
    mapped = msgspec.structs.replace(make_run(), model=Model(name="m", weights_mapped=True))
    assert flags(mapped, False, []) == ("weights_read_in_inference",)
    assert flags(mapped, True, []) == ()
    later = msgspec.structs.replace(make_run(first=False), model=Model(name="m", weights_mapped=True))
    assert flags(later, False, []) == ()


def test_parts_of_a_model_that_did_not_fit_are_named() -> None:
    assert flags(make_run(), True, ["cpu", "disk"]) == ("offloaded:cpu+disk",)


def test_work_on_a_device_that_no_channel_holds_is_flagged() -> None:
    cpu_work = make_run(meter=NVML, device="cpu")
    assert flags(cpu_work, True, []) == ("device_not_measured:cpu",)
    assert flags(make_run(meter=NVML, device="cuda"), True, []) == ()
    assert flags(make_run(device="cuda"), True, []) == ("device_not_measured:cuda",)


@pytest.mark.parametrize(("ours_j", "expected"), [(95.0, ()), (60.0, ("shared:cpu",))])
def test_other_programs_on_the_cpu_are_flagged_by_what_is_not_the_processs_share(
    ours_j: float, expected: tuple[str, ...]
) -> None:
    """A share is a part of the whole, so it never contradicts it."""
    whole, ours = (
        RAPL.channels[0],
        msgspec.structs.replace(RAPL.channels[0], id="cpu:0@process", extent="process-share"),
    )
    run = make_run(meter=MeterInfo(name="rapl", channels=(whole, ours)))
    energies = (
        Energy(channel="cpu:0", joules=100.0, uncertainty_j=1.0),
        Energy(channel="cpu:0@process", joules=ours_j, uncertainty_j=1.0),
    )
    phases = tuple(
        msgspec.structs.replace(phase, energy=energies, parts=()) if phase.name == "inference" else phase
        for phase in run.phases
    )
    assert flags(msgspec.structs.replace(run, phases=phases), True, []) == expected
