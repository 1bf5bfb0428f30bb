"""Charts as plain data: what Plotly draws, the sentence under it, and the same numbers as a table.

Colours are written as names of CSS variables (`--c-cpu`, or `--c-cpu 0.2` with an opacity); the page's script fills in
the theme's values. Text from records is escaped here, since Plotly reads a little HTML in labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, NamedTuple

from msgspec import Struct

from llmjoules.records.record import SOURCES
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import text
from llmjoules.sitegen.aggregate import Row, telling
from llmjoules.sitegen.finding import short, units
from llmjoules.sitegen.scaling import Curve, Spot, at, key_of, kind_finding, probability, rung

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# Over the bars of joules that were not measured.
HATCH = {"fillmode": "overlay", "fgcolor": "--paper", "fgopacity": 0.55, "size": 7, "solidity": 0.25}
MOST_TICKS = 9
DIRECT_CURVES = 4  # with more a legend takes much of a chart
CUT_AT = 2.5  # times the largest mean
SERIES = 6  # colours --s-0 … --s-5
PHASES = (
    "idle", "import", "tokenizer", "model", "pipeline", "model+pipeline", "warm-up", "idle-loaded",
    "inference", "prefill", "decode", "detokenize", "idle-after",
)  # fmt: skip


class Table(NamedTuple):
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Figure(Struct, frozen=True):
    """id: unique on its page. shape: `wide` or `tall`, which fixes the space it takes. plot: data for the script."""

    id: str
    title: str
    caption: str
    plot: dict[str, Any]
    table: Table
    shape: str = "wide"


def plot_text(value: str) -> str:
    """Plotly turns a few tags and entities in labels into links and styles: names are not to use them."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def phase_colour(name: str) -> str:
    return f"--p-{name.replace('+', '-')}" if name in PHASES else "--muted"


def component_colour(component: str) -> str:
    return f"--c-{component}" if component in text.COMPONENTS else "--muted"


class Scale(NamedTuple):
    """What a curve shows: an estimate of each row."""

    figure: str
    id: str
    heading: str
    unit: str


SCALES = (
    Scale("j_per_token", "energy", "Energy per token", "J/token"),
    Scale("tokens_per_s", "speed", "Speed", "tokens/s"),
    Scale("unused", "unused", "Energy of devices that hold nothing", "% of all joules"),
)


def scaling_figures(long: Sequence[Curve], shown: Sequence[Curve], spots: Mapping[str, Spot | None]) -> list[Figure]:
    """Energy, speed and what empty devices take, of those curves among `long` that are shown and have such figures."""
    made = []
    for scale in SCALES:
        with_figures = [curve for curve in shown if any(_estimate(row, scale.figure) is not None for row in curve.rows)]
        if with_figures:
            energy = scale.figure == "j_per_token"
            said = kind_finding(long, spots) if energy else _growth(with_figures, scale)
            made.append(scaling_figure(with_figures, scale, said, spots if energy else None))
    return made


def _growth(curves: Sequence[Curve], scale: Scale) -> str:
    """How far a figure goes from the first rung to the last, or how high it gets."""
    found = [[e.mean for row in curve.rows if (e := _estimate(row, scale.figure)) is not None] for curve in curves]
    if scale.figure == "unused":
        return f"At most {text.percent(max(map(max, found)))} of the joules go into devices that hold nothing"
    ends = sorted(means[-1] / means[0] for means in found if len(means) > 1 and means[0])
    if not ends:
        return "No curve has two speeds"
    low, high = text.number(ends[0]), text.number(ends[-1])
    by = curves[0].by
    rungs = "the smallest to the largest batch" if by == "batch" else f"the fewest to the most {by}"
    if low == high == "1.00":
        return f"From {rungs}, speed stays as it is"
    return f"From {rungs}, speed becomes {low if low == high else f'{low} to {high}'} times as high"


