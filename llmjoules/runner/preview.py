"""What a plan would run, and about how long that takes: `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from llmjoules.records.record import Failed, Run
from llmjoules.records.store import read_results
from llmjoules.runner.resume import Before, before
from llmjoules.runner.schedule import Schedule, dealt
from llmjoules.runner.settings import Plan, Settings

# Where no run of a cell tells: a small model on a CPU. Said wherever it is used.
PROCESS_S, TOKEN_S = 15.0, 0.05


class Row(NamedTuple):
    """A process. state: empty, or that it is done."""

    model: str
    rung: str
    work: str
    repeats: range
    cell: str
    state: str


class Preview(NamedTuple):
    rows: list[Row]
    sentence: str


class _Pace(NamedTuple):
    """Seconds of one run, and of a process beside its runs."""

    run_s: float
    process_s: float


def preview(plan: Plan, out: Path) -> Preview:
    """The processes of a plan in their order; in auto mode one row for each cell, since the records decide how many."""
    found = before(out, plan.study) if plan.study is not None else Before([], 0)
    paces = _paces({cell.cell for cell in plan.cells}, out)
    schedule = Schedule(plan, found.done)
    left = list(schedule) if plan.precision is None else list(_open(plan, schedule))
    rows = [_row(cell, repeats, "") for cell, repeats in left]
    if plan.precision is None:
        still = {(cell.cell, repeat) for cell, repeats in left for repeat in repeats}
        rows = [
            _row(cell, repeats, "done")
            for cell, repeats in dealt(plan)
            if not any((cell.cell, repeat) in still for repeat in repeats)
        ] + rows
    known = [paces.get(cell.cell) for cell, _ in left]
    seconds = sum(_seconds(cell, repeats, paces.get(cell.cell), plan) for cell, repeats in left)
    runs = sum(len(repeats) for _, repeats in left)
    most = "at most " if plan.precision is not None else ""
    done = f"{len(found.done)} runs are done. " if found.done else ""
    how = _how(sum(pace is not None for pace in known), len(known))
    processes = f" in {len(left)} processes" if plan.precision is None else f" of {len(left)} cells"
    return Preview(
        rows, f"{done}{runs} runs{processes}, {most}about {_words(seconds)} ({how}); nothing was run." if left else
        f"{done}Nothing is left to run.",
    )  # fmt: skip


def _open(plan: Plan, schedule: Schedule) -> Iterator[tuple[Settings, range]]:
    """In auto mode: the cells that have not ended, with as many repeats as there may be more of."""
    for cell in plan.cells:
        begun = len(schedule.done_of(cell))
        if begun < plan.most and not schedule.ended(cell):
            yield cell, range(begun, plan.most)


def _row(cell: Settings, repeats: range, state: str) -> Row:
    number, noun = (cell.devices, "device") if cell.devices else (cell.threads, "thread")
    rung = f"{number} {noun}{'' if number == 1 else 's'}" if number else "–"
    prompt = f"{cell.prompt_tokens} + " if cell.prompt_tokens else ""
    work = f"{prompt}{cell.new_tokens} tokens, batch {cell.batch_size}, {cell.dtype}"
    return Row(cell.model, rung, work, repeats, cell.cell, state)


def _paces(cells: set[str], out: Path) -> dict[str, _Pace]:
    """From runs of these cells in the folder, whatever study they were of."""
    runs: dict[str, list[Run]] = {}
    for stored in read_results([out], lambda _: None) if out.is_dir() else ():
        if isinstance(stored.record, Run) and stored.record.cell in cells:
            runs.setdefault(stored.record.cell, []).append(stored.record)
    return {cell: _pace(found) for cell, found in runs.items()}


def _pace(runs: Sequence[Run]) -> _Pace:
    run_s = fmean(_lasting(run, {"idle", "inference", "idle-after"}) for run in runs)
    firsts = [run for run in runs if run.load.first]
    loading = {"import", "tokenizer", "model", "pipeline", "model+pipeline", "warm-up", "idle-loaded"}
    return _Pace(run_s, fmean(_lasting(run, loading) for run in firsts) + 2.0 if firsts else PROCESS_S)


def _lasting(run: Run | Failed, names: Iterable[str]) -> float:
    wanted = set(names)
    return sum(phase.duration_s for phase in run.phases if phase.name in wanted)


def _seconds(cell: Settings, repeats: range, pace: _Pace | None, plan: Plan) -> float:
    pace = pace or _Pace(cell.idle_s + TOKEN_S * cell.new_tokens, PROCESS_S)
    processes = 1 if plan.precision is None else plan.auto_loads or len(repeats)
    return pace.run_s * len(repeats) + pace.process_s * processes


def _how(known: int, all_: int) -> str:
    rule = f"a rule of thumb: {PROCESS_S:g} s a process, {TOKEN_S * 1000:g} ms a token"
    if known == all_:
        return "by earlier runs of the same cells"
    return rule if known == 0 else f"{known} of {all_} by earlier runs of the same cells, the others by {rule}"


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
