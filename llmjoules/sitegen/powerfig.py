"""The chart of a run: power over time, cut by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmjoules.records.record import Phase, Record, Trace, TraceLine
from llmjoules.sitegen import text
from llmjoules.sitegen.aggregate import components_of
from llmjoules.sitegen.figures import Figure, Table, component_colour, phase_colour, plot_text, short_figure
from llmjoules.sitegen.trace import areas

BANDS_UP_TO = 4  # lines; more of these bands would cover each other


class Band(NamedTuple):
    """A stretch of the run under the power trace."""

    name: str
    start_s: float
    end_s: float


def bands(phases: Sequence[Phase]) -> list[Band]:
    """Phases in order of time; an inference with parts is shown as its parts."""
    found: list[Band] = []
    for phase in phases:
        parts = [Band(part.name, part.start_s, part.end_s) for part in phase.parts]
        found += parts or [Band(phase.name, phase.start_s, phase.end_s)]
    return sorted((band for band in found if band.end_s > band.start_s), key=lambda band: band.start_s)


def power_figure(record: Record, trace: Trace) -> Figure:
    """Power over time, cut by phase: lines of bucket means, whose area is the energy, in bands from least to most."""
    kinds = {channel.id: channel.component for meter in record.meters for channel in meter.channels}
    order = [*components_of(record), *text.COMPONENTS]
    names = sorted(
        trace.channels, key=lambda name: (order.index(c) if (c := kinds.get(name, "")) in order else 99, name)
    )
    data: list[dict[str, Any]] = []
    for name in names:
        colour = component_colour(kinds.get(name, ""))
        line = trace.channels[name]
        if len(names) <= BANDS_UP_TO:
            data.append(_band_trace(trace.edges_s, line, f"{colour} 0.18"))
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": plot_text(text.shown(name, 24)), "x": list(trace.edges_s),
                "y": [*map(short_figure, line.mean_w), short_figure(line.mean_w[-1])],
                "line": {"shape": "hv", "width": 1.6, "color": colour, **({"dash": "dot"} if "@" in name else {})},
                "hovertemplate": "%{y:.4g} W at %{x:.3f} s<extra></extra>", "connectgaps": False,
            }
        )  # fmt: skip
    ends = _end_labels(trace, names, kinds) if len(names) > 1 else []
    stretches = bands(record.phases)
    plot = {
        "data": data,
        "ends": ends,
        "bands": [
            {"x0": b.start_s, "x1": b.end_s, "text": b.name.replace("+", " + "), "color": phase_colour(b.name)}
            for b in stretches
        ],
        "layout": {
            "xaxis": {
                "ticksuffix": " s", "showticksuffix": "first", "showgrid": False,
                "range": [trace.edges_s[0], trace.edges_s[-1]],
            },
            "yaxis": {"ticksuffix": " W", "showticksuffix": "last", "rangemode": "tozero", "fixedrange": True},
        },
    }  # fmt: skip
    return Figure("power", "Power over time", area_sentence(record, trace), plot, _trace_table(trace, names))


def area_sentence(record: Record, trace: Trace) -> str:
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


def _band_trace(edges_s: Sequence[float], line: TraceLine, colour: str) -> dict[str, Any]:
    """The least and the most power in each bucket, as one closed outline for each stretch without a hole."""
    x: list[float | None] = []
    y: list[float | None] = []
    start = 0
    for stop in range(len(line.mean_w) + 1):
        if stop < len(line.mean_w) and line.min_w[stop] is not None and line.max_w[stop] is not None:
            continue
        if stop > start:
            steps = [edge for i in range(start, stop) for edge in (edges_s[i], edges_s[i + 1])]
            x += [*steps, *reversed(steps), None]
            y += [short_figure(line.max_w[i]) for i in range(start, stop) for _ in range(2)]
            y += [short_figure(line.min_w[i]) for i in reversed(range(start, stop)) for _ in range(2)]
            y.append(None)
        start = stop + 1
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "fill": "toself", "fillcolor": colour,
        "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _end_labels(trace: Trace, names: Sequence[str], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """A name at the end of the lines of each component, since colour alone must not tell them apart.

    Second readings and shares of a process, `gpu:0@power`, are labelled by themselves.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        groups.setdefault((kinds.get(name, ""), "".join(name.partition("@")[1:])), []).append(name)
    labels = []
    for (component, opinion), own in groups.items():
        last = [value for name in own for value in trace.channels[name].mean_w[-8:] if value is not None]
        if last:
            word = f"{text.component_name(component)} {opinion}".strip() if component else own[0]
            label = text.shown(word if len(own) == 1 else f"{word} × {len(own)}", 24)
            y = short_figure(sum(last) / len(last))
            labels.append(
                {"x": trace.edges_s[-1], "y": y, "text": plot_text(label), "color": component_colour(component)}
            )
    return labels


def _trace_table(trace: Trace, names: Sequence[str]) -> Table:
    banded = len(names) <= 3
    columns: list[str] = ["From, s", "To, s"]
    for name in names:
        shown = text.shown(name, 24)
        columns += [f"{shown} mean, W", "least", "most"] if banded else [f"{shown} mean, W"]
    rows = []
    for i in range(len(trace.edges_s) - 1):
        cells = [f"{trace.edges_s[i]:.3f}", f"{trace.edges_s[i + 1]:.3f}"]
        for name in names:
            line = trace.channels[name]
            values = (line.mean_w[i], line.min_w[i], line.max_w[i]) if banded else (line.mean_w[i],)
            cells += [text.number(value, 4) for value in values]
        rows.append(tuple(cells))
    return Table(tuple(columns), tuple(rows))
