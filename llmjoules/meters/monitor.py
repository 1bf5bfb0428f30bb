"""Measuring around anyone's code: open meters, watch them from outside, and give the joules of any window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf, isfinite
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.meters import guard
from llmjoules.meters.registry import Registry, nearest
from llmjoules.meters.types import IntervalRecord, Meter, Unavailable
from llmjoules.meters.window import IntervalCurve, PowerCurve, Reason, WindowEnergy, curve_for
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Channel, DeviceState, Energy, MeterInfo, TraceLine

# How often a meter is read: a tenth of its period finds the moment of its tick; more often than every 5 ms disturbs the
# measured code, more rarely than every 100 ms leaves its edges vague. Counters that are renewed faster than we read
# need no finding.
READ_EVERY_S = 0.02
READ_SHORTEST_S, READ_LONGEST_S = 0.005, 0.1
STATE_EVERY_S = 1.0  # temperature and clocks move slowly, and asking for them takes longer than reading a counter
FIRST_READING_LIMIT_S = 5.0
STOP_LIMIT_S = 2.0
HANGS_AFTER_S = 0.5  # a reading that is under way for longer is named as the reason why there is none


class Window:
    """A named stretch of time. Its energies can be asked for once it is closed, also after the monitor has closed."""

    def __init__(self, monitor: Monitor, name: str) -> None:
        self.name = name
        self.start_s = 0.0
        self.end_s: float | None = None
        self._monitor = monitor
        self._energies: tuple[Energy, ...] | None = None

    @property
    def energies(self) -> tuple[Energy, ...]:
        """One per channel, in the order of the meters. Waits for the readings that follow the window's end.

        Raises RuntimeError while the window is open.
        """
        if self.end_s is None:
            raise RuntimeError(f"window {self.name!r} is still open")
        if self._energies is None:
            self._monitor.settle(self.end_s)
            self._energies = self._monitor.energies(self.start_s, self.end_s)
        return self._energies

    def joules(self, channel: str) -> float | None:
        """None where it could not be measured: see reason(). Raises KeyError for a channel that is not measured."""
        return self._energy(channel).joules

    def uncertainty_j(self, channel: str) -> float | None:
        return self._energy(channel).uncertainty_j

    def reason(self, channel: str) -> str | None:
        return self._energy(channel).reason

    def _energy(self, channel: str) -> Energy:
        for energy in self.energies:
            if energy.channel == channel:
                return energy
        raise KeyError(f"no channel {channel!r}; measured: {', '.join(e.channel for e in self.energies)}")


class Monitor:
    """Opens meters, reads them from threads of its own, and answers for windows.

    meters: `"auto"` (every usable meter that measures, else the estimate) or names.
    options: for each meter's name a mapping of its options.
    Raises LlmjoulesError where a named meter is unknown or unavailable, or nothing at all can be measured.
    faults: plug-ins that had to be left out. notes: sentences that a user should see.
    """

    def __init__(
        self,
        meters: str | Sequence[str] = "auto",
        *,
        plugins: Sequence[str | Path] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        registry = Registry([Path(plugin) for plugin in plugins])
        self.faults: list[guard.Fault] = registry.faults
        self.notes: list[str] = []
        names = [meters] if isinstance(meters, str) else list(meters)
        _check_names(registry, names, options or {})
        chosen = (
            _automatic(registry, options or {}, self) if names == ["auto"] else _named(registry, names, options or {})
        )
        self._lock = threading.Lock()
        self._watchers = _watchers(chosen, self._lock)
        self._entered = False
        self._open = False
        self._last_end_s = -inf

    def __enter__(self) -> Monitor:
        if self._entered:
            raise RuntimeError("a monitor can be entered once; make another one")
        self._entered = True
        for watcher in list(self._watchers):
            try:
                watcher.start()
            except (guard.PluginFault, Unavailable) as error:
                fault = error.fault if isinstance(error, guard.PluginFault) else guard.Fault(watcher.name, error.what)
                self.faults += [fault, *watcher.stop()]
                self._watchers.remove(watcher)
        if not self._watchers:
            raise LlmjoulesError(
                "No meter could be opened.", "; ".join(map(str, self.faults)), "See what there is: llmjoules meters"
            )
        self._open = True
        self.settle(time.monotonic(), FIRST_READING_LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, once the readings are in that closed windows need: they can still be asked afterwards."""
        if self._open:
            if self._last_end_s > -inf:
                self.settle(self._last_end_s)
            self._open = False
            for watcher in self._watchers:
                self.faults += watcher.stop()

    @contextmanager
    def window(self, name: str) -> Iterator[Window]:
        """Measure the code inside. An edge only takes the time. Windows nest and may be open in several threads."""
        window = Window(self, name)
        window.start_s = time.monotonic()
        try:
            yield window
        finally:
            window.end_s = self._last_end_s = time.monotonic()

    def nudge(self) -> None:
        """Have every meter read as soon as its thread comes to it; costs microseconds."""
        for watcher in self._watchers:
            watcher.nudge()

    def sample(self) -> None:
        """Have every meter read now and wait for it (a tenth of a second at most): sharpens an edge set right after."""
        self.nudge()
        deadline = time.monotonic() + 0.1
        for watcher in self._watchers:
            watcher.wait_for_reading(deadline)

    def settle(self, end_s: float, limit_s: float | None = None) -> None:
        """Wait until the readings after `end_s` are in that its windows need: two ticks of the slowest meter."""
        begun_s = max(time.monotonic(), end_s)
        for watcher in self._watchers:
            deadline = begun_s + (watcher.settle_s if limit_s is None else limit_s)
            while self._open and watcher.alive and time.monotonic() < deadline:
                with self._lock:
                    if all(curve.covers(end_s) for curve in watcher.curves.values()):
                        break
                time.sleep(READ_SHORTEST_S)

    def energies(self, start_s: float, end_s: float) -> tuple[Energy, ...]:
        """Energy of every channel between two instants of `time.monotonic()`, from the readings there are."""
        with self._lock:
            return tuple(
                _energy(watcher, channel, curve.energy(start_s, end_s))
                for watcher in self._watchers
                for channel, curve in watcher.curves.items()
            )

    def trace(self, edges_s: Sequence[float], exact_s: Sequence[float] | None = None) -> dict[str, TraceLine]:
        """Power of every channel over buckets between the given instants."""
        with self._lock:
            return {
                channel: curve.trace(edges_s, exact_s)
                for watcher in self._watchers
                for channel, curve in watcher.curves.items()
            }

    def states(self, start_s: float, end_s: float) -> dict[str, list[DeviceState]]:
        """What the meters told of their devices between two instants, by channel; `at_s` is `time.monotonic()`."""
        found: dict[str, list[DeviceState]] = {}
        with self._lock:
            for watcher in self._watchers:
                for channel, state in watcher.states:
                    if start_s <= state.at_s <= end_s:
                        found.setdefault(channel, []).append(state)
        return found

    def forget(self, before_s: float) -> None:
        """Drop readings that only windows before this instant need."""
        with self._lock:
            for watcher in self._watchers:
                watcher.states = [(channel, state) for channel, state in watcher.states if state.at_s >= before_s]
                for curve in watcher.curves.values():
                    curve.forget(before_s)

    @property
    def meters(self) -> tuple[MeterInfo, ...]:
        return tuple(watcher.info for watcher in self._watchers)

    @property
    def slowest_period_s(self) -> float:
        return max(watcher.period_s for watcher in self._watchers)


