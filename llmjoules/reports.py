"""Comparisons, checks and fits as a user reads them: in the terminal, as Markdown, as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table

from llmjoules.console import table
from llmjoules.records.compare import Checked, Compared, Comparison, Gain
from llmjoules.records.difference import ALPHA, Bounded, Difference
from llmjoules.records.fit import ACCEPTED, Fitted
from llmjoules.sitegen import text

FIGURES = {
    "whole": "J per output token",
    "prefill": "prefill, J per prompt token",
    "decode": "decode, J per decoded token",
}
UNMEASURED = {  # such joules rank nothing: in whose words they are said, and what they are
    "modelled": ("by the model", "what a model says, not a measurement"),
    "simulated": ("in the simulation", "what was simulated, not a measurement"),
}
UNKNOWN_WORK = "The work is not known to be the same: not all records say how long prompts and answers are."
NO_PROCESS = "of whose processes nothing is known"


def comparison(found: Comparison) -> Iterator[str | Table]:
    """What differs between the sides first, then each component, then what stands beside the intervals."""
    yield f"A: {text.shown(found.a, 150)}"
    yield f"B: {text.shown(found.b, 150)}"
    rows = [(name, text.shown(a), text.shown(b)) for name, (a, b) in found.differing.items()]
    yield table(("Not the same", "A", "B"), rows) if rows else "The records name nothing in which they differ."
    if found.same_work is None:
        yield UNKNOWN_WORK
    for scope in dict.fromkeys(row.scope for row in found.compared):
        rows_of_scope = [row for row in found.compared if row.scope == scope]
        yield ""
        whole = rows_of_scope[0]
        yield f"{scope}: {verdict(whole)}" + (f" ({UNMEASURED[whole.source][1]})" if whole.source in UNMEASURED else "")
        yield table(("", "A", "B", "B − A", "by power", "by time", ""), map(_row, rows_of_scope), right=(1, 2, 3, 4, 5))
        yield _interval(rows_of_scope[0])
        yield gain(found.gains[scope])
    yield _thermal(found)
    yield from (f"Flag of {flag}" for flag in found.flags)
    yield from (f"Not compared: {why}" for why in found.refused)


def verdict(row: Compared) -> str:
    """`B is cheaper by 12.3 ± 1.9 %`, `not told apart: difference 0.4 ± 1.1 %`; of joules that nobody measured `by the
    model, B is lower by 12.3 ± 1.9 %`.
    """
    if row.source in UNMEASURED:
        return f"{UNMEASURED[row.source][0]}, {_verdict(row, {'cheaper': 'lower', 'dearer': 'higher'})}"
    return _verdict(row, {})


def _verdict(row: Compared, words: Mapping[str, str]) -> str:
    found = row.difference
    if row.verdict == "unknown":
        return f"not known: difference {text.number(found.percent)} %, but {row.single} on a side has no interval"
    if row.verdict == "not told apart":
        return f"not told apart: difference {percent(found)}"
    return f"B is {words.get(row.verdict, row.verdict)} by {percent(found, positive=True)}"


def percent(found: Difference, *, positive: bool = False) -> str:
    """`12.3 ± 1.9 %`; with both ends where they lie unlike far from it, as happens for large differences."""
    sign = -1 if positive and found.percent < 0 else 1
    if found.percent_low is None or found.percent_high is None:
        return f"{text.number(sign * found.percent)} % (no interval: A's own reaches to zero)"
    below, above = found.percent - found.percent_low, found.percent_high - found.percent
    if max(below, above) > 1.15 * min(below, above):
        low, high = sorted((sign * found.percent_low, sign * found.percent_high))
        return f"{text.number(sign * found.percent)} % ({text.number(low)} to {text.number(high)} %)"
    shown = text.plus_minus(sign * found.percent, max(below, above))
    return f"{shown.mean} ± {shown.half} %"


def _row(row: Compared) -> Sequence[str]:
    found = row.difference
    unit = text.unit_for([found.a, found.b])
    return (
        f"{FIGURES[row.figure].replace('J per', f'{unit.prefix}J per')}",
        text.number(found.a * unit.factor),
        text.number(found.b * unit.factor),
        *(_bounded(part, unit.factor) for part in (found.joules, found.power, found.time)),
        "" if row.figure == "whole" else verdict(row),
    )


def _bounded(part: Bounded | None, factor: float) -> str:
    if part is None:
        return text.DASH
    shown = text.plus_minus(part.value, part.half_width, factor)
    return f"{shown.mean} ± {shown.half}" if shown.half else shown.mean


def _interval(row: Compared) -> str:
    over = _basis(row)
    if row.basis == "one run":
        return f"No interval: {over}."
    if row.difference.alpha != ALPHA:
        return f"Intervals that hold however often one looks, paired by load, since the sides took turns: {over}."
    sides = " and ".join(name for name, factor in zip("AB", row.widened, strict=True) if factor > 1)
    ended = f" The scatter of {sides} counts {max(row.widened):g} times, since repeats ended when they agreed."
    ended = ended if sides else ""
    if row.difference.paired:
        by = "figure" if any(row.figures) else "load"
        return f"95 % intervals, paired by {by}, since the sides took turns: {over}.{ended}"
    points = [row.basis] if any(row.loads) else []
    points += ["figures"] if any(row.figures) else []
    what = "" if row.basis == "loads" else " What differs from load to load is not in them."
    return f"95 % intervals over {' and '.join(points)} (Welch, cautious where few): {over}.{what}{ended}"


def _basis(row: Compared) -> str:
    """How much the two sides rest on. compare.js says the same."""
    if not any(row.figures):
        return f"{row.runs[0]} and {row.runs[1]} runs in {row.loads[0]} and {row.loads[1]} loads"
    if not any(row.loads):
        return f"{row.figures[0]} and {row.figures[1]} published figures, {NO_PROCESS}"
    sides = []
    for name, runs, loads, figures in zip("AB", row.runs, row.loads, row.figures, strict=True):
        found = [f"{_count(runs, 'run')} in {_count(loads, 'load')}"] if loads else []
        found += [f"{_count(figures, 'published figure')}, {NO_PROCESS}"] if figures else []
        sides.append(f"{name} {' and '.join(found)}")
    return "; ".join(sides)


def _count(number: int, noun: str) -> str:
    return text.count(number, noun, spell=False)


def gain(found: Gain) -> str:
    """What the meters may be off by beside the interval."""
    if found.same != "no":
        where = "the same device" if found.same == "device" else "a system and channel of the same name"
        condition = "" if found.same == "device" else ", if they are one machine"
        return f"The gain of the meter cancels in the percentage{condition}: both sides were read on {where}."
    known = [f"{side} ± {100 * value:.3g} %" for side, value in (("A", found.a), ("B", found.b)) if value is not None]
    size = ", ".join(known) or "of unknown size"
    return f"On top, since other meters or boards read the two sides, whose gains do not cancel: {size}."


def _thermal(found: Comparison) -> str:
    shown = [
        f"{at.channel} {at.a_c:.0f} → {at.b_c:.0f} °C" + ("" if at.comparable else " (not comparable)")
        for at in found.thermal
        if at.a_c is not None and at.b_c is not None
    ]
    return f"Temperature at the start: {', '.join(shown)}." if shown else "Temperature at the start: unknown."


def checks(found: Iterable[Checked]) -> Table:
    return table(_CHECK_HEADER, map(_check_row, found), right=(2, 3))


def checks_as_markdown(found: Iterable[Checked]) -> str:
    """A table for a pull request."""
    rows = [[_markdown(cell) for cell in row] for row in (_CHECK_HEADER, *map(_check_row, found))]
    rows.insert(1, ["---"] * len(_CHECK_HEADER))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _markdown(cell: str) -> str:
    """Names as they are: no markup, and no end of the column."""
    return re.sub(r"([\\`*_\[\]<>|!#])", r"\\\1", cell)


def check_notes(comparisons: Sequence[Comparison], alone: Iterable[str]) -> Iterator[str]:
    """What a reader of a check has to know beside its table."""
    yield "A rise: significant (one-sided 2.5 % over all figures of this check) and above the limit."
    sources = {row.source for found in comparisons for row in found.compared}
    yield from (
        f"{who[:1].upper()}{who[1:]}: {what}." for source, (who, what) in UNMEASURED.items() if source in sources
    )
    if any(found.same_work is None for found in comparisons):
        yield UNKNOWN_WORK
    differing = {name: values for found in comparisons for name, values in found.differing.items()}
    if differing:
        shown = [f"{name} {text.shown(a, 40)} → {text.shown(b, 40)}" for name, (a, b) in differing.items()]
        yield f"Not the same as in the baseline: {', '.join(shown)}."
    yield from dict.fromkeys(gain(found) for c in comparisons for found in c.gains.values())
    yield from dict.fromkeys(map(_thermal, comparisons))
    yield from (
        f"Flag of {flag.replace('A:', 'the baseline:').replace('B:', 'the results:')}"
        for c in comparisons
        for flag in c.flags
    )
    yield from (f"Not compared: {why}" for c in comparisons for why in c.refused)
    yield from (f"Without a partner: {title}" for title in alone)


_CHECK_HEADER = ("Cell", "Energy of", "Baseline J/token", "Now", "Change", "")


def _check_row(row: Checked) -> Sequence[str]:
    found = row.compared.difference
    outcome = {"rise": "RISE", "fine": "fine"}.get(row.outcome, row.outcome)
    figures = (text.number(found.a), text.number(found.b), percent(found))
    said = f"{outcome}: {row.reason}"
    if row.compared.source in UNMEASURED:
        said = f"{outcome} {UNMEASURED[row.compared.source][0]}: {row.reason}"
    return (text.shown(row.title, 100), row.compared.scope, *figures, said)


def fitted(row: Fitted) -> Iterator[str | Table]:
    """Coefficients with intervals, how far settings left out were missed, and predictions."""
    name = row.component if row.source == "measured" else f"{row.component}, {row.source}"
    yield f"{text.shown(row.title, 150)}: {name}"
    if row.fit is None:
        yield f"Not fitted: {row.refused}"
        return
    found = row.fit
    terms = [(term.name, _pm(term.value, term.half_width), term.meaning) for term in found.terms]
    yield table(("Term", "± 95 %", ""), terms, right=(1,))
    over = "loads" if found.basis == "loads" else "runs: what differs from load to load is not in the intervals"
    yield (
        f"{found.points} points at {found.settings} settings, spread {text.number(100 * found.spread, 2)} %, "
        f"intervals over {over}."
    )
    if found.held_out_rms is not None:
        worst = max(found.held_out, key=lambda left: abs(left.error))
        yield (
            f"Settings left out in turn are missed by {text.number(100 * found.held_out_rms, 2)} % "
            f"(root mean square; accepted up to {100 * ACCEPTED:.0f} %), "
            f"worst {text.number(100 * worst.error, 2)} % at {worst.n_in:g} prompt and {worst.n_out:g} new tokens."
        )
    yield from found.notes
    for at in row.predictions:
        yield f"{at.n_in:g} prompt and {at.n_out:g} new tokens: {_pm(at.joules, at.half_width)} J" + (
            "" if at.measured else ", outside of what was measured"
        )


def _pm(value: float, half_width: float) -> str:
    if max(abs(value), half_width) < 0.001:  # joules per token and token before it: powers of ten, one for both
        return f"{value:.2e} ± {half_width:.1e}"
    shown = text.plus_minus(value, half_width)
    return f"{shown.mean} ± {shown.half}"


def as_json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
