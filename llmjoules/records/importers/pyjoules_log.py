"""A log of pyJoules (`CSVHandler`): `timestamp;tag;duration;nvidia_gpu_0;…`, a row for each phase of each run.

NVIDIA counters are logged in millijoules, RAPL ones in microjoules; the file says neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from llmjoules.records.importers.building import NVML_TICK_S, Publisher, gpu_counters, joules
from llmjoules.records.importers.reading import (
    Columns,
    Energies,
    NotANumber,
    Row,
    Seen,
    SourceFile,
    iso_utc,
    misfit,
    number,
)
from llmjoules.records.importers.types import Bad, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Component, MeterInfo, Phase, PhaseName, System, Workload

TOOL = "pyJoules log"
STUDY_CAP = 200  # of the study's runs; no file says how many tokens there were
STUDY_FILE = re.compile(r"(.+?)-cuda-(\d+)")  # how the study names its files: model and number of GPUs
STUDY_SYSTEM, STUDY_GPU = "argonne-swing", "NVIDIA A100-SXM4-40GB"
PHASES: dict[str, PhaseName] = {"tokenizer": "tokenizer", "model load": "model", "inference": "inference"}
PAUSE_S = 3600.0


class LogRow(NamedTuple):
    line: int
    at_s: float
    tag: str
    duration_s: float
    energies_j: list[float]


def is_one(lines: Sequence[str]) -> bool:
    return bool(lines) and (lines[0].startswith("timestamp;tag;duration;") or _headless(lines[0].split(";")))


def _headless(fields: Sequence[str]) -> bool:
    """A row of the study's phases where the header should be: somebody cut it off."""
    return len(fields) > 3 and (fields[1] in PHASES or fields[1] == "pipeline load")


