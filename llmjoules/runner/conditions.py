"""The machine before a repeat: cooled down, out of step with the sensor, and described.

All of this happens outside measured phases: while devices are waited for, nothing is measured, and what others do on
the CPU during a phase is the difference of two readings of the kernel's account, one before it and one after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import psutil

from llmjoules.meters.monitor import Monitor
from llmjoules.meters.share import CLOCK_TICK_S, busy_s
from llmjoules.records.record import Conditions, CoolDown, DeviceState
from llmjoules.runner.flags import hot_places

LOOK_EVERY_S = 0.5
STATES_OF_S = 3.0  # meters tell of their devices about once a second
DELAY_LIMIT_S = 10.0
SHORTEST_TICKS = 25  # of the kernel's account: over less it says too little
# Packages and cores; other sensors are of disks, batteries and radios.
CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "cpu0_thermal")
PRESSURE = Path("/proc/pressure/memory")


def prepare(monitor: Monitor, limit_s: float, target_c: Mapping[str, float], seed: str) -> Conditions:
    """Wait for devices to cool and for a random part of the slowest period, then say how things stand.

    limit_s: to wait for devices; 0: not at all. target_c: how cool, by place; a place that it does not name is not
    waited for. at_s of what is returned is `time.monotonic()`.
    """
    cool_down = _cool_down(monitor, limit_s, target_c)
    delay_s = Random(seed).uniform(0.0, min(monitor.slowest_period_s, DELAY_LIMIT_S))
    frequency = _frequency_mhz()
    found = Conditions(
        at_s=time.monotonic(),
        start_delay_s=round(delay_s, 6),
        cool_down=cool_down,
        temperatures_c=temperatures_c(monitor),
        devices=_devices(monitor),
        cpus=os.cpu_count(),
        cpu_frequency_mhz=frequency,
        memory_available_bytes=psutil.virtual_memory().available,
        memory_stalled=stalled(_text(PRESSURE)),
    )
    time.sleep(delay_s)
    return found


def counted(conditions: Conditions, origin_s: float, others: Mapping[str, float]) -> Conditions:
    """With times as the record counts them, and what others did on the CPU in the phases since."""
    devices = {
        channel: msgspec.structs.replace(state, at_s=round(state.at_s - origin_s, 6))
        for channel, state in conditions.devices.items()
    }
    return msgspec.structs.replace(
        conditions, at_s=round(conditions.at_s - origin_s, 6), devices=devices, other_cpus=dict(others)
    )


def temperatures_c(monitor: Monitor) -> dict[str, float]:
    """By channel as meters told, and of the hottest CPU sensor as `cpu`."""
    found = {name: state.temperature_c for name, state in _devices(monitor).items() if state.temperature_c is not None}
    cpu = _cpu_temperature_c()
    return found if cpu is None else {**found, "cpu": cpu}


def _cool_down(monitor: Monitor, limit_s: float, target_c: Mapping[str, float]) -> CoolDown:
    begun_s = time.monotonic()
    while True:
        temperatures = temperatures_c(monitor)
        waited_s = time.monotonic() - begun_s
        if not temperatures:
            outcome = "no_temperature"
        elif not hot_places(temperatures, target_c):
            outcome = "cool"
        elif limit_s <= 0:
            outcome = "off"
        elif waited_s >= limit_s:
            outcome = "limit"
        else:
            time.sleep(min(LOOK_EVERY_S, limit_s - waited_s))
            continue
        return CoolDown(
            limit_s=limit_s,
            waited_s=round(waited_s, 3),
            outcome=outcome,  # type: ignore[arg-type]
            target_c=dict(target_c),
        )


def _devices(monitor: Monitor) -> dict[str, DeviceState]:
    now_s = time.monotonic()
    return {channel: states[-1] for channel, states in monitor.states(now_s - STATES_OF_S, now_s).items()}


def _cpu_temperature_c() -> float | None:
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, RuntimeError):  # not on this system, or a sensor that fails to answer
        return None
    found = [reading.current for name in CPU_SENSORS for reading in sensors.get(name, ())]
    return max(found, default=None)


def _frequency_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (AttributeError, OSError, RuntimeError, NotImplementedError):
        return None
    return round(frequency.current, 1) if frequency is not None and frequency.current else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None


def stalled(pressure: str | None) -> float | None:
    """From Linux's account of memory pressure: `some avg10=1.50 avg60=…` is 0.015."""
    for word in (pressure or "").partition("\n")[0].split():
        name, _, value = word.partition("=")
        if name == "avg10":
            try:
                return float(value) / 100
            except ValueError:
                return None
    return None


class Others:
    """How many CPUs the programs of others keep busy during phases of this process."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        before = self._account()
        yield
        elapsed_s, all_s, own_s = (now - then for now, then in zip(self._account(), before, strict=True))
        if elapsed_s >= SHORTEST_TICKS * CLOCK_TICK_S:
            self.found[phase] = round(max(0.0, all_s - own_s) / elapsed_s, 3)

    def _account(self) -> tuple[float, float, float]:
        waited_for = os.times()
        own_s = time.process_time() + waited_for.children_user + waited_for.children_system
        return time.monotonic(), busy_s(), own_s
