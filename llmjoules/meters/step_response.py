"""What readings alone tell of a channel: its tick, its resolution, how late it shows a step, whether two agree.

Pure arithmetic on numbers: no clock, no device. Times are seconds on any monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, gcd, hypot
from typing import NamedTuple

from llmjoules.records.record import Channel

# Fewer changes make no distribution; records of 0.5 s come five times in 3 s.
FEWEST_CHANGES = 5
# Fewer distinct values may share a divisor by chance, and at a steady power a total rises by the same at each tick.
FEWEST_GRID_VALUES = 12
FEWEST_GRID_STEPS = 4
OFF_BY = 0.3  # a tick that differs from the stated period by more than this part is noted
PIECE_S = 0.05  # power is taken over at least this long: a tenth of the lag that is called out
LATE_S = 0.5  # a channel that takes this long to show 90 % of a step is called late
RISING = 0.8  # of a running mean's length, the part between 10 % and 90 % of a step
CORRELATED = 0.5
FLOOR = 0.002  # of the joules compared: the floor of any window's uncertainty


class Readings(NamedTuple):
    """t_s: when each was taken, rising. values: in the channel's unit; a total in joules never falls."""

    t_s: Sequence[float]
    values: Sequence[float]


class Tick(NamedTuple):
    """Time from one renewal to the next. read_every_s: how often we looked; what is faster cannot be told."""

    median_s: float
    p5_s: float
    p95_s: float
    changes: int
    read_every_s: float

    @property
    def as_fast_as_read(self) -> bool:
        return self.median_s < 2 * self.read_every_s


class Resolution(NamedTuple):
    """smallest_step: between two readings. grid: of which all are multiples; None if too few, 0 if below 1e-6."""

    smallest_step: float
    grid: float | None


class Line(NamedTuple):
    """Mean power over short pieces of time; t_s are their middles."""

    t_s: Sequence[float]
    watts: Sequence[float]


class Response(NamedTuple):
    """To a step of load. rise_s: from 10 % to 90 %. lag_s: from the load's start to 90 %. delay_s: to 50 %."""

    low_w: float
    high_w: float
    delay_s: float
    rise_s: float
    lag_s: float

    @property
    def believe_above_s(self) -> float:
        """A window shorter than this holds mostly what was before it."""
        return max(self.rise_s / RISING, self.lag_s)


class Agreement(NamedTuple):
    """ratio: of the second to the first. allowed_j: the sum of what both state. gains_j: what gains may add."""

    ratio: float
    allowed_j: float
    gains_j: float
    agree: bool
    within_gains: bool


def unwrapped(values: Sequence[float], wraps_at_j: float | None) -> list[float]:
    """A total that goes on where the counter began again; a fall that is no wrap adds nothing."""
    total: list[float] = list(values[:1])
    for before, now in pairwise(values):
        rise = now - before
        if rise < 0:
            rise = max(rise + wraps_at_j, 0.0) if wraps_at_j is not None else 0.0
        total.append(total[-1] + rise)
    return total


def tick(readings: Readings, *, gauge: bool = False, read_every_s: float | None = None) -> Tick | None:
    """How often the reading is renewed; None where it changed too rarely to tell.

    gauge: a power that happens to be the same twice hides a tick, so only the shorter intervals count.
    """
    if len(readings.t_s) < 2:
        return None
    every_s = quantile([b - a for a, b in pairwise(readings.t_s)], 0.5) if read_every_s is None else read_every_s
    changed_s = [(t1 + t2) / 2 if read_every_s is None else t2 for (t1, v1), (t2, v2) in _pairs(readings) if v1 != v2]
    intervals = [b - a for a, b in pairwise(changed_s)]
    if len(intervals) < FEWEST_CHANGES - 1:
        return None
    if gauge:
        short = 1.5 * quantile(intervals, 0.1)
        intervals = [interval for interval in intervals if interval <= short]
    median, p5, p95 = (quantile(intervals, share) for share in (0.5, 0.05, 0.95))
    return Tick(median, p5, p95, len(changed_s), every_s)