class _Watcher:
    """One meter with the threads that read it and the curves that they feed."""

    def __init__(self, meter: Meter, channels: Mapping[str, Channel], lock: threading.Lock) -> None:
        """channels: by the meter's own id; they may bear another id in the record, where two meters share one."""
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
        self.states: list[tuple[str, DeviceState]] = []
        self._state_due_s = 0.0
        self._id_of = {own: channel.id for own, channel in channels.items()}
        self._lock = lock
        self._stop = threading.Event()
        self._wake = threading.Event()
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
        self._wake.set()
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
        self._read.clear()
        self._wake.set()

    def wait_for_reading(self, deadline: float) -> None:
        if any(not isinstance(curve, IntervalCurve) for curve in self.curves.values()):
            self._read.wait(max(0.0, deadline - time.monotonic()))

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
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
            self._wake.wait(max(0.0, before_s + self._every_s - time.monotonic()))

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

    def _listen(self) -> None:
        try:
            for record in self.meter.stream():
                if not (isinstance(record, IntervalRecord) and isfinite(record.start_s) and isfinite(record.end_s)):
                    raise TypeError("its stream yielded something that is not an IntervalRecord with finite times")
                with self._lock:
                    for own_id, curve in self._by_own_id.items():
                        if isinstance(curve, IntervalCurve):
                            curve.add(record.start_s, record.end_s, guard.usable(record.joules, own_id))
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


