"""In CI a skip is a failure, unless nothing there could help it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPING = """
import pytest

def test_passes(): pass
def test_skips(): pytest.skip("no browser")
@pytest.mark.skipif(True, reason="no model")
def test_skips_by_mark(): pass
@pytest.mark.hardware
def test_skips_for_hardware(): pytest.skip("no GPU")
def test_skips_for_shared(): pytest.skip("needs ../shared: not in this checkout")
@pytest.mark.xfail(strict=True)
def test_expected_failure(): assert False
"""


def outcome(folder: Path, text: str, ci: bool) -> tuple[int, str, str]:
    shutil.copy(CONFTEST, folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = hardware: needs a device\n")
    (folder / "test_sample.py").write_text(text)
    environment = {**os.environ, "LLMJOULES_CI": "1" if ci else ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--color=no", "."],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = re.sub(r" in [\d.]+s| =+|=+ ", "", done.stdout.strip().splitlines()[-1])
    return done.returncode, counts, done.stdout


def test_a_skip_in_ci_is_a_failure_with_its_reason_unless_it_needs_hardware_or_shared(tmp_path: Path) -> None:
    code, counts, text = outcome(tmp_path, SKIPPING, ci=True)
    assert (code, counts) == (1, "1 failed, 1 passed, 2 skipped, 1 xfailed, 1 error")
    assert "Skipped, which is a failure in CI: no browser" in text
    assert "Skipped, which is a failure in CI: no model" in text


def test_a_skip_elsewhere_is_a_skip(tmp_path: Path) -> None:
    assert outcome(tmp_path, SKIPPING, ci=False)[:2] == (0, "1 passed, 4 skipped, 1 xfailed")


@pytest.mark.parametrize(("ci", "expected"), [(True, (2, "1 error")), (False, (5, "1 skipped"))])
def test_a_module_that_skips_as_a_whole_fails_in_ci_too(tmp_path: Path, ci: bool, expected: tuple[int, str]) -> None:
    text = 'import pytest\npytest.importorskip("no_such_module_at_all")\ndef test_never_seen(): pass\n'
    assert outcome(tmp_path, text, ci)[:2] == expected
