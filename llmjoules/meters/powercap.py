"""Where the kernel's powercap tree is."""

from __future__ import annotations

import os
from pathlib import Path


def powercap_root() -> Path:
    """`/sys/class/powercap`, or what LLMJOULES_POWERCAP names: containers mask the first and may mount it elsewhere."""
    return Path(os.environ.get("LLMJOULES_POWERCAP") or "/sys/class/powercap")
