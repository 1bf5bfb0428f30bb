"""A window log of Zeus (`ZeusMonitor(log_file=…)`): `start_time,window_name,elapsed_time,gpu0_energy,…`, J per GPU.

start_time is a monotonic clock, not a date. A window may be anything, training too: each is a job of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from llmjoules.records.importers.building import Publisher, gpu_counters, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import Columns, Energies, NotANumber, Seen, SourceFile, misfit
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Accelerator, MeterInfo, Phase

LIMIT = re.compile(r"__GlobalPowerLimitOptimizer_(\d+)")


class Zeus(Importer):
    name = "zeus"
    summary = "window logs of Zeus"

    def matches(self, file: SourceFile) -> bool:
        return "".join(file.lines_at_head(1)).startswith("start_time,window_name,elapsed_time")

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        rows, energies, seen = file.rows(), Energies(units), Seen()
        header = next(rows)
        if isinstance(header, Bad):
            yield header
            return
        columns = Columns(header.fields)
        columns.find("start_time")
        columns.find("window_name"), columns.find("elapsed_time")
        boards = columns.matching(r"gpu(\d+)_energy")
        factors = [energies.factor(match[0], "J") for _, match in boards]
        yield from (Unmapped(f"column {name}") for name in columns.left_over())
        yield Note("windows are of whatever the program did in them, training too: each is one job, not an inference")
        publisher, (board, model) = Publisher(file, "Zeus window log", options), _named(file.stem)
        if options.model is None or options.accelerator is None:
            yield Note(f"model {model} and GPU {board} are from the file's name (--set model=NAME, accelerator=NAME)")
        system = publisher.system(board, f"NVIDIA {board}" if board else None, len(boards), device="cuda")
        counts: dict[str, int] = {}
        for row in rows:
            if isinstance(row, Bad):
                yield row
                continue
            wrong = misfit(row, len(columns)) or seen.before(row.line, row.fields)
            if wrong is not None:
                yield wrong
                continue
            try:
                seconds = columns.number(row.fields, 2)
                found = tuple(
                    joules(
                        f"gpu:{index}",
                        columns.number(row.fields, at) * factor,
                        method="difference of two counter reads",
                    )
                    for index, ((at, _), factor) in enumerate(zip(boards, factors, strict=True))
                )
            except NotANumber as error:
                yield Bad(row.line, str(error))
                continue
            window = row.fields[1]
            limit = LIMIT.fullmatch(window)
            limited = system
            if limit is not None and system.accelerators:
                board_limited = Accelerator(name=system.accelerators[0].name, power_limit_w=float(limit[1]))
                limited = msgspec.structs.replace(system, accelerators=(board_limited,) * len(boards))
            yield publisher.record(
                line=row.line,
                model=publisher.model(model),
                system=limited,
                meters=(MeterInfo(name="zeus", channels=gpu_counters(len(boards))),),
                phases=(Phase(name="job", start_s=0.0, end_s=seconds, energy=found),),
                repeat=counts.get(window, 0),
                units=energies.stated,
                corrections=energies.corrections,
                setting=window,
                where=f"line {row.line}, {window}",
            )
            counts[window] = counts.get(window, 0) + 1


def _named(stem: str) -> tuple[str | None, str]:
    """`A40+bert-base-uncased+gpu0` → the GPU and the model."""
    parts = stem.split("+")
    return (parts[0], parts[1]) if len(parts) > 2 else (None, stem)


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [Zeus()]
