"""CodeCarbon's `emissions.csv`: a row for each flush. Rows of one run are cumulative, so only the last one counts.

What it says of RAM is always a model, and of CPUs often (nothing in the file says which): both stay `modelled`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence

from llmjoules.records.importers.building import BOARD_GAIN, NVML_TICK_S, Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import Columns, Energies, NotANumber, Row, SourceFile, number
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Component, Energy, MeterInfo, Phase, Workload

TOOL = "CodeCarbon"
COMPONENTS: tuple[tuple[Component, str], ...] = (("gpu", "gpu"), ("cpu", "cpu"), ("dram", "ram"))
CHANNELS = (
    Channel(id="gpu", component="gpu", kind="counter", period_s=NVML_TICK_S, gain=BOARD_GAIN, note="all GPUs together"),
    Channel(
        id="cpu", component="cpu", kind="model", source="modelled",
        note="CodeCarbon models the CPU from its TDP where it cannot read a counter; its file does not say which",
    ),
    Channel(id="dram", component="dram", kind="model", source="modelled", note="CodeCarbon models RAM from its size"),
)  # fmt: skip


class LastRow:
    """The last row of a run, as far as the file was read. fell: its energy once went down."""

    __slots__ = ("energy", "fell", "line", "rows")

    def __init__(self) -> None:
        self.line = self.rows = 0
        self.energy = 0.0
        self.fell = False


class CodeCarbon(Importer):
    name = "codecarbon"
    summary = "CodeCarbon's emissions.csv"

    def matches(self, file: SourceFile) -> bool:
        first = "".join(file.lines_at_head(1)).split(",")
        return {"run_id", "duration", "energy_consumed"} <= set(first)

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        energies = Energies(units)
        rows = file.rows()
        header = next(rows)
        if isinstance(header, Bad):
            yield header
            return
        columns = Columns(header.fields)
        run_at, name_at = columns.find("run_id"), columns.find("project_name")
        seconds_at, total_at = columns.find("duration"), columns.find("energy_consumed")
        places = [(columns.find(f"{short}_energy"), f"{short}_energy") for _, short in COMPONENTS]
        factors = [energies.factor(name, "kWh") if at is not None else 0.0 for at, name in places]
        for name in ("cpu_model", "gpu_model", "gpu_count", "os", "cpu_power", "timestamp"):
            columns.find(name)
        used = [seconds_at or 0, *(at for at, _ in places if at is not None)]
        runs = yield from _last_rows(rows, columns, run_at or 0, total_at or 0, used)
        yield from (Unmapped(f"column {name}") for name in columns.left_over())
        if options.model is None:
            yield Note("no model is named in the file: the project's name stands for it (--set model=NAME)")
        counted = sum(last.rows for last in runs.values())
        if counted > len(runs):
            yield Note(
                f"rows of a run are cumulative: the last one of each was taken ({counted} rows, {len(runs)} runs)"
            )
        # A second pass: memory holds a number for each run, not its row.
        final = {last.line: last for last in runs.values()}
        publisher = Publisher(file, TOOL, options)
        for row in file.rows():
            if isinstance(row, Row) and row.line in final:
                said = dict(zip(columns.header, row.fields, strict=True))
                seconds = number(row.fields[seconds_at or 0])
                found = tuple(
                    _energy(component, short, said, factor, seconds)
                    for (component, short), factor in zip(COMPONENTS, factors, strict=True)
                )
                gpus, board = _boards(said.get("gpu_model", ""))
                flags = ["energy_fell"] if final[row.line].fell else []
                flags += ["sum_column_doubtful"] if _sum_is_off(said, [factor / 3.6e6 for factor in factors]) else []
                yield publisher.record(
                    line=row.line,
                    model=publisher.model(row.fields[name_at] if name_at is not None else None),
                    system=publisher.system(
                        f"{gpus} × {board}" if board and gpus > 1 else board or said.get("cpu_model") or None,
                        board, gpus or None, cpu=said.get("cpu_model") or None, os=said.get("os") or None,
                        device="cuda" if board else "cpu",
                    ),
                    workload=Workload(new_tokens=options.new_tokens, batch_size=options.batch_size),
                    meters=(MeterInfo(name="codecarbon", channels=CHANNELS),),
                    phases=(Phase(name="job", start_s=0.0, end_s=seconds, energy=found),),
                    flags=flags,
                    units=energies.stated,
                    corrections=energies.corrections,
                    setting=said.get("experiment_id") or None,
                    where=f"line {row.line}, run {row.fields[run_at or 0]}",
                )  # fmt: skip


def _last_rows(
    rows: Iterator[Row | Bad], columns: Columns, run_at: int, total_at: int, used: Sequence[int]
) -> Generator[Bad, None, dict[str, LastRow]]:
    """The last readable row of each run; the others are said to be bad."""
    runs: dict[str, LastRow] = {}
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        try:
            if len(row.fields) != len(columns) or not row.fields[run_at]:
                raise NotANumber(
                    f"{sum(map(bool, row.fields))} fields of {len(columns)}: a piece of a broken row; two "
                    "programs may have written at once, or a decimal comma split a field"
                )
            energy = columns.number(row.fields, total_at)
            for at in used:
                if row.fields[at] or at == used[0]:
                    columns.number(row.fields, at)
        except NotANumber as error:
            yield Bad(row.line, str(error))
            continue
        last = runs.setdefault(row.fields[run_at], LastRow())
        last.fell = last.fell or energy < last.energy
        last.line, last.rows, last.energy = row.line, last.rows + 1, energy
    return runs


def _energy(component: str, short: str, said: dict[str, str], factor: float, seconds: float) -> Energy:
    text = said.get(f"{short}_energy", "")
    if not text:
        return Energy(channel=component, joules=None, reason="missing: CodeCarbon has no figure")
    value_j = number(text) * factor
    if component == "gpu" and value_j == 0 and seconds < 10 * NVML_TICK_S:
        why = f"unresolved: 0 J in {seconds:.3g} s, which is too short for the counter to show anything"
        return Energy(channel=component, joules=None, reason=why)
    if value_j == 0:
        return Energy(channel=component, joules=None, reason="missing: CodeCarbon says 0, so it tracked nothing here")
    return joules(component, value_j, method="CodeCarbon's running total at its last row")


def _boards(text: str) -> tuple[int, str | None]:
    """`8 x NVIDIA GeForce RTX 3090` → 8 and the name."""
    found = re.fullmatch(r"(\d+) x (.+)", text.strip())
    return (int(found[1]), found[2]) if found else (1 if text.strip() else 0, text.strip() or None)


def _sum_is_off(said: dict[str, str], ratios: Sequence[float]) -> bool:
    """Its own sum over components, against theirs (a power usage effectiveness of the data centre is on top)."""
    try:
        parts = [number(said[f"{short}_energy"] or "0") for _, short in COMPONENTS if f"{short}_energy" in said]
        pue = number(said.get("pue") or "1")
        total = number(said["energy_consumed"])
    except NotANumber:
        return True
    same_units = all(ratio in (0.0, 1.0) for ratio in ratios)
    return same_units and abs(sum(parts) * pue - total) > 1e-3 * max(total, sum(parts))


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [CodeCarbon()]
