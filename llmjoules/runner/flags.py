"""What a reader should know before trusting a run's figures: `code` or `code:where`, from the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import UNSET

from llmjoules.records.net import drifts
from llmjoules.records.record import Energy, Part, Phase, Run

OTHERS = 0.2  # of the CPU's energy, that other programs may use before a run counts as disturbed
OTHER_CPUS = 0.1  # of the CPUs, that other programs may keep busy
HOT_C = 1.0  # above the temperature that devices were to cool down to
STALLED = 0.05  # of the time in which some task waited for memory
# Clocks held down on purpose or for want of work say nothing about the measurement.
EXPECTED_THROTTLING = {"idle", "application clocks", "display clocks", "sync boost"}


def flags(run: Run, warm_up: bool, offloaded: list[str]) -> tuple[str, ...]:
    """offloaded: places other than its devices where parts of the model lie."""
    found = [*_without_figure(run), *_contradicted(run), *_disturbed(run), *_conditions(run)]
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
    conditions = run.conditions if run.conditions is not UNSET else None
    for channel in {**run.states, **(conditions.devices if conditions else {})}:
        states = run.states.get(channel, ())
        during = [state for state in states if inference.start_s <= state.at_s <= inference.end_s]
        if conditions and channel in conditions.devices:
            during.append(conditions.devices[channel])  # right before: an inference may be too short to be looked at
        limits_w = {state.power_limit_w for state in (*during, *states) if state.power_limit_w is not None}
        if len(limits_w) > 1:
            yield f"power_limit_changed:{channel}"
        if any(set(state.throttling or ()) - EXPECTED_THROTTLING for state in during):
            yield f"throttled:{channel}"
        if any(state.other_processes for state in during):
            yield f"shared:{channel}"


def _conditions(run: Run) -> Iterator[str]:
    """What was not as a clean measurement wants it, before the run or around it."""
    if run.warm_up is not UNSET and run.warm_up.ended in ("most_calls", "most_time"):
        yield "warm_up_unsettled"
    yield from (f"idle_drift:{component}" for component in drifts(run))
    if run.conditions is UNSET:
        return
    found = run.conditions
    yield from (f"hot_start:{place}" for place in hot_places(found.temperatures_c, found.cool_down.target_c))
    if found.cpus and any(busy > OTHER_CPUS * found.cpus for busy in found.other_cpus.values()):
        yield "busy:cpu"
    if found.memory_stalled is not None and found.memory_stalled > STALLED:
        yield "memory_pressure"


def hot_places(temperatures_c: Mapping[str, float], target_c: Mapping[str, float]) -> list[str]:
    """The places that are hotter than their target by more than a degree."""
    return [place for place, t_c in temperatures_c.items() if place in target_c and t_c > target_c[place] + HOT_C]
