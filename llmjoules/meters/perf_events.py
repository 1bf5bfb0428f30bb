"""RAPL through the kernel's perf events: the same counters, for users whom the kernel lets count system-wide.

Sources: perf_event_open(2), arch/x86/events/rapl.c. The PMU `power` has one counter a package (or die), opened on one
CPU of it, which `cpumask` names. The kernel extends it to 64 bits, so that it never wraps before us.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from llmjoules.meters.powercap import Source, arranged, counter
from llmjoules.meters.types import Unavailable

SYSCALLS = {"x86_64": 298, "aarch64": 241}  # asm/unistd_64.h, asm-generic/unistd.h
ATTR_SIZE = 64  # PERF_ATTR_SIZE_VER0
FLAG_CLOEXEC = 8
EVENTS = {"energy-pkg": "cpu", "energy-ram": "dram", "energy-psys": "host"}
TOPOLOGY = Path("/sys/devices/system/cpu")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
REMEDY = "sudo sysctl kernel.perf_event_paranoid=0, or sudo setcap cap_perfmon+ep PYTHON (both until undone)"

PROBLEMS = {  # what perf_event_open(2) means by them here, and what helps
    errno.EACCES: ("the kernel lets only privileged users count system-wide", REMEDY),
    errno.EPERM: (
        "the kernel, or a container's seccomp profile, lets only privileged users count system-wide",
        f"{REMEDY}. In a container: --cap-add PERFMON.",
    ),
    errno.ENOENT: ("the kernel does not know the event: its driver is gone", "modprobe rapl"),
    errno.ENODEV: ("the event's device or CPU is offline", "Bring the first CPU of each package online."),
    errno.EMFILE: ("this process has too many open files", "Raise the limit: ulimit -n 4096"),
    errno.EINVAL: ("the kernel refuses the event", "Use the other route: --meter-option rapl.route=powercap"),
    errno.ENOSYS: ("this kernel has no perf events", "Use the other route: --meter-option rapl.route=powercap"),
}


def pmu_root() -> Path:
    """Where the PMU is described; LLMJOULES_PERF_PMU names another folder."""
    return Path(os.environ.get("LLMJOULES_PERF_PMU") or "/sys/bus/event_source/devices/power")


def perf_sources(root: Path) -> list[Source]:
    """The PMU's counters of packages, memory and platform. Raises Unavailable where it has none or we may not open one.

    Whether we may is known only by trying.
    """
    sources = _sources(root)
    if not any(source.channel.component == "cpu" for source in sources):
        raise Unavailable(
            "No RAPL events.",
            f"{root} describes no energy of packages in joules: a virtual machine, or a CPU without them.",
            "On bare metal: modprobe rapl",
        )
    for source in sources:
        try:
            os.close(source.open())
        except OSError as error:
            raise refused(error, source.channel.id) from error
    return sources


def open_event(kind: int, config: int, cpu: int, pid: int = -1) -> int:
    """A file descriptor that counts this event from now on, of all processes on one CPU. Raises OSError."""
    number = SYSCALLS.get(platform.machine())
    if number is None or platform.system() != "Linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attr = ctypes.create_string_buffer(struct.pack("=IIQQQQQIIQ", kind, ATTR_SIZE, config, *[0] * 7), ATTR_SIZE)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ulong]
    fd: int = syscall(number, ctypes.addressof(attr), pid, cpu, -1, FLAG_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def event_joules(scale: float, fd: int) -> float:
    count: int = struct.unpack("=Q", os.read(fd, 8))[0]
    return count * scale


def refused(error: OSError, channel: str) -> Unavailable:
    """What the kernel's refusal means, in words, with the remedy."""
    why, fix = PROBLEMS.get(error.errno or 0, (error.strerror or "no reason is given", ""))
    if error.errno in (errno.EACCES, errno.EPERM) and (level := _text(PARANOID)):
        why += f" (perf_event_paranoid is {level})"
    return Unavailable(f"Cannot open the perf event of {channel}.", f"{why[0].upper()}{why[1:]}.", fix)


def cpus_of(mask: str) -> list[int]:
    """The CPUs of a list as the kernel writes it: `0,18` or `0-1,4`. Raises ValueError."""
    found: list[int] = []
    for part in filter(None, mask.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _sources(root: Path) -> list[Source]:
    try:
        kind, cpus = int(_text(root / "type")), cpus_of(_text(root / "cpumask"))
    except ValueError:
        return []
    found = [source for event in EVENTS for source in _of_event(root / "events", event, kind, cpus)]
    channels = arranged([source.channel for source in found])
    return [source._replace(channel=channels[source.channel.id]) for source in found]


def _of_event(events: Path, event: str, kind: int, cpus: list[int]) -> Iterator[Source]:
    config = re.search(r"\bevent=(0x[0-9a-f]+|\d+)", _text(events / event), re.IGNORECASE)
    if config is None or _text(events / f"{event}.unit").lower() not in ("joules", "joule", "j"):
        return
    try:
        scale = float(_text(events / f"{event}.scale"))
    except ValueError:
        return
    component = EVENTS[event]
    places = {cpu: f"{component}:{place}" for cpu, place in _places(cpus).items()}
    if component == "host":  # one, whatever the number of packages
        places = dict.fromkeys(cpus[:1], "host")
    for cpu, channel in places.items():
        start = partial(open_event, kind, int(config[1], 0), cpu)
        yield Source(counter(channel, component), start, partial(event_joules, scale))


def _places(cpus: list[int]) -> dict[int, str]:
    """The package of each CPU, with the die where a package has several; counted through where topology is hidden."""
    ids = {cpu: (_id(cpu, "physical_package_id"), _id(cpu, "die_id")) for cpu in cpus}
    packages = [package for package, _ in ids.values()]
    if None in packages or len(set(ids.values())) < len(cpus):
        return {cpu: str(number) for number, cpu in enumerate(cpus)}
    several = {package for package in packages if packages.count(package) > 1}
    return {cpu: f"{package}.{die}" if package in several else f"{package}" for cpu, (package, die) in ids.items()}


def _id(cpu: int, name: str) -> int | None:
    text = _text(TOPOLOGY / f"cpu{cpu}" / "topology" / name)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
