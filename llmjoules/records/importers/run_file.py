"""The study's run files: a row for each phase and inference, with or without a header, on three machines.

A session is what follows a row that loads, until the next such row. `Batch Size` says 32 throughout, and is not true:
one prompt was given, so the batch was 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmjoules.records.importers.building import (
    MOST_DEVICES,
    NVML_TICK_S,
    PROCESS_SHARE,
    Publisher,
    apples_rail,
    gpu_counters,
    joules,
)
from llmjoules.records.importers.reading import Columns, Energies, NotANumber, Row, Seen, SourceFile, iso_utc, misfit
from llmjoules.records.importers.types import Bad, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Energy, Figures, MeterInfo, Phase, PhaseName, Published, Tokens, Workload

TOOL = "run file"
# The 14 columns of files without a header from the laptop, and the 16 of those from the cluster.
APPLE = [
    "Phase", "Runtime (s)", "CPU Energy (J)", "GPU Energy (J)", "Output Token Limit", "Number of Input Tokens",
    "Iteration", "Model", "Number of GPUs", "Prompt", "Output Tokens", "Batch Size", "System", "GPU Memory (MB)",
]  # fmt: skip
CUDA = [
    "Timestamp", "Phase", "Runtime (s)", "GPU Energy (mJ)", "Output Token Limit", "Number of Input Tokens",
    "Iteration", "Model", "Number of GPUs", "Prompt", "Total Number of Tokens", "Batch Size", "System", "CPU Core",
    "GPU Total Memory (MB)", "GPU Used Memory (MB)",
]  # fmt: skip
INFERENCE = re.compile(r"(?:start-)?inference-(\w+)-(\d+)")
LOADS: dict[str, PhaseName] = {
    "tokenizer": "tokenizer",
    "model load": "model",
    "load model": "model+pipeline",
    "pipeline load": "pipeline",
}
SYSTEMS = {
    "argonne-swing": "NVIDIA A100-SXM4-40GB",
    "palmetto-v100": "NVIDIA V100",
    "M1-Pro": "Apple M1 Pro GPU",
}
SHARED_OUT = "core power of AMDuProf shared out by runtime: not a measurement of this run"
AMBIGUOUS = "ambiguous: such files hold the package's energy in earlier sessions and the process's share of it in later"


class Place(NamedTuple):
    """Where something stands in a row."""

    at: int
    heading: str
    factor: float


class Layout(NamedTuple):
    """The columns of one file. output_only: its token column counts output alone."""

    columns: Columns
    apple: bool
    output_only: bool
    at: dict[str, int | None]
    gpus: list[Place]
    packages: list[Place]
    cpu: Place | None
    check: Place | None


def is_one(lines: Sequence[str]) -> bool:
    if not lines:
        return False
    fields = lines[0].split(",")
    if "Runtime (s)" in fields and ("Phase" in fields or "Operation" in fields):
        return True
    first = fields[1] if len(fields) == len(CUDA) else fields[0]
    known = first in LOADS or INFERENCE.fullmatch(first) is not None
    return known and len(fields) in (len(APPLE), len(CUDA))


def read(file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    energies, seen = Energies(units), Seen()
    maker: _Maker | None = None
    for row in file.rows():
        if isinstance(row, Bad):
            yield row
            continue
        if maker is None:
            headed = "Runtime (s)" in row.fields
            header = row.fields if headed else APPLE if len(row.fields) == len(APPLE) else CUDA
            layout = _layout(header, headed, energies)
            maker = _Maker(file, options, layout, energies)
            yield from maker.notes(headed)
            if headed:
                continue
        wrong = misfit(row, len(maker.layout.columns)) or seen.before(row.line, row.fields)
        yield from [wrong] if wrong is not None else maker.row(row)
    if maker is not None:
        yield from maker.at_end()


def _layout(header: Sequence[str], headed: bool, energies: Energies) -> Layout:
    columns = Columns(header)
    at = {
        "time": columns.find("Timestamp"),
        "phase": columns.find("Phase", "Operation"),
        "runtime": columns.find("Runtime (s)"),
        "limit": columns.find("Output Token Limit"),
        "input": columns.find("Number of Input Tokens", "Input Token Size"),
        "tokens": columns.find("Total Number of Tokens", "Output Token Size", "Output Tokens"),
        "model": columns.find("Model", "Model Name"),
        "system": columns.find("System", "System Name"),
        "gpus": columns.find("Number of GPUs"),
    }
    columns.find("Iteration"), columns.find("Batch Size")

    def places(pattern: str) -> list[Place]:
        return [
            Place(index, match[0], energies.factor(match[0], match[match.re.groups]))
            for index, match in columns.matching(pattern)
        ]

    single = places(r"GPU-(\d+) Energy \((\w+)\)")
    together = places(r"GPU Energy \((\w+)\)")
    packages = places(r"CPU Package-(\d+) Energy \((\w+)\)")
    cpu = places(r"CPU Energy \((\w+)\)")
    return Layout(
        columns=columns,
        apple=at["time"] is None,
        output_only=not headed and at["time"] is None,
        at=at,
        gpus=single or together[:1],
        packages=packages,
        cpu=cpu[0] if cpu else None,
        check=next(iter(together if single else together[1:]), None),
    )


class _Maker:
    """Collects the phases that load, and makes a record of each inference."""

    def __init__(self, file: SourceFile, options: Options, layout: Layout, energies: Energies) -> None:
        self.layout = layout
        self._publisher = Publisher(file, TOOL, options)
        self._energies = energies
        self._loading: list[tuple[int, float | None, Phase]] = []
        self._of: tuple[str, str, int] = ("", "", 1)  # model, system, GPUs of what is being loaded
        self._session = -1
        self._repeats: dict[tuple[object, ...], int] = {}
        self._rounded = False
        self._mismatched = 0
        self._example = ""
        self._channels = self._make_channels()
        name = "powermetrics" if layout.apple else "pyjoules"
        self._meters = (MeterInfo(name=name, channels=self._channels),)

    def _make_channels(self) -> tuple[Channel, ...]:
        layout = self.layout
        if layout.apple:
            gpus: Sequence[Channel] = [apples_rail("gpu:0")]
        else:
            gpus = gpu_counters(len(layout.gpus))
        packages = [
            Channel(id=f"cpu:{index}", component="cpu", kind="counter", period_s=0.001, resolution=1e-6)
            for index in range(len(layout.packages))
        ]
        share: list[Channel] = []
        if layout.cpu is not None and not packages:
            share = [
                apples_rail(PROCESS_SHARE)
                if layout.apple
                else Channel(
                    id=PROCESS_SHARE,
                    component="cpu",
                    kind="model",
                    extent="process-share",
                    source="modelled",
                    note=SHARED_OUT,
                )
            ]
        return (*gpus, *packages, *share)

    def notes(self, headed: bool) -> Iterator[Item]:
        layout = self.layout
        yield from (Unmapped(f"column {name}") for name in layout.columns.left_over())
        yield Note("Batch Size is taken as 1, whatever the file says: one prompt was given at a time")
        if not headed:
            yield Note(f"there is no header: read as the study's {len(layout.columns)} columns")
        if layout.apple:
            yield Note("its runtimes include 2 s of sleep before the work, so power comes out low")
        glued = [name for name in layout.columns.header if re.search(r"\)(?=[A-Z])", name)]
        if glued:
            yield Note(f"a comma is missing in the header at {glued[0]!r}: columns after it stand under a wrong name")

    def row(self, row: Row) -> Iterator[Item]:
        at, fields = self.layout.at, row.fields
        label = fields[at["phase"] or 0].strip()
        inference = INFERENCE.fullmatch(label)
        if inference is None and label not in LOADS:
            fix = f"Known are {', '.join(LOADS)}, inference-KEY-NUMBER and start-inference-KEY-NUMBER."
            yield Bad(row.line, f"a phase {label[:40]!r} that is not known", "Phase", fix)
            return
        try:
            runtime_s = self._number(fields, "runtime")
            begins_s = None if at["time"] is None else self._number(fields, "time")
            if begins_s is not None:
                iso_utc(begins_s)
            gpus = int(self._number(fields, "gpus"))
            if not 0 < gpus <= MOST_DEVICES:
                raise NotANumber(f"{gpus} GPUs")
            found = [self._value(fields, place) for place in (*self.layout.gpus, *self.layout.packages)]
            cpu_j = self._value(fields, self.layout.cpu) if self.layout.cpu is not None else None
            self._check(fields, sum(found[: len(self.layout.gpus)]))
        except NotANumber as error:
            yield Bad(row.line, str(error))
            return
        name: PhaseName = "inference" if inference is not None else LOADS[label]
        energy = self._energy(found, cpu_j, runtime_s)
        of = (fields[at["model"] or 0], fields[at["system"] or 0], gpus)
        if inference is None:
            if self._loading and (of != self._of or name in ("tokenizer", "model+pipeline")):
                yield self._record([], None)
            self._of = of
            self._loading.append((row.line, begins_s, self._phase(name, begins_s, runtime_s, energy)))
            return
        if self._loading and of != self._of:
            yield self._record([], None)
        self._of = of
        phase = self._phase("inference", begins_s, runtime_s, energy)
        yield self._record([(row.line, begins_s, phase)], row, cpu_j)

    def _phase(self, name: PhaseName, begins_s: float | None, runtime_s: float, energy: tuple[Energy, ...]) -> Phase:
        """Placed by its time, or after the one before where the file has none."""
        start_s = self._loading[-1][2].end_s if self._loading else 0.0
        zero_s = self._loading[0][1] if self._loading else None
        if begins_s is not None and zero_s is not None:
            start_s = begins_s - zero_s
        return Phase(name=name, start_s=start_s, end_s=start_s + runtime_s, energy=energy)

    def _number(self, fields: Sequence[str], what: str) -> float:
        index = self.layout.at[what]
        if index is None:
            raise NotANumber(f"the file has no column for the {what}")
        return self.layout.columns.number(fields, index)

    def _value(self, fields: Sequence[str], place: Place) -> float:
        return self.layout.columns.number(fields, place.at) * place.factor

    def _check(self, fields: Sequence[str], sum_j: float) -> None:
        """The file's own sum over GPUs, against theirs."""
        if self.layout.check is None:
            return
        stated_j = self._value(fields, self.layout.check)
        if abs(stated_j - sum_j) > 1e-3 * max(stated_j, sum_j, 0.001):
            self._mismatched += 1
            self._example = self._example or f"{stated_j:.6g} J where the others make {sum_j:.6g} J"

    def _energy(self, found: Sequence[float], cpu_j: float | None, runtime_s: float) -> tuple[Energy, ...]:
        energies = []
        for channel, value_j in zip(self._channels, found, strict=False):
            if channel.component == "gpu" and runtime_s < NVML_TICK_S:
                reason = f"unresolved: the file says {value_j:g} J for {runtime_s * 1e3:.3g} ms"
                energies.append(joules(channel.id, None, reason=reason))
            else:
                energies.append(joules(channel.id, value_j))
        if any(channel.id == PROCESS_SHARE for channel in self._channels):
            if self.layout.apple and not self.layout.output_only:
                energies.append(joules(PROCESS_SHARE, None, reason=AMBIGUOUS))
            else:
                energies.append(joules(PROCESS_SHARE, cpu_j))
        return tuple(energies)

    def _record(
        self, last: list[tuple[int, float | None, Phase]], row: Row | None, cpu_j: float | None = None
    ) -> Published:
        publisher = self._publisher
        rows = [*self._loading, *last]
        first = bool(self._loading) or self._session < 0
        self._session += first
        self._loading = []
        model, system, gpus = self._of
        flags = ["includes_sleep:inference"] if self.layout.apple and row is not None else []
        work, tokens, more = self._workload(row)
        flags += more
        flags += ["sum_column_doubtful:gpu"] if self._mismatched and row is not None else []
        key = (model, system, gpus, work.prompt_tokens, work.new_tokens)
        repeat = self._repeats.get(key, 0)
        if row is not None:
            self._repeats[key] = repeat + 1
        net = {"cpu": cpu_j} if self.layout.packages and cpu_j is not None and row is not None else {}
        begins_s = rows[0][1]
        device = "mps" if self.layout.apple else "cuda"
        return publisher.record(
            line=rows[0][0],
            started_at=iso_utc(begins_s) if begins_s is not None else None,
            model=publisher.model(model),
            system=publisher.system(system, SYSTEMS.get(system), gpus, device=device),
            workload=work,
            meters=self._meters,
            phases=tuple(phase for _, _, phase in rows),
            tokens=tokens,
            figures=Figures(component="cpu", net_j=net) if net else None,
            load=publisher.load(self._session, first=first),
            repeat=repeat,
            flags=[*dict.fromkeys(flags)],
            units=self._energies.stated,
            corrections=self._energies.corrections,
            where=f"lines {rows[0][0]} to {rows[-1][0]}" if len(rows) > 1 else "",
        )

    def _workload(self, row: Row | None) -> tuple[Workload, Tokens | None, list[str]]:
        if row is None:
            return Workload(batch_size=1), None, []
        try:
            prompt, limit = int(self._number(row.fields, "input")), int(self._number(row.fields, "limit"))
            counted = int(self._number(row.fields, "tokens"))
        except NotANumber:
            return Workload(batch_size=1), None, ["tokens_unknown"]
        work = Workload(prompt_tokens=prompt, new_tokens=limit, batch_size=1, stop="end-of-sequence")
        output = counted if self.layout.output_only else counted - prompt
        # A difference of two columns above the cap: one of them was rounded by hand, and the file has no count.
        self._rounded = self._rounded or (output > limit and not self.layout.output_only)
        if output <= 0 or self._rounded:
            return work, None, ["tokens_unknown"]
        return work, Tokens(prompt=prompt, generated=output, useful=output), []

    def at_end(self) -> Iterator[Item]:
        if self._loading:
            yield self._record([], None)
        if self._rounded:
            yield Note(
                "total less input tokens is above the limit: one of the columns was rounded by hand, so from there on "
                "there is no number of output tokens"
            )
        if self._mismatched and self.layout.check is not None:
            heading = self.layout.check.heading
            yield Note(
                f"column {heading!r} disagrees with the columns of single GPUs in {self._mismatched} rows "
                f"({self._example}): they are used, and records say so. If it holds another unit: "
                f"--unit '{heading}=mJ'"
            )
