"""What the README tells a user to type does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def planned(flags: str, requirement: str, installed: Path) -> subprocess.CompletedProcess[str]:
    """What pip would do without a registry, beside the packages in a folder."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps", *flags.split(), requirement]
    env = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(pip, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_torch_that_a_user_has_is_kept(tmp_path: Path) -> None:
    """One of another build than ours, as its metadata show it to pip (packaging.python.org, core metadata)."""
    folder = tmp_path / "torch-2.12.0+cu128.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.12.0+cu128\n")
    (folder / "RECORD").touch()
    readme = (ROOT / "README.md").read_text("utf-8")
    first, second = re.findall(r"^pip install (.*)'\.\[all\]'", readme, re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [torch] = [requirement for requirement in extras["measure"] if requirement.startswith("torch")]
    done = planned(second, torch, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Requirement already satisfied" in done.stdout
    pinned = planned(first, torch, tmp_path)  # for where there is no torch: it takes the one that was tested
    assert "Requirement already satisfied" not in pinned.stdout
