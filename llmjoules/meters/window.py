"""Window arithmetic: from the readings of a channel to the joules of any window, with what they can be off by.

Each channel has one curve Ê(t), its cumulative energy; a window is a difference of two of its values, so windows that
split a time add up. Pure arithmetic on numbers: no clock, no device, no thread. Times are seconds on any monotonic
clock. All uncertainties are 95 % half-widths of the method's error; the channel's gain is kept apart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import inf, sqrt
from typing import Any, NamedTuple

from llmjoules.meters.edges import Z_95, Point, Slope, combined, extrapolated
from llmjoules.meters.ticks import Ticks
from llmjoules.records.record import Channel, TraceLine

# A fall of a wrapping counter that implies more than this is a restart, not a wrap: no package or board draws it.
PLAUSIBLE_W = 20_000.0
# The slope beside an edge is taken over at least this many times the timing error of its ends: good to a sixth at worst
# and to 7 % mostly, since these are half-widths. More would reach over several ticks of a counter that is renewed every
# 100 ms and read every 10 ms, and so beyond the end of a short phase.
SLOPE_BASE = 6.0
# But it looks no further than this many knots, so that dropping older ones never changes a later window.
SLOPE_KNOTS = 10
# How many knots a curve keeps in the long run, besides those that windows need: enough for the trace of any run.
MOST_KNOTS = 1200
# Where there is no second base behind a slope (two ticks after a window are all that is waited for), power is taken to
# have changed by this part since the slope was taken.
UNKNOWN_CHANGE = 0.1
# A gauge that shows the mean of its last period is half of that late, and a little more where it is renewed in steps.
LAG = 0.6
# Between two readings of power that are further apart than twice this (or the device's period), the mean may have been
# another one by this part, even where both show the same.
UNREAD_S, UNREAD = 0.05, 0.1
# Counters that are renewed more rarely than this may have a beat that is worth knowing.
BEAT_FROM_S = 0.02
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
    largest_gap_s: float | None = None  # between two readings of power


class Curve:
    """Cumulative energy over time through knots; between two knots a subclass says how it runs.

    Feed readings in order of time, then ask. `bad[i]` holds why nothing can be said between knot i-1 and knot i.
    """

    method = ""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.t = array("d")
        self.e = array("d")
        self.bad: list[Reason | None] = []
        self._bad_before = array("q")  # how many bad stretches end at or before this knot
        self._number = array("q")  # of the knot, those that were dropped counted
        self._thin_at = MOST_KNOTS

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

    def trace(self, edges_s: Sequence[float], exact_s: Sequence[float] | None = None) -> TraceLine:
        """Mean power per bucket, and the band that it hides.

        The area between two of the edges in `exact_s` (all of them by default) is the energy of that window.
        """
        means: list[float | None] = []
        lows: list[float | None] = []
        highs: list[float | None] = []
        totals_j = self._totals_j(edges_s, edges_s if exact_s is None else exact_s)
        for (start_s, start_j), (end_s, end_j) in pairwise(zip(edges_s, totals_j, strict=True)):
            mean = None
            if start_j is not None and end_j is not None and self._is_known(start_s, end_s):
                mean = (end_j - start_j) / (end_s - start_s)
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

    @property
    def has_many(self) -> bool:
        return len(self.t) > self._thin_at

    def thin(self, around_s: Sequence[float]) -> None:
        """Keep the number of knots bounded: between two old ones that stay, the curve is one stretch.

        The newest stay, and those that windows with an edge at one of these instants need: their figures do not change.
        A window elsewhere in the old part is stated with the uncertainty of its longer stretches.
        """
        if not self.has_many:
            return
        count = len(self.t)
        newest = count - MOST_KNOTS // 4
        stay = {0, *range(newest, count)}
        for at_s in around_s:
            i = bisect_right(self.t, at_s)
            stay.update(range(max(i - 2 * SLOPE_KNOTS - 1, 0), min(i + 2 * SLOPE_KNOTS + 1, count)))
        apart_s = (self.t[newest] - self.t[0]) / (MOST_KNOTS // 4)
        last_s = self.t[0]
        for i in range(1, newest):
            if self.t[i + 1] - last_s > apart_s:
                stay.add(i)
            if i in stay:
                last_s = self.t[i]
        kept = sorted(stay)
        for a, b in pairwise(kept):
            if b - a > 1:
                self._merge(range(a + 1, b + 1))
        for column in self._columns():
            column[:] = _those(column, kept)
        self._thin_at = max(MOST_KNOTS, 2 * len(kept))

    def _merge(self, stretches: range) -> None:
        """The last of these stretches will stand for all of them."""
        self.bad[stretches[-1]] = next((bad for i in stretches if (bad := self.bad[i]) is not None), None)

    def _columns(self) -> list[Any]:
        return [self.t, self.e, self.bad, self._bad_before, self._number]

    def _append(self, t_s: float, joules: float, bad: Reason | None) -> None:
        self.t.append(t_s)
        self.e.append(joules)
        self.bad.append(bad)
        self._number.append(self._number[-1] + 1 if self._number else 0)
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

    def _is_known(self, start_s: float, end_s: float) -> bool:
        return end_s > start_s and self._bad_between(start_s, end_s) is None

    def _covers(self, t_s: float) -> bool:
        return len(self.t) >= 2 and self.t[0] <= t_s <= self.t[-1]

    def _totals_j(self, edges_s: Sequence[float], exact_s: Sequence[float]) -> list[float | None]:  # noqa: ARG002
        """Cumulative energy at the edges of a trace; None where no reading reaches."""
        return [self._at(t_s).joules if self._covers(t_s) else None for t_s in edges_s]

    def _at(self, t_s: float) -> Point:
        raise NotImplementedError

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        raise NotImplementedError

    def _window_uncertainty(self, start_s: float, end_s: float, start: Point, end: Point) -> float:
        raise NotImplementedError


class TotalCurve(Curve):
    """Knots at which the total is known; where an edge falls between two of them, power is taken to step once there.

    Phases begin with a step of power, so a straight line between the knots is not only uncertain but biased. From the
    left the energy is extrapolated with the power before the interval, from the right with the power after it. At the
    step itself both are right, and the one over less power is the more certain, so they are weighted by variance. Where
    they disagree beyond that, the step was elsewhere in the interval: then the larger is right if power rises and the
    smaller if it falls. What they disagree by is part of the band.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.dt = array("d")  # half-width of the time of each knot
        self._unseen_j2 = array("d")  # running sum

    def _columns(self) -> list[Any]:
        return [*super()._columns(), self.dt, self._unseen_j2]

    def _knot(self, t_s: float, dt_s: float, joules: float, bad: Reason | None) -> None:
        if self.t and t_s <= self.t[-1]:
            return  # two ticks inside one reading's timing error: the later one will do
        self._append(t_s, joules, bad)
        self.dt.append(dt_s)
        self._unseen_j2.append((self._unseen_j2[-1] if self._unseen_j2 else 0.0) + self._unseen_variance_j2())

    def _unseen_variance_j2(self) -> float:
        """What the last interval's energy is off by where the sensor looks for a part of it only, as a variance.

        Power that stepped by ΔP at x of the interval, x uniform, is seen from the sensor's next look on: off by ΔP·Δt·x
        up to that look, about (1 - duty)/5 of (ΔP·Δt)² in the mean of squares. What timing makes of ΔP is no step.
        """
        if self.channel.duty == 1 or len(self.t) < 3:
            return 0.0
        i = len(self.t) - 1
        width_s, power_w, timing_w = self._power_between(i - 1, i)
        _, earlier_w, earlier_timing_w = self._power_between(i - 2, i - 1)
        step_w2 = (power_w - earlier_w) ** 2 - (timing_w**2 + earlier_timing_w**2) / 3
        return max(0.0, step_w2) * width_s**2 * (1 - self.channel.duty) / 5

    def _at(self, t_s: float) -> Point:
        i = self._interval(t_s)
        since_s, until_s, low, high = t_s - self.t[i], self.t[i + 1] - t_s, self.e[i], self.e[i + 1]
        mean_w = (high - low) / (since_s + until_s)
        timing_j = mean_w * max(self.dt[i], self.dt[i + 1])
        before, after = self._slope(i, -1), self._slope(i + 1, +1)
        if before is None or after is None:
            chord = low + mean_w * since_s
            return Point(chord, max(chord - low, high - chord) + timing_j)
        left = extrapolated(min(low + before.power_w * since_s, high), before, self.dt[i], since_s)
        right = extrapolated(max(high - after.power_w * until_s, low), after, self.dt[i + 1], until_s)
        rising = before.power_w <= mean_w <= after.power_w
        falling = after.power_w <= mean_w <= before.power_w
        step = max(left.joules, right.joules) if rising else min(left.joules, right.joules) if falling else None
        point = combined(left, right, step, max(before.power_w, mean_w, after.power_w))
        most_j = high - low + timing_j
        return Point(point.joules, min(point.independent_j, most_j), min(point.common_j, most_j))

    def _slope(self, i: int, step: int) -> Slope | None:
        """Mean power beside knot i, backwards or forwards, over the shortest base that makes it good (SLOPE_BASE).

        Over a shorter one where there are no more knots near; None where there is none at all. By how much the power of
        an equal base behind it differs, more than timing explains, is how much it may have changed on the other side.
        """
        j = self._base(i, step)
        if j == i:
            return None
        base_s, power_w, timing_w = self._power_between(i, j)
        k = self._base(j, step)
        if k == j:
            return Slope(power_w, base_s, self.dt[j], UNKNOWN_CHANGE * power_w)
        _, behind_w, behind_timing_w = self._power_between(j, k)
        change_w2 = (power_w - behind_w) ** 2 - (timing_w**2 + behind_timing_w**2) / 4
        return Slope(power_w, base_s, self.dt[j], sqrt(max(0.0, change_w2)))

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

    def _power_between(self, i: int, j: int) -> tuple[float, float, float]:
        """Time and mean power between two knots, and what the timing error of both makes of the power."""
        base_s = abs(self.t[j] - self.t[i])
        power_w = abs(self.e[j] - self.e[i]) / base_s
        return base_s, power_w, power_w * sqrt(self.dt[i] ** 2 + self.dt[j] ** 2) / base_s

    def _totals_j(self, edges_s: Sequence[float], exact_s: Sequence[float]) -> list[float | None]:
        """Between knots and exact edges as straight as can be: buckets may be finer than the counter's tick, where the
        two-sided estimate of each edge by itself would make power jump."""
        points = {t_s: self._at(t_s).joules for t_s in exact_s if self._covers(t_s)}
        points = dict(zip(self.t, self.e, strict=True)) | points
        times_s = sorted(points)
        joules = list(accumulate((points[t_s] for t_s in times_s), max))
        return [_straight(times_s, joules, t_s) if self._covers(t_s) else None for t_s in edges_s]

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        first, last = self._interval(start_s), self._interval(end_s)
        return [
            (self.e[i + 1] - self.e[i]) / (self.t[i + 1] - self.t[i])
            for i in range(first, last + 1)
            if self.t[i + 1] > start_s
            and self.t[i] < end_s
            and self.t[i + 1] - self.t[i] >= SLOPE_BASE * (self.dt[i] + self.dt[i + 1])
        ]

    def _window_uncertainty(self, start_s: float, end_s: float, start: Point, end: Point) -> float:
        i, last = self._interval(start_s), self._interval(end_s)
        apart_j2 = (
            start.independent_j**2
            + end.independent_j**2
            + self._rounding_j(self._number[last + 1] - self._number[i]) ** 2
        )
        unseen_j2 = Z_95**2 * (self._unseen_j2[min(last + 2, len(self.t) - 1)] - self._unseen_j2[i])
        edges = sqrt(apart_j2 + unseen_j2 + (start.common_j + end.common_j) ** 2)
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
        # A model is renewed by our reading it; and what is renewed faster than we read needs no finding.
        beats = channel.kind == "counter" and channel.period_s >= BEAT_FROM_S
        self.ticks = Ticks(channel.period_s) if beats else None

    def add(self, t_s: float, reading_j: float, latency_s: float = 0.0) -> None:
        """A reading taken at `t_s` (the middle of a call that took `latency_s`). Unchanged readings make no knot.

        Save those of a model, once it has surely been worked out anew: it stands still where nothing happened, which a
        device's counter that stands still does not tell.
        """
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
            low_s, high_s = self._dated(oldest_s - latency_s / 2, t_s + latency_s / 2)
            self._knot((low_s + high_s) / 2, (high_s - low_s) / 2, self.e[-1] + rise, bad)
        elif self.channel.kind == "model" and t_s - self.t[-1] >= 2 * self.channel.period_s:
            self._knot((oldest_s + t_s) / 2, (t_s - oldest_s + latency_s) / 2, self.e[-1], None)
        elif self.ticks is not None:
            self.ticks.stood_still(earlier_s + latency_s / 2, t_s - latency_s / 2)

    def _dated(self, low_s: float, high_s: float) -> tuple[float, float]:
        """When it was renewed: by the readings on both sides, or by its beat where that is known better."""
        by_beat = self.ticks.dated(low_s, high_s) if self.ticks is not None else None
        if self.ticks is not None:
            self.ticks.moved(low_s, high_s)
        if by_beat is None or by_beat[1] - by_beat[0] >= high_s - low_s:
            return low_s, high_s
        return by_beat

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
        bad = Reason("missing", "the meter gave no figure in one of its records") if joules is None else None
        hole_s = start_s - self.t[-1] if self.t else 0.0
        bridged_j = 0.0
        if not self.t:
            self._knot(start_s, 0.0, 0.0, None)
        elif hole_s > HOLE * (end_s - start_s):
            self._knot(start_s, 0.0, self.e[-1], Reason("gap", f"no record for {_ms(hole_s)}"))
        elif hole_s < -HOLE * (end_s - start_s):
            bad = Reason("overlap", f"two of the meter's records share {_ms(-hole_s)}")
        else:  # a small hole or overlap counts at the record's own power, and all of it may be wrong
            bridged_j = (joules or 0.0) / (end_s - start_s) * hole_s
        self._knot(end_s, 0.0, self.e[-1] + (joules or 0.0) + bridged_j, bad)
        self._unseen_j2[-1] += bridged_j**2

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
        self.p = array("d")
        self._variance = array("d")
        self._gap_s = array("d")  # between two readings, before each knot
        self._read_s = -inf
        self.gap_limit_s = max(5 * channel.period_s, 0.5)

    def _columns(self) -> list[Any]:
        return [*super()._columns(), self.p, self._variance, self._gap_s]

    def _merge(self, stretches: range) -> None:
        super()._merge(stretches)
        self._gap_s[stretches[-1]] = max(self._gap_s[i] for i in stretches)

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
        self._sample(appeared_s, power_w, t_s - earlier_s)

    def energy(self, start_s: float, end_s: float) -> WindowEnergy:
        found = super().energy(start_s, end_s)
        if found.joules is None:
            return found
        around = self._gap_s[self._interval(start_s) + 1 : self._interval(end_s) + 2]
        return found._replace(largest_gap_s=max(around))

    def _sample(self, t_s: float, power_w: float, unread_s: float = 0.0) -> None:
        if not self.t:
            joules, variance, bad = 0.0, 0.0, None
        else:
            dt, previous_w = t_s - self.t[-1], self.p[-1]
            if dt <= 0:
                return
            joules = self.e[-1] + (previous_w + power_w) / 2 * dt
            variance = self._variance[-1] + ((power_w - previous_w) * dt) ** 2 / 12
            if unread_s > 2 * max(self.channel.period_s, UNREAD_S):
                variance += (UNREAD * (previous_w + power_w) / 2 * unread_s) ** 2
            bad = None
            if dt > self.gap_limit_s:
                bad = Reason("gap", f"no reading for {_ms(dt)}; the limit is {_ms(self.gap_limit_s)}")
        self._gap_s.append(t_s - self.t[-1] if self.t else 0.0)
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

    def _at(self, t_s: float) -> Point:
        """Where knots were dropped, the energy between two that stayed is not their trapezoid's; its shape is kept."""
        i = self._interval(t_s)
        part_j, unknown_j = (self.p[i] + self._power_w(t_s)) / 2 * (t_s - self.t[i]), 0.0
        if self._number[i + 1] - self._number[i] > 1:
            whole_j = (self.p[i] + self.p[i + 1]) / 2 * (self.t[i + 1] - self.t[i])
            share = part_j / whole_j if whole_j else (t_s - self.t[i]) / (self.t[i + 1] - self.t[i])
            whole_j = self.e[i + 1] - self.e[i]
            part_j = share * whole_j
            unknown_j = max(part_j, whole_j - part_j)
        return Point(self.e[i] + part_j, unknown_j)

    def _powers_w(self, start_s: float, end_s: float) -> list[float]:
        inside = self.p[bisect_right(self.t, start_s) : bisect_right(self.t, end_s)]
        return [self._power_w(start_s), self._power_w(end_s), *inside]

    def _window_uncertainty(self, start_s: float, end_s: float, start: Point, end: Point) -> float:
        steps = self._variance[self._interval(end_s) + 1] - self._variance[self._interval(start_s)]
        rounding = self.channel.resolution / 2 * (end_s - start_s)
        period_s = self.channel.period_s
        near = self._powers_w(max(start_s - period_s, self.t[0]), min(end_s + period_s, self.t[-1]))
        lag = LAG * period_s * (max(near) - min(near))
        dropped = start.independent_j**2 + end.independent_j**2
        return sqrt(Z_95**2 * steps + rounding**2 + lag**2 + dropped)


def _those(column: Any, kept: Sequence[int]) -> Any:
    found = [column[i] for i in kept]
    return array(column.typecode, found) if isinstance(column, array) else found


def _straight(times_s: Sequence[float], values: Sequence[float], t_s: float) -> float:
    i = min(max(bisect_right(times_s, t_s) - 1, 0), len(times_s) - 2)
    share = (t_s - times_s[i]) / (times_s[i + 1] - times_s[i])
    return values[i] + (values[i + 1] - values[i]) * share


def curve_for(channel: Channel) -> CounterCurve | IntervalCurve | PowerCurve:
    """The curve that turns this channel's readings into joules."""
    if channel.kind == "interval":
        return IntervalCurve(channel)
    return CounterCurve(channel) if channel.unit == "J" else PowerCurve(channel)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
