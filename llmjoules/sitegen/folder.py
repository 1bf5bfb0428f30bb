"""The site's folder: what is ours there, and how a finished build takes the place of the old one."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

from llmjoules.records.errors import LlmjoulesError

MARKER = ".llmjoules-site"


def checked(out: Path) -> tuple[Path, set[str]]:
    """The real folder to write to, and which files in it are ours. Raises LlmjoulesError where we may not write."""
    try:
        real = out.resolve()
        exists, is_folder = os.path.lexists(out), real.is_dir()
        writable = may_write(real, MARKER)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, on older Pythons
        raise LlmjoulesError(f"Cannot use {out} for a site.", f"{error}.", "Name another folder: --out DIR") from error
    if exists and not is_folder:
        raise LlmjoulesError(f"{out} is not a folder.", "A site is a folder of pages.", "Name another place: --out DIR")
    if not writable:
        raise LlmjoulesError(
            f"{out} is not ours to overwrite.",
            f"It holds files and no {MARKER}, so another program or a person made it.",
            "Name a new or empty folder: --out DIR",
        )
    return real, _listed(real / MARKER)


def may_write(folder: Path, marker: str) -> bool:
    """Whether nothing is there, an empty folder, or one with the file by which we know our own."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and (_plain_file(folder / marker) or not any(folder.iterdir()))


def replace(real: Path, staged: Path, kept: set[str], ours: set[str], aside: Path) -> None:
    """Move the staged files in, unchanged ones excepted, and remove those of ours that are neither staged nor `kept`.

    The marker names old and new files before the first is moved, so that a stop half-way leaves none that the next
    build would take for someone else's. What pages refer to comes before them, and the home page last. What stood there
    before is kept in the new folder `aside`, and put back when anything fails. Raises LlmjoulesError where a file that
    is not ours or a link stands in the way, or the disk fails; all is then as it was.
    """
    moved = sorted((path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()), key=_turn)
    for name in moved:
        _check_way(real, name, ours)
    made = kept | set(moved)
    change = _Change(real / MARKER, aside)
    try:
        aside.mkdir()
        change.make_folder(real)
        if made != ours:
            change.mark(ours | made)
        for name in moved:
            change.move(staged / name, real / name)
        for name in sorted(ours - made):
            change.remove(real, name)
        if made != ours:
            change.mark(made)
    except OSError as error:
        change.undo()
        raise cannot_write(real, error) from error
    except BaseException:  # Ctrl-C
        change.undo()
        raise


class _Change:
    """Of the files of a site, one by one; what has been done can be undone."""

    def __init__(self, marker: Path, aside: Path) -> None:
        self._marker, self._aside = marker, aside
        self._before: dict[Path, Path | None] = {}  # where the file lies now that stood there before, if one did
        self._folders: list[Path] = []

    def mark(self, names: Iterable[str]) -> None:
        """Write the marker."""
        part = self._marker.with_name(f"{MARKER}.part")
        body = {
            "note": "Written by llmjoules build-site; these files are replaced and removed by it.",
            "files": sorted(names),
        }
        self._keep(self._marker)
        self._keep(part)
        part.write_text(json.dumps(body, indent=1) + "\n", "utf-8")
        part.replace(self._marker)

    def move(self, source: Path, target: Path) -> None:
        self.make_folder(target.parent)
        if not _same(source, target):
            self._keep(target)
            _move(source, target)

    def remove(self, real: Path, name: str) -> None:
        target = real / name
        parents = [real / parent for parent in list(target.relative_to(real).parents)[:-1]]
        if not all(map(_plain_folder, parents)) or not _plain_file(target):
            return
        self._keep(target)
        target.unlink()
        for parent in parents:
            if any(parent.iterdir()):
                return
            parent.rmdir()

    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._folders.append(folder)

    def undo(self) -> None:
        """Put back what can be. Where something cannot, the marker stays, which names all: the next build mends it."""
        whole = True
        for target, kept in reversed(self._before.items()):
            if target == self._marker and not whole:
                continue
            try:
                if kept is None:
                    target.unlink(missing_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(kept, target)
            except OSError:
                whole = False
        for folder in reversed(self._folders):
            with suppress(OSError):  # something is in it
                folder.rmdir()

    def _keep(self, target: Path) -> None:
        """Where there is a file, give it a second name, so that no reader of the site ever finds none."""
        if target in self._before:
            return
        kept = self._aside / str(len(self._before)) if os.path.lexists(target) else None
        if kept is not None:
            try:
                os.link(target, kept)
            except OSError:  # another disk, or one that knows no second names
                shutil.copy2(target, kept)
        self._before[target] = kept


def _turn(name: str) -> tuple[bool, bool, str]:
    return name == "index.html", name.endswith(".html"), name


def own_prefix(real: Path) -> str:
    """Of the name of the folder in which this process builds, beside the site."""
    return f"{_building(real)}{os.getpid()}-"


def remove_left_over(real: Path) -> None:
    """What builds of this site on this machine left beside it when killed; one still at work keeps its own."""
    try:
        beside = list(real.parent.iterdir())
    except OSError:  # not ours to list; that is no reason not to build
        return
    for path in beside:
        rest = path.name.removeprefix(_building(real))
        pid = rest.partition("-")[0]
        if rest != path.name and pid.isdecimal() and _plain_folder(path) and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _building(real: Path) -> str:
    machine = re.sub(r"[^A-Za-z0-9]+", "", platform.node())[:32]
    return f".{real.name}-building-{machine}-"


def cannot_write(place: Path, error: OSError) -> LlmjoulesError:
    return LlmjoulesError(
        f"Cannot write the site to {place}.", f"{error.strerror or error}.", "Name another folder: --out DIR"
    )


def _listed(marker: Path) -> set[str]:
    """The names in the marker; one that leads out of the folder is nobody's."""
    try:
        names = json.loads(marker.read_text("utf-8"))["files"]
        return {name for name in names if isinstance(name, str) and _inside(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and ".." not in parts and "\\" not in name and ":" not in name


def _check_way(real: Path, name: str, ours: set[str]) -> None:
    target = real / name
    for parent in list(target.relative_to(real).parents)[:-1]:
        if os.path.lexists(real / parent) and not _plain_folder(real / parent):
            raise _in_the_way(real / parent)
    if os.path.lexists(target) and (name not in ours or not _plain_file(target)):
        raise _in_the_way(target)


def _in_the_way(path: Path) -> LlmjoulesError:
    return LlmjoulesError(
        f"{path} is in the way of the site and not ours to overwrite.",
        "It was not written by an earlier build, or is a link.",
        "Move it elsewhere, or name another folder: --out DIR",
    )


def _same(source: Path, target: Path) -> bool:
    return (
        target.exists()
        and target.stat().st_size == source.stat().st_size
        and target.read_bytes() == source.read_bytes()
    )


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target)  # the site's folder is a disk of its own


def _plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
