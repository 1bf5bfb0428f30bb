"""Data files of the site: classic scripts that call LJ.put, since those alone load from a disk too.

`data/index.js` has all runs in columns, for the page of runs. `data/where/XX.js` and `data/settings/XX.js` lead
run.html from the id of a run to the shard that block.py made of it, and to what its page says of its setting. Files are
many and small, so that one more run changes few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import compress
from typing import Any

import msgspec

from llmjoules.sitegen import text
from llmjoules.sitegen.health import LISTS
from llmjoules.sitegen.index import Index, Place
from llmjoules.sitegen.runpage import Beside
from llmjoules.sitegen.views import group_key

_encoder = msgspec.json.Encoder(order="deterministic")


def script(name: str, value: Any) -> bytes:
    """Characters that some readers of scripts take for ends of lines are spelled out."""
    packed = _encoder.encode(value).decode("utf-8", "replace")
    packed = packed.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'LJ.put("{name}",{packed});\n'.encode("utf-8", "replace")


def where_scripts(places: Iterable[Place]) -> Iterator[tuple[str, bytes]]:
    """By the first two digits of the hash that ends a page's name: page to shard, place in it, and setting."""
    found: dict[str, dict[str, tuple[str, int, str]]] = {}
    for place in places:
        found.setdefault(place.page[-8:-6], {})[place.page] = (place.shard, place.slot, place.key)
    for name, value in sorted(found.items()):
        yield f"data/where/{name}.js", script(f"where/{name}", value)


def setting_scripts(settings: Mapping[str, Beside]) -> Iterator[tuple[str, bytes]]:
    found: dict[str, dict[str, Beside]] = {}
    for key, value in settings.items():
        found.setdefault(key[:2], {})[key] = value
    for name, values in sorted(found.items()):
        yield f"data/settings/{name}.js", script(f"settings/{name}", values)


def index_script(index: Index, with_page: set[str], few: set[str]) -> bytes:
    """Columns in the order of pages. What repeats is a number that points into a list: `[list, numbers]`.

    few: keys of settings with few runs.
    """
    rows = index.rows(
        """
        SELECT page, model, system, units, load_number, started_at, tokens_per_s, part.part.j_per_token,
            part.part.joules, uncertainty_j, part.part.power_w, record.component, source, kind, dummy, record.key,
            flags, len(missing) > 0, len(wrong) > 0, len(unchecked) > 0
        FROM record LEFT JOIN numbered USING (pos)
            LEFT JOIN part ON part.pos = record.pos AND part.part.component = record.component
        ORDER BY record.pos
        """
    )
    if not rows:
        return script("index", {})
    (
        pages, models, systems, units, loads, starts, speeds, per_token, joules, doubts, watts, components, sources,
        kinds, dummies, keys, flags, *on_lists,
    ) = map(list, zip(*rows, strict=True))  # fmt: skip
    shown = cache(text.shown)  # a few names, a hundred thousand times
    return script(
        "index",
        {
            "slug": _coded(page[:-9] for page in pages),
            "hash": "".join(page[-8:] for page in pages),
            "own": "".join("1" if page in with_page else "0" for page in pages),
            **_named("model", models, text.NAME_LIMIT),
            **_named("system", systems, 40),
            "units": _coded(units),
            "load": [load or 0 for load in loads],
            "when": _coded(shown((start or text.DASH)[:16].replace("T", " ")) for start in starts),
            "speed": _short(speeds),
            "per_token": _short(per_token),
            "joules": _short(joules),
            "doubt": _short(doubts, 2),
            "watts": _short(watts),
            "component": _coded(text.component_name(name) if name else "" for name in components),
            "source": _coded(text.source_name(source) for source in sources),
            "kind": _coded("" if kind == "run" else kind for kind in kinds),
            "dummy": "".join("1" if dummy else "0" for dummy in dummies),
            "setting": _coded(key[:8] for key in keys),
            "flag": _coded("\n".join(sorted(set(own))) for own in flags),
            "health": _coded(
                "\n".join(compress(LISTS, on)) for on in zip(*on_lists, (key in few for key in keys), strict=True)
            ),
        },
    )


def _named(column: str, names: Iterable[str], limit: int) -> dict[str, Any]:
    """As they are shown, and what tells apart those that are then alike."""
    found, numbers = _coded(names)
    return {column: ([text.shown(name, limit) for name in found], numbers), f"{column}_key": [*map(group_key, found)]}


def _coded(values: Iterable[str]) -> tuple[list[str], list[int]]:
    """In the order in which values come first."""
    found: dict[str, int] = {}
    numbers = [found.setdefault(value, len(found)) for value in values]
    return list(found), numbers


def _short(values: Iterable[float | None], digits: int = 4) -> list[float | None]:
    return [None if value is None else float(f"{value:.{digits}g}") for value in values]
