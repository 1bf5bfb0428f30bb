"""A measuring process: loads one model once, runs its repeats, and tells each event as a line on its standard output.

`python -m llmjoules.runner.worker` reads a job from the first line of standard input; when that input ends, the process
that started it is gone, and so is this one: a measurement nobody waits for would only burn energy.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from llmjoules.meters.guard import describe
from llmjoules.meters.monitor import Monitor
from llmjoules.records.errors import LlmjoulesError, without_home
from llmjoules.records.ids import comparability_class, new_id
from llmjoules.records.record import (
    SCHEMA,
    Clock,
    Conditions,
    Error,
    Failed,
    Load,
    Model,
    PageCache,
    Record,
    Replay,
    Run,
    Workload,
    encode,
)
from llmjoules.runner import events
from llmjoules.runner.aliasing import channels_in_step, without_figures
from llmjoules.runner.coldstart import page_cache
from llmjoules.runner.conditions import Others, counted, prepare
from llmjoules.runner.flags import flags
from llmjoules.runner.inference import Loaded, Reply, infer, load
from llmjoules.runner.phases import Recorder
from llmjoules.runner.replay import replays
from llmjoules.runner.system import (
    bare_system,
    drivers,
    full_system,
    offloaded,
    partly_absent,
    software,
    system_without_model,
    with_power_limits,
)
from llmjoules.runner.totals import totals
from llmjoules.runner.warmup import Warmed, warm_up

# Before the first phase, so that the slope on its left is known: the first of a counter's ticks cannot be dated.
GUARD_PERIODS = 4
GUARD_LIMIT_S = 10.0  # a meter that shows itself once a minute is not waited for in silence
KEPT_S = 5.0  # of readings from one repeat to the next: meters tell of their devices about once a second


class _Found:
    """What a repeat finds beside its phases, as far as it got."""

    def __init__(self) -> None:
        self.page_cache: PageCache | None = None
        self.conditions: Conditions | None = None
        self.others = Others()
        self.warmed: Warmed | None = None
        self.replays: tuple[Replay, ...] | None = None

    def fields(self, recorder: Recorder) -> dict[str, Any]:
        fields = {
            "page_cache": self.page_cache,
            "conditions": counted(self.conditions, recorder.origin_s, self.others.found) if self.conditions else None,
            "warm_up": self.warmed.record(recorder) if self.warmed else None,
            "replays": self.replays,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Session:
    """One process of a study: the model once it is loaded, and the runs made with it."""

    def __init__(self, job: events.Job, monitor: Monitor, out: BinaryIO, may_go_on: threading.Event) -> None:
        self.job = job
        self.monitor = monitor
        self.out = out
        self.may_go_on = may_go_on
        self.loaded: Loaded | None = None
        self.target_c = dict(job.target_c)
        self._software = software()

    def run_all(self) -> None:
        """Every repeat of the job. One that fails is recorded and the next goes on, unless nothing could be loaded."""
        first = self.job.first_repeat
        for repeat in range(first, first + self.job.repeats):
            record = self._one(repeat, last=repeat == first + self.job.repeats - 1)
            self.tell(events.Finished(msgspec.Raw(encode(record))))
            self.monitor.forget(time.monotonic() - KEPT_S)
            if self.loaded is None:
                return
            self.may_go_on.wait()  # what our starter does with the record must not be measured in the next run
            self.may_go_on.clear()

    def tell(self, event: events.Event) -> None:
        self.out.write(events.encode(event) + b"\n")
        self.out.flush()

    def _one(self, repeat: int, *, last: bool) -> Record:
        found = _Found()
        recorder = Recorder(self.monitor, self.tell)
        started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        clock = Clock(unix_s=time.time(), monotonic_s=time.monotonic())
        about: dict[str, Any] = {
            "schema": SCHEMA,
            "id": new_id(),
            "study": self.job.study,
            "cell": self.job.settings.cell,
            "repeat": repeat,
            "load": Load(id=self.job.load, first=self.loaded is None),
            "started_at": started,
            "command": self.job.settings.command(repeat),
        }
        draft = Failed(
            **about, **self._described(None), clock=clock, phases=(), error=Error(phase=None, message="died")
        )
        self.tell(events.Began(draft))
        try:
            reply = self._measure(recorder, repeat, found, last=last)
        except LlmjoulesError:
            raise
        except Exception as error:
            traceback.print_exc()
            about |= {
                "clock": _shifted(clock, recorder.origin_s),
                **self._described(None),
                **self._measured(recorder, found),
            }
            return Failed(**about, error=Error(phase=recorder.current, message=without_home(describe(error))))
        about |= {
            "clock": _shifted(clock, recorder.origin_s),
            **self._described(reply),
            **self._measured(recorder, found, reply),
        }
        run = Run(**about, tokens=reply.tokens)
        places = offloaded(self.loaded.model) if self.loaded is not None else []
        run.flags = (*reply.flags, *flags(run, bool(self.job.settings.warm_up), places))
        return run

    def _measure(self, recorder: Recorder, repeat: int, found: _Found, *, last: bool) -> Reply:
        settings, loading = self.job.settings, self.loaded is None
        if loading:
            found.page_cache = page_cache(Path(self.job.path), settings.page_cache)
        if self.target_c:
            recorder.announce("cool-down")
        found.conditions = prepare(
            self.monitor, settings.cool_down_s, self.target_c, f"{settings.seed} {settings.cell} {repeat}"
        )
        self.target_c = self.target_c or found.conditions.temperatures_c
        with found.others.during("idle"), recorder.phase("idle"):
            time.sleep(settings.idle_s)
        if self.loaded is None:
            self.loaded = load(settings, self.job.path, recorder, lambda text: self.tell(events.Note(text)))
            if settings.warm_up:
                found.warmed = warm_up(settings, self.loaded, recorder)
            if settings.idle_s:  # what came before was without the model
                with recorder.phase("idle-loaded"):
                    time.sleep(settings.idle_s)
        with found.others.during("inference"):
            reply = infer(settings, self.loaded, recorder, settings.seed + repeat)
        if settings.idle_s:
            with recorder.phase("idle-after"):
                time.sleep(settings.idle_s)
        if settings.replay and last:
            recorder.announce("replay")
            found.replays = replays(self.loaded, recorder, reply)
        return reply

    def _described(self, reply: Reply | None) -> dict[str, Any]:
        """Model, workload and system, as far as they are known by now."""
        settings, loaded = self.job.settings, self.loaded
        model = Model(
            name=settings.model_name,
            weights=self.job.weights,  # type: ignore[arg-type]
            revision=self.job.revision,
            materialized=settings.materialize and not (loaded is not None and partly_absent(loaded.model)),
        )
        torch = sys.modules.get("torch")  # imported in a phase of its own, which a failed repeat may not have come to
        system = bare_system(settings.system)
        if loaded is None and torch is not None:
            system = system_without_model(settings.system, torch, settings.device)
        if loaded is not None:
            model = msgspec.structs.replace(
                model,
                architecture=loaded.model.config.model_type,
                parameters=loaded.model.num_parameters(),
                dtype=str(loaded.model.dtype).removeprefix("torch."),
                weights_mapped=loaded.weights_mapped,
            )
            system = full_system(settings.system, loaded.libraries.torch, loaded.model)
        meters = self.monitor.meters
        system = with_power_limits(system, meters)
        workload = Workload(
            prompt_tokens=reply.prompt_tokens if reply is not None else None,
            new_tokens=settings.new_tokens,
            batch_size=settings.batch_size,
            prompt_sha256=settings.prompt_sha256,
            decoding=settings.decoding,
            stop=settings.stop,
        )
        return {
            "model": model,
            "system": system,
            "workload": workload,
            "meters": meters,
            "software": self._software | drivers(meters),
            "class_": comparability_class(meters, model, workload),
        }

    def _measured(self, recorder: Recorder, found: _Found, reply: Reply | None = None) -> dict[str, Any]:
        times_s = reply.tokens.times_s if reply is not None else ()
        phases = without_figures(recorder.phases(), channels_in_step(self.monitor.meters, times_s))
        trace = recorder.trace()
        inference = next((phase for phase in phases if phase.name == "inference"), None)
        return {
            "phases": phases,
            "totals": totals(self.monitor.meters, inference.energy) if inference is not None else {},
            "states": recorder.states(),
            "trace": msgspec.Raw(msgspec.json.encode(trace)) if trace is not None else msgspec.UNSET,
            **found.fields(recorder),
        }


def _shifted(clock: Clock, origin_s: float) -> Clock:
    """The same pair of clocks at the beginning of the first phase, from where the record's times count."""
    return Clock(unix_s=round(clock.unix_s + origin_s - clock.monotonic_s, 6), monotonic_s=origin_s)


