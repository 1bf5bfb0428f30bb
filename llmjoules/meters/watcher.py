"""One meter with the threads that read it, and the curves that its readings feed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from random import Random
from typing import Any

import msgspec

from llmjoules.meters import guard
from llmjoules.meters.ticks import next_reading_s
from llmjoules.meters.types import IntervalRecord, Meter, Unavailable
from llmjoules.meters.window import CounterCurve, IntervalCurve, PowerCurve, curve_for
from llmjoules.records.record import Channel, DeviceState, MeterInfo

# How often a meter is read near edges: a tenth of its period finds the moment of its tick; more often than every 5 ms
# disturbs the measured code, more rarely than every 100 ms leaves edges vague. Counters that are renewed faster than we
# read need no finding. At an even pace a tick would lie at the same place between two readings each time; so they are
# sooner or later by up to DITHER of the pause, and together they show the beat much better than each of them.
READ_EVERY_S = 0.02
DITHER = 0.2
READ_SHORTEST_S, READ_LONGEST_S = 0.005, 0.1
# Far from edges, counters are read less: one whose beat is known once in a period, which its moments are reckoned from
# (ticks.py); one that is renewed faster than we read as often as this.
READ_RESTING_S = 0.2
NEAR_EDGE_S = 0.25  # after an edge: two ticks of a counter that is renewed ten times a second
STATE_EVERY_S = 1.0  # temperature and clocks move slowly, and asking for them takes longer than reading a counter
MOST_STATES = 120  # looks at the devices that are kept
STOP_LIMIT_S = 2.0
HANGS_AFTER_S = 0.5  # a reading that is under way for longer is named as the reason why there is none


class Watcher:
    """One meter with the threads that read it and the curves that they feed."""

    def __init__(
        self,
        meter: Meter,
        channels: Mapping[str, Channel],
        lock: threading.Lock,
        needed_s: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        """channels: by the meter's own id; they may bear another id in the record, where two meters share one.

        needed_s: edges around which readings must stay, however old; called with the lock held.
        """
        self.meter = meter
        self.name = meter.name
        self.problem: str | None = None  # why the last reading is missing, of all channels
        self.problems: dict[str, str] = {}  # of one channel, by its id in the record
        self._called_s: float | None = None  # since when a reading is under way
        self.curves = {channel.id: curve_for(channel) for channel in channels.values()}
        self._channels = tuple(channels.values())
        periods_s = [channel.period_s for channel in channels.values()]
        self.period_s = max(periods_s)
        self.settle_s = 3 * self.period_s + 0.3
        fastest_s = min(periods_s)
        self._every_s = (
            READ_EVERY_S if fastest_s < READ_EVERY_S else min(max(fastest_s / 10, READ_SHORTEST_S), READ_LONGEST_S)
        )
        self._by_own_id = {own: self.curves[channel.id] for own, channel in channels.items()}
        # A second opinion (`@`) follows the figure that it is about.
        first = [curve for curve in self.curves.values() if "@" not in curve.channel.id]
        counters = [curve for curve in first if isinstance(curve, CounterCurve)]
        self._ticks = [curve.ticks for curve in counters if curve.ticks is not None]
        self._may_rest = len(counters) == len(first) and all(
            curve.ticks is not None or curve.channel.period_s < READ_EVERY_S for curve in counters
        )
        self.dense_until_s = 0.0  # after an edge, readings are worth more
        self.resting = False  # until a time that is far off
        self._random = Random()  # of its own: that of the module belongs to the program that is measured
        self.states: list[tuple[str, DeviceState]] = []
        self._state_due_s = 0.0
        self._id_of = {own: channel.id for own, channel in channels.items()}
        self._lock = lock
        self._needed_s = needed_s
        self._stop = threading.Event()
        self._alarm = threading.Lock()  # taken save for a moment: releasing it wakes the thread, as cheaply as can be
        self._alarm.acquire()
        self._read = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def info(self) -> MeterInfo:
        """As it stands now: some of what a meter tells of itself it knows only once it has measured."""
        return MeterInfo(name=self.name, channels=self._channels, options=_described(self.meter))

    @property
    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        guard.call(self.name, "open", self.meter.open)
        kinds = {curve.channel.kind for curve in self.curves.values()}
        if kinds != {"interval"}:
            self._add_thread(self._poll, "read")
        if "interval" in kinds:
            self._add_thread(self._listen, "stream")
        for thread in self._threads:
            thread.start()

    def _add_thread(self, target: Callable[[], None], what: str) -> None:
        self._threads.append(threading.Thread(target=target, name=f"llmjoules-{self.name}-{what}", daemon=True))

    def stop(self) -> list[guard.Fault]:
        """What went wrong. A thread that hangs in the plug-in is left behind."""
        faults = []
        self._stop.set()
        self._ring()
        try:
            guard.call(self.name, "close", self.meter.close, STOP_LIMIT_S)
        except (guard.PluginFault, Unavailable) as error:
            faults.append(error.fault if isinstance(error, guard.PluginFault) else guard.Fault(self.name, error.what))
        deadline = time.monotonic() + STOP_LIMIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self.alive:
            faults.append(guard.Fault(self.name, f"did not stop within {STOP_LIMIT_S:g} s"))
        return faults

    def why_missing(self, channel: str) -> str | None:
        called_s = self._called_s  # once: the reading thread sets it to None at any time
        if called_s is not None and (since_s := time.monotonic() - called_s) > HANGS_AFTER_S:
            return f"read has not returned for {since_s:.1f} s"
        return self.problem or self.problems.get(channel)

    def nudge(self) -> None:
        """Read as soon as can be, and densely for a while."""
        self.dense_until_s = time.monotonic() + NEAR_EDGE_S
        self._read.clear()
        self._ring()

    def wake(self) -> None:
        """End a rest."""
        self.resting = False
        self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._alarm.release()

    def wait_for_reading(self, deadline: float) -> None:
        if any(not isinstance(curve, IntervalCurve) for curve in self.curves.values()):
            self._read.wait(max(0.0, deadline - time.monotonic()))

    def _poll(self) -> None:
        while not self._stop.is_set():
            before_s = self._called_s = time.monotonic()
            try:
                values: Any = self.meter.read()
                after_s = time.monotonic()
                readings = {own_id: guard.usable(values, own_id) for own_id in self._by_own_id}
            except BaseException as error:  # "missing now", whatever a plug-in raises
                self.problem = guard.describe(error)
            else:
                self.problem = None
                self._feed(readings, (before_s + after_s) / 2, after_s - before_s)
            self._read.set()
            if before_s >= self._state_due_s:
                self._state_due_s = before_s + STATE_EVERY_S
                self._note_state()
            self._called_s = None
            self._sleep(before_s)

    def _sleep(self, read_s: float) -> None:
        """Until the next reading is due, or somebody rings."""
        due_s = self._due_s(read_s)
        self.resting = due_s - read_s > 1.5 * self._every_s
        if self.resting and self.dense_until_s > read_s:  # an edge came between these two lines
            due_s = read_s + self._every_s
        self._alarm.acquire(timeout=max(0.0, due_s - time.monotonic()))
        self.resting = False

    def _due_s(self, read_s: float) -> float:
        dense_s = read_s + self._every_s * self._random.uniform(1 - DITHER, 1 + DITHER)
        if not self._may_rest or self.problem is not None or read_s < self.dense_until_s:
            return dense_s
        if not self._ticks:
            return read_s + max(self._every_s, READ_RESTING_S)
        return next_reading_s(self._ticks, read_s, dense_s)

    def _note_state(self) -> None:
        at_s = time.monotonic()
        try:
            told = {
                self._id_of[own]: msgspec.convert({"at_s": at_s} | s, DeviceState)
                for own, s in self.meter.state().items()
            }
        except BaseException:  # it is beside the measurement: without it, energy is measured all the same
            return
        with self._lock:
            self.states += told.items()
            if len(self.states) > MOST_STATES * len(self._id_of):
                self._thin_states()

    def _thin_states(self) -> None:
        """Of the older half every second look at the devices."""
        looks = sorted({state.at_s for _, state in self.states})
        older = looks[: len(looks) // 2]
        gone = set(older[::2])
        self.states = [(channel, state) for channel, state in self.states if state.at_s not in gone]

    def _thin(self) -> None:
        """While the lock is held."""
        if any(curve.has_many for curve in self.curves.values()):
            needed_s = self._needed_s()
            for curve in self.curves.values():
                curve.thin(needed_s)

    def _feed(self, readings: Mapping[str, float | None], t_s: float, latency_s: float) -> None:
        with self._lock:
            for own_id, curve in self._by_own_id.items():
                if isinstance(curve, IntervalCurve):
                    continue
                value = readings[own_id]
                if value is None:
                    self.problems[curve.channel.id] = f"read gave no usable number for {own_id}"
                    continue
                self.problems.pop(curve.channel.id, None)
                if isinstance(curve, PowerCurve):
                    curve.add(t_s, value)
                else:
                    curve.add(t_s, value, latency_s)
            self._thin()

    def _listen(self) -> None:
        try:
            for record in self.meter.stream():
                if not (isinstance(record, IntervalRecord) and isfinite(record.start_s) and isfinite(record.end_s)):
                    raise TypeError("its stream yielded something that is not an IntervalRecord with finite times")
                with self._lock:
                    for own_id, curve in self._by_own_id.items():
                        if isinstance(curve, IntervalCurve):
                            curve.add(record.start_s, record.end_s, guard.usable(record.joules, own_id))
                    self._thin()
                if self._stop.is_set():
                    return
            if not self._stop.is_set():
                self.problem = "its stream ended"
        except BaseException as error:
            self.problem = guard.describe(error)


def _described(meter: Meter) -> dict[str, Any]:
    try:
        described = msgspec.json.encode(guard.call(meter.name, "describe", meter.describe))
        return msgspec.json.decode(described, type=dict[str, Any])  # through JSON: that is where it has to go
    except Exception:
        return {}
