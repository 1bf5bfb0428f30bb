"""Reading one meter as fast as is sensible, to see what its readings are like."""

from __future__ import annotations

import threading
import time
from math import isfinite
from typing import Any

from llmjoules.meters import guard
from llmjoules.meters.step_response import Readings, unwrapped
from llmjoules.meters.types import IntervalRecord, Meter, Unavailable
from llmjoules.meters.watcher import STOP_LIMIT_S
from llmjoules.records.record import Channel

READ_EVERY_S = 0.002  # and never for more than half of the time


class Poller:
    """A meter with the threads that read it. Whatever it does wrong ends in `problem` and in what stop() returns."""

    def __init__(self, meter: Meter, channels: tuple[Channel, ...]) -> None:
        self.meter = meter
        self.channels = {channel.id: channel for channel in channels}
        self.latencies_s: list[float] = []
        self.problem: str | None = None
        self._t_s: dict[str, list[float]] = {channel.id: [] for channel in channels}
        self._values: dict[str, list[float]] = {channel.id: [] for channel in channels}
        self._polled = [channel.id for channel in channels if channel.kind != "interval"]
        self._streamed = [channel.id for channel in channels if channel.kind == "interval"]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def readings(self, channel: str) -> Readings:
        """What there is by now; the thread of a meter that hangs may still be alive."""
        count = min(len(self._t_s[channel]), len(self._values[channel]))
        return Readings(self._t_s[channel][:count], self._values[channel][:count])

    def total(self, channel: Channel) -> Readings:
        readings = self.readings(channel.id)
        return Readings(readings.t_s, unwrapped(readings.values, channel.wraps_at_j))

    def start(self) -> guard.Fault | None:
        fault = _fault_of(self.meter, "open")
        if fault is None:
            loops = [self._poll] * bool(self._polled) + [self._listen] * bool(self._streamed)
            name = f"llmjoules-doctor-{self.meter.name}"
            self._threads = [threading.Thread(target=loop, name=name, daemon=True) for loop in loops]
            for thread in self._threads:
                thread.start()
        return fault

    def stop(self) -> guard.Fault | None:
        self._stop.set()
        fault = _fault_of(self.meter, "close", STOP_LIMIT_S)
        deadline = time.monotonic() + STOP_LIMIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return guard.Fault(self.meter.name, f"read did not return within {STOP_LIMIT_S:g} s")
        return fault

    def _poll(self) -> None:
        while not self._stop.is_set():
            before_s = time.monotonic()
            try:
                values: Any = self.meter.read()
                after_s = time.monotonic()
                found = {channel: guard.usable(values, channel) for channel in self._polled}
            except BaseException as error:  # "missing now", whatever a plug-in raises
                self.problem = guard.describe(error)
                after_s = time.monotonic()
            else:
                self._take((before_s + after_s) / 2, found)
                self.latencies_s.append(after_s - before_s)
            self._stop.wait(max(before_s + READ_EVERY_S - after_s, after_s - before_s, 0.0005))

    def _take(self, t_s: float, found: dict[str, float | None]) -> None:
        for channel, value in found.items():
            if value is None:
                self.problem = f"read gave no usable number for {channel}"
            else:
                self._t_s[channel].append(t_s)
                self._values[channel].append(value)

    def _listen(self) -> None:
        try:
            for record in self.meter.stream():
                if not (isinstance(record, IntervalRecord) and isfinite(record.start_s) and isfinite(record.end_s)):
                    raise TypeError("its stream yielded something that is not an IntervalRecord with finite times")
                for channel in self._streamed:
                    self._take_record(record, channel)
                if self._stop.is_set():
                    return
        except BaseException as error:
            self.problem = guard.describe(error)

    def _take_record(self, record: IntervalRecord, channel: str) -> None:
        """As a running total: where records follow on each other, its power is that of the records."""
        joules = guard.usable(record.joules, channel)
        t_s, values = self._t_s[channel], self._values[channel]
        if joules is None:
            self.problem = f"a record has no usable number for {channel}"
            return
        if not t_s:
            t_s.append(record.start_s)
            values.append(0.0)
        if record.end_s > t_s[-1]:
            t_s.append(record.end_s)
            values.append(values[-1] + joules)


def _fault_of(meter: Meter, what: str, limit_s: float | None = None) -> guard.Fault | None:
    try:
        guard.call(meter.name, what, getattr(meter, what), limit_s)
    except guard.PluginFault as error:
        return error.fault
    except Unavailable as error:
        return guard.Fault(meter.name, error.what)
    return None
