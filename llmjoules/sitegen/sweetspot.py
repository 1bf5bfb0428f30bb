"""Which setting of a curve is the best, and how sure that is.

How probable it is comes from a seeded two-level bootstrap over loads and repeats. A draw takes as many loads of each
setting as it has, with replacement, and of each as many repeats. The mean of a few loads scatters more than their own
spread tells, so a draw's distance from the observed mean is stretched by the ratio of Student's t to the normal's.

Draws of two loads know three means only, so whether two settings may be told apart is said by the interval of their
difference. Its half-width is the root of the sum of squares of the half-widths of the two means (S. K. Banerjee 1960,
Sankhya 22). It covers the truth in at least 95 %, however unequal the numbers of loads and the spreads are, where loads
scatter normally. Welch's interval does not: with two loads against 25 it misses the truth in 11 %
(docs/statistics.md, which names the command).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, inf
from typing import TYPE_CHECKING

from msgspec import Struct

from llmjoules.records.stats import Estimate, estimate, t_975

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

DRAWS = 4000
MOST_POINTS = 512  # of a setting: with more, a draw costs much and tells no more
CLAIMED_FROM = 0.975  # of the draws: of two equal settings either may seem the best, half of one in twenty for each


class SweetSpot(Struct, frozen=True, kw_only=True):
    """best: index of the lowest mean. p_best: the probability of each setting that it is the lowest of all; None where
    one of them was run once, so that nothing is known of its spread.

    flat: indices of the settings that cannot be told from the best, itself among them: those within the interval of
    the difference, and of the others the likeliest, until together they are the lowest in 97.5 % of the draws.
    claimed: the best may be named: it is alone in `flat`, and each setting has two loads at least, since what differs
    from load to load is not in one.
    """

    best: int
    p_best: tuple[float, ...] | None
    flat: tuple[int, ...]
    claimed: bool


def sweet_spot(settings: Sequence[Mapping[str, Sequence[float]]], seed: int = 0) -> SweetSpot:
    """The lowest of several settings.

    settings: of each, its J/token (or what else is to be low) by load; at least one value each.
    seed: the same values and seed give the same answer.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    means = [estimate(loads) for loads in settings]
    best = min(range(len(means)), key=lambda index: means[index].mean)
    if any(mean.half_width is None for mean in means):
        return SweetSpot(best=best, p_best=None, flat=tuple(range(len(means))), claimed=False)
    draws = np.stack([_draws(loads, mean.mean, generator) for loads, mean in zip(settings, means, strict=True)])
    lowest = draws == draws.min(axis=0)
    p_best: list[float] = (lowest / lowest.sum(axis=0)).mean(axis=1).tolist()  # equal in a draw: each has its share
    flat = {index for index, mean in enumerate(means) if index == best or not _apart(means[best], mean)}
    for index in sorted(range(len(means)), key=lambda index: -p_best[index]):
        if sum(p_best[one] for one in flat) >= CLAIMED_FROM:
            break
        flat.add(index)
    several = all(mean.basis == "loads" for mean in means)
    claimed = several and len(means) > 1 and flat == {best}
    return SweetSpot(best=best, p_best=tuple(p_best), flat=tuple(sorted(flat)), claimed=claimed)


def _apart(one: Estimate, other: Estimate) -> bool:
    """Does the 95 % interval of the difference (Banerjee) leave out zero?"""
    assert one.half_width is not None
    assert other.half_width is not None
    return abs(one.mean - other.mean) > hypot(one.half_width, other.half_width)


def _folded(values: NDArray[float64], most: int) -> NDArray[float64]:
    """As means of neighbours, `most` at most, where there are more: their mean scatters as that of the values does."""
    import numpy as np

    if len(values) <= most:
        return values
    return np.array([piece.mean() for piece in np.array_split(values, most)])


def _draws(loads: Mapping[str, Sequence[float]], mean: float, generator: Generator) -> NDArray[float64]:
    """DRAWS means of one setting. Of one load it is over its runs."""
    import numpy as np

    groups = [np.asarray(values, float) for values in loads.values() if values]
    if len(groups) == 1:
        groups = [value[None] for value in _folded(groups[0], MOST_POINTS)]
    elif len(groups) > MOST_POINTS:
        groups = [mean[None] for mean in _folded(np.array([group.mean() for group in groups]), MOST_POINTS)]
    groups = [_folded(group, max(MOST_POINTS // len(groups), 1)) for group in groups]
    runs = np.array([len(group) for group in groups])
    padded = np.zeros((len(groups), runs.max()))
    for row, group in zip(padded, groups, strict=True):
        row[: len(group)] = group
    chosen = generator.integers(len(groups), size=(DRAWS, len(groups), 1))
    of_chosen = runs[chosen]
    repeats = (generator.random((DRAWS, len(groups), runs.max())) * of_chosen).astype(int)
    drawn = np.where(np.arange(runs.max()) < of_chosen, padded[chosen, repeats], 0.0).sum(-1) / of_chosen[..., 0]
    centre = np.mean([group.mean() for group in groups])
    means: NDArray[float64] = mean + (drawn.mean(-1) - centre) * (t_975(len(groups) - 1) / t_975(inf))
    return means
