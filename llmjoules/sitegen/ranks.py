"""Which setting of a model on a system is the best, and which places a row may have among those it compares with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple, TypeAlias

from llmjoules.sitegen import finding
from llmjoules.sitegen.aggregate import Row
from llmjoules.sitegen.config import Limits

Ranks: TypeAlias = Mapping[str, "Rank"]
Work: TypeAlias = tuple[object, ...]
Shared: TypeAlias = Mapping[Work, int]

# What is asked of a model. Devices, batch, precision and the like are how it was run: of these the best is wanted.
ASKED = ("prompt", "new tokens", "decoding", "stop")


class Rank(NamedTuple):
    """Places that a row may have, from 1 on: as many as there are rows certainly lower, and not certainly higher."""

    first: int
    last: int
    of: int

    def __str__(self) -> str:
        return f"{self.first}–{self.last}" if self.first < self.last else str(self.first)


def shared_work(rows: Iterable[Row]) -> Shared:
    """How many models on systems did each work, so that the work to show of each is one that others did too."""
    pairs: dict[Work, set[object]] = defaultdict(set)
    for row in rows:
        if row.j_per_token is not None and not row.doubtful:
            pairs[work_of(row)].add(pair_of(row))
    return {work: len(found) for work, found in pairs.items()}


def work_of(row: Row) -> Work:
    return row.published, row.source, row.component, row.weights, *map(row.settings.get, ASKED)


def best_rows(rows: Iterable[Row], limits: Limits, shared: Shared) -> list[Row]:
    """Of each model on each system the row with the lowest J/token within the limits, of the work that most of them
    did; each component, source and kind of weights apart. Of joules that were not measured it is the fastest row.

    One in doubt only where there is no other; without any figure the first one stays, since it says why. reader.js
    chooses the same way.
    """
    found: dict[tuple[object, ...], tuple[tuple[bool, int, float, str], Row]] = {}
    for row in rows:
        if within(row, limits):
            there = found.get(pair_of(row))
            order = _order(row, shared)
            if there is None or order < there[0]:
                found[pair_of(row)] = (order, row)
    return [row for _, row in found.values()]


def front(rows: Iterable[Row], shared: Shared) -> list[Row]:
    """The rows that some limits make the best: none of their model and system is as good, as fast and as frugal."""
    of_pair: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: _order(row, shared)):
        kept = of_pair[pair_of(row)]
        if not any(_fast(other) >= _fast(row) and _frugal(other) <= _frugal(row) for other in kept):
            kept.append(row)
    return [row for kept in of_pair.values() for row in kept]


def _order(row: Row, shared: Shared) -> tuple[bool, int, float, str]:
    return row.doubtful, -shared.get(work_of(row), 0), _cost(row), row.link_key


def _cost(row: Row) -> float:
    if row.j_per_token is None:
        return inf
    return row.j_per_token.mean if row.source == "measured" else -_fast(row)


def _fast(row: Row) -> float:
    return row.tokens_per_s.mean if row.tokens_per_s is not None else -inf


def _frugal(row: Row) -> float:
    return row.power_w.mean if row.power_w is not None else inf


def pair_of(row: Row) -> tuple[object, ...]:
    return row.model, row.system, row.published, row.source, row.component, row.weights


def within(row: Row, limits: Limits) -> bool:
    """A figure that a limit asks for and that is not there keeps no limit."""
    speed, power = row.tokens_per_s, row.power_w
    fast = limits.tokens_per_s is None or (speed is not None and speed.mean >= limits.tokens_per_s)
    return fast and (limits.power_w is None or (power is not None and power.mean <= limits.power_w))


def ranks(rows: Iterable[Row]) -> dict[str, Rank]:
    """By `link_key`, of rows that compare with at least one other."""
    return {
        row.link_key: rank
        for group in finding.comparable(rows)
        if len(group) > 1
        for row, rank in zip(group, _places(group), strict=True)
    }


class _Ends(NamedTuple):
    """Of an interval, as it is and widened by the gain; where nothing is known it has no end, and nothing is beyond it.

    board: the same for rows whose gain is the same error; None is like no other.
    """

    low: float
    high: float
    wide_low: float
    wide_high: float
    board: object


def _places(group: Sequence[Row]) -> list[Rank]:
    """The same as asking finding.not_apart of every pair, in n log n: a page may have thousands of rows."""
    ends = [_ends(row) for row in group]
    of_board: dict[object, list[_Ends]] = defaultdict(list)
    for one in ends:
        of_board[one.board].append(one)
    everyone = _sorted(ends)
    boards = {board: _sorted(found) for board, found in of_board.items() if board is not None}
    places = []
    for one in ends:
        lower, higher = _beyond(everyone, one.wide_low, one.wide_high, wide=True)
        if one.board is not None:
            same = boards[one.board]
            apart, not_so = _beyond(same, one.low, one.high), _beyond(same, one.wide_low, one.wide_high, wide=True)
            lower, higher = lower + apart[0] - not_so[0], higher + apart[1] - not_so[1]
        places.append(Rank(1 + lower, len(group) - higher, len(group)))
    return places


def _ends(row: Row) -> _Ends:
    board = row.instruments[0] if len(row.instruments) == 1 else None
    plain = finding.bounds(row.j_per_token) if row.j_per_token is not None else None
    if row.j_per_token is None or plain is None:
        return _Ends(-inf, inf, -inf, inf, board)
    wide = finding.bounds(row.j_per_token, row.gain) if row.gain is not None else None
    return _Ends(*plain, *(wide or (-inf, inf)), board)


_Sorted: TypeAlias = tuple[list[float], list[float], list[float], list[float]]


def _sorted(ends: Sequence[_Ends]) -> _Sorted:
    return (
        sorted(one.low for one in ends),
        sorted(one.high for one in ends),
        sorted(one.wide_low for one in ends),
        sorted(one.wide_high for one in ends),
    )


def _beyond(ends: _Sorted, low: float, high: float, *, wide: bool = False) -> tuple[int, int]:
    """How many lie wholly below and wholly above."""
    lows, highs = (ends[2], ends[3]) if wide else (ends[0], ends[1])
    return bisect_left(highs, low), len(lows) - bisect_right(lows, high)
