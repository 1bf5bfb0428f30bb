"""What it costs until a first token can be had, and how many requests it takes until that no longer matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot, inf, sqrt

from msgspec import UNSET, Struct

from llmjoules.records import stats
from llmjoules.records.record import Call, Energy, Part, Phase, Run

LOADING = ("import", "tokenizer", "model", "pipeline", "model+pipeline")
SMALL = 0.05  # the part of all energy that loading may be
SHORT = 0.05  # the part of the loading's time that steps without a figure may last


class Cost(Struct, frozen=True, kw_only=True):
    """Energy of one step. uncertainty_j: 95 % half-width of the method's error; None says why in `reason`."""

    name: str
    seconds: float
    joules: float | None
    uncertainty_j: float | None = None
    reason: str | None = None


class BreakEven(Struct, frozen=True, kw_only=True):
    """Requests after which loading is less than SMALL of all energy, in a process that then answers one after another.

    low, high: 95 % interval; None where there is none. basis: `loads` (what differs from load to load is in it), or
    `one load` (the interval is the method's alone). loading_j and request_j: means.
    """

    requests: float | None
    low: float | None = None
    high: float | None = None
    loading_j: float | None = None
    request_j: float | None = None
    basis: str = ""
    reason: str | None = None


def cold_start(run: Run, component: str) -> tuple[Cost, ...]:
    """The steps of a process's start, in order: the loading phases, and the first token of the first call of all.

    Empty for a run that loaded nothing. Steps follow on each other, but what lies between them is in none.
    """
    total = run.totals.get(component)
    if not run.load.first or total is None:
        return ()
    steps: list[tuple[str, Phase | Part]] = [(phase.name, phase) for phase in run.phases if phase.name in LOADING]
    first = _first_prefill(run)
    if first is not None:
        steps.append(("first token", first))
    return tuple(_cost(name, step, total.channels) for name, step in steps)


def break_even(runs: Iterable[Run], component: str) -> BreakEven:
    """Of runs of one cell. Loading is import to pipeline and what the first call took beyond a later one.

    With L joules of loading and R a request, n requests leave a part L / (L + n R): below SMALL from
    n = L / R · (1 - SMALL) / SMALL on.
    """
    runs = list(runs)
    loading = [found for run in runs if (found := _loading(run, component)) is not None]
    request = stats.estimate_of(runs, lambda run: stats.joules(run, component))
    if not loading or request is None or request.mean <= 0:
        return BreakEven(requests=None, reason=f"missing: no {'loading' if not loading else 'request'} has a figure")
    loading_j = _mean(joules for joules, _ in loading)
    if len(loading) > 1:
        spread = stats.estimate({str(number): [joules] for number, (joules, _) in enumerate(loading)}).half_width
        loading_u, basis = spread or 0.0, "loads"
        request_u = request.half_width or 0.0
    else:
        loading_u, basis = loading[0][1], "one load"
        method = [
            run.totals[component].uncertainty_j or 0.0 for run in runs if stats.joules(run, component) is not None
        ]
        request_u = max(request.half_width or 0.0, _mean(method))
    times = (1 - SMALL) / SMALL
    low, high = ratio_interval(loading_j, loading_u, request.mean, request_u)
    return BreakEven(
        requests=times * loading_j / request.mean,
        low=times * low,
        high=times * high if high < inf else None,
        loading_j=loading_j,
        request_j=request.mean,
        basis=basis,
    )


def ratio_interval(a: float, u_a: float, b: float, u_b: float) -> tuple[float, float]:
    """Fieller's interval of a / b for independent a ± u_a and b ± u_b, not below 0; without end where b may be 0."""
    if u_b >= b:
        return 0.0, inf
    ratio, part = a / b, u_b / b
    rest = 1 - part * part
    half = hypot(u_a / b * sqrt(rest), ratio * part)
    return max(0.0, (ratio - half) / rest), (ratio + half) / rest


def _loading(run: Run, component: str) -> tuple[float, float] | None:
    """Joules and what the method can be off by; None where a step has no figure.

    Steps too short for the meter that together last less than SHORT of the loading do not spoil it: they count at the
    power of the others, and may be off by all of that.
    """
    total = run.totals.get(component)
    steps = [phase for phase in run.phases if phase.name in LOADING]
    if not run.load.first or total is None or not steps:
        return None
    costs = [_cost(phase.name, phase, total.channels) for phase in steps]
    known = [cost for cost in costs if cost.joules is not None]
    known_s, unknown_s = sum(c.seconds for c in known), sum(c.seconds for c in costs if c.joules is None)
    if known_s <= 0 or unknown_s > SHORT * (known_s + unknown_s):
        return None
    joules = sum(cost.joules or 0.0 for cost in known)
    unknown_j = joules / known_s * unknown_s
    doubt_j = sum(cost.uncertainty_j or 0.0 for cost in known) + unknown_j
    joules += unknown_j
    more = _first_call_extra(run, total.channels)
    return (joules + more[0], doubt_j + more[1]) if more is not None else (joules, doubt_j)


def _first_call_extra(run: Run, channels: Sequence[str]) -> tuple[float, float] | None:
    """What the first call took beyond the mean of the last ones; None where too little is known to say."""
    calls: tuple[Call, ...] = () if run.warm_up is UNSET else run.warm_up.calls
    found = [(stats.joules_of(call.energy, channels), _doubt_j(call.energy, channels)) for call in calls]
    later = [(joules, doubt_j) for joules, doubt_j in found[-3:] if joules is not None] if len(calls) > 3 else []
    if not later or found[0][0] is None:
        return None
    return found[0][0] - _mean(j for j, _ in later), found[0][1] + _mean(u for _, u in later)


def _first_prefill(run: Run) -> Part | None:
    """Of the first call in the process: a discarded one, or else the inference itself."""
    if run.warm_up is not UNSET and run.warm_up.calls:
        parts = run.warm_up.calls[0].parts
    elif run.phase("warm-up") is not None:
        return None  # of an older version, which did not look into it
    else:
        inference = stats.inference(run)
        parts = inference.parts if inference is not None else ()
    return next((part for part in parts if part.name == "prefill"), None)


def _cost(name: str, step: Phase | Part, channels: Sequence[str]) -> Cost:
    joules, seconds = stats.joules_of(step.energy, channels), step.end_s - step.start_s
    if joules is None:
        found = [energy.reason for energy in step.energy if energy.channel in channels and energy.reason]
        return Cost(name=name, seconds=seconds, joules=None, reason=found[0] if found else "missing: no figure")
    return Cost(name=name, seconds=seconds, joules=joules, uncertainty_j=_doubt_j(step.energy, channels))


def _doubt_j(energies: Iterable[Energy], channels: Sequence[str]) -> float:
    return sum(energy.uncertainty_j or 0.0 for energy in energies if energy.channel in channels)


def _mean(values: Iterable[float]) -> float:
    """Of a few; unlike fmean it gives infinity where the sum of absurd figures overflows."""
    found = list(values)
    return sum(found) / len(found)
