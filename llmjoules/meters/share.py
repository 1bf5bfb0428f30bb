"""A process's share of the CPU's energy: a model that is recorded beside the machine's figure, never instead of it.

Energy is shared out in proportion to CPU time: what the packages used over an interval, times the CPU seconds of this
process and of all that it started, by the CPU seconds of everything that ran. What an idle machine would have used is
shared out with the rest. A busy second counts the same whatever it does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import psutil

from llmjoules.meters.window import PLAUSIBLE_W
from llmjoules.records.record import Channel

SHARE = "cpu:0@process"
RENEWED_EVERY_S = 0.1
EARLY = 0.1  # it is renewed by readings, which come a little before their time or after it: by this part of that time
CLOCK_TICK_S = 0.01  # the kernel accounts CPU time in hundredths of a second
SCAN_COST = 0.005  # finding child processes reads the whole process table: the part of a CPU that it may take
SCAN_EVERY_S = 2.0
NOTE = (
    "CPU energy (all packages) x CPU time of this process and its children / CPU time of everything that ran; "
    "idle power is shared out alike, and an interval in which nothing ran has none"
)


def process_share(own_s: float, busy_s: float) -> float:
    """The part of an interval's energy that falls to us: our CPU seconds by all that were worked, from 0 to 1."""
    return min(max(own_s / busy_s, 0.0), 1.0) if busy_s > 0 else 0.0


def share_channel(resolution: float) -> Channel:
    """resolution: joules that one tick of CPU time is worth."""
    return Channel(
        id=SHARE,
        component="cpu",
        kind="model",
        source="modelled",
        extent="process-share",
        period_s=RENEWED_EVERY_S,
        resolution=resolution,
        note=NOTE,
    )


def busy_s() -> float:
    """CPU seconds that the machine has worked since it started, over all CPUs; not what a hypervisor stole."""
    stat = _proc_stat()
    if stat is None:
        times = psutil.cpu_times()
        return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))
    _, user, nice, system, _, _, irq, softirq, _ = os.pread(stat, 256, 0).split(None, 8)
    return (int(user) + int(nice) + int(system) + int(irq) + int(softirq)) / os.sysconf("SC_CLK_TCK")


@cache
def _proc_stat() -> int | None:
    """Linux's account, kept open for good: it is read ten times a second, and psutil opens it each time."""
    try:
        return os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


class Worked:
    """Our CPU seconds and everyone's, made to agree interval by interval."""

    def __init__(self) -> None:
        self._most_carried_s = CLOCK_TICK_S * (os.cpu_count() or 1)
        self._carried_s = 0.0

    def of(self, own_s: float, all_s: float) -> tuple[float, float]:
        """Our time is exact and everyone's comes in ticks: what is above it for that reason counts in the next one.

        What is above it by more than ticks explain was worked all the same: a guest's kernel may book seconds that we
        ran as stolen, and then stands still.
        """
        own_s += self._carried_s
        all_s = max(all_s, own_s - self._most_carried_s)
        self._carried_s = max(own_s - all_s, 0.0)
        return own_s, all_s


class ProcessTree:
    """CPU seconds of this process and of all that it started: a sum that never falls.

    A child that is gone stands in its parent's account of children, if that waited for it; else its last figure is
    kept. Children are read before ourselves, so that one that ends in between is not missed. New ones are looked for
    now and then: one that is found has worked for us since it started.
    """

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._children: dict[psutil.Process, float] = {}
        self._scan_at_s = 0.0
        self._last_s = self._kept_s = 0.0

    def cpu_s(self) -> float:
        if time.monotonic() >= self._scan_at_s:
            self._scan()
        for child in list(self._children):
            try:
                times = child.cpu_times()
            except (psutil.ZombieProcess, psutil.AccessDenied):
                continue  # its last figure stands
            except psutil.NoSuchProcess:
                del self._children[child]
            else:
                self._children[child] = times.user + times.system + times.children_user + times.children_system
        waited_for = os.times()
        now_s = time.process_time() + waited_for.children_user + waited_for.children_system
        now_s += sum(self._children.values())
        self._kept_s += max(0.0, self._last_s - now_s)
        self._last_s = now_s
        return now_s + self._kept_s

    def _scan(self) -> None:
        begun_s = time.monotonic()
        try:
            for child in self._me.children(recursive=True):
                self._children.setdefault(child, 0.0)
        except psutil.Error:
            pass  # a process that ends while the table is read: next time
        took_s = time.monotonic() - begun_s
        self._scan_at_s = begun_s + max(SCAN_EVERY_S, took_s / SCAN_COST)


class ProcessShare:
    """The running total of a process's share, fed with the readings of the packages' totals.

    channels: those to share out; readings of others are passed over. It is renewed ten times a second at the most.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        own_s: Callable[[], float] | None = None,
        all_s: Callable[[], float] = busy_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wraps_at_j = {c.id: c.wraps_at_j for c in channels if c.component == "cpu" and "@" not in c.id}
        self._own_s = own_s if own_s is not None else ProcessTree().cpu_s
        self._all_s = all_s
        self._clock = clock
        self._worked = Worked()
        self._total_j = 0.0
        self._before: tuple[float, dict[str, float], float, float] | None = None

    def joules(self, readings: Mapping[str, float]) -> float | None:
        """The total after these readings. None where a package is missing or its total stands still, which a package
        that is on never does; its next reading that rose makes up for it.

        Where a package's total fell by more than a wrap explains, ours begins anew: what it missed is not known, and
        a fall makes the windows around it null, as it does for the package.
        """
        now_s = self._clock()
        if any(channel not in readings for channel in self._wraps_at_j):
            return None
        if self._before is not None and now_s - self._before[0] < (1 - EARLY) * RENEWED_EVERY_S:
            return self._total_j
        packages = {channel: readings[channel] for channel in self._wraps_at_j}
        if self._before is not None and any(packages[channel] == self._before[1][channel] for channel in packages):
            return None
        before, self._before = self._before, (now_s, packages, self._own_s(), self._all_s())
        if before is not None:
            risen_j = self._risen(before[1], packages, now_s - before[0])
            share = process_share(*self._worked.of(self._before[2] - before[2], self._before[3] - before[3]))
            self._total_j = 0.0 if risen_j is None else self._total_j + share * risen_j
        return self._total_j

    def _risen(self, before: Mapping[str, float], now: Mapping[str, float], elapsed_s: float) -> float | None:
        risen_j = 0.0
        for channel, wraps_at_j in self._wraps_at_j.items():
            rise_j = now[channel] - before[channel]
            if rise_j < 0:
                if wraps_at_j is None or rise_j + wraps_at_j > PLAUSIBLE_W * elapsed_s:
                    return None
                rise_j += wraps_at_j
            risen_j += rise_j
        return risen_j
