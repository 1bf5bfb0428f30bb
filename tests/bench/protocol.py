"""What the measuring protocol takes beside the phases: waits, checks, and what is done with records."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmjoules.records.record import Run
from llmjoules.records.store import read_results

GOAL = 0.05
TICKING = 'mock.channels=[{"id":"gpu:0","component":"gpu","tick_s":0.1}]'


def overhead() -> Iterator[tuple[str, str, str, str, str]]:
    """At default settings on the tiny dummy, whose inferences are as short as any: all that is fixed weighs most."""
    for name, more in (("mock", ()), ("mock, renewed every 100 ms", ("--meter-option", TICKING))):
        runs = _runs(more)
        first, last = runs[0], runs[-1]
        whole_s = last.clock.monotonic_s + last.phases[-1].end_s - first.clock.monotonic_s
        outside_s = whole_s - sum(phase.duration_s for run in runs for phase in run.phases)
        share = outside_s / whole_s
        yield (
            f"time outside phases, {name}",
            f"{share:.1%}",
            f"{GOAL:.0%}",
            "met" if share <= GOAL else "missed",
            f"{outside_s / len(runs) * 1000:.0f} ms a run of {whole_s / len(runs):.1f} s",
        )


def _runs(more: tuple[str, ...]) -> list[Run]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "llmjoules", "measure", "--out", folder, *more]
        command += "--model dummy:llama-tiny --meter mock --repeats 6 --loads 1".split()
        subprocess.run(command, check=True, capture_output=True)
        records = [stored.record for stored in read_results([Path(folder)], lambda _: None)]
    return [record for record in records if isinstance(record, Run)]
