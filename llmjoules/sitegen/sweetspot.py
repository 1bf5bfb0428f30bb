"""Which setting of a curve is the best, and how sure that is: a seeded two-level bootstrap over loads and repeats.

A draw takes as many loads of each setting as it has, with replacement, and of each as many repeats. The mean of a few
loads scatters more than their own spread tells, so a draw's distance from the observed mean is stretched by the ratio
of Student's t to the normal's. Two settings that are equal then name a winner in at most one curve in twenty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct

from llmjoules.records.stats import t_975

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

DRAWS = 4000
MOST_POINTS = 512  # of a setting: with more, a draw costs much and tells no more
CLAIMED_FROM = 0.975  # of two equal settings either may seem the best: half of one in twenty for each


class SweetSpot(Struct, frozen=True, kw_only=True):
    """best: index of the lowest mean. p_best: the probability of each setting that it is the lowest of all; None where
    one of them was run once, so that nothing is known of its spread.

    flat: indices of the settings that cannot be told from the best, itself among them.
    claimed: the best may be named. Never with a setting of one load: what differs from load to load is not in it.
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
    observed = np.array([np.mean([np.mean(values) for values in loads.values() if values]) for loads in settings])
    if any(sum(map(len, loads.values())) < 2 for loads in settings):
        everything = tuple(range(len(settings)))
        return SweetSpot(best=int(np.argmin(observed)), p_best=None, flat=everything, claimed=False)
    draws = np.stack([_draws(loads, mean, generator) for loads, mean in zip(settings, observed, strict=True)])
    best = int(np.argmin(observed))
    lowest = draws == draws.min(axis=0)
    p_best = (lowest / lowest.sum(axis=0)).mean(axis=1)  # of settings that are equal in a draw each has its share
    lower = (draws < draws[best]).mean(axis=1)
    flat = tuple(index for index in range(len(settings)) if index == best or lower[index] > 1 - CLAIMED_FROM)
    several = all(sum(bool(values) for values in loads.values()) > 1 for loads in settings)
    claimed = several and len(settings) > 1 and flat == (best,) and p_best[best] >= CLAIMED_FROM
    return SweetSpot(best=best, p_best=tuple(p_best.tolist()), flat=flat, claimed=bool(claimed))


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
