"""Student's t for any degrees of freedom, in plain Python: the base install has no numpy."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log, log1p, pi
from statistics import NormalDist

NORMAL = NormalDist()
NORMAL_FROM = 1e7  # degrees: from here on the two differ by less than the fraction's rounding
_TINY = 1e-300


def two_sided_p(t: float, degrees: float) -> float:
    """P(|T| > |t|); degrees above 0, infinity for the normal distribution."""
    if degrees > NORMAL_FROM:
        return 2 * NORMAL.cdf(-abs(t))
    return _incomplete_beta(degrees / (degrees + t * t), t * t / (degrees + t * t), degrees / 2, 0.5)


@lru_cache(maxsize=4096)
def critical(alpha: float, degrees: float) -> float:
    """The t that |T| exceeds with probability alpha, 0 < alpha < 1: 0.05 gives the 97.5 % point.

    By Newton's method from the normal point, which lies below: the tail is convex, so every step stays below the root.
    """
    t = -NORMAL.inv_cdf(alpha / 2)
    if degrees > NORMAL_FROM:
        return t
    front = lgamma((degrees + 1) / 2) - lgamma(degrees / 2) - log(degrees * pi) / 2
    for _ in range(200):
        density = exp(front - (degrees + 1) / 2 * log1p(t * t / degrees))
        step = (two_sided_p(t, degrees) - alpha) / (2 * density)
        t += step
        if step <= 1e-12 * t:
            break
    return t


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """The regularised I_x(a, b), by Lentz's continued fraction (Abramowitz and Stegun 26.5.8). rest: 1 − x, exactly."""
    if not (x and rest):
        return 0.0 if rest else 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(rest))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(rest, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + step * d)
            c = _not_zero(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