def scaling_figure(
    curves: Sequence[Curve], scale: Scale, finding: str, spots: Mapping[str, Spot | None] | None = None
) -> Figure:
    """One figure against what the curves vary, a line per curve, with the 95 % interval where there is one.

    finding: a sentence for the caption. spots: of energy; the lowest mean and what cannot be told from it lie on pale
    ground.
    """
    by, figure, energy = curves[0].by, scale.figure, scale.figure == "j_per_token"
    estimates = [estimate for curve in curves for row in curve.rows if (estimate := _estimate(row, figure))]
    means = [estimate.mean for estimate in estimates]
    unit = text.unit_for(means) if energy else text.Unit("", 100.0 if figure == "unused" else 1.0)
    title = f"{unit.prefix}{scale.unit}"
    data: list[dict[str, Any]] = []
    pale: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    for i, curve in enumerate(curves):
        points = [(at(row, by) or 0, e) for row in curve.rows if (e := _estimate(row, figure)) is not None]
        spot = spots.get(key_of(curve)) if spots is not None else None
        pale += [_ground(i, curve, spot, unit.factor)] if spot is not None and spot.p_best is not None else []
        trace = _line(i, plot_text(curve.name), points, unit.factor)
        estimated = energy and curve.rows[0].source != "measured"
        if estimated:
            trace["marker"]["symbol"] += "-open"
        data.append(trace)
        ends.append({"x": trace["x"][-1], "y": trace["y"][-1], "text": trace["name"], "color": f"--s-{i % SERIES}"})
    ticks = sorted({at(row, by) or 0 for curve in curves for row in curve.rows})
    log_x = ticks[0] > 0 and ticks[-1] >= 4 * ticks[0]
    ticks = _spread(ticks, log_x)
    first = f"batch {ticks[0]}" if by == "batch" else text.count(ticks[0], by[:-1], spell=False)
    names = [first, *map(str, ticks[1:])]
    log_y = bool(means) and min(means) > 0 and max(means) > 20 * min(means)
    plot = {
        "data": pale + data,
        "ends": ends,
        "layout": {
            "xaxis": {
                "tickvals": ticks, "ticktext": names,
                "type": "log" if log_x else "linear", "showgrid": False, "fixedrange": True, "pad": 0.08,
            },
            "yaxis": {
                "fixedrange": True,
                **(_log_axis(means, unit.factor, title) if log_y else _axis(_top(estimates) * unit.factor, title)),
            },
        },
    }  # fmt: skip
    rows = [
        (
            text.shown(curve.name), rung(row, by), _pm(estimate, unit.factor), _basis(estimate),
            *((_likely(row, spot), _place(row, spot)) if spots is not None else ()),
        )
        for curve in curves
        for spot in (spots.get(key_of(curve)) if spots is not None else None,)
        for row in curve.rows
        if (estimate := _estimate(row, figure)) is not None
    ]  # fmt: skip
    columns = ("Model", by.capitalize(), title, "Interval over")
    table = Table((*columns, "P(lowest)", "Against the lowest") if spots is not None else columns, tuple(rows))
    caption = f"{finding}. {_scaling_note(curves, scale, pale)}{_cut_note(estimates)}"
    shape = "wide" if len(curves) <= DIRECT_CURVES else "curves"
    return Figure(f"{scale.id}-{by}", f"{scale.heading} against {by}", caption, plot, table, shape)


def _ground(i: int, curve: Curve, spot: Spot, factor: float) -> dict[str, Any]:
    """A pale stroke below the lowest mean and its neighbours on the curve that cannot be told from it."""
    flat = {spot.best.key, *(row.key for row in spot.flat)}
    points = [(at(row, curve.by), row) for row in curve.known()]
    return {
        "type": "scatter", "mode": "lines+markers", "hoverinfo": "skip", "showlegend": False, "opacity": 0.22,
        "x": [x for x, _ in points],
        "y": [
            short_figure(row.j_per_token.mean * factor) if row.key in flat and row.j_per_token else None
            for _, row in points
        ],
        "line": {"color": f"--s-{i % SERIES}", "width": 18}, "marker": {"color": f"--s-{i % SERIES}", "size": 22},
    }  # fmt: skip


def _axis(top: float, unit: str) -> dict[str, Any]:
    return {"ticksuffix": f" {unit}", "showticksuffix": "first", "range": [0, short_figure(top)]}


def _log_axis(means: Sequence[float], factor: float, unit: str) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times powers of ten, or at those alone where there are many; Plotly's own lose the unit."""
    low, high = min(means) * factor, max(means) * factor
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        ticks = [n * 10.0**power for power in powers for n in steps if low * 0.7 <= n * 10.0**power <= high * 1.4]
        if len(ticks) <= MOST_TICKS:
            break
    names = [f"{tick:g}" for tick in ticks]
    return {"type": "log", "tickvals": ticks, "ticktext": [*names[:-1], f"{names[-1]} {unit}"]}


def _spread(ticks: Sequence[int], log: bool) -> list[int]:
    """Those with room for their names."""
    place: Callable[[int], float] = log10 if log else float
    gap = (place(ticks[-1]) - place(ticks[0])) / MOST_TICKS
    kept = [ticks[0]]
    for tick in ticks[1:]:
        if place(tick) - place(kept[-1]) >= gap:
            kept.append(tick)
    return kept


def _likely(row: Row, spot: Spot | None) -> str:
    return probability(spot.p_best[row.key]) if spot is not None and spot.p_best is not None else text.DASH


