"""What a build remembers for the next one, in a folder beside the site. It may be thrown away at any time."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.sitegen.folder import cannot_write, may_write
from llmjoules.sitegen.inputs import Block, Seen

MARKER = ".llmjoules-cache"
MEMORY = "memory.json"
OWN = {MARKER, ".gitignore", MEMORY, "memory.part"}  # and blocks/
BLOCK = re.compile(r"[0-9a-f]{24}\.(arrow|part)")

_encoder = msgspec.json.Encoder(order="deterministic")


class Made(Struct, frozen=True, array_like=True):
    """A file of the site. key: of what it was made from; empty where it is always made anew. sha256: of a download."""

    key: str
    stamp: tuple[int, int]
    sha256: str = ""


class Report(Struct, frozen=True):
    """What the last build found. bad: file, line and why."""

    runs: int
    failed: int
    published: int
    bad: tuple[tuple[str, int, str], ...]
    pages: int


class Memory(Struct, frozen=True):
    """whole: of everything that the last build was made from. without: see extra.Results."""

    seen: dict[str, Seen] = {}
    files: dict[str, Made] = {}
    whole: str = ""
    report: Report | None = None
    without: dict[str, list[str]] = {}


class Cache:
    """blocks/KEY.arrow are tables of blocks, memory.json the rest. Raises LlmjoulesError for a folder of others."""

    def __init__(self, site: Path) -> None:
        self.folder = site.parent / f".{site.name}-cache"
        self.site = site
        try:
            ours = may_write(self.folder, MARKER)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if not ours:
            raise LlmjoulesError(
                f"{self.folder} is not ours to write to.",
                f"Beside each site its build keeps such a folder, but this one is no folder or has no {MARKER} in it.",
                "Remove it if an earlier llmjoules made it, else move it or give the site another name: --out DIR",
            )
        try:
            self.memory = msgspec.json.decode((self.folder / MEMORY).read_bytes(), type=Memory)
        except (OSError, msgspec.MsgspecError):
            self.memory = Memory()

    def forget(self) -> None:
        """Leave nothing of ours where nothing was remembered before: a build that was refused made no site."""
        if self.memory != Memory():
            return
        with suppress(OSError):  # as where blocks/ holds something else, which stays, and the folder with it
            self._remove_blocks(but=())
            (self.folder / "blocks").rmdir()
            found = {path.name for path in self.folder.iterdir()}
            if found <= OWN:
                for name in found:
                    (self.folder / name).unlink()
                self.folder.rmdir()

    def open(self) -> None:
        """Make the folder; whoever keeps the site in git does not want it there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).write_text("Written by llmjoules build-site; this folder may be removed at any time.\n")
        (self.folder / ".gitignore").write_text("*\n")
        (self.folder / "blocks").mkdir(exist_ok=True)

    def table(self, key: str) -> Path:
        return self.folder / "blocks" / f"{key}.arrow"

    def standing(self, ours: Iterable[str]) -> dict[str, Made]:
        """The files of the last build that nobody has touched since."""
        known = self.memory.files
        return {name: known[name] for name in ours if name in known and stamp(self.site / name) == known[name].stamp}

    def save(self, memory: Memory, keys: Iterable[str]) -> None:
        part = self.folder / "memory.part"
        part.write_bytes(_encoder.encode(memory))
        part.replace(self.folder / MEMORY)
        self._remove_blocks(but={self.table(key).name for key in keys})

    def _remove_blocks(self, but: Container[str]) -> None:
        for path in (self.folder / "blocks").iterdir():
            if BLOCK.fullmatch(path.name) and path.name not in but:
                path.unlink()


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a plain file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def key_of(*values: Any) -> str:
    return hashlib.sha256(_encoder.encode(values)).hexdigest()[:24]


def program() -> str:
    """Hash of everything of ours that decides what a page looks like, and of the library that fills in templates."""
    digest = hashlib.sha256(version("jinja2").encode())
    for room in ("records", "sitegen", "templates"):
        for name, file in sorted(_files_of(files("llmjoules") / room, room), key=lambda found: found[0]):
            digest.update(f"{name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _files_of(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for file in folder.iterdir():
        if file.is_file():
            yield f"{name}/{file.name}", file
        elif file.is_dir() and file.name != "__pycache__":
            yield from _files_of(file, f"{name}/{file.name}")


def block_key(program: str, block: Block, shards: bool) -> str:
    return key_of(program, block.sha256, block.name, block.place, block.start, block.before, shards)
