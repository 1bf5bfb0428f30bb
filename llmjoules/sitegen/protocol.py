"""What surrounds an inference, in words for pages and for the terminal; empty where a record does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import UNSET

from llmjoules.records import stats
from llmjoules.records.closure import closure
from llmjoules.records.coldstart import cold_start
from llmjoules.records.record import Call, Record, Run
from llmjoules.sitegen import text

COMPARED = 3  # calls that --warm-up auto compares
_ENDED = {
    "number": "as many as asked for",
    "settled": "then they agreed",
    "most_calls": "and they still did not agree",
    "most_time": "and time was up before they agreed",
}
_COOLED = {
    "cool": "cool after {}",
    "limit": "still hot after {}",
    "off": "hot, and not waited for",
    "no_temperature": "no temperature can be read",
}


def facts(record: Record) -> Iterator[tuple[str, str]]:
    """Name and words of each part of the protocol, for the component that comes first among those with energy."""
    if not isinstance(record, Run):
        return
    component = next((name for name, total in record.totals.items() if total.joules is not None), None)
    said = {"Before it": conditions(record)}
    if component is not None:
        said |= {
            "Warm-up": warm_up(record, component),
            "Cold start": cold(record, component),
            "Replays": replayed(record, component),
            "Closure": closed(record, component),
        }
    yield from ((name, text.sentence(words)) for name, words in said.items() if words)


def warm_up(run: Run, component: str) -> str:
    """`the first call took 200 ms and 4 J, the last 3 of 5 took 90 ms and 2 J each`."""
    if run.warm_up is UNSET or not run.warm_up.calls:
        return ""
    channels = run.totals[component].channels
    first, *later = run.warm_up.calls
    said = f"the first call took {_call([first], channels)}"
    if later:
        last = later[-COMPARED:]
        said += f", the last {len(last)} of {len(run.warm_up.calls)} took {_call(last, channels)} each"
    return f"{said}; {_ENDED[run.warm_up.ended]}"


def _call(calls: Sequence[Call], channels: Sequence[str]) -> str:
    """Time and energy of one, or the mean of some."""
    joules = [stats.joules_of(call.energy, channels) for call in calls]
    known = [value for value in joules if value is not None]
    energy = f" and {text.joules(sum(known) / len(calls))}" if len(known) == len(calls) else ""
    return f"{text.seconds(sum(call.duration_s for call in calls) / len(calls))}{energy}"


def conditions(run: Run) -> str:
    """Temperatures, others on the CPU, and the wait before the run."""
    if run.conditions is UNSET:
        return ""
    found = run.conditions
    said = [_COOLED[found.cool_down.outcome].format(text.seconds(found.cool_down.waited_s))]
    said += [f"{text.component_name(place)} {text.number(t_c)} °C" for place, t_c in found.temperatures_c.items()]
    said += [f"others kept {text.number(cpus, 2)} CPUs busy in {phase}" for phase, cpus in found.other_cpus.items()]
    said += [f"start put off by {text.seconds(found.start_delay_s)}"] if found.start_delay_s else []
    return "; ".join(said)


def cold(run: Run, component: str) -> str:
    """Energy of each step until the first token, and where the weights lay."""
    steps = cold_start(run, component)
    if not steps:
        return ""
    known = run.page_cache is not UNSET and run.page_cache.resident is not None
    lay = f"; {text.percent(run.page_cache.resident)} of the weights lay in the page cache" if known else ""  # type: ignore[union-attr, arg-type]
    return ", ".join(f"{step.name} {_joules(step.joules)}" for step in steps) + lay


def replayed(run: Run, component: str) -> str:
    """Energy of each replay: a steady state, and said to be one."""
    if run.replays is UNSET:
        return ""
    channels = run.totals[component].channels
    said = []
    for replay in run.replays:
        kind = "prefill of {} tokens" if replay.name == "prefill" else "a step behind {} tokens"
        said.append(f"{kind.format(replay.context_tokens)} {_joules(stats.joules_of(replay.energy, channels))}")
    return f"in a steady state, {', '.join(said)}"


def closed(run: Run, component: str) -> str:
    """How much of the inference its replays explain."""
    if run.replays is UNSET:
        return ""
    found = closure(run, component)
    if found.ratio is None:
        return f"none: {text.shown(found.reason or '', 200)}"
    shown = text.plus_minus(found.ratio, found.uncertainty, 100)
    more = "the rest is tokenizing, generate's own work and text"
    if found.ratio - (found.uncertainty or 0.0) > 1:
        more = "so a steady state took more than the request did"
    share = f"{shown.mean} ± {shown.half or text.DASH} % of the measured inference"
    return f"replayed prefill and decode are {share} (± of the meter alone); {more}"


def _joules(value: float | None) -> str:
    return text.DASH if value is None else text.joules(value)
