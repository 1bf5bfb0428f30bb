"""Small drawings inside tables: intervals and bars on a scale that all rows share, as numbers for inline SVG."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, isfinite, log10
from typing import NamedTuple

from llmjoules.records.stats import Estimate
from llmjoules.sitegen.text import Unit, number

WIDTH = 116.0
PAD = 5.0
LOG_FROM = 12.0  # the largest over the smallest value from which a linear scale would press rows into the corner
SMALLEST = 1e-12  # joules per token: below lies no physics


class Scale(NamedTuple):
    low: float
    high: float
    log: bool

    def x(self, value: float) -> float:
        """Pixels from the left; beyond the scale at its end."""
        if self.log:
            share = (log10(max(value, self.low)) - log10(self.low)) / (log10(self.high) - log10(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(PAD + (WIDTH - 2 * PAD) * min(max(share, 0.0), 1.0), 1)

    def label(self, unit: Unit) -> str:
        """Its ends, in the unit of the column beside it."""
        ends = f"{number(self.low * unit.factor, 2)} to {number(self.high * unit.factor, 2)} {unit.prefix}J"
        return f"{ends}, log" if self.log else ends


class Interval(NamedTuple):
    """Pixels. dot: the mean; low, high: its 95 % interval; gain_low, gain_high: what the channel may be off by."""

    dot: float
    low: float | None
    high: float | None
    gain_low: float | None
    gain_high: float | None


def scale_over(estimates: Iterable[tuple[Estimate | None, float | None]]) -> Scale | None:
    """A scale that holds every mean with its gain; intervals wider than that are cut at its ends."""
    means: list[float] = []
    tops: list[float] = []
    for estimate, gain in estimates:
        if estimate is not None and estimate.mean > SMALLEST and isfinite(estimate.mean):
            means.append(estimate.mean)
            half = min(estimate.half_width or 0.0, estimate.mean)
            tops.append(max(estimate.mean * (1 + (gain or 0.0)), estimate.mean + half))
    if not means:
        return None
    if max(means) / min(means) < LOG_FROM:
        return Scale(0.0, _round_up(max(tops)), False)
    return Scale(10 ** floor(log10(min(means) * 0.5)), _round_up(max(tops)), True)


def interval(estimate: Estimate | None, gain: float | None, scale: Scale | None) -> Interval | None:
    if estimate is None or scale is None or not isfinite(estimate.mean):
        return None
    mean, half = estimate.mean, estimate.half_width
    low, high = (None, None) if half is None else (scale.x(mean - half), scale.x(mean + half))
    gain_low, gain_high = (None, None) if not gain else (scale.x(mean * (1 - gain)), scale.x(mean * (1 + gain)))
    return Interval(scale.x(mean), low, high, gain_low, gain_high)


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten."""
    power: float = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if step * power >= value)
