"""GPUs that are not there: a scripted libnvidia-ml.so.1 behind the real bindings, and the joules that are true of it.

In this process it is put in the place of the library that pynvml would load (fixture `rig`); for a child process, name
its folder in LD_LIBRARY_PATH (`Stub.environment`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from math import cos, floor, inf, pi
from pathlib import Path
from typing import NamedTuple

import pytest

from llmjoules import Window

LIBRARY = "libnvidia-ml.so.1"
SCRIPT = "LLMJOULES_NVML_STUB"
KEPLER, PASCAL, VOLTA, AMPERE, HOPPER = 2, 4, 5, 7, 9


def uuid(number: int) -> str:
    return f"GPU-{number:08x}-1111-2222-3333-444455556666"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU and its power over `time.monotonic()`; the fields are explained in nvml_stub.c, in struct gpu."""

    uuid: str = uuid(0)
    name: str = "NVIDIA H100 80GB HBM3"
    mig_uuid: str = ""
    bus: int = 1
    arch: int = HOPPER
    base: float = 90.0
    wave: float = 0.0
    wave_s: float = 1.0
    pulse: float = 0.0
    pulse_s: float = 1.0
    step: float = 0.0
    step_at: float = inf
    tick: float = 0.1
    phase: float = 0.037
    jitter: float = 0.002
    mean: float = 0.025
    counter_mean: float = 0.0
    duty: float = 0.0
    latency: float = 0.0
    reset_at: float = inf
    lost_at: float = inf
    zero: float = field(default_factory=lambda: time.monotonic() - 100)
    energy: int = 1
    stuck: int = 0
    usage: int = 1
    instant: int = 1
    module: int = 0
    state: int = 1

    def line(self) -> str:
        return "\t".join(["gpu", *(f"{f.name}={getattr(self, f.name)}" for f in fields(self))])

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The true integral of the power."""
        return self._total_j(end_s) - self._total_j(start_s)

    def _total_j(self, t_s: float) -> float:
        pulses = t_s / self.pulse_s
        wave_j = -self.wave * self.wave_s / (2 * pi) * cos(2 * pi * t_s / self.wave_s)
        pulse_j = self.pulse * self.pulse_s * (floor(pulses) / 2 + min(pulses % 1, 0.5))
        step_j = self.step * (t_s - self.step_at) if t_s > self.step_at else 0.0
        return self.base * t_s + wave_j + pulse_j + step_j


def held(gpu: Gpu, windows: Iterable[Window], channel: str) -> bool:
    """Do the stated bands hold the truth? They are of 95 %: one of these windows may lie outside its own, none by far.

    At a steady power a band may be 0.00 J, and rounding is not.
    """
    errors = []
    for window in windows:
        joules, uncertainty_j = window.joules(channel), window.uncertainty_j(channel)
        assert window.end_s is not None
        assert joules is not None, window.reason(channel)
        assert uncertainty_j is not None
        errors.append(abs(joules - gpu.energy_j(window.start_s, window.end_s)) / (uncertainty_j + 0.02))
    return max(errors) <= 1.5 and sum(error > 1 for error in errors) <= 1


def script(*gpus: Gpu, init: int = 0) -> str:
    return "\n".join([f"init={init}", *(gpu.line() for gpu in gpus)])


class Stub(NamedTuple):
    """The built library."""

    path: Path

    def environment(self, *gpus: Gpu, init: int = 0, **more: str) -> dict[str, str]:
        """For a child process that finds it as it would find NVIDIA's."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CUDA_", "LD_LIBRARY"))}
        return inherited | {"LD_LIBRARY_PATH": str(self.path.parent), SCRIPT: script(*gpus, init=init)} | more


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Stub:
    """Built without a SONAME, so that having it open here does not shadow a real library of this machine."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("nvml") / LIBRARY
    source = Path(__file__).with_name("nvml_stub.c")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, source, "-lm"]
    subprocess.run(command, check=True)
    return Stub(path)


Install = Callable[..., None]


@contextmanager
def installed(stub: Stub) -> Iterator[Install]:
    """install(gpu, gpu, init=0): what the real bindings find in this process. Every session must have been ended."""
    import pynvml

    library = ctypes.CDLL(str(stub.path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynvml, "nvmlLib", library)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
            patch.delenv(variable, raising=False)
        yield lambda *gpus, init=0: patch.setenv(SCRIPT, script(*gpus, init=init))
    assert library.nvmlStubSessions() == 0, "a session of NVML is left open"


@pytest.fixture
def rig(stub: Stub) -> Iterator[Install]:
    with installed(stub) as install:
        yield install
