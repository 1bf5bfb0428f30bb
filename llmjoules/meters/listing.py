"""Every registered meter with what it can do here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmjoules.meters import guard
from llmjoules.meters.choice import check_names, probe
from llmjoules.meters.registry import Registry
from llmjoules.meters.types import Unavailable


class Listed(NamedTuple):
    """channels: ids where it is usable; what, why, fix: the reason and the remedy where it is not."""

    name: str
    origin: str
    summary: str
    available: bool
    source: str | None
    channels: tuple[str, ...]
    what: str | None
    why: str | None
    fix: str | None

    def row(self) -> tuple[str, str, str, str]:
        if self.available:
            return self.name, self.origin, "yes", f"{self.summary}: {', '.join(self.channels)} ({self.source})"
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
            listed.append(Listed(name, origin, summary, False, None, (), error.what, error.why, error.fix))
        except guard.PluginFault as error:
            listed.append(Listed(name, origin, summary, False, None, (), f"{error.fault.why}.", None, None))
        else:
            ids = tuple(channel.id for channel in channels)
            listed.append(Listed(name, origin, summary, True, channels[0].source, ids, None, None, None))
    return listed, registry.faults
