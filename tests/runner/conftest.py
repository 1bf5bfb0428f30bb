"""Real measurements with tiny models and the mock meter, each made once and looked at by many tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from llmjoules.records.record import Failed, Run
from llmjoules.records.store import BadLine, read_results

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
    words = "--model dummy:llama-tiny --meter mock --repeats 3 --loads 1 --new-tokens 20"
    measured = measure(*words.split())
    assert measured.done.returncode == 0, measured.done.stderr
    return measured


@pytest.fixture(scope="session")
def llama_tiny(three_runs: Measured, cache: Path) -> Path:
    """The folder of the tiny dummy that the first measurement has built."""
    return next((cache / "llmjoules" / "models" / "dummy").glob("llama-tiny-*"))
