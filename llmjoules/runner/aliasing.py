"""A sensor that looks for a part of its period only, and tokens that come in step with it.

It may then see the same moment of every token, and be wrong by as much as power varies within one. No reading tells by
how much, so there is no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from llmjoules.records.record import Channel, Energy, MeterInfo, Part, Phase

# In step: a whole number of tokens a period, or of periods a token, this nearly.
NEAR = 0.03
FEWEST_TOKENS = 10  # of fewer, no cadence can be told
REASON = "in_step: tokens came in step with a sensor that looks for a part of its period only"


def channels_in_step(meters: Iterable[MeterInfo], times_s: Sequence[float]) -> set[str]:
    """Ids of the channels whose sensor may have seen the same moment of every token."""
    if len(times_s) < FEWEST_TOKENS:
        return set()
    cadence_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    channels = [channel for meter in meters for channel in meter.channels]
    return {channel.id for channel in channels if channel.duty < 1 and _in_step(channel, cadence_s)}


def _in_step(channel: Channel, cadence_s: float) -> bool:
    if channel.period_s == 0 or cadence_s <= 0:
        return False
    ratio = max(channel.period_s / cadence_s, cadence_s / channel.period_s)
    # Above this ratio every number is near a whole one: so many tokens a period blur into a mean.
    return ratio < 1 / (4 * NEAR) and abs(ratio - round(ratio)) <= NEAR * ratio


def without_figures(phases: Iterable[Phase], channels: set[str]) -> tuple[Phase, ...]:
    """The phases, with the energy of these channels over the inference and its decode part taken out, and why."""

    def taken_out(energies: Sequence[Energy]) -> tuple[Energy, ...]:
        return tuple(
            Energy(channel=e.channel, joules=None, reason=REASON) if e.channel in channels else e for e in energies
        )

    def part(old: Part) -> Part:
        return msgspec.structs.replace(old, energy=taken_out(old.energy)) if old.name == "decode" else old

    return tuple(
        msgspec.structs.replace(phase, energy=taken_out(phase.energy), parts=tuple(map(part, phase.parts)))
        if phase.name == "inference" and channels
        else phase
        for phase in phases
    )
