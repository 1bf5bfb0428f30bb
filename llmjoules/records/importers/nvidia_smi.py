"""A trace of `nvidia-smi --query-gpu=timestamp,power.draw,… --format=csv -lms …`.

It has no index of the GPU: with three of them three rows follow each other within a few milliseconds. Times are local,
without a zone. The whole trace is one job: nothing in it tells phases apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from llmjoules.records.importers.building import BOARD_GAIN, Publisher
from llmjoules.records.importers.power_trace import Trapezoid
from llmjoules.records.importers.powermetrics_table import job_info, model_in
from llmjoules.records.importers.reading import (
    TO_WATTS,
    Columns,
    Energies,
    NotANumber,
    Row,
    SourceFile,
    misfit,
    not_later,
    number,
    unit_in,
)
from llmjoules.records.importers.types import Bad, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, MeterInfo, Phase, Workload

TOOL = "nvidia-smi trace"
TOGETHER_S = 0.03  # rows of one poll follow each other faster than this, as a rule
APART_S = 0.06  # and the next poll, 0.1 s later, comes after this
LOOK_AT = 600  # rows, to count the GPUs
SAMPLE_S = 1.0  # what power.draw is a mean over on boards since Ampere


class Sample(NamedTuple):
    line: int
    at_s: float
    power_w: float


def is_one(lines: Sequence[str]) -> bool:
    return bool(lines) and lines[0].startswith("timestamp,") and ", power.draw" in lines[0]


def read(file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    rows = file.rows()
    header = next(rows)
    if isinstance(header, Bad):
        yield header
        return
    columns, energies = Columns(header.fields), Energies(units)
    columns.find("timestamp")
    place = next(index for index, name in enumerate(columns.header) if name.startswith("power.draw"))
    name = columns.header[place]
    columns.find(name)
    factor = energies.factor(name, unit_in(name) or "W", TO_WATTS)
    yield from (Unmapped(f"column {left}") for left in columns.left_over())
    first: list[Sample] = []  # held back to count the GPUs
    polls: _Polls | None = None
    for row in rows:
        sample = row if isinstance(row, Bad) else _parse(row, len(columns), place, name, factor)
        if isinstance(sample, Bad):
            yield sample
        elif polls is not None:
            yield from polls.add(sample)
        else:
            first.append(sample)
            if len(first) == LOOK_AT:
                polls = _Polls(_gpus(first))
                for held in first:
                    yield from polls.add(held)
    if polls is None:
        polls = _Polls(_gpus(first))
        for held in first:
            yield from polls.add(held)
    yield from _record(file, options, energies, polls.traces, header.line)


def _parse(row: Row, width: int, place: int, name: str, factor: float) -> Sample | Bad:
    """Every cell ends with its unit; where the last one does not, it was cut."""
    wrong = misfit(row, width)
    if wrong is not None and len(row.fields) > width:
        return wrong
    if wrong is not None or not row.fields[-1].endswith(("W", "%", "C", "MiB", "MHz")):
        last = row.fields[-1][:20]
        return Bad(row.line, f"{len(row.fields)} fields of {width}, the last being {last!r}: the line was cut")
    try:
        at_s = datetime.strptime(row.fields[0], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return Bad(row.line, f"{row.fields[0][:40]!r} is no time like 2024/04/02 07:36:21.246", "timestamp")
    try:
        return Sample(row.line, at_s, number(row.fields[place].removesuffix("W")) * factor)
    except NotANumber as error:
        return Bad(row.line, str(error), name)


class _Polls:
    """Rows in turn to the GPUs, beginning anew with each poll."""

    def __init__(self, gpus: int) -> None:
        self.traces = [Trapezoid(f"gpu:{index}") for index in range(gpus)]
        self._next = 0
        self._last_s = 0.0

    def add(self, sample: Sample) -> Iterator[Bad]:
        if self._next == len(self.traces) or sample.at_s - self._last_s >= APART_S:
            self._next = 0
        if not self.traces[self._next].add(sample.at_s, sample.power_w):
            yield not_later(sample.line, "timestamp")
        self._next += 1
        self._last_s = sample.at_s


def _gpus(samples: Sequence[Sample]) -> int:
    """How many rows follow each other at once, as a rule."""
    sizes: Counter[int] = Counter()
    size = 1
    for before, after in pairwise(samples):
        if after.at_s - before.at_s < TOGETHER_S:
            size += 1
        else:
            sizes[size] += 1
            size = 1
    return sizes.most_common(1)[0][0] if sizes else size


def _record(
    file: SourceFile, options: Options, energies: Energies, traces: Sequence[Trapezoid], line: int
) -> Iterator[Item]:
    begun = [trace.first_s for trace in traces if trace.first_s is not None]
    if not begun or max(trace.samples for trace in traces) < 2:
        yield Note("the trace has a header and fewer than two samples: there is no energy in it")
        return
    publisher, job = Publisher(file, TOOL, options), job_info(file)
    start_s, end_s = min(begun), max(trace.last_s for trace in traces)
    if len(traces) > 1:
        yield Note(f"rows come in groups of {len(traces)}: read as that many GPUs")
    yield Note("its times are local without a zone, and it tells no phases apart: one record of the whole job")
    channels = tuple(
        Channel(id=trace.channel, component="gpu", kind="power", unit="W", period_s=SAMPLE_S, resolution=0.01,
                gain=BOARD_GAIN)
        for trace in traces
    )  # fmt: skip
    yield publisher.record(
        line=line + 1,
        model=publisher.model(job.get("model_name") or model_in(file.stem)),
        system=publisher.system(job.get("system_name"), None, len(traces), device="cuda"),
        workload=Workload(),
        meters=(MeterInfo(name="nvidia-smi", channels=channels),),
        phases=(
            Phase(name="job", start_s=0.0, end_s=end_s - start_s, energy=tuple(trace.energy() for trace in traces)),
        ),
        units=energies.stated,
        corrections=energies.corrections,
    )
