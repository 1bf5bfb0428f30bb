"""The study's tables of powermetrics samples: `phase, ms, python, ALL_TASKS, CPU mW, GPU mW`, with or without a header.

A run of one phase is integrated as it passes: power times the length of each sample's interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llmjoules.records.importers.building import PROCESS_SHARE, Publisher, apples_rail, joules
from llmjoules.records.importers.reading import (
    TO_SECONDS,
    TO_WATTS,
    Energies,
    NotANumber,
    Row,
    SourceFile,
    misfit,
    number,
)
from llmjoules.records.importers.types import Bad, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Energy, MeterInfo, Phase, PhaseName, Workload

TOOL = "powermetrics table"
HEADER = ["event", "timestamp", "python3.11", "ALL_TASKS", "cpu", "gpu"]
PHASE = re.compile(r"tokenizer|model load|load model|pipeline load|inference(?:-(\w+)-(\d+))?")
LOADS: dict[str, PhaseName] = {"tokenizer": "tokenizer", "model load": "model", "load model": "model+pipeline"}
KNOWN = "Known are tokenizer, model load, load model, pipeline load, inference and inference-KEY-NUMBER."
STUDY_CAP = 200
SHORTEST_S, LONGEST_S = 0.001, 60.0  # of an interval of powermetrics
STRETCHED_S = 0.26  # asked for are 0.2 s, and 0.218 s is usual
FULL_LOAD_W = 26.0  # of the GPU of an M1 Pro, which holds 20 to 22 W
NO_LOAD_W = 0.1
CHANNELS = tuple(apples_rail(channel) for channel in ("gpu:0", "cpu:0", PROCESS_SHARE))


def is_one(lines: Sequence[str]) -> bool:
    if not lines:
        return False
    fields = [field.strip() for field in lines[0].split(",")]
    if fields[:2] == HEADER[:2]:
        return fields[-2:] == HEADER[-2:]
    return len(fields) == 6 and PHASE.fullmatch(fields[0]) is not None


class _Segment:
    """Consecutive samples of one phase, summed up."""

    def __init__(self, line: int, label: str) -> None:
        self.line = line
        self.label = label
        self.samples = self.without_share = self.share_above_1 = 0
        self.s = self.gpu_j = self.cpu_j = self.share_j = self.longest_s = 0.0
        self.stretched = False

    def add(self, interval_s: float, share: float | None, cpu_w: float, gpu_w: float) -> None:
        self.samples += 1
        self.s += interval_s
        self.longest_s = max(self.longest_s, interval_s)
        self.gpu_j += gpu_w * interval_s
        self.cpu_j += cpu_w * interval_s
        if share is None:
            self.without_share += 1
        else:
            self.share_j += share * cpu_w * interval_s
            self.share_above_1 += share > 1
        if gpu_w > FULL_LOAD_W or (interval_s > STRETCHED_S and gpu_w < NO_LOAD_W):
            self.stretched = True

    def energy(self) -> tuple[Energy, ...]:
        method = f"power times interval over {self.samples} samples"
        shared = f"{method}, times the process's share of all tasks"
        shared += f"; {self.without_share} samples without a share left out" if self.without_share else ""
        shared += f"; {self.share_above_1} samples with a share above 1" if self.share_above_1 else ""
        share = self.share_j if self.without_share < self.samples else None
        found = (
            joules("gpu:0", self.gpu_j, method=method),
            joules("cpu:0", self.cpu_j, method=method),
            joules(PROCESS_SHARE, share, method=shared),
        )
        return tuple(msgspec.structs.replace(energy, largest_gap_s=self.longest_s) for energy in found)

    def flags(self) -> Iterator[str]:
        if self.stretched:
            yield "stretched_interval:gpu"
        if self.without_share:
            yield "share_incomplete:cpu"
        if self.share_above_1:
            yield "share_above_1:cpu"


def read(file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    energies = Energies(units)
    scale = (
        energies.factor("timestamp", "ms", TO_SECONDS),
        energies.factor("cpu", "mW", TO_WATTS),
        energies.factor("gpu", "mW", TO_WATTS),
    )
    maker = _Maker(file, options, energies)
    segment: _Segment | None = None
    for row in file.rows():
        if isinstance(row, Bad):
            yield row
            continue
        if [field.strip() for field in row.fields[:2]] == HEADER[:2]:
            maker.headed = True
            continue
        sample = _parse(row, scale, maker.headed)
        if isinstance(sample, Bad):
            yield sample
            continue
        if segment is None or segment.label != sample[0]:
            if segment is not None:
                yield from maker.segment(segment)
            segment = _Segment(row.line, sample[0])
        segment.add(*sample[1:])
    if segment is not None:
        yield from maker.segment(segment)
        yield from maker.at_end()


def _parse(
    row: Row, scale: tuple[float, float, float], headed: bool
) -> tuple[str, float, float | None, float, float] | Bad:
    names = HEADER if headed else ["phase", "ms", "python", "ALL_TASKS", "CPU mW", "GPU mW"]
    wrong = misfit(row, len(names))
    if wrong is not None:
        return wrong
    column = 1
    try:
        interval_s = number(row.fields[1]) * scale[0]
        column = 4
        cpu_w = number(row.fields[4]) * scale[1]
        column = 5
        gpu_w = number(row.fields[5]) * scale[2]
    except NotANumber as error:
        return Bad(row.line, str(error), names[column])
    if not SHORTEST_S < interval_s < LONGEST_S:
        fix = "This column is not a time of day; if it is in seconds: --unit timestamp=s."
        return Bad(row.line, f"{interval_s:g} s is no length of a sample", names[1], fix)
    if PHASE.fullmatch(row.fields[0]) is None:
        return Bad(row.line, f"a phase {row.fields[0][:40]!r} that is not known", names[0], KNOWN)
    return row.fields[0], interval_s, _share(row.fields[2], row.fields[3]), cpu_w, gpu_w


def _share(process: str, everything: str) -> float | None:
    """The process's part of the energy impact of all tasks; it may say INVALID, and be above 1."""
    try:
        return float(process) / float(everything)
    except (ValueError, ZeroDivisionError):
        return None


