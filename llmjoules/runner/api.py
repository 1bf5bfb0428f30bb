"""Measuring a model: the plan, its processes one after the other, and the records they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.meters.monitor import Monitor
from llmjoules.records.ids import new_id
from llmjoules.records.record import Failed, Run
from llmjoules.records.store import ResultsFile
from llmjoules.runner import events
from llmjoules.runner.launcher import run_process
from llmjoules.runner.models import Resolved, check_libraries, resolve
from llmjoules.runner.settings import Plan, Settings, make_plan

Listener = Callable[[events.Event], None]


def measure(
    model: str,
    *,
    repeats: int = 25,
    loads: int = 5,
    threads: Sequence[int] | None = None,
    batch: int | None = None,
    out: str | Path | None = None,
    study: str | None = None,
    on_event: Listener | None = None,
    **settings: Any,
) -> Iterator[Run | Failed]:
    """Measure a model and yield each record, stored first if `out` names a folder.

    model: a hub name, a local folder, `smollm2` or `dummy:ARCH`. settings: the fields of `Settings`.
    repeats are dealt over `loads` fresh processes; each number in `threads` is a rung of its own.
    Raises LlmjoulesError before anything is started where the settings cannot be run.
    """
    plan = make_plan(Settings(model=model, **settings), batch=batch, repeats=repeats, loads=loads, threads=threads)
    yield from run_plan(plan, Path(out) if out is not None else None, study, on_event or (lambda _: None))


def run_plan(plan: Plan, out: Path | None, study: str | None, on_event: Listener) -> Iterator[Run | Failed]:
    """Run every process of the plan. A record is on disk before it is yielded. Closing the iterator ends the run."""
    first = plan.cells[0]
    check_libraries()
    monitor = Monitor(list(first.meters), plugins=first.plugins, options=first.meter_options)
    results = ResultsFile(out, first.model) if out is not None else None
    model = resolve(first.model, lambda text: on_event(events.Note(text)))
    for text in [*monitor.notes, *(f"Left out: {fault}" for fault in monitor.faults)]:
        on_event(events.Note(text))
    said: set[str] = set()
    try:
        for cell, repeats in plan.processes():
            for event in _run_repeats(cell, repeats, model, study):
                if isinstance(event, events.Finished):
                    record = msgspec.json.decode(event.record, type=Run | Failed)
                    if results is not None:
                        results.append(record)
                    on_event(event)
                    yield record
                elif not (isinstance(event, events.Note) and event.text in said):
                    on_event(event)
                    said.update([event.text] if isinstance(event, events.Note) else [])
    finally:
        if results is not None:
            results.close()


def _run_repeats(cell: Settings, repeats: range, model: Resolved, study: str | None) -> Iterator[events.Event]:
    """The repeats of one load. If the process dies in one of them, a fresh one does those that are left."""
    while repeats:
        job = events.Job(
            settings=cell,
            path=str(model.path),
            weights=model.weights,
            revision=model.revision,
            load=new_id(),
            first_repeat=repeats.start,
            repeats=len(repeats),
            study=study,
        )
        done = loaded = 0
        for event in run_process(job):
            if isinstance(event, events.Finished):
                done += 1
            if isinstance(event, events.PhaseBegan) and event.name == "inference":
                loaded = 1
            yield event
        if not loaded:
            return  # it could not be loaded: trying again with each repeat would only fail again
        repeats = repeats[max(done, 1) :]
