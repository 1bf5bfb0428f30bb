"""Records for other programs: a table (CSV, Parquet), JSON lines, or a model card; a record at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.export_table import rows, write_csv
from llmjoules.records.record import Record, encode
from llmjoules.records.store import BadLine, read_results, results_files

Format = Literal["csv", "parquet", "jsonl", "model-card"]


def export(
    results: Sequence[str | Path],
    form: Format,
    stream: BinaryIO,
    *,
    model: str | None = None,
    strict: bool = False,
    on_bad: Callable[[BadLine], None] | None = None,
) -> None:
    """Write the records in `results` (files and folders of *.jsonl) to `stream`, or only those of a model.

    strict: any line that is not a record is an error; without it such lines go to `on_bad`.
    Raises LlmjoulesError where there is nothing to read, or pyarrow is missing for Parquet.
    """
    found = read_all(results, on_bad, model=model, strict=strict)
    records = chain([next(found)], found)  # where there is none, that is said before anything is written
    if form == "csv":
        write_csv(rows(records), stream)
    elif form == "parquet":
        from llmjoules.records.export_parquet import write_parquet

        write_parquet(rows(records), stream)
    elif form == "jsonl":
        write_jsonl(records, stream)
    else:
        from llmjoules.records.export_card import write_card

        write_card(records, stream)


def read_all(
    results: Iterable[str | Path],
    on_bad: Callable[[BadLine], None] | None = None,
    *,
    model: str | None = None,
    strict: bool = False,
) -> Iterator[Record]:
    """Every record in files and folders of *.jsonl, one at a time, or only those of a model.

    Raises LlmjoulesError where a source does not exist, `strict` and a line is bad, or nothing is found; the latter two
    after the records that came before.
    """
    sources = [Path(source) for source in results]
    names: set[str] = set()
    count = bad = 0

    def note(line: BadLine) -> None:
        nonlocal bad
        bad += 1
        if on_bad is not None:
            on_bad(line)
        if strict:
            raise LlmjoulesError(
                f"A line cannot be read: {line.file}:{line.line}.", f"{line.why}.", "Mend it, or leave --strict out."
            )

    for stored in read_results(sources, note):
        if model is None or stored.record.model.name == model:
            count += 1
            yield stored.record
        elif len(names) < 1000:  # enough to name the nearest
            names.add(stored.record.model.name)
    if not count and model is not None and names:
        fix = "Name it as the records do: --model NAME"
        raise LlmjoulesError(f"No record of a model {model}.", nearest(model, sorted(names)), fix)
    if not count:
        where = ", ".join(map(str, sources)) or "the given places"
        why = f"{bad} lines are not records of llmjoules." if bad else "There is no *.jsonl file with a line in it."
        raise LlmjoulesError(f"No record to export from in {where}.", why, "Measure something: llmjoules measure")


def write_jsonl(records: Iterable[Record], stream: BinaryIO) -> None:
    """The records as they are, traces included: what reads results reads the same records from it."""
    for record in records:
        stream.write(encode(record) + b"\n")


@contextmanager
def output(out: Path, results: Sequence[str | Path]) -> Iterator[BinaryIO]:
    """A file that takes its name only when it is complete. Raises LlmjoulesError where it cannot be written.

    results: what is read meanwhile, which must not be written over.
    """
    try:
        there = out.exists()
        if there and any(out.samefile(file) for file in results_files(Path(source) for source in results)):
            raise LlmjoulesError(f"{out} is one of the files to read.", "It would be lost.", "Name another file: --out")
        if there and not out.is_file():  # a pipe or device; for a folder this raises
            with out.open("wb") as stream:
                yield stream
            return
        handle, name = tempfile.mkstemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent)
    except OSError as error:
        raise _cannot_write(out, error) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        part.chmod(0o666 & ~_umask())
        part.replace(out)
    except OSError as error:
        raise _cannot_write(out, error) from error
    finally:
        part.unlink(missing_ok=True)


def _cannot_write(out: Path, error: OSError) -> LlmjoulesError:
    return LlmjoulesError(f"Cannot write {out}.", f"{error.strerror or error}.", "Name another file: --out FILE")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
