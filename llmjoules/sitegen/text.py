"""Words and numbers as pages show them: safe file names, cut names, and digits that claim no more than is known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

from llmjoules.records.ids import short_hash
from llmjoules.records.rounding import DASH as DASH
from llmjoules.records.rounding import THIN as THIN
from llmjoules.records.rounding import PlusMinus as PlusMinus
from llmjoules.records.rounding import digits as digits
from llmjoules.records.rounding import number as number
from llmjoules.records.rounding import plus_minus as plus_minus

NAME_LIMIT = 72
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
COMPONENTS = {
    "cpu": "CPU",
    "gpu": "GPU",
    "dram": "DRAM",
    "ane": "neural engine",
    "chip": "chip",
    "host": "host",
    "wall": "wall",
}
SOURCES = {"measured": "measured", "modelled": "estimated", "simulated": "simulated"}


def file_name(name: str, key: object) -> str:
    """A name for a page: letters, digits and dashes of `name`, and a hash of `key` that keeps it apart from others."""
    plain = unicodedata.normalize("NFKD", name[:400]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:48].strip("-")
    return "-".join(filter(None, (slug, short_hash(key)[:8])))


def clean(text: str) -> str:
    """Characters that hide or turn round the text beside them become visible; ends of lines and thin spaces stay."""
    if text.isprintable():
        return text
    rest = text.replace("\n", "").replace(THIN, "")  # nearly always all that is not: a letter at a time is slow
    if rest.isprintable():
        return text
    return "".join(c if c.isprintable() or c in f"\n\t\u00a0{THIN}" else "\ufffd" for c in text)


def shown(text: str, limit: int = NAME_LIMIT) -> str:
    """On one line and cut to `limit` characters: for names and sentences from records."""
    line = clean(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def natural(text: str) -> tuple[str | int, ...]:
    """To sort by: `batch 16` before `batch 128`."""
    return tuple(int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d{1,18})", text)))


def component_name(component: str) -> str:
    return COMPONENTS.get(component) or shown(component, 24)


def source_name(source: str) -> str:
    return SOURCES.get(source, source)


def count(number: int, noun: str, *, spell: bool = True) -> str:
    """`two models`, `1 482 runs`."""
    word = _COUNTS[number] if spell and number < len(_COUNTS) else digits(float(number), 0)
    return f"{word} {noun}" if number == 1 else f"{word} {noun}s"


def listed(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last


def sentence(text: str) -> str:
    """With a capital, if it does not begin with a name of its own spelling."""
    return text[:1].upper() + text[1:]


class Unit(NamedTuple):
    """A prefix for a whole column: value times `factor` is in `prefix` units."""

    prefix: str
    factor: float


def unit_for(values: Iterable[float | None]) -> Unit:
    """One prefix for all of them: milli where even the largest is small, kilo where even the smallest is large."""
    sizes = [abs(value) for value in values if value is not None and value and isfinite(value)]
    if sizes and max(sizes) < 0.1:
        return Unit("m", 1e3) if max(sizes) >= 1e-4 else Unit("µ", 1e6)
    return Unit("k", 1e-3) if sizes and min(sizes) >= 1e4 else Unit("", 1.0)


def joules(value: float | None, significant: int = 3) -> str:
    unit = unit_for([value])
    return f"{number(None if value is None else value * unit.factor, significant)} {unit.prefix}J"


def seconds(value: float | None) -> str:
    if value is None or not isfinite(value):
        return DASH
    if 0 < abs(value) < 1:
        return f"{number(value * 1000)} ms" if abs(value) >= 1e-3 else f"{number(value * 1e6)} µs"
    return f"{number(value)} s"


def bytes_size(value: int | None) -> str:
    return DASH if value is None else f"{number(value / 1e9)} GB"


def file_size(value: int) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{number(value / limit)} {unit}"
    return f"{value} bytes"


def parameters(value: int | None) -> str | None:
    """1 235 000 000 reads 1.24 B."""
    if value is None:
        return None
    for limit, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return number(value / limit) + letter
    return str(value)


def percent(fraction: float) -> str:
    return f"{number(fraction * 100, 2)}{THIN}%"
