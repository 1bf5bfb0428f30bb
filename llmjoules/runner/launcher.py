"""Starting measuring processes and listening to them. A process is judged by its records, not by its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import msgspec

from llmjoules.records.errors import LlmjoulesError, without_home
from llmjoules.records.ids import comparability_class, new_id
from llmjoules.records.record import Clock, Error, Failed, Load, Model, Workload, encode
from llmjoules.runner import events
from llmjoules.runner.settings import Settings
from llmjoules.runner.system import bare_system

QUIET = {
    "HF_HUB_OFFLINE": "1",  # everything was fetched before; a measured phase must not wait for a network
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
END_LIMIT_S = 5.0


class NotBegun(LlmjoulesError):
    """The measuring process refused its settings, or ended before its first run began."""


def run_process(job: events.Job) -> Iterator[events.Event]:
    """The events of one measuring process, as they come; it goes on after a record only when the next one is asked for.

    If it dies inside a repeat, the last event is that repeat's failed record. Closing the iterator ends the process.
    Raises NotBegun where it refused the settings or could not even begin.
    """
    with tempfile.TemporaryFile() as log:
        process = _start([sys.executable, "-m", "llmjoules.runner.worker"], _environment(job.settings), log)
        assert process.stdin is not None
        assert process.stdout is not None
        draft: Failed | None = None
        began = False
        phase: events.PhaseBegan | None = None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                event = events.decode(line)
                if isinstance(event, events.Refused):
                    raise NotBegun(event.what, event.why, event.fix)
                if isinstance(event, events.Began):
                    draft, phase, began = event.draft, None, True
                elif isinstance(event, events.PhaseBegan):
                    phase = event
                elif isinstance(event, events.Finished):
                    draft = None
                yield event
                if isinstance(event, events.Finished):
                    process.stdin.write(b"\n")
                    process.stdin.flush()
        except (BrokenPipeError, msgspec.DecodeError):
            pass  # it died while it was spoken to or while it spoke: what it said before counts
        finally:
            _end(process)
        if draft is not None:
            yield events.Finished(msgspec.Raw(encode(_died(draft, phase, process.returncode, log))))
        elif not began:
            raise NotBegun("The measuring process could not begin.", _last_lines(log), "See llmjoules meters.")


def _start(command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C at the terminal reaches only us, and we end it in order."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def _environment(settings: Settings) -> dict[str, str]:
    environment = os.environ | QUIET
    if settings.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(settings.threads), "MKL_NUM_THREADS": str(settings.threads)}
    if settings.visible:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(settings.visible)
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when its input closes; a device call may hold it, so not for ever."""
    try:
        if process.stdin is not None:
            process.stdin.close()
    except OSError:
        pass
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def not_begun(job: events.Job, error: LlmjoulesError) -> Failed:
    """The failed record of the first repeat of a process that never began it."""
    settings = job.settings
    model = Model(name=settings.model_name, weights=job.weights, revision=job.revision)  # type: ignore[arg-type]
    workload = Workload(
        new_tokens=settings.new_tokens, batch_size=settings.batch_size, prompt_sha256=settings.prompt_sha256
    )
    return Failed(
        schema="llmjoules/1",
        id=new_id(),
        study=job.study,
        cell=settings.cell,
        class_=comparability_class((), model, workload),
        repeat=job.first_repeat,
        load=Load(id=job.load, first=True),
        clock=Clock(unix_s=time.time(), monotonic_s=time.monotonic()),
        model=model,
        workload=workload,
        system=bare_system(settings.system),
        phases=(),
        command=settings.command(job.first_repeat),
        error=Error(phase=None, message=" ".join(str(error).split())),
    )


def _died(draft: Failed, phase: events.PhaseBegan | None, code: int | None, log: IO[bytes]) -> Failed:
    """The failed record of a repeat whose process died, with the phases that it had finished."""
    last = _last_lines(log)
    message = f"the measuring process {_how(code)}" + (f": {last}" if last else "")
    draft.error = Error(phase=phase.name if phase is not None else None, message=message)
    draft.phases = phase.finished if phase is not None else ()
    return draft


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {code}"


def _last_lines(log: IO[bytes], lines: int = 1) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4000))
    text = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return without_home(" / ".join(text[-lines:]))[:500]
