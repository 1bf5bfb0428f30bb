"""Work that is shared out over processes: this one and helpers, each started anew and told what to do by a pipe.

The results come in the order of the jobs, so that nothing depends on who did what. `multiprocessing` would run the
caller's main module again in each helper; a caller need not be ready for that.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, TypeAlias

import msgspec
from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.sitegen.block import read_block
from llmjoules.sitegen.downloads import PartJob, write_part
from llmjoules.sitegen.inputs import Block
from llmjoules.sitegen.render import Look
from llmjoules.sitegen.runpage import RunPage, write_run_pages

HELPERS = 3  # at most: disks and memory do not get faster with more
WORTH_HELPERS_BYTES = 4_000_000  # of results: starting a helper takes half a second


class BlockJob(Struct, frozen=True, tag="block"):
    block: Block
    kept: str
    site: str | None


class PagesJob(Struct, frozen=True, tag="pages"):
    look: Look
    pages: tuple[RunPage, ...]
    site: str


Job: TypeAlias = BlockJob | PagesJob | PartJob


class Failure(Struct, frozen=True):
    """What a helper could not do. number: of an error of the operating system; else why and fix of one of ours."""

    what: str
    number: int | None = None
    why: str | None = None
    fix: str = ""


class Done(Struct, frozen=True):
    result: list[str]
    failure: Failure | None = None


@contextmanager
def without_collector() -> Iterator[None]:
    """A build makes millions of small objects and hardly a ring: looking for rings takes a fifth of its time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def do(job: Job) -> list[str]:
    if isinstance(job, BlockJob):
        return read_block(job.block, Path(job.kept), Path(job.site) if job.site is not None else None)
    if isinstance(job, PagesJob):
        return write_run_pages(job.look, job.pages, Path(job.site))
    return write_part(job)


class Begun:
    """Jobs that helpers are at."""

    def __init__(self, jobs: Sequence[Job], helpers: Iterable[subprocess.Popen[bytes]], step: Callable[[], None]):
        self._jobs, self._step, self._told = jobs, step, 0
        self._todo: SimpleQueue[int] = SimpleQueue()
        for number in range(len(jobs)):
            self._todo.put(number)
        self._results: dict[int, list[str]] = {}
        self._errors: list[BaseException] = []
        shared = jobs, self._todo, self._results, self._errors
        self._threads = [Thread(target=_feed, args=(helper, *shared), daemon=True) for helper in helpers]
        for thread in self._threads:
            thread.start()

    def finish(self) -> list[list[str]]:
        """Do here what no helper takes; the results in the order of the jobs. Raises what the first failing one did."""
        for number in _taken(self._todo):
            if self._errors:
                break
            self._results[number] = do(self._jobs[number])
            self._tell()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        self._tell()
        return [self._results[number] for number in range(len(self._jobs))]

    def _tell(self) -> None:
        """A step for each job that is done, called here alone: whoever shows progress need not be ready for threads."""
        while self._told < len(self._results):
            self._told += 1
            self._step()


class Workers:
    """Helpers are started with the first jobs, and stay until the block is left."""

    def __init__(self, stack: ExitStack, helpers: int) -> None:
        self._stack = stack
        self._most = helpers
        self._helpers: list[subprocess.Popen[bytes]] = []

    def begin(self, jobs: Sequence[Job], step: Callable[[], None]) -> Begun:
        if jobs:
            self._start()
        return Begun(jobs, self._helpers, step)

    def _start(self) -> None:
        while len(self._helpers) < self._most:
            command = [sys.executable, "-m", "llmjoules.sitegen.workers"]
            helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._helpers.append(helper)
            self._stack.callback(_end, helper)


@contextmanager
def workers(input_bytes: int) -> Iterator[Workers]:
    """As many as there are processors, this one included; none for an input that this process has soon read."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ExitStack() as stack:
        yield Workers(stack, min(processors - 1, HELPERS) if input_bytes >= WORTH_HELPERS_BYTES else 0)


def _taken(todo: SimpleQueue[int]) -> Iterator[int]:
    while True:
        try:
            yield todo.get_nowait()
        except Empty:
            return


def _feed(
    helper: subprocess.Popen[bytes],
    jobs: Sequence[Job],
    todo: SimpleQueue[int],
    results: dict[int, list[str]],
    errors: list[BaseException],
) -> None:
    try:
        for number in _taken(todo):
            if errors:
                return
            assert helper.stdin is not None
            assert helper.stdout is not None
            helper.stdin.write(msgspec.json.encode(jobs[number]) + b"\n")
            helper.stdin.flush()
            answer = helper.stdout.readline()
            if not answer:
                raise RuntimeError("a helper of the build ended before its work was done")
            done = msgspec.json.decode(answer, type=Done)
            if done.failure is not None:
                raise _raised(done.failure)
            results[number] = done.result
    except BaseException as error:
        errors.append(error)


def _raised(failure: Failure) -> Exception:
    if failure.number is not None:
        return OSError(failure.number, failure.what)
    if failure.why is not None:
        return LlmjoulesError(failure.what, failure.why, failure.fix)
    return RuntimeError(failure.what)


def _end(helper: subprocess.Popen[bytes]) -> None:
    """It ends when it is asked nothing more; one in the middle of something is not waited for."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        helper.stdin.close()
    except OSError:
        pass
    try:
        helper.wait(1)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()
    helper.stdout.close()


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    import traceback

    decoder = msgspec.json.Decoder(Job)
    for line in asked:
        try:
            with without_collector():
                done = Done(do(decoder.decode(line)))
        except OSError as error:
            done = Done([], Failure(error.strerror or str(error), error.errno))
        except LlmjoulesError as error:
            done = Done([], Failure(error.what, why=error.why, fix=error.fix))
        except Exception:
            done = Done([], Failure(traceback.format_exc()))
        answers.write(msgspec.json.encode(done) + b"\n")
        answers.flush()


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the asking process decides
    serve(sys.stdin.buffer, sys.stdout.buffer)
