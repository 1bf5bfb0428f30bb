"""A simulated meter: a scripted power curve under any channel layout, with its integral in closed form.

It follows the machine's monotonic clock, so every process sees the same curve and anyone can work out the true joules
between two instants from the options in the record: see `Script.energy_j`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from math import cos, floor, pi, sin
from typing import Annotated, Any, NamedTuple

import msgspec

from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.types import IntervalRecord, Meter
from llmjoules.records.record import Channel, ChannelKind, Component, Extent

Watt = Annotated[float, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class MockChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Power: base_w + wave_w·sin(2πt/wave_s + φ) + pulse_w in the first half of every pulse_s; φ comes from the seed.

    tick_s: the device renews its reading only this often; 0 for a reading that is never stale.
    """

    id: str
    component: Component
    kind: ChannelKind = "counter"
    extent: Extent = "device"
    base_w: Watt = 80.0
    wave_w: Watt = 30.0
    wave_s: Seconds = 3.0
    pulse_w: Watt = 0.0
    pulse_s: Seconds = 1.0
    tick_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    resolution: Annotated[float, msgspec.Meta(ge=0)] = 0.001
    wraps_at_j: Seconds | None = None
    contains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.wave_w > self.base_w:
            raise ValueError(f"wave_w of {self.id} is above base_w: power would be negative")
        if self.kind == "interval" and self.tick_s < 0.01:
            raise ValueError(f"tick_s of {self.id} must be at least 0.01 for kind 'interval'")


class MockOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channels: Annotated[tuple[MockChannel, ...], msgspec.Meta(min_length=1)] = (
        MockChannel(id="gpu:0", component="gpu"),
    )
    seed: int = 0


class Script(NamedTuple):
    """The power curve of one channel; t is `time.monotonic()`."""

    channel: MockChannel
    phase: float

    def power_w(self, t_s: float) -> float:
        c = self.channel
        pulse_w = c.pulse_w if t_s / c.pulse_s % 1 < 0.5 else 0.0
        return c.base_w + c.wave_w * sin(2 * pi * t_s / c.wave_s + self.phase) + pulse_w

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The true integral of the power between two instants."""
        return self._total_j(end_s) - self._total_j(start_s)

    def reading(self, t_s: float) -> float:
        """What the simulated device shows: a total in joules, or watts; stale by up to a tick, and rounded."""
        c = self.channel
        seen_s = floor(t_s / c.tick_s) * c.tick_s if c.tick_s else t_s
        if c.kind == "power":
            return _rounded(self.power_w(seen_s), c.resolution)
        total_j = floor(self._total_j(seen_s) / c.resolution) * c.resolution if c.resolution else self._total_j(seen_s)
        return total_j % c.wraps_at_j if c.wraps_at_j else total_j

    def _total_j(self, t_s: float) -> float:
        c = self.channel
        wave_j = -c.wave_w * c.wave_s / (2 * pi) * cos(2 * pi * t_s / c.wave_s + self.phase)
        pulses = t_s / c.pulse_s
        pulse_j = c.pulse_w * c.pulse_s * (floor(pulses) / 2 + min(pulses % 1, 0.5))
        return c.base_w * t_s + wave_j + c.wave_w * c.wave_s + pulse_j


def scripts(options: MockOptions) -> dict[str, Script]:
    """The power curve of each channel, by its id."""
    return {c.id: Script(c, random.Random(f"{options.seed}/{c.id}").uniform(0, 2 * pi)) for c in options.channels}


class Mock(Meter):
    name = "mock"
    summary = "A simulated meter with a scripted power curve, for tests and trials"
    auto = False
    Options = MockOptions

    def __init__(self, options: MockOptions | None = None) -> None:
        super().__init__(options)
        self._scripts = scripts(self.options)
        self._closed = False

    def probe(self) -> list[Channel]:
        return [
            Channel(
                id=c.id,
                component=c.component,
                kind=c.kind,
                unit="W" if c.kind == "power" else "J",
                extent=c.extent,
                source="simulated",
                period_s=c.tick_s,
                resolution=c.resolution,
                gain=0.0,
                wraps_at_j=c.wraps_at_j,
                contains=c.contains,
            )
            for c in self.options.channels
        ]

    def read(self) -> dict[str, float]:
        now_s = time.monotonic()
        return {name: s.reading(now_s) for name, s in self._scripts.items() if s.channel.kind != "interval"}

    def stream(self) -> Iterator[IntervalRecord]:
        streaming = {name: s for name, s in self._scripts.items() if s.channel.kind == "interval"}
        period_s = max(s.channel.tick_s for s in streaming.values())
        start_s = time.monotonic()
        while not self._closed:
            time.sleep(max(0.0, start_s + period_s - time.monotonic()))
            end_s = time.monotonic()
            joules = {
                name: _rounded(script.energy_j(start_s, end_s), script.channel.resolution)
                for name, script in streaming.items()
            }
            yield IntervalRecord(start_s, end_s, joules)
            start_s = end_s

    def close(self) -> None:
        self._closed = True

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = msgspec.to_builtins(self.options)
        described["phase_rad"] = {name: script.phase for name, script in self._scripts.items()}
        return described


def _rounded(value: float, step: float) -> float:
    return round(value / step) * step if step else value


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Mock]
