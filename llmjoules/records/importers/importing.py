"""`llmjoules import`: read files of one format, store what is new, and say what became of everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.registry import Importers, typed_options
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.physics import findings
from llmjoules.records.record import Failed, Published, Record, Run
from llmjoules.records.store import BadLine, ResultsFile, results_files

TOGETHER = 500  # records in one trip to the disk


class Doubt(msgspec.Struct, kw_only=True):
    """A finding of the physics checks, counted. example: its sentence in the first record that has it.

    columns: of that record's file, with the unit that each was read in.
    """

    flag: str
    count: int
    example: str
    file: str
    line: int | None
    columns: dict[str, str] = {}


class Report(msgspec.Struct, kw_only=True):
    """new, there: records stored, and those that the results hold already. unmapped: what no record keeps, counted.

    files: those of which something was read. refused: those of which nothing could be, with the reason.
    path: the file of records that was written, if one was.
    """

    new: int = 0
    there: int = 0
    files: int = 0
    bad: int = 0
    refused: list[str] = []
    notes: list[str] = []
    unmapped: Counter[str] = msgspec.field(default_factory=Counter)
    doubts: dict[str, Doubt] = {}
    path: Path | None = None


def import_files(
    format_name: str,
    files: Sequence[Path],
    out: Path,
    *,
    settings: Mapping[str, str] | None = None,
    units: Units | None = None,
    strict: bool = False,
    on_bad: Callable[[BadLine], None] = lambda _: None,
) -> Report:
    """Import files of one format into a folder of results.

    settings: the importer's options, as text. on_bad: told of every line that was skipped.
    Raises LlmjoulesError for an unknown format or setting, a file of another format, where nothing could be read, and
    with `strict` where any line is bad; what was read before that is stored.
    """
    importers = Importers()
    importer = importers.named(format_name)
    options = typed_options(importer, dict(settings or {}))
    units = units or Units()
    report = Report()
    known = stored_ids(out)
    results = ResultsFile(out, f"import-{importer.name}")
    try:
        for path in files:
            try:
                fresh = _new(_records(importers, importer, path, options, units, report, on_bad), known, report)
                for batch in _batches(fresh):
                    _store(results, batch, report, path, on_bad)
            except LlmjoulesError as error:
                if len(files) == 1:
                    raise
                report.refused.append(str(error))
                on_bad(BadLine(path, 0, f"{error.what} {error.why}".rstrip(".")))
    finally:
        results.close()
    report.path = results.path if report.new else None
    if not report.new + report.there:
        raise LlmjoulesError(
            "No record in any of these files.",
            report.refused[0].replace("\n", " ") if report.refused else _nothing(report),
            "See docs/import.md for what each format must look like.",
        )
    if strict and (report.bad or report.refused):
        raise LlmjoulesError(
            f"{report.bad} lines and {len(report.refused)} files could not be read.",
            f"{report.new} records were stored, but --strict asks for all.",
            "Mend them, or import without --strict: they are then counted and skipped.",
        )
    _check_units(units, importer)
    return report


def read_files(
    format_name: str, files: Iterable[Path], settings: Mapping[str, str] | None = None, units: Units | None = None
) -> Iterator[Item]:
    """What an importer makes of files, without storing anything. Raises LlmjoulesError as `import_files`."""
    importer = Importers().named(format_name)
    options = typed_options(importer, dict(settings or {}))
    for path in files:
        yield from importer.read(SourceFile(path), options, units or Units())


def _records(
    importers: Importers,
    importer: Importer,
    path: Path,
    options: Options,
    units: Units,
    report: Report,
    on_bad: Callable[[BadLine], None],
) -> Iterator[Record]:
    file = SourceFile(path)
    if not importer.matches(file):
        raise _other_format(importers, importer, file)
    report.files += 1
    for item in _guarded(importer, file, options, units):
        match item:
            case Run() | Failed() | Published():
                _doubt(item, report)
                yield item
            case Bad():
                report.bad += 1
                words = filter(None, (f"column {item.column}" if item.column else "", item.why))
                on_bad(BadLine(path, item.line, ": ".join(words) + (f". {item.fix}" if item.fix else "")))
            case Unmapped():
                report.unmapped[item.what] += item.times
            case Note():
                report.notes.append(f"{file.name}: {item.text}")
    if report.bad and file.ends_cut():
        report.notes.append(f"{file.name}: its last line has no end: its writer was stopped")


def _guarded(importer: Importer, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
    """A plug-in that fails does not take the other files down."""
    try:
        yield from importer.read(file, options, units)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise LlmjoulesError(
            f"The importer {importer.name} cannot read {file.name} on.",
            f"{type(error).__name__}: {error}.",
            "Something in it is not as this format has it. If it is, please report it.",
        ) from error


def _store(
    results: ResultsFile, batch: list[Record], report: Report, path: Path, on_bad: Callable[[BadLine], None]
) -> None:
    """Together, or one by one where one of them holds what no record may."""
    try:
        results.append(*batch)
        report.new += len(batch)
    except ValueError:
        for record in batch:
            try:
                results.append(record)
                report.new += 1
            except ValueError as error:
                report.bad += 1
                line = record.origin.line if isinstance(record, Published) and record.origin is not None else None
                on_bad(BadLine(path, line or 0, str(error)))


def _nothing(report: Report) -> str:
    """Why files of the right format gave no record."""
    lines = (
        f"{report.bad} lines could not be read" if report.bad else "There is a header, and no row that says anything"
    )
    return f"{lines}. " + (report.notes[-1] + "." if report.notes else "")


def _doubt(record: Record, report: Report) -> None:
    if not record.flags:
        return
    origin = record.origin if isinstance(record, Published) else None
    for finding in findings(record):
        found = report.doubts.get(finding.flag)
        if found is not None:
            found.count += 1
        else:
            report.doubts[finding.flag] = Doubt(
                flag=finding.flag,
                count=1,
                example=finding.sentence,
                file=origin.file if origin is not None else "",
                line=origin.line if origin is not None else None,
                columns=origin.units if origin is not None else {},
            )


def _other_format(importers: Importers, importer: Importer, file: SourceFile) -> LlmjoulesError:
    likely = [name for name in importers.guess(file) if name != importer.name]
    if likely:
        return LlmjoulesError(
            f"{file.name} is not of format {importer.name}.",
            f"It looks like {' or '.join(likely)}.",
            f"llmjoules import {likely[0]} {file.name}",
        )
    return LlmjoulesError(
        f"{file.name} is not of format {importer.name}.",
        f"Its first line does not look like one: {importer.summary}.",
        "For any other table: llmjoules import csv FILE --set mapping=FILE.toml (docs/import.md).",
    )


def _check_units(units: Units, importer: Importer) -> None:
    unused = [column for column in units.by_column if column not in units.used]
    if unused:
        raise LlmjoulesError(
            f"No column {unused[0]!r} with a unit was found.",
            f"--unit names a column as the file does, or as docs/import.md does where {importer.name} has no header.",
            "What was read is stored as it stands: move that file away before importing again.",
        )


class _Id(msgspec.Struct):
    id: str


def stored_ids(out: Path) -> set[bytes]:
    """The ids in a folder of results, which need not exist. Lines that are no records are passed over."""
    ids: set[bytes] = set()
    if not out.is_dir():
        return ids
    decoder = msgspec.json.Decoder(_Id)
    for file in results_files([out]):
        try:
            with file.open("rb") as stream:
                for line in stream:
                    try:
                        ids.add(decoder.decode(line).id.encode())
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
        except OSError:
            continue  # what cannot be read cannot be compared with
    return ids


def _new(records: Iterable[Record], known: set[bytes], report: Report) -> Iterator[Record]:
    for record in records:
        key = record.id.encode()
        if key in known:
            report.there += 1
        else:
            known.add(key)
            yield record


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    try:
        for record in records:
            batch.append(record)
            if len(batch) == TOGETHER:
                yield batch
                batch = []
    except LlmjoulesError:
        if batch:
            yield batch  # what was read before the file broke off
        raise
    if batch:
        yield batch


__all__ = ["Doubt", "Report", "import_files", "nearest", "read_files", "stored_ids"]
