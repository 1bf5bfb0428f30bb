"""Student's t for any degrees of freedom, in plain Python: the base install has no numpy."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log
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
    """The t that |T| exceeds with probability alpha, 0 < alpha < 1: 0.05 gives the 97.5 % point. By bisection."""
    if degrees > NORMAL_FROM:
        return -NORMAL.inv_cdf(alpha / 2)
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > alpha:
        low, high = high, high * 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, degrees) > alpha else (low, middle)
    return (low + high) / 2


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
