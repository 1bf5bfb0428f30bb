"""Numbers in figures that claim no more than is known: one rule for pages, terminal, notebooks and model cards."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

LARGE = 1e9  # from here on powers of ten
DASH = "–"
THIN = "\u202f"  # between thousands: narrow, and no line breaks there


def digits(value: float, decimals: int) -> str:
    """Fixed point; negative `decimals` round to tens, hundreds, …; thousands are set apart from 10 000 on."""
    text = f"{value:.{decimals}f}" if decimals >= 0 else f"{round(value, decimals):.0f}"
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
    """A mean and its half-width, rounded to the same decimal. half is empty where there is none."""

    mean: str
    half: str


def plus_minus(mean: float | None, half: float | None, factor: float = 1.0) -> PlusMinus:
    """Half-width to two digits and the mean to match, but never more than five digits of the mean.

    A half-width larger than the mean has up to four, so that the mean keeps two of its own: of two loads it may be 12.7
    times a mean that is above zero. A mean that is smaller yet is zero as far as anybody knows.
    """
    if mean is None or not isfinite(mean * factor):
        return PlusMinus(DASH, "")
    mean *= factor
    if half is None or not isfinite(half * factor):
        return PlusMinus(number(mean, 3), "")
    half *= factor
    if max(abs(mean), half) >= LARGE:
        return PlusMinus(number(mean, 3), number(half, 2))
    finest = 4 - _magnitude(mean, 5) if mean else 7
    decimals = min(1 - _magnitude(half, 2), finest) if half else min(finest, 3)
    if mean and half > abs(mean) and (of_mean := 1 - _magnitude(mean, 2)) <= decimals + 2:
        decimals = of_mean
    if decimals > 7:
        return PlusMinus(number(mean, 3), number(half, 2))
    small = digits(half, decimals)
    return PlusMinus(
        digits(mean, decimals), small if float(small.replace(THIN, "") or 0) or not half else number(half, 1)
    )


def in_words(mean: float | None, half: float | None, factor: float = 1.0) -> str:
    """`12.30 ± 0.45`; the mean alone where there is no half-width."""
    found = plus_minus(mean, half, factor)
    return f"{found.mean} ± {found.half}" if found.half else found.mean


def _magnitude(value: float, significant: int) -> int:
    """The power of ten of the first digit after rounding: 9.996 to three digits counts as 10.0."""
    return int(f"{value:.{significant - 1}e}".partition("e")[2])
