"""A timechart of AMDuProf: a long preamble, then `RecordId,Timestamp,socket0-package-power,…` in watts.

Times have no date (`7:36:22:035`), so a trace over midnight goes on with the next day. One record of the whole job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llmjoules.records.importers.building import Publisher
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
)
from llmjoules.records.importers.types import Bad, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, MeterInfo, Phase

TOOL = "AMDuProf timechart"
DAY_S = 86400.0


def is_one(lines: Sequence[str]) -> bool:
    return bool(lines) and lines[0].startswith("AMDPROFILER POWER PROFILE")


def read(file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    energies = Energies(units)
    columns: Columns | None = None
    traces: list[tuple[int, float, Trapezoid]] = []
    begins, days_s, last_s = 0, 0.0, 0.0
    for row in file.rows():
        if isinstance(row, Bad):
            yield row
        elif columns is None:
            if row.fields[0] == "RecordId":
                columns, begins = Columns([name for name in row.fields if name]), row.line + 1
                columns.find("RecordId"), columns.find("Timestamp")
                for place, match in columns.matching(r"socket(\d+)-package-power"):
                    factor = energies.factor(match[0], "W", TO_WATTS)
                    traces.append((place, factor, Trapezoid(f"cpu:{match[1]}")))
                cores = columns.left_over()
                yield from [Unmapped("columns of single cores, parts of the packages", len(cores))] if cores else []
        else:
            wrong = misfit(Row(row.line, [field for field in row.fields if field]), len(columns))
            if wrong is not None:
                yield wrong
                continue
            try:
                at_s = _seconds(row.fields[1])
                days_s += DAY_S if at_s + days_s < last_s - DAY_S / 2 else 0.0
                powers = [columns.number(row.fields, place) * factor for place, factor, _ in traces]
            except NotANumber as error:
                yield Bad(row.line, str(error))
                continue
            last_s = at_s + days_s
            later = [trace.add(last_s, power_w) for (_, _, trace), power_w in zip(traces, powers, strict=True)]
            if not all(later):
                yield not_later(row.line, "Timestamp")
    yield from _record(file, options, energies, [trace for _, _, trace in traces], begins)


def _seconds(text: str) -> float:
    """`7:36:22:035` since midnight. Raises NotANumber."""
    found = re.fullmatch(r"\s*(\d+):(\d+):(\d+):(\d+)\s*", text)
    if found is None:
        raise NotANumber(f"column Timestamp: {text.strip()[:40]!r} is no time like 7:36:22:035")
    hours, minutes, seconds, milliseconds = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1e3


def _record(
    file: SourceFile, options: Options, energies: Energies, traces: Sequence[Trapezoid], begins: int
) -> Iterator[Item]:
    if not traces or max(trace.samples for trace in traces) < 2:
        yield Note("the chart has no records: the session was stopped before its first one")
        return
    publisher, job = Publisher(file, TOOL, options), job_info(file)
    yield Note("its times have no date, and it tells no phases apart: one record of the whole job")
    channels = tuple(
        Channel(id=trace.channel, component="cpu", kind="power", unit="W", period_s=0.1, resolution=0.01)
        for trace in traces
    )
    seconds = traces[0].last_s - (traces[0].first_s or 0.0)
    yield publisher.record(
        line=begins,
        model=publisher.model(job.get("model_name") or model_in(file.stem)),
        system=publisher.system(job.get("system_name"), None, None, device="cpu"),
        meters=(MeterInfo(name="amduprof", channels=channels),),
        phases=(Phase(name="job", start_s=0.0, end_s=seconds, energy=tuple(trace.energy() for trace in traces)),),
        units=energies.stated,
        corrections=energies.corrections,
    )
