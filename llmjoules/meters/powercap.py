"""RAPL zones of the kernel's powercap tree.

Source: Documentation/power/powercap/powercap.rst. Zones are told apart by their `name` file, never by their number.
Packages and memory add up; `core` and `uncore` lie inside the package and are left out; `psys` is the whole platform
and contains the others, so it is a component of its own and never added to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmjoules.meters.types import Unavailable
from llmjoules.records.record import Channel

RENEWED_EVERY_S = 0.001  # both makers state about 1 ms
RESOLUTION_J = 61e-6  # 2^-14 J, the usual unit; memory of servers counts in 15.3 µJ

# The dies of AMD's first Zen generations show one counter of the whole socket (codecarbon issue 1274). Two reads of it
# agree to what the socket uses between them; the totals of true dies are far apart by the time that they are this high.
MIRRORED_FROM_UJ, MIRRORED_WITHIN_UJ = 100_000_000, 1_000_000


class Source(NamedTuple):
    """A counter: how to open it, and the joules that its open file shows."""

    channel: Channel
    open: Callable[[], int]
    joules: Callable[[int], float]


class _Zone(NamedTuple):
    channel: Channel
    folder: Path

    @property
    def counter(self) -> Path:
        return self.folder / "energy_uj"


def powercap_root() -> Path:
    """`/sys/class/powercap`, or what LLMJOULES_POWERCAP names: containers mask the first and may mount it elsewhere."""
    return Path(os.environ.get("LLMJOULES_POWERCAP") or "/sys/class/powercap")


def powercap_sources(root: Path) -> list[Source]:
    """The counters under `root`, each once. Raises Unavailable where there are none or one cannot be read."""
    zones = _without_mirrors(_without_doubles(_zones(root)))
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
    return [Source(zone.channel, partial(os.open, zone.counter, os.O_RDONLY), _joules) for zone in zones]


def counter(channel: str, component: str, wraps_at_j: float | None = None) -> Channel:
    """A channel of RAPL, by whatever route it is read."""
    return Channel(
        id=channel,
        component=component,  # type: ignore[arg-type]
        kind="counter",
        period_s=RENEWED_EVERY_S,
        resolution=RESOLUTION_J,
        wraps_at_j=wraps_at_j,
        note="psys: the whole platform" if component == "host" else None,
    )


def arranged(channels: Sequence[Channel]) -> dict[str, Channel]:
    """The same channels by id, the whole platform last: it contains the others."""
    inner = tuple(channel.id for channel in channels if channel.component != "host")
    whole = [msgspec.structs.replace(c, contains=inner) for c in channels if c.component == "host"]
    return {channel.id: channel for channel in [*(c for c in channels if c.component != "host"), *whole]}


def noted(channel: Channel, *notes: str) -> Channel:
    return msgspec.structs.replace(channel, note="; ".join(filter(None, (channel.note, *notes))) or None)


def _joules(fd: int) -> float:
    return int(os.pread(fd, 32, 0)) / 1e6


def _without_doubles(zones: Iterator[_Zone]) -> list[_Zone]:
    """Of zones with one name the first, whose note says so: one socket that stands in the tree twice."""
    kept: dict[str, _Zone] = {}
    for zone in zones:
        first = kept.setdefault(zone.channel.id, zone)
        if first is not zone and first.folder.resolve() != zone.folder.resolve():
            text = f"{zone.folder.name} bears the same name as {first.folder.name} and is left out"
            kept[zone.channel.id] = first._replace(channel=noted(first.channel, text))
    return list(kept.values())


def _without_mirrors(zones: list[_Zone]) -> list[_Zone]:
    """Of the dies of one package that show the same total the first, whose note says so."""
    kept: list[_Zone] = []
    for zone in zones:
        first = next((i for i, other in enumerate(kept) if _mirrors(other, zone)), None)
        if first is None:
            kept.append(zone)
        else:
            text = f"{zone.channel.id} shows the same counter and is left out"
            kept[first] = kept[first]._replace(channel=noted(kept[first].channel, text))
    inner = arranged([zone.channel for zone in kept])
    return sorted((zone._replace(channel=inner[zone.channel.id]) for zone in kept), key=_platform_last)


def _platform_last(zone: _Zone) -> bool:
    return zone.channel.component == "host"


def _mirrors(one: _Zone, other: _Zone) -> bool:
    package, _, die = one.channel.id.partition(".")
    if not die or other.channel.id.partition(".")[0] != package:
        return False
    first, second = _text(one.counter), _text(other.counter)
    if not (first.isdigit() and second.isdigit()):
        return False
    return int(first) >= MIRRORED_FROM_UJ and abs(int(first) - int(second)) <= MIRRORED_WITHIN_UJ


def _zones(root: Path) -> Iterator[_Zone]:
    """Zones with a counter: the tree may be given flat, or under its control type `intel-rapl`, or both."""
    for top in sorted({*root.glob("intel-rapl:*"), *root.glob("intel-rapl/intel-rapl:*")}):
        for zone in (top, *sorted(top.glob("intel-rapl:*"))):
            outer = zone.with_name(zone.name.rpartition(":")[0])  # in a flat tree; else the folder it lies in
            found = _channel(_text(zone / "name"), _text((outer if outer.exists() else zone.parent) / "name"))
            if found is not None and (zone / "energy_uj").exists():
                wraps_at_uj = _text(zone / "max_energy_range_uj")  # on some kernels as unreadable as the counter
                wraps_at_j = int(wraps_at_uj) / 1e6 if wraps_at_uj.isdigit() and int(wraps_at_uj) else None
                yield _Zone(counter(*found, wraps_at_j), zone)


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


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
