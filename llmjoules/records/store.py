"""Results on disk: files of JSON lines, one file per writing process, a line durable before it is announced.

No locks (they fail on cluster filesystems): a file has one writer, which creates it. A line that a killed writer left
unfinished is the last of its file, is skipped by the reader, and is never appended to.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import random_suffix
from llmjoules.records.record import Record, decode, encode
from llmjoules.records.upgrade import UnknownVersion, decode_any_version

MAX_LINE_BYTES = 8_000_000  # a run of 200 tokens takes about 20 kB; a longer line would only fill memory

NO_NUMBER = re.compile(rb"-?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)  # as programs write them


class Stored(NamedTuple):
    record: Record
    file: Path
    line: int


class BadLine(NamedTuple):
    """A line that was skipped. why: one sentence."""

    file: Path
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


class ResultsFile:
    """The one file that this process writes, created with its first record.

    append() returns when the line is on disk. Raises LlmjoulesError when it cannot be: the file is then as before, and
    the record is kept in the temporary folder that the message names.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        slug = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:40] or "results"
        self.path = folder / f"{stamp}-{slug}-{random_suffix()}.jsonl"
        self._fd: int | None = None
        self._made_folder = _make_writable(folder)

    def append(self, *records: Record) -> None:
        """Several at once take one trip to the disk.

        Raises ValueError for a record that no reader would take: a defect of ours, found before it is published.
        """
        line = b"".join(map(_checked_line, records))
        size = None
        try:
            with _signals_held():  # the run is finished: Ctrl-C must not come between it and the disk
                if self._fd is None:
                    self._fd = _create(self.path)
                size = os.fstat(self._fd).st_size
                _write_all(self._fd, line)
                os.fsync(self._fd)
        except OSError as error:
            path = self.path
            if size is not None:
                self._cut_back(size)
            raise _not_stored(path, error, line) from error

    def close(self) -> None:
        self._close_file()
        if self._made_folder:
            with suppress(OSError):  # not empty any more
                self.folder.rmdir()

    def _close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _cut_back(self, size: int) -> None:
        """Take back the torn line, with its file if that holds no other; truncating works on a full disk. If even that
        fails, go on in another file.
        """
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, size)
            if size == 0:
                self._close_file()
                self.path.unlink()
        except OSError:
            self._close_file()
            self.path = self.path.with_stem(f"{self.path.stem}-{random_suffix()}")


def _checked_line(record: Record) -> bytes:
    line = encode(record) + b"\n"
    if len(line) > MAX_LINE_BYTES or isinstance(reason := _record_or_reason(line), str):
        raise ValueError("the record is too long" if len(line) > MAX_LINE_BYTES else reason)
    return line


