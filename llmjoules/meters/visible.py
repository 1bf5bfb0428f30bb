"""Which GPUs CUDA shows this process: CUDA_VISIBLE_DEVICES in all its forms. NVML shows all and knows nothing of it.

Parsed as torch does it (torch/cuda/__init__.py): entries after an invalid one are ignored, one named twice hides all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple


class Gpu(NamedTuple):
    """mig: uuids of the MIG instances on it."""

    uuid: str
    name: str
    mig: tuple[str, ...] = ()


class Visible(NamedTuple):
    """numbers: places in the list of GPUs that was given. note: where all are named because it is not known which."""

    numbers: tuple[int, ...]
    note: str | None = None


def uuids_of_torch() -> list[str] | None:
    """The GPUs in CUDA's own order, from a torch that this process has already started on them; else None."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return None
        return [str(torch.cuda.get_device_properties(n).uuid) for n in range(torch.cuda.device_count())]
    except (AttributeError, AssertionError, RuntimeError):  # a torch without CUDA, or too old to tell uuids
        return None


def visible(
    gpus: Sequence[Gpu],
    environment: Mapping[str, str],
    torch_uuids: Callable[[], Sequence[str] | None] = uuids_of_torch,
) -> Visible:
    """Those of `gpus` (all of the machine, in order of their PCI addresses) that CUDA uses in this process.

    CUDA counts the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID. Among different models only CUDA itself knows
    which that is: then all are named, with a note, rather than one guessed.
    """
    everything = tuple(range(len(gpus)))
    text = environment.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return Visible(everything)
    if text.startswith("GPU-"):
        return Visible(_distinct(_places(text, "GPU-", [[gpu.uuid] for gpu in gpus])))
    if text.startswith("MIG-"):
        instances = [[*gpu.mig, f"MIG-{gpu.uuid}/"] for gpu in gpus]
        return Visible(tuple(dict.fromkeys(_places(text, "MIG-", instances))))
    ordinals = _ordinals(text, len(gpus))
    known = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in gpus}) <= 1
    if known or len(ordinals) in (0, len(gpus)):
        return Visible(ordinals)
    found = torch_uuids()
    if found is not None:
        used = tuple(n for n, gpu in enumerate(gpus) if any(_bare(uuid) in _bares(gpu) for uuid in found))
        if used:
            return Visible(used)
    return Visible(
        everything,
        f"all GPUs are measured: CUDA_VISIBLE_DEVICES={text} counts in CUDA's order, which differs from PCI order "
        "among different models; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name uuids",
    )


def _ordinals(text: str, count: int) -> tuple[int, ...]:
    """CUDA reads an entry like strtoul: `1gpu` is 1, and what begins with no digit is invalid."""
    found: list[int] = []
    for entry in text.split(","):
        digits = re.match(r"[+-]?[0-9]+", entry.strip())
        number = int(digits.group()) if digits else -1
        if number in found:
            return ()
        if number < 0:
            break
        found.append(number)
    return tuple(takewhile(lambda number: number < count, found))


def _places(text: str, prefix: str, names: Sequence[Sequence[str]]) -> list[int]:
    """Which GPU each entry means: one with a name that begins with it; a name that ends in `/` may begin the entry."""
    entries = list(takewhile(lambda entry: entry.startswith(prefix), text.split(",")))
    if len(set(entries)) < len(entries):
        return []
    found: list[int] = []
    for entry in entries:
        fits = [
            n
            for n, own in enumerate(names)
            if any(name.startswith(entry) or (name.endswith("/") and entry.startswith(name)) for name in own)
        ]
        if len(fits) != 1:
            break  # unknown, or a prefix of several
        found += fits
    return found


def _distinct(places: Sequence[int]) -> tuple[int, ...]:
    return tuple(places) if len(set(places)) == len(places) else ()


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()


def _bares(gpu: Gpu) -> set[str]:
    return {_bare(uuid) for uuid in (gpu.uuid, *gpu.mig)}
