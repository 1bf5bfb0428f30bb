"""A load that can be switched on and off at a known instant, in processes of its own: the CPU's, or a GPU's by torch.

This file is also the program that these processes run, so it needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any, Literal, NamedTuple, NoReturn

READY_LIMIT_S = {"cpu": 10.0, "gpu": 60.0}  # importing torch and starting CUDA takes long on a cold disk
WORK = 20_000  # steps between two looks at the switch: a millisecond


class NoLoad(Exception):
    """No such load can be had here, and why."""


class Load:
    """Child processes that wait to be switched on. Use as a context; they end with this process at the latest."""

    def __init__(self, kind: Literal["cpu", "gpu"], processes: int = 1) -> None:
        self.kind = kind
        self.description = f"{processes} busy process{'' if processes == 1 else 'es'}" if kind == "cpu" else "torch"
        self._children = [_Child(kind) for _ in range(processes)]

    def __enter__(self) -> Load:
        """Raises NoLoad where a child does not get ready."""
        deadline = time.monotonic() + READY_LIMIT_S[self.kind]
        try:
            for child in self._children:
                said = child.said(deadline)
                if not said.startswith("ready"):
                    raise NoLoad(said)
                self.description = said.removeprefix("ready").strip() or self.description
        except NoLoad:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.end()

    def switch(self, *, on: bool) -> float:
        """The time at which it was switched."""
        for child in self._children:
            child.tell("on" if on else "off")
        return time.monotonic()


class _Child:
    def __init__(self, kind: str) -> None:
        # -P: or this folder would go first on the path, with its types.py before Python's.
        command = [sys.executable, "-P", __file__, kind]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            self.lines.put(self.process.stdout.readline().strip())

    def said(self, deadline_s: float) -> str:
        try:
            return self.lines.get(timeout=max(deadline_s - time.monotonic(), 0.1)) or "it ended at once"
        except queue.Empty:
            return "it was not ready in time"

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it may have died; the channels will show no step then
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


def cpu_processes() -> int:
    """All CPUs that we may use but one: the readings have to go on."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(allowed - 1, 1)


# ---- in the child ----


class _Torch(NamedTuple):
    module: Any
    matrices: list[Any]


def _child(kind: str) -> NoReturn:
    switched_on = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            switched_on.set() if line.strip() == "on" else switched_on.clear()
        os._exit(0)  # our parent has gone

    gpu = _gpus() if kind == "gpu" else None
    threading.Thread(target=listen, daemon=True).start()
    _say(f"ready torch on {len(gpu.matrices)} GPU(s)" if gpu is not None else "ready")
    while True:
        switched_on.wait()
        _work_cpu() if gpu is None else _work_gpu(gpu)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _gpus() -> _Torch:
    try:
        import torch
    except ImportError:
        _say("torch is not installed")
        raise SystemExit(1) from None
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    if not names and torch.backends.mps.is_available():
        names = ["mps"]
    if not names:
        _say("torch sees no GPU")
        raise SystemExit(1)
    loaded = _Torch(torch, [torch.randn(4096, 4096, device=name, dtype=torch.float16) for name in names])
    _work_gpu(loaded)  # the first time libraries are loaded and kernels chosen
    return loaded


def _work_gpu(gpu: _Torch) -> None:
    for matrix in gpu.matrices:
        for _ in range(4):
            matrix @ matrix
    for matrix in gpu.matrices:
        gpu.module.mps.synchronize() if matrix.device.type == "mps" else gpu.module.cuda.synchronize(matrix.device)


def _work_cpu() -> None:
    number = 1
    for _ in range(WORK):
        number = number * 1_103_515_245 + 12_345 & 0x7FFF_FFFF


if __name__ == "__main__":
    _child(sys.argv[1])
