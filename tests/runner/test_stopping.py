"""A measurement that is stopped, by anyone at any time, keeps every run that it has announced."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import llmjoules
from llmjoules.records.record import Failed, Run
from llmjoules.runner import events
from tests.runner.conftest import Measured, read

WORDS = (
    "measure --model dummy:llama-tiny --meter mock --repeats 40 --loads 4 --new-tokens 10 --idle 0.05 --warm-up 0"
).split()


def start(environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "llmjoules", *WORDS, "--out", str(folder)]
    return subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_ctrl_c,
    )


def heeds_ctrl_c() -> None:
    """Also where these tests run in the background of a shell, whose jobs inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def announced(lines: str) -> int:
    """Runs that the user was told of."""
    return sum(" tokens in " in line for line in lines.splitlines())


def gone(process: psutil.Process, limit_s: float = 15) -> bool:
    _, alive = psutil.wait_procs([process], limit_s)
    return not alive


@pytest.mark.usefixtures("three_runs")
def test_sigkill_at_any_instant_loses_no_announced_run_and_the_next_call_goes_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    chance = random.Random(5)
    told = 0
    for kill in range(3):
        process = start(environment, tmp_path)
        seen: list[str] = []
        # Runs to wait for, so that the kill falls among them; the first falls into starting and loading.
        target = chance.randrange(1, 8) if kill else 0
        while len(seen) < target and (line := process.stderr.readline()):
            seen += [line] if " tokens in " in line else []
        time.sleep(chance.uniform(0, 0.2 if kill else 3))
        children = psutil.Process(process.pid).children()
        process.kill()
        rest = process.communicate()[1]
        told += len(seen) + announced(rest)
        assert all(gone(child) for child in children), "the measuring process outlived the one that started it"
        records, bad = read(tmp_path)
        assert len(records) >= told >= (1 if kill else 0)
        assert not [line for line in bad if "cut off" not in line.why]
    assert len({record.id for record in records}) == len(records)


@pytest.mark.usefixtures("three_runs")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_order_and_keeps_what_is_finished(
    number: signal.Signals, code: int, environment: dict[str, str], tmp_path: Path
) -> None:
    process = start(environment, tmp_path)
    while " tokens in " not in process.stderr.readline():
        pass
    children = psutil.Process(process.pid).children()
    process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert all(gone(child) for child in children)
    records, bad = read(tmp_path)
    assert len(records) >= 1 + announced(stderr)
    assert not bad


@pytest.fixture
def killed_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, three_runs: Measured
) -> list[Run | Failed]:
    """Three repeats of one load; the measuring process is killed in the second one's inference."""
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    seen = []

    def kill_in_the_second(event: events.Event) -> None:
        seen.append(event)
        inferences = [e for e in seen if isinstance(e, events.PhaseBegan) and e.name == "inference"]
        if len(inferences) == 2 and seen[-1] is inferences[-1]:
            (child,) = psutil.Process().children()
            child.kill()

    return list(
        llmjoules.measure(
            "dummy:llama-tiny",
            meters=("mock",),
            repeats=3,
            loads=1,
            new_tokens=400,
            idle_s=0.05,
            warm_up=0,
            on_event=kill_in_the_second,
        )
    )


def test_a_repeat_whose_process_is_killed_is_a_failed_record_and_a_fresh_process_does_the_rest(
    killed_once: list[Run | Failed],
) -> None:
    first, second, third = killed_once
    assert (type(first), type(second), type(third)) == (Run, Failed, Run)
    assert [record.repeat for record in killed_once] == [0, 1, 2]
    assert second.error.phase == "inference"
    assert "SIGKILL" in second.error.message
    assert [phase.name for phase in second.phases] == ["idle"]
    assert second.phases[0].energy[0].joules > 0  # what was measured up to then
    assert second.load == type(second.load)(id=first.load.id, first=False)
    assert third.load.first
    assert third.load.id != first.load.id
