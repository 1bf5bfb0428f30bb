"""Which versions of what are installed, without importing any of it, and whether torch sees the GPUs that NVML sees."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from llmjoules.meters import guard, nvidia
from llmjoules.meters.types import Unavailable

LIBRARIES = (
    "llmjoules",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "nvidia-ml-py",
    "pyJoules",
    "zeus-apple-silicon",
    "msgspec",
    "pluggy",
    "psutil",
    "rich",
    "platformdirs",
    "jinja2",
    "plotly",
)
TORCH_LIMIT_S = 30.0
_ASK_TORCH = """
import json, torch
cuda = torch.cuda
count = cuda.device_count() if cuda.is_available() else 0
print(json.dumps({"gpus": [cuda.get_device_name(i) for i in range(count)],
                  "built_for": torch.version.cuda and "CUDA " + torch.version.cuda or
                               getattr(torch.version, "hip", None) and "ROCm " + torch.version.hip or "CPU"}))
"""


class Torch(NamedTuple):
    """gpus: names of those that torch sees; None where it was not asked, or gave no answer: then `why`."""

    gpus: tuple[str, ...] | None
    built_for: str | None = None
    why: str | None = None


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for library in LIBRARIES:
        found[library] = version_of(library)
    old = version_of("pynvml")
    return found | ({"pynvml": old} if old is not None else {})


def version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def old_pynvml() -> str | None:
    """Up to 11 the package pynvml had a module of its own; from 12 on it only leads to NVIDIA's."""
    found = version_of("pynvml")
    if found is None or not found.partition(".")[0].isdigit() or int(found.partition(".")[0]) >= 12:
        return None
    return (
        f"The old package pynvml {found} stands in the way of NVIDIA's nvidia-ml-py: "
        "pip uninstall pynvml; pip install --force-reinstall nvidia-ml-py"
    )


def gpus_of_nvml() -> tuple[str, ...]:
    """Names of the GPUs that NVML sees, whatever is visible to CUDA; none where it cannot be asked."""

    def ask() -> tuple[str, ...]:
        with nvidia.session() as nvml:
            return tuple(board.name for board in nvidia.find_boards(nvml)[0])

    try:
        return guard.call("nvml", "asking NVML for its GPUs", ask)
    except (Unavailable, guard.PluginFault):
        return ()


def ask_torch() -> Torch:
    """In a process of its own: importing torch takes seconds, may crash, and is nothing to have in this one."""
    if version_of("torch") is None:
        return Torch(None, why="torch is not installed")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=TORCH_LIMIT_S, check=False
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        return Torch(tuple(answer["gpus"]), str(answer["built_for"]))
    except subprocess.TimeoutExpired:
        return Torch(None, why=f"torch was not imported within {TORCH_LIMIT_S:g} s")
    except (OSError, ValueError, LookupError):
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it ended without a word")
        return Torch(None, why=f"importing torch failed: {last.strip()[:200]}")


def torch_misses_gpus(gpus: tuple[str, ...], torch: Torch) -> str | None:
    """A sentence where NVML sees GPUs and torch does not see one."""
    if not gpus or torch.gpus:
        return None
    there = f"NVML sees {len(gpus)} GPU{'' if len(gpus) == 1 else 's'} ({', '.join(dict.fromkeys(gpus))})"
    if torch.gpus is None:
        return f"{there}, but whether torch sees one is not known: {torch.why}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"{there}, but torch sees no GPU: CUDA_VISIBLE_DEVICES hides all of them; unset it"
    return (
        f"{there}, but torch sees no GPU (it is built for {torch.built_for}): install a CUDA build; "
        "measurements would run on the CPU"
    )
