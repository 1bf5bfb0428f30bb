"""Puts the simulated powermetrics and sudo where the meter looks for them, and sees to it that none is left behind."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent


class Simulator:
    """Programs named `powermetrics` and `sudo` in a temporary folder, run through the variables users have too."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = patch
        self._before = {child.pid for child in psutil.Process().children()}
        self._log = folder / "sudo.log"
        self._log.touch()
        for name in ("powermetrics", "sudo"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -IS\n" + (HERE / f"fake_{name}.py").read_text())
            program.chmod(0o755)
        patch.setenv("LLMJOULES_POWERMETRICS", str(folder / "powermetrics"))
        patch.setenv("LLMJOULES_SUDO", str(folder / "sudo"))
        patch.setenv("SIM_SUDO_LOG", str(self._log))

    def mode(self, powermetrics: str = "", sudo: str = "") -> None:
        self._patch.setenv("SIM_MODE", powermetrics)
        self._patch.setenv("SIM_SUDO", sudo)

    def tasks(self, *rows: tuple[int, int, float, int]) -> None:
        """Rows of (pid, parent, energy impact, CPU time in ns), beside those of other programs: 20 and 0.1 s."""
        self._patch.setenv("SIM_TASKS", json.dumps(rows))

    @property
    def sudo_calls(self) -> list[str]:
        return self._log.read_text().splitlines()

    def running(self) -> list[psutil.Process]:
        """Our programs, and zombies, which have no command line any more."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            is_zombie = process.ppid() == os.getpid() and process.status() == psutil.STATUS_ZOMBIE
            return (is_zombie and process.pid not in self._before) or str(self.folder) in " ".join(process.cmdline())
        except psutil.Error:
            return False

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