def tick_note(found: Tick | None, channel: Channel) -> str | None:
    """What the user should know where the tick is not as stated. A model is reckoned anew at each reading."""
    if found is None or channel.kind == "model":
        return None
    stated_s = channel.period_s
    if found.as_fast_as_read:
        off = stated_s * (1 - OFF_BY) > found.median_s
    else:
        off = abs(found.median_s - stated_s) > OFF_BY * stated_s
    if not off:
        return None
    stated = f"{milliseconds(stated_s)} is stated" if stated_s else "it is stated as never stale"
    return f"renewed every {milliseconds(found.median_s)}, but {stated}"


def resolution(values: Sequence[float]) -> Resolution | None:
    """The smallest change, and the grid (a whole number of millionths) on which all readings lie."""
    distinct = sorted(set(values))
    if len(distinct) < 2:
        return None
    steps = [b - a for a, b in pairwise(distinct)]
    step = min(steps)
    if len(distinct) < FEWEST_GRID_VALUES or len({round(step * 1e6) for step in steps}) < FEWEST_GRID_STEPS:
        return Resolution(step, None)
    millionths = [round((value - distinct[0]) * 1e6) for value in distinct]
    common = gcd(*millionths)
    return Resolution(step, common / 1e6 if common > 1 else 0.0)


def grid_note(found: Resolution | None, channel: Channel) -> str | None:
    if found is None or not found.grid or not channel.resolution or found.grid <= 1.5 * channel.resolution:
        return None
    return f"its readings lie {found.grid:g} {channel.unit} apart, but {channel.resolution:g} {channel.unit} is stated"


def power_line(readings: Readings, *, gauge: bool, exact: bool = False) -> Line:
    """Power over pieces of at least PIECE_S: between changes of a total, or the mean of a gauge.

    exact: a total is known at these very times (records), not somewhere between a reading and the one before.
    """
    if gauge:
        return _binned(readings)
    knots = [(t2 if exact else (t1 + t2) / 2, v2) for (t1, v1), (t2, v2) in _pairs(readings) if v1 != v2]
    t_s: list[float] = []
    watts: list[float] = []
    begun = knots[0] if knots else None
    for knot in knots[1:]:
        assert begun is not None
        if knot[0] - begun[0] >= PIECE_S:
            t_s.append((begun[0] + knot[0]) / 2)
            watts.append((knot[1] - begun[1]) / (knot[0] - begun[0]))
            begun = knot
    return Line(t_s, watts)


def _binned(readings: Readings) -> Line:
    pieces: dict[int, list[float]] = {}
    origin_s = readings.t_s[0] if readings.t_s else 0.0
    for t, watts in zip(readings.t_s, readings.values, strict=True):
        pieces.setdefault(int((t - origin_s) / PIECE_S), []).append(watts)
    middles = [origin_s + (number + 0.5) * PIECE_S for number in pieces]
    return Line(middles, [sum(piece) / len(piece) for piece in pieces.values()])


def step_response(line: Line, on_s: float, off_s: float) -> Response | None:
    """How a load that ran from on_s to off_s shows; None where no step stands out, or it has not settled by off_s."""
    before = [watts for t, watts in zip(*line, strict=True) if t < on_s]
    settled = [watts for t, watts in zip(*line, strict=True) if off_s - (off_s - on_s) / 3 <= t < off_s]
    if len(before) < 2 or len(settled) < 2:
        return None
    low, high = quantile(before, 0.5), quantile(settled, 0.5)
    step = high - low
    if step <= max(2 * _spread(before), 2 * _spread(settled), 0.05 * low):
        return None
    shown = [(t, (watts - low) / step) for t, watts in zip(*line, strict=True) if t < off_s]
    half = next((i for i, (t, part) in enumerate(shown) if part >= 0.5 and t > on_s - PIECE_S), None)
    full = next((i for i, (_, part) in enumerate(shown) if half is not None and i >= half and part >= 0.9), None)
    if half is None or full is None:
        return None
    foot = next((i for i in range(half - 1, -1, -1) if shown[i][1] <= 0.1), None)
    t50, t90 = _crossing(shown, half, 0.5), _crossing(shown, full, 0.9)
    t10 = on_s if foot is None else _crossing(shown, foot + 1, 0.1)
    return Response(low, high, max(t50 - on_s, 0.0), max(t90 - t10, 0.0), max(t90 - on_s, 0.0))


