"""Curves of J/token and tokens/s against devices, threads or batch: which there are, and where each has its sweet spot.

A sweet spot is named only of measured joules, where the repeats are sure of it and the gain of the meters cannot turn
it round. Modelled and simulated joules never name one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Literal, TypeAlias

from msgspec import Struct

from llmjoules.sitegen import text
from llmjoules.sitegen.aggregate import Row, telling
from llmjoules.sitegen.finding import gain_hides, gain_words, per_token, short, units
from llmjoules.sitegen.sweetspot import sweet_spot

By: TypeAlias = Literal["devices", "threads", "batch"]
Values: TypeAlias = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]  # J/token of a row by load

KINDS: tuple[By, ...] = ("devices", "threads", "batch")
# What rows of a curve may differ in: of a batch also its class, since a class is of one batch.
FREE = {
    "devices": ("meters", "cell", "strategy"),
    "threads": ("meters", "cell", "strategy"),
    "batch": ("meters", "cell", "batch", "text"),
}
MOST_CURVES = 12  # in a chart: more would cover each other


class Curve(Struct, frozen=True):
    """Rows of one model on one system that differ in `by` alone, in its order."""

    name: str
    by: By
    rows: tuple[Row, ...]

    @property
    def measured(self) -> bool:
        return self.rows[0].source == "measured"

    @property
    def published(self) -> bool:
        return self.rows[0].published

    def known(self) -> list[Row]:
        return [row for row in self.rows if row.j_per_token is not None]


class Spot(Struct, frozen=True):
    """The lowest mean of a measured curve. p_best: of each row with energy, by key, that it is the lowest; None where
    one of them ran once. flat: what cannot be told from it, without itself; why: what but chance stands in the way.
    """

    best: Row
    p_best: dict[str, float] | None
    flat: tuple[Row, ...]
    why: str
    claimed: bool


def at(row: Row, by: By) -> int | None:
    """Where on the axis; None where it does not belong on such a curve."""
    if by == "batch":
        number = row.settings.get("batch", "").removeprefix("batch ")
        return int(number) if number else None
    return row.units if row.by_threads == (by == "threads") else None


def rung(row: Row, by: By) -> str:
    return f"batch {at(row, by)}" if by == "batch" else units(row)


def curves(rows: Iterable[Row], by: By) -> list[Curve]:
    """Curves of two rungs or more. Rows whose other settings differ stand on curves of their own, and those in doubt on
    none: a figure that cannot be right would be the lowest of its curve."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if at(row, by) is not None and not row.doubtful:
            settings = sorted((name, value) for name, value in row.settings.items() if name not in FREE[by])
            work = (
                (row.published, row.source, row.scope, row.weights, row.units)
                if by == "batch"
                else (row.published, row.class_)
            )
            found.setdefault((row.model, row.system, row.component, *work, *settings), []).append(row)
    groups = [group for group in found.values() if len({at(row, by) for row in group}) > 1]
    firsts = [group[0] for group in groups]
    several = [len({str(getattr(row, name)) for row in firsts}) > 1 for name in ("system", "component")]
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in firsts:
        alike.setdefault((row.model, row.system), []).append(row)
    names = {pair: [name for name in telling(some) if name not in FREE[by]] for pair, some in alike.items()}
    result = []
    for group in groups:
        first = group[0]
        words = [short(first.model), *([short(first.system)] if several[0] else [])]
        words += [text.component_name(first.component)] if several[1] else []
        of_pair = alike[first.model, first.system]
        words += [units(first)] if by == "batch" and len({row.units for row in of_pair}) > 1 else []
        words += [first.settings[name] for name in names[first.model, first.system] if name in first.settings]
        words += ["dummy weights"] if first.weights == "dummy" and "dummy" not in words[0] else []
        words += ["published"] if first.published else []
        ordered = sorted(group, key=lambda row: (at(row, by) or 0, row.key))
        result.append(Curve(" · ".join(words), by, tuple(ordered)))
    return result


