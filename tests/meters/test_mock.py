"""The simulated meter: its integral in closed form, and the same joules through the real monitor in real time."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmjoules.meters.mock import Mock, MockChannel, MockOptions, Script, scripts
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.registry import Registry
from llmjoules.meters.testing import check_meter
from llmjoules.records.errors import LlmjoulesError


@st.composite
def channels(draw: st.DrawFn) -> MockChannel:
    base_w = draw(st.floats(0, 400))
    return MockChannel(
        id="gpu:0",
        component="gpu",
        base_w=base_w,
        wave_w=draw(st.floats(0, 1)) * base_w,
        wave_s=draw(st.floats(0.2, 10)),
        pulse_w=draw(st.floats(0, 300)),
        pulse_s=draw(st.floats(0.2, 5)),
    )


def summed_up(script: Script, start_s: float, end_s: float, pieces: int = 2000) -> float:
    """Simpson's rule on short pieces, cut where a pulse begins or ends: knows power_w alone."""
    half_s = script.channel.pulse_s / 2
    edges = {start_s, end_s} | {start_s + (end_s - start_s) * k / pieces for k in range(1, pieces)}
    edges |= {half_s * k for k in range(int(start_s / half_s) + 1, int(end_s / half_s) + 1) if half_s * k < end_s}
    total_j, cuts = 0.0, sorted(edges)
    for a, b in pairwise(cuts):
        inset = (b - a) * 1e-9  # the value of the piece, not that of the pulse that begins at its edge
        watts = (script.power_w(a + inset), script.power_w((a + b) / 2), script.power_w(b - inset))
        total_j += (b - a) / 6 * (watts[0] + 4 * watts[1] + watts[2])
    return total_j


@settings(max_examples=25)
@given(channels(), st.floats(0, 6.28), st.floats(0, 50), st.floats(0.05, 20))
def test_the_integral_in_closed_form_is_the_sum_of_the_power(
    channel: MockChannel, phase: float, start_s: float, length_s: float
) -> None:
    script = Script(channel, phase)
    expected_j = summed_up(script, start_s, start_s + length_s)
    assert script.energy_j(start_s, start_s + length_s) == pytest.approx(expected_j, rel=1e-5, abs=1e-4)


@settings(max_examples=50)
@given(channels(), st.floats(0, 6.28), st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_power_is_never_negative_and_its_total_never_falls(
    channel: MockChannel, phase: float, times: list[float]
) -> None:
    script = Script(channel, phase)
    readings = [script.reading(t) for t in sorted(times)]
    assert all(script.power_w(t) >= -1e-9 for t in times)
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(readings))


def test_the_same_seed_gives_the_same_curve_and_another_seed_another_one() -> None:
    one, same, other = (scripts(MockOptions(seed=seed))["gpu:0"] for seed in (1, 1, 2))
    assert [one.power_w(t) for t in (0, 1.3, 7)] == [same.power_w(t) for t in (0, 1.3, 7)]
    assert one.power_w(1.3) != other.power_w(1.3)


def test_channels_of_one_meter_have_different_curves() -> None:
    two = (MockChannel(id="gpu:0", component="gpu"), MockChannel(id="gpu:1", component="gpu"))
    curves = scripts(MockOptions(channels=two))
    assert curves["gpu:0"].phase != curves["gpu:1"].phase


def test_a_reading_is_stale_by_a_tick_and_rounded_and_wraps() -> None:
    """100 W: 123 J at 1.23 s; the tick before was at 1.2 s with 120 J, of which 20 J lie over the wrap at 100 J."""
    flat = {"id": "gpu:0", "component": "gpu", "base_w": 100.0, "wave_w": 0.0}
    assert Script(MockChannel(**flat, tick_s=0.1), 0).reading(1.23) == pytest.approx(120, abs=0.002)
    assert Script(MockChannel(**flat, tick_s=0.1, wraps_at_j=100), 0).reading(1.23) == pytest.approx(20, abs=0.002)
    assert Script(MockChannel(**flat, resolution=50), 0).reading(1.23) == 100
    assert Script(MockChannel(**{**flat, "base_w": 104.0}, kind="power", resolution=10), 0).reading(1.23) == 100


