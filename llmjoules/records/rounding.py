"""Numbers in figures that claim no more than is known: one rule for pages, terminal, notebooks and model cards.

templates/charts.js does the same in the browser; a test sets the two side by side.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

LARGE = 1e9  # from here on powers of ten
DASH = "–"
THIN = "\u202f"  # between thousands: narrow, and no line breaks there
_NO_END = 1000  # decimals that no number has


def digits(value: float, decimals: int) -> str:
    """Fixed point; negative `decimals` round to tens, hundreds, …; thousands are set apart from 10 000 on.

    What lies exactly between two goes to the even one. Zero has no sign.
    """
    text = f"{value:.{decimals}f}" if decimals >= 0 else f"{round(value, decimals):.0f}"
    text = text if text.strip("-0.") else text.lstrip("-")
    whole, point, rest = text.partition(".")
    if len(whole.lstrip("-")) > 4:
        whole = f"{int(whole):,}".replace(",", THIN)
    return whole + point + rest


def number(value: float | None, significant: int = 3) -> str:
    """A figure alone, to three digits. A dash where there is none; nothing ever reads NaN."""
    if value is None or not isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if significant <= 4 and "e" not in (text := f"{value:#.{significant}g}"):  # nearly always, and quick
        return text.removesuffix(".")
    decimals = significant - 1 - _magnitude(value, significant)
    return digits(value, decimals) if abs(value) < LARGE and decimals <= 7 else f"{value:.{significant - 1}e}"


class PlusMinus(NamedTuple):
    """A mean and its half-width, to the same decimal. half is empty where there is none."""

    mean: str
    half: str


def plus_minus(mean: float | None, half: float | None, factor: float = 1.0) -> PlusMinus:
    """Half-width to two digits and the mean to match, but never more than five digits of the mean. A half-width
    below half of the mean's last decimal is shown as one unit of it, never finer than the mean and never as zero.

    A half-width larger than the mean has up to four, so that the mean keeps two of its own: of two loads it may be 12.7
    times a mean that is above zero. A mean that is smaller yet is zero as far as anybody knows.
    """
    if mean is None or not isfinite(mean * factor):
        return PlusMinus(DASH, "")
    mean *= factor
    if half is None or not isfinite(half * factor):
        return PlusMinus(number(mean, 3), "")
    half *= factor
    exact, largest = half == 0, max(abs(mean), half)
    decimals = _decimals(mean, half)
    if largest >= LARGE or decimals > 7:  # powers of ten, the same for both
        power = _magnitude(largest, 5)
        mean, half = _shifted(mean, -power), _shifted(half, -power)
        decimals, suffix = _decimals(mean, half), f"e{power:+03d}"
    else:
        suffix = ""
    shown = digits(half, decimals)
    if not exact and not shown.strip("0."):
        shown = digits(10.0**-decimals, decimals)
    return PlusMinus(digits(mean, decimals) + suffix, shown + suffix)


def _decimals(mean: float, half: float) -> int:
    """How many both are shown with."""
    finest = 4 - _magnitude(mean, 5) if mean else _NO_END
    if not half:
        return min(finest, max(3, 2 - _magnitude(mean, 3)) if mean else 3)
    decimals = min(1 - _magnitude(half, 2), finest)
    if mean and half > abs(mean) and (of_mean := 1 - _magnitude(mean, 2)) <= decimals + 2:
        return of_mean
    return decimals


def in_words(mean: float | None, half: float | None, factor: float = 1.0) -> str:
    """`12.30 ± 0.45`; the mean alone where there is no half-width."""
    found = plus_minus(mean, half, factor)
    return f"{found.mean} ± {found.half}" if found.half else found.mean


def _magnitude(value: float, significant: int) -> int:
    """The power of ten of the first digit after rounding: 9.996 to three digits counts as 10.0."""
    return int(f"{value:.{significant - 1}e}".partition("e")[2])


def _shifted(value: float, power: int) -> float:
    """value · 10^power, where the power alone may be too large or too small for a number."""
    mantissa, _, exponent = f"{value:.17e}".partition("e")
    return float(f"{mantissa}e{int(exponent) + power}")
