"""The power trace of a record: decoded on demand, checked, and its area compared with the record's joules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isfinite

import msgspec
from msgspec import Struct

from llmjoules.records.record import Failed, Record, Run, Trace
from llmjoules.records.stats import inference

AGREE = 0.001  # as fraction of the joules; rounding of the trace to five digits stays far below


class Area(Struct, frozen=True):
    """Joules of the inference of one component: under the drawn line, None where it has a hole, and in the record."""

    component: str
    area_j: float | None
    record_j: float

    @property
    def agrees(self) -> bool:
        return self.area_j is not None and abs(self.area_j - self.record_j) <= AGREE * self.record_j


def trace_of(record: Record) -> tuple[Trace | None, str | None]:
    """The trace, or the reason why there is none to draw."""
    if not isinstance(record, Run | Failed):
        return None, "Published figures come without a power trace."
    try:
        trace = record.decoded_trace()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, "The record's trace cannot be read."
    if trace is None:
        return None, "The record holds no power trace."
    buckets = len(trace.edges_s) - 1
    lines = trace.channels.values()
    if buckets < 1 or any(len(column) != buckets for line in lines for column in (line.mean_w, line.min_w, line.max_w)):
        return None, "The record's trace does not have as many values as buckets."
    if not all(map(isfinite, trace.edges_s)) or any(end < start for start, end in pairwise(trace.edges_s)):
        return None, "The times of the record's trace do not rise."
    return trace, None


def area_j(edges_s: Sequence[float], mean_w: Sequence[float | None], start_s: float, end_s: float) -> float | None:
    """Area under the line of bucket means between two instants, in joules; None where the line has a hole there."""
    total = 0.0
    for (left, right), mean in zip(pairwise(edges_s), mean_w, strict=True):
        inside = min(right, end_s) - max(left, start_s)
        if inside <= 0:
            continue
        if mean is None:
            return None
        total += mean * inside
    return total


def areas(record: Record, trace: Trace) -> list[Area]:
    """One per component that has joules, over the inference and the channels that its total adds up."""
    phase = inference(record)
    if phase is None:
        return []
    found = []
    for component, total in sorted(record.totals.items()):
        if total.joules is None:
            continue
        parts = [
            area_j(trace.edges_s, trace.channels[channel].mean_w, phase.start_s, phase.end_s)
            if channel in trace.channels
            else None
            for channel in total.channels
        ]
        known = [part for part in parts if part is not None]
        found.append(Area(component, sum(known) if parts and len(known) == len(parts) else None, total.joules))
    return found


def disagreeing(found: Iterable[Area]) -> list[Area]:
    return [area for area in found if area.area_j is not None and not area.agrees]
