"""The records themselves, to take away: compressed lines, a part per stretch of an input file, with checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from msgspec import Struct

from llmjoules.records.ids import short_hash
from llmjoules.sitegen import text
from llmjoules.sitegen.inputs import Block

PART_BLOCKS = 16  # of 4 MB: a part is about 20 MB compressed, and is made anew when a line is added to it
LEVEL = 6  # of zstd: smaller than gzip's best, in the time of its fourth
PIECE_BYTES = 4 << 20


class PartJob(Struct, frozen=True, tag="part"):
    """Bytes of a results file to be compressed. skip: offset and length of lines that are no records of ours, and that
    nobody meant to publish. target: the file to write."""

    file: str
    start: int
    end: int
    skip: tuple[tuple[int, int], ...]
    target: str


class Part(Struct, frozen=True):
    """path: within the site. name: of the file that it is a part of. key: changes with its bytes."""

    path: str
    name: str
    file: str
    start: int
    end: int
    skip: tuple[tuple[int, int], ...]
    key: str


class File(Struct, frozen=True):
    """A file to download."""

    path: str
    name: str
    size: int
    sha256: str


def checksums(found: Iterable[File]) -> bytes:
    """As `sha256sum --check` reads them, in the folder of the downloads."""
    return "".join(f"{file.sha256}  {file.path.removeprefix('downloads/')}\n" for file in found).encode()


def parts_of(blocks: Sequence[Block], skips: Mapping[str, Sequence[tuple[int, int]]]) -> list[Part]:
    """In the order of files. Where a file has several parts they are numbered."""
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
            key = short_hash([[block.sha256 for block in some], skip])
            path = f"downloads/{name}{which}.jsonl.zst"
            parts.append(Part(path, some[0].name, some[0].file, start, end, skip, key))
    return parts


def write_part(job: PartJob) -> list[str]:
    """The part's SHA-256."""
    import pyarrow

    codec, digest, target = pyarrow.Codec("zstd", LEVEL), hashlib.sha256(), Path(job.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as sink:
        for piece in _pieces(job):  # frames one after the other are a file of zstd
            frame = codec.compress(piece, asbytes=True)
            digest.update(frame)
            sink.write(frame)
    return [digest.hexdigest()]


def _pieces(job: PartJob) -> Iterator[bytes]:
    with open(job.file, "rb") as stream:
        for start, end in _stretches(job):
            stream.seek(start)
            left = end - start
            while left and (piece := stream.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                yield piece


def _stretches(job: PartJob) -> Iterator[tuple[int, int]]:
    start = job.start
    for offset, length in job.skip:
        yield start, offset
        start = offset + length
    yield start, job.end
