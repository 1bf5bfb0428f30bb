"""NVIDIA GPUs through the driver's own library (NVML): an energy counter where there is one, else power.

Every GPU of the machine is numbered in the order of PCI addresses, whatever is visible, so that `gpu:1` is the same
board in every run. What a GPU supports is found out function by function: some report power and no energy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import msgspec

from llmjoules.meters import nvidia
from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.nvidia import Board, Wanted
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.record import Channel

POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT, of scope GPU or MODULE
NO_DATA = 21
_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # of a field, by its valueType

THROTTLING = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}


class NvmlOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """gpus: "all", or numbers in PCI order and uuids (a beginning will do); else those that CUDA shows this process."""

    gpus: Wanted = None


class Route(NamedTuple):
    """How one figure of a board is read. read: NVML, a handle -> joules or watts; raises NVMLError."""

    method: str
    read: Callable[[Any, Any], float]
    channel: Channel


class Nvml(Meter):
    name = "nvml"
    summary = "NVIDIA GPUs, from the driver's energy counters or power readings"
    Options = NvmlOptions

    def __init__(self, options: NvmlOptions | None = None) -> None:
        super().__init__(options)
        self._routes: dict[str, Route] = {}
        self._found: dict[str, Any] = {}
        self._nvml: Any = None
        self._handles: dict[str, Any] = {}
        self._held = ExitStack()

    def probe(self) -> list[Channel]:
        with nvidia.session() as nvml:
            boards, left_out = nvidia.find_boards(nvml)
            chosen, note = nvidia.choose(boards, self.options.gpus)
            self._routes = _routes(nvml, chosen, note, left_out)
            limits_mw = {
                f"gpu:{b.number}": nvidia.ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", b.handle) for b in chosen
            }
            self._found = {
                "driver": str(nvidia.ask(nvml, "nvmlSystemGetDriverVersion")),
                "routes": {name: route.method for name, route in self._routes.items()},
                "power_limits_w": {name: limit / 1000 for name, limit in limits_mw.items() if limit is not None},
                "left_out": left_out,
                "gpus_note": note,
            }
        return [route.channel for route in self._routes.values()]

    def open(self) -> None:
        if not self._routes:
            self.probe()
        # Held until the end: where no client is left, the driver may unload, and its counters start again.
        self._nvml = self._held.enter_context(nvidia.session())
        for name, route in self._routes.items():
            handle = nvidia.ask(self._nvml, "nvmlDeviceGetHandleByUUID", route.channel.uuid)
            if handle is not None:
                self._handles[name] = handle

    def read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        problem: Exception | None = None
        for name, handle in self._handles.items():
            try:
                found[name] = self._routes[name].read(self._nvml, handle)
            except self._nvml.NVMLError as error:  # a GPU that is lost leaves the others
                problem = error
        if not found and problem is not None:
            raise problem
        return found

    def close(self) -> None:
        self._handles = {}
        self._held.close()

    def describe(self) -> dict[str, Any]:
        return super().describe() | self._found

    def state(self) -> dict[str, dict[str, Any]]:
        """What decides how fast and how hot each GPU runs, while open; what cannot be read is not there."""
        return {name: _state(self._nvml, handle) for name, handle in self._handles.items() if "@" not in name}


def _routes(nvml: Any, boards: list[Board], note: str | None, left_out: dict[str, str]) -> dict[str, Route]:
    """How each channel is read, chosen once: the energy counter with power as a second opinion, else power alone.

    left_out takes the boards that report neither. Raises Unavailable where all are of that kind.
    """
    counters = {board.number: route for board in boards if (route := _counter(nvml, board, note)) is not None}
    # A counter that stands still is seen on some boards; it does not mean zero joules.
    still = nvidia.standing_still(nvml, boards)
    found: list[Route] = []
    for board in boards:
        name, counter = f"gpu:{board.number}", counters.get(board.number)
        stands_still = nvidia.STANDS_STILL if board.number in still else None
        power = _power(nvml, board, note, stands_still)
        if counter is not None and not stands_still:
            found.append(counter)
            if power is not None and power.channel.period_s <= board.period_s:  # a slow mean is late at every edge
                opinion = msgspec.structs.replace(power.channel, id=f"{name}@power")
                found.append(power._replace(channel=opinion))
        elif power is not None:
            found.append(power)
        else:
            left_out[name] = f"{board.name} reports no power, and {stands_still or 'has no energy counter'}"
    if not found:
        on_jetson = any(word in b.name for b in boards for word in ("nvgpu", "Orin", "Xavier", "Thor", "Tegra"))
        fix = "A Jetson board tells its power through INA3221 sensors, not through NVML." if on_jetson else ""
        raise Unavailable("No GPU here reports its energy or power.", f"{nvidia.sentence(left_out)}.", fix)
    return {route.channel.id: route for route in found}


def _counter(nvml: Any, board: Board, note: str | None) -> Route | None:
    return _if_it_works(nvml, board, Route("energy counter", _energy_j, nvidia.counter(board, note)))


def _power(nvml: Any, board: Board, *remarks: str | None) -> Route | None:
    """Instant power of the GPU, else of the module that it is a part of, else what NVML calls its power usage."""

    def channel(sees: str | None, **changes: Any) -> Channel:
        return msgspec.structs.replace(nvidia.counter(board, sees, *remarks), kind="power", unit="W", **changes)

    usage = channel(None)
    if board.architecture >= nvidia.AMPERE and not board.is_ga100:
        usage = channel("each reading is the mean of the last second", period_s=1.0)
    module = channel("CPU and GPU of the module together", extent="module")
    routes = (
        Route("instant power", partial(_instant_w, scope=0), channel(None)),
        Route("instant power of the module", partial(_instant_w, scope=1), module),
        Route("power usage", _usage_w, usage),
    )
    return next((route for route in routes if _if_it_works(nvml, board, route) is not None), None)


def _if_it_works(nvml: Any, board: Board, route: Route) -> Route | None:
    try:
        route.read(nvml, board.handle)
    except nvml.NVMLError:
        return None
    return route


def _energy_j(nvml: Any, handle: Any) -> float:
    return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


def _instant_w(nvml: Any, handle: Any, scope: int) -> float:
    [field] = nvml.nvmlDeviceGetFieldValues(handle, [(POWER_INSTANT, scope)])
    if field.nvmlReturn:
        raise nvml.NVMLError(field.nvmlReturn)
    return _watts(nvml, getattr(field.value, _VALUES[field.valueType]))


def _usage_w(nvml: Any, handle: Any) -> float:
    return _watts(nvml, nvml.nvmlDeviceGetPowerUsage(handle))


def _watts(nvml: Any, milliwatts: float) -> float:
    if not milliwatts:
        raise nvml.NVMLError(NO_DATA)  # a board that is on draws something: zero means "not told"
    return float(milliwatts) / 1000


def _state(nvml: Any, handle: Any) -> dict[str, Any]:
    ask = partial(nvidia.ask, nvml)
    limit_mw = ask("nvmlDeviceGetEnforcedPowerLimit", handle)
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    processes = ask("nvmlDeviceGetComputeRunningProcesses", handle)
    answers = {
        "temperature_c": ask("nvmlDeviceGetTemperature", handle, 0),
        "sm_clock_mhz": ask("nvmlDeviceGetClockInfo", handle, 1),
        "memory_clock_mhz": ask("nvmlDeviceGetClockInfo", handle, 2),
        "power_limit_w": None if limit_mw is None else limit_mw / 1000,
        "throttling": None if reasons is None else [word for bit, word in THROTTLING.items() if reasons & bit],
        "other_processes": None if processes is None else sum(p.pid != os.getpid() for p in processes),
    }
    return {key: value for key, value in answers.items() if value is not None}


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Nvml]
