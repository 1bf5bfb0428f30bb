"""Measuring around anyone's code: open meters, watch them from outside, and give the joules of any window."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.meters import guard
from llmjoules.meters.choice import Chosen, automatic, check_names, named
from llmjoules.meters.registry import Registry
from llmjoules.meters.types import Unavailable
from llmjoules.meters.watcher import NEAR_EDGE_S, READ_SHORTEST_S, Watcher
from llmjoules.meters.window import Reason, WindowEnergy
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.notebook import energies_html
from llmjoules.records.record import DeviceState, Energy, MeterInfo, TraceLine

FIRST_READING_LIMIT_S = 5.0
KEPT_NUDGES = 64  # a run of a model has about twenty edges
SETTLED_AFTER = 2.0  # times what a window's readings take to come in


class Window:
    """A named stretch of time: that of the code inside `with`, once.

    Its energies can be asked for once it is closed, also after the monitor has closed.
    """

    def __init__(self, monitor: Monitor, name: str) -> None:
        self.name = name
        self.start_s = 0.0
        self.end_s: float | None = None
        self._monitor = monitor
        self._energies: tuple[Energy, ...] | None = None

    def __enter__(self) -> Window:
        if self.start_s:
            raise RuntimeError(f"window {self.name!r} can be entered once; make another one")
        self._monitor.edge(self, time.monotonic())
        self.start_s = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_s = time.monotonic()
        self._monitor.edge(self, self.end_s)

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

    def _repr_html_(self) -> str:
        if self.end_s is None:
            return energies_html(f"{self.name}: still open", ())
        return energies_html(self.name, self.energies, self.end_s - self.start_s)

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
        check_names(registry, names, options or {})
        if names == ["auto"]:
            chosen, faults, self.notes = automatic(registry, options or {})
            self.faults += faults
        else:
            chosen = named(registry, names, options or {})
        self._lock = threading.Lock()
        self._watchers = _watchers(chosen, self._lock, self._needed_s)
        self._windows: deque[weakref.ref[Window]] = deque()  # that are open, or have not been asked yet
        self._nudged_s: deque[float] = deque(maxlen=KEPT_NUDGES)
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
        for watcher in self._watchers:  # named, but kept: it may yet come round
            if watcher.problem is not None and not any(curve.t for curve in watcher.curves.values()):
                self.faults.append(guard.Fault(watcher.name, f"gives no reading: {watcher.problem}"))
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

    def window(self, name: str) -> Window:
        """Measure the code inside `with`; an edge only takes the time. They nest, also across threads."""
        return Window(self, name)

    def edge(self, window: Window, t_s: float) -> None:
        """A window is about to begin or has ended: have the meters that rest read at once, and all densely."""
        if window.end_s is None:
            self._windows.append(weakref.ref(window))
        else:
            self._last_end_s = t_s
        for watcher in self._watchers:
            watcher.dense_until_s = t_s + NEAR_EDGE_S
            if watcher.resting:
                watcher.wake()

    def nudge(self) -> None:
        """Have every meter read as soon as its thread comes to it; costs microseconds."""
        self._nudged_s.append(time.monotonic())
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
        """Energy of every channel between two instants of `time.monotonic()`, from the readings there are.

        Of a monitor that has been open for long, old readings are thinned, save those around the edges of windows and
        around the last calls of nudge() and sample(): elsewhere the uncertainty is that of readings farther apart.
        """
        with self._lock:
            return self._energies(start_s, end_s)

    def _energies(self, start_s: float, end_s: float) -> tuple[Energy, ...]:
        return tuple(
            _energy(watcher, channel, curve.energy(start_s, end_s), bool(curve.t))
            for watcher in self._watchers
            for channel, curve in watcher.curves.items()
        )

    def _needed_s(self) -> list[float]:
        """Edges around which no reading may go. Windows that nobody has asked are settled, so that theirs may.

        While the lock is held.
        """
        now_s = time.monotonic()
        settled_s = now_s - SETTLED_AFTER * max(watcher.settle_s for watcher in self._watchers)
        needed_s = list(self._nudged_s)
        for _ in range(len(self._windows)):  # in a window begun meanwhile nothing is old
            reference = self._windows.popleft()
            window = reference()
            if window is None or window._energies is not None:
                continue
            end_s = window.end_s
            if end_s is not None and end_s < settled_s:
                window._energies = self._energies(window.start_s, end_s)
                continue
            needed_s += [window.start_s] if end_s is None else [window.start_s, end_s]
            self._windows.append(reference)
        return needed_s

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
            while self._nudged_s and self._nudged_s[0] < before_s:
                self._nudged_s.popleft()
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


def _energy(watcher: Watcher, channel: str, result: WindowEnergy, any_reading: bool) -> Energy:
    reason = result.reason
    why = watcher.why_missing(channel)
    if reason is not None and why is not None and (reason.code in ("no_readings", "not_covered") or not any_reading):
        reason = Reason("missing", f"the meter gave no reading: {why}")
    return Energy(
        channel=channel,
        joules=None if result.joules is None else round(result.joules, 6),
        uncertainty_j=None if result.uncertainty_j is None else round(result.uncertainty_j, 6),
        method=result.method,
        reason=None if reason is None else str(reason),
        largest_gap_s=None if result.largest_gap_s is None else round(result.largest_gap_s, 6),
    )


def _watchers(chosen: Chosen, lock: threading.Lock, needed_s: Callable[[], Sequence[float]]) -> list[Watcher]:
    """Channel ids are unique in a record: where two meters share one, the later meter's reads `gpu:0@pyjoules`."""
    taken: set[str] = set()
    watchers = []
    for meter, channels in chosen:
        renamed = {c.id: f"{c.id}@{meter.name}" if c.id in taken else c.id for c in channels}
        taken.update(renamed.values())
        watchers.append(
            Watcher(
                meter,
                {
                    c.id: msgspec.structs.replace(
                        c, id=renamed[c.id], contains=tuple(renamed.get(inner, inner) for inner in c.contains)
                    )
                    for c in channels
                },
                lock,
                needed_s,
            )
        )
    return watchers
