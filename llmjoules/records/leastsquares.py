"""Weighted linear least squares for a handful of columns, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

DEPENDENT = 1e-7  # of a column's length: what is left of it beside the columns before it, where it is one of them


class Solution(NamedTuple):
    """coefficients: shape (p,). unscaled: (p, p), their covariance over the variance of a point of weight 1.
    squares: weighted sum of squared residuals. inflation: (p,), by how much the other columns inflate the variance of
    each coefficient (VIF without centring: 1 where nothing else resembles the column).
    """

    coefficients: list[float]
    unscaled: list[list[float]]
    squares: float
    inflation: list[float]


def solve(rows: Sequence[Sequence[float]], values: Sequence[float], weights: Sequence[float]) -> Solution | None:
    """Minimise Σ w (y − x·β)²; rows: (n, p), n ≥ p, weights positive. None where a column depends on the others.

    Gram and Schmidt, twice for accuracy, on columns of length one.
    """
    roots = [sqrt(weight) for weight in weights]
    columns = [[root * row[j] for root, row in zip(roots, rows, strict=True)] for j in range(len(rows[0]))]
    lengths = [sqrt(_dot(column, column)) for column in columns]
    if not all(lengths):
        return None
    count = len(columns)
    q: list[list[float]] = []
    r = [[0.0] * count for _ in range(count)]
    for j, column in enumerate(columns):
        left = [x / lengths[j] for x in column]
        for _ in range(2):
            for i, known in enumerate(q):
                part = _dot(known, left)
                r[i][j] += part
                left = [x - part * k for x, k in zip(left, known, strict=True)]
        r[j][j] = sqrt(_dot(left, left))
        if r[j][j] < DEPENDENT:
            return None
        q.append([x / r[j][j] for x in left])
    inverse = _inverse(r)
    target = [root * value for root, value in zip(roots, values, strict=True)]
    parts = [_dot(known, target) for known in q]
    for known, part in zip(q, parts, strict=True):
        target = [t - part * k for t, k in zip(target, known, strict=True)]
    # X = Q R diag(lengths): β = diag(1/lengths) R⁻¹ Qᵀy, covariance diag(1/lengths) R⁻¹ R⁻ᵀ diag(1/lengths)
    spread = [[_dot(inverse[i], inverse[j]) for j in range(count)] for i in range(count)]
    return Solution(
        [_dot(inverse[j], parts) / lengths[j] for j in range(count)],
        [[spread[i][j] / lengths[i] / lengths[j] for j in range(count)] for i in range(count)],
        _dot(target, target),
        [spread[j][j] for j in range(count)],
    )


def _inverse(r: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of an upper triangle."""
    count = len(r)
    inverse = [[0.0] * count for _ in range(count)]
    for j in range(count):
        inverse[j][j] = 1 / r[j][j]
        for i in range(j - 1, -1, -1):
            inverse[i][j] = -sum(r[i][k] * inverse[k][j] for k in range(i + 1, j + 1)) / r[i][i]
    return inverse


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
