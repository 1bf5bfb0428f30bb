"""CPU packages and memory through the Linux powercap tree (RAPL counters of Intel and AMD).

Source: Documentation/power/powercap/powercap.rst. Zones are told apart by their `name` file, never by their number.
Packages and memory add up; `core` and `uncore` lie inside the package and are left out; `psys` is the whole platform
and contains the others, so it is a component of its own and never added to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.powercap import powercap_root
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.record import Channel

RENEWED_EVERY_S = 0.001  # both makers state about 1 ms
RESOLUTION_J = 61e-6  # 2^-14 J, the usual unit; memory of servers counts in 15.3 µJ


class _Zone(NamedTuple):
    channel: Channel
    counter: Path


class Rapl(Meter):
    name = "rapl"
    summary = "CPU packages and memory, from the energy counters of Intel and AMD under Linux"

    def __init__(self, options: object = None) -> None:
        super().__init__(options)
        self._fds: dict[str, int] = {}

    def probe(self) -> list[Channel]:
        return [zone.channel for zone in _readable_zones(powercap_root())]

    def open(self) -> None:
        for zone in _readable_zones(powercap_root()):
            self._fds[zone.channel.id] = os.open(zone.counter, os.O_RDONLY)

    def read(self) -> dict[str, float]:
        found = {}
        problem: Exception | None = None
        for channel, fd in self._fds.items():
            try:
                found[channel] = int(os.pread(fd, 32, 0)) / 1e6
            except (OSError, ValueError) as error:  # a package that is taken out leaves the others
                problem = error
        if not found and problem is not None:
            raise problem
        return found

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])


def _readable_zones(root: Path) -> list[_Zone]:
    zones = list(_zones(root))
    if not zones:
        raise Unavailable(
            "No RAPL counters.",
            f"{root} holds no package: a virtual machine, a container that masks it, or a CPU without them.",
            "On bare metal: modprobe intel_rapl_common. In a container: mount it, and name it in LLMJOULES_POWERCAP.",
        )
    for zone in zones:
        try:
            zone.counter.read_bytes()
        except PermissionError as error:
            raise Unavailable(
                f"No permission to read {zone.counter}.",
                "Since Linux 5.10 only root may read RAPL counters.",
                f"sudo chmod -R a+r {root}/intel-rapl* (until reboot; mind that fine-grained power can leak secrets).",
            ) from error
        except OSError as error:
            raise Unavailable(f"Cannot read {zone.counter}.", f"{error.strerror}.", "") from error
    whole = [zone for zone in zones if zone.channel.component == "host"]
    inner = tuple(zone.channel.id for zone in zones if zone.channel.component != "host")
    return [zone for zone in zones if zone not in whole] + [
        zone._replace(channel=msgspec.structs.replace(zone.channel, contains=inner)) for zone in whole
    ]


def _zones(root: Path) -> Iterator[_Zone]:
    """Zones by name, each once: the tree may be given flat, or under its control type `intel-rapl`."""
    seen: set[str] = set()
    for top in sorted({*root.glob("intel-rapl:*"), *root.glob("intel-rapl/intel-rapl:*")}):
        for zone in (top, *sorted(top.glob("intel-rapl:*"))):
            outer = zone.with_name(zone.name.rpartition(":")[0])  # in a flat tree; else the folder it lies in
            found = _channel(_text(zone / "name"), _text((outer if outer.exists() else zone.parent) / "name"))
            if found is not None and found[0] not in seen and (zone / "energy_uj").exists():
                seen.add(found[0])
                yield _Zone(_describe(*found, zone), zone / "energy_uj")


def _channel(name: str, parent: str) -> tuple[str, str] | None:
    """The channel's id and component; None for a zone that is not counted or whose package is not known yet."""
    if package := re.fullmatch(r"package-(\d+)(?:-die-(\d+))?", name):
        return _numbered("cpu", package), "cpu"
    if name == "dram" and (package := re.fullmatch(r"package-(\d+)(?:-die-(\d+))?", parent)):
        return _numbered("dram", package), "dram"
    return ("host", "host") if name == "psys" else None


def _numbered(component: str, package: re.Match[str]) -> str:
    number, die = package.groups()
    return f"{component}:{number}" if die is None else f"{component}:{number}.{die}"


def _describe(channel: str, component: str, zone: Path) -> Channel:
    wraps_at_uj = _text(zone / "max_energy_range_uj")  # on some kernels as unreadable as the counter
    return Channel(
        id=channel,
        component=component,  # type: ignore[arg-type]
        kind="counter",
        period_s=RENEWED_EVERY_S,
        resolution=RESOLUTION_J,
        wraps_at_j=int(wraps_at_uj) / 1e6 if wraps_at_uj.isdigit() and int(wraps_at_uj) else None,
        note="psys: the whole platform" if component == "host" else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Rapl]
