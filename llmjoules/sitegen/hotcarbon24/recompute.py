"""What the author's files give: each row of Table 1 the way it was printed, and what one inference took.

The files are not ours to ship. The figures worked out from them stand in derived.json, and this makes that file anew.
Energies of single inferences come through `llmjoules import`'s reader; the way of the table is worked out from the raw
rows, so that a slip in one would show in the other.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, median, stdev

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers import powermetrics_table, pyjoules_log
from llmjoules.records.importers.building import PROCESS_SHARE
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Options, Units
from llmjoules.records.record import Energy, Published
from llmjoules.records.stats import inference, joules
from llmjoules.sitegen.hotcarbon24.derived import Derived, Figures, Idle
from llmjoules.sitegen.hotcarbon24.table import Printed, printed, tokens

DIGITS = 9  # significant ones that are kept


# Traces of Swing; those of the other cluster are of another GPU. A board that computes reads more than 0 % there.
IDLE_FILES = ("falcon-7b/2024-04-02/07-36-20/nvidia-smi.csv", "falcon-40b/2024-04-10/09-01-30/nvidia-smi.csv")


def recompute(folder: Path) -> Figures:
    """From all of the author's files that lie anywhere below `folder`. Raises LlmjoulesError where none does."""
    found = sorted((path for path in folder.rglob("*.csv*") if path.is_file()), reverse=True)
    places = {path.name: path for path in found}
    rows = tuple(_row(row, places[row.file]) for row in printed() if row.file in places)
    if not rows:
        raise LlmjoulesError(
            f"None of the study's files is below {folder}.",
            f"They are called {printed()[0].file}, {printed()[1].file} and so on.",
            "Get them: git clone https://github.com/grantwilkins/energy-inference",
        )
    traces = {name: path for name in IDLE_FILES for path in found if _is_trace(path, name)}
    return Figures(rows=rows, idle=_idle(traces) if traces else None)


def with_kept(new: Figures, old: Figures) -> Figures:
    """The new figures, and of files that were not there the old ones; in the order of the table."""
    rows = {row.file: row for row in (*old.rows, *new.rows)}
    return Figures(rows=tuple(rows[row.file] for row in printed() if row.file in rows), idle=new.idle or old.idle)


def _is_trace(path: Path, name: str) -> bool:
    """In the author's folders, or flat with the folders' names in its own."""
    place = path.as_posix().removesuffix(".gz")
    return place.endswith((f"/{name}", f"/{name.replace('/', '-')}"))


def _row(row: Printed, path: Path) -> Derived:
    return _cluster(row, path) if row.gpus else _laptop(path)


def _cluster(row: Printed, path: Path) -> Derived:
    raw = list(csv.DictReader(io.StringIO(path.read_text("utf-8")), delimiter=";"))
    energies = [sum(int(line[f"nvidia_gpu_{board}"]) for board in range(row.gpus)) / 1e3 for line in raw]
    times = [float(line["duration"]) for line in raw if line["tag"] == "inference"]
    runs = list(_runs(pyjoules_log.read(SourceFile(path), Options(model=row.model), Units())))
    inference_s = fmean(_seconds(runs))
    boards = [
        fmean(
            energy.joules
            for run in runs
            if (phase := inference(run)) is not None
            for energy in phase.energy
            if energy.channel == f"gpu:{board}" and energy.joules is not None
        )
        for board in range(row.gpus)
    ]
    return _figures(
        path,
        rows=len(raw),
        runs=runs,
        table_tokens_per_s=fmean(tokens() / time for time in times),
        table_joules=fmean(energies),
        phase_j={
            tag: _round(fmean(energy_j for energy_j, line in zip(energies, raw, strict=True) if line["tag"] == tag))
            for tag in dict.fromkeys(line["tag"] for line in raw)
        },
        board_w=tuple(_round(energy_j / inference_s) for energy_j in boards),
    )


def _laptop(path: Path) -> Derived:
    raw = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    stretches = [list(lines) for event, lines in groupby(raw, lambda line: line["event"]) if event == "inference"]
    intervals = [[float(line["timestamp"]) for line in lines] for lines in stretches]
    energies = [sum(float(line["timestamp"]) * float(line["gpu"]) for line in lines) / 1e6 for lines in stretches]
    runs = list(_runs(powermetrics_table.read(SourceFile(path), Options(), Units())))
    shares = [energy.joules for run in runs for energy in _energies(run) if energy.channel == PROCESS_SHARE]
    every = [float(line["timestamp"]) for line in raw]
    return _figures(
        path,
        rows=len(raw),
        runs=runs,
        table_tokens_per_s=tokens() / max(sum(times[1:]) / 1e3 for times in intervals),
        table_joules=sum(energies),
        cpu_j=_round(fmean(share for share in shares if share is not None)),
        sample_ms=(median(every), max(every)),
        highest_w=max(float(line["gpu"]) for lines in stretches for line in lines) / 1e3,
    )


def _figures(path: Path, *, rows: int, runs: Sequence[Published], table_tokens_per_s: float, table_joules: float,
             **more: object) -> Derived:  # fmt: skip
    energies = [energy_j for run in runs if (energy_j := joules(run, "gpu")) is not None]
    times = _seconds(runs)
    return Derived(
        file=path.name,
        rows=rows,
        runs=len(runs),
        table_tokens_per_s=_round(table_tokens_per_s),
        table_joules=_round(table_joules),
        tokens_per_s=_round(fmean(tokens() / time for time in times)),
        inference_s=_round(fmean(times)),
        inference_j=_round(fmean(energies)),
        inference_sd_j=_round(stdev(energies)),
        **more,  # type: ignore[arg-type]
    )


def _runs(items: Iterable[object]) -> Iterator[Published]:
    return (item for item in items if isinstance(item, Published) and inference(item) is not None)


def _seconds(runs: Iterable[Published]) -> list[float]:
    return [phase.duration_s for run in runs if (phase := inference(run)) is not None]


def _energies(run: Published) -> Iterator[Energy]:
    phase = inference(run)
    yield from phase.energy if phase is not None else ()


def _idle(traces: Mapping[str, Path]) -> Idle:
    powers: list[float] = []
    for path in traces.values():
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
            lines = list(csv.reader(stream))[1:-1]  # the last line is cut off
        powers += [float(line[1].split()[0]) for line in lines if line[2].strip() == "0 %"]
    return Idle(
        samples=len(powers),
        lowest_w=min(powers),
        median_w=median(powers),
        files=tuple(traces),
    )


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