def main() -> None:
    job = events.decode_job(sys.stdin.buffer.readline())
    may_go_on = threading.Event()
    threading.Thread(target=_listen, args=(may_go_on,), name="llmjoules-lifeline", daemon=True).start()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the events
    settings = job.settings
    code = 0
    try:
        with Monitor(list(settings.meters), plugins=settings.plugins, options=settings.meter_options) as monitor:
            session = Session(job, monitor, out, may_go_on)
            for text in [*monitor.notes, *(f"Left out: {fault}" for fault in monitor.faults)]:
                session.tell(events.Note(text))
            if settings.device == "cpu":
                os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for torch, which is imported later; meters have looked by now
            time.sleep(min(GUARD_PERIODS * monitor.slowest_period_s, GUARD_LIMIT_S))
            session.run_all()
    except LlmjoulesError as error:
        out.write(events.encode(events.Refused(error.what, error.why, error.fix)) + b"\n")
    except Exception:
        traceback.print_exc()
        code = 1
    out.flush()
    sys.stderr.flush()
    os._exit(code)  # every line is out; taking torch down costs time, and hanging plug-ins would wait for ever


def _listen(may_go_on: threading.Event) -> None:
    """A line is the word to go on; the end of the input is the end of whoever started us."""
    while sys.stdin.buffer.readline():
        may_go_on.set()
    os._exit(1)


if __name__ == "__main__":
    main()
