"""Power curves with their integrals by hand, and the readings that a device would have shown of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llmjoules.meters.ticks import next_reading_s
from llmjoules.meters.watcher import NEAR_EDGE_S
from llmjoules.meters.window import CounterCurve, IntervalCurve, PowerCurve
from llmjoules.records.record import Channel


class Power(NamedTuple):
    """watts and joules (since 0) at a time; moments: where something happens, where phases would begin and end."""

    watts: Callable[[float], float]
    joules: Callable[[float], float]
    moments: Sequence[float]

    def between(self, start_s: float, end_s: float) -> float:
        return self.joules(end_s) - self.joules(start_s)


def constant(watts: float) -> Power:
    return Power(lambda t: watts, lambda t: watts * t, ())


def steps(at_s: Sequence[float], watts: Sequence[float]) -> Power:
    """watts[0] until at_s[0], then watts[1] and so on."""

    def power_w(t_s: float) -> float:
        return watts[sum(t_s >= at for at in at_s)]

    def total_j(t_s: float) -> float:
        edges = [0.0, *(at for at in at_s if at < t_s), t_s]
        return sum(w * (b - a) for w, a, b in zip(watts, edges, edges[1:], strict=False))

    return Power(power_w, total_j, at_s)


def sine(base_w: float, swing_w: float, wave_s: float) -> Power:
    turn = 2 * math.pi / wave_s
    return Power(
        lambda t: base_w + swing_w * math.sin(turn * t),
        lambda t: base_w * t + swing_w / turn * (1 - math.cos(turn * t)),
        (),
    )


def ramps(low_w: float, high_w: float, leg_s: float) -> Power:
    """Up for leg_s, down for leg_s, for ever: a trapezoid under each leg."""

    def power_w(t_s: float) -> float:
        x = t_s / leg_s % 2
        return low_w + (high_w - low_w) * (x if x < 1 else 2 - x)

    def total_j(t_s: float) -> float:
        legs, x = divmod(t_s / leg_s, 1)
        start_w = low_w if legs % 2 == 0 else high_w
        return leg_s * (legs * (low_w + high_w) / 2 + x * (start_w + power_w(t_s)) / 2)

    return Power(power_w, total_j, [leg_s * k for k in range(1, 200)])


def channel(kind: str = "counter", **more: Any) -> Channel:
    unit = "W" if kind == "power" else "J"
    return Channel(id="gpu:0", component="gpu", kind=kind, unit=unit, **more)  # type: ignore[arg-type]


def polled(
    power: Power,
    device: Channel,
    *,
    every_s: float,
    until_s: float,
    rng: random.Random,
    from_s: float = 0.0,
    latency_s: float = 0.0002,
    jitter: float = 0.2,
    ticks_each_s: float | None = None,
) -> CounterCurve | PowerCurve:
    """A counter or gauge that is renewed every period_s, as a thread sees it that is late by up to jitter·every_s."""
    curve = CounterCurve(device) if device.unit == "J" else PowerCurve(device)
    tick_s = device.period_s if ticks_each_s is None else ticks_each_s
    at_s = from_s + 0.1 * rng.random()
    offset_s = tick_s * rng.random()
    while at_s < until_s:
        seen_s = at_s + latency_s * (rng.random() - 0.5)
        if tick_s:
            seen_s = max(math.floor((seen_s - offset_s) / tick_s) * tick_s + offset_s, 0.0)
        if isinstance(curve, CounterCurve):
            total_j = power.joules(seen_s)
            if device.resolution:
                total_j = math.floor(total_j / device.resolution) * device.resolution
            curve.add(at_s, total_j % device.wraps_at_j if device.wraps_at_j else total_j, latency_s)
        else:
            curve.add(at_s, power.watts(seen_s))
        at_s += every_s * (1 + jitter * rng.random())
    return curve


def watched(
    shown_j: Sequence[Callable[[float], float]],
    device: Channel,
    edges_s: Sequence[float],
    *,
    from_s: float,
    until_s: float,
    rng: random.Random,
    latency_s: float = 0.0002,
    jitter: float = 0.2,
) -> tuple[list[CounterCurve], int]:
    """Counters as one watcher reads them that learns their beats: rarely, and densely near edges; how often it read."""
    curves = [CounterCurve(device) for _ in shown_j]
    beats = [curve.ticks for curve in curves if curve.ticks is not None]
    every_s, at_s, readings = device.period_s / 10, from_s, 0
    while at_s < until_s:
        for curve, joules in zip(curves, shown_j, strict=True):
            curve.add(at_s, joules(at_s + latency_s * (rng.random() - 0.5)), latency_s)
        near = any(edge_s <= at_s < edge_s + NEAR_EDGE_S for edge_s in edges_s)
        due_s = at_s + every_s if near else next_reading_s(beats, at_s, at_s + every_s)
        rung_s = min((edge_s + latency_s for edge_s in edges_s if at_s < edge_s + latency_s), default=math.inf)
        at_s = min(due_s, rung_s) + jitter * every_s * rng.random()
        readings += 1
    return curves, readings


def recorded(power: Power, device: Channel, *, every_s: float, until_s: float) -> IntervalCurve:
    curve = IntervalCurve(device)
    start_s = 0.0
    while start_s < until_s:
        end_s = start_s + every_s
        joules = power.between(start_s, end_s)
        if device.resolution:
            joules = round(joules / device.resolution) * device.resolution
        curve.add(start_s, end_s, joules)
        start_s = end_s
    return curve


class Coverage(NamedTuple):
    """Of random windows: the part with a figure, the part of these that holds the truth, the median relative band."""

    measured: float
    held: float
    band: float


def coverage(
    make: Callable[[random.Random], tuple[Power, Any]], *, seed: int, windows: int = 1000, shortest_s: float = 0.3
) -> Coverage:
    """Windows of 0.3 to 3 s over ten runs of 20 s; half of the edges lie at the moments at which power changes."""
    rng = random.Random(seed)
    runs = [make(rng) for _ in range(10)]
    bands: list[float] = []
    held = 0
    for k in range(windows):
        power, curve = runs[k % len(runs)]
        start_s = _edge(power, rng, 1.0, 15.0)
        end_s = _edge(power, rng, start_s + shortest_s, start_s + 3.0)
        found = curve.energy(start_s, end_s)
        if found.joules is not None:
            truth_j = power.between(start_s, end_s)
            held += abs(found.joules - truth_j) <= found.uncertainty_j + 1e-9
            bands.append(found.uncertainty_j / truth_j)
    return Coverage(len(bands) / windows, held / max(len(bands), 1), sorted(bands)[len(bands) // 2])


def _edge(power: Power, rng: random.Random, low_s: float, high_s: float) -> float:
    moments = [moment for moment in power.moments if low_s <= moment <= high_s]
    return rng.choice(moments) if moments and rng.random() < 0.5 else rng.uniform(low_s, high_s)


def phases(rng: random.Random, shortest_s: float = 0.3, longest_s: float = 2.0) -> Power:
    """Idle and load in turn, as inference does: 60 W, then 200 to 400 W, for 0.3 to 2 s each."""
    at_s, watts, t_s = [], [60.0], 0.0
    while t_s < 20:
        t_s += rng.uniform(shortest_s, longest_s)
        at_s.append(t_s)
        watts.append(rng.uniform(200, 400) if len(at_s) % 2 else 60.0)
    return steps(at_s, watts)
