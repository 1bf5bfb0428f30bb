"""The logs of the study this project grew from (github.com/grantwilkins/energy-inference): five kinds of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers import amduprof, nvidia_smi, powermetrics_table, pyjoules_log, run_file
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Importer, Item, Options, Units

KINDS: tuple[ModuleType, ...] = (pyjoules_log, powermetrics_table, run_file, nvidia_smi, amduprof)


class EnergyInference(Importer):
    name = "energy-inference"
    summary = "the study's logs: pyJoules, powermetrics tables, run files, nvidia-smi traces, AMDuProf timecharts"

    def matches(self, file: SourceFile) -> bool:
        return _kind(file.lines_at_head()) is not None

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        kind = _kind(file.lines_at_head())
        if kind is None:
            raise LlmjoulesError(
                f"{file.name} is none of the study's kinds of file.",
                "Its first line is neither a header of pyJoules, powermetrics, a run file, nvidia-smi or AMDuProf, nor "
                "a row of those that are written without one.",
                "See docs/import.md for what each begins with.",
            )
        reader: Callable[[SourceFile, Options, Units], Iterator[Item]] = kind.read
        yield from reader(file, options, units)


def _kind(lines: Sequence[str]) -> ModuleType | None:
    return next((kind for kind in KINDS if kind.is_one(lines)), None)


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [EnergyInference()]
