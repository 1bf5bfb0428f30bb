"""The three stretches of time for which the doctor watches: as fast as is sensible, idle, and under load.

The first has a step of load in its middle, and tells tick, resolution and step response. In the others the monitor
measures as it always does: what that costs, and whether the channels of a device agree.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from llmjoules.meters import guard
from llmjoules.meters.load import Load, NoLoad, cpu_processes
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.polling import Poller
from llmjoules.meters.types import Meter
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Channel, Energy

WITHOUT_S = 0.5  # how long our process is watched with no meter on
LOAD_FOR = {"gpu": "gpu", "ane": None}  # everything else shows the CPU's work


class Loads(NamedTuple):
    """running: those that can be switched. described: every kind that the channels call for, or why there is none."""

    running: tuple[Load, ...]
    described: dict[str, str]

    def switch(self, *, on: bool) -> float:
        return min((load.switch(on=on) for load in self.running), default=time.monotonic())

    def has(self, component: str) -> bool:
        return LOAD_FOR.get(component, "cpu") in {load.kind for load in self.running}

    def why_not(self, component: str) -> str:
        kind = LOAD_FOR.get(component, "cpu")
        return self.described.get(kind or "", "not tested: no load at hand")


class Watched(NamedTuple):
    """What the first stretch has seen of each meter. The load ran from on_s to off_s."""

    pollers: dict[str, Poller]
    on_s: float
    off_s: float
    faults: list[guard.Fault]

    def answering(self) -> list[str]:
        """Meters of which readings still came after half of the time: the others would only be waited for."""
        half_s = (self.on_s + self.off_s) / 2
        return [
            name
            for name, p in self.pollers.items()
            if max((p.readings(c).t_s[-1] for c in p.channels if p.readings(c).t_s), default=0.0) > half_s
        ]


class Measured(NamedTuple):
    """Energies by window, in the order of `channels`; the cost in percent of a core, and each meter's part of it."""

    energies: dict[str, tuple[Energy, ...]]
    channels: tuple[tuple[str, Channel], ...]
    cpu_percent: float | None
    cpu_percent_of: dict[str, float]
    faults: list[guard.Fault]


def prepare(components: set[str], wanted: str, stack: ExitStack) -> Loads:
    """Loads that are ready to be switched on, until the stack ends."""
    kinds = sorted({kind for c in components if (kind := LOAD_FOR.get(c, "cpu")) is not None})
    if wanted == "none":
        return Loads((), dict.fromkeys(kinds, "not tested: no load was wanted"))
    running: list[Load] = []
    described: dict[str, str] = {}
    for kind in kinds:
        load = Load("gpu") if kind == "gpu" else Load("cpu", cpu_processes())
        try:
            running.append(stack.enter_context(load))
            described[kind] = load.description
        except NoLoad as error:
            described[kind] = f"not tested: no load at hand ({error})"
    return Loads(tuple(running), described)


def watch(meters: Sequence[tuple[Meter, tuple[Channel, ...]]], loads: Loads, seconds: float) -> Watched:
    """The first stretch: a quarter idle, half under load, a quarter idle."""
    pollers = [Poller(meter, channels) for meter, channels in meters]
    faults = [fault for poller in pollers if (fault := poller.start()) is not None]
    time.sleep(seconds / 4)
    on_s = loads.switch(on=True)
    time.sleep(seconds / 2)
    off_s = loads.switch(on=False)
    time.sleep(seconds / 4)
    faults += [fault for poller in pollers if (fault := poller.stop()) is not None]
    return Watched({poller.meter.name: poller for poller in pollers}, on_s, off_s, faults)


def measure(
    names: Sequence[str],
    plugins: Sequence[Path],
    options: Mapping[str, Mapping[str, Any]],
    loads: Loads,
    seconds: float,
) -> Measured:
    """The other two: the monitor at its default rate, idle and then under load."""
    before, begun_s = time.process_time(), time.monotonic()
    time.sleep(WITHOUT_S)
    without = (time.process_time() - before) / (time.monotonic() - begun_s)
    monitor, faults = _monitor(names, plugins, options)
    if monitor is None:
        return Measured({}, (), None, {}, faults)
    try:
        monitor.__enter__()
    except LlmjoulesError:
        return Measured({}, (), None, {}, [*faults, *monitor.faults])
    try:
        threads, before, begun_s = _cpu_by_meter(), time.process_time(), time.monotonic()
        with monitor.window("idle") as idle:
            time.sleep(seconds)
        spent, took_s = time.process_time() - before, time.monotonic() - begun_s
        after = _cpu_by_meter()
        loads.switch(on=True)
        with monitor.window("load") as load:
            time.sleep(seconds)
        loads.switch(on=False)
        energies = {window.name: window.energies for window in (idle, load)}
    finally:
        loads.switch(on=False)
        monitor.close()
    return Measured(
        energies,
        tuple((info.name, channel) for info in monitor.meters for channel in info.channels),
        max(0.0, 100 * (spent / took_s - without)),
        {name: 100 * (after[name] - threads[name]) / took_s for name in after if name in threads},
        [*faults, *monitor.faults],
    )


def _monitor(
    names: Sequence[str], plugins: Sequence[Path], options: Mapping[str, Mapping[str, Any]]
) -> tuple[Monitor | None, list[guard.Fault]]:
    """Of those meters that can be had again: each was there a moment ago, and may have gone."""
    faults: list[guard.Fault] = []
    wanted = list(names)
    while wanted:
        try:
            return Monitor(wanted, plugins=plugins, options=options), faults
        except LlmjoulesError:
            usable = []
            for name in wanted:
                try:
                    Monitor([name], plugins=plugins, options=options)
                    usable.append(name)
                except LlmjoulesError as error:
                    faults.append(guard.Fault(name, f"{error.what} {error.why}".strip()))
            wanted = usable if len(usable) < len(wanted) else []
    return None, faults


def _cpu_by_meter() -> dict[str, float]:
    """CPU seconds of the threads that read each meter, as Linux accounts them; nothing elsewhere."""
    found: dict[str, float] = {}
    for thread in threading.enumerate():
        parts = thread.name.removeprefix("llmjoules-").rpartition("-")
        if not thread.name.startswith("llmjoules-") or parts[2] not in ("read", "stream"):
            continue
        try:
            account = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            found[parts[0]] = found.get(parts[0], 0.0) + int(account.split()[0]) / 1e9
        except (OSError, ValueError, LookupError):
            continue
    return found
