"""Which process comes next: cells in random order within blocks, what is done already left out, repeats until known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from llmjoules.records.record import Failed, Run
from llmjoules.records.stats import components_of, joules_per_token
from llmjoules.records.stopping import LEAST, MOST, Judgement, judge, runs_per_load
from llmjoules.runner.settings import Plan, Settings


class Schedule:
    """The processes of a plan, in order; tell it every record (`saw`), since in auto mode they decide what comes next.

    done: records of the same study that are there already; a repeat that failed is done too.
    """

    def __init__(self, plan: Plan, done: Iterable[Run | Failed] = ()) -> None:
        self._plan = plan
        self._done: dict[str, set[int]] = {cell.cell: set() for cell in plan.cells}
        self._values: dict[str, dict[str, list[float]]] = {cell.cell: {} for cell in plan.cells}
        self._without: dict[str, int] = dict.fromkeys(self._done, 0)
        self._component: dict[str, str] = {}
        for record in done:
            self.saw(record)

    @property
    def done(self) -> int:
        return sum(map(len, self._done.values()))

    def __iter__(self) -> Iterator[tuple[Settings, range]]:
        return self._fixed() if self._plan.precision is None else self._auto()

    def saw(self, record: Run | Failed) -> Judgement | None:
        """Take note of a record; in auto mode, what is now known of its cell."""
        if record.cell not in self._done:
            return None
        self._done[record.cell].add(record.repeat)
        figure = self._figure(record)
        if figure is None:
            self._without[record.cell] += 1
        else:
            self._values[record.cell].setdefault(record.load.id, []).append(figure)
        return None if self._plan.precision is None else self._judge(record.cell)

    def component(self, cell: str) -> str | None:
        """Whose joules decide in auto mode: of the first run that has any."""
        return self._component.get(cell)

    def _figure(self, record: Run | Failed) -> float | None:
        """J per output token of the component that its cell goes by."""
        if isinstance(record, Failed):
            return None
        chosen = self._component.get(record.cell)
        if chosen is None:
            chosen = _first(record)
            if chosen is None:
                return None
            self._component[record.cell] = chosen
        return joules_per_token(record, chosen)

    def _judge(self, cell: str) -> Judgement:
        assert self._plan.precision is not None
        return judge(
            self._values[cell],
            precision=self._plan.precision,
            without_figure=self._without[cell],
            loads=self._plan.auto_loads,
        )

    def _fixed(self) -> Iterator[tuple[Settings, range]]:
        for cell, repeats in dealt(self._plan):
            for missing in _gaps(repeats, self._done[cell.cell]):
                yield cell, missing

    def _auto(self) -> Iterator[tuple[Settings, range]]:
        each = runs_per_load(self._plan.auto_loads)
        open_ = list(self._plan.cells)
        turn = 0
        while open_:
            for cell in _shuffled(open_, self._plan.seed, turn):
                begun = len(self._done[cell.cell])
                if (begun >= LEAST and self._judge(cell.cell).stop) or begun >= MOST:
                    open_.remove(cell)
                    continue
                first = next(n for n in range(MOST) if n not in self._done[cell.cell])
                yield cell, range(first, min(first + each, MOST))
                if len(self._done[cell.cell]) == begun:
                    open_.remove(cell)  # nothing came of it, not even a failed record: it would be so again
            turn += 1


def dealt(plan: Plan) -> list[tuple[Settings, range]]:
    """All processes of a plan with a fixed number of repeats, in their order.

    Without a study rungs take turns, so that a drift does not favour one of them. In a study each block holds a part of
    every cell's loads in random order. Two cells to be compared take turns as A B B A.
    """
    deals = plan.deals()
    if plan.study is None:
        return [(cell, repeats) for repeats in deals for cell in plan.cells]
    if plan.ab:
        return [
            (cell, deal) for n, deal in enumerate(deals) for cell in (plan.cells if n % 2 == 0 else plan.cells[::-1])
        ]
    blocks = min(plan.blocks or len(deals), len(deals))
    order: list[tuple[Settings, range]] = []
    for block in range(blocks):
        here = [
            (cell, deal) for n, deal in enumerate(deals) if n * blocks // len(deals) == block for cell in plan.cells
        ]
        order += _shuffled(here, plan.seed, block)
    return order


def _shuffled(things: Sequence, seed: int, block: int) -> list:  # type: ignore[type-arg]
    mixed = list(things)
    Random(f"{seed} {block}").shuffle(mixed)  # text seeds the same order on every machine
    return mixed


def _gaps(repeats: range, done: set[int]) -> Iterator[range]:
    """The stretches of repeats that are not done: each is one more load."""
    start = None
    for repeat in [*repeats, None]:
        if repeat is not None and repeat not in done:
            start = repeat if start is None else start
        elif start is not None:
            yield range(start, repeat if repeat is not None else repeats.stop)
            start = None


def _first(record: Run) -> str | None:
    """The component to go by: measured before modelled before simulated, then the one that did the work."""
    return next((name for name in components_of(record) if record.totals[name].joules is not None), None)