def read(file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    rows = file.rows(";")
    header = next(rows)
    if isinstance(header, Bad):
        yield header
        return
    if _headless(header.fields):
        names = ["timestamp", "tag", "duration", *(f"nvidia_gpu_{index}" for index in range(len(header.fields) - 3))]
        yield Note(f"the header is missing: its energies are read as those of {len(names) - 3} GPUs, in mJ")
        rows = chain([header], rows)
    else:
        names = header.fields
    columns, energies = Columns(names), Energies(units)
    columns.find("timestamp"), columns.find("tag"), columns.find("duration")
    channels, places, factors = _channels(columns, energies)
    yield from (Unmapped(f"column {name}") for name in columns.left_over())
    maker = _Maker(file, options, channels, energies)
    yield from maker.notes()
    run: list[LogRow] = []
    seen = Seen()
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        twice = seen.before(row.line, row.fields)
        parsed = twice or _parse(row, columns, places, factors)
        if isinstance(parsed, Bad):
            yield parsed
            continue
        if run and (parsed.tag == "tokenizer" or run[-1].tag == "inference"):
            yield from maker.run(run)
            run = []
        run.append(parsed)
    if run:
        yield from maker.run(run)
    yield from maker.at_end()


def _channels(columns: Columns, energies: Energies) -> tuple[tuple[Channel, ...], list[int], list[float]]:
    channels: list[Channel] = []
    places, factors = [], []
    boards = columns.matching(r"nvidia_gpu_(\d+)")
    for (place, match), channel in zip(boards, gpu_counters(len(boards)), strict=True):
        channels.append(channel)
        places.append(place)
        factors.append(energies.factor(match[0], "mJ"))
    for place, match in columns.matching(r"(package|dram)_(\d+)"):
        component: Component = "cpu" if match[1] == "package" else "dram"
        channels.append(
            Channel(id=f"{component}:{match[2]}", component=component, kind="counter", period_s=0.001, resolution=1e-6)
        )
        places.append(place)
        factors.append(energies.factor(match[0], "uJ"))
    return tuple(channels), places, factors


def _parse(row: Row, columns: Columns, places: Sequence[int], factors: Sequence[float]) -> LogRow | Bad:
    wrong = misfit(row, len(columns))
    if wrong is not None:
        return wrong
    column = "timestamp"
    try:
        at_s = number(row.fields[0])
        iso_utc(at_s)
        column = "duration"
        duration_s = number(row.fields[2])
        if duration_s < 0:
            return Bad(row.line, f"a duration of {duration_s} s; take the row out", column)
        found = []
        for place, factor in zip(places, factors, strict=True):
            column = columns.header[place]
            found.append(number(row.fields[place]) * factor)
    except NotANumber as error:
        return Bad(row.line, str(error), column)
    return LogRow(row.line, at_s, row.fields[1].strip(), duration_s, found)


class _Maker:
    def __init__(self, file: SourceFile, options: Options, channels: tuple[Channel, ...], energies: Energies) -> None:
        self._publisher = Publisher(file, TOOL, options)
        self._options = options
        self._channels = channels
        self._energies = energies
        self._runs = 0
        self._loads_s: list[float] = []
        self._last: LogRow | None = None
        boards = sum(channel.component == "gpu" for channel in channels)
        study = STUDY_FILE.fullmatch(file.stem)
        self._assumed = study is not None and not (options.system and options.accelerator)
        system, board = (STUDY_SYSTEM, STUDY_GPU) if study else (None, None)
        self._model = self._publisher.model(study[1] if study else file.stem)
        spread = ("device-map" if boards > 1 else "single") if study else None  # as the study's scripts load models
        self._system: System = self._publisher.system(
            system, board, boards or None, device="cuda" if boards else "cpu", strategy=spread
        )
        self._meters = (MeterInfo(name="pyjoules", channels=channels),)

    def notes(self) -> Iterator[Note]:
        if self._options.model is None:
            yield Note(f"no model is named in the file: {self._model.name} is from its name (--set model=NAME)")
        if self._assumed:
            yield Note(
                f"no machine is named in the file: its name is one of the study's, so {self._system.name} with "
                f"{STUDY_GPU} is assumed (--set system=NAME, --set accelerator=NAME), and layers spread over its boards"
            )
        if self._options.new_tokens is None:
            yield Note(f"no token count is in the file: {STUDY_CAP} per run are assumed, the study's cap "
                       "(--set new_tokens=N)")  # fmt: skip

    def run(self, rows: list[LogRow]) -> Iterator[Item]:
        zero_s = rows[0].at_s
        divided = any(row.tag == "model load" for row in rows)
        phases, flags = [], []
        for row in rows:
            name = PHASES.get(row.tag) or ("pipeline" if divided else "model+pipeline")
            if row.tag not in PHASES and row.tag != "pipeline load":
                fix = f"Known are {', '.join((*PHASES, 'pipeline load'))}."
                yield Bad(row.line, f"a phase {row.tag[:40]!r} that is not known", "tag", fix)
                continue
            start_s = row.at_s - zero_s
            unresolved = row.duration_s < NVML_TICK_S
            flags += [f"unresolved:{name}"] if unresolved else []
            found = tuple(
                joules(channel.id, None, reason=_unresolved(value_j, row.duration_s))
                if unresolved and channel.component == "gpu"
                else joules(channel.id, value_j, method="difference of two counter reads")
                for channel, value_j in zip(self._channels, row.energies_j, strict=True)
            )
            phases.append(Phase(name=name, start_s=start_s, end_s=start_s + row.duration_s, energy=found))
            if name in ("model", "model+pipeline"):
                self._loads_s.append(row.duration_s)
        if self._last is not None and rows[0].at_s - self._last.at_s > PAUSE_S:
            yield Note(f"a new session begins in line {rows[0].line}, {rows[0].at_s - self._last.at_s:.0f} s after the "
                       "last inference")  # fmt: skip
        self._last = rows[-1]
        options = self._options
        yield self._publisher.record(
            line=rows[0].line,
            started_at=iso_utc(zero_s),
            model=self._model,
            system=self._system,
            workload=Workload(
                new_tokens=options.new_tokens or STUDY_CAP, batch_size=options.batch_size or 1, stop="end-of-sequence"
            ),
            meters=self._meters,
            phases=tuple(phases),
            load=self._publisher.load(self._runs, first=True),
            repeat=self._runs,
            flags=[*dict.fromkeys(flags), *([] if options.new_tokens else ["tokens_assumed"])],
            units=self._energies.stated,
            corrections=self._energies.corrections,
        )
        self._runs += 1

    def at_end(self) -> Iterator[Note]:
        if len(self._loads_s) > 2:
            usual_s = sorted(self._loads_s)[len(self._loads_s) // 2]
            longest_s = max(self._loads_s)
            if longest_s > 3 * usual_s:
                yield Note(f"loading once took {longest_s:.1f} s, usually {usual_s:.1f} s (a download?): a mean over "
                           "all is no time of loading")  # fmt: skip


def _unresolved(value_j: float, duration_s: float) -> str:
    return (
        f"unresolved: the log says {value_j:g} J, but the phase lasted {duration_s * 1e3:.3g} ms and the counter is "
        f"renewed about every {NVML_TICK_S * 1e3:.0f} ms"
    )
