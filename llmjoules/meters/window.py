"""Window arithmetic: from the readings of a channel to the joules of any window, with what they can be off by.

Each channel has one curve Ê(t), its cumulative energy; a window is a difference of two of its values, so windows that
split a time add up. Pure arithmetic on numbers: no clock, no device, no thread. Times are seconds on any monotonic
clock. All uncertainties are 95 % half-widths of the method's error; the channel's gain is kept apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import inf, sqrt
from typing import NamedTuple

from llmjoules.records.record import Channel, TraceLine

Z_95 = 1.96
# A fall of a wrapping counter that implies more than this is a restart, not a wrap: no package or board draws it.
PLAUSIBLE_W = 20_000.0
# The slope beside an edge is taken over at least this many times the timing error of its ends: good to a sixth at worst
# and to 7 % mostly, since these are half-widths. More would reach over several ticks of a counter that is renewed every
# 100 ms and read every 10 ms, and so beyond the end of a short phase.
SLOPE_BASE = 6.0
# But it looks no further than this many knots, so that dropping older ones never changes a later window.
SLOPE_KNOTS = 10
# A gauge that shows the mean of its last period is half of that late, and a little more where it is renewed in steps.
LAG = 0.6
# Interval records that leave out more than this part of a record's length have a hole between them.
HOLE = 0.1


class Reason(NamedTuple):
    """Why there is no figure: a code for programs and a sentence for people."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class WindowEnergy(NamedTuple):
    joules: float | None
    uncertainty_j: float | None
    method: str
    reason: Reason | None = None


class _Point(NamedTuple):
    joules: float
    uncertainty_j: float


class _Slope(NamedTuple):
    power_w: float
    error_w: float


class Curve:
    """Cumulative energy over time through knots; between two knots a subclass says how it runs.

    Feed readings in order of time, then ask. `bad[i]` holds why nothing can be said between knot i-1 and knot i.
    """

    method = ""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.t: list[float] = []
        self.e: list[float] = []
        self.bad: list[Reason | None] = []
        self._bad_before: list[int] = []  # how many bad stretches end at or before this knot

    def energy(self, start_s: float, end_s: float) -> WindowEnergy:
        """Joules between two instants. None with a reason where the readings do not determine it; never negative."""
        reason = self._obstacle(start_s, end_s)
        if reason is not None:
            return WindowEnergy(None, None, self.method, reason)
        start, end = self._at(start_s), self._at(end_s)
        joules = end.joules - start.joules
        uncertainty = self._window_uncertainty(start_s, end_s, start, end)
        if uncertainty >= joules:
            text = f"the counter moved by {joules:.3g} J in this window, and that can be off by {uncertainty:.3g} J"
            return WindowEnergy(None, None, self.method, Reason("unresolved", text))
        return WindowEnergy(joules, uncertainty, self.method)

    def covers(self, end_s: float, margin: int = 2) -> bool:
        """Are there `margin` knots after this instant, so that the slope behind it is known?"""
        return len(self.t) - bisect_right(self.t, end_s) >= margin

    def trace(self, edges_s: Sequence[float]) -> TraceLine:
        """Mean power per bucket (its area is the energy, whatever the number of buckets) and the band that it hides."""
        means: list[float | None] = []
        lows: list[float | None] = []
        highs: list[float | None] = []
        for start_s, end_s in pairwise(edges_s):
            mean = self._mean_w(start_s, end_s)
            band = [mean, *self._powers_w(start_s, end_s)] if mean is not None else []
            means.append(mean)
            lows.append(min(band) if band else None)
            highs.append(max(band) if band else None)
        return TraceLine(mean_w=tuple(means), min_w=tuple(lows), max_w=tuple(highs))

    def forget(self, before_s: float) -> None:
        """Drop knots that no window starting at `before_s` or later needs; those that its slope may use stay."""
        keep = max(0, bisect_right(self.t, before_s) - 1 - 2 * SLOPE_KNOTS)
        for column in self._columns():
            del column[:keep]

    def _columns(self) -> list[list]:  # type: ignore[type-arg]
        return [self.t, self.e, self.bad, self._bad_before]

    def _append(self, t_s: float, joules: float, bad: Reason | None) -> None:
        self.t.append(t_s)
        self.e.append(joules)
        self.bad.append(bad)
        self._bad_before.append((self._bad_before[-1] if self._bad_before else 0) + (bad is not None))

    def _interval(self, t_s: float) -> int:
        """Index of the knot that begins the interval in which this instant lies."""
        return min(max(bisect_right(self.t, t_s) - 1, 0), len(self.t) - 2)

    def _obstacle(self, start_s: float, end_s: float) -> Reason | None:
        period_s = self.channel.period_s
        if end_s <= start_s:
            return Reason("too_short", "the window has no length")
        if end_s - start_s < period_s:
            text = f"the window ({_ms(end_s - start_s)}) is shorter than the meter's period ({_ms(period_s)})"
            return Reason("too_short", text)
        if len(self.t) < 2:
            return Reason("no_readings", "the meter gave fewer than two readings")
        if start_s < self.t[0] or end_s > self.t[-1]:
            return Reason("not_covered", "the meter's readings do not reach over the whole window")
        return self._bad_between(start_s, end_s)

    def _bad_between(self, start_s: float, end_s: float) -> Reason | None:
        first = self._interval(start_s)
        last = max(bisect_left(self.t, end_s) - 1, first)  # a window that ends on a knot does not reach behind it
        if self._bad_before[last + 1] == self._bad_before[first]:
            return None
        return next(bad for bad in self.bad[first + 1 : last + 2] if bad is not None)

    def _mean_w(self, start_s: float, end_s: float) -> float | None:
        if len(self.t) < 2 or start_s < self.t[0] or end_s > self.t[-1] or end_s <= start_s:
            return None
        if self._bad_between(start_s, end_s) is not None:
            return None
        return (self._at(end_s).joules - self._at(start_s).joules) / (end_s - start_s)

    def _at(self, t_s: float) -> _Point:
        raise NotImplementedError

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        raise NotImplementedError

    def _window_uncertainty(self, start_s: float, end_s: float, start: _Point, end: _Point) -> float:
        raise NotImplementedError


