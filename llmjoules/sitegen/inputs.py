"""Results files cut into blocks of whole lines. A file is only ever appended to, so all blocks but its last stay."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import short_hash
from llmjoules.records.record import Record
from llmjoules.records.store import BadLine, cannot_open, read_lines, results_files

BLOCK_BYTES = 4_000_000  # about 300 runs of 400 points: what one appended run makes us read again
PIECE_BYTES = 1 << 20
PIECES_AHEAD = 8


class Cut(Struct, frozen=True, array_like=True):
    """Where a block ends, how many lines it has, and the SHA-256 of its bytes."""

    end: int
    lines: int
    sha256: str


class Seen(Struct, frozen=True):
    """A file as it was read. stamp: size, times and inode; while they stay, so do its cuts."""

    stamp: tuple[int, ...]
    cuts: tuple[Cut, ...]


class Block(Struct, frozen=True):
    """name: of its file as pages show it; place: the same, told apart from namesakes. before: lines before it."""

    file: str
    name: str
    place: str
    start: int
    end: int
    before: int
    lines: int
    sha256: str


class Inputs(Struct, frozen=True):
    """blocks: in the order of file and line. seen: what to remember for the next build. bad: files not to be read."""

    blocks: tuple[Block, ...]
    seen: dict[str, Seen]
    bad: tuple[BadLine, ...]


def read_inputs(sources: Iterable[Path], before: Mapping[str, Seen]) -> Inputs:
    """Cut all files; those that are as `before` are not read. Raises LlmjoulesError for a source that is not there."""
    sources = list(sources)
    blocks: list[Block] = []
    seen: dict[str, Seen] = {}
    bad: list[BadLine] = []
    names: dict[str, int] = {}
    for file in results_files(sources):
        key, name = short_hash(str(file.absolute())), relative(file, sources)
        names[name] = names.get(name, 0) + 1
        place = f"{name}#{names[name]}" if names[name] > 1 else name
        try:
            stamp = _stamp(file)
            known = before.get(key)
            cuts = known.cuts if known is not None and known.stamp == stamp else _cut(file)
        except OSError as error:
            bad.append(BadLine(file, 0, cannot_open(error)))
            continue
        seen[key] = Seen(stamp, cuts)
        start = lines = 0
        for cut in cuts:
            blocks.append(Block(str(file), name, place, start, cut.end, lines, cut.lines, cut.sha256))
            start, lines = cut.end, lines + cut.lines
    return Inputs(tuple(blocks), seen, tuple(bad))


def relative(file: Path, sources: Iterable[Path]) -> str:
    """The name within the folder that was given: where the builder keeps results is nobody's business."""
    for source in sources:
        if source != file and file.is_relative_to(source):
            return file.relative_to(source).as_posix()
    return file.name


def _stamp(file: Path) -> tuple[int, ...]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _cut(file: Path) -> tuple[Cut, ...]:
    """Each cut is at the first end of a line BLOCK_BYTES or more after the last: it depends on nothing later.

    One more run makes all of its file read again, so a second thread hashes while this one reads on.
    """
    cuts: list[tuple[int, int, Future[str]]] = []
    with file.open("rb", buffering=0) as stream, ThreadPoolExecutor(1) as beside:
        digest, size, lines, end = hashlib.sha256(), 0, 0, 0
        ahead: deque[Future[None]] = deque()
        while piece := stream.read(PIECE_BYTES):
            while piece:
                found = piece.find(b"\n", max(BLOCK_BYTES - size - 1, 0)) + 1
                part, piece = (piece[:found], piece[found:]) if found else (piece, b"")
                ahead.append(beside.submit(digest.update, part))
                if len(ahead) > PIECES_AHEAD:
                    ahead.popleft().result()
                size, lines = size + len(part), lines + part.count(b"\n")
                if found:
                    end += size
                    cuts.append((end, lines, beside.submit(digest.hexdigest)))
                    digest, size, lines = hashlib.sha256(), 0, 0
        if size:
            cuts.append((end + size, lines + 1, beside.submit(digest.hexdigest)))
    return tuple(Cut(end, lines, sha256.result()) for end, lines, sha256 in cuts)


def record_at(file: str, offset: int, length: int) -> Record:
    """Raises LlmjoulesError where there is no record any more."""
    with open(file, "rb") as stream:
        stream.seek(offset)
        found = [line.found for line in read_lines(stream, 0, offset + length)]
    if len(found) != 1 or isinstance(found[0], str):
        why = "A results file is only ever appended to."
        raise LlmjoulesError(f"{file} has changed while the site was built.", why, "Build again.")
    return found[0]
