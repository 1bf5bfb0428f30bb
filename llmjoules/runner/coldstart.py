"""Weight files and the page cache: how much of them lies in memory, and putting them out of it.

A model that is loaded a second time comes from memory, which is another measurement than from disk. No root is needed:
anyone may ask for one's own files to be dropped, and the kernel says what became of it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from llmjoules.records.record import PageCache

PIECE = 1 << 30  # bytes looked at in one go


def page_cache(folder: Path, asked: Literal["drop", "as-is"]) -> PageCache:
    """How much of a model's weight files is in memory, after they were dropped if that was asked for."""
    files = sorted(file.resolve() for file in folder.glob("*.safetensors"))
    if not files:
        return PageCache(asked=asked, resident=None, reason="no_files: the folder holds no *.safetensors")
    try:
        if asked == "drop":
            drop(files)
        return PageCache(asked=asked, resident=resident(files))
    except (OSError, AttributeError) as error:
        return PageCache(asked=asked, resident=None, reason=f"not_told: {_why(error)}")


def drop(files: Sequence[Path]) -> None:
    """Ask for clean pages of these files to be dropped; what is not written yet is written first.

    Pages that some process has mapped stay. Raises OSError, or AttributeError where the system has no such call.
    """
    for file in files:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident(files: Sequence[Path]) -> float:
    """The part of these files' pages that is in memory, by mincore(2). Reads none of them.

    Raises OSError, also where the kernel does not tell (others' files that one may not write).
    """
    if platform.system() != "Linux":
        raise OSError(f"{platform.system()} does not tell")
    pages = found = 0
    for file in files:
        if not os.access(file, os.W_OK) and file.stat().st_uid != os.getuid():
            raise OSError("it is another user's file, of which the kernel does not tell")
        size = file.stat().st_size
        with file.open("rb") as stream:
            for offset in range(0, size, PIECE):
                length = min(PIECE, size - offset)
                # Private and writable for ctypes' sake; nothing is written, and a page that is not touched is not read.
                with mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_COPY, offset=offset) as mapped:
                    flags = _mincore(mapped, length)
                pages += len(flags)
                found += sum(flag & 1 for flag in flags)
    if not pages:
        raise OSError("the files are empty")
    return round(found / pages, 4)


def _mincore(mapped: mmap.mmap, length: int) -> bytes:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = (ctypes.c_ubyte * (-(-length // mmap.PAGESIZE)))()
    start = ctypes.c_char.from_buffer(mapped)
    try:
        if libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(length), flags) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        del start  # else the map could not be closed
    return bytes(flags)


def _why(error: OSError | AttributeError) -> str:
    if isinstance(error, AttributeError):
        return "this system has no such call"
    return error.strerror or str(error)
