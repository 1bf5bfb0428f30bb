"""CPU packages and memory, from the RAPL counters of Intel and AMD under Linux, by whichever route is open.

The powercap tree first: it names its zones. Since Linux 5.10 only root may read it; perf events show the same counters
to those whom the kernel lets count system-wide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal

import msgspec

from llmjoules.meters.cpu import cpu_name, logical_cpus, tdp
from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.perf_events import perf_sources, pmu_root
from llmjoules.meters.powercap import RENEWED_EVERY_S as RENEWED_EVERY_S
from llmjoules.meters.powercap import RESOLUTION_J as RESOLUTION_J
from llmjoules.meters.powercap import Source, powercap_root, powercap_sources
from llmjoules.meters.share import CLOCK_TICK_S, SHARE, ProcessShare, share_channel
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.record import Channel


class RaplOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """route: how the counters are read. share: beside the packages, record what falls to this process."""

    route: Literal["auto", "powercap", "perf"] = "auto"
    share: bool = True


class Rapl(Meter):
    name = "rapl"
    summary = "CPU packages and memory, from the energy counters of Intel and AMD under Linux"
    Options = RaplOptions

    def __init__(self, options: RaplOptions | None = None) -> None:
        super().__init__(options)
        self._route: str | None = None
        self._open: dict[str, tuple[Source, int]] = {}
        self._share: ProcessShare | None = None

    def probe(self) -> list[Channel]:
        channels = [source.channel for source in self._sources()]
        return [*channels, *self._share_of(channels)]

    def open(self) -> None:
        try:
            for source in self._sources():
                self._open[source.channel.id] = (source, source.open())
        except BaseException:
            self.close()
            raise
        channels = [source.channel for source, _ in self._open.values()]
        self._share = ProcessShare(channels) if self._share_of(channels) else None

    def read(self) -> dict[str, float]:
        found = {}
        problem: Exception | None = None
        for channel, (source, fd) in self._open.items():
            try:
                found[channel] = source.joules(fd)
            except (OSError, ValueError) as error:  # a package that is taken out leaves the others
                problem = error
        if not found and problem is not None:
            raise problem
        if self._share is not None and (joules := self._share.joules(found)) is not None:
            found[SHARE] = joules
        return found

    def close(self) -> None:
        while self._open:
            with suppress(OSError):
                os.close(self._open.popitem()[1][1])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "route": self._route or self.options.route}

    def _sources(self) -> list[Source]:
        """By the first route that is open. Raises Unavailable, which tells of all that were tried."""
        refusals = []
        for route, sources in self._routes():
            try:
                found = sources()
            except Unavailable as error:
                refusals.append(error)
            else:
                self._route = route
                return found
        raise refusals[0] if len(refusals) == 1 else _neither(*refusals)

    def _routes(self) -> Iterator[tuple[str, Callable[[], list[Source]]]]:
        if self.options.route != "perf":
            yield "powercap", lambda: powercap_sources(powercap_root())
        if self.options.route != "powercap":
            yield "perf", lambda: perf_sources(pmu_root())

    def _share_of(self, channels: list[Channel]) -> list[Channel]:
        if not self.options.share or all(channel.component != "cpu" for channel in channels):
            return []
        cpus = logical_cpus()
        design_w = tdp(powercap_root(), cpu_name(), cpus).watts
        return [share_channel(round(design_w * CLOCK_TICK_S / cpus, 6))]


def _neither(powercap: Unavailable, perf: Unavailable) -> Unavailable:
    """The first one's sentence with what the second adds, and its remedy too where there are events."""
    fix = powercap.fix
    if isinstance(perf.__cause__, OSError) and perf.fix:
        fix += f" Or, for perf events: {perf.fix}"
    return Unavailable(powercap.what, f"{powercap.why} Perf events: {perf.what} {perf.why}", fix.strip())


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Rapl]
