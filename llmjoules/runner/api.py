"""Measuring a model: the plan, its processes one after the other, and the records they give."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

import msgspec

from llmjoules.meters.monitor import Monitor
from llmjoules.records.ids import new_id
from llmjoules.records.physics import flagged
from llmjoules.records.record import Failed, Run, encode
from llmjoules.records.store import ResultsFile
from llmjoules.runner import events
from llmjoules.runner.launcher import NotBegun, not_begun, run_process
from llmjoules.runner.models import Resolved, check_libraries, check_name, resolve
from llmjoules.runner.prompts import with_prompt
from llmjoules.runner.resume import before, claimed
from llmjoules.runner.schedule import Schedule
from llmjoules.runner.settings import DEFAULT_PROMPT, Plan, Settings, make_plan
from llmjoules.runner.totals import with_unused

Listener = Callable[[events.Event], None]
FALLBACK = "estimate"


def measure(
    model: str,
    *,
    repeats: int | Literal["auto"] = 25,
    precision: str | float = "2%",
    loads: int | None = None,
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
    repeats are dealt over `loads` fresh processes (five); `auto` goes on until J/token is known to `precision`. Each
    number in `threads` is a rung of its own. The next run begins only when its record is asked for, so what the caller
    does with one is not measured in another.
    Raises LlmjoulesError at once where the settings are wrong or their model or meters cannot be had here.
    """
    one_or_more = {"meters": meters, "prompts": prompts}
    settings |= {name: (value,) if isinstance(value, str) else tuple(value) for name, value in one_or_more.items()}
    given = Settings(model=model, **settings)
    plan = make_plan(given, batch=batch, repeats=repeats, loads=loads, threads=threads, precision=precision)
    return run_plan(plan, Path(out) if out is not None else None, study, on_event or (lambda _: None))


def check_plan(plan: Plan) -> Plan:
    """The plan with the meters by name, once everything is checked that can be without measuring, building or fetching.

    Raises LlmjoulesError.
    """
    first = plan.cells[0]
    for model in dict.fromkeys(cell.model for cell in plan.cells):
        check_name(model)
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
    teller = _Teller(on_event)
    with ExitStack() as held:
        done: list[Run | Failed] = []
        if plan.study is not None and out is not None:
            held.enter_context(claimed(out, plan.study))
            done = _resumed(out, plan.study, teller)
        schedule = Schedule(plan, done)
        results: ResultsFile | None = None
        models: dict[str, Resolved] = {}
        any_began = bool(done)
        target_c = _temperatures_c(done)
        for cell, repeats in schedule:
            if not models:  # all of them before anything is measured; none where everything is done
                if out is not None:
                    results = held.enter_context(closing(ResultsFile(out, plan.name or cell.model_name)))
                models = {name: resolve(name, lambda text: teller(events.Note(text))) for name in _models(plan)}
                if fell_back:
                    teller(
                        events.Note(
                            "No meter can measure here (llmjoules meters says why): "
                            f"{FALLBACK} models the energy instead."
                        )
                    )
            ready = with_prompt(cell, models[cell.model])
            told = _run_repeats(ready, repeats, models[cell.model], plan.study or study, any_began, target_c)
            for event in told:
                any_began = any_began or isinstance(event, events.Began)
                if isinstance(event, events.Finished):
                    record = _completed(msgspec.json.decode(event.record, type=Run | Failed), cell, schedule)
                    target_c = target_c or _temperatures_c([record])
                    if results is not None:
                        results.append(record)
                    teller(event)
                    yield record
                    if plan.auto_loads == 1 and record.stopping is not msgspec.UNSET and record.stopping.stop:
                        told.close()  # a cell of one process is judged after each run
                        break
                else:
                    teller(event)


def _models(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in plan.cells))


def _temperatures_c(records: Sequence[Run | Failed]) -> dict[str, float]:
    """How cool devices were before the first run that knows: all others are to begin no hotter."""
    known = (record.conditions.temperatures_c for record in records if record.conditions is not msgspec.UNSET)
    return next(filter(None, known), {})


def _resumed(out: Path, study: str, teller: _Teller) -> list[Run | Failed]:
    done, others = before(out, study)
    name, _, key = study.partition("@")
    if done:
        teller(events.Note(f"{len(done)} runs of the study {name} are in {out}/ already: going on with the rest."))
    if others:
        teller(events.Note(f"{others} runs there are of another version of {name}; this one is {key}."))
    return done


def _completed(record: Run | Failed, cell: Settings, schedule: Schedule) -> Run | Failed:
    """What the process that measures cannot know or need not spend its time on."""
    record.totals = with_unused(record)
    if record.system.devices_visible is None and cell.devices is not None:
        record.system = msgspec.structs.replace(record.system, devices_visible=cell.devices, device="cuda")
    if record.system.threads is None and cell.threads is not None:  # it failed before its model was there
        record.system = msgspec.structs.replace(record.system, threads=cell.threads, device="cpu")
    record.flags = flagged(record)
    known = schedule.saw(record)
    if known is not None:
        record.stopping = known
    return record


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
    cell: Settings, repeats: range, model: Resolved, study: str | None, any_began: bool, target_c: dict[str, float]
) -> Generator[events.Event, None, None]:
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
            target_c=target_c,
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
