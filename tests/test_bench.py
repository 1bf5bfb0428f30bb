"""The command of `make bench`: it names its sections and measures nothing by mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench.bench", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)


def test_help_names_every_section() -> None:
    done = bench("--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.split()
    assert all(f"{name}:" in words for name in ("costs", "import", "meters", "protocol", "site", "statistics"))


def test_an_unknown_section_is_answered_with_the_nearest() -> None:
    done = bench("statistic")
    assert (done.returncode, done.stdout) == (2, "")
    assert "The nearest known name is statistics." in done.stderr
    assert "Traceback" not in done.stderr
