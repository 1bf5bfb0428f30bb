"""How the repeats of a cell came to an end, as their records tell, and what an interval over them has to allow for."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from llmjoules.records.record import Published, Run, Stopping

# Repeats that end when their interval is narrow end when they happen to look alike. Two cells of equal settings that
# both ended so are called different in up to 8.4 % of simulated studies; with 1.15 times the scatter in up to 5.5 %,
# whatever the scatter and the precision, and with loads of several runs that differ and depend on each other
# (`python -m tests.bench.bench statistics`).
WIDENED = 1.15


def widening(runs: Sequence[Run | Published]) -> float:
    """By what the scatter of a cell's figures is too small to be compared with another cell's."""
    found = (_stopping(run) for run in runs)
    return WIDENED if any(s is not None and s.stop and s.reason.startswith("precise:") for s in found) else 1.0


def last_level(a: Sequence[Run | Published], b: Sequence[Run | Published]) -> float | None:
    """The part of alpha that the last look at two cells in turns had (`records.sequential`).

    None where they are not such a pair, or where nobody had looked yet: then nothing ended because of what was seen.
    """
    if len({getattr(run, "study", None) for run in (*a, *b)}) != 1:
        return None
    levels = [
        [s.level for run in side if (s := _stopping(run)) is not None and s.level is not UNSET] for side in (a, b)
    ]
    return max((level for side in levels for level in side), default=None) or None if all(levels) else None


def _stopping(run: Run | Published) -> Stopping | None:
    return run.stopping if isinstance(run, Run) and run.stopping is not UNSET else None
