"""The charts of a run: power over time, cut by phase, and tokens over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from statistics import median
from typing import Any, NamedTuple

from llmjoules.records.record import Phase, Record
from llmjoules.records.stats import components_of, inference
from llmjoules.sitegen import text
from llmjoules.sitegen.figures import Table, component_colour, phase_colour, plot_text, short_figure
from llmjoules.sitegen.trace import Lines, areas, merged, packed

BANDS_UP_TO = 4  # lines; more of these bands would cover each other
TABLE_ROWS = 100  # more than anybody reads, and the page still travels quickly
TOKEN_ROWS = 10  # run.js has the same number


class Band(NamedTuple):
    """A stretch of the run under the power trace. none: by channel why the record has no energy of it."""

    name: str
    start_s: float
    end_s: float
    none: dict[str, str]


def bands(phases: Sequence[Phase]) -> list[Band]:
    """Phases in order of time; an inference with parts is shown as its parts."""
    found: list[Band] = []
    for phase in phases:
        found += [
            Band(one.name, one.start_s, one.end_s, {e.channel: e.reason or "" for e in one.energy if e.joules is None})
            for one in phase.parts or (phase,)
        ]
    return sorted((band for band in found if band.end_s > band.start_s), key=lambda band: band.start_s)


def power_plot(record: Record, trace: Lines) -> dict[str, Any]:
    """Power over time, cut by phase, for power.js: lines of bucket means, whose area is the energy, in bands from
    least to most; and when the tokens were ready, so that a span can be given per token."""
    kinds = {channel.id: channel.component for meter in record.meters for channel in meter.channels}
    names = _in_order(record, trace, kinds)
    phase = inference(record)
    stretches = bands(record.phases)
    spans_s = [(one.start_s, one.end_s) for one in (*stretches, *(() if phase is None else (phase,)))]
    banded = len(names) <= BANDS_UP_TO
    plot = packed(trace, names, spans_s, banded)
    for name, line in zip(names, plot["lines"], strict=True):
        line |= {
            "name": plot_text(text.shown(name, 24)),
            "color": component_colour(kinds.get(name, "")),
            "dash": "@" in name,
        }
    plot["bands"] = [
        {"x0": b.start_s, "x1": b.end_s, "text": b.name.replace("+", " + "), "color": phase_colour(b.name)}
        | ({"none": none} if (none := _without(b, names)) else {})
        for b in stretches
    ]
    if len(names) > 1:
        plot["ends"] = _end_labels(trace, names, kinds)
    if times_s := _token_times(record):
        plot["tokens"] = {"each": _per_step(record), "times_s": list(times_s)}
        if phase is not None:
            plot["tokens"]["from_s"] = phase.start_s
    return plot


def _without(band: Band, names: Sequence[str]) -> dict[str, str]:
    """By the name of a line why the record has no energy of this stretch."""
    return {
        plot_text(text.shown(name, 24)): text.shown(band.none[name] or "no reason given", 160)
        for name in names
        if name in band.none
    }


def power_table(record: Record, trace: Lines) -> Table:
    """The lines in numbers, a few buckets to a row."""
    kinds = {channel.id: channel.component for meter in record.meters for channel in meter.channels}
    names = _in_order(record, trace, kinds)
    banded = len(names) <= 3
    columns: list[str] = ["From, s", "To, s"]
    for name in names:
        shown = text.shown(name, 24)
        columns += [f"{shown} mean, W", "least", "most"] if banded else [f"{shown} mean, W"]
    edges_s = [edge for band in bands(record.phases) for edge in (band.start_s, band.end_s)]
    rows = []
    for from_s, to_s, *watts in merged(trace, names, TABLE_ROWS, edges_s):
        shown_w = watts if banded else watts[::3]
        rows.append((f"{from_s:.3f}", f"{to_s:.3f}", *(text.number(value, 4) for value in shown_w)))
    return Table(tuple(columns), tuple(rows))


def token_sentence(record: Record) -> str | None:
    """How fast the tokens came; None where there is nothing to draw: fewer than two times, or no inference."""
    times_s, phase = _token_times(record), inference(record)
    if len(times_s) < 2 or phase is None:
        return None
    pauses_s = [b - a for a, b in pairwise(times_s)]
    generated = text.count(round(_per_step(record) * len(times_s)), "token", spell=False)
    each = f", {len(times_s)} a row of the batch" if _per_step(record) > 1 else ""
    further = f"each further step after {text.seconds(median(pauses_s))} (median; {text.seconds(min(pauses_s))} to"
    return (
        f"{generated} in {text.seconds(phase.duration_s)}{each}: the first after "
        f"{text.seconds(times_s[0] - phase.start_s)}, {further} {text.seconds(max(pauses_s))})."
    )


def token_table(record: Record) -> Table:
    """When the tokens were ready, a few steps to a row."""
    times_s, phase, each = _token_times(record), inference(record), _per_step(record)
    start_s = phase.start_s if phase is not None else 0.0
    ends = sorted({1, *(round(len(times_s) * k / TOKEN_ROWS) for k in range(1, TOKEN_ROWS + 1))} - {0})
    rows = []
    for before, end in pairwise([0, *ends]):
        since_s = times_s[before - 1] if before else start_s
        pace_ms = 1000 * (times_s[end - 1] - since_s) / (end - before)
        rows.append((f"{end * each:.6g}", f"{times_s[end - 1] - start_s:.4f}", text.number(pace_ms)))
    return Table(("Tokens", "Ready after, s", "ms a step since the row above"), tuple(rows))


def _token_times(record: Record) -> Sequence[float]:
    return record.tokens.times_s if record.tokens is not None else ()


def _per_step(record: Record) -> float:
    """Tokens that a step gives: one for each row of the batch."""
    return record.tokens.generated / len(record.tokens.times_s) if record.tokens is not None else 1.0


def _in_order(record: Record, trace: Lines, kinds: Mapping[str, str]) -> list[str]:
    order = [*components_of(record), *text.COMPONENTS]
    return sorted(trace.mean_w, key=lambda name: (order.index(c) if (c := kinds.get(name, "")) in order else 99, name))


def area_sentence(record: Record, trace: Lines) -> str:
    """States the area under each line beside the joules of the record; both numbers are worked out independently."""
    words = []
    for area in areas(record, trace):
        channels = len(record.totals[area.component].channels)
        name = text.component_name(area.component)
        lines = f"the {name} line" if channels < 2 else f"the {channels} {name} lines together"
        if area.area_j is None:
            words.append(f"In a part of the inference no power is known: {lines} cannot be compared with the record.")
            continue
        drawn, recorded = text.joules(area.area_j, 4), text.joules(area.record_j, 4)
        pair = f"The area under {lines} over the inference is {drawn}; the record says {recorded}."
        words.append(pair if area.agrees else f"{pair} These do not agree.")
    return " ".join(words) or "Each step is the mean power of its stretch of time."


def _end_labels(trace: Lines, names: Sequence[str], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """A name at the end of the lines of each component, since colour alone must not tell them apart.

    Second readings and shares of a process, `gpu:0@power`, are labelled by themselves.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        groups.setdefault((kinds.get(name, ""), "".join(name.partition("@")[1:])), []).append(name)
    labels = []
    for (component, opinion), own in groups.items():
        last = [value for name in own for value in trace.mean_w[name][-8:].tolist() if isfinite(value)]
        if last:
            word = f"{text.component_name(component)} {opinion}".strip() if component else own[0]
            label = text.shown(own[0] if len(own) == 1 else f"{word} × {len(own)}", 24)
            y = short_figure(sum(last) / len(last))
            labels.append({"y": y, "text": plot_text(label), "color": component_colour(component)})
    return labels
