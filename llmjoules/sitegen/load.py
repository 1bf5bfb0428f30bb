"""Reading results for a site: records in a fixed order, each with the name of its page and where it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Failed, Published, Record, Run
from llmjoules.records.store import BadLine, read_results
from llmjoules.sitegen.text import file_name


class Entry(Struct, frozen=True):
    """One record. page: name of its page without folder and ending. file: relative to the folder that was given."""

    record: Record
    page: str
    file: str
    line: int


class BadEntry(Struct, frozen=True):
    """A line that was skipped; file as in Entry, since where the builder keeps results is nobody's business."""

    file: str
    line: int
    why: str


class Loaded(Struct, frozen=True):
    """Everything that was read. Traces stay undecoded inside the records."""

    entries: tuple[Entry, ...]
    bad: tuple[BadEntry, ...]
    bad_lines: tuple[BadLine, ...]

    @property
    def runs(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry.record, Run))

    @property
    def failed(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry.record, Failed))

    @property
    def published(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry.record, Published))


def load(
    results: Iterable[str | Path], on_bad: Callable[[BadLine], None] | None = None, *, strict: bool = False
) -> Loaded:
    """Raises LlmjoulesError where a source does not exist, nothing is readable, or `strict` and any line is bad."""
    sources = [Path(source) for source in results]
    bad: list[BadLine] = []

    def note(line: BadLine) -> None:
        bad.append(line)
        if on_bad is not None:
            on_bad(line)

    entries = [
        Entry(
            stored.record,
            file_name(stored.record.model.name, stored.record.id),
            _relative(stored.file, sources),
            stored.line,
        )
        for stored in read_results(sources, note)
    ]
    if bad and strict:
        raise LlmjoulesError(
            f"{len(bad)} of the lines cannot be read, the first being {bad[0].file}:{bad[0].line}.",
            f"{bad[0].why}.",
            "Mend or remove them, or build without --strict: they are then counted and skipped.",
        )
    if not entries:
        where = ", ".join(map(str, sources)) or "the given places"
        why = (
            f"{len(bad)} lines are not records of llmjoules." if bad else "There is no *.jsonl file with a line in it."
        )
        raise LlmjoulesError(f"No record to build a site from in {where}.", why, "Measure something: llmjoules measure")
    entries.sort(key=_order)
    named = tuple(BadEntry(_relative(line.file, sources), line.line, line.why) for line in bad)
    return Loaded(tuple(entries), named, tuple(bad))


def _order(entry: Entry) -> tuple[str, ...]:
    record = entry.record
    return record.model.name, record.system.name, record.started_at or "", record.id


def _relative(file: Path, sources: Iterable[Path]) -> str:
    for source in sources:
        if source != file and file.is_relative_to(source):
            return file.relative_to(source).as_posix()
    return file.name
