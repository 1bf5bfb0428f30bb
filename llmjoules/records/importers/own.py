"""llmjoules's own JSON lines, such as `llmjoules export --format jsonl` writes: records go on as they are."""

from __future__ import annotations

from collections.abc import Iterator

from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Bad, Importer, Item, Options, Units
from llmjoules.records.store import read_results


class Own(Importer):
    name = "llmjoules"
    summary = "llmjoules's own records, JSON lines"

    def matches(self, file: SourceFile) -> bool:
        return any('"schema":"llmjoules/' in line.replace(" ", "") for line in file.lines_at_head())

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:  # noqa: ARG002 - changes nothing
        bad: list[Bad] = []
        for stored in read_results([file.path], lambda line: bad.append(Bad(line.line, line.why))):
            yield from bad
            bad.clear()
            yield stored.record
        yield from bad


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [Own()]
