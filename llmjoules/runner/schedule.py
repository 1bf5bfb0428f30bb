"""Which process comes next: cells in random order within blocks, what is done already left out, repeats until known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from llmjoules.records import sequential
from llmjoules.records.record import Failed, Run, Stopping
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
        self._by_repeat: dict[str, dict[int, float]] = {cell.cell: {} for cell in plan.cells}
        self._without: dict[str, int] = dict.fromkeys(self._done, 0)
        self._component: dict[str, str] = {}
        for record in done:
            self.saw(record)

    def __iter__(self) -> Iterator[tuple[Settings, range]]:
        if self._plan.precision is None:
            return self._fixed()
        return self._in_turns() if self._plan.ab else self._auto()

    def done_of(self, cell: Settings) -> set[int]:
        """The repeats of a cell that there are."""
        return self._done[cell.cell]

    def ended(self, cell: Settings) -> bool:
        """In auto mode: is a cell, or the two that take turns, known well enough or repeated often enough?"""
        begun = len(self._done[cell.cell])
        if self._plan.ab:
            return self._look().stop
        return (begun >= LEAST and self._judge(cell.cell).stop) or begun >= MOST

    def saw(self, record: Run | Failed) -> Stopping | None:
        """Take note of a record; in auto mode, what is now known of its cell, or of the two that take turns."""
        if record.cell not in self._done:
            return None
        self._done[record.cell].add(record.repeat)
        figure = self._figure(record)
        if figure is None:
            self._without[record.cell] += 1
        else:
            self._values[record.cell].setdefault(record.load.id, []).append(figure)
            self._by_repeat[record.cell][record.repeat] = figure
        if self._plan.precision is None:
            return None
        if self._plan.ab:
            return _of_two(self._look(), self._plan.precision, self._component.get(self._goes_by(record.cell)))
        return _of_one(self._judge(record.cell), self._component.get(record.cell))

    def _goes_by(self, cell: str) -> str:
        """The cell whose first run decides on the component: of two that are compared, the same for both."""
        return self._plan.cells[0].cell if self._plan.ab else cell

    def _figure(self, record: Run | Failed) -> float | None:
        """J per output token of the component that its cell goes by: of the first run that has any."""
        if isinstance(record, Failed):
            return None
        key = self._goes_by(record.cell)
        chosen = self._component.get(key)
        if chosen is None:
            chosen = _first(record)
            if chosen is None:
                return None
            self._component[key] = chosen
        return joules_per_token(record, chosen)

    def _look(self) -> sequential.Look:
        assert self._plan.precision is not None
        a, b = (self._by_repeat[cell.cell] for cell in self._plan.cells)
        return sequential.judge(a, b, precision=self._plan.precision, most=self._plan.most)

    def _judge(self, cell: str) -> Judgement:
        assert self._plan.precision is not None
        return judge(
            self._values[cell],
            precision=self._plan.precision,
            without_figure=self._without[cell],
            loads=self._plan.auto_loads,
        )

    def _in_turns(self) -> Iterator[tuple[Settings, range]]:
        for block in range(self._plan.most):
            if self.ended(self._plan.cells[0]):
                return
            for cell in _turn(self._plan, block):
                if block not in self._done[cell.cell]:
                    yield cell, range(block, block + 1)

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
                if self.ended(cell):
                    open_.remove(cell)
                    continue
                begun = len(self._done[cell.cell])
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
        return [(cell, deal) for n, deal in enumerate(deals) for cell in _turn(plan, n)]
    blocks = min(plan.blocks or len(deals), len(deals))
    order: list[tuple[Settings, range]] = []
    for block in range(blocks):
        here = [
            (cell, deal) for n, deal in enumerate(deals) if n * blocks // len(deals) == block for cell in plan.cells
        ]
        order += _shuffled(here, plan.seed, block)
    return order


def _turn(plan: Plan, block: int) -> tuple[Settings, ...]:
    """A B B A …"""
    return plan.cells if block % 2 == 0 else plan.cells[::-1]


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


def _of_one(known: Judgement, component: str | None) -> Stopping:
    estimate = known.estimate
    return Stopping(
        stop=known.stop,
        reason=known.reason,
        rule=known.rule,
        precision=known.precision,
        component=component,
        half_width=known.half_width,
        mean=estimate.mean if estimate is not None else None,
        basis=estimate.basis if estimate is not None else None,
        runs=estimate.runs if estimate is not None else 0,
        loads=estimate.loads if estimate is not None else 0,
    )


def _of_two(known: sequential.Look, precision: float, component: str | None) -> Stopping:
    mean = known.mean_a
    return Stopping(
        stop=known.stop,
        reason=known.reason,
        rule=sequential.RULE,
        precision=precision,
        component=component,
        half_width=known.half_width / mean if known.half_width is not None and mean else None,
        mean=mean,
        basis="loads",
        runs=2 * known.blocks,
        loads=2 * known.blocks,
        difference=known.difference,
        level=known.level,
    )
