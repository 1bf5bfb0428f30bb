"""The home page: one row per model and system, at its best setting within the limits; all others come on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from llmjoules.sitegen import finding, text
from llmjoules.sitegen.aggregate import Row
from llmjoules.sitegen.block import packed_script
from llmjoules.sitegen.config import Limits
from llmjoules.sitegen.ranks import Shared, best_rows, front, ranks, shared_work
from llmjoules.sitegen.render import Renderer
from llmjoules.sitegen.views import table_view

ROWS_DATA = "home"  # data/home.js: the table with all rows
HOME_ROWS = 100  # in the page; more would be slow on a phone, and nobody reads them one by one
MOST_ROWS = 2000  # in the data file, which is loaded when a reader asks for more than the page has
FEWEST = 5  # of each kind of energy, however many there are of others


class Home(NamedTuple):
    """What the site's owner says of its home page. notes: paragraphs; limits: of a setting at first."""

    notes: tuple[str, ...] = ()
    limits: Limits = Limits()


class HomeRows(NamedTuple):
    """best: one row per model and system. page, every: what the page has of them, and the data file of all. shared: how
    many of them did each work.

    all: rows in `every`; dropped: those beyond MOST_ROWS; blind: some of these would be the best within some limits.
    """

    best: list[Row]
    page: list[finding.Section]
    every: list[finding.Section]
    shared: Shared
    all: int
    dropped: int
    blind: bool

    @property
    def shown(self) -> int:
        return sum(len(section.rows) for section in self.page)

    @property
    def more(self) -> bool:
        """Whether there are rows that the page has not."""
        return self.all > self.shown


def home_rows(rows: Sequence[Row], limits: Limits) -> HomeRows:
    """Where not all rows have room, those that some limits make the best go first, so that the page finds these."""
    shared = shared_work(rows)
    best = best_rows(rows, limits, shared)
    first = [*best, *front(rows, shared)] if len(rows) > MOST_ROWS else best
    needed = {row.link_key: None for row in first}
    kept = list(needed | {row.link_key: None for row in rows})[:MOST_ROWS]
    wanted = set(kept)
    found = finding.sections(row for row in rows if row.link_key in wanted)
    page = _cut(finding.sections(best), HOME_ROWS)
    return HomeRows(best, page, found, shared, len(kept), len(rows) - len(kept), len(needed) > MOST_ROWS)


def in_words(limits: Limits) -> str:
    """What the rows of the page keep; empty without limits."""
    speed, power = limits.tokens_per_s, limits.power_w
    said = [f"at least {speed:.6g} tokens/s"] if speed is not None else []
    said += [f"at most {power:.6g} W"] if power is not None else []
    return text.listed(said) if said else ""


def _setting_words(measured: set[bool]) -> str:
    """Which setting a row is of. measured: whether its joules are, of all rows."""
    if measured == {False}:
        return "fastest setting"
    fastest = ", or the fastest where joules were not measured" if False in measured else ""
    return f"setting with the lowest J/token{fastest}"


def _none_within(limits: Limits) -> str:
    return f"No setting keeps the limits of this site: {in_words(limits)}"


def in_fields(limits: Limits) -> dict[str, str]:
    """As fields of numbers take them."""
    given = msgspec.structs.asdict(limits)
    return {name: f"{value:.12g}" for name, value in given.items() if value is not None}


def context(found: HomeRows, said: Home, rows: Sequence[Row]) -> dict[str, Any]:
    """What the template is given of the rows."""
    shown, every = ([row for section in part for row in section.rows] for part in (found.page, found.every))
    return {
        "title": finding.home_title(found.best, rows) if found.best or not found.all else _none_within(said.limits),
        "table": table_view(found.page, shown, every, ranks(found.best), shared=found.shared),
        "shown": found.shown,
        "all": found.all,
        "more": ROWS_DATA if found.more else "",
        "works": len(found.shared),
        "setting": _setting_words({row.source == "measured" for row in found.best}),
        "dropped": found.dropped,
        "blind": found.blind,
        "left_out": len(found.best) - found.shown,
        "limits": in_fields(said.limits),
        "limited": in_words(said.limits),
        "notes": said.notes,
    }


def rows_script(found: HomeRows, renderer: Renderer) -> str:
    """The table of all rows as HTML, made by the templates of the page and packed: reader.js puts it in the page."""
    rows = [row for section in found.every for row in section.rows]
    html = renderer.render("home_rows.html", "index.html", table=table_view(found.every, rows, shared=found.shared))
    return packed_script(ROWS_DATA, html).decode()


def _cut(sections: Sequence[finding.Section], most: int) -> list[finding.Section]:
    """The first rows of each section; what a short one leaves free, longer ones use."""
    takes: dict[int, int] = {}
    for place in sorted(range(len(sections)), key=lambda place: len(sections[place].rows)):
        share = (most - sum(takes.values())) // (len(sections) - len(takes))
        takes[place] = min(len(sections[place].rows), max(share, FEWEST))
    return [
        msgspec.structs.replace(section, rows=section.rows[: takes[place]]) for place, section in enumerate(sections)
    ]
