"""The rungs of a ladder: which GPUs a measuring process sees."""

from __future__ import annotations

import os
from collections.abc import Sequence

from llmjoules.meters.nvidia import find_boards, session
from llmjoules.meters.types import Unavailable
from llmjoules.meters.visible import Gpu, visible
from llmjoules.records.errors import LlmjoulesError


def gpus_here() -> list[str]:
    """UUIDs of the GPUs that this process may use, in order of their PCI addresses; none where there is no driver."""
    try:
        with session() as nvml:
            boards, _ = find_boards(nvml)
    except Unavailable:
        return []
    if any(board.mig for board in boards):
        raise LlmjoulesError(
            "--devices cannot count MIG instances.",
            "A GPU here is divided, and which of its parts make a rung is not ours to choose.",
            "Name them in CUDA_VISIBLE_DEVICES, and leave --devices out.",
        )
    gpus = [Gpu(board.uuid, board.name) for board in boards]
    return [gpus[number].uuid for number in visible(gpus, os.environ).numbers]


def rungs(devices: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The GPUs of each rung: the first of those that may be used. Raises LlmjoulesError where there are too few."""
    here = gpus_here()
    for number in devices:
        if number < 1:
            raise LlmjoulesError(
                f"--devices {number} cannot be run.", "A rung has at least one.", "Give another number."
            )
    if not here:
        raise LlmjoulesError(
            f"--devices {','.join(map(str, devices))} cannot be run.",
            "No NVIDIA GPU can be used here (llmjoules doctor says why).",
            "On a CPU the rungs are threads: --threads 1,2",
        )
    if max(devices) > len(here):
        fitting = ",".join(str(number) for number in devices if number <= len(here))
        raise LlmjoulesError(
            f"--devices {max(devices)} cannot be run.",
            f"This process may use {len(here)} of this machine's GPUs.",
            f"Take those that fit: --devices {fitting or len(here)}",
        )
    return {number: tuple(here[:number]) for number in devices}
