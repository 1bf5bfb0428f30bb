"""Do repeats depend on their order? A trend, or an autocorrelation, makes intervals narrower than they should be.

Both are looked for inside loads, all loads together; where each load has one run, over the loads in their order.
Each flag is raised falsely in about 1 % of cells without drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean

from msgspec import Struct

from llmjoules.records.student import NORMAL, two_sided_p

FALSE_ALARM = 0.01
FEWEST = 6  # runs of a load (or loads) from which an autocorrelation can be seen at all


class Drift(Struct, frozen=True, kw_only=True):
    """What the order of repeats does to a figure; None where there are too few of them to say.

    trend: change from one repeat to the next, relative to the mean; trend_p: how often independent repeats would show
    as much. autocorrelation: at lag one, mended for its bias; autocorrelation_p: likewise, of as much or more.
    over: `runs` or `loads`.
    """

    over: str
    trend: float | None
    trend_p: float | None
    autocorrelation: float | None
    autocorrelation_p: float | None

    def flags(self, of: str = "") -> tuple[str, ...]:
        """`trend:cpu`, `autocorrelated:cpu` for figures of the CPU."""
        return tuple(
            f"{name}:{of}".removesuffix(":")
            for name, p in (("trend", self.trend_p), ("autocorrelated", self.autocorrelation_p))
            if p is not None and p < FALSE_ALARM
        )


def drift(values_by_load: Mapping[str, Sequence[float]]) -> Drift:
    """Look for both in figures by load, in the order in which they were measured."""
    loads = [list(values) for values in values_by_load.values() if values]
    over = "runs"
    if loads and all(len(values) == 1 for values in loads):
        loads, over = [[values[0] for values in loads]], "loads"
    trend, trend_p = _trend(loads)
    rho, rho_p = _autocorrelation([values for values in loads if len(values) >= FEWEST])
    return Drift(over=over, trend=trend, trend_p=trend_p, autocorrelation=rho, autocorrelation_p=rho_p)


def _trend(loads: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """The common slope of loads that each have a level of their own, and its two-sided p (exact for normal noise)."""
    xx = xy = yy = 0.0
    degrees = -1
    for values in loads:
        middle, mean = (len(values) - 1) / 2, fmean(values)
        xx += sum((k - middle) ** 2 for k in range(len(values)))
        xy += sum((k - middle) * (value - mean) for k, value in enumerate(values))
        yy += sum((value - mean) ** 2 for value in values)
        degrees += len(values) - 1
    level = fmean([value for values in loads for value in values]) if loads else 0.0
    if degrees < 1 or not yy or not level:
        return None, None
    slope = xy / xx
    left = max(yy - slope * xy, 0.0)
    p = two_sided_p(slope / sqrt(left / degrees / xx), degrees) if left else 0.0
    return slope / level, p


def _autocorrelation(loads: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """Sum of the products of neighbours, against its moments over all orders of the same values.

    The moments are exact (Wald and Wolfowitz 1943, open ends); the normal law is an approximation.
    """
    found = expected = spread = squares = 0.0
    for values in loads:
        n, mean = len(values), fmean(values)
        off = [value - mean for value in values]
        s2, s4 = sum(x**2 for x in off), sum(x**4 for x in off)
        found += sum(a * b for a, b in pairwise(off))
        expected -= s2 / n
        # E[(Σ neighbours)²] from the sums over distinct a²b², ab²c and abcd of values whose sum is 0.
        spread += (s2**2 - s4) / n + 2 * (2 * s4 - s2**2) / (n * (n - 1)) + (3 * s2**2 - 6 * s4) / (n * (n - 1))
        spread -= (s2 / n) ** 2
        squares += s2
    if not loads or not squares or spread <= 0:
        return None, None
    z = (found - expected) / sqrt(spread)
    return (found - expected) / squares, NORMAL.cdf(-z)
