"""The way of the study: the same counters as the meters nvml and rapl, read through the devices of pyJoules.

pyJoules 0.5.1 gives NVIDIA energy in millijoules; its unreleased head gives microjoules under the same version and
names. Which of them it is, is found out by reading NVML beside it. pyJoules knows no wrap, no missing permission and no
GPU without a counter, so each domain is a device of its own, chosen here and never by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmjoules.meters import nvidia
from llmjoules.meters.guard import describe
from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.nvidia import Board, Wanted
from llmjoules.meters.rapl import RENEWED_EVERY_S, RESOLUTION_J
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.record import Channel

UNITS_J = {"mJ": 1e-3, "µJ": 1e-6}


class PyJoulesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """gpus: as of the meter nvml."""

    gpus: Wanted = None


class Domain(NamedTuple):
    """A domain of pyJoules, as `repr` shows it: `nvidia_gpu_0`, `package_0`, `dram_0`."""

    domain: Any
    unit: str
    channel: Channel


class PyJoules(Meter):
    name = "pyjoules"
    summary = "NVIDIA GPUs, CPU packages and memory through pyJoules, as the study measured them"
    auto = False
    Options = PyJoulesOptions

    def __init__(self, options: PyJoulesOptions | None = None) -> None:
        super().__init__(options)
        self._domains: list[Domain] = []
        self._left_out: dict[str, str] = {}
        self._open: list[tuple[Domain, Any]] = []  # with pyJoules' device of each

    def probe(self) -> list[Channel]:
        try:
            from pyJoules.device import nvidia_device, rapl_device
        except ImportError as error:
            raise Unavailable("pyJoules is not installed.", f"{error}.", "pip install pyJoules nvidia-ml-py") from error
        self._left_out = {}
        self._domains = [*self._gpus(nvidia_device), *self._rapl(rapl_device)]
        if not self._domains:
            fix = "What to do is told by the meters nvml and rapl: llmjoules meters"
            raise Unavailable("pyJoules can read nothing here.", f"{nvidia.sentence(self._left_out)}.", fix)
        return [domain.channel for domain in self._domains]

    def open(self) -> None:
        if not self._domains:
            self.probe()
        for domain in self._domains:
            try:
                self._open.append((domain, _device(domain.domain)))
            except Exception:  # a GPU that was lost since; then its readings are missing
                continue

    def read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        problem: Exception | None = None
        for domain, device in self._open:
            try:
                [value] = device.get_energy()
                found[domain.channel.id] = value * UNITS_J[domain.unit]
            except Exception as error:  # NVMLError, OSError, ValueError: one that fails leaves the others
                problem = error
        if not found and problem is not None:
            raise problem
        return found

    def close(self) -> None:
        opened, self._open = self._open, []
        for domain, _ in opened:
            _release(domain.domain)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "pyjoules": version("pyJoules"),
            "domains": {domain.channel.id: repr(domain.domain) for domain in self._domains},
            "units": {domain.channel.id: domain.unit for domain in self._domains},
            "left_out": self._left_out,
        }

    def _gpus(self, library: Any) -> Iterator[Domain]:
        """A domain for each visible GPU with an energy counter that moves."""
        try:
            with nvidia.session() as nvml:
                boards, silent = nvidia.find_boards(nvml)
                self._left_out |= silent
                chosen, note = nvidia.choose(boards, self.options.gpus)
                still = nvidia.standing_still(nvml, chosen)
                for board in chosen:
                    name = f"gpu:{board.number}"
                    domain = library.NvidiaGPUDomain(board.nvml_index)
                    if board.number in still:
                        self._left_out[name] = nvidia.STANDS_STILL
                        continue
                    unit, why = _unit_of_gpu(nvml, board, domain)
                    if unit is None:
                        self._left_out[name] = why
                    else:
                        yield Domain(domain, unit, nvidia.counter(board, note))
        except Unavailable as error:
            if self.options.gpus is not None:  # these very GPUs were asked for
                raise
            self._left_out["gpu"] = " ".join(filter(None, (error.what, error.why))).rstrip(".")

    def _rapl(self, library: Any) -> Iterator[Domain]:
        """A domain for each package, and for its memory, that this user may read."""
        device = library.RaplDevice
        try:
            domains = [*device.available_package_domains(), *device.available_dram_domains()]
        except OSError as error:
            domains = []
            self._left_out["cpu"] = str(error)
        if not domains and "cpu" not in self._left_out:
            self._left_out["cpu"] = f"{library.RAPL_API_DIR} holds no zone named package-N as pyJoules wants it"
        for domain in domains:
            name = f"{'cpu' if domain.get_domain_name() == 'package' else 'dram'}:{domain.socket}"
            try:
                reading = _device(domain)
                reading.get_energy()
                yield Domain(domain, "µJ", _rapl_channel(name, reading))
            except PermissionError as error:
                self._left_out[name] = (
                    f"no permission to read {error.filename}: sudo chmod -R a+r {library.RAPL_API_DIR}"
                )
            except (OSError, ValueError) as error:
                self._left_out[name] = str(error)


def _device(domain: Any) -> Any:
    """pyJoules' device for this domain alone; to be released."""
    device = domain.get_device_type()()
    try:
        device.configure([domain])
    except Exception:
        _release(domain)
        raise
    return device


def _release(domain: Any) -> None:
    """pyJoules begins a session of NVML with every device for GPUs, and never ends it."""
    if hasattr(domain, "device_id"):
        nvidia.bindings().nvmlShutdown()


def _unit_of_gpu(nvml: Any, board: Board, domain: Any) -> tuple[str | None, str]:
    """The unit in which pyJoules gives this GPU's energy; or None, and why the GPU is left out."""
    direct_mj = nvidia.energy_mj(nvml, board)
    if direct_mj is None:
        return None, f"{board.name} has no energy counter, and pyJoules reads nothing else"
    try:
        device = _device(domain)
        try:
            [value] = device.get_energy()
        finally:
            _release(domain)
    except Exception as error:
        return None, f"pyJoules cannot read it: {describe(error)}"
    ratio = value / direct_mj if direct_mj else 0.0
    for unit, expected in (("mJ", 1.0), ("µJ", 1000.0)):
        if expected / 2 < ratio < expected * 2:
            return unit, ""
    return None, f"pyJoules gives {value:g} where NVML has {direct_mj:g} mJ: in which unit is not known"


def _rapl_channel(name: str, device: Any) -> Channel:
    """The channel of a zone, with where it wraps; pyJoules keeps the file's name to itself."""
    [file] = device._api_file_names
    try:
        wraps_at_j = int(Path(file).with_name("max_energy_range_uj").read_text()) / 1e6
    except (OSError, ValueError):
        wraps_at_j = None
    return Channel(
        id=name,
        component="cpu" if name.startswith("cpu") else "dram",
        kind="counter",
        period_s=RENEWED_EVERY_S,
        resolution=RESOLUTION_J,
        wraps_at_j=wraps_at_j or None,
    )


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [PyJoules]
