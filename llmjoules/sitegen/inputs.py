"""Results files cut into blocks of whole lines. A file is only ever appended to, so all blocks but its last stay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from pathlib import Path

from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import short_hash
from llmjoules.records.record import Record
from llmjoules.records.store import BadLine, cannot_open, read_lines, results_files

BLOCK_BYTES = 4_000_000  # about 300 runs of 400 points: what one appended run makes us read again
PIECE_BYTES = 1 << 20


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
            known = before.get(key, Seen((), ()))
            cuts = known.cuts if known.stamp == stamp else _cut(file, known.cuts)
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


def _cut(file: Path, before: Sequence[Cut]) -> tuple[Cut, ...]:
    """Each cut is at the first end of a line BLOCK_BYTES or more after the last: it depends on nothing later.

    before: those of the file as it was; one more run makes all of it read again, most of it only to see that it stays.
    """
    cuts = _still_there(file, before[:-1])  # the last block may have been short, and grow
    end = cuts[-1].end if cuts else 0
    digest, size, lines = hashlib.sha256(), 0, 0
    with file.open("rb", buffering=0) as stream:
        stream.seek(end)
        while piece := stream.read(PIECE_BYTES):
            while piece:
                found = piece.find(b"\n", max(BLOCK_BYTES - size - 1, 0)) + 1
                part, piece = (piece[:found], piece[found:]) if found else (piece, b"")
                digest.update(part)
                size, lines = size + len(part), lines + part.count(b"\n")
                if found:
                    end += size
                    cuts.append(Cut(end, lines, digest.hexdigest()))
                    digest, size, lines = hashlib.sha256(), 0, 0
    if size:
        cuts.append(Cut(end + size, lines + 1, digest.hexdigest()))
    return tuple(cuts)


def _still_there(file: Path, cuts: Sequence[Cut]) -> list[Cut]:
    """Those of the cuts, from the first on, whose bytes are as they were. Python lets hashes run side by side."""
    starts = [0, *(cut.end for cut in cuts)]
    with ThreadPoolExecutor() as threads:
        sums = threads.map(partial(_sha256, file), starts, (cut.end for cut in cuts))
        same = takewhile(lambda pair: pair[0].sha256 == pair[1], zip(cuts, sums, strict=True))
        return [cut for cut, _ in same]


def _sha256(file: Path, start: int, end: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        stream.seek(start)
        while start < end and (piece := stream.read(min(end - start, PIECE_BYTES))):
            digest.update(piece)
            start += len(piece)
    return digest.hexdigest()


def record_at(file: str, offset: int, length: int) -> Record:
    """Raises LlmjoulesError where there is no record any more."""
    with open(file, "rb") as stream:
        stream.seek(offset)
        found = [line.found for line in read_lines(stream, 0, offset + length)]
    if len(found) != 1 or isinstance(found[0], str):
        why = "A results file is only ever appended to."
        raise LlmjoulesError(f"{file} has changed while the site was built.", why, "Build again.")
    return found[0]