KINDS = {
    "counter": {"kind": "counter"},
    "counter with a tick": {"kind": "counter", "tick_s": 0.1},
    "counter that wraps": {"kind": "counter", "wraps_at_j": 25.0},
    "model": {"kind": "model"},
    "power": {"kind": "power"},
    "power with a tick": {"kind": "power", "tick_s": 0.05},
    "interval": {"kind": "interval", "tick_s": 0.05},
}


def test_every_kind_agrees_with_its_script_through_the_real_monitor() -> None:
    """All kinds at once in one meter, with waves and pulses; four windows, one inside another."""
    described = [
        {"id": f"gpu:{k}", "component": "gpu", "wave_s": 0.7, "pulse_w": 60.0, "pulse_s": 0.6, **kind}
        for k, kind in enumerate(KINDS.values())
    ]
    curves = scripts(msgspec.convert({"channels": described, "seed": 5}, MockOptions))
    windows = []
    options = {"mock": {"channels": described, "seed": 5}}
    with Monitor(["mock"], options=options) as monitor, monitor.window("outer") as outer:
        for length_s in (0.3, 0.45, 0.37):
            with monitor.window("inner") as window:
                time.sleep(length_s)
            windows.append(window)
            time.sleep(0.05)
    windows.append(outer)
    assert not monitor.faults
    held = 0
    for window in windows:
        for (channel, script), kind in zip(curves.items(), KINDS, strict=True):
            truth_j = script.energy_j(window.start_s, window.end_s)
            joules, band_j = window.joules(channel), window.uncertainty_j(channel)
            assert joules is not None, (kind, window.reason(channel))
            assert joules == pytest.approx(truth_j, abs=3 * band_j), kind  # stated at 95 %, about two sigma
            held += abs(joules - truth_j) <= band_j
    assert held >= 0.85 * len(windows) * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract_of_a_meter(kind: str) -> None:
    check_meter(Mock(msgspec.convert({"channels": [{"id": "gpu:0", "component": "gpu", **KINDS[kind]}]}, MockOptions)))


def flat(**more: Any) -> dict[str, Any]:
    return {"channels": [{"id": "gpu:0", "component": "gpu", **more}]}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (flat(base_w=10.0, wave_w=11.0), "power would be negative"),
        (flat(kind="interval", tick_s=0.001), "at least 0.01"),
        (flat(kind="interval"), "at least 0.01"),
        (flat(base_w=-1.0), ">= 0"),
        (flat(wave_s=0.0), "> 0"),
        (flat(component="engine"), "engine"),
        (flat(watts=5.0), "watts"),
        ({"channels": []}, "length >= 1"),
        ({"seed": "one"}, "int"),
        ({"sed": 1}, "seed"),
    ],
)
def test_bad_options_are_refused_with_the_reason(options: dict[str, Any], word: str) -> None:
    with pytest.raises(LlmjoulesError) as caught:
        Registry().make("mock", options)
    assert word in f"{caught.value.what} {caught.value.why}"


def test_two_channels_of_one_id_are_refused() -> None:
    twice = [{"id": "gpu:0", "component": "gpu"}] * 2
    with pytest.raises(LlmjoulesError, match="Meter mock cannot be used") as caught:
        Monitor(["mock"], options={"mock": {"channels": twice}})
    assert "same id" in caught.value.why


def test_the_record_holds_what_is_needed_to_work_out_the_true_joules() -> None:
    meter = Mock(MockOptions(seed=3))
    described = meter.describe()
    channel = msgspec.convert(described["channels"][0], MockChannel)
    again = Script(channel, described["phase_rad"]["gpu:0"])
    assert again.energy_j(1, 2) == scripts(MockOptions(seed=3))["gpu:0"].energy_j(1, 2)
