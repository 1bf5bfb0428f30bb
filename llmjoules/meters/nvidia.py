"""NVIDIA's driver library (NVML), what goes wrong with it, and which GPUs there are: shared by the meters that use it.

Nothing of NVIDIA's is imported before a session begins, so that a machine without it can list its meters.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec

from llmjoules.meters.types import Unavailable
from llmjoules.meters.visible import Gpu, visible
from llmjoules.records.record import Channel

Wanted: TypeAlias = Literal["all"] | tuple[Annotated[int, msgspec.Meta(ge=0)] | str, ...] | None

GAIN = 0.05  # of a board against an external meter: ±5 % is typical, ±10 % the worst seen; no two boards are alike
PASCAL, VOLTA, TURING, AMPERE, ADA, HOPPER = 4, 5, 6, 7, 8, 9
MOVES_WITHIN_S = 1.0
STANDS_STILL = "its energy counter stands still"

# NVML's error codes: what, why, what to do.
_ERRORS: dict[int, tuple[str, str, str]] = {
    4: ("No permission to use NVML.", "A container, a vGPU or the administrator forbids it.", "Ask for access."),
    8: ("An NVIDIA GPU lacks power.", "Its external power cables are not connected.", "Connect them."),
    9: (
        "The NVIDIA driver is not loaded.",
        "Its library is there, but its kernel module is not running.",
        "sudo modprobe nvidia, or reboot.",
    ),
    12: (
        "No NVIDIA driver library.",
        "libnvidia-ml.so.1 (Windows: nvml.dll) is not there.",
        "Install NVIDIA's driver. In Docker: --gpus all, with `utility` among NVIDIA_DRIVER_CAPABILITIES.",
    ),
    13: ("The NVIDIA driver is too old.", "Its library lacks a function that is needed.", "Update the driver."),
    15: ("An NVIDIA GPU is lost.", "It has fallen off the bus.", "Reboot."),
    16: ("An NVIDIA GPU must be reset.", "It says so itself.", "sudo nvidia-smi --gpu-reset, or reboot."),
    17: (
        "The operating system blocks NVML.",
        "A control group denies the device files /dev/nvidia*.",
        "Start the container or job with its GPU.",
    ),
    18: (
        "NVIDIA's driver and its library do not match.",
        "The driver was updated while it was loaded.",
        "Reboot, or unload the kernel module and load it again.",
    ),
}


class Board(NamedTuple):
    """A GPU. number: in order of PCI addresses, the N of gpu:N; nvml_index: NVML's own; mig: None if undivided."""

    number: int
    nvml_index: int
    handle: Any
    uuid: str
    pci: str
    name: str
    architecture: int
    mig: tuple[str, ...] | None

    @property
    def period_s(self) -> float:
        """How often its sensors are renewed: Yang, Adamek, Armour (SC24, arXiv 2312.02741)."""
        return 0.02 if self.architecture in (PASCAL, VOLTA) else 0.1

    @property
    def is_ga100(self) -> bool:
        return self.architecture == AMPERE and re.search(r"\b(A100|A800|A30)\b", self.name) is not None

    @property
    def duty(self) -> float:
        """The part of each period that its power sensor sees (same source). Of the energy counter nobody says how it
        comes about, so it is taken to see no more."""
        if self.is_ga100 or self.architecture == HOPPER:
            return 0.25
        return 0.5 if self.architecture in (PASCAL, VOLTA) else 1.0


def bindings() -> Any:
    """The module pynvml of nvidia-ml-py. Raises Unavailable without it, or where an older package stands in its way."""
    try:
        import pynvml
    except ImportError as error:
        raise Unavailable("No NVML bindings.", "nvidia-ml-py is not installed.", "pip install nvidia-ml-py") from error
    if not hasattr(pynvml, "_nvmlGetFunctionPointer"):  # as Zeus tells them apart
        raise Unavailable(
            "The NVML bindings are not NVIDIA's.",
            "An old package named pynvml stands in the way of nvidia-ml-py.",
            "pip uninstall pynvml; pip install nvidia-ml-py",
        )
    return pynvml


@contextmanager
def session() -> Iterator[Any]:
    """NVML, initialised: the bindings. Raises Unavailable where it cannot be."""
    nvml = bindings()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise unavailable(error) from error
    try:
        yield nvml
    except nvml.NVMLError as error:
        raise unavailable(error) from error
    finally:
        nvml.nvmlShutdown()


def unavailable(error: Any) -> Unavailable:
    what, why, fix = _ERRORS.get(error.value, (f"NVML failed: {error}.", f"Its error code is {error.value}.", ""))
    if error.value == 12 and sys.platform == "darwin":
        why, fix = "There is none for macOS.", ""
    return Unavailable(what, why, fix)


