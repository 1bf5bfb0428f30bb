"""Text files as they really are: compressed, with a byte-order mark, CRLF, quoted line breaks, a cut last line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.types import Bad, Units
from llmjoules.records.record import Correction

HEAD_BYTES = 65536
MAX_JSON_BYTES = 512_000_000
MAX_FIELD = 1 << 20
TO_JOULES = {
    "J": 1.0, "kJ": 1e3, "MJ": 1e6, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9,
    "Wh": 3600.0, "kWh": 3.6e6, "mWh": 3.6, "Ws": 1.0,
}  # fmt: skip
TO_WATTS = {"W": 1.0, "kW": 1e3, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6}
TO_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}


class Row(NamedTuple):
    """Fields of a record of a separated file. line: of the file at which it begins, from 1."""

    line: int
    fields: list[str]


class SourceFile:
    """One file to import. Raises LlmjoulesError where it cannot be opened or is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        try:
            digest, size = hashlib.sha256(), 0
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
            self.sha256 = digest.hexdigest()
            self.head = self._head()
        except IsADirectoryError as error:
            raise LlmjoulesError(f"Cannot import {path}.", "It is a folder.", "Name the files in it.") from error
        except FileNotFoundError as error:
            raise LlmjoulesError(f"No file at {path}.", "There is no such file.", "Name an existing one.") from error
        except (OSError, EOFError) as error:
            why = f"{getattr(error, 'strerror', None) or error}."
            raise LlmjoulesError(f"Cannot read {path}.", why, "Name a readable text file, plain or .gz.") from error
        if not self.head.strip():
            raise LlmjoulesError(
                f"Nothing in {path}.", "The file is empty.", "Probably the tool was stopped before its first line."
            )

    @cached_property
    def stem(self) -> str:
        """The name without `.gz` and ending."""
        return Path(self.name.removesuffix(".gz")).stem

    @cached_property
    def encoding(self) -> str:
        if self.head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"  # a spreadsheet's "Unicode text"
        return "utf-8-sig"

    def lines_at_head(self, most: int = 3) -> list[str]:
        """The first lines that are not blank, for telling formats apart."""
        lines = self.head.decode(self.encoding, "replace").splitlines()
        return [line.strip() for line in lines if line.strip()][:most]

    def text(self) -> io.TextIOWrapper:
        """Line ends as they stand; bytes that are no text become U+FFFD."""
        return io.TextIOWrapper(self._bytes(), encoding=self.encoding, errors="replace", newline="")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Numbered lines without their ends."""
        with self.text() as stream:
            try:
                for number, line in enumerate(stream, 1):
                    yield number, line.rstrip("\r\n")
            except (OSError, EOFError) as error:
                raise self._torn(error) from error

    def rows(self, delimiter: str = ",") -> Iterator[Row | Bad]:
        """Records of a separated file, blank ones left out; a quoted field may hold line breaks."""
        csv.field_size_limit(MAX_FIELD)
        with self.text() as stream:
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
            while True:
                begins = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Bad(begins, f"not a record: {error}", fix="Look for a quotation mark that is never closed.")
                    continue
                except (OSError, EOFError) as error:
                    raise self._torn(error) from error
                if any(field.strip() for field in fields):
                    yield Row(begins, fields)

    def json(self) -> Any:
        """Raises LlmjoulesError that names line and column where it is not JSON or stops before its end."""
        with self._bytes() as stream:
            data = stream.read(MAX_JSON_BYTES)
        text = data.decode(self.encoding, "replace")
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            found = re.search(r"byte (\d+)", str(error))
            at = len(text.encode()) if "truncated" in str(error) or found is None else int(found[1])
            before = text.encode()[:at].decode("utf-8", "ignore")
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            cut = "truncated" in str(error)
            why = "The file ends in the middle of a value: it was cut off." if cut else f"{error}."
            fix = "Copy it again from where it was written." if cut else "It must be JSON from beginning to end."
            raise LlmjoulesError(
                f"Not readable as JSON: {self.name}, line {line}, column {column}.", why, fix
            ) from error

    def ends_cut(self) -> bool:
        """Does the last line lack its end? Then its writer was stopped, and even a number in it may be cut."""
        with self._bytes() as stream:
            last = b""
            while chunk := stream.read(1 << 20):
                last = chunk[-1:]
        return last not in (b"\n", b"\r", b"")

    def _bytes(self) -> Any:
        return gzip.open(self.path, "rb") if _gzipped(self.path) else self.path.open("rb")

    def _head(self) -> bytes:
        with self._bytes() as stream:
            head: bytes = stream.read(HEAD_BYTES)
        return head

    def _torn(self, error: Exception) -> LlmjoulesError:
        return LlmjoulesError(f"Cannot read {self.path} to its end.", f"{error}.", "Copy it again.")


def _gzipped(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


class NotANumber(ValueError):
    """The text says what was found and what to do."""


def number(text: str) -> float:
    """A finite number. Raises NotANumber, which knows decimal commas."""
    try:
        value = float(text)
    except ValueError:
        plain = text.strip()
        if re.fullmatch(r"[-+]?\d+,\d+", plain):
            raise NotANumber(
                f"{plain!r} has a decimal comma; write {plain.replace(',', '.')} (a spreadsheet can export a point)"
            ) from None
        what = f"{plain[:40]!r} is not a number" if plain else "no number stands there"
        raise NotANumber(f"{what}; write one, or take the row out") from None
    if not math.isfinite(value):
        raise NotANumber(f"{text.strip()[:40]!r} is not a finite number; write one, or take the row out")
    return value


def unit_in(heading: str) -> str | None:
    """The unit that a heading names in brackets: `GPU Energy (mJ)`, `power.draw [W]`."""
    found = re.search(r"[(\[]\s*([^)\]]+?)\s*[)\]]\s*$", heading)
    return found[1] if found else None


class Columns:
    """Where the columns of a header stand, and which nobody asked for.

    A row shorter or longer than the header is not of it.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self.header = [name.strip() for name in header]
        self.asked: set[str] = set()
        self._at = {name: index for index, name in reversed(list(enumerate(self.header)))}

    def __len__(self) -> int:
        return len(self.header)

    def find(self, *names: str) -> int | None:
        """Index of the first of these that there is."""
        for name in names:
            if name in self._at:
                self.asked.add(name)
                return self._at[name]
        return None

    def matching(self, pattern: str) -> list[tuple[int, re.Match[str]]]:
        found = [(index, match) for index, name in enumerate(self.header) if (match := re.fullmatch(pattern, name))]
        self.asked.update(self.header[index] for index, _ in found)
        return found

    def number(self, fields: Sequence[str], at: int) -> float:
        """Raises NotANumber, which names the column."""
        try:
            return number(fields[at])
        except NotANumber as error:
            raise NotANumber(f"column {self.header[at]!r}: {error}") from None

    def left_over(self) -> list[str]:
        return [name for name in self.header if name and name not in self.asked]


