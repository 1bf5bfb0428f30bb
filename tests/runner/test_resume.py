"""The whole ladder of the built-in study, killed at random moments and started again until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from llmjoules.records.record import Run
from llmjoules.runner.schedule import dealt
from llmjoules.runner.study import plan_of, read_study
from tests.runner.conftest import Cli, read

WORDS = (
    "measure --study paper --model dummy:llama-tiny --meter mock --threads 1,2 --repeats 3 --loads 1 --new-tokens 20 "
    "--idle 0.1 --out"
).split()


def test_killed_at_random_and_restarted_it_gives_the_same_cells_and_repeats(
    cli: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    """As many as the plan has, which is all that one without interruption can make."""
    study = read_study(
        "paper",
        {"models": ("dummy:llama-tiny",), "threads": (1, 2), "repeats": 3, "loads": 1, "new_tokens": 20, "idle": 0.1}
        | {"meters": ("mock",)},
    )
    expected = {(cell.cell, repeat) for cell, repeats in dealt(plan_of(study)) for repeat in repeats}
    assert len(expected) == 6
    out, moments = tmp_path / "broken", random.Random(5)
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "llmjoules", *WORDS, str(out)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not list(out.glob(".*.claim")):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 4))
        if number % 2:
            process.terminate()
            assert process.communicate(timeout=60)[1] is not None
            assert process.returncode in (0, 143)
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    done = cli(*WORDS, str(out))
    assert done.returncode == 0, done.stderr
    assert "6 of 6 runs finished" in done.stdout
    records, bad = read(out)
    assert all(isinstance(record, Run) for record in records)
    assert sorted((record.cell, record.repeat) for record in records) == sorted(expected)
    again = cli(*WORDS, str(out))
    assert again.returncode == 0
    assert len(read(out)[0]) == 6
    assert len(bad) <= 3, "at most the line that each kill tore"


def test_auto_says_why_it_stopped_in_the_record_and_at_the_end(cli: Cli, tmp_path: Path) -> None:
    words = "measure --model dummy:llama-tiny --meter mock --repeats auto --precision 50% --loads 1 --new-tokens 20"
    done = cli(*words.split(), "--idle", "0", "--warm-up", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    records, _ = read(tmp_path)
    assert 5 <= len(records) <= 30
    assert [record.stopping.stop for record in records][:-1] == [False] * (len(records) - 1)
    assert records[-1].stopping.component == "gpu"
    assert records[-1].stopping.reason in done.stdout