class TotalCurve(Curve):
    """Knots at which the total is known; where an edge falls between two of them, power is taken to step once there.

    Phases begin with a step of power, so a straight line between the knots is not only uncertain but biased. From the
    left the energy is extrapolated with the power before the interval, from the right with the power after it; a
    single step makes the larger of the two right where power rises and the smaller where it falls. What they and the
    straight line disagree by is the edge's uncertainty: it covers a step at the edge as well as a ramp through it.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.dt: list[float] = []  # half-width of the time of each knot

    def _columns(self) -> list[list]:  # type: ignore[type-arg]
        return [*super()._columns(), self.dt]

    def _knot(self, t_s: float, dt_s: float, joules: float, bad: Reason | None) -> None:
        if self.t and t_s <= self.t[-1]:
            return  # two ticks inside one reading's timing error: the later one will do
        self._append(t_s, joules, bad)
        self.dt.append(dt_s)

    def _at(self, t_s: float) -> _Point:
        i = self._interval(t_s)
        since_s, until_s, low, high = t_s - self.t[i], self.t[i + 1] - t_s, self.e[i], self.e[i + 1]
        mean_w = (high - low) / (since_s + until_s)
        chord = low + mean_w * since_s
        timing = mean_w * max(self.dt[i], self.dt[i + 1])
        before, after = self._slope(i, -1), self._slope(i + 1, +1)
        if before is None or after is None:
            return _Point(chord, max(chord - low, high - chord) + timing)
        left = min(low + before.power_w * since_s, high)
        right = max(high - after.power_w * until_s, low)
        if before.power_w <= mean_w <= after.power_w:
            best = max(left, right)
        elif after.power_w <= mean_w <= before.power_w:
            best = min(left, right)
        else:
            best = chord
        spread = max(abs(left - best), abs(right - best), abs(chord - best))
        slopes = max(before.error_w * since_s, after.error_w * until_s)
        return _Point(best, min(sqrt(spread**2 + timing**2 + slopes**2), high - low + timing))

    def _slope(self, i: int, step: int) -> _Slope | None:
        """Mean power beside knot i, backwards or forwards, over the shortest base that makes it good (SLOPE_BASE).

        Over a shorter one where there are no more knots near; None where there is none at all. By how much the power of
        an equal base behind it differs is part of its error: power that changes there may well have changed here.
        """
        j = self._base(i, step)
        if j == i:
            return None
        power_w, timing_w = self._power_between(i, j)
        k = self._base(j, step)
        change_w = abs(self._power_between(j, k)[0] - power_w) if k != j else 0.0
        return _Slope(power_w, sqrt(timing_w**2 + change_w**2))

    def _base(self, i: int, step: int) -> int:
        """The knot up to which a slope beside knot i is taken; i itself where there is none."""
        j = i
        while abs(j - i) < SLOPE_KNOTS and 0 <= j + step < len(self.t):
            if self.bad[j if step < 0 else j + 1] is not None:
                break
            j += step
            if abs(self.t[j] - self.t[i]) >= SLOPE_BASE * (self.dt[i] + self.dt[j]):
                break
        return j

    def _power_between(self, i: int, j: int) -> tuple[float, float]:
        """Mean power between two knots, and what the timing error of both makes of it."""
        base_s = abs(self.t[j] - self.t[i])
        power_w = abs(self.e[j] - self.e[i]) / base_s
        return power_w, power_w * (self.dt[i] + self.dt[j]) / base_s

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        first, last = self._interval(start_s), self._interval(end_s)
        return [
            (self.e[i + 1] - self.e[i]) / (self.t[i + 1] - self.t[i])
            for i in range(first, last + 1)
            if self.t[i + 1] > start_s
            and self.t[i] < end_s
            and self.t[i + 1] - self.t[i] >= SLOPE_BASE * (self.dt[i] + self.dt[i + 1])
        ]

    def _window_uncertainty(self, start_s: float, end_s: float, start: _Point, end: _Point) -> float:
        i, last = self._interval(start_s), self._interval(end_s)
        edges = sqrt(start.uncertainty_j**2 + end.uncertainty_j**2 + self._rounding_j(last - i + 1) ** 2)
        if i != last:
            return edges
        # No reading fell inside: what the interval holds beside the window may as well lie in it, or in reverse.
        outside = 1 - (end_s - start_s) / (self.t[i + 1] - self.t[i])
        return edges + outside * (self.e[i + 1] - self.e[i])

    def _rounding_j(self, intervals: int) -> float:  # noqa: ARG002 - interval records need it
        """A total is rounded at both ends of a window, however long it is."""
        return self.channel.resolution if self.channel.unit == "J" else 0.0


class CounterCurve(TotalCurve):
    """A running total in joules that the device renews every `period_s`; wraps at `wraps_at_j` where that is known."""

    method = "counter"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.method = "model" if channel.kind == "model" else "counter"
        self._raw: float | None = None
        self._read_s = 0.0

    def add(self, t_s: float, reading_j: float, latency_s: float = 0.0) -> None:
        """A reading taken at `t_s` (the middle of a call that took `latency_s`). Unchanged readings make no knot."""
        if self._raw is not None and t_s <= self._read_s:
            return
        previous, self._raw = self._raw, reading_j
        earlier_s, self._read_s = self._read_s, t_s
        oldest_s = t_s - self.channel.period_s
        if previous is None:
            self._knot((oldest_s + t_s) / 2, (t_s - oldest_s + latency_s) / 2, reading_j, None)
        elif reading_j != previous:
            rise, bad = self._rise(previous, reading_j, t_s - earlier_s)
            oldest_s = max(oldest_s, earlier_s)  # it was renewed since the reading before this one
            self._knot((oldest_s + t_s) / 2, (t_s - oldest_s + latency_s) / 2, self.e[-1] + rise, bad)

    def _obstacle(self, start_s: float, end_s: float) -> Reason | None:
        if self.t and self.t[-1] < end_s <= self._read_s:
            return Reason("not_moving", f"the counter has not moved for {_ms(self._read_s - self.t[-1])}")
        return super()._obstacle(start_s, end_s)

    def _rise(self, previous_j: float, reading_j: float, elapsed_s: float) -> tuple[float, Reason | None]:
        if reading_j > previous_j:
            return reading_j - previous_j, None
        wraps_at_j = self.channel.wraps_at_j
        if wraps_at_j is not None and reading_j + wraps_at_j - previous_j <= PLAUSIBLE_W * elapsed_s:
            return reading_j + wraps_at_j - previous_j, None
        return 0.0, Reason("counter_reset", f"the counter fell from {previous_j:.6g} J to {reading_j:.6g} J")


class IntervalCurve(TotalCurve):
    """Records of energy over intervals that follow on each other; an edge inside a record shares it out."""

    method = "intervals"

    def add(self, start_s: float, end_s: float, joules: float | None) -> None:
        """A record; joules is None where the device gave none for this channel."""
        if end_s <= start_s or (self.t and end_s <= self.t[-1]):
            return
        if not self.t:
            self._knot(start_s, 0.0, 0.0, None)
        elif start_s - self.t[-1] > HOLE * (end_s - start_s):
            self._knot(start_s, 0.0, self.e[-1], Reason("gap", f"no record for {_ms(start_s - self.t[-1])}"))
        missing = Reason("missing", "the meter gave no figure in one of its records") if joules is None else None
        self._knot(end_s, 0.0, self.e[-1] + (joules or 0.0), missing)

    def _rounding_j(self, intervals: int) -> float:
        """Each record is rounded by itself, and at a steady power all of them the same way."""
        return intervals * self.channel.resolution / 2


class PowerCurve(Curve):
    """Samples of power, joined by straight lines; a gap longer than `gap_limit_s` says nothing.

    A device that renews its figure every `period_s` shows each sample many times to a faster reader. Taken at its word
    it would draw stairs that are late by half a period, so a sample counts once, at the time at which it appeared.
    Many devices show the mean of the last period, so power as it was half a period ago (LAG): a window is then off by
    up to that time times what power changes in it and a period around it, which is part of its band.
    Power may have stepped anywhere between two samples: the trapezoid is then off by ΔP·Δt·(x - 1/2) with x uniform,
    a variance of (ΔP·Δt)²/12 for each interval, and these add up.
    """

    method = "power-integral"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.p: list[float] = []
        self._variance: list[float] = []
        self._read_s = -inf
        self.gap_limit_s = max(5 * channel.period_s, 0.5)

    def _columns(self) -> list[list]:  # type: ignore[type-arg]
        return [*super()._columns(), self.p, self._variance]

    def add(self, t_s: float, power_w: float) -> None:
        if t_s <= self._read_s:
            return
        earlier_s, self._read_s = self._read_s, t_s
        period_s = self.channel.period_s
        appeared_s = (max(t_s - period_s, earlier_s) + t_s) / 2
        if self.t and period_s:
            sample_before_s = appeared_s - period_s
            if power_w == self.p[-1]:
                if t_s - self.t[-1] >= 2 * period_s:  # steady; its last sample is known only once the next has come
                    self._sample(t_s - period_s, power_w)
                return
            if earlier_s >= sample_before_s > self.t[-1] + 2 * (t_s - earlier_s):
                self._sample(sample_before_s, self.p[-1])  # that steady power's last sample
        self._sample(appeared_s, power_w)

    def _sample(self, t_s: float, power_w: float) -> None:
        if not self.t:
            joules, variance, bad = 0.0, 0.0, None
        else:
            dt, previous_w = t_s - self.t[-1], self.p[-1]
            if dt <= 0:
                return
            joules = self.e[-1] + (previous_w + power_w) / 2 * dt
            variance = self._variance[-1] + ((power_w - previous_w) * dt) ** 2 / 12
            bad = None
            if dt > self.gap_limit_s:
                bad = Reason("gap", f"no reading for {_ms(dt)}; the limit is {_ms(self.gap_limit_s)}")
        self._append(t_s, joules, bad)
        self.p.append(power_w)
        self._variance.append(variance)

    def covers(self, end_s: float, margin: int = 1) -> bool:
        """One sample behind an edge will do: no slope is taken, and steady power shows few."""
        return super().covers(end_s, margin)

    def _power_w(self, t_s: float) -> float:
        i = self._interval(t_s)
        share = (t_s - self.t[i]) / (self.t[i + 1] - self.t[i])
        return self.p[i] + (self.p[i + 1] - self.p[i]) * share

    def _at(self, t_s: float) -> _Point:
        i = self._interval(t_s)
        return _Point(self.e[i] + (self.p[i] + self._power_w(t_s)) / 2 * (t_s - self.t[i]), 0.0)

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        inside = self.p[bisect_right(self.t, start_s) : bisect_right(self.t, end_s)]
        return [self._power_w(start_s), self._power_w(end_s), *inside]

    def _window_uncertainty(self, start_s: float, end_s: float, *_: _Point) -> float:
        steps = self._variance[self._interval(end_s) + 1] - self._variance[self._interval(start_s)]
        rounding = self.channel.resolution / 2 * (end_s - start_s)
        period_s = self.channel.period_s
        near = self._powers_w(max(start_s - period_s, self.t[0]), min(end_s + period_s, self.t[-1]))
        lag = LAG * period_s * (max(near) - min(near))
        return sqrt(Z_95**2 * steps + rounding**2 + lag**2)


def curve_for(channel: Channel) -> CounterCurve | IntervalCurve | PowerCurve:
    """The curve that turns this channel's readings into joules."""
    if channel.kind == "interval":
        return IntervalCurve(channel)
    return CounterCurve(channel) if channel.unit == "J" else PowerCurve(channel)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