def note(curve: Curve) -> str:
    """What all rows of a curve have in common, beside its name."""
    same = units(curve.rows[0]) if curve.by == "batch" else ""
    return ", ".join(filter(None, (same, gain_words(curve.rows))))


def longest(found: Sequence[Curve]) -> list[Curve]:
    """Of many curves our own before published ones, first one of each model and system, those with most rungs first;
    in their order."""
    if len(found) <= MOST_CURVES:
        return list(found)
    by_length = sorted(range(len(found)), key=lambda i: -len(found[i].rows))
    nth: dict[int, int] = {}
    of_pair: Counter[tuple[str, str]] = Counter()
    for i in by_length:
        pair = found[i].rows[0].model, found[i].rows[0].system
        nth[i] = of_pair[pair]
        of_pair[pair] += 1
    chosen = sorted(by_length, key=lambda i: (found[i].published, nth[i]))[:MOST_CURVES]
    return [found[i] for i in sorted(chosen)]


def spot_of(curve: Curve, values: Values) -> Spot | None:
    """None where no best may be named: joules that were not measured, or fewer than two rungs with energy."""
    rows = curve.known()
    if not curve.measured or len(rows) < 2:
        return None
    found = sweet_spot([values[row.key, row.component] for row in rows])
    best = rows[found.best]
    hidden = {row.key: why for row in rows if row is not best and (why := gain_hides(best, row)) is not None}
    return Spot(
        best=best,
        p_best=dict(zip((row.key for row in rows), found.p_best, strict=True)) if found.p_best is not None else None,
        flat=tuple(
            row for i, row in enumerate(rows) if row is not best and (i in found.flat or row.key in hidden)
        ),
        why="; ".join(dict.fromkeys(hidden.values())),
        claimed=found.claimed and not hidden,
    )  # fmt: skip


def findings(found: Sequence[Curve], spots: Mapping[str, Spot | None]) -> list[str]:
    """A sentence for each curve; where several have no spread, one for all of these."""
    bare = [curve for curve in found if (spot := spots.get(key_of(curve))) is not None and spot.p_best is None]
    if len(bare) < 3:
        bare = []
    said = [curve_finding(curve, spots.get(key_of(curve))) for curve in found if curve not in bare]
    if bare:
        said.append(
            f"{text.sentence(text.count(len(bare), 'curve'))} have figures without a spread, so no best is named on "
            "them; their lowest means stand in the table."
        )
    return said


def curve_finding(curve: Curve, spot: Spot | None, *, reasons: bool = True) -> str:
    """Where it is lowest and how sure that is; of joules that were not measured, that no best is named."""
    rows = curve.known()
    if not rows:
        return f"{curve.name}: no energy, {text.shown(curve.rows[0].reason or 'no reason given', 160)}."
    if not curve.measured:
        return f"{curve.name}: {text.source_name(rows[0].source)} joules, {per_token(rows)}; no best setting is named."
    if spot is None:
        return f"{curve.name}: {per_token(rows)} with {rung(rows[0], curve.by)}; one setting is no curve."
    best = spot.best.j_per_token
    assert best is not None
    shown = text.plus_minus(best.mean, best.half_width)
    value = f"{rung(spot.best, curve.by)}, {shown.mean}{f' ± {shown.half}' if shown.half else ''} J/token"
    if spot.p_best is None:
        once = [rung(row, curve.by) for row in rows if row.j_per_token is not None and row.j_per_token.runs < 2]
        few = text.listed(once) if len(once) < 4 else "most rungs" if len(once) < len(rows) else "all rungs"
        have = f"{few} {'has' if len(once) == 1 else 'have'}"
        return f"{curve.name}: lowest mean with {value}; {have} one figure without a spread, so no best is named."
    likely = probability(spot.p_best[spot.best.key])
    if spot.claimed:
        return f"{curve.name}: the sweet spot is {value}, the lowest with a probability of {likely}."
    start = f"{curve.name}: lowest mean with {value}, by repeats the lowest with a probability of {likely}"
    if spot.flat:
        others = text.listed(rung(row, curve.by) for row in spot.flat)
        return f"{start}; {others} cannot be told from it{f': {spot.why}' if reasons and spot.why else ''}."
    return f"{start}; one process says nothing of others, so no best is named."