def _place(row: Row, spot: Spot | None) -> str:
    """What the table says of a row beside the lowest of its curve."""
    if spot is None:
        return "no best is named"
    if spot.p_best is None:
        return "lowest mean" if row.key == spot.best.key else text.DASH
    if row.key == spot.best.key:
        return "sweet spot" if spot.claimed else "lowest mean"
    return "cannot be told from it" if row.key in {one.key for one in spot.flat} else "higher"


def _top(estimates: Sequence[Estimate]) -> float:
    """The end of an axis: holds the intervals, unless a few repeats make one so wide that the means would vanish."""
    highest = max((estimate.mean for estimate in estimates), default=1.0)
    widest = max((estimate.mean + (estimate.half_width or 0.0) for estimate in estimates), default=1.0)
    return min(widest, CUT_AT * highest) * 1.08 or 1.0


def _cut_note(estimates: Sequence[Estimate]) -> str:
    highest = max((estimate.mean for estimate in estimates), default=0.0)
    cut = any(estimate.mean + (estimate.half_width or 0.0) > CUT_AT * highest for estimate in estimates)
    return " Intervals that reach beyond the chart are cut at its edge; the table has them in full." if cut else ""


def _scaling_note(curves: Sequence[Curve], scale: Scale, pale: Sequence[object]) -> str:
    bars = "Bars are 95 % intervals of the mean"
    if scale.figure == "unused":
        return (
            f"Part of the joules that devices took which were given to the run and hold no part of the model. {bars}."
        )
    if scale.figure == "tokens_per_s":
        return f"Output tokens per second. {bars}."
    ground = "; pale ground: the lowest mean and what cannot be told from it" if pale else ""
    kinds = sorted({curve.rows[0].source for curve in curves})
    open_marks = [text.source_name(kind) for kind in kinds if kind != "measured"]
    note = f" Open marks: {text.listed(open_marks)} joules, not measured; no best is named." if open_marks else ""
    return f"Joules per output token. {bars}, a channel's gain comes on top{ground}.{note}"


def rows_figure(rows: Sequence[Row], name: str) -> Figure:
    """J/token of every row with its interval, one below the other."""
    chosen = [row for row in rows if row.j_per_token is not None]
    unit = text.unit_for([row.j_per_token.mean for row in chosen if row.j_per_token])
    labels = _row_labels(chosen)
    data: list[dict[str, Any]] = []
    for row, label in zip(chosen, labels, strict=True):
        estimate = row.j_per_token
        assert estimate is not None
        half, colour = estimate.half_width, component_colour(row.component)
        trace: dict[str, Any] = {
            "type": "scatter", "mode": "markers", "name": label,
            "x": [short_figure(estimate.mean * unit.factor)], "y": [label],
            "marker": {"size": 9, "color": colour, "symbol": "circle" if row.source == "measured" else "circle-open"},
            "hovertemplate": "%{x:.4g} " + unit.prefix + "J/token<extra></extra>", "showlegend": False,
        }  # fmt: skip
        if half is not None:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [short_figure(half * unit.factor)],
                "arrayminus": [short_figure(min(half, estimate.mean) * unit.factor)],
                "thickness": 2,
                "width": 4,
                "color": colour,
            }
        data.append(trace)
    plot = {
        "data": data,
        "layout": {
            "xaxis": {
                "ticksuffix": f" {unit.prefix}J/token",
                "showticksuffix": "first",
                "range": [0, short_figure(_top([row.j_per_token for row in chosen if row.j_per_token]) * unit.factor)],
                "fixedrange": True,
            },
            "yaxis": _rows_axis(len(chosen)),
        },
    }
    table = Table(
        ("Setting", "Component", f"{unit.prefix}J/token", "Interval over"),
        tuple(
            (
                text.shown(label),
                text.component_name(row.component),
                _pm(row.j_per_token, unit.factor),
                _basis(row.j_per_token),
            )
            for label, row in zip(_row_labels(chosen, escape=False), chosen, strict=True)
        ),
    )
    hollow = " Hollow: estimated or simulated, not measured." if any(row.source != "measured" for row in chosen) else ""
    said = f"Joules per output token of {name}, with 95 % intervals of the mean; a channel's gain comes on top."
    caption = said + hollow + _cut_note([row.j_per_token for row in chosen if row.j_per_token])
    return Figure("per-token", "Energy per token by setting", caption, plot, table, _tall(len(chosen)))


