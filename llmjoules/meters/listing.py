"""Every registered meter with what it can do here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from llmjoules.meters import guard
from llmjoules.meters.choice import check_names, probe
from llmjoules.meters.registry import Registry
from llmjoules.meters.types import Unavailable


class Listed(NamedTuple):
    """sources: by channel, where it is usable, and source of the first one; what, why, fix: the reason and the remedy
    where it is not.
    """

    name: str
    origin: str
    summary: str
    available: bool
    sources: dict[str, str]
    source: str | None = None
    channels: tuple[str, ...] = ()
    what: str | None = None
    why: str | None = None
    fix: str | None = None

    def row(self) -> tuple[str, str, str, str]:
        if self.available:
            by_source = groupby(self.channels, self.sources.__getitem__)
            listed = [f"{', '.join(channels)} ({source})" for source, channels in by_source]
            return self.name, self.origin, "yes", f"{self.summary}: {', '.join(listed)}"
        return self.name, self.origin, "no", " ".join(filter(None, (self.what, self.why, self.fix)))


def list_meters(
    plugins: Sequence[Path], options: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Listed], list[guard.Fault]]:
    """All meters, ours and others', and the plug-ins that had to be left out. Probes; measures nothing."""
    registry = Registry(plugins)
    options = options or {}
    check_names(registry, ["auto"], options)
    listed: list[Listed] = []
    for name, (meter_class, origin) in registry.entries.items():
        summary = meter_class.summary
        try:
            channels = probe(registry.make(name, options.get(name)))
        except Unavailable as error:
            listed.append(Listed(name, origin, summary, False, {}, what=error.what, why=error.why, fix=error.fix))
        except guard.PluginFault as error:
            listed.append(Listed(name, origin, summary, False, {}, what=f"{error.fault.why}."))
        else:
            sources: dict[str, str] = {channel.id: channel.source for channel in channels}
            listed.append(Listed(name, origin, summary, True, sources, channels[0].source, tuple(sources)))
    return listed, registry.faults