def probability(p: float) -> str:
    """As a share of draws: of 4000 that agree nothing finer than `above 99.9 %` is known."""
    if p > 0.999:
        return f"above 99.9{text.THIN}%"
    return f"below 0.1{text.THIN}%" if p < 0.001 else text.percent(p) if p < 0.99 else f"{p * 100:.1f}{text.THIN}%"


def scaling_title(found: Sequence[Curve], spots: Mapping[str, Spot | None]) -> str:
    """Of the kind that most curves are of. spots: of those that are drawn, by `key_of`."""
    long = [curve for curve in found if len(curve.known()) > 1]
    if not long:
        return "Scaling needs runs with more than one number of devices or threads, or more than one batch"
    own = [curve for curve in long if curve.measured and not curve.published] or [c for c in long if c.measured] or long
    by = max(KINDS, key=lambda kind: sum(curve.by == kind for curve in own))
    return kind_finding([curve for curve in long if curve.by == by], spots)


def kind_finding(long: Sequence[Curve], spots: Mapping[str, Spot | None]) -> str:
    """What curves of one kind have in common, in one sentence without a stop."""
    by = long[0].by
    long = [curve for curve in long if len(curve.known()) > 1]
    measured = [curve for curve in long if curve.measured]
    measured = [
        curve for curve in measured if not curve.published
    ] or measured  # published ones are not mixed with ours
    if not long:
        return "No curve has two settings with energy"
    if not measured:
        kind = text.listed(sorted({text.source_name(curve.rows[0].source) for curve in long}))
        more = "a larger batch does" if by == "batch" else f"more {by} do"
        return f"What {more} to speed and energy: the joules are {kind}, so no best setting is named"
    if len(measured) == 1:
        return curve_finding(measured[0], spots.get(key_of(measured[0])), reasons=False).rstrip(".")
    lowest = [min(curve.known(), key=_mean) for curve in measured]
    few, most = ("the smallest batch", "the largest") if by == "batch" else (f"the fewest {by}", "the most")
    counts = {f"with {few}": 0, f"with {most} {'batch' if by == 'batch' else by}": 0, f"between {few} and {most}": 0}
    for row, curve in zip(lowest, measured, strict=True):
        ends = [at(end, by) for end in (curve.known()[0], curve.known()[-1])]
        counts[list(counts)[ends.index(at(row, by)) if at(row, by) in ends else 2]] += 1
    words = max(counts, key=lambda name: counts[name])
    kind = "published" if measured[0].published else "measured"
    number, several = counts[words], f"{len(measured)} {kind} curves"
    who = f"{'Both' if number == 2 else f'All {number}'} {kind} curves have their"
    if number < len(measured):
        who = f"{number} of {several} {'has its' if number == 1 else 'have their'}"
    drawn = [spot for curve in measured if (spot := spots.get(key_of(curve))) is not None]
    clear = _clear(sum(spot.claimed for spot in drawn), len(drawn), len(measured))
    return f"{who} lowest mean J/token {words}; {clear}"


def _clear(claimed: int, drawn: int, curves: int) -> str:
    """On how many curves the lowest mean is a sweet spot that may be named."""
    which = "" if drawn == curves else f" of the {drawn} drawn here"
    if claimed == drawn:
        return f"on each{which} it can be told from every other setting"
    if claimed == 0:
        return f"on none{which} can it be told from every other setting"
    return f"on {claimed}{which or f' of {curves} curves'} it can be told from every other setting"


def key_of(curve: Curve) -> str:
    return f"{curve.by} {curve.rows[0].component} {' '.join(row.key for row in curve.rows)}"


def _mean(row: Row) -> float:
    return row.j_per_token.mean if row.j_per_token is not None else inf
