"""Going on with a study where it was left: what is done already, and one process at a time that works on it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Failed, Run
from llmjoules.records.store import read_results

JUST_BEGUN_S = 10.0


class Before(NamedTuple):
    """done: records of this very study, without traces. others: runs of the same name that another version made."""

    done: list[Run | Failed]
    others: int


def before(out: Path, study: str) -> Before:
    """What a folder of results holds of a study. Lines that are no records are passed over: whoever builds a site of
    them hears of it."""
    if not out.is_dir():
        return Before([], 0)
    done: list[Run | Failed] = []
    others = 0
    name = study.partition("@")[0]
    for stored in read_results([out], lambda _: None):
        record = stored.record
        if not isinstance(record, Run | Failed) or record.study is None:
            continue
        if record.study == study:
            done.append(record)
        else:
            others += record.study.partition("@")[0] == name
    return Before(done, others)


@contextmanager
def claimed(out: Path, study: str) -> Iterator[None]:
    """Hold a study in a folder, so that no second process measures the same repeats.

    A claim whose process is gone is taken over; of another machine that is not known, so it stands. (Locks would let go
    by themselves, but fail on cluster file systems.)
    """
    file = out / f".{study.replace('@', '-').replace('/', '-')}.claim"
    ours = {"host": socket.gethostname(), "pid": os.getpid(), "started_s": psutil.Process().create_time()}
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        _take(file, ours)
    except OSError as error:
        raise LlmjoulesError(
            f"Cannot write to {out}.", f"{error.strerror or error}.", "Choose another: --out DIR"
        ) from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        if made and not any(out.iterdir()):
            out.rmdir()


def _take(file: Path, ours: dict[str, object]) -> None:
    for _ in range(2):
        try:
            with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as stream:
                json.dump(ours, stream)
        except FileExistsError:
            holder = _holder(file)
            if holder is not None:
                raise LlmjoulesError(
                    f"This study is being measured into {file.parent}.",
                    f"{holder} holds it.",
                    f"Wait for it, or choose another folder: --out DIR. If it is gone, delete {file}",
                ) from None
            file.unlink(missing_ok=True)
        else:
            return
    raise LlmjoulesError(
        f"{file.parent} is contended.", "Another process takes the study at the same time.", "Try again."
    )


def _holder(file: Path) -> str | None:
    """Who holds a claim; None where its process is gone."""
    try:
        said = json.loads(file.read_text())
        host, pid, started_s = said["host"], int(said["pid"]), float(said["started_s"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Made and not yet written to, or its maker was killed in between.
        return "A process that has just begun" if time.time() - file.stat().st_mtime < JUST_BEGUN_S else None
    if host != socket.gethostname():
        return f"Process {pid} on {host}"
    try:
        alive = abs(psutil.Process(pid).create_time() - started_s) < 1
    except psutil.Error:
        alive = False
    return f"Process {pid}" if alive else None
