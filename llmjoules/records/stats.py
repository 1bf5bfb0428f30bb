"""Figures derived from records: per token, per second, and means with an interval that says what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import fsum, sqrt
from statistics import fmean
from typing import TypeVar

from msgspec import Struct

from llmjoules.records.record import COMPONENTS, SOURCES, Energy, Figures, Phase, Published, Record
from llmjoules.records.student import critical

AnyRecord = TypeVar("AnyRecord", bound=Record)
_NO_FIGURES = Figures(component="gpu")


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


def t_975(degrees: float) -> float:
    """97.5 % point of Student's t: the half-width of a 95 % interval in standard errors."""
    return critical(0.05, degrees)


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
    mean, half_width = fmean(points), None
    if len(points) > 1:  # fsum is exact, and many times as quick as statistics.stdev
        variance = fsum((point - mean) * (point - mean) for point in points) / (len(points) - 1)
        half_width = t_975(len(points) - 1) * sqrt(variance / len(points))
    return Estimate(mean=mean, half_width=half_width, basis=basis, runs=runs, loads=len(loads))


def estimate_of(records: Iterable[AnyRecord], figure: Callable[[AnyRecord], float | None]) -> Estimate | None:
    """The estimate of one figure over records; None where none has it. A published one without a load stands alone."""
    by_load: dict[str, list[float]] = {}
    for record in records:
        value = figure(record)
        if value is not None:
            by_load.setdefault(record.load.id if record.load is not None else record.id, []).append(value)
    return estimate(by_load) if by_load else None


def inference(record: Record) -> Phase | None:
    """The inference phase, if it has a length."""
    return next((phase for phase in record.phases if phase.name == "inference" and phase.duration_s > 0), None)


def inference_s(record: Record) -> float | None:
    phase = inference(record)
    return phase.duration_s if phase is not None else None


def generated_tokens(record: Record) -> int | None:
    """Computed output tokens of the whole batch; of published figures without a count, those that the work names."""
    if record.tokens is not None:
        return record.tokens.generated or None
    work = record.workload
    if isinstance(record, Published) and "tokens_unknown" not in record.flags and work.new_tokens and work.batch_size:
        return work.new_tokens * work.batch_size
    return None


def tokens_per_s(record: Record) -> float | None:
    """Computed output tokens of the whole batch per second of the inference phase, or the rate that a source states."""
    tokens, seconds = generated_tokens(record), inference_s(record)
    if tokens and seconds:
        return tokens / seconds
    return stated(record).tokens_per_s


def components_of(record: Record) -> list[str]:
    """Components with a total: those without joules last, measured first, then the one that did the work."""
    order = ("cpu", *COMPONENTS) if record.system.device == "cpu" else COMPONENTS
    place = {component: order.index(component) for component in COMPONENTS}

    def key(name: str) -> tuple[object, ...]:
        total = record.totals[name]
        return total.joules is None, SOURCES.index(total.source), place.get(name, len(order)), name

    return sorted(record.totals, key=key)


def joules(record: Record, component: str) -> float | None:
    total = record.totals.get(component)
    return total.joules if total is not None else None


def joules_of(energies: Iterable[Energy], channels: Collection[str]) -> float | None:
    """These channels together; None as soon as one of them has no figure, since a part is not the whole."""
    known = {energy.channel: energy.joules for energy in energies if energy.channel in channels}
    found = [value for value in known.values() if value is not None]
    return sum(found) if channels and len(found) == len(channels) else None


def joules_per_token(record: Record, component: str) -> float | None:
    """Energy of the whole inference (prefill and decode) over the computed output tokens of the batch."""
    energy_j, tokens = joules(record, component), generated_tokens(record)
    if energy_j is not None and tokens:
        return energy_j / tokens
    return stated(record, component).j_per_token


def implied_power_w(record: Record, component: str) -> float | None:
    """J/token times tokens/s: the quickest check that a figure can be true."""
    energy_j, seconds = joules(record, component), inference_s(record)
    if energy_j is not None and seconds:
        return energy_j / seconds
    figures = stated(record, component)
    if figures.power_w is None and figures.j_per_token is not None and figures.tokens_per_s is not None:
        return figures.j_per_token * figures.tokens_per_s
    return figures.power_w


def stated(record: Record, component: str | None = None) -> Figures:
    """The means that a published record states, of this component; all None where there are none."""
    found = record.figures if isinstance(record, Published) else None
    if found is None or component not in (None, found.component):
        return _NO_FIGURES
    return found