def _crossing(shown: Sequence[tuple[float, float]], i: int, part: float) -> float:
    """When the line from the piece before reaches this part of the step."""
    if i == 0:
        return shown[0][0]
    (t1, y1), (t2, y2) = shown[i - 1], shown[i]
    return t2 if y2 <= y1 or y1 >= part else t1 + (t2 - t1) * (part - y1) / (y2 - y1)


def lag_behind(line: Line, reference: Line, longest_s: float = 1.5) -> tuple[float, float] | None:
    """By how much `line` is later than `reference` (negative: earlier), and how well they correlate then.

    The shift of the best correlation; of several as good, as a periodic load has, the shortest. A mean of the last
    second is half a second late. None where one of them does not move, or they have nothing in common.
    """
    if not (_moves(line) and _moves(reference)):
        return None
    begin_s, end_s = max(line.t_s[0], reference.t_s[0]), min(line.t_s[-1], reference.t_s[-1])
    grid_s = 0.02
    farthest = int(min(longest_s, (end_s - begin_s) / 3) / grid_s)
    if farthest < 1:
        return None
    points = int((end_s - begin_s) / grid_s)
    a, b = ([_at(of, begin_s + k * grid_s) for k in range(points)] for of in (line, reference))
    scores = {}
    for shift in range(-farthest, farthest + 1):
        late, early = (a[shift:], b[: len(b) - shift]) if shift >= 0 else (a[:shift], b[-shift:])
        scores[shift] = _correlation(late, early)
    best = max(scores.values())
    if best < CORRELATED:
        return None
    shift = min((shift for shift, score in scores.items() if score >= best - 0.01), key=abs)
    # Around the top the curve is flat: its middle is meant, not its nearer side.
    top = {shift}
    for side in (1, -1):
        neighbour = shift + side
        while scores.get(neighbour, 0.0) >= best - 0.01:
            top.add(neighbour)
            neighbour += side
    return (min(top) + max(top)) / 2 * grid_s, best


def agreement(
    first: tuple[float, float, float], second: tuple[float, float, float], *, same_source: bool = True
) -> Agreement:
    """Do two figures, each (joules, uncertainty_j, gain), agree within the sum of their uncertainties?

    same_source: both measured, say. Then gains are told apart; a model's is part of what it states.
    """
    (j1, u1, gain1), (j2, u2, gain2) = first, second
    apart_j, gains_j = abs(j1 - j2), gain1 * j1 + gain2 * j2
    allowed_j = u1 + u2 + FLOOR * (j1 + j2) / 2 + (0.0 if same_source else gains_j)
    return Agreement(
        j2 / j1 if j1 else float(j1 == j2), allowed_j, gains_j, apart_j <= allowed_j, apart_j <= allowed_j + gains_j
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Of at least one value, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def upwards(seconds: float) -> float:
    """To the next tenth of a second: what is said of a window's length need not be finer."""
    return ceil(round(seconds * 10, 6)) / 10


def _pairs(readings: Readings) -> pairwise[tuple[tuple[float, float], tuple[float, float]]]:
    return pairwise(zip(readings.t_s, readings.values, strict=True))


def _spread(values: Sequence[float]) -> float:
    """A standard deviation that one outlier does not move."""
    return (quantile(values, 0.84) - quantile(values, 0.16)) / 2


def _moves(line: Line) -> bool:
    if len(line.t_s) < FEWEST_CHANGES:
        return False
    swing = quantile(line.watts, 0.95) - quantile(line.watts, 0.05)
    return swing > 0.1 * sum(line.watts) / len(line.watts)


def _at(line: Line, t_s: float) -> float:
    i = min(max(bisect_right(line.t_s, t_s) - 1, 0), len(line.t_s) - 2)
    share = (t_s - line.t_s[i]) / (line.t_s[i + 1] - line.t_s[i])
    return line.watts[i] + (line.watts[i + 1] - line.watts[i]) * min(max(share, 0.0), 1.0)


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    scale = hypot(*(x - mean_a for x in a)) * hypot(*(y - mean_b for y in b))
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / scale if scale else 0.0
