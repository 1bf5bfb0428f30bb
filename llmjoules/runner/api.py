"""Measuring a model: the plan, its processes one after the other, and the records they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.meters.monitor import Monitor
from llmjoules.records.ids import new_id
from llmjoules.records.physics import flagged
from llmjoules.records.record import Failed, Run, encode
from llmjoules.records.store import ResultsFile
from llmjoules.runner import events
from llmjoules.runner.launcher import NotBegun, not_begun, run_process
from llmjoules.runner.models import Resolved, check_libraries, check_name, resolve
from llmjoules.runner.settings import DEFAULT_PROMPT, Plan, Settings, make_plan

Listener = Callable[[events.Event], None]
FALLBACK = "estimate"


def measure(
    model: str,
    *,
    repeats: int = 25,
    loads: int = 5,
    threads: Sequence[int] | int | None = None,
    batch: int | None = None,
    out: str | Path | None = None,
    study: str | None = None,
    on_event: Listener | None = None,
    meters: str | Sequence[str] = "auto",
    prompts: str | Sequence[str] = DEFAULT_PROMPT,
    **settings: Any,
) -> Iterator[Run | Failed]:
    """Measure a model and yield each record, stored first if `out` names a folder.

    model: a hub name, a local folder, `smollm2` or `dummy:ARCH`. settings: the other fields of `Settings`.
    repeats are dealt over `loads` fresh processes; each number in `threads` is a rung of its own. The next run begins
    only when its record is asked for, so what the caller does with one is not measured in another.
    Raises LlmjoulesError at once where the settings are wrong or their model or meters cannot be had here.
    """
    one_or_more = {"meters": meters, "prompts": prompts}
    settings |= {name: (value,) if isinstance(value, str) else tuple(value) for name, value in one_or_more.items()}
    plan = make_plan(Settings(model=model, **settings), batch=batch, repeats=repeats, loads=loads, threads=threads)
    return run_plan(plan, Path(out) if out is not None else None, study, on_event or (lambda _: None))


def check_plan(plan: Plan) -> Plan:
    """The plan with the meters by name, once everything is checked that can be without measuring, building or fetching.

    Raises LlmjoulesError.
    """
    first = plan.cells[0]
    check_name(first.model)
    monitor = Monitor(list(first.meters), plugins=first.plugins, options=first.meter_options)
    if first.meters != ("auto",):
        return plan
    names = tuple(
        meter.name
        for meter in monitor.meters
        if first.device != "cpu" or any(channel.component != "gpu" for channel in meter.channels)
    )
    # Options of meters that cannot be used here were known to auto; of those that take part they are all that is left.
    options = {name: given for name, given in first.meter_options.items() if name in (names or (FALLBACK,))}
    # Named once here, so that no load of a study is measured in another way than the others.
    cells = tuple(
        msgspec.structs.replace(cell, meters=names or (FALLBACK,), meter_options=options) for cell in plan.cells
    )
    return msgspec.structs.replace(plan, cells=cells)


def run_plan(plan: Plan, out: Path | None, study: str | None, on_event: Listener) -> Iterator[Run | Failed]:
    """Run every process of the plan. A record is on disk before it is yielded. Closing the iterator ends the run.

    Raises LlmjoulesError at once for what check_plan finds, and at the first record where a model cannot be had or
    results cannot be written.
    """
    check_libraries()
    checked = check_plan(plan)
    fell_back = plan.cells[0].meters == ("auto",) and FALLBACK in checked.cells[0].meters
    return _run(checked, fell_back, out, study, on_event)


def _run(
    plan: Plan, fell_back: bool, out: Path | None, study: str | None, on_event: Listener
) -> Iterator[Run | Failed]:
    first = plan.cells[0]
    results = ResultsFile(out, first.model_name) if out is not None else None
    teller = _Teller(on_event)
    try:
        model = resolve(first.model, lambda text: teller(events.Note(text)))
        if fell_back:
            teller(
                events.Note(
                    f"No meter can measure here (llmjoules meters says why): {FALLBACK} models the energy instead."
                )
            )
        any_began = False
        for cell, repeats in plan.processes():
            for event in _run_repeats(cell, repeats, model, study, any_began):
                any_began = any_began or isinstance(event, events.Began)
                if isinstance(event, events.Finished):
                    record = msgspec.json.decode(event.record, type=Run | Failed)
                    record = msgspec.structs.replace(record, flags=flagged(record))
                    if results is not None:
                        results.append(record)
                    teller(event)
                    yield record
                else:
                    teller(event)
    finally:
        if results is not None:
            results.close()


class _Teller:
    """Passes events on, each note once: every process says the same ones."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._said: set[str] = set()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            if event.text in self._said:
                return
            self._said.add(event.text)
        self._listener(event)


def _run_repeats(
    cell: Settings, repeats: range, model: Resolved, study: str | None, any_began: bool
) -> Iterator[events.Event]:
    """The repeats of one load. If the process dies in one of them, a fresh one does those that are left.

    Raises NotBegun only if no process of the plan has begun a run: then something is wrong with what was asked for.
    Later it is a failed record, and the plan goes on.
    """
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
        done = inferred = 0
        try:
            for event in run_process(job):
                done += isinstance(event, events.Finished)
                inferred += isinstance(event, events.PhaseBegan) and event.name == "inference"
                yield event
        except NotBegun as error:
            if not any_began:
                raise
            yield events.Finished(msgspec.Raw(encode(not_begun(job, error))))
        if not inferred:
            return  # it could not be loaded: trying again with each repeat would only fail again
        repeats = repeats[max(done, 1) :]
