"""What a reader should know before trusting a run's figures: `code` or `code:where`, from the record alone."""

from __future__ import annotations

from collections.abc import Iterator

from llmjoules.records.record import Channel, Energy, Part, Phase, Run

# Clocks held down on purpose or for want of work say nothing about the measurement.
EXPECTED_THROTTLING = {"idle", "application clocks", "display clocks", "sync boost"}
# A token cadence this near to a whole multiple or part of a sensor's period shows it the same moment of every token.
NEAR = 0.03


def flags(run: Run, warm_up: int, offloaded: list[str]) -> tuple[str, ...]:
    """offloaded: places other than its devices where parts of the model lie."""
    found = [*_without_figure(run), *_contradicted(run), *_disturbed(run), *_aliased(run)]
    if run.load.first and run.model.weights_mapped and not (run.model.materialized or warm_up):
        found.append("weights_read_in_inference")
    if offloaded:
        found.append(f"offloaded:{'+'.join(offloaded)}")
    return tuple(dict.fromkeys(found))


def _without_figure(run: Run) -> Iterator[str]:
    for phase in run.phases:
        stretches: list[Phase | Part] = [phase, *(part for part in phase.parts if part.name != "detokenize")]
        for where in stretches:
            codes = {energy.reason.partition(":")[0] for energy in where.energy if energy.reason is not None}
            yield from (f"{code}:{where.name}" for code in sorted(codes))


def _contradicted(run: Run) -> Iterator[str]:
    """Two readings of one device differ by more than both can be off by: one of them is wrong."""
    energies = {energy.channel: energy for phase in run.phases if phase.name == "inference" for energy in phase.energy}
    for channel, second in energies.items():
        first = energies.get(channel.partition("@")[0])
        if first is not None and first is not second and _differ(first, second):
            yield f"disagreement:{channel}"


def _differ(a: Energy, b: Energy) -> bool:
    if a.joules is None or b.joules is None:
        return False
    return abs(a.joules - b.joules) > (a.uncertainty_j or 0.0) + (b.uncertainty_j or 0.0)


def _disturbed(run: Run) -> Iterator[str]:
    inference = run.phase("inference")
    if inference is None:
        return
    for channel, states in run.states.items():
        during = [state for state in states if inference.start_s <= state.at_s <= inference.end_s]
        if any(set(state.throttling or ()) - EXPECTED_THROTTLING for state in during):
            yield f"throttled:{channel}"
        if any(state.other_processes for state in during):
            yield f"shared:{channel}"


def _aliased(run: Run) -> Iterator[str]:
    """A sensor that looks for a part of its period may see the same moment of every token, and no band tells."""
    times_s = run.tokens.times_s
    if len(times_s) < 10:
        return
    cadence_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    for channel in (channel for meter in run.meters for channel in meter.channels):
        if channel.duty < 1 and cadence_s > 0 and _in_step(channel, cadence_s):
            yield f"in_step_with_sensor:{channel.id}"


def _in_step(channel: Channel, cadence_s: float) -> bool:
    ratio = max(channel.period_s / cadence_s, cadence_s / channel.period_s) if channel.period_s else 0.0
    return ratio >= 1 - NEAR and abs(ratio - round(ratio)) <= NEAR * ratio and ratio < 1 / (2 * NEAR)
