"""A monitor that stays open for long keeps a bounded number of readings, and still answers."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmjoules import Monitor
from llmjoules.meters import watcher
from llmjoules.meters import window as arithmetic
from llmjoules.meters.window import CounterCurve, Curve, IntervalCurve, PowerCurve
from llmjoules.records.record import DeviceState
from tests.meters.simulated import Power, channel, phases, polled, recorded, steps

KINDS = ["counter", "watts", "records"]


@pytest.fixture(autouse=True)
def few_knots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "MOST_KNOTS", 160)


def curve_of(kind: str, seed: int, until_s: float = 20) -> tuple[Power, Any]:
    rng = random.Random(seed)
    truth = phases(rng)
    if kind == "records":
        return truth, recorded(truth, channel("interval", resolution=0.001), every_s=0.05, until_s=until_s)
    device = channel("power") if kind == "watts" else channel(period_s=0.001, resolution=61e-6)
    return truth, polled(truth, device, every_s=0.03, until_s=until_s, rng=rng)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 20), st.floats(1, 17), st.floats(0.2, 2))
def test_windows_that_are_needed_keep_their_figures(kind: str, seed: int, start_s: float, length_s: float) -> None:
    """To a part in 10^9: sums are added in another order."""
    arithmetic.MOST_KNOTS = 160  # hypothesis runs outside the fixture's call
    _, whole = curve_of(kind, seed)
    _, thin = curve_of(kind, seed)
    edges_s = (start_s, start_s + length_s)
    thin.thin(edges_s)
    assert len(thin.t) < 0.7 * len(whole.t)
    before, after = whole.energy(*edges_s), thin.energy(*edges_s)
    assert after.joules == pytest.approx(before.joules, rel=1e-9)
    assert after.uncertainty_j == pytest.approx(before.uncertainty_j, rel=1e-9)
    assert after.largest_gap_s == before.largest_gap_s


@pytest.mark.parametrize("kind", KINDS)
def test_windows_elsewhere_are_stated_with_a_band_that_holds(kind: str) -> None:
    held = stated = 0
    for seed in range(40):
        truth, curve = curve_of(kind, seed)
        curve.thin(())
        rng = random.Random(seed)
        for _ in range(10):
            start_s = rng.uniform(1, 10)
            end_s = start_s + rng.uniform(1, 6)
            found = curve.energy(start_s, end_s)
            if found.joules is not None:
                stated += 1
                held += abs(found.joules - truth.between(start_s, end_s)) <= found.uncertainty_j
    assert stated > 200
    assert held >= 0.95 * stated, (held, stated)


@pytest.mark.parametrize("kind", KINDS)
def test_the_area_under_the_trace_stays_the_energy_and_windows_add_up(kind: str) -> None:
    truth, curve = curve_of(kind, 3)
    curve.thin(())
    edges_s = [2 + 0.07 * k for k in range(200)]
    line = curve.trace(edges_s, (edges_s[0], edges_s[-1]))
    area_j = sum(w * (b - a) for w, (a, b) in zip(line.mean_w, pairwise(edges_s), strict=True))
    assert area_j == pytest.approx(curve.energy(edges_s[0], edges_s[-1]).joules, rel=1e-9)
    assert area_j == pytest.approx(truth.between(edges_s[0], edges_s[-1]), rel=0.02)


def test_a_fall_of_the_counter_is_not_thinned_away() -> None:
    curve = CounterCurve(channel())
    for k in range(400):
        curve.add(0.1 * k, 1000.0 + k if k < 100 else float(k))
    curve.thin(())
    assert len(curve.t) < 200
    assert curve.energy(5, 15).reason.code == "counter_reset"
    assert curve.energy(12, 18).joules == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("make", [CounterCurve, PowerCurve, IntervalCurve])
def test_over_hours_the_number_of_knots_stays_bounded(make: type[Curve]) -> None:
    kind = {CounterCurve: "counter", PowerCurve: "power", IntervalCurve: "interval"}[make]
    curve: Any = make(channel(kind))
    most, rng = 0, random.Random(1)
    for k in range(4 * 3600):
        reading = (0.25 * k, 0.25 * k + 0.25, 7.5) if kind == "interval" else (0.25 * k, 7.5 * k + rng.random())
        curve.add(*reading)
        curve.thin((3.0, 30.0))
        most = max(most, len(curve.t))
    assert most <= 4 * arithmetic.MOST_KNOTS
    if kind == "counter":
        assert curve.energy(3.0, 3600.0 - 10).joules == pytest.approx(30 * 3587, rel=0.01)


def test_a_monitor_that_nobody_asks_settles_its_windows_before_their_readings_go() -> None:
    """Two hours at four readings a second, and a window a minute, of which the first stays open to the end."""
    monitor = Monitor(["mock"])
    [watched] = monitor._watchers
    [own] = watched._by_own_id
    begun_s = time.monotonic() - 7200
    kept, windows, most = [], [], 0
    truth = steps([begun_s + 60 * k + 30 * half for k in range(120) for half in (0, 1)], [50, *[300, 60] * 120])
    with monitor.window("all of it") as whole:
        whole.start_s = begun_s + 1
        for k in range(4 * 7200):
            at_s = begun_s + 0.25 * k
            watched._feed({own: truth.joules(at_s)}, at_s, 0.0)
            if k % 240 == 100:
                with monitor.window("load") as window:
                    pass
                window.start_s, window.end_s = at_s - 8, at_s - 2
                windows.append(window)
                kept.append(monitor.energies(window.start_s, window.end_s)[0].joules)
            most = max(most, sum(len(curve.t) for curve in watched.curves.values()))
        whole_end_s = begun_s + 7190
    assert most <= 4 * arithmetic.MOST_KNOTS
    assert [window._energies[0].joules for window in windows[:-5]] == kept[:-5]
    assert kept == pytest.approx([300 * 6] * len(kept), rel=0.02)
    found = monitor.energies(whole.start_s, whole_end_s)[0]
    assert found.joules == pytest.approx(truth.between(whole.start_s, whole_end_s), abs=found.uncertainty_j + 0.1)


def test_what_is_told_of_the_devices_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MOST_STATES", 50)
    [watched] = Monitor(["mock"])._watchers
    watched.meter.state = lambda: {own: {"temperature_c": 50.0} for own in watched._by_own_id}
    for _ in range(1000):
        watched._note_state()
    assert 25 <= len(watched.states) <= 51
    assert all(isinstance(state, DeviceState) for _, state in watched.states)
    at_s = [state.at_s for _, state in watched.states]
    assert at_s == sorted(at_s)
