"""What the compare page needs of each row: its figures, the means of its loads, and the configuration in words.

compare.js works a difference out from them as records.compare does, so that the page and `llmjoules compare` agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from llmjoules.records.ids import short_hash
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import finding, text
from llmjoules.sitegen.aggregate import ABSURD, KINDS, Instrument, Row, telling
from llmjoules.sitegen.index import Load
from llmjoules.sitegen.views import anchor, group_page

# What a setting may differ in, as the page heads it. Hashes tell apart what nothing else does.
FACTS = {
    "dtype": "Precision",
    "batch": "Batch",
    "prompt": "Prompt",
    "text": "Prompt text",
    "new tokens": "New tokens",
    "decoding": "Decoding",
    "stop": "Stop",
    "strategy": "Strategy",
    "weights": "Loading",
    "meters": "Meters",
    "cell": "Other settings",
}
LENGTHS = {"prompt", "new tokens"}  # without them rows share a class since they do not say what the work was
MOST_VERSIONS = 40


def rows_script(rows: Iterable[Row], loads: Mapping[tuple[str, str], Sequence[Load]]) -> str:
    """A script of one call, which also runs from a disk: every row with its figures.

    loads: by key and component of a row, in the order of their start.
    """
    rows = list(rows)
    names = telling(rows)
    found = [{**_row(row, names), **_points(loads.get((row.key, row.component), ()))} for row in rows]
    data = json.dumps(found, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"LJ.rows({data});\n"


def _row(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """names: of the settings that tell rows apart."""
    component = text.component_name(row.component) if row.component else ""
    words = [row.model, row.system, finding.units(row), *(row.settings[name] for name in names if name in row.settings)]
    facts = {
        "Model": row.model,
        "System": row.system,
        "Threads" if row.by_threads else "Devices": str(row.units or "–"),
    }
    facts |= {name: row.settings[key] for key, name in FACTS.items() if key in row.settings}
    facts |= {"Weights": row.weights} if row.weights else {}
    facts["Kind"] = "published" if row.published else "run"
    versions = list(row.versions.items())[:MOST_VERSIONS]
    instruments = [instrument for some in row.instruments for instrument in some]
    return {
        "key": row.link_key,
        "name": text.shown(", ".join(words) + (f" – {component}" if component else ""), 240),
        "system": text.shown(row.system, 120),
        "page": f"{group_page('models', row.model)}#{anchor(row)}",
        "component": component,
        "source": text.source_name(row.source),
        "published": row.published,
        "scope": row.scope,
        "extent": ", ".join(word for word in row.scope.split(", ") if word not in KINDS.values()) or "device",
        "within": row.within_system,
        "gain": row.gain,
        "board": _board(instruments),
        "named": all(i.uuid for i in instruments),
        "work": row.class_ if row.settings.keys() >= LENGTHS else None,
        "facts": {name: text.shown(value, 120) for name, value in facts.items()},
        "versions": [[text.shown(word, 60) for word in (name, *each[:MOST_VERSIONS])] for name, each in versions],
        "token": _figure(row.j_per_token),
        "speed": _figure(row.tokens_per_s),
        "joules": _figure(row.joules),
        "power": _figure(row.power_w),
        "reason": text.shown(row.reason or "", 160),
        "runs": row.runs,
        "loads": row.loads,
    }


def _board(instruments: Sequence[Instrument]) -> str | None:
    """What measured, as a hash; None where nobody says."""
    found = sorted({(i.system, i.meter, i.channel, i.uuid or "") for i in instruments})
    return short_hash(found)[:10] if found else None


def _figure(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else {"mean": estimate.mean, "half": estimate.half_width}


def _points(loads: Sequence[Load]) -> dict[str, Any]:
    """J and s per token of each load, or of each run of a single one; of loads also where they stand in time.

    used: how many runs and loads that is, and how many figures of whose processes nothing is known. turns: of cells
    that were compared while they were measured: each run with its number, load, J and s.
    """
    runs = [
        [(repeat, j, s) for repeat, j, s in zip(load.repeats, load.j_per_token, load.seconds, strict=True) if _is(j)]
        for load in loads
    ]
    with_figures = [(load, some) for load, some in zip(loads, runs, strict=True) if some]
    several = len(with_figures) > 1
    points = (
        [_mean([(j, s) for _, j, s in some]) for _, some in with_figures]
        if several
        else [_mean([(j, s)]) for _, some in with_figures for _, j, s in some]
    )
    of_loads, of_figures = (
        [len(some) for load, some in with_figures if load.known is known] for known in (True, False)
    )
    found: dict[str, Any] = {"points": points, "used": [sum(of_loads), len(of_loads), sum(of_figures)]}
    if several:
        found["starts"] = [None if load.nowhere else load.started for load, _ in with_figures]
    widened = max((load.widened for load in loads), default=1.0)
    if widened != 1:
        found["widened"] = widened
    levels = [load.level for load in loads if load.level is not None]
    studies = {study for load in loads for study in load.studies}
    if levels and len(studies) == 1 and not any(load.without_study for load in loads):
        found["turns"] = {
            "study": short_hash(studies.pop()),
            "level": max(levels),
            "runs": [
                [repeat, number, *_mean([(j, s)])]
                for number, (_, some) in enumerate(with_figures)
                for repeat, j, s in some
                if repeat is not None
            ],
        }
    return found


def _is(j: float | None) -> bool:
    return j is not None and 0 < abs(j) < ABSURD


def _mean(points: Sequence[tuple[float | None, float | None]]) -> list[float | None]:
    """Ten digits: far more than a page shows, and half the size of its data."""
    seconds = [s for _, s in points if s is not None and isfinite(s)]
    means = (fmean(j for j, _ in points if j is not None), fmean(seconds) if len(seconds) == len(points) else None)
    return [None if mean is None else float(f"{mean:.10g}") for mean in means]
