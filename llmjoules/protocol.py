"""What `measure` says at the end beside its table: warm-up, net energy, replays, cold start, and what was not clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from statistics import fmean

from msgspec import UNSET

from llmjoules.records import stats
from llmjoules.records.closure import closure
from llmjoules.records.coldstart import break_even, cold_start
from llmjoules.records.net import net
from llmjoules.records.record import Call, Run
from llmjoules.sitegen import flags, text

COMPARED = 3  # calls that --warm-up auto compares
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
            said = [
                *_warm_up(runs, component),
                *_net(runs, component),
                *_replays(runs, component),
                *_cold_start(runs, component),
                *said,
            ]
        yield from (f"{_name(runs[0])}: {line}" if len(cells) > 1 else text.sentence(line) for line in said)


def _name(run: Run) -> str:
    number, noun = (
        (run.system.threads, "thread") if run.system.threads is not None else (run.system.devices_visible, "device")
    )
    return text.shown(f"{run.model.name}, {number} {noun}{'' if number == 1 else 's'}" if number else run.model.name)


def _warm_up(runs: Sequence[Run], component: str) -> Iterator[str]:
    run = next((run for run in runs if run.warm_up is not UNSET and run.warm_up.calls), None)
    if run is None or run.warm_up is UNSET:
        return
    channels = run.totals[component].channels
    first, *later = run.warm_up.calls
    said = f"the first call took {_call([first], channels)}"
    if later:
        last = later[-COMPARED:]
        said += f", the last {len(last)} of {len(run.warm_up.calls)} took {_call(last, channels)} each"
    yield f"{said}."


def _call(calls: Sequence[Call], channels: Sequence[str]) -> str:
    """Time and energy of one, or the mean of some."""
    joules = [stats.joules_of(call.energy, channels) for call in calls]
    known = [value for value in joules if value is not None]
    energy = f" and {text.joules(fmean(known))}" if len(known) == len(calls) else ""
    return f"{text.seconds(fmean(call.duration_s for call in calls))}{energy}"


def _net(runs: Sequence[Run], component: str) -> Iterator[str]:
    """The mean over runs; beside what the method can be off by stands what runs differ by, whichever is more."""
    found = [(run, net(run, component)) for run in runs]
    known = [(run, value) for run, value in found if value.joules is not None]
    if not known:
        yield f"no net energy: {found[0][1].reason}."
        return
    estimate = stats.estimate_of([run for run, _ in known], lambda run: net(run, component).joules)
    assert estimate is not None
    method = sqrt(fmean((value.uncertainty_j or 0.0) ** 2 for _, value in known))
    shown = text.plus_minus(estimate.mean, max(method, estimate.half_width or 0.0))
    idle_w = fmean(value.idle_w or 0.0 for _, value in known)
    idles = text.listed(dict.fromkeys(name for _, value in known for name in value.idles))
    yield (
        f"net of {text.number(idle_w)} W ({idles}), {component} has {shown.mean} ± {shown.half} J a run; "
        "runs are ranked by gross energy."
    )


def _replays(runs: Sequence[Run], component: str) -> Iterator[str]:
    run = next((run for run in reversed(runs) if run.replays is not UNSET), None)
    if run is None or run.replays is UNSET:
        return
    parts = []
    for replay in run.replays:
        joules = stats.joules_of(replay.energy, run.totals[component].channels)
        what = (
            f"{replay.name} of {replay.context_tokens}"
            if replay.name == "prefill"
            else f"a step behind {replay.context_tokens}"
        )
        parts.append(f"{what} tokens {text.joules(joules) if joules is not None else text.DASH}")
    yield f"replayed in a steady state: {', '.join(parts)}."
    found = closure(run, component)
    if found.ratio is None:
        yield f"no closure of the replays: {found.reason}."
    else:
        shown = text.plus_minus(found.ratio, found.uncertainty, 100)
        yield (
            f"replayed prefill and decode are {shown.mean} ± {shown.half} % of the measured inference (± of the meter "
            "alone); the rest is tokenizing, generate's own work and text."
        )


def _cold_start(runs: Sequence[Run], component: str) -> Iterator[str]:
    run = next((run for run in runs if run.load.first), None)
    if run is None:
        return
    steps = [
        f"{step.name} {text.joules(step.joules) if step.joules is not None else text.DASH}"
        for step in cold_start(run, component)
    ]
    if steps:
        yield f"cold start{_from_disk(run)}: {', '.join(steps)}."
    found = break_even(runs, component)
    if found.requests is None:
        yield f"no break-even of loading: {found.reason}."
        return
    high = text.number(found.high) if found.high is not None else "no limit"
    between = f"{text.number(found.low)} to {high}, over {found.basis}"
    yield f"loading is below 5 % of all energy after {text.number(found.requests)} such requests ({between})."


def _from_disk(run: Run) -> str:
    if run.page_cache is UNSET or run.page_cache.resident is None:
        return ""
    return f" with {text.percent(run.page_cache.resident)} of the weights in the page cache"


def _flags(runs: Sequence[Run]) -> Iterator[str]:
    """How many of the runs were not as clean as they should be, and by what."""
    counts = Counter(flag for run in runs for flag in run.flags if flag.partition(":")[0] in UNCLEAN)
    for flag, number in counts.items():
        yield f"{number} of {text.count(len(runs), 'run', spell=False)}: {flags.in_brief([flag])}."