def phases_figure(rows: Sequence[Row]) -> Figure | None:
    """Mean joules of each phase, stacked, one bar per setting. None where no phase has joules."""
    chosen = [row for row in rows if not row.published or row.phase_j]
    means = [row.phase_j for row in chosen]
    names = [name for name in PHASES if any(name in mean for mean in means)]
    if not names:
        return None
    unit = text.unit_for([value for mean in means for value in mean.values()])
    labels = _row_labels(chosen)
    kind = max((row.source for row in chosen), key=SOURCES.index)
    data = [
        {
            "type": "bar", "orientation": "h", "name": name, "y": labels,
            "x": [short_figure(mean[name] * unit.factor) if name in mean else None for mean in means],
            "marker": {"color": phase_colour(name), "pattern": {**HATCH, "shape": "" if kind == "measured" else "/"}},
            "hovertemplate": f"{name}: %{{x:.4g}} {unit.prefix}J<extra></extra>",
        }
        for name in names
    ]  # fmt: skip
    plot = {
        "data": data,
        "layout": {
            "barmode": "stack",
            "xaxis": {"ticksuffix": f" {unit.prefix}J", "showticksuffix": "first", "fixedrange": True},
            "yaxis": _rows_axis(len(chosen)),
            "showlegend": True,
        },
    }
    table = Table(
        ("Setting", *names),
        tuple(
            (
                text.shown(label),
                *(text.number(mean[name] * unit.factor) if name in mean else text.DASH for name in names),
            )
            for label, mean in zip(_row_labels(chosen, escape=False), means, strict=True)
        ),
    )
    component = text.component_name(chosen[0].component)
    caption = (
        f"{text.sentence(text.source_name(kind))} {component} energy of each phase in {unit.prefix}J, "
        "the mean over the runs that have it. Loading happens once per process; idle is left out."
    )
    return Figure("phases", "Where the energy goes", caption, plot, table, _tall(len(chosen)))


def _row_labels(rows: Sequence[Row], *, escape: bool = True) -> list[str]:
    """Unique words for each row, as few as will do."""
    names = telling(rows)
    several_models = len({row.model for row in rows}) > 1
    several_systems = len({row.system for row in rows}) > 1
    several_components = len({row.component for row in rows}) > 1
    labels: list[str] = []
    for row in rows:
        words = [short(row.model)] if several_models else []
        words += [text.shown(row.system, 28)] if several_systems else []
        words += [units(row)] if row.units is not None else []
        words += [row.settings[name] for name in names if name in row.settings]
        words += [text.component_name(row.component)] if several_components else []
        words += ["published"] if row.published else []
        label = text.shown(", ".join(words) or row.key[:6])
        while label in labels:
            label += "′"
        labels.append(label)
    return [plot_text(label) if escape else label for label in labels]


def _rows_axis(rows: int) -> dict[str, Any]:
    """The first row on top, and half a row of room at both ends."""
    return {"range": [rows - 0.5, -0.5], "fixedrange": True, "showgrid": False, "ticks": ""}


def _tall(rows: int) -> str:
    return next(
        (shape for most, shape in ((3, "rows-few"), (8, "rows-some"), (18, "rows-many")) if rows <= most), "rows-most"
    )


def _line(i: int, name: str, points: Sequence[tuple[int, Estimate]], factor: float) -> dict[str, Any]:
    colour = f"--s-{i % SERIES}"
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": [x for x, _ in points], "y": [short_figure(e.mean * factor) for _, e in points],
        "line": {"color": colour, "width": 2, "dash": DASHES[i % len(DASHES)]},
        "marker": {"color": colour, "size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)]},
        "hovertemplate": "%{y:.4g} with %{x}<extra></extra>",
    }  # fmt: skip
    if any(e.half_width is not None for _, e in points):
        halves = [(e.half_width or 0.0, min(e.half_width or 0.0, e.mean)) for _, e in points]
        trace["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1.4, "width": 5, "color": colour,
            "array": [short_figure(up * factor) for up, _ in halves],
            "arrayminus": [short_figure(down * factor) for _, down in halves],  # no energy and no speed is below zero
        }  # fmt: skip
    return trace


def _estimate(row: Row, figure: str) -> Estimate | None:
    found: Estimate | None = getattr(row, figure)
    return found


def _pm(estimate: Estimate | None, factor: float) -> str:
    if estimate is None:
        return text.DASH
    shown = text.plus_minus(estimate.mean, estimate.half_width, factor)
    return f"{shown.mean} ± {shown.half}" if shown.half else shown.mean


def _basis(estimate: Estimate | None) -> str:
    if estimate is None:
        return text.DASH
    if estimate.basis == "loads":
        return text.count(estimate.loads, "load", spell=False)
    return "one run: no interval" if estimate.basis == "one run" else f"{estimate.runs} runs of one process"


def short_figure(value: float | None) -> float | None:
    """Five digits: beyond what a chart can show, and half the size of the page."""
    return None if value is None else float(f"{value:.5g}")
