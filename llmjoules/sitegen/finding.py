"""Sentences made from the data: what can be said, and no more. Modelled or simulated joules never name a winner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from msgspec import Struct

from llmjoules.records.record import COMPONENTS, SOURCES, Failed, Published, Record
from llmjoules.records.stats import Estimate, generated_tokens, joules_per_token
from llmjoules.sitegen import text
from llmjoules.sitegen.aggregate import Row, components_in, primary_rows, source_of

UNRANKED = {
    "modelled": "energy is estimated, so nothing is ranked",
    "simulated": "energy is simulated, so nothing is ranked",
}


# Settings that are of the comparability class, as words in a sentence.
CLASS_WORDS = {
    "prompt": "the length of the prompt",
    "new tokens": "the number of new tokens",
    "stop": "where they stop",
    "batch": "the batch",
    "decoding": "the decoding",
    "dtype": "the precision",
}
APPLE = "the figures are Apple's own model, which is not for comparing machines"


class Section(Struct, frozen=True):
    """Rows of a table that have scope and method in common. ranked: some of them did the same work too, see comparable;
    these stand together, and the order within them means something."""

    heading: str
    note: str
    rows: tuple[Row, ...]
    ranked: bool


def sections(rows: Iterable[Row]) -> list[Section]:
    """Measured before estimated before simulated before published; ranked only within a comparability class."""
    rows = list(rows)
    main = {row.component for row in primary_rows(rows)}
    by_scope: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = row.published, row.j_per_token is None, SOURCES.index(row.source), row.component not in main
        by_scope.setdefault((*key, _component_place(row.component), row.component), []).append(row)
    return [_section(by_scope[key]) for key in sorted(by_scope)]


def _component_place(component: str) -> int:
    return COMPONENTS.index(component) if component in COMPONENTS else len(COMPONENTS)


def _section(rows: list[Row]) -> Section:
    first = rows[0]
    name = text.component_name(first.component) if first.component else ""
    if first.published:
        heading = f"Published {name} energy{label(first.source)}" if name else "Published, no energy"
        heading += ", no J/token" if name and first.j_per_token is None else ""
        note = "from papers and other tools, not ranked, as their work may differ"
        if first.j_per_token is not None and len(rows) > 1:
            rows, note = sorted(rows, key=lambda row: (row.doubtful, *_by_energy(row))), f"{note}; lowest J/token first"
        return Section(heading, note, tuple(rows), False)
    if not any(row.j_per_token is not None for row in rows):
        heading = text.sentence(f"{name} energy: no figure") if name else "No energy"
        return Section(heading, "each row says why", tuple(rows), False)
    heading = text.sentence(f"{text.source_name(first.source)} {name} energy")
    if first.source != "measured":
        return Section(_with_gain(heading, rows), "not ranked", tuple(rows), False)
    heading = _with_gain(heading, rows)
    if len(rows) == 1:
        return Section(heading, "", tuple(rows), False)
    groups = comparable(rows)
    if len(groups[0]) == 1:
        return Section(heading, f"by name, not ranked: {why_unranked(rows)}", tuple(rows), False)
    note = "same scope and same work, lowest J/token first"
    if len(groups) > 1:
        note = "ranked only where scope and work are the same: such rows stand together, lowest J/token first"
    return Section(heading, note, tuple(row for group in groups for row in group), True)


def comparable(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that may be ranked against each other, the lowest first; the largest group first, and then by name.

    reader.js tells them apart by `work` in the same way.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    alone = []
    for row in rows:
        if row.rankable:
            found.setdefault((row.class_, row.component), []).append(row)
        else:
            alone.append([row])
    groups = []
    for group in found.values():
        if why_unranked(group) is not None:
            alone += [[row] for row in group]
        else:
            groups.append(sorted(group, key=_by_energy))
    return sorted([*groups, *alone], key=lambda group: (-len(group), group[0].model, group[0].system, group[0].key))


def _by_energy(row: Row) -> tuple[float, str, str]:
    return row.j_per_token.mean if row.j_per_token else inf, row.model, row.key


def _with_gain(heading: str, rows: Sequence[Row]) -> str:
    gain = gain_words(rows)
    return f"{heading}, {gain}" if gain else heading


def gain_words(rows: Sequence[Row]) -> str:
    """`± 120 % gain (TDP guessed)`: what the channels of these rows may be off by; empty where nothing is known."""
    gains = sorted({row.gain for row in rows if row.gain})
    if not gains:
        unknown = any(row.source == "modelled" and row.gain is None for row in rows)
        return "gain not known" if unknown else ""
    low, high = text.percent(gains[0]), text.percent(gains[-1])
    words = f"± {high} gain" if low == high else f"± {low} to {high} gain"
    guessed = sum(row.guessed for row in rows)
    return words + ("" if not guessed else " (TDP guessed)" if guessed == len(rows) else " (TDP guessed for some)")


def why_unranked(rows: Sequence[Row]) -> str | None:
    """Why these may not be put in an order; None if they may: all measured, of one class and one component, and of none
    are the figures in doubt."""
    if any(row.doubtful for row in rows):
        return "the figures of some are in doubt"
    if not all(row.rankable for row in rows):
        return "not all of them are measured"
    if len({(row.class_, row.component) for row in rows}) > 1:
        names = _differing(rows)
        return f"{text.listed(names)} {'differ' if len(names) > 1 else 'differs'}"
    if len({row.system for row in rows}) > 1 and any(row.within_system for row in rows):
        return APPLE
    return None


def _differing(rows: Sequence[Row]) -> list[str]:
    """What of a class differs between rows, in words."""
    names = [words for name, words in CLASS_WORDS.items() if len({row.settings.get(name) for row in rows}) > 1]
    names += ["weights"] if len({row.weights for row in rows}) > 1 else []
    return names or ["the scope"]


def bounds(estimate: Estimate, gain: float = 0.0) -> tuple[float, float] | None:
    """The 95 % interval, widened by what the channel may be off by; None where one run leaves it open."""
    half = estimate.half_width
    return None if half is None else ((estimate.mean - half) * (1 - gain), (estimate.mean + half) * (1 + gain))


def not_apart(one: Row, other: Row) -> str | None:
    """Why two rows cannot be told apart, in words; None if they can.

    The gain of the same instruments is in both rows alike and cancels. Of others each side may be off by its own, which
    widens its interval; where it is not known, nothing can be said.
    """
    if one.j_per_token is None or other.j_per_token is None:
        return "one of them has no figure"
    a, b = bounds(one.j_per_token), bounds(other.j_per_token)
    if a is None or b is None:
        return "one run has no interval"
    if _overlap(a, b):
        return "the intervals overlap"
    return gain_hides(one, other)


def gain_hides(one: Row, other: Row) -> str | None:
    """Why what their instruments may be off by leaves two rows with figures untold apart; None if it does not."""
    if len(one.instruments) == 1 and one.instruments == other.instruments:
        return None
    if one.system != other.system and (one.within_system or other.within_system):
        return APPLE
    if one.gain is None or other.gain is None or one.j_per_token is None or other.j_per_token is None:
        return "different devices measured them, and what these are off by is not known"
    a, b = bounds(one.j_per_token, one.gain), bounds(other.j_per_token, other.gain)
    if a is None or b is None or _overlap(a, b):
        gains = text.listed(dict.fromkeys(f"± {text.percent(gain)}" for gain in (one.gain, other.gain)))
        return f"different devices measured them, which may be off by {gains} (gain)"
    return None


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _not_apart_from(best: Row, others: Iterable[Row]) -> tuple[list[Row], str]:
    """The rows that cannot be told from this one, and every reason for that."""
    found = [(row, why) for row in others if (why := not_apart(best, row)) is not None]
    return [row for row, _ in found], "; ".join(dict.fromkeys(why for _, why in found))


def scope_counts(rows: Sequence[Row]) -> str:
    models, systems = len({row.model for row in rows}), len({row.system for row in rows})
    return f"{text.count(models, 'model')} on {text.count(systems, 'system')}"


def home_title(rows: Sequence[Row], every: Sequence[Row] = ()) -> str:
    """The strongest sentence that the rows carry, or else those of `every` that did the same work."""
    own = [row for row in rows if not row.published]
    with_energy = [row for row in own if row.j_per_token is not None]
    start = text.sentence(scope_counts(own or rows))
    if not own:
        return f"{start}: {group_finding(rows)}, nothing measured here" if rows else "No run has finished yet"
    if not with_energy:
        return f"{start}: no energy could be measured"
    sources = {row.source for row in with_energy}
    if "measured" not in sources:
        kind = next(iter(sources)) if len(sources) == 1 else ""
        said = UNRANKED.get(kind, "energy is estimated or simulated, so nothing is ranked")
        published = [row for row in rows if row.published]
        return f"{start}: {said}" + (f"; beside it published figures of {scope_counts(published)}" if published else "")
    return _measured_title([row for row in with_energy if row.source == "measured"], every)


def _measured_title(rows: list[Row], every: Sequence[Row]) -> str:
    ranked = [(section, comparable(section.rows)[0]) for section in sections(rows) if section.ranked]
    if ranked:
        section, group = max(ranked, key=lambda found: len(found[1]))
        of = "" if len(group) == len(section.rows) else f"Of {len(group)} rows with the same work, "
        return of + _ranked_title(group)
    if len(rows) == 1:
        row = rows[0]
        name = text.component_name(row.component)
        return f"{short(row.model)} on {short(row.system)}: {per_token([row])} of {name} energy"
    if (alike := _alike(every)) is not None:
        names = [name for name in CLASS_WORDS if len({row.settings.get(name) for row in rows}) > 1]
        words = [alike[0].settings[name] for name in names if name in alike[0].settings]
        return _ranked_title(alike) + (f", of those with {', '.join(words)}" if words else "")
    largest = max(sections(rows), key=lambda section: len(section.rows)).rows
    name = text.component_name(largest[0].component)
    start = text.sentence(scope_counts(largest))
    return f"{start}: {per_token(largest)} of {name} energy, not ranked because {why_unranked(largest)}"


def _alike(rows: Sequence[Row]) -> list[Row] | None:
    """The best of each model on each system, of the comparable rows that most of them have; None where none has two."""
    found = []
    for group in comparable(rows):
        best: dict[tuple[str, str, str | None], Row] = {}
        for row in group:
            best.setdefault((row.model, row.system, row.weights), row)
        if len(best) > 1:
            found.append(list(best.values()))
    return max(found, key=len, default=None)


def _ranked_title(rows: Sequence[Row]) -> str:
    best = rows[0]
    assert best.j_per_token is not None
    name = text.component_name(best.component)
    tied, why = _not_apart_from(best, rows[1:])
    if tied:
        start = f"{who(best, rows)} has the lowest mean, {per_token([best])} of {name} energy"
        others = who(tied[0], rows) if len(rows) == 2 else f"{len(tied)} of {len(rows) - 1} others"
        return f"{start}, but {others} cannot be told from it" + ("" if "; " in why else f": {why}")
    start = f"{who(best, rows)} takes the least {name} energy, {per_token([best])}"
    return f"{start}; next is {who(rows[1], rows)} at {_times(rows[1], best)} as much"


def _times(row: Row, best: Row) -> str:
    assert row.j_per_token is not None
    assert best.j_per_token is not None
    ratio = row.j_per_token.mean / best.j_per_token.mean if best.j_per_token.mean else inf
    return f"{text.number(ratio)} times"


def short(name: str) -> str:
    """A name for a title: without the owner of the model, and not long."""
    return text.shown(name.rstrip("/").rsplit("/", 1)[-1] or name, 40)


def who(row: Row, among: Sequence[Row]) -> str:
    """The row in as few words as tell it from the others."""
    words = short(row.model)
    if len({other.system for other in among}) > 1:
        words += f" on {short(row.system)}"
    if len({other.units for other in among}) > 1 and row.units is not None:
        words += f" with {units(row)}"
    return words


def units(row: Row) -> str:
    noun = "thread" if row.by_threads else "device"
    return text.count(row.units, noun, spell=False) if row.units is not None else "unknown devices"


def per_token(rows: Iterable[Row]) -> str:
    """`0.19 to 0.22 J/token` over the means of rows, rounded as in tables."""
    found = sorted((row.j_per_token for row in rows if row.j_per_token is not None), key=lambda one: one.mean)
    if not found:
        return "no J/token"
    unit = text.unit_for([one.mean for one in found])
    low, high = (text.plus_minus(one.mean, one.half_width, unit.factor).mean for one in (found[0], found[-1]))
    return f"{low if low == high else f'{low} to {high}'} {unit.prefix}J/token"


def label(source: str) -> str:
    """What a sentence must add to joules that were not measured."""
    return "" if source == "measured" else f" ({text.source_name(source)})"


def group_finding(rows: Sequence[Row]) -> str:
    """Of the rows of a model or a system: the range of their primary component, in the scope most of them have."""
    known = [row for row in primary_rows(rows) if row.j_per_token is not None]
    own = [row for row in known if not row.published] or known
    own = [row for row in own if not row.doubtful] or own
    if not own:
        return "no energy per token"
    scopes = sorted({(row.source, row.component) for row in own})
    most = max(scopes, key=lambda scope: sum((row.source, row.component) == scope for row in own))
    chosen = [row for row in own if (row.source, row.component) == most]
    published = " (published)" if chosen[0].published else ""
    return f"{per_token(chosen)} of {text.component_name(most[1])} energy{label(most[0])}{published}"


def run_title(record: Record) -> str:
    """`SmolLM2-135M on X, 2 threads: 12.3 J of CPU energy for 64 tokens (estimated)`."""
    system = record.system
    where = f"{short(record.model.name)} on {short(system.name)}"
    if system.device == "cpu" and system.threads:
        where += f", {text.count(system.threads, 'thread', spell=False)}"
    elif system.devices_used:
        where += f", {text.count(system.devices_used, 'device', spell=False)}"
    if isinstance(record, Failed):
        phase = record.error.phase
        return f"{where}: failed" + (f" in phase {text.shown(phase, 30)}" if phase else "")
    component = next(iter(components_in(record)), None)
    total = record.totals.get(component or "")
    tokens = generated_tokens(record)
    for_tokens = f" for {text.count(tokens, 'token', spell=False)}" if tokens else ""
    published = " (published)" if isinstance(record, Published) else ""
    stated = joules_per_token(record, component) if component and total is None else None
    if component is not None and stated is not None:
        energy = f"{text.joules(stated)}/token of {text.component_name(component)} energy"
        return f"{where}: {energy}{label(source_of(record, component))}{published}"
    if component is None or total is None or total.joules is None:
        return f"{where}: no energy{for_tokens}"
    energy = f"{text.joules(total.joules)} of {text.component_name(component)} energy"
    return f"{where}: {energy}{for_tokens}{label(total.source)}{published}"