class _Maker:
    """Collects the phases that load, and makes a record of each inference."""

    def __init__(self, file: SourceFile, options: Options, energies: Energies) -> None:
        self._publisher = Publisher(file, TOOL, options)
        self._options = options
        self._energies = energies
        self.headed = False
        self._job = job_info(file)
        self._loading: list[_Segment] = []
        self._load = -1
        self._runs: dict[str, int] = {}
        self._invalid = self._above = 0
        self._told = False

    def segment(self, segment: _Segment) -> Iterator[Item]:
        if not self._told:
            self._told = True
            yield from self._notes()
        self._invalid += segment.without_share
        self._above += segment.share_above_1
        if not segment.label.startswith("inference"):
            if (
                segment.label in ("tokenizer", "load model")
                and self._loading
                and self._loading[-1].label != "tokenizer"
            ):
                yield self._record(None)
            self._loading.append(segment)
            return
        yield self._record(segment)

    def _notes(self) -> Iterator[Item]:
        yield Unmapped("column python3.11 / ALL_TASKS: kept only as the share of the CPU")
        yield Note("times are seconds sampled: samples without a row of the process are missing from the file")
        if self._options.model is None and "model_name" not in self._job:
            yield Note(f"no model is named in the file: {self._model_name()} is from its name (--set model=NAME)")
        if self._options.new_tokens is None and self.headed:
            yield Note(
                f"no token count is in the file: {STUDY_CAP} per run are assumed, the study's cap (--set new_tokens=N)"
            )

    def at_end(self) -> Iterator[Item]:
        if self._loading:
            yield self._record(None)
        if self._invalid:
            yield Note(f"{_samples(self._invalid)} no number for the process's share: left out of it")
        if self._above:
            yield Note(f"{_samples(self._above)} a process's share above 1, which cannot be: used as it stands")

    def _model_name(self) -> str:
        return self._job.get("model_name") or model_in(self._publisher.file.stem)

    def _record(self, inference: _Segment | None) -> Any:
        publisher, options = self._publisher, self._options
        segments = [*self._loading, *([inference] if inference is not None else [])]
        divided = any(segment.label == "model load" for segment in segments)
        first = bool(self._loading) or self._load < 0
        self._load += first
        self._loading = []
        phases, at_s = [], 0.0
        for segment in segments:
            if segment is inference:
                name: PhaseName = "inference"
            else:
                name = LOADS.get(segment.label) or ("pipeline" if divided else "model+pipeline")
            phases.append(Phase(name=name, start_s=at_s, end_s=at_s + segment.s, energy=segment.energy()))
            at_s += segment.s
        key, flags = None, list(dict.fromkeys(flag for segment in segments[-1:] for flag in segment.flags()))
        new_tokens = options.new_tokens
        if inference is not None:
            found = PHASE.fullmatch(inference.label)
            key = found[1] if found is not None else None
            if new_tokens is None:
                new_tokens = int(key) if key is not None and key.isdigit() else self._cap()
            flags += [] if options.new_tokens is not None or not new_tokens else ["tokens_assumed"]
        repeat = self._runs.get(key or "", 0)
        if inference is not None:
            self._runs[key or ""] = repeat + 1
        return publisher.record(
            line=segments[0].line,
            model=publisher.model(self._model_name()),
            system=publisher.system(self._job.get("system_name", "M1-Pro"), "Apple M1 Pro GPU", 1, device="mps"),
            workload=Workload(
                new_tokens=new_tokens or None, batch_size=options.batch_size or 1, stop="end-of-sequence"
            ),
            meters=(MeterInfo(name="powermetrics", channels=CHANNELS),),
            phases=tuple(phases),
            load=publisher.load(self._load, first=first),
            repeat=repeat,
            flags=flags,
            units=self._energies.stated,
            corrections=self._energies.corrections,
            setting=key,
            where=f"line {segments[0].line}, {segments[-1].label}",
        )

    def _cap(self) -> int | None:
        if self.headed:
            return STUDY_CAP
        named = self._job.get("num_tokens", "")
        return int(named) if named.isdigit() else None


def _samples(count: int) -> str:
    return "1 sample has" if count == 1 else f"{count} samples have"


def model_in(stem: str) -> str:
    """`Llama-2-7b-2024-04-04-15-14-54-power` → `Llama-2-7b`; `phi-2-mps` → `phi-2`."""
    return re.sub(r"(-\d{4}-\d\d-\d\d)?(-\d\d-\d\d-\d\d)?(-power|-mps|-nvidia-smi|-timechart)?$", "", stem) or stem


def job_info(file: SourceFile) -> dict[str, str]:
    """What the job's `…job_info.yaml` beside the file says, line by line: such files are not always valid YAML."""
    stem = re.sub(r"(power|nvidia-smi|timechart)$", "", file.stem)
    path = file.path.with_name(f"{stem}job_info.yaml")
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    wanted = r"^\s+(model_name|system_name|num_tokens|hf_name|date):\s*(\S+)\s*$"
    return {match[1]: match[2] for match in re.finditer(wanted, text, re.MULTILINE)}
