"""Real measurements with tiny models and the mock meter, each made once and looked at by many tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from llmjoules.records.record import Energy, Failed, Run
from llmjoules.records.store import BadLine, read_results
from llmjoules.runner.models import resolve

Cli = Callable[..., subprocess.CompletedProcess[str]]


class Measured(NamedTuple):
    done: subprocess.CompletedProcess[str]
    folder: Path
    records: list[Run | Failed]
    bad: list[BadLine]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache folder: what a newcomer has."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cache), "HF_HOME": str(cache / "hf")}


@pytest.fixture(scope="session")
def cli(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `llmjoules` as a user would, in a folder of its own."""
    folder = tmp_path_factory.mktemp("work")

    def run(
        *arguments: str, env_more: dict[str, str] | None = None, **more: object
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmjoules", *arguments]
        env = environment | (env_more or {})
        options = {"cwd": folder, "env": env, "capture_output": True, "text": True, "timeout": 240} | more
        return subprocess.run(command, check=False, **options)  # type: ignore[call-overload, no-any-return]

    return run


def read(folder: Path) -> tuple[list[Run | Failed], list[BadLine]]:
    bad: list[BadLine] = []
    records = [stored.record for stored in read_results([folder], bad.append)]
    return records, bad  # type: ignore[return-value]


def held(energies: Sequence[Energy], truths_j: Sequence[float]) -> bool:
    """Do the stated bands hold the truth? They are of 95 %: on a busy machine one in ten may not, but none by far."""
    errors = [
        abs((e.joules or 0.0) - truth_j) / (e.uncertainty_j or 0.0)
        for e, truth_j in zip(energies, truths_j, strict=True)
    ]
    return max(errors, default=0.0) <= 2 and sum(error > 1 for error in errors) <= 1 + 0.1 * len(errors)


@pytest.fixture(scope="session")
def measure(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Measured]:
    def run(*arguments: str, **more: object) -> Measured:
        folder = tmp_path_factory.mktemp("results")
        done = cli("measure", "--out", str(folder), *arguments, **more)
        return Measured(done, folder, *read(folder))

    return run


@pytest.fixture(scope="session")
def three_runs(measure: Callable[..., Measured]) -> Measured:
    """Three runs of one load with the mock meter."""
    words = "--model dummy:llama-tiny --meter mock --repeats 3 --loads 1 --new-tokens 20 --idle 0.3"
    measured = measure(*words.split())
    assert measured.done.returncode == 0, measured.done.stderr
    return measured


@pytest.fixture(scope="session")
def llama_tiny(environment: dict[str, str]) -> Path:
    """The folder of the tiny dummy, as a measurement finds or builds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
        return resolve("dummy:llama-tiny", lambda _: None).path


@pytest.fixture(scope="session")
def of_a_folder(measure: Callable[..., Measured], llama_tiny: Path) -> Measured:
    """One run of a local folder, in another precision than that of its file."""
    words = f"--model {llama_tiny} --meter mock --repeats 1 --new-tokens 4 --idle 0 --warm-up 0 --dtype bfloat16"
    return measure(*words.split())
