"""Figures worked out from the author's files, as they stand in derived.json; recompute.py makes them."""

from __future__ import annotations

from importlib.resources import files

import msgspec
from msgspec import Struct


class Derived(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one row. table_…: worked out the way the table was; the others: of the inference alone, means over its runs.

    rows: of the file, of all phases; runs: inferences. phase_j: mean of each phase, by the author's label.
    board_w: mean power of each board, in order. cpu_j: of the CPU's rail, times the process's share of all tasks.
    sample_ms: median and longest interval. highest_w: of a sample.
    """

    file: str
    rows: int
    runs: int
    table_tokens_per_s: float
    table_joules: float
    tokens_per_s: float
    inference_s: float
    inference_j: float
    inference_sd_j: float
    phase_j: dict[str, float] = {}
    board_w: tuple[float, ...] = ()
    cpu_j: float | None = None
    sample_ms: tuple[float, float] | None = None
    highest_w: float | None = None


class Idle(Struct, frozen=True, kw_only=True):
    """Power of A100 boards of the same cluster while their utilisation read 0 %, in traces of later months."""

    samples: int
    lowest_w: float
    median_w: float
    files: tuple[str, ...]


class Figures(Struct, frozen=True, kw_only=True):
    rows: tuple[Derived, ...]
    idle: Idle | None


def derived() -> Figures:
    """The figures as they were worked out last."""
    return msgspec.json.decode((files("llmjoules.sitegen.hotcarbon24") / "derived.json").read_bytes(), type=Figures)