def _energy(watcher: _Watcher, channel: str, result: WindowEnergy) -> Energy:
    reason = result.reason
    why = watcher.why_missing(channel)
    if reason is not None and reason.code in ("no_readings", "not_covered") and why is not None:
        reason = Reason("missing", f"the meter gave no reading: {why}")
    return Energy(
        channel=channel,
        joules=None if result.joules is None else round(result.joules, 6),
        uncertainty_j=None if result.uncertainty_j is None else round(result.uncertainty_j, 6),
        method=result.method,
        reason=None if reason is None else str(reason),
        largest_gap_s=None if result.largest_gap_s is None else round(result.largest_gap_s, 6),
    )


Chosen = list[tuple[Meter, tuple[Channel, ...]]]


def _check_names(registry: Registry, names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises LlmjoulesError where `auto` is mixed with names, or options are given to a meter that takes no part."""
    if "auto" in names and names != ["auto"]:
        raise LlmjoulesError("auto is not one meter among others.", "It chooses all of them.", "Give auto, or names.")
    for name in options:
        known = registry.entries if names == ["auto"] else names
        if name not in known:
            raise LlmjoulesError(
                f"Option for meter {name}, which takes no part.", nearest(name, known), "Mend its name."
            )


def _named(registry: Registry, names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> Chosen:
    chosen: Chosen = []
    for name in dict.fromkeys(names):
        try:
            meter = registry.make(name, options.get(name))
            chosen.append((meter, probe(meter)))
        except guard.PluginFault as error:
            raise LlmjoulesError(
                f"Meter {name} cannot be used.", f"{error.fault.why}.", "Leave it out, or mend the plug-in."
            ) from error
    if not chosen:
        raise LlmjoulesError("No meter is named.", "", "Name one: --meter auto")
    return chosen


def _automatic(registry: Registry, options: Mapping[str, Mapping[str, Any]], monitor: Monitor) -> Chosen:
    measuring: Chosen = []
    modelling: Chosen = []
    refused: list[str] = []
    for name, entry in registry.entries.items():
        if not entry.meter.auto:
            continue
        try:
            meter = registry.make(name, options.get(name))
            channels = probe(meter)
        except Unavailable as error:
            refused.append(f"{name}: {error.what.rstrip('.')}")
        except guard.PluginFault as error:
            monitor.faults.append(error.fault)
        else:
            measured = all(c.source == "measured" for c in channels if c.extent != "process-share")
            (measuring if measured else modelling).append((meter, channels))
    if measuring or not modelling:
        if not measuring:
            raise LlmjoulesError("No meter is usable here.", "; ".join(refused), "See why: llmjoules meters")
        return measuring
    monitor.notes.append(
        f"No meter can measure here (llmjoules meters says why): energy is modelled by {modelling[0][0].name!r}, "
        "not measured."
    )
    return modelling[:1]


def probe(meter: Meter) -> tuple[Channel, ...]:
    """The meter's channels, checked. Raises Unavailable, or PluginFault where the plug-in misbehaves."""

    def channels() -> Any:
        found: Any = meter.probe()
        return list(found) if isinstance(found, Iterable) else found  # a generator runs here, inside the guard

    return guard.checked_channels(meter.name, guard.call(meter.name, "probe", channels))


def _watchers(chosen: Chosen, lock: threading.Lock) -> list[_Watcher]:
    """Channel ids are unique in a record: where two meters share one, the later meter's reads `gpu:0@pyjoules`."""
    taken: set[str] = set()
    watchers = []
    for meter, channels in chosen:
        renamed = {c.id: f"{c.id}@{meter.name}" if c.id in taken else c.id for c in channels}
        taken.update(renamed.values())
        watchers.append(
            _Watcher(
                meter,
                {
                    c.id: msgspec.structs.replace(
                        c, id=renamed[c.id], contains=tuple(renamed.get(inner, inner) for inner in c.contains)
                    )
                    for c in channels
                },
                lock,
            )
        )
    return watchers
