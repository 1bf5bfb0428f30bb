"""What `make bench` runs in processes of their own, against the stand-in NVML that LD_LIBRARY_PATH names.

python -m tests.bench.child TASK ARGUMENTS; prints one line of JSON. The bindings, pyJoules and Zeus are the real ones.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from llmjoules import Monitor
from llmjoules.meters.registry import Registry

PEERS = Path(__file__).parents[2] / ".venv" / "peers"  # Zeus alone lies here: its wheel brings a package named `tests`


def zeus_monitor(gpus: int) -> Any:
    """Zeus' monitor of these GPUs, or None where Zeus is not installed.

    Of what it imports, scikit-learn (which only GPUs before Volta need) and httpx (which only its daemon needs) are
    stood in for: they are heavy, and what is measured here never calls them. What it says to the user is not printed:
    on windows shorter than a tick it warns, which would slow it down.
    """
    sys.path.append(str(PEERS))
    for name in ("sklearn", "sklearn.metrics", "httpx"):
        module = ModuleType(name)
        module.__getattr__ = lambda _: object  # type: ignore[method-assign]
        sys.modules.setdefault(name, module)
    logging.disable(logging.WARNING)
    try:
        from zeus.monitor import ZeusMonitor, energy
    except ImportError:
        return None
    energy.warnings = SimpleNamespace(warn=lambda *_, **__: None)
    return ZeusMonitor(gpu_indices=list(range(gpus)), cpu_indices=[])


def accuracy(windows: str, pulse_s: str, host: str = "waits") -> dict[str, Any]:
    """Windows around loads, each by all meters at once. host: "busy" computes in Python meanwhile.

    For each meter and window its start and end, and for each GPU the joules and what they can be off by.
    """
    import pynvml
    from pyJoules.device import DeviceFactory
    from pyJoules.device.nvidia_device import NvidiaGPUDomain
    from pyJoules.energy_meter import EnergyMeter

    pynvml.nvmlInit()
    gpus = pynvml.nvmlDeviceGetCount()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(gpus)]
    meter = EnergyMeter(DeviceFactory.create_devices([NvidiaGPUDomain(number) for number in range(gpus)]))
    zeus = zeus_monitor(gpus)
    every_s = float(pulse_s)
    found: dict[str, list[Any]] = {name: [] for name in ("llmjoules", "pyJoules", "Zeus", "two reads")}
    measured = []

    def read_mj() -> list[int]:
        return [pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles]

    with Monitor(["nvml"]) as monitor:
        time.sleep(1)
        for _ in range(int(windows)):
            time.sleep(every_s - time.monotonic() % every_s)
            with monitor.window("load") as window:
                start_s = [time.monotonic()]
                meter.start()
                start_s.append(time.monotonic())
                if zeus is not None:
                    zeus.begin_window("load", sync_execution=False)
                start_s.append(time.monotonic())
                before_mj = read_mj()
                until_s = time.monotonic() + max(0.0, every_s / 2 - time.monotonic() % every_s)
                while host == "busy" and time.monotonic() < until_s:
                    pass
                time.sleep(max(0.0, until_s - time.monotonic()))
                end_s = [time.monotonic()]
                meter.stop()
                end_s.append(time.monotonic())
                by_zeus = zeus.end_window("load", sync_execution=False).gpu_energy if zeus is not None else {}
                end_s.append(time.monotonic())
                after_mj = read_mj()
            measured.append(window)
            [sample] = meter.get_trace()
            found["pyJoules"].append(
                (start_s[0], end_s[0], [(sample.energy[f"nvidia_gpu_{n}"] / 1000, None) for n in range(gpus)])
            )
            if zeus is not None:
                found["Zeus"].append((start_s[1], end_s[1], [(by_zeus[n], None) for n in range(gpus)]))
            differences = [((b - a) / 1000, None) for a, b in zip(before_mj, after_mj, strict=True)]
            found["two reads"].append((start_s[2], end_s[2], differences))
        for window in measured:
            energies = {energy.channel: (energy.joules, energy.uncertainty_j) for energy in window.energies}
            found["llmjoules"].append((window.start_s, window.end_s, [energies[f"gpu:{n}"] for n in range(gpus)]))
    return found


def edges(count: str) -> dict[str, list[float]]:
    """Seconds of an empty window by Zeus, while nothing else runs, then by llmjoules with its watching threads.

    A little apart from each other: a loop that never lets go of the interpreter measures only who holds it.
    """
    import pynvml

    pynvml.nvmlInit()
    zeus = zeus_monitor(pynvml.nvmlDeviceGetCount())
    rng = random.Random(1)

    def seconds_of(once: Callable[[], object]) -> list[float]:
        spent = []
        for _ in range(int(count)):
            time.sleep(0.001 * rng.random())
            start = time.perf_counter()
            once()
            spent.append(time.perf_counter() - start)
        return spent

    def by_zeus() -> None:
        zeus.begin_window("load", sync_execution=False)
        zeus.end_window("load", sync_execution=False)

    found = {"Zeus": seconds_of(by_zeus) if zeus is not None else []}
    with Monitor(["nvml"]) as monitor:

        def by_us() -> None:
            with monitor.window("load"):
                pass

        time.sleep(1)
        found["llmjoules"] = seconds_of(by_us)
    return found


def sampling(seconds: str, forgets: str, after_s: str = "5") -> dict[str, Any]:
    """CPU time of watching, as a part of one core, and what the process's memory grows by."""
    with Monitor(["nvml", "rapl"]) as monitor:
        _watch(monitor, float(after_s), forgets == "yes")
        watchers = {t.name: t for t in threading.enumerate() if t.name.startswith("llmjoules-")}
        begun = {name: _cpu_s(thread) for name, thread in watchers.items()}
        rss, cpu_s, start_s = _rss(), time.process_time(), time.monotonic()
        _watch(monitor, float(seconds), forgets == "yes")
        wall_s = time.monotonic() - start_s
        share = (time.process_time() - cpu_s) / wall_s
        threads = {name: (_cpu_s(thread) - begun[name]) / wall_s for name, thread in watchers.items()}
        grown = _rss() - rss
    return {"share": share, "threads": threads, "rss": rss, "grown": grown, "seconds": wall_s}


def _watch(monitor: Monitor, seconds: float, forgets: bool) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(1)
        if forgets:
            monitor.forget(time.monotonic() - 1)


def _cpu_s(thread: threading.Thread) -> float:
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls(count: str) -> dict[str, float]:
    """CPU seconds of one reading of each meter, and of the bare calls to NVML behind it."""
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]

    def counters() -> None:
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)

    def powers() -> None:
        for handle in handles:
            pynvml.nvmlDeviceGetFieldValues(handle, [(186, 0)])

    found = {"counters": _each_s(counters, int(count)), "powers": _each_s(powers, int(count))}
    registry = Registry([])
    for name in ("nvml", "rapl"):
        meter = registry.make(name)
        meter.probe()
        meter.open()
        found[name] = _each_s(meter.read, int(count))
        found[f"{name} state"] = _each_s(meter.state, int(count) // 10)
        meter.close()
    return found


def _each_s(call: Callable[[], object], count: int) -> float:
    call()
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count


if __name__ == "__main__":
    tasks: dict[str, Callable[..., Any]] = {f.__name__: f for f in (accuracy, edges, sampling, calls)}
    print(json.dumps(tasks[sys.argv[1]](*sys.argv[2:])))
