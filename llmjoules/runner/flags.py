"""What a reader should know before trusting a run's figures: `code` or `code:where`, from the record alone."""

from __future__ import annotations

from collections.abc import Iterator

from llmjoules.records.record import Energy, Part, Phase, Run

OTHERS = 0.2  # of the CPU's energy, that other programs may use before a run counts as disturbed
# Clocks held down on purpose or for want of work say nothing about the measurement.
EXPECTED_THROTTLING = {"idle", "application clocks", "display clocks", "sync boost"}


def flags(run: Run, warm_up: int, offloaded: list[str]) -> tuple[str, ...]:
    """offloaded: places other than its devices where parts of the model lie."""
    found = [*_without_figure(run), *_contradicted(run), *_disturbed(run)]
    found += _unmeasured(run)
    if run.load.first and run.model.weights_mapped and not (run.model.materialized or warm_up):
        found.append("weights_read_in_inference")
    if offloaded:
        found.append(f"offloaded:{'+'.join(offloaded)}")
    return tuple(dict.fromkeys(found))


def _unmeasured(run: Run) -> list[str]:
    """The device that did the work is in no channel: what was measured is something else."""
    kind = run.system.device or "cpu"
    holding = {"cpu": {"cpu"}, "cuda": {"gpu"}, "mps": {"gpu"}}.get(kind, set()) | {"chip", "host", "wall"}
    measured = {channel.component for meter in run.meters for channel in meter.channels}
    return [] if measured & holding else [f"device_not_measured:{kind}"]


def _without_figure(run: Run) -> Iterator[str]:
    for phase in run.phases:
        stretches: list[Phase | Part] = [phase, *(part for part in phase.parts if part.name != "detokenize")]
        for where in stretches:
            codes = {
                energy.reason.partition(":")[0]
                for energy in where.energy
                if energy.reason is not None
                and "@" not in energy.channel  # of second opinions and shares, less matters
            }
            yield from (f"{code}:{where.name}" for code in sorted(codes))


def _contradicted(run: Run) -> Iterator[str]:
    """Two readings of one device differ by more than both can be off by: one of them is wrong."""
    energies = _of_inference(run)
    shares = {channel.id for meter in run.meters for channel in meter.channels if channel.extent == "process-share"}
    for channel, second in energies.items():
        if channel in shares:
            continue  # a part of the other, not a second reading of it
        first = energies.get(channel.partition("@")[0])
        if first is not None and first is not second and _differ(first, second):
            yield f"disagreement:{channel}"


def _of_inference(run: Run) -> dict[str, Energy]:
    return {energy.channel: energy for phase in run.phases if phase.name == "inference" for energy in phase.energy}


def _differ(a: Energy, b: Energy) -> bool:
    if a.joules is None or b.joules is None:
        return False
    return abs(a.joules - b.joules) > (a.uncertainty_j or 0.0) + (b.uncertainty_j or 0.0)


def _disturbed(run: Run) -> Iterator[str]:
    inference = run.phase("inference")
    if inference is None:
        return
    energies = _of_inference(run)
    whole, ours = energies.get("cpu:0"), energies.get("cpu:0@process")
    if whole is not None and ours is not None and whole.joules and ours.joules is not None:
        doubt_j = (whole.uncertainty_j or 0.0) + (ours.uncertainty_j or 0.0)
        if whole.joules - ours.joules > OTHERS * whole.joules + doubt_j:
            yield "shared:cpu"
    for channel, states in run.states.items():
        during = [state for state in states if inference.start_s <= state.at_s <= inference.end_s]
        if any(set(state.throttling or ()) - EXPECTED_THROTTLING for state in during):
            yield f"throttled:{channel}"
        if any(state.other_processes for state in during):
            yield f"shared:{channel}"
