"""Simulated studies with a known truth: the same for tests and bench."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from llmjoules.records.difference import Point
from llmjoules.records.stopping import Judgement, judge

TRUTH = 100.0


def repeats(
    rng: np.random.Generator, loads: int, each: int, spread: float, between: float = 0.0, rho: float = 0.0
) -> np.ndarray:
    """Figures of shape (loads, each) around TRUTH: normal noise of `spread`, AR(1) with `rho` inside a load."""
    noise = rng.normal(0, spread, (loads, each))
    for k in range(1, each):
        noise[:, k] = rho * noise[:, k - 1] + sqrt(1 - rho * rho) * noise[:, k]
    return TRUTH + rng.normal(0, between, (loads, 1)) + noise


def judged(values: np.ndarray, precision: float) -> tuple[Judgement, int]:
    """What a study stops with that judges after each load, or after each run of its only one; and its runs."""
    single = len(values) == 1
    looks: Iterator[dict[str, list[float]]] = (
        ({"0": list(values[0, :k])} for k in range(1, values.shape[1] + 1))
        if single
        else ({str(j): list(values[j]) for j in range(k)} for k in range(1, len(values) + 1))
    )
    for seen in looks:
        judgement = judge(seen, precision=precision, loads=1 if single else None)
        if judgement.stop:
            break
    return judgement, sum(map(len, seen.values()))


def covers(judgement: Judgement, truth: float = TRUTH) -> bool:
    found = judgement.estimate
    return found is not None and found.half_width is not None and abs(found.mean - truth) <= found.half_width


def ended(rng: np.random.Generator, each: int, spread: float, between: float) -> tuple[list[Point], bool]:
    """Means of the loads that a study of ±2 to 3 % makes, and whether it stopped because that was reached."""
    values = repeats(rng, 30 // each, each, spread, between, 0.3 if each > 1 else 0.0)
    judgement, runs = judged(values, 0.02 if each == 1 else 0.03)
    means = values[: runs // each].mean(axis=1)
    return [Point(mean, None) for mean in means.tolist()], judgement.reason.startswith("precise")
