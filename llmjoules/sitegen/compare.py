"""What the compare page needs of each row: figures with their standard errors, and the configuration in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from llmjoules.records.ids import short_hash
from llmjoules.records.stats import Estimate, t_975
from llmjoules.sitegen import finding, text
from llmjoules.sitegen.aggregate import Row, telling
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


def rows_script(rows: Iterable[Row]) -> str:
    """A script of one call, which also runs from a disk: every row with its figures."""
    rows = list(rows)
    names = telling(rows)
    data = json.dumps([_row(row, names) for row in rows], separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"LJ.rows({data});\n"


def key_of(row: Row) -> str:
    """Of a row in a link: hexadecimal, and not the same for two components of one setting."""
    return short_hash((row.key, row.component))[:10]


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
    return {
        "key": key_of(row),
        "name": text.shown(", ".join(words) + (f" – {component}" if component else ""), 240),
        "system": text.shown(row.system, 120),
        "page": f"{group_page('models', row.model)}#{anchor(row)}",
        "component": component,
        "source": "published" if row.published else text.source_name(row.source),
        "scope": row.scope,
        "within": row.within_system,
        "gain": row.gain,
        "board": short_hash(sorted(repr(sorted(map(repr, instruments))) for instruments in row.instruments))[:10],
        "work": row.class_,
        "facts": {name: text.shown(value, 120) for name, value in facts.items()},
        "token": _figure(row.j_per_token),
        "speed": _figure(row.tokens_per_s),
        "joules": _figure(row.joules),
        "power": _figure(row.power_w),
        "reason": text.shown(row.reason or "", 160),
        "runs": row.runs,
        "loads": row.loads,
    }


def _figure(estimate: Estimate | None) -> dict[str, float | int | None] | None:
    """se, df: what a difference of two needs; None where one run says nothing of a spread."""
    if estimate is None:
        return None
    points = estimate.loads if estimate.basis == "loads" else estimate.runs
    half = estimate.half_width
    se = half / t_975(points - 1) if half is not None else None
    return {"mean": estimate.mean, "half": half, "se": se, "df": points - 1}
