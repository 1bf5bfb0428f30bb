"""The power trace of a record: decoded on demand, checked, and its area compared with the record's joules."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Struct

from llmjoules.records.record import Failed, Record, Run, Trace
from llmjoules.records.stats import inference
from llmjoules.sitegen import text

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

AGREE = 0.001  # as fraction of the joules; rounding of the trace to five digits stays far below
DRAWN = 0.0002  # what drawing may add to that, by its edges and by its powers each
LEAST_J = 1e-7  # a tenth of the last digit in a record
FINE, COARSE = 65_535, 255  # the largest number of 16 and 8 bits; it stands for "not known"


class Lines(Struct, frozen=True):
    """A trace as arrays. edges_s: shape (n + 1,); of each channel mean, least and most power in W, shape (n,).

    Where a power is not known it is NaN.
    """

    edges_s: NDArray[float64]
    mean_w: dict[str, NDArray[float64]]
    low_w: dict[str, NDArray[float64]]
    high_w: dict[str, NDArray[float64]]


class Area(Struct, frozen=True):
    """Joules of the inference of one component: under the drawn line, None where it has a hole, and in the record."""

    component: str
    area_j: float | None
    record_j: float

    @property
    def agrees(self) -> bool:
        return self.area_j is not None and abs(self.area_j - self.record_j) <= AGREE * self.record_j


class Check(Struct, frozen=True):
    """The areas of a record held against its joules. compared: some of them could be.

    wrong: components whose two are not the same. unchecked: sentences about what could not be compared.
    """

    compared: bool
    wrong: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def trace_of(record: Record) -> tuple[Lines | None, str | None]:
    """The trace, or the reason why there is none to draw."""
    if not isinstance(record, Run | Failed):
        return None, "Published figures come without a power trace."
    try:
        trace = record.decoded_trace()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, "The record's trace cannot be read."
    if trace is None:
        return None, "The record holds no power trace."
    return lines_of(trace)


def lines_of(trace: Trace) -> tuple[Lines | None, str | None]:
    import numpy as np

    buckets = len(trace.edges_s) - 1
    found = trace.channels.values()
    if buckets < 1 or any(len(column) != buckets for line in found for column in (line.mean_w, line.min_w, line.max_w)):
        return None, "The record's trace does not have as many values as buckets."
    edges_s = np.array(trace.edges_s, float)
    if not np.isfinite(edges_s).all() or (edges_s[1:] < edges_s[:-1]).any():
        return None, "The times of the record's trace do not rise."
    columns = (
        {name: np.array(getattr(line, part), float) for name, line in trace.channels.items()}
        for part in ("mean_w", "min_w", "max_w")
    )
    return Lines(edges_s, *columns), None


def area_j(edges_s: NDArray[float64], mean_w: NDArray[float64], start_s: float, end_s: float) -> float | None:
    """Area under the line of bucket means between two instants, in joules; None where the line has a hole there."""
    import numpy as np

    total = float(areas_j(edges_s, mean_w, [(start_s, end_s)])[0])
    return None if np.isnan(total) else total


def areas_j(
    edges_s: NDArray[float64], mean_w: NDArray[float64], spans_s: Sequence[tuple[float, float]]
) -> NDArray[float64]:
    """The area in each span, from the running integral. spans_s: shape (k, 2); returns shape (k,), NaN for a hole."""
    import numpy as np

    widths_s, known = np.diff(edges_s), np.isfinite(mean_w)
    ends_s = np.array(spans_s, float).reshape(-1, 2)

    def inside(values: NDArray[float64]) -> NDArray[float64]:
        sums = np.interp(ends_s, edges_s, np.concatenate(([0.0], np.cumsum(values))))
        between: NDArray[float64] = sums[:, 1] - sums[:, 0]
        return between

    if known.all():
        return inside(mean_w * widths_s)
    holes_s = inside(np.where(known, 0.0, widths_s))
    return np.where(holes_s > 0, np.nan, inside(np.where(known, mean_w * widths_s, 0.0)))


def areas(record: Record, trace: Lines) -> list[Area]:
    """One per component that has joules, over the inference and the channels that its total adds up."""
    phase = inference(record)
    if phase is None:
        return []
    found = []
    for component, total in sorted(record.totals.items()):
        if total.joules is None:
            continue
        parts = [
            area_j(trace.edges_s, trace.mean_w[channel], phase.start_s, phase.end_s)
            if channel in trace.mean_w
            else None
            for channel in total.channels
        ]
        known = [part for part in parts if part is not None]
        found.append(Area(component, sum(known) if parts and len(known) == len(parts) else None, total.joules))
    return found


def checked(record: Record, trace: Lines | None, no_trace: str | None) -> Check:
    """trace, no_trace: as trace_of has them."""
    if trace is None:
        there = isinstance(record, Run | Failed) and record.trace is not UNSET
        return Check(compared=False, unchecked=(no_trace or "",) if there else ())
    found = areas(record, trace)
    holes = [area for area in found if area.area_j is None]
    return Check(
        compared=len(holes) < len(found),
        wrong=tuple(_name(area) for area in found if area.area_j is not None and not area.agrees),
        unchecked=tuple(f"{_name(area)}: in a part of the inference no power is known" for area in holes),
    )


def _name(area: Area) -> str:
    return text.component_name(area.component)


def packed(trace: Lines, names: Sequence[str], spans_s: Sequence[tuple[float, float]], banded: bool) -> dict[str, Any]:
    """What power.js draws, in as few bytes as a chart needs.

    Edges are whole steps from the one before, of a microsecond, `[width, count]` where three or more are alike; powers
    are parts of the largest, the mean in 16 bits and the band in 8. Where that would move the area over one of
    `spans_s`, which a reader can choose, by more than DRAWN, steps are finer and means are written out.
    """
    import numpy as np

    edges_s = trace.edges_s

    def moved(true_j: NDArray[float64], drawn_j: NDArray[float64]) -> bool:
        return bool((np.abs(drawn_j - true_j) > DRAWN * np.abs(true_j) + LEAST_J).any())  # of holes nothing is known

    for step_s in (1e-6, 1e-9, 1e-12):
        ticks = np.rint((edges_s - edges_s[0]) / step_s).astype(np.int64)
        drawn_s = edges_s[0] + ticks * step_s
        drawn_j = {name: areas_j(drawn_s, trace.mean_w[name], spans_s) for name in names}
        if not any(moved(areas_j(edges_s, trace.mean_w[name], spans_s), drawn_j[name]) for name in names):
            break
    lines = []
    for name in names:
        line = _packed_line(trace, name, banded)
        if "top_w" in line:
            means_w = _bits(np.rint(trace.mean_w[name] / line["top_w"] * (FINE - 1)), FINE) * line["top_w"] / (FINE - 1)
            if moved(drawn_j[name], areas_j(drawn_s, means_w, spans_s)):
                line["mean"] = _written(trace.mean_w[name])
        lines.append(line)
    widths = [
        width if count < 3 else [width, count]
        for width, same in groupby(np.diff(ticks).tolist())
        for count in (sum(1 for _ in same),)
        for _ in range(count if count < 3 else 1)
    ]
    return {"edges": {"from_s": float(edges_s[0]), "step_s": step_s, "widths": widths}, "lines": lines}


def _packed_line(trace: Lines, name: str, banded: bool) -> dict[str, Any]:
    import numpy as np

    mean, low, high = trace.mean_w[name], trace.low_w[name], trace.high_w[name]
    known = np.concatenate([values[np.isfinite(values)] for values in (mean, high)])
    top = max(float(known.max()) if len(known) else 0.0, 1e-9)
    if (mean < 0).any():
        return {"mean": _written(mean)}
    line = {"top_w": top, "mean": _text(_bits(np.rint(mean / top * (FINE - 1)), FINE), "<u2")}
    if banded:
        line["low"] = _text(_bits(np.floor(low / top * (COARSE - 1)), COARSE), "u1")
        line["high"] = _text(_bits(np.ceil(high / top * (COARSE - 1)), COARSE), "u1")
    return line


def _written(values: NDArray[float64]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values.tolist()]


def _bits(values: NDArray[float64], unknown: int) -> NDArray[float64]:
    import numpy as np

    return np.where(np.isfinite(values), np.clip(values, 0, unknown - 1), unknown)


def _text(values: NDArray[float64], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def merged(trace: Lines, names: Sequence[str], most: int, keep_s: Sequence[float]) -> list[tuple[float, ...]]:
    """Stretches of a few buckets each, about `most` of them: from, to, and per channel mean, least and most power.

    None goes over one of the instants `keep_s`. The mean is the energy of the stretch over its length.
    """
    import numpy as np

    edges_s = trace.edges_s
    buckets = len(edges_s) - 1
    each = -(-buckets // most)
    cuts = np.unique(
        np.concatenate([np.arange(0, buckets, each), np.searchsorted(edges_s, keep_s, "left").clip(0, buckets - 1)])
    )
    ends = np.append(cuts[1:], buckets)
    widths = np.diff(edges_s)
    columns = [edges_s[cuts], edges_s[ends]]
    lengths = np.add.reduceat(widths, cuts)
    for name in names:
        with np.errstate(invalid="ignore", divide="ignore"):
            columns.append(np.add.reduceat(trace.mean_w[name] * widths, cuts) / lengths)
        columns += [np.minimum.reduceat(trace.low_w[name], cuts), np.maximum.reduceat(trace.high_w[name], cuts)]
    return list(zip(*(column.tolist() for column in columns), strict=True))