class Energies:
    """Columns of joules under a heading's unit, each converted once, and what was confirmed to be another unit."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self.stated: dict[str, str] = {}
        self.corrections: list[Correction] = []

    def factor(self, column: str, unit: str, table: dict[str, float] | None = None) -> float:
        """What to multiply with, to joules unless another table is given. Raises LlmjoulesError for an unknown unit."""
        taken, correction = self._units.of(column, unit)
        known = TO_JOULES if table is None else table
        if taken not in known:
            raise LlmjoulesError(
                f"Unknown unit {taken} for column {column!r}.", f"Known: {', '.join(known)}.", "Say --unit COLUMN=UNIT."
            )
        self.stated[column] = unit
        if correction is not None:
            self.corrections.append(correction)
        return known[taken]


def misfit(row: Row, width: int) -> Bad | None:
    """What is wrong with a row that has not as many fields as it should; None where it has."""
    found = len(row.fields)
    if found == width:
        return None
    few, many = "Was it cut off, or a separator lost?", "Has a decimal comma, or a separator in a text, split a field?"
    return Bad(row.line, f"{found} fields instead of {width}", fix=few if found < width else many)


def not_later(line: int, column: str) -> Bad:
    fix = "Sort the rows by time; of two at the same time the first counts."
    return Bad(line, "a sample that is not later than the one before it", column, fix)


class Seen:
    """Rows that stand twice in a file."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}

    def before(self, line: int, fields: Sequence[str]) -> Bad | None:
        first = self._lines.setdefault(hash(tuple(fields)), line)
        return None if first == line else Bad(line, f"the same row as line {first}: counted once")


def iso_utc(unix_s: float) -> str:
    """Raises NotANumber for a time that no measurement can have been made at."""
    if not 946684800 < unix_s < 4102444800:  # 2000 to 2100
        raise NotANumber(f"{unix_s:g} s since 1970 is no time of a measurement")
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
