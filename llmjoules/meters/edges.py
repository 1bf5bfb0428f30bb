"""Energy at the edge of a window that falls between two readings of a running total: seen from both sides, combined."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

Z_95 = 1.96
# The next three are set so that the hard cases of tests/meters/test_window.py are held in 95 % of windows at the least,
# and that on plain loads the band stays below three times the error's root mean square.
AGREE = 2.0  # two sides agree if they differ by less than so many standard deviations
CHANGE = 2.4  # how far a change that goes on may carry the energy off, as a multiple of what the slopes say
NO_STEP = 1.5  # where no single step explains an interval, the band reaches over the farther side by this factor
# Part of a disagreement that is laid to the distance from a knot, so that an exact knot counts alone.
NEARER = 0.05
MOST_POWER = 2.0  # power that shows in no knot may have been this many times what shows


class Point(NamedTuple):
    """Energy at an edge. What both edges of a window are off by is independent in part, and in part the same way round:
    power that rises towards a window and falls after it is misjudged at both in the same direction."""

    joules: float
    independent_j: float = 0.0
    common_j: float = 0.0


class Slope(NamedTuple):
    """Power beside a knot, over `base_s` up to one whose time is good to `far_dt_s`; it may have changed since."""

    power_w: float
    base_s: float
    far_dt_s: float
    change_w: float


class Side(NamedTuple):
    """Energy at an edge as seen from one side, and what it can be off by.

    distance_s: from the knot where it begins. timing_j: standard deviation from the times of its knots.
    change_w: of power from one base to the next; lever_s: what makes joules of it.
    """

    joules: float
    distance_s: float
    timing_j: float
    change_w: float
    lever_s: float

    @property
    def variance_j2(self) -> float:
        return self.timing_j**2 + (self.change_w * self.lever_s) ** 2


def extrapolated(joules: float, slope: Slope, knot_dt_s: float, distance_s: float) -> Side:
    """Times are off by anything up to their half-width alike, a variance of a third of its square.

    That of the knot counts twice: where the line begins, and how steep it is.
    """
    reach = distance_s / slope.base_s
    timing_j = slope.power_w * sqrt(((1 + reach) * knot_dt_s) ** 2 + (reach * slope.far_dt_s) ** 2) / sqrt(3)
    return Side(joules, distance_s, timing_j, slope.change_w, distance_s * (1 + reach) / 2)


def combined(left: Side, right: Side, step: float | None, most_w: float) -> Point:
    """The two sides weighted by their variances, drawn towards `step` as far as they disagree beyond those.

    step: what a single step between the knots would make of it; None where none can explain the interval's energy:
    power did something else there, no side is to be trusted, and the band reaches well over both.
    most_w: the most power seen around; what happened since the nearer knot cannot be more than it explains.
    Errors from timing are independent of each other; those from a change that goes on are the same on both sides.
    """
    gap = abs(left.joules - right.joules)
    width_s = left.distance_s + right.distance_s
    left_j2 = left.variance_j2 + (NEARER * gap * left.distance_s / width_s) ** 2
    right_j2 = right.variance_j2 + (NEARER * gap * right.distance_s / width_s) ** 2
    weight = right_j2 / (left_j2 + right_j2) if left_j2 + right_j2 > 0 else 0.5
    timing_j = sqrt((weight * left.timing_j) ** 2 + ((1 - weight) * right.timing_j) ** 2)
    change_j = max(left.change_w, right.change_w) * (weight * left.lever_s + (1 - weight) * right.lever_s)
    best = weight * left.joules + (1 - weight) * right.joules
    farther = 0.0
    if gap > 0:
        agreeing_j = AGREE * sqrt(left.variance_j2 + right.variance_j2)
        best += ((step if step is not None else best) - best) * max(0.0, gap - agreeing_j) / gap
        unexplained = max(0.0, gap - sqrt(left.timing_j**2 + right.timing_j**2)) / gap
        farther = unexplained * max(abs(left.joules - best), abs(right.joules - best))
        farther *= 1.0 if step is not None else NO_STEP
        farther = min(farther, MOST_POWER * most_w * min(left.distance_s, right.distance_s))
    return Point(best, sqrt((Z_95 * timing_j) ** 2 + farther**2), CHANGE * change_j)
