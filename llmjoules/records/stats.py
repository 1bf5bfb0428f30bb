"""Figures derived from records: per token, per second, and means with an interval that says what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct

from llmjoules.records.record import Run

# 97.5 % points of Student's t for 1 to 30 degrees of freedom (any statistics table).
_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_Z_975 = 1.959964


class Estimate(Struct, frozen=True, kw_only=True):
    """A mean with the half-width of its 95 % interval.

    basis: `loads` (interval over the means of separate processes), `runs` (over runs of one process: what differs from
    load to load is not in it), or `one run` (no interval: half_width is None).
    """

    mean: float
    half_width: float | None
    basis: str
    runs: int
    loads: int


def t_975(degrees: int) -> float:
    """97.5 % point of Student's t; above 30 degrees by the expansion of Cornish and Fisher (error below 1e-4)."""
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = _Z_975
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def estimate(values_by_load: Mapping[str, Sequence[float]]) -> Estimate:
    """Mean over loads of each load's mean. Needs at least one value.

    Repeats inside one process are not independent, so with two loads or more the interval is taken over loads.
    """
    loads = [values for values in values_by_load.values() if values]
    runs = sum(map(len, loads))
    if len(loads) > 1:
        points, basis = [fmean(values) for values in loads], "loads"
    else:
        points, basis = list(loads[0]), "runs" if runs > 1 else "one run"
    half_width = t_975(len(points) - 1) * stdev(points) / sqrt(len(points)) if len(points) > 1 else None
    return Estimate(mean=fmean(points), half_width=half_width, basis=basis, runs=runs, loads=len(loads))


def estimate_of(runs: Iterable[Run], figure: Callable[[Run], float | None]) -> Estimate | None:
    """The estimate of one figure over runs; None where no run has it."""
    by_load: dict[str, list[float]] = {}
    for run in runs:
        value = figure(run)
        if value is not None:
            by_load.setdefault(run.load.id, []).append(value)
    return estimate(by_load) if by_load else None


def inference_s(run: Run) -> float | None:
    phase = run.phase("inference")
    return phase.duration_s if phase is not None and phase.duration_s > 0 else None


def tokens_per_s(run: Run) -> float | None:
    """Computed output tokens of the whole batch per second of the inference phase."""
    seconds = inference_s(run)
    return run.tokens.generated / seconds if seconds else None


def joules(run: Run, component: str) -> float | None:
    total = run.totals.get(component)
    return total.joules if total is not None else None


def joules_per_token(run: Run, component: str) -> float | None:
    """Energy of the whole inference (prefill and decode) over the computed output tokens of the batch."""
    energy_j = joules(run, component)
    return energy_j / run.tokens.generated if energy_j is not None and run.tokens.generated else None


def implied_power_w(run: Run, component: str) -> float | None:
    """J/token times tokens/s: the quickest check that a figure can be true."""
    energy_j, seconds = joules(run, component), inference_s(run)
    return energy_j / seconds if energy_j is not None and seconds else None
