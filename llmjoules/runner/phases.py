"""Phases: stretches of a run with a name, their edges taken when the devices have finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import msgspec

from llmjoules.meters.monitor import Monitor, Window
from llmjoules.records.record import DeviceState, Energy, MeterInfo, Part, Phase, Trace, TraceLine
from llmjoules.runner.events import PhaseBegan

TRACE_BUCKETS = 400
Stretch = tuple[str, float, float]


class _Done(NamedTuple):
    window: Window
    parts: tuple[Stretch, ...]


class Recorder:
    """Collects the phases of one run. Times in what it returns count from the run's beginning.

    tell: hears of each phase before it begins.
    finish_work: waits for everything that was started on the devices; to be set once there are any.
    """

    def __init__(self, monitor: Monitor, tell: Callable[[PhaseBegan], None]) -> None:
        self._monitor = monitor
        self._tell = tell
        self.finish_work: Callable[[], None] = lambda: None
        self._done: list[_Done] = []
        self.current: str | None = None
        self.origin_s = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[Window]:
        """Measure the code inside as one phase, also if it fails."""
        self.current = name
        self.announce(name)
        with self.window(name, keep=True) as window:
            yield window
        self.current = None

    def announce(self, name: str) -> None:
        """Tell what begins now; it need not be a phase."""
        self._tell(PhaseBegan(name, tuple(self._phase(done, wait=False) for done in self._done)))

    @contextmanager
    def window(self, name: str, *, keep: bool = False) -> Iterator[Window]:
        """Measure the code inside, also if it fails; it is no phase of the run, save to `keep` it as one.

        Every meter reads right before and right after, outside the window, so that its edges fall beside a reading.
        """
        self.finish_work()
        self._monitor.sample()
        window = self._monitor.window(name)
        try:
            with window:
                if keep and not self._done:
                    self.origin_s = window.start_s
                try:
                    yield window
                finally:
                    self.finish_work()
        finally:
            if keep:
                self._done.append(_Done(window, ()))
            self._monitor.sample()

    def settle(self, end_s: float) -> None:
        """Wait for the readings that follow an instant of `time.monotonic()`."""
        self._monitor.settle(end_s)

    def energies(self, start_s: float, end_s: float) -> tuple[Energy, ...]:
        """Of any stretch, at instants of `time.monotonic()`, from the readings there are."""
        return self._monitor.energies(start_s, end_s)

    @property
    def meters(self) -> tuple[MeterInfo, ...]:
        return self._monitor.meters

    @property
    def slowest_period_s(self) -> float:
        return self._monitor.slowest_period_s

    def expect_edge(self) -> None:
        """An edge inside the phase was just passed: have the meters read soon, without waiting for them."""
        self._monitor.nudge()

    def split_last(self, parts: Sequence[Stretch]) -> None:
        """Name the parts of the last phase, at instants of `time.monotonic()`."""
        self._done[-1] = self._done[-1]._replace(parts=tuple(parts))

    def phases(self) -> tuple[Phase, ...]:
        """Waits for the readings that follow the last phase."""
        if self._done:
            self._monitor.settle(self._done[-1].window.end_s or 0.0)
        return tuple(self._phase(done) for done in self._done)

    def trace(self) -> Trace | None:
        """Power from the first phase to the last in about TRACE_BUCKETS buckets; edges of phases and parts are kept."""
        if not self._done:
            return None
        edges = sorted({round(edge, 6) for done in self._done for edge in self._edges(done)})
        filled = _fill(edges, max((edges[-1] - edges[0]) / TRACE_BUCKETS, self._grain_s(edges[-1])))
        lines = self._monitor.trace(*([self.origin_s + edge for edge in some] for some in (filled, edges)))
        return Trace(edges_s=tuple(filled), channels={channel: _rounded(line) for channel, line in lines.items()})

    def _grain_s(self, end_s: float) -> float:
        """The shortest bucket that shows power and not a meter's steps: its period, and 20 steps of its resolution."""
        grains_s = [0.0]
        energies = {e.channel: e for e in self._monitor.energies(self.origin_s, self.origin_s + end_s)}
        for channel in (channel for meter in self._monitor.meters for channel in meter.channels):
            joules = energies[channel.id].joules
            if joules and channel.unit == "J" and channel.extent != "process-share":
                grains_s.append(max(channel.period_s, 20 * channel.resolution / (joules / end_s)))
        return max(grains_s)

    def states(self) -> dict[str, tuple[DeviceState, ...]]:
        """What the meters told of their devices from the first phase to the last."""
        if not self._done:
            return {}
        found = self._monitor.states(self.origin_s, self._done[-1].window.end_s or self.origin_s)
        return {
            channel: tuple(msgspec.structs.replace(state, at_s=self.since(state.at_s)) for state in states)
            for channel, states in found.items()
        }

    def _phase(self, done: _Done, wait: bool = True) -> Phase:
        start_s, end_s = self._span(done.window)
        return Phase(
            name=done.window.name,  # type: ignore[arg-type]
            start_s=start_s,
            end_s=end_s,
            energy=done.window.energies
            if wait
            else self._monitor.energies(done.window.start_s, done.window.end_s or 0.0),
            parts=self.parts(done.parts),
        )

    def parts(self, stretches: Sequence[Stretch]) -> tuple[Part, ...]:
        return tuple(
            Part(
                name=name,  # type: ignore[arg-type]
                start_s=self.since(start),
                end_s=self.since(end),
                energy=self._monitor.energies(start, end),
            )
            for name, start, end in stretches
        )

    def _edges(self, done: _Done) -> Iterator[float]:
        yield from self._span(done.window)
        for _, start, end in done.parts:
            yield self.since(start)
            yield self.since(end)

    def _span(self, window: Window) -> tuple[float, float]:
        assert window.end_s is not None
        return self.since(window.start_s), self.since(window.end_s)

    def since(self, instant_s: float) -> float:
        """An instant of `time.monotonic()` as the record counts it."""
        return round(instant_s - self.origin_s, 6)


def _fill(edges: Sequence[float], longest: float) -> list[float]:
    """Add edges between the given ones so that buckets are about `longest` long and none is much longer."""
    filled = [edges[0]]
    for start, end in pairwise(edges):
        pieces = max(1, round((end - start) / longest)) if longest > 0 else 1
        filled += [round(start + (end - start) * k / pieces, 6) for k in range(1, pieces)] + [end]
    return sorted(set(filled))


def _rounded(line: TraceLine) -> TraceLine:
    """A milliwatt is far below what any meter resolves, and five digits keep the area within 0.001 %."""

    def short(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if value is None else float(f"{value:.5g}") for value in values)

    return msgspec.structs.replace(line, mean_w=short(line.mean_w), min_w=short(line.min_w), max_w=short(line.max_w))
