"""A mean and its half-width in figures that claim no more than is known."""

from __future__ import annotations

from math import floor, isfinite, log10


def plus_minus(value: float | None, half: float | None) -> str:
    """The half-width to two digits and the value to the same decimal; four digits where there is no half-width."""
    if value is None:
        return "–"
    if half is None or not half > 0 or not isfinite(half) or not isfinite(value) or max(abs(value), half) >= 1e9:
        return f"{value:.4g}"
    decimals = min(max(1 - floor(log10(half)), 0), 9)
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"