def results_files(sources: Iterable[Path]) -> list[Path]:
    """The `*.jsonl` files in the given files and folders, sorted. Raises LlmjoulesError for one that cannot be read."""
    files: set[Path] = set()
    for source in sources:
        try:
            is_folder = stat.S_ISDIR(source.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            fix = "Name a .jsonl file or a folder of them."
            raise LlmjoulesError(f"No results at {source}.", "There is no such file or folder.", fix) from error
        except OSError as error:
            raise _unreadable(source, error) from error
        files.update(_files_under(source) if is_folder else [source])
    return sorted(files)


def _files_under(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    for parent, _, names in os.walk(folder, onerror=refuse):  # Path.rglob would pass over what it may not read
        yield from (Path(parent, name) for name in names if name.endswith(".jsonl"))


def read_results(sources: Iterable[Path], on_bad: Callable[[BadLine], None]) -> Iterator[Stored]:
    """Every readable record once, in the order of file and line; bad lines go to `on_bad` and reading goes on.

    Of records with the same id the first one counts. Memory holds one line and the ids, not the records.
    """
    seen: set[str] = set()
    for file in results_files(sources):
        for stored in _read_file(file, on_bad):
            if stored.record.id not in seen:
                seen.add(stored.record.id)
                yield stored


def _read_file(file: Path, on_bad: Callable[[BadLine], None]) -> Iterator[Stored]:
    try:
        stream = file.open("rb")
    except OSError as error:
        on_bad(BadLine(file, 0, cannot_open(error)))
        return
    with stream:
        for line in read_lines(stream):
            if isinstance(line.found, str):
                on_bad(BadLine(file, line.number, line.found))
            else:
                yield Stored(line.found, file, line.number)


class Line(NamedTuple):
    """A line that is not blank, and where it stands. found: its record, or why it is none, in one sentence."""

    number: int
    offset: int
    length: int
    found: Record | str


def read_lines(stream: BinaryIO, number: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines of a file from where the stream stands up to the byte `end`. number: of the line before the first."""
    offset = stream.tell()
    while end is None or offset < end:
        number += 1
        try:
            line = stream.readline(MAX_LINE_BYTES)
        except OSError as error:
            yield Line(number, offset, 0, f"cannot be read: {error.strerror}")
            return
        if not line:
            return
        length = len(line)
        if length >= MAX_LINE_BYTES and not line.endswith(b"\n"):
            length += _skip_rest_of_line(stream)
            why = f"{length / 1e6:.1f} MB long; a record has at most {MAX_LINE_BYTES / 1e6:.0f} MB"
            yield Line(number, offset, length, why)
        elif line.strip():
            record = _record_or_reason(line)
            if isinstance(record, str):
                cut = "" if line.endswith((b"\n", b"}")) else "cut off before its end (the writer was stopped); "
                record = cut + _plain(record)
            yield Line(number, offset, length, record)
        offset += length


def cannot_open(error: OSError) -> str:
    return f"cannot be opened: {error.strerror}"


def _record_or_reason(line: bytes) -> Record | str:
    try:
        return decode(line)
    except msgspec.ValidationError as error:
        reason = str(error)  # not of the current schema: of another version, perhaps
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _why_not_json(line, error)
    try:
        return decode_any_version(line)
    except UnknownVersion as error:
        return str(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return reason


def _plain(text: str) -> str:
    """The reason may quote the line: no control characters for a terminal, no end of the page."""
    short = text if len(text) <= 160 else text[:150] + " …"
    return "".join(character if character.isprintable() else "\ufffd" for character in short)


def _why_not_json(line: bytes, error: Exception) -> str:
    if b"\0" in line:
        return "holds NUL bytes: not text"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as bad:
        return f"not UTF-8 at byte {bad.start}"
    place = re.search(r"\(byte (\d+)\)", str(error))
    at = int(place[1]) if place is not None else -1
    for word in NO_NUMBER.finditer(line):
        if word.start() <= at < word.end():
            return f"holds {word[0].decode()} at byte {word.start()}, no number in JSON: a missing figure is null"
    return str(error)


def _skip_rest_of_line(stream: object) -> int:
    skipped = 0
    while chunk := stream.readline(1 << 20):  # type: ignore[attr-defined]
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _make_writable(folder: Path) -> bool:
    """Fail before anything is measured, not after. Tries it: permission bits lie to root and on network mounts.

    True where the folder did not exist before.
    """
    try:
        try:
            folder.mkdir(parents=True)
            made = True
        except FileExistsError:
            made = False
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LlmjoulesError(
            f"Cannot write results to {folder}.", f"{error.strerror or error}.", "Name another folder: --out DIR"
        ) from error
    return made


def _create(path: Path) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    if hasattr(os, "O_DIRECTORY"):  # make the new name itself durable, where the file system can
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    return fd


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals that would end the program wait until the block is done. Other threads than the main one get none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if held:
            signal.raise_signal(held[0])


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _not_stored(path: Path, error: OSError, line: bytes) -> LlmjoulesError:
    what = f"Cannot append to {path}."
    why = f"{error.strerror or error}."
    try:
        rescue = _rescued(line)
    except OSError:
        return LlmjoulesError(what, why, "Make room; this run could not be kept elsewhere, earlier ones are safe.")
    return LlmjoulesError(what, why, f"Make room, then copy this run in from {rescue}; earlier ones are safe.")


def _rescued(line: bytes) -> str:
    """The file in the temporary folder that keeps it whole. Raises OSError, and leaves none, where it cannot."""
    fd, path = tempfile.mkstemp(prefix="llmjoules-rescued-", suffix=".jsonl")
    try:
        _write_all(fd, line)
        os.fsync(fd)
    except BaseException:
        with suppress(OSError):
            Path(path).unlink()
        raise
    finally:
        os.close(fd)
    return path


def _unreadable(folder: Path, error: OSError) -> LlmjoulesError:
    return LlmjoulesError(f"Cannot read {folder}.", f"{error.strerror or error}.", "Ask for read permission on it.")
