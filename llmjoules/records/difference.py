"""The difference of two mean figures with its interval, and the parts of it that power and time have.

A point is a load: its mean energy and time per token. Sides are independent (Welch), or paired load by load where the
two took turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records.student import critical, two_sided_p

ALPHA = 0.05


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
    None where no time is known; they add up to `joules`.
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
    half, p, degrees = _test([-x.joules for x in a], [x.joules for x in b], paired, alpha)
    low, high = _fieller(a, b, degrees, paired, alpha) if degrees is not None else (None, None)
    power, time = _parts(a, b, paired, alpha)
    return Difference(
        a=mean_a,
        b=mean_b,
        joules=Bounded(mean_b - mean_a, half),
        p=p,
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


def _test(
    a: Sequence[float], b: Sequence[float], paired: bool, alpha: float
) -> tuple[float | None, float | None, float | None]:
    """Half-width, two-sided p and degrees of freedom for mean(a) + mean(b)."""
    if paired:
        sums = [x + y for x, y in zip(a, b, strict=True)]
        variance, degrees = (_variance(sums) / len(sums), len(sums) - 1.0) if len(sums) > 1 else (0.0, None)
    else:
        variance, degrees = _welch(a, b)
    if degrees is None:
        return None, None, None
    value, error = fmean(a) + fmean(b), sqrt(variance)
    p = two_sided_p(value / error, degrees) if error else float(not value)
    return critical(alpha, degrees) * error, p, degrees


def _welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float | None]:
    """Variance of the difference of means, and its degrees of freedom after Welch and Satterthwaite."""
    if min(len(a), len(b)) < 2:
        return 0.0, None
    va, vb = _variance(a) / len(a), _variance(b) / len(b)
    spread = va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)
    return va + vb, (va + vb) ** 2 / spread if spread else len(a) + len(b) - 2.0


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
    return Bounded(power, _test(*of_power, paired, alpha)[0]), Bounded(time, _test(*of_time, paired, alpha)[0])


def _variance(values: Sequence[float]) -> float:
    return _covariance(values, values)


def _covariance(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = fmean(a), fmean(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)
