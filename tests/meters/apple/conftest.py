"""A simulated Mac for each test that asks for it; no test may leave a process of it behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meters.apple.simulator import Simulator

CAPTURES = Path(__file__).parents[4] / "shared" / "samples" / "powermetrics"


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path, monkeypatch)
    simulator.mode()
    yield simulator
    left = [] if simulator.gone_within(1.0) else simulator.running()
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
def captures() -> Path:
    if not CAPTURES.is_dir():
        pytest.skip("needs ../shared/samples/powermetrics")
    return CAPTURES
