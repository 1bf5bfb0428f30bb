"""Weight files in and out of the page cache, against what util-linux says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmjoules.runner.coldstart import page_cache
from llmjoules.runner.settings import Settings
from tests.runner.conftest import Measured

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what lies in its page cache")


@pytest.fixture
def weights() -> Iterator[Path]:
    """In the repository's own folder: the one for temporary files may be kept in memory."""
    folder = Path(__file__).parent / f".weights-{os.getpid()}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(2_000_001))
    yield folder
    shutil.rmtree(folder)


@linux
def test_what_was_just_written_lies_in_memory_and_can_be_dropped(weights: Path) -> None:
    before = page_cache(weights, "as-is")
    assert (before.resident, before.reason) == (1.0, None)
    dropped = page_cache(weights, "drop")
    assert dropped.resident < 1.0
    (weights / "model.safetensors").read_bytes()
    assert page_cache(weights, "as-is").resident == 1.0


@linux
@pytest.mark.skipif(shutil.which("fincore") is None, reason="util-linux's fincore is not installed")
def test_the_part_is_that_of_fincore(weights: Path) -> None:
    file = weights / "model.safetensors"
    page_cache(weights, "drop")
    with file.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        os.pread(stream.fileno(), 400_000, 0)
    said = subprocess.run(["fincore", "-nb", "-o", "pages", str(file)], capture_output=True, text=True, check=True)
    pages = -(-file.stat().st_size // os.sysconf("SC_PAGE_SIZE"))
    assert page_cache(weights, "as-is").resident == pytest.approx(int(said.stdout) / pages, abs=1e-4)


def test_without_weight_files_nothing_is_said_of_them(tmp_path: Path) -> None:
    found = page_cache(tmp_path, "as-is")
    assert found.resident is None
    assert found.reason.startswith("no_files: ")


def test_only_the_run_that_loads_says_where_the_weights_were(three_runs: Measured) -> None:
    first, *later = three_runs.records
    assert first.page_cache.asked == "as-is"
    assert first.page_cache.resident is not None or first.page_cache.reason
    assert not any(hasattr(run.page_cache, "asked") for run in later)


def test_a_dropped_cache_is_another_cell_and_replays_are_not() -> None:
    cell = Settings(model="m").cell
    assert Settings(model="m", page_cache="drop").cell != cell
    assert Settings(model="m", replay=True, cool_down_s=60.0).cell == cell
