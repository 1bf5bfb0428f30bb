"""Rows and runs as tables show them: words, rounded figures, badges, and where each links to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records.ids import short_hash
from llmjoules.records.record import Failed, Published, Record, Run, System
from llmjoules.records.stats import Estimate, implied_power_w, joules_per_token, tokens_per_s
from llmjoules.sitegen import bars, finding, flags, scaling, text
from llmjoules.sitegen.aggregate import (
    DOUBTS,
    FEW_RUNS,
    Row,
    channels_of,
    components_in,
    has_energy,
    scope_of,
    source_of,
    telling,
)
from llmjoules.sitegen.ranks import Rank, Shared, pair_of, ranks, shared_work, work_of

# What a row is flagged for if its runs have more than one.
POOLED = {
    "torch": "torch version",
    "transformers": "transformers version",
    "driver": "driver version",
    "power limit": "power limit",
}


class Badge(NamedTuple):
    """kind: its look; meaning: what it says in a sentence."""

    kind: str
    words: str
    meaning: str


class RowView(NamedTuple):
    """A row of figures as a table shows it. setting: what tells it from others; evidence: where its runs are listed.

    rank: among the rows that it compares with, and tied: why it cannot be told from the `lowest` of them; empty where
    there are none. pair, work, board: the same for rows that show one model on one system, that may be ranked against
    each other, that err by the same gain. counts: runs and loads, as far as they are known. shared: how many models on
    systems did the same work.
    """

    row: Row
    pair: str
    work: str
    board: str
    rank: str
    net: text.PlusMinus
    counts: tuple[str, str]
    model: str
    model_page: str
    system: str
    system_page: str
    units: str
    setting: str
    speed: text.PlusMinus
    per_token: text.PlusMinus
    joules: text.PlusMinus
    power: str
    interval: bars.Interval | None
    reason: str
    tied: str
    lowest: str
    evidence: str
    badges: tuple[Badge, ...]
    shared: int


class SectionView(NamedTuple):
    heading: str
    note: str
    rows: tuple[RowView, ...]


class TableView(NamedTuple):
    """Rows under headings, with one unit per column and one scale for all intervals.

    ranked, net: whether any row has a rank, and net energy.
    """

    sections: tuple[SectionView, ...]
    token_unit: str
    joule_unit: str
    scale: str
    units: str
    ranked: bool
    net: bool


class RunLine(Struct):
    """A record in a list of runs.

    per_token_unit: empty where there is no figure; state: empty for a finished run. flags: in short words, as one.
    page, load: set where it is listed: path of its page within the site; its load, counted within the setting.
    """

    model: str
    system: str
    units: str
    when: str
    repeat: int | None
    first: bool
    component: str
    joules: text.PlusMinus
    per_token: str
    per_token_unit: str
    speed: str
    power: str
    reason: str
    source: str
    dummy: bool
    state: str
    error: str
    flags: str
    page: str = ""
    load: str = text.DASH


def table_view(
    sections: Iterable[finding.Section],
    rows: Sequence[Row],
    among: Sequence[Row] | None = None,
    places: Mapping[str, Rank] | None = None,
    by: scaling.By | None = None,
    shared: Shared | None = None,
) -> TableView:
    """The table of figures, in the order of its sections. What all rows of a section share stands in its heading.

    among: the rows from which a row's setting must tell it apart, and places: their ranks; where there are more than
    the table has. by: what a table of curves is ordered by. shared: of all rows that there are, see ranks.shared_work.
    """
    shared = shared_work(rows) if shared is None else shared
    token = text.unit_for([row.j_per_token.mean for row in rows if row.j_per_token])
    joule = text.unit_for([row.joules.mean for row in rows if row.joules])
    scale = bars.scale_over((row.j_per_token, row.gain) for row in rows)
    names = [name for name in telling(rows if among is None else among) if name != by]
    models = {row.model for row in rows}
    brief = len({finding.short(model) for model in models}) == len(models)
    views = []
    for section in sections:
        alike = [name for name in names if len({row.settings.get(name) for row in section.rows}) == 1]
        own = [name for name in names if name not in alike]
        found = ranks(section.rows) if places is None and section.ranked else places or {}
        tied = _tied(section) if section.ranked else {}
        said = [section.rows[0].settings[name] for name in alike if name in section.rows[0].settings]
        note = "; ".join(filter(None, (section.note, ", ".join(said))))
        views.append(
            SectionView(
                section.heading,
                note,
                tuple(
                    _view(
                        row,
                        own,
                        token,
                        joule,
                        scale,
                        brief,
                        found.get(row.link_key),
                        tied.get(row.link_key),
                        by,
                        shared,
                    )
                    for row in section.rows
                ),
            )
        )
    kinds = {row.by_threads for row in rows if row.units is not None}
    units = "Threads" if kinds == {True} else "Devices" if kinds == {False} else "Devices, threads"
    units = by.capitalize() if by is not None else units
    shown = [view for section in views for view in section.rows]
    return TableView(
        sections=tuple(views),
        token_unit=f"{token.prefix}J/token",
        joule_unit=f"{joule.prefix}J",
        scale=scale.label(token) if scale else "",
        units=units,
        ranked=any(view.rank for view in shown),
        net=any(view.row.net_per_token for view in shown),
    )


def row_views(rows: Sequence[Row]) -> list[RowView]:
    """Rows outside a table: with everything that tells them apart, in plain units."""
    plain = text.Unit("", 1.0)
    names = telling(rows)
    return [_view(row, names, plain, plain, None) for row in rows]


def _view(
    row: Row,
    names: Sequence[str],
    token: text.Unit,
    joule: text.Unit,
    scale: bars.Scale | None,
    brief: bool = False,
    rank: Rank | None = None,
    tied: tuple[str, str] | None = None,
    by: scaling.By | None = None,
    shared: Shared = {},  # noqa: B006 -- it is read alone
) -> RowView:
    """brief: models are told apart without the name of their owner."""
    settings = [row.settings[name] for name in names if name in row.settings]
    return RowView(
        row=row,
        pair=short_hash(pair_of(row))[:8],
        work=short_hash((row.class_, row.component))[:8] if row.rankable else "",
        board=short_hash(row.instruments[0])[:8] if len(row.instruments) == 1 else "",
        rank=f"rank {rank} of {rank.of}" if rank is not None else "",
        net=_pm(row.net_per_token, token.factor),
        counts=_counts(row),
        model=finding.short(row.model) if brief else text.shown(row.model),
        model_page=group_page("models", row.model),
        system=text.shown(row.system, 48),
        system_page=group_page("systems", row.system),
        units=scaling.rung(row, by) if by is not None else finding.units(row),
        setting=text.shown(", ".join(settings), 120),
        speed=_pm(row.tokens_per_s),
        per_token=_pm(row.j_per_token, token.factor),
        joules=_pm(row.joules, joule.factor),
        power=text.number(row.power_w.mean if row.power_w else None),
        interval=bars.interval(row.j_per_token, row.gain, scale),
        reason=text.shown(row.reason or "", 160),
        tied=tied[1] if tied else "",
        lowest=tied[0] if tied else "",
        evidence=f"{group_page('models', row.model)}#{anchor(row)}",
        badges=row_badges(row),
        shared=shared.get(work_of(row), 0),
    )


def _tied(section: finding.Section) -> dict[str, tuple[str, str]]:
    """By link_key: the lowest of the rows that one compares with, and why it cannot be told from that."""
    return {
        row.link_key: (lowest.link_key, why)
        for lowest, *others in finding.comparable(section.rows)
        for row in others
        if (why := finding.not_apart(lowest, row)) is not None
    }


def _counts(row: Row) -> tuple[str, str]:
    """Of a published figure alone nobody knows how many runs are behind it; several, or those with a load, are runs."""
    if row.published and row.runs < 2 and not row.loads:
        return text.DASH, ""
    return str(row.runs), str(row.loads) if row.loads else text.DASH


def _pm(estimate: Estimate | None, factor: float = 1.0) -> text.PlusMinus:
    if estimate is None:
        return text.PlusMinus(text.DASH, "")
    return text.plus_minus(estimate.mean, estimate.half_width, factor)


def basis(row: Row) -> str:
    """What the interval of its figures rests on. A published figure without a load stands for itself."""
    estimate = row.j_per_token or row.tokens_per_s
    if estimate is None:
        return "no figure"
    if estimate.basis == "one run":
        return "one run, so there is no interval"
    if estimate.basis == "loads" and row.loads == 0:
        return f"± is taken over {estimate.loads} figures, of whose processes nothing is known"
    if estimate.basis == "loads" and row.loads < estimate.loads:
        return f"± is taken over {estimate.loads} loads and figures, of whose processes nothing is known"
    if estimate.basis == "loads":
        return f"± is taken over {estimate.loads} loads"
    return f"± is taken over {estimate.runs} runs of one process: what differs from load to load is not in it"


def row_badges(row: Row) -> tuple[Badge, ...]:
    badges = []
    if row.component:
        badges.append(_scope_badge(row.component, row.scope, row.source))
    known = row.joules is not None or row.j_per_token is not None
    badges += source_badges(row.source if known else "measured", row.weights, row.published)
    if not row.published and row.runs < FEW_RUNS:
        badges.append(Badge("warn", text.count(row.runs, "run", spell=False), "Fewer than five runs"))
    if 0 < row.with_energy < row.runs:
        badges.append(Badge("warn", f"{row.with_energy} with energy", "The other runs have no joules, and say why"))
    badges += _version_badges(row)
    badges += _flag_badges(row)
    if row.failed:
        badges.append(Badge("warn", f"{row.failed} failed", "Runs of this setting that did not finish"))
    return tuple(badges)


def _version_badges(row: Row) -> list[Badge]:
    """Where its runs are no plain repeats of each other, since something else has changed."""
    badges = []
    for name, noun in POOLED.items():
        each = row.versions.get(name, ())
        if len(each) > 1:
            said = text.count(len(each), noun, spell=False)
            badges.append(Badge("warn", said, text.shown(f"{said}: {', '.join(each)}", 300)))
    return badges


def _flag_badges(row: Row) -> list[Badge]:
    """Flags that cast doubt on the row, each with a badge; the others have one together."""
    doubts = [flag for flag, _ in row.flags if flag.partition(":")[0] in DOUBTS]
    others = [flag for flag, _ in row.flags if flag not in doubts]
    badges = [Badge("warn", flags.in_brief([flag]), f"{flags.in_words(flag)}.") for flag in doubts]
    if others:
        said = "; ".join(flags.in_words(flag) for flag in others)
        badges.append(Badge("flag", text.count(len(others), "flag", spell=False), text.shown(said, 600)))
    return badges


def _scope_badge(component: str, scope: str, source: str) -> Badge:
    how = f" · {scope}" if scope and source == "measured" else ""
    return Badge(
        "scope", text.component_name(component) + how, "Which part of the machine, and how its energy was found"
    )


def source_badges(source: str, weights: str | None, published: bool) -> list[Badge]:
    badges = []
    if source == "modelled":
        badges.append(Badge("estimated", "estimated", "A model of the power, not a measurement"))
    if source == "simulated":
        badges.append(Badge("simulated", "simulated", "A simulated meter: no device was read"))
    if weights == "dummy":
        badges.append(Badge("dummy", "dummy weights", "Random numbers instead of trained weights"))
    if published:
        badges.append(Badge("published", "published", "Taken from a paper or another tool"))
    return badges


def run_badges(record: Record) -> list[Badge]:
    component = next(iter(components_in(record)), "")
    badges = [Badge("warn", "failed", "This run did not finish")] if isinstance(record, Failed) else []
    if component and not isinstance(record, Failed):
        scope = scope_of(channels_of(record, component))
        badges.append(_scope_badge(component, scope, source_of(record, component)))
    return [*badges, *source_badges(_source(record, component), record.model.weights, isinstance(record, Published))]


def _source(record: Record, component: str) -> str:
    """Of the joules that there are; without any there is nothing to warn of."""
    return source_of(record, component) if has_energy(record, component) else "measured"


def run_line(record: Record) -> RunLine:
    executed = record if isinstance(record, Run | Failed) else None
    component = next(iter(components_in(record)), "")
    total = record.totals.get(component)
    per_token = joules_per_token(record, component)
    unit = text.unit_for([per_token])
    return RunLine(
        model=text.shown(record.model.name),
        system=text.shown(record.system.name, 40),
        units=units_of(record.system),
        when=when(record),
        repeat=executed.repeat + 1 if executed is not None else None,
        first=executed is not None and executed.load.first,
        component=text.component_name(component) if component else "",
        joules=text.plus_minus(*((total.joules, total.uncertainty_j) if total is not None else (None, None))),
        per_token=text.number(None if per_token is None else per_token * unit.factor),
        per_token_unit=f"{unit.prefix}J" if per_token is not None else "",
        speed=text.number(tokens_per_s(record)),
        power=text.number(implied_power_w(record, component)),
        reason=text.shown(total.reason, 120) if total is not None and total.reason else "",
        source=text.source_name(_source(record, component)) if component else "",
        dummy=record.model.weights == "dummy",
        state={Run: "", Failed: "failed", Published: "published"}[type(record)],
        error=text.shown(record.error.message, 160) if isinstance(record, Failed) else "",
        flags=flags.in_brief(record.flags),
    )


def when(record: Record) -> str:
    """The minute of its start, in UTC as records state it."""
    return text.shown((record.started_at or text.DASH)[:16].replace("T", " "))


def units_of(system: System) -> str:
    if system.device == "cpu" and system.threads:
        return text.count(system.threads, "thread", spell=False)
    return text.count(system.devices_used, "device", spell=False) if system.devices_used else text.DASH


def group_page(folder: str, name: str) -> str:
    """The page of a model or system."""
    return f"{folder}/{text.file_name(name, name)}.html"


def group_key(name: str) -> str:
    """What a link to the page of runs calls a model or system: names may be long, and alike once they are cut."""
    return short_hash(name)[:8]


def anchor(row: Row) -> str:
    """Where the runs of a row are listed on its model's page."""
    return f"s-{row.key[:8]}"