def find_boards(nvml: Any) -> tuple[list[Board], dict[str, str]]:
    """All GPUs in order of their PCI addresses, and those that do not answer, with the reason. Raises Unavailable."""
    found: list[Board] = []
    silent: dict[str, str] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            pci = nvml.nvmlDeviceGetPciInfo(handle)
            uuid, name = str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle))
        except nvml.NVMLError as error:
            silent[f"NVML's GPU {index}"] = str(error)
            continue
        address = f"{pci.domain:08x}:{pci.bus:02x}:{pci.device:02x}.0"
        architecture = ask(nvml, "nvmlDeviceGetArchitecture", handle) or 0
        found.append(Board(0, index, handle, uuid, address, name, architecture, _mig(nvml, handle)))
    if not found:
        why = f"{sentence(silent)}." if silent else "The driver knows of none."
        raise Unavailable("No NVIDIA GPU.", why, "In a container: start it with --gpus all.")
    found.sort(key=lambda board: board.pci)
    return [board._replace(number=number) for number, board in enumerate(found)], silent


def choose(boards: Sequence[Board], wanted: Wanted) -> tuple[list[Board], str | None]:
    """The boards asked for, else those that CUDA shows this process, with a note where that is not known.

    Raises Unavailable for one that is not there, or where none is visible.
    """
    if wanted is None:
        numbers, note = visible([Gpu(board.uuid, board.name, board.mig or ()) for board in boards], os.environ)
        if not numbers:
            value = os.environ.get("CUDA_VISIBLE_DEVICES")
            raise Unavailable("No GPU is visible.", f"CUDA_VISIBLE_DEVICES is {value!r}.", "Unset it, or name a GPU.")
        return [boards[number] for number in sorted(numbers)], note
    chosen: set[int] = set()
    for name in range(len(boards)) if wanted == "all" else wanted:
        fits = [b.number for b in boards if (b.number == name if isinstance(name, int) else b.uuid.startswith(name))]
        if len(fits) != 1:
            known = ", ".join(f"{board.number} ({board.uuid})" for board in boards)
            raise Unavailable(f"No such GPU: {name}.", f"There are: {known}.", "Name one of them in the option gpus.")
        chosen.update(fits)
    return [boards[number] for number in sorted(chosen)], None


def standing_still(nvml: Any, boards: Sequence[Board]) -> set[int]:
    """Numbers of the boards whose energy counters do not move within a second. Takes one tick where all of them do."""
    first = {board.number: energy_mj(nvml, board) for board in boards}
    still = [board for board in boards if first[board.number] is not None]
    deadline = time.monotonic() + MOVES_WITHIN_S
    while still and time.monotonic() < deadline:
        time.sleep(0.005)
        still = [board for board in still if energy_mj(nvml, board) == first[board.number]]
    return {board.number for board in still}


def energy_mj(nvml: Any, board: Board) -> int | None:
    """The running total as NVML gives it; None where the board has none."""
    total: int | None = ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", board.handle)
    return total


def counter(board: Board, *remarks: str | None) -> Channel:
    """The channel of a board's energy counter."""
    return Channel(
        id=f"gpu:{board.number}",
        component="gpu",
        kind="counter",
        period_s=board.period_s,
        resolution=0.001,
        duty=board.duty,
        gain=GAIN,
        uuid=board.uuid,
        pci=board.pci,
        note=note_of(board, *remarks),
    )


def _sees(board: Board) -> str | None:
    period_ms = 1000 * board.period_s
    return None if board.duty == 1 else f"the sensor sees {board.duty * period_ms:g} ms of every {period_ms:g} ms"


def note_of(board: Board, *remarks: str | None) -> str | None:
    divided = "whole GPU, shared by MIG" if board.mig is not None else None
    return "; ".join(filter(None, (divided, _sees(board), *remarks))) or None


def ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """The answer, or None where board, driver or bindings do not give it."""
    try:
        return getattr(nvml, function)(*arguments)
    except (AttributeError, nvml.NVMLError):
        return None


def sentence(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _mig(nvml: Any, handle: Any) -> tuple[str, ...] | None:
    if not (ask(nvml, "nvmlDeviceGetMigMode", handle) or [0])[0]:
        return None
    places = range(ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0)
    instances = [ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, place) for place in places]
    uuids = [ask(nvml, "nvmlDeviceGetUUID", instance) for instance in instances if instance is not None]
    return tuple(str(uuid) for uuid in uuids if uuid is not None)
