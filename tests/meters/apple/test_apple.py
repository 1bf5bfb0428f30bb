"""The chip's counters through a stand-in for zeus-apple-silicon, the third-party module that is the boundary here.

Its real extension runs on Apple silicon alone. The stand-in has its two classes and their fields: integers of
millijoules, None where the chip does not show one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from llmjoules.meters.apple import Apple
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import Unavailable

# 12.5 W, 30 W and 2 W; the neural engine is not shown
STAND_IN = """
import time


class AppleEnergyMetrics:
    def __init__(self, seconds):
        self.cpu_total_mj = int(12500 * seconds)
        self.gpu_mj = int(30000 * seconds)
        self.gpu_sram_mj = int(500 * seconds)
        self.ane_mj = None
        self.dram_mj = int(2000 * seconds)
        self.efficiency_cores_mj = [int(500 * seconds)] * 4


class AppleEnergyMonitor:
    def get_cumulative_energy(self):
        return AppleEnergyMetrics(time.monotonic())
"""


@pytest.fixture
def zeus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("zeus_apple_silicon")
    exec(STAND_IN, module.__dict__)
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", module)
    return module


def test_it_keeps_the_contract_of_a_meter(zeus: ModuleType) -> None:
    channels = check_meter(Apple(), seconds=0.2)
    assert [(c.id, c.component, c.kind, c.gain) for c in channels] == [
        ("cpu:0", "cpu", "counter", None),
        ("gpu:0", "gpu", "counter", None),
        ("dram:0", "dram", "counter", None),
    ]
    assert all("not for comparing machines" in (c.note or "") for c in channels)


def test_millijoules_become_joules(zeus: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = SimpleNamespace(cpu_total_mj=1500, gpu_mj=20, gpu_sram_mj=999, ane_mj=0, dram_mj=None)
    monkeypatch.setattr(zeus.AppleEnergyMonitor, "get_cumulative_energy", lambda _: totals)
    meter = Apple()
    meter.open()
    assert meter.read() == {"cpu:0": 1.5, "gpu:0": 0.02, "ane:0": 0.0}
    meter.close()


def test_a_window_holds_the_truth_within_its_uncertainty(zeus: ModuleType) -> None:
    with Monitor(["apple"]) as monitor:
        with monitor.window("work") as window:
            time.sleep(1.0)
        for channel, watts in (("cpu:0", 12.5), ("gpu:0", 30.0), ("dram:0", 2.0)):
            true_j = watts * (window.end_s - window.start_s)
            assert window.joules(channel) == pytest.approx(true_j, abs=window.uncertainty_j(channel))
            assert window.uncertainty_j(channel) < 0.1 * true_j


def test_a_chip_that_shows_nothing_is_not_usable(zeus: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeus.AppleEnergyMonitor, "get_cumulative_energy", lambda _: SimpleNamespace(cpu_total_mj=None))
    with pytest.raises(Unavailable) as caught:
        Apple().probe()
    assert "powermetrics" in caught.value.fix


def test_what_its_library_raises_is_the_reason(zeus: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("failed to create IOReport subscription")

    monkeypatch.setattr(zeus.AppleEnergyMonitor, "__init__", refused)
    with pytest.raises(Unavailable) as caught:
        Apple().probe()
    assert "failed to create IOReport subscription" in caught.value.why


@pytest.mark.parametrize(
    ("machine", "fix"), [(("Darwin", "arm64"), "pip install zeus-apple-silicon"), (("Linux", "x86_64"), "M-series")]
)
def test_without_the_library_it_says_what_to_do(
    machine: tuple[str, str], fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    monkeypatch.setattr("platform.system", lambda: machine[0])
    monkeypatch.setattr("platform.machine", lambda: machine[1])
    with pytest.raises(Unavailable) as caught:
        Apple().probe()
    assert fix in caught.value.fix


def test_auto_takes_it_from_an_installed_library(tmp_path: Path) -> None:
    """In a process of its own, with the stand-in where an installed package would lie."""
    (tmp_path / "zeus_apple_silicon").mkdir()
    (tmp_path / "zeus_apple_silicon" / "__init__.py").write_text(STAND_IN)
    (tmp_path / "no-rapl").mkdir()
    code = """if True:
        import json, time, llmjoules
        with llmjoules.Monitor("auto") as monitor:
            with monitor.window("work") as window:
                time.sleep(0.5)
            print(json.dumps([[m.name for m in monitor.meters], window.joules("gpu:0"), window.end_s - window.start_s,
                monitor.notes]))
    """
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "LLMJOULES_POWERCAP": str(tmp_path / "no-rapl")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    names, joules, seconds, notes = json.loads(done.stdout)
    assert "apple" in names
    assert "powermetrics" not in names
    assert notes == ["What 'apple' gives is modelled by the device, not measured."]
    if "nvml" not in names and "pyjoules" not in names:  # a GPU of this machine may be gpu:0
        assert joules == pytest.approx(30.0 * seconds, rel=0.1)
