"""Which meters take part: those that were named, or all that can measure here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmjoules.meters import guard
from llmjoules.meters.registry import Registry
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.record import Channel

Chosen = list[tuple[Meter, tuple[Channel, ...]]]


def check_names(registry: Registry, names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises LlmjoulesError where `auto` is mixed with names, or options are given to a meter that takes no part."""
    if "auto" in names and names != ["auto"]:
        raise LlmjoulesError("auto is not one meter among others.", "It chooses all of them.", "Give auto, or names.")
    for name in options:
        if name not in registry.entries:
            fix = "See what there is: llmjoules meters"
            raise LlmjoulesError(f"Option for an unknown meter: {name}.", nearest(name, registry.entries), fix)
        if names != ["auto"] and name not in names:
            fix = "Leave it out, or name that meter too."
            raise LlmjoulesError(f"Option for meter {name}.", "It takes no part.", fix)


def named(registry: Registry, names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> Chosen:
    chosen: Chosen = []
    for name in dict.fromkeys(names):
        try:
            meter = registry.make(name, options.get(name))
            chosen.append((meter, probe(meter)))
        except guard.PluginFault as error:
            raise LlmjoulesError(
                f"Meter {name} cannot be used.", f"{error.fault.why}.", "Leave it out, or mend the plug-in."
            ) from error
    if not chosen:
        raise LlmjoulesError("No meter is named.", "", "Name one: --meter auto")
    return chosen


def automatic(
    registry: Registry, options: Mapping[str, Mapping[str, Any]]
) -> tuple[Chosen, list[guard.Fault], list[str]]:
    """Every meter that measures here, else the first that models; plug-ins left out; what the user should know.

    Raises LlmjoulesError where there is neither.
    """
    faults: list[guard.Fault] = []
    measuring: Chosen = []
    modelling: Chosen = []
    refused: list[str] = []
    for name, entry in registry.entries.items():
        if not entry.meter.auto:
            continue
        try:
            meter = registry.make(name, options.get(name))
            channels = probe(meter)
        except Unavailable as error:
            refused.append(f"{name}: {error.what.rstrip('.')}")
        except guard.PluginFault as error:
            faults.append(error.fault)
        else:
            # A device, if only its maker's model of itself as on a Mac.
            reads = any(c.kind != "model" and c.source != "simulated" for c in channels)
            (measuring if reads else modelling).append((meter, channels))
    if measuring or not modelling:
        if not measuring:
            raise LlmjoulesError("No meter is usable here.", "; ".join(refused), "See why: llmjoules meters")
        return measuring, faults, [note for meter, channels in measuring for note in _modelled(meter, channels)]
    model = modelling[0][0].name
    note = f"No meter can measure here (llmjoules meters says why): energy is modelled by {model!r}, not measured."
    return modelling[:1], faults, [note]


def _modelled(meter: Meter, channels: Iterable[Channel]) -> Iterator[str]:
    """A word on devices that give their maker's model of themselves."""
    if any(channel.source == "modelled" and channel.extent != "process-share" for channel in channels):
        yield f"What {meter.name!r} gives is modelled by the device, not measured."


def probe(meter: Meter) -> tuple[Channel, ...]:
    """The meter's channels, checked. Raises Unavailable, or PluginFault where the plug-in misbehaves."""

    def channels() -> Any:
        found: Any = meter.probe()
        return list(found) if isinstance(found, Iterable) else found  # a generator runs here, inside the guard

    return guard.checked_channels(meter.name, guard.call(meter.name, "probe", channels))
