"""For authors of meters: run the contract on any meter. `check_meter(WallPlug())` in a test is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from llmjoules.meters import guard
from llmjoules.meters.choice import probe
from llmjoules.meters.types import IntervalRecord, Meter
from llmjoules.meters.window import PLAUSIBLE_W
from llmjoules.records.record import Channel

READ_EVERY_S = 0.02
STREAM_LIMIT_S = 10.0  # a helper process such as powermetrics takes seconds to start


def check_meter(meter: Meter, seconds: float = 0.5) -> tuple[Channel, ...]:
    """Probe, open, read for so many seconds, close; its channels if all of that is as a meter should be.

    Raises AssertionError with a sentence otherwise, and Unavailable where the meter cannot measure here. A counter need
    not move (an idle outlet renews its total rarely), but it must not fall, save where it wraps.
    """
    _check_class(meter)
    try:
        channels = probe(meter)
        _require(probe(meter) == channels, f"{meter.name}: a second probe must return the same channels")
        _check_plausible(channels)
        _check_described(meter)
        guard.call(meter.name, "open", meter.open)
        try:
            streamed = _Stream(meter, channels)
            _check_readings(meter, channels, seconds)
            streamed.check()
        finally:
            guard.call(meter.name, "close", meter.close)
        guard.call(meter.name, "a second close", meter.close)
        streamed.check_end()
    except guard.PluginFault as error:
        raise AssertionError(str(error)) from error
    return channels


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _check_class(meter: Any) -> None:
    kind = type(meter).__name__
    _require(isinstance(meter, Meter), f"{kind} is not a Meter")
    _require(isinstance(getattr(meter, "name", None), str) and bool(meter.name), f"{kind} has no name")
    _require(isinstance(meter.summary, str) and bool(meter.summary), f"{meter.name} has no summary")
    _require(
        isinstance(meter.Options, type) and issubclass(meter.Options, msgspec.Struct),
        f"{meter.name}: Options is not a msgspec.Struct class",
    )
    _require(
        bool(meter.Options.__struct_config__.forbid_unknown_fields),
        f"{meter.name}: Options must have forbid_unknown_fields=True, so that a misspelt option is refused",
    )


def _check_plausible(channels: tuple[Channel, ...]) -> None:
    for c in channels:
        _require(
            c.id.split("/")[-1].split(":")[0] == c.component,
            f"{c.id}: the id of a channel begins with its component, here {c.component}",
        )
        _require(c.id not in c.contains, f"{c.id}: a channel does not contain itself")
        _require(c.period_s <= 3600, f"{c.id}: a period of {c.period_s:g} s is not in seconds")
        _require(c.gain is None or c.gain <= 2, f"{c.id}: a gain of {c.gain} is not a fraction")
        _require(
            c.kind != "model" or c.source != "measured",
            f"{c.id}: {c.kind} of {c.source}",
        )


def _check_described(meter: Meter) -> None:
    described = guard.call(meter.name, "describe", meter.describe)
    _require(isinstance(described, dict), f"{meter.name}: describe returns {type(described).__name__}, not a dict")
    try:
        again = msgspec.json.decode(msgspec.json.encode(described))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{meter.name}: describe returns what JSON cannot hold: {error}") from error
    _require(
        msgspec.json.encode(again) == msgspec.json.encode(described), f"{meter.name}: describe does not survive JSON"
    )


def _check_readings(meter: Meter, channels: tuple[Channel, ...], seconds: float) -> None:
    declared = {channel.id: channel for channel in channels if channel.kind != "interval"}
    before: dict[str, tuple[float, float]] = {}
    end_s = time.monotonic() + seconds
    while declared:
        values = guard.call(meter.name, "read", meter.read)
        now_s = time.monotonic()
        _check_reading(meter, values, declared)
        for name, channel in declared.items():
            value = guard.usable(values, name)
            _require(
                value is not None, f"{meter.name}: read gave {values[name]!r} for {name}, not a number of 0 or more"
            )
            assert value is not None
            if name in before:
                _check_pair(channel, before[name], (now_s, value))
            elif channel.unit == "W":
                _check_power(channel, value)
            before[name] = (now_s, value)
        if now_s >= end_s:
            return
        time.sleep(READ_EVERY_S)
    time.sleep(seconds)


def _check_reading(meter: Meter, values: Any, declared: Mapping[str, Channel]) -> None:
    _require(isinstance(values, Mapping), f"{meter.name}: read returns {type(values).__name__}, not a dict")
    unknown, missing = sorted(set(values) - set(declared), key=str), sorted(set(declared) - set(values))
    _require(not unknown, f"{meter.name}: read gives {', '.join(map(str, unknown))}, which probe does not declare")
    _require(not missing, f"{meter.name}: read does not give {', '.join(missing)}; raise to say that it is missing now")


def _check_pair(channel: Channel, before: tuple[float, float], now: tuple[float, float]) -> None:
    if channel.unit == "W":
        _check_power(channel, now[1])
        return
    (before_s, before_j), (now_s, now_j) = before, now
    rise_j = now_j - before_j
    if rise_j < 0:
        _require(
            channel.wraps_at_j is not None,
            f"{channel.id} fell from {before_j:g} to {now_j:g} J; a counter that wraps says where: wraps_at_j",
        )
        rise_j += channel.wraps_at_j or 0.0
    watts = (rise_j - channel.resolution) / (now_s - before_s + channel.period_s)
    _require(
        rise_j >= 0 and watts <= PLAUSIBLE_W, f"{channel.id} rose by {rise_j:g} J, {watts:.3g} W: are these joules?"
    )


def _check_power(channel: Channel, watts: float) -> None:
    _require(watts <= PLAUSIBLE_W, f"{channel.id} gave {watts:g}: are these watts?")


class _Stream:
    """The records of a meter with interval channels, taken in a thread as the monitor does it."""

    def __init__(self, meter: Meter, channels: tuple[Channel, ...]) -> None:
        self.meter = meter
        self.channels = {channel.id for channel in channels if channel.kind == "interval"}
        self.records: list[Any] = []
        self.problem: BaseException | None = None
        self.thread = threading.Thread(target=self._take, name=f"check-{meter.name}", daemon=True)
        if self.channels:
            self.thread.start()

    def _take(self) -> None:
        try:
            for record in self.meter.stream():
                self.records.append(record)
        except BaseException as error:  # a plug-in may raise anything
            self.problem = error

    def check(self) -> None:
        if not self.channels:
            return
        name, deadline = self.meter.name, time.monotonic() + STREAM_LIMIT_S
        while len(self.records) < 2 and self.thread.is_alive() and time.monotonic() < deadline:
            time.sleep(READ_EVERY_S)
        if self.problem is not None:
            raise AssertionError(f"{name}: stream raised {guard.describe(self.problem)}") from self.problem
        _require(self.thread.is_alive(), f"{name}: its stream ended before close was called")
        records = list(self.records)
        _require(len(records) >= 2, f"{name}: its stream yielded {len(records)} records in {STREAM_LIMIT_S:g} s")
        end_s = float("-inf")
        for record in records:
            _require(isinstance(record, IntervalRecord), f"{name}: its stream yields {type(record).__name__}")
            _require(record.start_s < record.end_s, f"{name}: a record ends before it starts")
            _require(record.start_s >= end_s - 1e-6, f"{name}: two of its records overlap")
            _require(
                record.end_s <= time.monotonic(), f"{name}: a record ends in the future; times are time.monotonic()"
            )
            _require(set(record.joules) <= self.channels, f"{name}: a record has a channel that probe does not declare")
            end_s = record.end_s

    def check_end(self) -> None:
        if self.channels:
            self.thread.join(STREAM_LIMIT_S)
            _require(not self.thread.is_alive(), f"{self.meter.name}: its stream goes on after close")
