"""Is B cheaper than A? Cells of two results set side by side, component by component; and a check for CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records import stats
from llmjoules.records.cells import Cell, Repeat, differences, load_of, pair, plain, same_work, telling
from llmjoules.records.difference import ALPHA, Difference, Point, difference, widened
from llmjoules.records.drift import drift
from llmjoules.records.ending import last_level, widening
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import SOURCES, Channel, Record

FEWEST_PAIRS = 4  # below, pairing loses more in degrees of freedom than it gains
WARMER_C = 5.0  # a start that differs by more is another thermal state


class Scope(Struct, frozen=True):
    """What a figure is of: only like is compared with like."""

    component: str
    source: str
    extent: str

    def __str__(self) -> str:
        return (
            f"{plain(self.component)} ({', '.join((self.source, *([self.extent] if self.extent != 'device' else [])))})"
        )


class Gain(Struct, frozen=True):
    """What no interval holds: by how much the meters may be off (a fraction; None if unknown).

    same: `device` (by its UUID) or `system` (by the names of system and channel: the same machine, or one of its
    kind), where one meter read both sides and its gain cancels in the percentage; `no` where it does not.
    """

    same: str
    a: float | None
    b: float | None


class Compared(Struct, frozen=True, kw_only=True):
    """One figure of one component. figure: `whole` (J per output token), `prefill` (per prompt token), `decode` (per
    decoded token). source: of the joules, of both sides the one that claims least; where it is not `measured`, cheaper
    and dearer are what a model or a simulation says, and rank nothing. basis: `loads`, `runs` (of one process on a
    side: what differs from load to load is not in the interval) or `one run` (no interval). runs, loads: of A and of B,
    as far as they are known; figures: published ones of whose processes nothing is known, each a point of its own.
    widened: by what the scatter of A and of B was multiplied, since repeats that end when they look alike have too
    little of it.
    """

    figure: str
    scope: str
    source: str
    basis: str
    runs: tuple[int, int]
    loads: tuple[int, int]
    figures: tuple[int, int]
    widened: tuple[float, float]
    difference: Difference
    verdict: str

    @property
    def single(self) -> str:
        """What a side without an interval has."""
        alone = any(runs == 1 and not figures for runs, figures in zip(self.runs, self.figures, strict=True))
        return "one run" if alone else "one published figure"


class Thermal(Struct, frozen=True):
    """Mean temperature of a device at the start of the runs; None where it was not recorded."""

    channel: str
    a_c: float | None
    b_c: float | None

    @property
    def comparable(self) -> bool | None:
        return None if self.a_c is None or self.b_c is None else abs(self.b_c - self.a_c) <= WARMER_C


class Comparison(Struct, frozen=True, kw_only=True):
    """Two cells. differing: what is not the same, by name. refused: components that were not compared, and why.

    same_work: None where it is not known; then no difference has parts.
    flags: what to know before trusting a figure: the flags of the runs, and drift of the repeats.
    """

    a: str
    b: str
    differing: dict[str, tuple[str, str]]
    same_work: bool | None
    compared: tuple[Compared, ...]
    gains: dict[str, Gain]
    thermal: tuple[Thermal, ...]
    flags: tuple[str, ...]
    refused: tuple[str, ...]


def compare(
    a: Sequence[Cell], b: Sequence[Cell], *, anyway: bool = False, same_settings: bool = False
) -> tuple[list[Comparison], list[str]]:
    """Compare cells pair by pair (see `cells.pair`); also the titles of cells without a partner.

    anyway: also set different components or sources against each other.
    Raises LlmjoulesError where nothing may be compared, saying why.
    """
    shared = {run.id for cell in a for run in cell.runs} & {run.id for cell in b for run in cell.runs}
    if shared:
        raise LlmjoulesError(
            "A and B are partly the same runs.",
            f"{len(shared)} records are on both sides, so the sides are not independent.",
            "Choose cells: RESULTS#KEY=VALUE,…, for example results#dtype=bfloat16",
        )
    pairs, alone = pair(a, b, same_settings=same_settings)
    keys = telling([cell for both in pairs for cell in both])
    made = [_comparison(one, other, keys, anyway) for one, other in pairs]
    if not any(comparison.compared for comparison in made):
        why = next((reason for comparison in made for reason in comparison.refused), "Neither has a figure.")
        raise LlmjoulesError("A and B cannot be compared.", why, "Set them against each other all the same: --anyway")
    return made, alone


def _comparison(a: Cell, b: Cell, keys: Sequence[str], anyway: bool) -> Comparison:
    scopes_a, scopes_b = _scopes(a), _scopes(b)
    compared: list[Compared] = []
    refused: list[str] = []
    gains: dict[str, Gain] = {}
    for scope_a, scope_b in _matched(scopes_a, scopes_b, anyway):
        if scope_a != scope_b and not anyway:
            refused.append(f"{scope_a} is not {scope_b}: another source or extent.")
            continue
        title = str(scope_a) if scope_a == scope_b else f"{scope_a} against {scope_b}"
        compared += _figures(a, b, scope_a, scope_b, title)
        gains[title] = _gain(a, b, scope_a.component, scope_b.component)
    only = [f"{side} alone has {scope}" for side, scope in _alone(scopes_a, scopes_b)]
    if not compared or not anyway:
        refused += [f"{'; '.join(only)}: another part of the machine."] if only else []
    return Comparison(
        a=a.title(keys),
        b=b.title(keys),
        differing=differences(a, b),
        same_work=same_work(a, b),
        compared=tuple(compared),
        gains=gains,
        thermal=tuple(_thermal(a, b)),
        flags=tuple(f"{side}: {flag}" for side, cell in (("A", a), ("B", b)) for flag in _flags(cell)),
        refused=tuple(refused),
    )


IDLE_OR_LOADING = ("idle", "import", "tokenizer", "model", "pipeline", "warm-up", "idle-loaded", "idle-after")
_OF_LOADING = {f"too_short:{phase}" for phase in IDLE_OR_LOADING}


def _flags(cell: Cell) -> Iterator[str]:
    runs = f"{len(cell.runs)} {'runs' if any(run.load is not None for run in cell.runs) else 'published figures'}"
    for flag in sorted({flag for run in cell.runs for flag in run.flags} - _OF_LOADING):
        yield f"{plain(flag)} in {sum(flag in run.flags for run in cell.runs)} of {runs}"
    for component in _scopes(cell):
        by_load: dict[str, list[float]] = {}
        for run in cell.runs:
            value = stats.joules_per_token(run, component)
            if value is not None:
                by_load.setdefault(load_of(run), []).append(value)
        yield from drift(by_load).flags(plain(component))


def _scopes(cell: Cell) -> dict[str, Scope]:
    """By component, of those with figures: of several sources the one that claims least."""
    found: dict[str, Scope] = {}
    for run in cell.runs:
        for component, total in run.totals.items():
            if stats.joules_per_token(run, component) is not None:
                extents = {channel.extent for channel in _channels(run, component)}
                scope = Scope(component, total.source, "+".join(sorted(extents)) or "device")
                before = found.get(component)
                if before is None or SOURCES.index(scope.source) > SOURCES.index(before.source):
                    found[component] = scope
    return found


def _matched(a: dict[str, Scope], b: dict[str, Scope], anyway: bool) -> Iterator[tuple[Scope, Scope]]:
    common = [component for component in a if component in b]
    yield from ((a[component], b[component]) for component in common)
    if anyway and not common and a and b:
        yield next(iter(a.values())), next(iter(b.values()))


def _alone(a: dict[str, Scope], b: dict[str, Scope]) -> Iterator[tuple[str, Scope]]:
    yield from (("A", scope) for component, scope in a.items() if component not in b)
    yield from (("B", scope) for component, scope in b.items() if component not in a)


def _figures(a: Cell, b: Cell, scope_a: Scope, scope_b: Scope, title: str) -> Iterator[Compared]:
    of_a, of_b = scope_a.component, scope_b.component
    source = max(scope_a.source, scope_b.source, key=SOURCES.index)
    factors = widening(a.runs), widening(b.runs)
    level = last_level(a.runs, b.runs)
    for figure in ("whole", "prefill", "decode"):
        runs_a = [(run, point) for run in a.runs if (point := _point(run, of_a, figure)) is not None]
        runs_b = [(run, point) for run in b.runs if (point := _point(run, of_b, figure)) is not None]
        if level is not None:
            runs_a, runs_b = _whole_pairs(runs_a, runs_b)
        if not runs_a or not runs_b:
            continue
        loads_a, loads_b = _loads(runs_a), _loads(runs_b)
        paired = level is not None or _took_turns(loads_a, loads_b)
        several = len(loads_a) > 1 and len(loads_b) > 1
        points_a, points_b = (
            widened(_points(runs, loads), factor)
            for runs, loads, factor in zip((runs_a, runs_b), (loads_a, loads_b), factors, strict=True)
        )
        known_a, known_b = _known(loads_a), _known(loads_b)
        found = difference(points_a, points_b, paired=paired, alpha=ALPHA if level is None else level)
        if same_work(a, b) is None:
            found = replace(found, power=None, time=None)
        yield Compared(
            figure=figure,
            scope=title,
            source=source,
            basis="loads" if several else "one run" if found.p is None else "runs",
            runs=(known_a[0], known_b[0]),
            loads=(known_a[1], known_b[1]),
            figures=(len(runs_a) - known_a[0], len(runs_b) - known_b[0]),
            widened=factors,
            difference=found,
            verdict=found.verdict,
        )


def _whole_pairs(
    a: Sequence[tuple[Repeat, Point]], b: Sequence[tuple[Repeat, Point]]
) -> tuple[list[tuple[Repeat, Point]], list[tuple[Repeat, Point]]]:
    """Of cells in turns whose n-th repeats belong together: those that both have, in that order."""
    by_number = [{run.repeat: (run, point) for run, point in side if run.repeat is not None} for side in (a, b)]
    both = sorted(by_number[0].keys() & by_number[1].keys())
    return [by_number[0][n] for n in both], [by_number[1][n] for n in both]


def _point(run: Repeat, component: str, figure: str) -> Point | None:
    """Joules and seconds of one run, per token of the figure; None where it has no energy above zero."""
    if figure == "whole":
        joules, rate = stats.joules_per_token(run, component), stats.tokens_per_s(run)
        return Point(joules, 1 / rate if rate else None) if joules else None
    phase, total, tokens = stats.inference(run), run.totals.get(component), run.tokens
    part = next((part for part in phase.parts if part.name == figure), None) if phase is not None else None
    if part is None or total is None or tokens is None:
        return None
    joules = stats.joules_of(part.energy, total.channels)
    count = tokens.prompt if figure == "prefill" else tokens.generated - (run.workload.batch_size or 1)
    return Point(joules / count, (part.end_s - part.start_s) / count) if joules and count > 0 else None


def _loads(runs: Sequence[tuple[Repeat, Point]]) -> dict[str, list[tuple[Repeat, Point]]]:
    loads: dict[str, list[tuple[Repeat, Point]]] = {}
    for run, point in runs:
        loads.setdefault(load_of(run), []).append((run, point))
    return loads


def _known(loads: dict[str, list[tuple[Repeat, Point]]]) -> tuple[int, int]:
    """How many runs of known processes there are, and how many of these."""
    known = [runs for runs in loads.values() if runs[0][0].load is not None]
    return sum(map(len, known)), len(known)


def _points(runs: Sequence[tuple[Repeat, Point]], loads: dict[str, list[tuple[Repeat, Point]]]) -> list[Point]:
    """Means of loads; of a single load its runs."""
    if len(loads) < 2:
        return [point for _, point in runs]
    return [_mean([point for _, point in load]) for load in loads.values()]


def _mean(points: Sequence[Point]) -> Point:
    seconds = [point.seconds for point in points if point.seconds is not None]
    return Point(fmean(x.joules for x in points), fmean(seconds) if len(seconds) == len(points) else None)


def _took_turns(a: dict[str, list[tuple[Repeat, Point]]], b: dict[str, list[tuple[Repeat, Point]]]) -> bool:
    """Do the loads alternate in time, each two that follow one another being one of A and one of B (ABBA, ABAB)?

    Then drift of the machine is the same for both of a pair. The order was fixed before anything was measured, so
    looking at it costs no false alarms.
    """
    if len(a) != len(b) or len(a) < FEWEST_PAIRS:
        return False
    starts = [(load[0][0].started_at, side) for side, loads in (("a", a), ("b", b)) for load in loads.values()]
    if any(at is None for at, _ in starts):
        return False
    order = [side for _, side in sorted(starts, key=lambda start: str(start[0]))]
    return all({one, other} == {"a", "b"} for one, other in zip(order[::2], order[1::2], strict=True))


def _channels(run: Record, component: str) -> list[Channel]:
    total = run.totals.get(component)
    wanted = set(total.channels) if total is not None else set()
    return [channel for meter in run.meters for channel in meter.channels if channel.id in wanted]


def _gain(a: Cell, b: Cell, of_a: str, of_b: str) -> Gain:
    one, other = _boards(a, of_a), _boards(b, of_b)
    known = all(uuid for *_, uuid in one)
    same = "no" if one != other or not one else "device" if known else "system"
    return Gain(same, _largest_gain(a, of_a), _largest_gain(b, of_b))


def _boards(cell: Cell, component: str) -> set[tuple[str, ...]]:
    """What measured: system, meter and channel, and which piece of hardware it is, where that is known."""
    return {
        (run.system.name, meter.name, channel.id, channel.uuid or "")
        for run in cell.runs
        for meter in run.meters
        for channel in _channels(run, component)
        if channel in meter.channels
    }


def _largest_gain(cell: Cell, component: str) -> float | None:
    gains = [channel.gain for run in cell.runs for channel in _channels(run, component)]
    known = [gain for gain in gains if gain is not None]
    return max(known) if known and len(known) == len(gains) else None


def _thermal(a: Cell, b: Cell) -> Iterator[Thermal]:
    starts_a, starts_b = _starts(a), _starts(b)
    for channel in sorted(starts_a.keys() | starts_b.keys()):
        both = [fmean(found) if (found := starts.get(channel)) else None for starts in (starts_a, starts_b)]
        yield Thermal(channel, both[0], both[1])


def _starts(cell: Cell) -> dict[str, list[float]]:
    """The first temperature of each run, by channel."""
    found: dict[str, list[float]] = {}
    for run in cell.runs:
        for channel, states in getattr(run, "states", {}).items():
            known = [state for state in states if state.temperature_c is not None]
            if known:
                found.setdefault(channel, []).append(min(known, key=lambda state: state.at_s).temperature_c)
    return found


class Checked(Struct, frozen=True, kw_only=True):
    """One figure of a check. outcome: `rise`, `fine`, `unknown` (no interval) or `not judged` (thermal state).

    p: one-sided, that it rose at all; reason: a sentence.
    """

    title: str
    compared: Compared
    p: float | None
    outcome: str
    reason: str


def check(comparisons: Sequence[Comparison], max_rise: float) -> list[Checked]:
    """Judge each component of each cell of B (the new results) against A (the baseline); max_rise: 0.03 for 3 %.

    A rise is one that is significant and whose estimate is above max_rise. Significant: one-sided p below 2.5 %, with
    Holm's correction over all figures of the call; so where nothing has risen, a call gives a false alarm in at most
    2.5 % of cases however many cells it has (where both sides scatter about as much: docs/statistics.md). A cell that
    started more than 5 °C warmer or colder is not judged.
    """
    rows = [(c, found) for c in comparisons for found in c.compared if found.figure == "whole"]
    ps = {id(found): _one_sided(found.difference) for _, found in rows}
    judged = [found for c, found in rows if _thermal_fault(c) is None and ps[id(found)] is not None]
    significant = _holm([(id(found), ps[id(found)] or 0.0) for found in judged], ALPHA / 2)
    results = []
    for comparison, found in rows:
        p, fault = ps[id(found)], _thermal_fault(comparison)
        above = found.difference.percent > 100 * max_rise
        limit = f"{100 * max_rise:.3g} %"
        if p is None:
            outcome, reason = "unknown", f"{found.single} on a side: no interval"
        elif fault is not None:
            outcome, reason = "not judged", fault
        elif id(found) in significant and above:
            outcome, reason = "rise", f"significant, and above {limit}"
        elif above:
            outcome, reason = "fine", f"above {limit}, but not significant"
        else:
            outcome, reason = "fine", f"not above {limit}"
        results.append(Checked(title=comparison.b, compared=found, p=p, outcome=outcome, reason=reason))
    return results


def _one_sided(found: Difference) -> float | None:
    if found.p is None:
        return None
    p = min(1.0, found.p * ALPHA / found.alpha)  # as large a part of 5 % as it is of what it is held against
    return p / 2 if found.joules.value > 0 else 1 - p / 2


def _holm(ps: Sequence[tuple[int, float]], alpha: float) -> set[int]:
    """Which of the hypotheses are rejected: the k-th smallest p is held against alpha / (m − k)."""
    rejected: set[int] = set()
    for k, (key, p) in enumerate(sorted(ps, key=lambda item: item[1])):
        if p >= alpha / (len(ps) - k):
            break
        rejected.add(key)
    return rejected


def _thermal_fault(comparison: Comparison) -> str | None:
    for thermal in comparison.thermal:
        if thermal.comparable is False:
            off = (thermal.b_c or 0.0) - (thermal.a_c or 0.0)
            return f"{thermal.channel} started {abs(off):.0f} °C {'warmer' if off > 0 else 'colder'} than the baseline"
    return None
