"""The records to take away: as compressed lines, and as the table of their energies; with checksums.

A part holds some blocks of an input file in three forms. It is made anew only when one of its blocks has changed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records.export_parquet import write_parquet
from llmjoules.records.export_table import COLUMNS, Row, csv_line, rows_of, write_csv
from llmjoules.records.ids import short_hash
from llmjoules.records.store import read_lines
from llmjoules.sitegen import text
from llmjoules.sitegen.inputs import Block

PART_BLOCKS = 8  # of 4 MB: a part is about 8 MB compressed, and is made anew when a line is added to it
# Of zstd, which readers of tables know and which makes a table a sixth smaller than gzip in the same time. Traces get
# hardly smaller above level 6; tables, which repeat themselves, do.
LEVEL, TABLE_LEVEL = 6, 9
ENDINGS = (".jsonl.zst", ".csv.zst", ".parquet")
SCHEMA, TABLE_COLUMNS, SUMS = "downloads/schema.json", "downloads/columns.csv", "downloads/SHA256SUMS"
SKIPPED = "downloads/skipped.csv"  # where there are such lines


class PartJob(Struct, frozen=True, tag="part"):
    """Bytes of a results file to be written in all forms. skip: offset and length of lines that are no records of ours,
    and that nobody meant to publish. again: offsets of records whose id came before: they are in no table. target: the
    files to write, without their endings.
    """

    file: str
    start: int
    end: int
    skip: tuple[tuple[int, int], ...]
    again: frozenset[int]
    target: str


class Part(Struct, frozen=True):
    """path: within the site, without ending. name: of the file that it is a part of. key: changes with its bytes."""

    path: str
    name: str
    file: str
    start: int
    end: int
    skip: tuple[tuple[int, int], ...]
    again: tuple[int, ...]
    key: str

    @property
    def paths(self) -> list[str]:
        return [self.path + ending for ending in ENDINGS]

    def job(self, folder: Path) -> PartJob:
        again = frozenset(self.again)
        return PartJob(self.file, self.start, self.end, self.skip, again, str(folder / self.path))


class File(Struct, frozen=True):
    """A file to download."""

    path: str
    name: str
    size: int
    sha256: str


class Form(NamedTuple):
    """Files of one form as the page lists them. ending: of their names."""

    heading: str
    about: str
    ending: str


FORMS = (
    Form("Records", "One JSON object a line, traces included.", ".jsonl.zst"),
    Form("Table as CSV", "One row for each energy that a record states, with a header in each file.", ".csv.zst"),
    Form("Table as Parquet", "The same rows; unit and meaning stand in each field's metadata.", ".parquet"),
    Form("Lines that could not be read", "File, line and why; they are in none of the files above.", "/skipped.csv"),
    Form("What the files mean", "The schema of a record, and the columns of the table with units and meaning.", ""),
)


def checksums(found: Iterable[File]) -> bytes:
    """As `sha256sum --check` reads them, in the folder of the downloads."""
    return "".join(f"{file.sha256}  {file.path.removeprefix('downloads/')}\n" for file in found).encode()


def columns_csv() -> bytes:
    found = io.StringIO()
    csv.writer(found).writerows([("column", "type", "unit", "meaning"), *COLUMNS])
    return found.getvalue().encode()


def skipped_csv(bad: Iterable[tuple[str, int, str]]) -> bytes:
    """bad: file, line and why."""
    return "".join(map(csv_line, [("file", "line", "why"), *bad])).encode("utf-8", "replace")


def parts_of(
    blocks: Sequence[Block], skips: Mapping[str, Sequence[tuple[int, int]]], again: Mapping[str, Sequence[int]]
) -> list[Part]:
    """In the order of files. Where a file has several parts they are numbered. skips, again: by the blocks' place."""
    by_place: dict[str, list[Block]] = {}
    for block in blocks:
        by_place.setdefault(block.place, []).append(block)
    parts = []
    for place, own in by_place.items():
        name = text.file_name(PurePosixPath(own[0].name).stem, place)
        for number, k in enumerate(range(0, len(own), PART_BLOCKS), 1):
            some = own[k : k + PART_BLOCKS]
            which = f".{number:03d}" if len(own) > PART_BLOCKS else ""
            start, end = some[0].start, some[-1].end
            skip = tuple(one for one in skips.get(place, ()) if start <= one[0] < end)
            twice = tuple(offset for offset in again.get(place, ()) if start <= offset < end)
            key = short_hash([[block.sha256 for block in some], skip, twice])
            path = f"downloads/{name}{which}"
            parts.append(Part(path, some[0].name, some[0].file, start, end, skip, twice, key))
    return parts


def write_part(job: PartJob) -> list[str]:
    """The SHA-256 of each form, in the order of ENDINGS."""
    Path(job.target).parent.mkdir(parents=True, exist_ok=True)
    rows = list(_rows(job))
    as_csv, as_parquet = io.BytesIO(), io.BytesIO()
    write_csv(rows, as_csv)
    write_parquet(rows, as_parquet)
    lines = _compressed(b"".join(_pieces(job)), LEVEL)
    forms = (lines, _compressed(as_csv.getvalue(), TABLE_LEVEL), as_parquet.getvalue())
    for ending, content in zip(ENDINGS, forms, strict=True):
        Path(job.target + ending).write_bytes(content)
    return [hashlib.sha256(content).hexdigest() for content in forms]


def _compressed(content: bytes, level: int) -> bytes:
    """In one frame: some readers (pandas among them) stop at the end of the first."""
    import pyarrow

    compressed: bytes = pyarrow.Codec("zstd", level).compress(content, asbytes=True)
    return compressed


def _rows(job: PartJob) -> Iterator[Row]:
    with open(job.file, "rb") as stream:
        stream.seek(job.start)
        for line in read_lines(stream, 0, job.end):
            if not isinstance(line.found, str) and line.offset not in job.again:
                yield from rows_of(line.found)


def _pieces(job: PartJob) -> Iterator[bytes]:
    with open(job.file, "rb") as stream:
        for start, end in _stretches(job):
            stream.seek(start)
            yield stream.read(end - start)


def _stretches(job: PartJob) -> Iterator[tuple[int, int]]:
    start = job.start
    for offset, length in job.skip:
        yield start, offset
        start = offset + length
    yield start, job.end
