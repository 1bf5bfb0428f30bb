"""Joules per component over the inference, from channels that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from llmjoules.records.record import SOURCES, Channel, Energy, Failed, MeterInfo, Run, Total


def totals(meters: Iterable[MeterInfo], energies: Iterable[Energy]) -> dict[str, Total]:
    """One total per component. Null with a reason as soon as one of its channels is null: a part is not the whole.

    Uncertainties are added up, not combined as if independent: the edges of all channels are the same instants.
    """
    by_channel = {energy.channel: energy for energy in energies}
    components: dict[str, list[Channel]] = {}
    for meter in meters:
        for channel in meter.channels:
            components.setdefault(channel.component, []).append(channel)
    distinct = {name: _distinct(channels) for name, channels in components.items()}
    return {name: _total(channels, by_channel) for name, channels in distinct.items() if channels}


def _distinct(channels: Sequence[Channel]) -> list[Channel]:
    """Channels without those inside another one, without shares of a process, and without second opinions.

    A second opinion is another meter's reading of a device that is counted already; its id ends in `@meter`.
    """
    inside = {inner for channel in channels for inner in channel.contains}
    return [c for c in channels if c.id not in inside and "@" not in c.id and c.extent != "process-share"]


def _total(channels: Sequence[Channel], energies: dict[str, Energy]) -> Total:
    found = [energies[channel.id] for channel in channels if channel.id in energies]
    ids = tuple(channel.id for channel in channels)
    source = max((channel.source for channel in channels), key=SOURCES.index)
    missing = next((energy for energy in found if energy.joules is None), None)
    if missing is not None or len(found) < len(channels):
        reason = missing.reason if missing is not None else "missing: a channel gave no figure"
        return Total(joules=None, source=source, channels=ids, reason=reason)
    return Total(
        joules=round(sum(energy.joules or 0.0 for energy in found), 6),
        uncertainty_j=round(sum(energy.uncertainty_j or 0.0 for energy in found), 6),
        source=source,
        channels=ids,
    )


def with_unused(record: Run | Failed) -> dict[str, Total]:
    """The totals, with the part of those devices apart that the run had to itself and that hold no part of the model.

    With 8 GPUs accelerate leaves one empty for a model of 7 billion parameters; its idle joules count all the same.
    """
    uuids = _unused(record)
    energies = {
        energy.channel: energy for phase in record.phases if phase.name == "inference" for energy in phase.energy
    }
    own = {channel.id for meter in record.meters for channel in meter.channels if channel.uuid in uuids}
    found = dict(record.totals)
    for name, total in record.totals.items():
        channels = tuple(channel for channel in total.channels if channel in own)
        joules = [energies[channel].joules if channel in energies else None for channel in channels]
        known = [value for value in joules if value is not None]
        if channels and len(known) == len(joules):
            found[name] = msgspec.structs.replace(total, unused_j=round(sum(known), 6), unused=channels)
    return found


def _unused(record: Run | Failed) -> set[str]:
    """UUIDs of the accelerators without weights. The map counts as CUDA does in that process, as the record does."""
    holding = set((record.system.device_map or {}).values())
    if not any(place.startswith("cuda") for place in holding):
        return set()
    return {
        accelerator.uuid
        for number, accelerator in enumerate(record.system.accelerators)
        if accelerator.uuid is not None and f"cuda:{number}" not in holding
    }
