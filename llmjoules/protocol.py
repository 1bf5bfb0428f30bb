"""What `measure` says at the end beside its table: warm-up, net energy, replays, cold start, and what was not clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from statistics import fmean

from msgspec import UNSET

from llmjoules.records import stats
from llmjoules.records.coldstart import break_even
from llmjoules.records.net import net
from llmjoules.records.record import Run
from llmjoules.sitegen import flags, protocol, text

MOST_CELLS = 4  # more of them are told by their flags alone
UNCLEAN = {
    "busy", "hot_start", "throttled", "shared", "power_limit_changed", "memory_pressure", "warm_up_unsettled",
    "idle_drift",
}  # fmt: skip


def lines(records: Iterable[Run]) -> Iterator[str]:
    """A few sentences a cell, of the first component that has energy."""
    cells: dict[str, list[Run]] = {}
    for record in records:
        cells.setdefault(record.cell, []).append(record)
    for runs in cells.values():
        component = next((name for run in runs for name, total in run.totals.items() if total.joules is not None), None)
        said = [*_flags(runs)]
        if component is not None and len(cells) <= MOST_CELLS:
            said = [*_of_component(runs, component), *said]
        yield from (f"{_name(runs[0])}: {line}." if len(cells) > 1 else f"{text.sentence(line)}." for line in said)


def _of_component(runs: Sequence[Run], component: str) -> Iterator[str]:
    """Of warm-up and loading the first run tells that has them, of replays the last one."""
    firsts = [run for run in runs if run.load.first]
    warmed = next((run for run in runs if run.warm_up is not UNSET), None)
    replayed = next((run for run in reversed(runs) if run.replays is not UNSET), None)
    if warmed is not None:
        yield protocol.warm_up(warmed, component)
    yield _net(runs, component)
    if replayed is not None:
        yield f"replays: {protocol.replayed(replayed, component)}"
        yield f"closure: {protocol.closed(replayed, component)}"
    if firsts:
        yield f"cold start: {protocol.cold(firsts[0], component)}"
        yield _break_even(runs, component)


def _name(run: Run) -> str:
    system = run.system
    number, noun = (system.threads, "thread") if system.threads is not None else (system.devices_visible, "device")
    return text.shown(f"{run.model.name}, {number} {noun}{'' if number == 1 else 's'}" if number else run.model.name)


def _net(runs: Sequence[Run], component: str) -> str:
    """The mean over runs, ± what the method can be off by or what runs differ by, whichever is more."""
    found = [net(run, component) for run in runs]
    known = [value for value in found if value.joules is not None]
    estimate = stats.estimate_of(runs, lambda run: net(run, component).joules)
    if estimate is None:
        return f"no net energy: {found[0].reason}"
    method = sqrt(fmean((value.uncertainty_j or 0.0) ** 2 for value in known))
    shown = text.plus_minus(estimate.mean, max(method, estimate.half_width or 0.0))
    idle_w = fmean(value.idle_w or 0.0 for value in known)
    idles = text.listed(dict.fromkeys(name for value in known for name in value.idles))
    return (
        f"net of {text.number(idle_w)} W ({idles}), {component} has {shown.mean} ± {shown.half or text.DASH} J a run; "
        "runs are ranked by gross energy"
    )


def _break_even(runs: Sequence[Run], component: str) -> str:
    found = break_even(runs, component)
    if found.requests is None:
        return f"no break-even of loading: {found.reason}"
    high = text.number(found.high) if found.high is not None else "no limit"
    between = f"{text.number(found.low)} to {high}, over {found.basis}"
    return f"loading is below 5 % of all energy after {text.number(found.requests)} such requests ({between})"


def _flags(runs: Sequence[Run]) -> Iterator[str]:
    """How many of the runs were not as clean as they should be, and by what."""
    counts = Counter(flag for run in runs for flag in run.flags if flag.partition(":")[0] in UNCLEAN)
    for flag, number in counts.items():
        yield f"{number} of {text.count(len(runs), 'run', spell=False)}: {flags.in_brief([flag])}"
