"""The difference of two mean figures with its interval, and the parts of it that power and time have.

A point is a load: its mean energy and time per token. Sides are independent, or paired load by load where the two took
turns.

The degrees of freedom for independent sides are those of Welch and Satterthwaite, worked out from upper bounds: each
squared standard error counts as many times as the square of its own Student t. For equal numbers of loads that changes
nothing. Two loads beside 25 often scatter too little by chance; Welch then takes the degrees of the others, and calls
equal settings different in 11 % of cases (docs/statistics.md, which names the command).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log, sqrt
from statistics import fmean
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records.student import critical, two_sided_p

ALPHA = 0.05
_LEAST_LEVEL = 1e-30  # below, the degrees are those of this level: nothing there depends on them


class Point(NamedTuple):
    """Means of one load, or the figures of one run: joules and seconds per token (or per whatever is compared)."""

    joules: float
    seconds: float | None


class Bounded(Struct, frozen=True):
    """A figure with the half-width of its interval (95 %, or what was asked for); None where there is none."""

    value: float
    half_width: float | None


class Difference(Struct, frozen=True, kw_only=True):
    """B − A in joules, its part due to power and its part due to time, and B over A.

    p: two-sided. alpha: what it is held against; intervals are of 1 − alpha. percent: of A, and the ends of its
    interval (Fieller: it leaves out zero exactly where p < alpha), None where the interval has no end. power, time:
    None where no time is known, or whether the work is the same; they add up to `joules`.
    """

    a: float
    b: float
    joules: Bounded
    p: float | None
    degrees: float | None
    percent: float
    percent_low: float | None
    percent_high: float | None
    power: Bounded | None
    time: Bounded | None
    paired: bool
    alpha: float = ALPHA

    @property
    def verdict(self) -> str:
        """`cheaper`, `dearer` (B than A), `not told apart`, or `unknown` where there is no interval."""
        if self.p is None:
            return "unknown"
        if self.p >= self.alpha:
            return "not told apart"
        return "cheaper" if self.joules.value < 0 else "dearer"


def difference(a: Sequence[Point], b: Sequence[Point], *, paired: bool = False, alpha: float = ALPHA) -> Difference:
    """Compare the points of two sides, one at least on each, of positive mean; paired: the k-th belong together."""
    mean_a, mean_b = fmean(x.joules for x in a), fmean(x.joules for x in b)
    scatter = _scatter([-x.joules for x in a], [x.joules for x in b], paired, mean_b / mean_a)
    degrees = None if scatter is None else scatter.degrees(alpha)
    low, high = _fieller(a, b, degrees, paired, alpha) if degrees is not None else (None, None)
    power, time = _parts(a, b, paired, alpha)
    return Difference(
        a=mean_a,
        b=mean_b,
        joules=Bounded(mean_b - mean_a, _half_width(scatter, alpha)),
        p=None if scatter is None else _p(mean_b - mean_a, scatter),
        degrees=degrees,
        percent=100 * (mean_b / mean_a - 1),
        percent_low=low,
        percent_high=high,
        power=power,
        time=time,
        paired=paired,
        alpha=alpha,
    )


def widened(points: Sequence[Point], factor: float) -> list[Point]:
    """The same means with so many times the scatter: for a side whose repeats ended because they looked alike."""
    if factor == 1:
        return list(points)
    joules, seconds = fmean(x.joules for x in points), [x.seconds for x in points if x.seconds is not None]
    middle_s = fmean(seconds) if seconds else 0.0
    return [
        Point(
            joules + factor * (x.joules - joules),
            None if x.seconds is None else middle_s + factor * (x.seconds - middle_s),
        )
        for x in points
    ]


class _Scatter(NamedTuple):
    """Standard error of mean(a) + mean(b), and its degrees of freedom at a level."""

    error: float
    degrees: Callable[[float], float]


def _scatter(a: Sequence[float], b: Sequence[float], paired: bool, ratio: float = 1.0) -> _Scatter | None:
    """None where a side has one value only. ratio: of the means, where it gets an interval from the same t.

    B − ratio·A is then to have no fewer degrees than are taken, as well as B − A.
    """
    if min(len(a), len(b)) < 2:
        return None
    if paired:
        sums = [x + y for x, y in zip(a, b, strict=True)]
        return _Scatter(sqrt(_variance(sums) / len(sums)), lambda _: len(sums) - 1.0)
    va, vb = _variance(a) / len(a), _variance(b) / len(b)
    na, nb = len(a) - 1, len(b) - 1
    return _Scatter(
        sqrt(va + vb), lambda level: min(_degrees(va, vb, na, nb, level), _degrees(ratio**2 * va, vb, na, nb, level))
    )


def _degrees(va: float, vb: float, na: int, nb: int, level: float) -> float:
    """Of va + vb, squared standard errors with na and nb degrees: Welch and Satterthwaite's, of their upper bounds."""
    bound_a, bound_b = va * critical(level, na) ** 2, vb * critical(level, nb) ** 2
    squares = bound_a**2 / na + bound_b**2 / nb
    return (bound_a + bound_b) ** 2 / squares if squares else float(na + nb)


