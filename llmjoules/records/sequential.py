"""Interleaved comparison of two cells, block by block: may one stop now, and what is the difference?

Looking after every block and stopping at the first p below 5 % calls one in five pairs of equal cells different. Each
look therefore gets a share of the 5 %: alpha is spent by the function of Lan and DeMets (1983) that comes close to
O'Brien and Fleming's test, and the bounds follow from it by the recursion of Armitage, McPherson and Rowe (1969). For
an unknown variance the share of each look goes to Student's t of its blocks (Pocock 1977).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records.student import NORMAL, critical, two_sided_p

ALPHA = 0.05
RULE = "paired interval of B − A over blocks, alpha spent over the looks after each block, leaves out zero or is within the precision"  # noqa: E501
LEAST = 4  # blocks before the first look: below, Student's t has hardly a say
MOST = 20
_CELLS = 256  # of the grid on which the recursion integrates


class Paired(Struct, frozen=True, kw_only=True):
    """Mean of paired differences with its interval: half_width and p are None for fewer than two blocks."""

    difference: float
    half_width: float | None
    p: float | None
    blocks: int


class Look(Struct, frozen=True, kw_only=True):
    """One look at the blocks so far.

    half_width: of an interval that holds however often one looks; different: it leaves out zero.
    reason: a code, a colon and a sentence: `different`, `resolved`, `most` (stop), `least`, `open` (go on).
    level: the part of alpha that this look's own test has. mean_a: of A, where the figures of both sides are known.
    """

    stop: bool
    different: bool
    reason: str
    difference: float
    half_width: float | None
    blocks: int
    level: float
    mean_a: float | None = None


def paired(differences: Sequence[float], alpha: float = ALPHA) -> Paired:
    """The paired t interval of a number of blocks that was fixed beforehand. Needs one difference at least."""
    n, mean = len(differences), fmean(differences)
    if n < 2:
        return Paired(difference=mean, half_width=None, p=None, blocks=n)
    error = stdev(differences) / sqrt(n)
    p = two_sided_p(mean / error, n - 1) if error else float(not mean)
    return Paired(difference=mean, half_width=critical(alpha, n - 1) * error, p=p, blocks=n)


def look(
    differences: Sequence[float],
    *,
    most: int = MOST,
    least: int = LEAST,
    resolution: float | None = None,
    alpha: float = ALPHA,
) -> Look:
    """Look at the differences of blocks (B − A) after each one; `most` blocks are planned.

    resolution: a half-width, in the unit of the differences, at which it is enough to know that they are equal.
    However often one looks and whenever one stops, equal cells are called different in about alpha of studies.
    """
    n = len(differences)
    level = look_levels(most, least, alpha)[n - least] if least <= n <= most else 0.0
    if n < least:
        mean = fmean(differences) if differences else 0.0
        reason = f"least: {n} of at least {least} blocks"
        return Look(stop=False, different=False, reason=reason, difference=mean, half_width=None, blocks=n, level=level)
    if n > most:
        raise ValueError(f"{n} blocks, though {most} were planned: the bounds hold for those only")
    found = paired(differences, level)
    assert found.half_width is not None
    different = abs(found.difference) > found.half_width
    if different:
        reason = f"different: the interval leaves out zero after {n} blocks"
    elif resolution is not None and found.half_width <= resolution:
        reason = f"resolved: equal within the resolution after {n} blocks"
    elif n == most:
        reason = f"most: not told apart in all {most} blocks"
    else:
        reason = f"open: not told apart in {n} of at most {most} blocks"
    stop = not reason.startswith("open")
    return Look(
        stop=stop,
        different=different,
        reason=reason,
        difference=found.difference,
        half_width=found.half_width,
        blocks=n,
        level=level,
    )


def judge(a: Mapping[int, float], b: Mapping[int, float], *, precision: float, most: int = MOST) -> Look:
    """The look at which two cells in turns stop, or the last one so far.

    a, b: figures by the number of the block; one that a side lacks is left out. precision: relative to A, at which it
    is enough to know that they are equal. Every look is made anew in the order of blocks, so that a study which is
    resumed decides as one that was not interrupted.
    """
    both = sorted(a.keys() & b.keys())
    for blocks in range(min(LEAST, len(both)), len(both) + 1):
        seen = both[:blocks]
        mean_a = fmean(a[n] for n in seen) if seen else None
        found = look([b[n] - a[n] for n in seen], most=most, resolution=precision * (mean_a or 0.0))
        if found.stop:
            break
    return replace(found, mean_a=mean_a)


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Alpha spent when this fraction of the blocks is done: 2·2·(1 − Φ(z/√t)), z the point of alpha/4 (two sides)."""
    return 4 * NORMAL.cdf(NORMAL.inv_cdf(alpha / 4) / sqrt(fraction)) if fraction > 0 else 0.0


@lru_cache(maxsize=64)
def look_levels(most: int, least: int = LEAST, alpha: float = ALPHA) -> tuple[float, ...]:
    """The two-sided level of each look's own test, for looks after block `least`, …, `most`."""
    fractions = tuple(block / most for block in range(least, most + 1))
    return tuple(2 * NORMAL.cdf(-bound) for bound in bounds(fractions, alpha))


def bounds(fractions: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The |z| beyond which each look stops, so that by each fraction of the information just `spent` of alpha is used.

    Follows the density of the sum of independent normal increments that has not crossed a bound yet, on a grid (the
    midpoint rule); each bound is found by bisection.
    """
    found: list[float] = []
    points: list[tuple[float, float]] = []  # where the sum may be, and the probability of that cell
    before = 0.0
    for fraction in fractions:
        step = sqrt(fraction - before)
        wanted = spent(fraction, alpha) - (spent(before, alpha) if found else 0.0)
        limit = _bound(points or [(0.0, 1.0)], step, wanted / 2, sqrt(fraction))
        found.append(limit / sqrt(fraction))
        width = 2 * limit / _CELLS
        centres = [-limit + (k + 0.5) * width for k in range(_CELLS)]
        points = _moved(points or [(0.0, 1.0)], step, centres, width)
        before = fraction
    return found


def _bound(points: Sequence[tuple[float, float]], step: float, wanted: float, scale: float) -> float:
    low, high = 0.0, 9.0 * scale
    for _ in range(50):
        middle = (low + high) / 2
        beyond = sum(weight * NORMAL.cdf((at - middle) / step) for at, weight in points)
        low, high = (middle, high) if beyond > wanted else (low, middle)
    return (low + high) / 2


def _moved(
    points: Sequence[tuple[float, float]], step: float, centres: Sequence[float], width: float
) -> list[tuple[float, float]]:
    """The probability of each cell after one more increment."""
    pdf = NORMAL.pdf
    return [(x, width / step * sum(weight * pdf((x - at) / step) for at, weight in points)) for x in centres]
