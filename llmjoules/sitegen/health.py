"""What the page of data health counts and lists: bad lines, failed runs, missing figures, traces, checks and flags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llmjoules.sitegen import flags, text
from llmjoules.sitegen.aggregate import FEW_RUNS, Row, primary_rows
from llmjoules.sitegen.index import Index
from llmjoules.sitegen.views import RunLine, row_views

LISTED = 50  # of each list; the rest is on the page of runs, which can be asked for one list alone, and in downloads
LISTS = ("missing", "mismatch", "unchecked", "few")  # as links to the page of runs name them


class BadEntry(NamedTuple):
    """A line that was skipped. file: as pages name it."""

    file: str
    line: int
    why: str


class Listed(NamedTuple):
    """The first few of many. all: how many there are."""

    some: list[Any]
    all: int


class Flag(NamedTuple):
    """raw: as the record has it. carry: how many records, in words. records: page, title, and what a check found."""

    raw: str
    shown: str
    sentence: str
    carry: str
    records: Listed


def few_rows(rows: Iterable[Row]) -> list[Row]:
    """How many runs stand behind a published figure is for its source to say."""
    return [row for row in primary_rows(rows) if row.runs < FEW_RUNS and not row.published]


def context(
    index: Index,
    rows: Sequence[Row],
    bad: Sequence[BadEntry],
    failed: Sequence[RunLine],
    href: Callable[[str], str],
    found: Callable[[str, int], str],
) -> dict[str, Any]:
    """For health.html. failed: the first of them. href: of a run's page. found: what a check finds, by pos."""
    few = few_rows(rows)
    every = [_flag(href, found, *one) for one in _flags(index)]
    return {
        "title": title(index, len(bad)),
        "bad": Listed([(text.shown(b.file, 120), b.line, text.shown(b.why, 240)) for b in bad[:LISTED]], len(bad)),
        "failed": Listed(list(failed), index.count("failed")),
        "missing": _listed(index, href, "missing", _without_figure),
        "mismatches": _listed(index, href, "wrong", _not_the_energy),
        "unchecked": _listed(index, href, "unchecked", str),
        "compared": compared(index),
        "few": Listed(row_views(few[:LISTED]), len(few)),
        "published": index.count("published"),
        "checks": [one for one in every if flags.is_finding(one.raw)],
        "flags": [one for one in every if not flags.is_finding(one.raw)],
    }


def title(index: Index, bad: int) -> str:
    runs, failed = index.count("run"), index.count("failed")
    ((flagged, published),) = index.rows(
        "SELECT count(*), count(*) FILTER (kind = 'published') FROM record WHERE len(flags) > 0"
    )
    verb = "carries" if flagged == 1 else "carry"
    carry = f"; {text.count(flagged, _noun(flagged, published))} {verb} a flag" if flagged else ""
    if not bad and not failed:
        return f"Every line was read{' and no run failed' if runs else ''}{carry}"
    said = [f"{text.count(bad, 'line')} skipped"] if bad else []
    said += [f"{text.count(failed, 'run')} failed"] if failed else []
    return text.sentence(text.listed(said)) + carry


def compared(index: Index) -> str:
    """In how many runs the area under the trace was held against the record, and what came of it."""
    ((runs, checked, wrong, left),) = index.rows(
        """
        SELECT count(*), count(*) FILTER (compared), count(*) FILTER (len(wrong) > 0),
            count(*) FILTER (NOT compared AND len(unchecked) = 0)
        FROM record WHERE kind = 'run'
        """
    )
    if not runs:
        return "There is no run, so there is no trace to compare."
    have = f"{text.sentence(text.count(left, 'run'))} {'has' if left == 1 else 'have'}"
    rest = f" {have} no trace, or no energy to compare it with." if left else ""
    if not checked:
        return f"No trace was compared with its record.{rest}"
    which = f"{text.count(checked, 'run')} of {text.digits(runs, 0)}" if checked < runs else "every run"
    but = ", but for those listed" if wrong else ""
    return (
        f"In {which} the area under the trace was compared with the energy of the record: "
        f"they are the same within 0.1 %{but}.{rest}"
    )


def _flags(index: Index) -> list[tuple[str, int, int, list[Mapping[str, Any]]]]:
    """Each flag, how many records carry it, how many of these are published, and the first of them."""
    return index.rows(
        """
        SELECT flag, count(*), count(*) FILTER (kind = 'published'),
            list({'pos': pos, 'page': page, 'title': title} ORDER BY pos)[1:?]
        FROM (SELECT pos, page, title, kind, unnest(list_distinct(flags)) AS flag FROM record)
        GROUP BY flag ORDER BY flag
        """,
        LISTED,
    )


def _flag(
    href: Callable[[str], str],
    found: Callable[[str, int], str],
    flag: str,
    records: int,
    published: int,
    some: Sequence[Mapping[str, Any]],
) -> Flag:
    first = [(href(one["page"]), one["title"], found(flag, one["pos"])) for one in some]
    carry = text.count(records, _noun(records, published), spell=False)
    return Flag(flag, text.shown(flag, 80), flags.in_words(flag), carry, Listed(first, records))


def _noun(records: int, published: int) -> str:
    """What they are to be called, so that no published figure counts as a run."""
    if not published:
        return "run"
    return "published figure" if published == records else "record"


def _listed(index: Index, href: Callable[[str], str], column: str, words: Callable[[Any], str]) -> Listed:
    """Page, title and why of the first records that have something in a column of lists."""
    where = f"FROM record WHERE len({column}) > 0"
    found = index.rows(f"SELECT page, title, {column} {where} ORDER BY pos LIMIT ?", LISTED)
    some = [(href(page), name, "; ".join(map(words, own))) for page, name, own in found]
    return Listed(some, index.one(f"SELECT count(*) {where}"))


def _without_figure(found: Mapping[str, str]) -> str:
    return f"{text.component_name(found['component'])}: {text.shown(found['reason'] or 'no reason given', 200)}"


def _not_the_energy(component: str) -> str:
    return f"the area under the {component} trace is not the energy of the record"