def _half_width(scatter: _Scatter | None, alpha: float) -> float | None:
    return None if scatter is None else critical(alpha, scatter.degrees(alpha)) * scatter.error


def _p(value: float, scatter: _Scatter) -> float:
    """The level at which the interval of the value just reaches zero, two-sided: by regula falsi (Illinois) on its log.

    The point of t falls as the level rises, though the degrees depend on the level, so there is one such level.
    """
    if not scatter.error:
        return float(not value)
    t = value / scatter.error

    def off(x: float) -> float:
        p = two_sided_p(t, scatter.degrees(exp(x)))
        return log(max(p, _LEAST_LEVEL)) - x

    x, miss = 0.0, off(0.0)
    other, other_miss = log(_LEAST_LEVEL), off(log(_LEAST_LEVEL))
    for _ in range(100):
        if abs(miss) < 1e-12 or other_miss == miss:
            break
        at = (other * miss - x * other_miss) / (miss - other_miss)
        found = off(at)
        if found * miss < 0:
            other, other_miss = x, miss
        else:
            other_miss /= 2
        x, miss = at, found
    return two_sided_p(t, scatter.degrees(exp(x)))


def _fieller(
    a: Sequence[Point], b: Sequence[Point], degrees: float, paired: bool, alpha: float
) -> tuple[float | None, float | None]:
    """Ends, in percent, of the interval of B/A − 1: the ratios at which the same test would not tell B from ratio·A."""
    ja, jb = [x.joules for x in a], [x.joules for x in b]
    mean_a, mean_b = fmean(ja), fmean(jb)
    t2 = critical(alpha, degrees) ** 2
    va, vb = _variance(ja) / len(ja), _variance(jb) / len(jb)
    both = _covariance(ja, jb) / len(ja) if paired else 0.0
    square, linear, rest = mean_a**2 - t2 * va, mean_a * mean_b - t2 * both, mean_b**2 - t2 * vb
    inside = linear**2 - square * rest
    if square <= 0 or inside < 0:
        return None, None
    return tuple(100 * ((linear + sign * sqrt(inside)) / square - 1) for sign in (-1, 1))  # type: ignore[return-value]


def _parts(a: Sequence[Point], b: Sequence[Point], paired: bool, alpha: float) -> tuple[Bounded | None, Bounded | None]:
    """ΔJ = ΔP·t̄ + P̄·Δt, exact for P = J̄/t̄ of each side; intervals to first order, over the same points."""
    if any(not x.seconds for x in (*a, *b)):
        return None, None
    ja, ta = fmean(x.joules for x in a), fmean(x.seconds or 0 for x in a)
    jb, tb = fmean(x.joules for x in b), fmean(x.seconds or 0 for x in b)
    # power part: (jb/tb − ja/ta)(ta + tb)/2 = (jb + jb·ta/tb − ja − ja·tb/ta)/2, and its derivatives
    power = (jb / tb - ja / ta) * (ta + tb) / 2
    by_ja, by_jb = -(1 + tb / ta) / 2, (1 + ta / tb) / 2
    by_ta, by_tb = (jb / tb + ja * tb / ta**2) / 2, -(jb * ta / tb**2 + ja / ta) / 2
    of_power = (
        [by_ja * x.joules + by_ta * (x.seconds or 0) for x in a],
        [by_jb * x.joules + by_tb * (x.seconds or 0) for x in b],
    )
    of_time = (
        [(-1 - by_ja) * x.joules - by_ta * (x.seconds or 0) for x in a],
        [(1 - by_jb) * x.joules - by_tb * (x.seconds or 0) for x in b],
    )
    time = (jb - ja) - power
    half_power, half_time = (_half_width(_scatter(*of, paired), alpha) for of in (of_power, of_time))
    return Bounded(power, half_power), Bounded(time, half_time)


def _variance(values: Sequence[float]) -> float:
    return _covariance(values, values)


def _covariance(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = fmean(a), fmean(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)
