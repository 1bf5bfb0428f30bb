"""When a cell has been repeated often enough: `--repeats auto`.

The interval is the one of `stats.estimate`, over loads where there are two or more. Looking at it after every load and
stopping as soon as it is narrow picks moments at which the scatter happens to look small: with the plain rule intervals
of 95 % cover the truth in 88 to 93 % of simulated studies. Two corrections, both in the decision, so that the interval
that is published stays the plain one (docs/statistics.md has the simulation):

- the scatter over loads is never taken for smaller than the scatter inside loads allows (its variance over the runs of
  a load), and
- the interval must be narrow enough for the second time.

Repeats of a single process depend on each other: there the interval is widened for an autocorrelation of at least 0.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import ceil, sqrt
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records.stats import Estimate, estimate, t_975

LEAST, MOST = 5, 30
AUTOCORRELATION = 0.3  # of repeats in one process, unless they show more
RULE_LOADS = "95 % interval over loads within the precision for the second time; scatter not below that inside loads"
RULE_RUNS = "95 % interval over runs of one process, widened for an autocorrelation of 0.3 or more, within the precision for the second time"  # fmt: skip  # noqa: E501


class Judgement(Struct, frozen=True, kw_only=True):
    """Whether to go on, and why.

    reason: a code, a colon and a sentence; the codes are `precise`, `most` (stop), `least` and `wide` (go on).
    rule: what was asked of which interval.
    precision: the relative half-width that is wanted, a fraction.
    half_width: that of `estimate`, relative to its mean; None where there is no interval or the mean is not positive.
    estimate: of what was judged; None where no run has a figure.
    """

    stop: bool
    reason: str
    rule: str
    precision: float
    half_width: float | None
    estimate: Estimate | None


def runs_per_load(loads: int | None, most: int = MOST) -> int:
    """How many runs each further process gets in auto mode.

    One, each with a load of its own (the study's way), unless the user limits the number of loads: then `most` is dealt
    evenly over them. Judge after each process, or after each run where there is only one process.
    """
    return 1 if loads is None else ceil(most / loads)


def judge(
    values_by_load: Mapping[str, Sequence[float]],
    *,
    precision: float,
    least: int = LEAST,
    most: int = MOST,
    without_figure: int = 0,
    loads: int | None = None,
) -> Judgement:
    """Judge the figures (J per output token) of a cell so far, by load, loads in the order in which they were run.

    precision: relative, 0.02 for ±2 %. without_figure: runs that gave none; they count towards `most` only, so that a
    cell that fails or cannot be measured comes to an end. loads: how many the user allows. Only if that is 1 may runs
    of one process decide; else one load is never enough, whatever its runs agree on.
    """
    by_load = [list(values) for values in values_by_load.values() if values]
    runs = sum(map(len, by_load))
    rule = RULE_RUNS if loads == 1 else RULE_LOADS
    if not by_load:
        stop = without_figure >= most
        reason = f"most: none of {without_figure} runs has a figure" if stop else "least: no run has a figure yet"
        return Judgement(stop=stop, reason=reason, rule=rule, precision=precision, half_width=None, estimate=None)
    found = estimate(dict(enumerate(by_load)))  # type: ignore[arg-type]
    if len(by_load) == 1:
        found = replace(found, half_width=_half_width_of_runs(by_load[0]))
    relative = found.half_width / found.mean if found.half_width is not None and found.mean > 0 else None
    narrow = sum(width <= precision for width in _widths(by_load, least))
    now = relative is not None and relative <= precision and narrow > 0
    over = f"{found.loads} loads" if found.loads > 1 else f"{runs} runs of one process"
    shown = "no interval" if relative is None else f"± {relative * 100:.2g} %"
    if runs < least:
        code, what = "least", f"{runs} of at least {least} runs"
    elif now and narrow > 1 and (len(by_load) > 1 or loads == 1):
        code, what = "precise", f"{shown} over {over}, wanted ± {precision * 100:.2g} %"
    elif runs + without_figure >= most:
        code, what = "most", f"{shown} over {over} after all {most} runs, wanted ± {precision * 100:.2g} %"
    elif len(by_load) == 1 and loads != 1:
        code, what = "least", "one load so far: what differs from load to load is not known"
    else:
        code, what = "wide", f"{shown} over {over}, wanted ± {precision * 100:.2g} % twice"
    stop = code in ("precise", "most")
    return Judgement(
        stop=stop,
        reason=f"{code}: {what}",
        rule=rule,
        precision=precision,
        half_width=relative,
        estimate=found,
    )


def _widths(loads: Sequence[Sequence[float]], least: int) -> Iterator[float]:
    """The relative half-width that decided at each look from `least` runs on: after each load, or run of the only one.

    Worked out anew each time, so that a study which is resumed decides as one that was not interrupted.
    """
    if len(loads) == 1:
        for count in range(max(least, 2), len(loads[0]) + 1):
            values = loads[0][:count]
            half, mean = _half_width_of_runs(values), fmean(values)
            if half is not None and mean > 0:
                yield half / mean
        return
    for count in range(2, len(loads) + 1):
        seen = loads[:count]
        mean = fmean(map(fmean, seen))
        if sum(map(len, seen)) >= least and mean > 0:
            yield t_975(count - 1) * sqrt(_deciding_variance(seen) / count) / mean


def _deciding_variance(loads: Sequence[Sequence[float]]) -> float:
    """Variance of the means of loads, but not below what the runs inside them would alone give it."""
    between = _variance([fmean(values) for values in loads])
    several = [values for values in loads if len(values) > 1]
    degrees = sum(len(values) - 1 for values in several)
    if not degrees:
        return between
    inside = sum(_variance(values) * (len(values) - 1) for values in several) / degrees
    return max(between, inside * fmean(1 / len(values) for values in loads))


def _half_width_of_runs(values: Sequence[float]) -> float | None:
    """Half-width for repeats of one process; None where they are so much alike that they count for one.

    With an autocorrelation of ρ at lag one, the variance of a mean of n is σ²/n · (1+ρ)/(1−ρ), and the variance inside
    the sample falls short of σ² by the same.
    """
    count = len(values)
    rho = max(AUTOCORRELATION, lag_one(values) + 1 / count)
    inflation = (1 + rho) / (1 - rho) if rho < 1 else count
    if inflation >= count:
        return None
    true_variance = _variance(values) * (count - 1) / (count - inflation)
    return t_975(count - 1) * sqrt(true_variance / count * inflation)


def _variance(values: Sequence[float]) -> float:
    """As statistics.variance, which takes fractions and a hundred times as long: this is asked at every look."""
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def lag_one(values: Sequence[float]) -> float:
    """Autocorrelation at lag one; 0 where nothing varies. Its expectation for independent values is about −1/n."""
    mean = fmean(values)
    off = [value - mean for value in values]
    squares = sum(x * x for x in off)
    return sum(a * b for a, b in pairwise(off)) / squares if squares else 0.0
