"""Warming up: short runs of the same work that are discarded, so many of them or until the last few agree.

What only a first call costs (compiling, choosing kernels, weights that were only mapped) is kept apart in the record.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from llmjoules.records.record import Call, WarmUp
from llmjoules.runner.clock import TokenClock
from llmjoules.runner.inference import Loaded, generate, parts_of, token_wait
from llmjoules.runner.phases import Recorder, Stretch
from llmjoules.runner.settings import Settings
from llmjoules.runner.totals import totals

CALL_TOKENS = 8
COMPARED = 3  # of the last calls, the first one never among them
AGREE = 0.05  # (largest - smallest) / mean of these
MOST_CALLS = 20
MOST_S = 20.0  # after the first call


class Spread(NamedTuple):
    """(largest - smallest) / mean of the energies of `component`, or of the times."""

    value: float
    by: Literal["energy", "time"]
    component: str | None = None


class Warmed(NamedTuple):
    """What happened in the warm-up phase, at instants of `time.monotonic()`. first: the parts of the first call."""

    calls: tuple[tuple[float, float], ...]
    first: tuple[Stretch, ...]
    rule: Literal["fixed", "auto"]
    ended: Literal["number", "settled", "most_calls", "most_time"]
    spread: Spread | None

    def record(self, recorder: Recorder) -> WarmUp:
        """With the energies, once the readings after the phase are in."""
        return WarmUp(
            rule=self.rule,
            ended=self.ended,
            calls=tuple(
                Call(
                    start_s=recorder.since(start_s),
                    end_s=recorder.since(end_s),
                    energy=recorder.energies(start_s, end_s),
                    parts=recorder.parts(self.first) if number == 0 else (),
                )
                for number, (start_s, end_s) in enumerate(self.calls)
            ),
            by=self.spread.by if self.spread is not None else None,
            component=self.spread.component if self.spread is not None else None,
            spread=round(self.spread.value, 6) if self.spread is not None else None,
            limit=AGREE if self.rule == "auto" else None,
        )


def warm_up(settings: Settings, loaded: Loaded, recorder: Recorder) -> Warmed:
    """The phase warm-up."""
    calls: list[tuple[float, float]] = []
    first: tuple[Stretch, ...] = ()
    spread: Spread | None = None
    ended: Literal["number", "settled", "most_calls", "most_time"] | None = None
    with recorder.phase("warm-up"):
        while ended is None:
            clock = TokenClock(token_wait(loaded), recorder.expect_edge)
            start_s = time.monotonic()
            generate(settings, loaded, clock, min(settings.new_tokens, CALL_TOKENS))
            recorder.finish_work()
            end_s = time.monotonic()
            recorder.expect_edge()
            calls.append((start_s, end_s))
            if len(calls) == 1:
                first = tuple(parts_of(start_s, clock.times_s, end_s))
            if settings.warm_up == "auto":
                if len(calls) > COMPARED:
                    if spread is None or spread.by == "energy":  # else the same work would again be too short for it
                        recorder.settle(end_s)
                    spread = _spread(recorder, calls[-COMPARED:])
                ended = why_ended(len(calls), time.monotonic() - calls[0][1], spread)
            elif len(calls) >= settings.warm_up:
                ended = "number"
    rule: Literal["fixed", "auto"] = "auto" if settings.warm_up == "auto" else "fixed"
    return Warmed(tuple(calls), first, rule, ended, spread)


def why_ended(
    calls: int, since_first_s: float, spread: Spread | None
) -> Literal["settled", "most_calls", "most_time"] | None:
    """Of `auto`; None: go on."""
    if spread is not None and spread.value <= AGREE:
        return "settled"
    if calls >= MOST_CALLS:
        return "most_calls"
    return "most_time" if since_first_s >= MOST_S else None


def _spread(recorder: Recorder, calls: Sequence[tuple[float, float]]) -> Spread:
    energies = [recorder.energies(start_s, end_s) for start_s, end_s in calls]
    return spread_of(
        [{name: (t.joules, t.uncertainty_j) for name, t in totals(recorder.meters, e).items()} for e in energies],
        [end_s - start_s for start_s, end_s in calls],
    )


def spread_of(energies: Sequence[dict[str, tuple[float | None, float | None]]], times_s: Sequence[float]) -> Spread:
    """By the component that used most, if in each call it is known to better than what is asked; else by time.

    energies: of each call, joules and their uncertainty by component.
    """
    known: dict[str, list[float]] = {}
    for component in energies[0] if energies else ():
        figures = [call.get(component, (None, None)) for call in energies]
        joules = [j for j, u in figures if j is not None and j > 0 and u is not None and u <= AGREE * j]
        if len(joules) == len(energies):
            known[component] = joules
    if known:
        component = max(known, key=lambda name: sum(known[name]))
        return Spread(_relative(known[component]), "energy", component)
    return Spread(_relative(times_s), "time")


def _relative(values: Sequence[float]) -> float:
    return (max(values) - min(values)) * len(values) / sum(values)
