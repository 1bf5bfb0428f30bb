"""pyJoules itself, over scripted GPUs and powercap trees: its units, its silences, and that it agrees with NVML."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmjoules import Monitor
from llmjoules.meters import nvidia
from llmjoules.meters.choice import probe
from llmjoules.meters.pyjoules import PyJoules, PyJoulesOptions
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import Unavailable
from llmjoules.records.record import Run
from tests.meters import nvml_stub
from tests.meters.nvml_stub import Gpu, Install, Stub, held, uuid
from tests.runner import conftest as runner

stub, rig = nvml_stub.stub, nvml_stub.rig
cache, environment, cli, measure = runner.cache, runner.environment, runner.cli, runner.measure

# pyJoules leaves the counter's file to the garbage collector.
leaves_files_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pyJoules looks for RAPL from now on: nothing is there unless a test puts it there."""
    from pyJoules.device import rapl_device

    root = tmp_path / "intel-rapl"
    monkeypatch.setattr(rapl_device, "RAPL_API_DIR", str(root))
    return root


def zone(root: Path, path: str, name: str, micro_j: int = 5_000_000) -> Path:
    folder = root / path
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{micro_j}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def ids(meter: PyJoules) -> list[str]:
    return [channel.id for channel in probe(meter)]


def test_pyjoules_and_nvml_agree_within_what_they_state_and_with_the_truth(rig: Install) -> None:
    gpu = Gpu(pulse=280, pulse_s=1.3, phase=0.081)
    rig(gpu)
    windows = []
    with Monitor(["nvml", "pyjoules"]) as monitor:
        time.sleep(0.4)
        for after_step_s, length_s in ((0.0, 0.5), (0.2, 1.1)):
            time.sleep(1.3 - time.monotonic() % 1.3 + after_step_s)
            with monitor.window("answer") as window:
                time.sleep(length_s)
            windows.append(window)
    assert held(gpu, windows, "gpu:0")
    assert held(gpu, windows, "gpu:0@pyjoules")
    for window in windows:
        nvml, pyjoules = (e for e in window.energies if e.channel in ("gpu:0", "gpu:0@pyjoules"))
        assert nvml.joules is not None
        assert pyjoules.joules is not None
        assert abs(nvml.joules - pyjoules.joules) <= (nvml.uncertainty_j or 0) + (pyjoules.uncertainty_j or 0)


def test_it_keeps_the_contract_of_a_meter(rig: Install) -> None:
    rig(Gpu())
    assert [channel.id for channel in check_meter(PyJoules(), 0.2)] == ["gpu:0"]


def test_it_is_never_taken_by_itself(rig: Install) -> None:
    rig(Gpu())
    assert "pyjoules" not in {meter.name for meter in Monitor("auto").meters}


def test_the_released_pyjoules_gives_millijoules_and_the_record_says_so(rig: Install) -> None:
    rig(Gpu())
    meter = PyJoules()
    assert ids(meter) == ["gpu:0"]
    assert meter.describe() == {
        "gpus": None,
        "pyjoules": "0.5.1",
        "domains": {"gpu:0": "nvidia_gpu_0"},
        "units": {"gpu:0": "mJ"},
        "left_out": {"cpu": meter.describe()["left_out"]["cpu"]},
    }


@pytest.mark.parametrize(("factor", "unit"), [(1000, "µJ"), (1, "mJ")], ids=["unreleased head", "0.5.1"])
def test_microjoules_under_the_same_names_are_found_out(
    rig: Install, monkeypatch: pytest.MonkeyPatch, factor: int, unit: str
) -> None:
    from pyJoules.device.nvidia_device import NvidiaGPUDevice

    gpu = Gpu()
    rig(gpu)
    released = NvidiaGPUDevice.get_energy
    monkeypatch.setattr(NvidiaGPUDevice, "get_energy", lambda self: [value * factor for value in released(self)])
    meter = PyJoules()
    meter.open()
    assert meter.describe()["units"] == {"gpu:0": unit}
    assert meter.read()["gpu:0"] == pytest.approx(gpu.energy_j(gpu.zero, time.monotonic()), rel=0.01)
    meter.close()


def test_a_unit_that_cannot_be_told_is_not_guessed(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyJoules.device.nvidia_device import NvidiaGPUDevice

    rig(Gpu())
    monkeypatch.setattr(NvidiaGPUDevice, "get_energy", lambda self: [42])
    with pytest.raises(Unavailable, match="can read nothing") as caught:
        probe(PyJoules())
    assert "in which unit is not known" in caught.value.why


def test_gpus_without_a_counter_are_left_out_and_the_others_are_read(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1), energy=0), Gpu(bus=2, uuid=uuid(2), energy=2), Gpu(bus=3, uuid=uuid(3)))
    meter = PyJoules()
    assert ids(meter) == ["gpu:2"]
    left_out = meter.describe()["left_out"]
    assert "has no energy counter" in left_out["gpu:0"]
    assert "stands still" in left_out["gpu:1"]


def test_its_numbers_are_those_of_nvml_and_ours_are_those_of_the_pci_bus(
    rig: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(Gpu(bus=9, uuid=uuid(9)), Gpu(bus=3, uuid=uuid(3)))
    meter = PyJoules()
    assert ids(meter) == ["gpu:0", "gpu:1"]
    assert meter.describe()["domains"] == {"gpu:0": "nvidia_gpu_1", "gpu:1": "nvidia_gpu_0"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuid(9))
    assert [channel.uuid for channel in probe(PyJoules())] == [uuid(9)]


def test_every_device_is_told_its_domain(rig: Install, monkeypatch: pytest.MonkeyPatch, powercap: Path) -> None:
    from pyJoules.device.device import Device

    asked: list[Any] = []
    configure = Device.configure
    monkeypatch.setattr(Device, "configure", lambda self, domains: (asked.append(domains), configure(self, domains)))
    rig(Gpu(), Gpu(bus=2, uuid=uuid(2)))
    meter = PyJoules()
    meter.open()
    meter.close()
    assert asked
    assert all(isinstance(domains, list) and len(domains) == 1 for domains in asked)


def test_a_lost_gpu_leaves_the_others(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1), lost_at=time.monotonic() + 0.4), Gpu(bus=2, uuid=uuid(2)))
    meter = PyJoules()
    meter.open()
    assert set(meter.read()) == {"gpu:0", "gpu:1"}
    time.sleep(0.4)
    assert set(meter.read()) == {"gpu:1"}
    meter.close()


def test_a_gpu_that_is_lost_before_it_is_opened_leaves_the_others(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1), lost_at=time.monotonic() + 0.4), Gpu(bus=2, uuid=uuid(2)))
    meter = PyJoules()
    assert ids(meter) == ["gpu:0", "gpu:1"]
    time.sleep(0.4)
    meter.open()
    assert set(meter.read()) == {"gpu:1"}
    meter.close()


@leaves_files_open
def test_gpus_that_were_asked_for_are_not_passed_over_in_silence(rig: Install, powercap: Path) -> None:
    rig(Gpu())
    zone(powercap, "intel-rapl:0", "package-0")
    with pytest.raises(Unavailable, match="No such GPU: 7"):
        probe(PyJoules(PyJoulesOptions(gpus=(7,))))
    rig(init=9)
    with pytest.raises(Unavailable, match="driver is not loaded"):
        probe(PyJoules(PyJoulesOptions(gpus="all")))
    assert ids(PyJoules()) == ["cpu:0"]


def test_gpus_without_a_counter_cost_no_waiting(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "MOVES_WITHIN_S", 60.0)
    rig(Gpu(bus=1, uuid=uuid(1), energy=0), Gpu(bus=2, uuid=uuid(2), tick=0.02))
    begun_s = time.monotonic()
    assert PyJoules().probe()
    assert time.monotonic() - begun_s < 30


@leaves_files_open
def test_packages_and_memory_are_read_in_microjoules_with_their_wrap(rig: Install, powercap: Path) -> None:
    rig(init=9)
    zone(powercap, "intel-rapl:0", "package-0")
    zone(powercap, "intel-rapl:0/intel-rapl:0:0", "core")
    zone(powercap, "intel-rapl:0/intel-rapl:0:1", "dram", 7_000_000)
    zone(powercap, "intel-rapl:1", "package-1", 6_000_000)
    meter = PyJoules()
    channels = probe(meter)
    assert [(channel.id, channel.component) for channel in channels] == [
        ("cpu:0", "cpu"),
        ("cpu:1", "cpu"),
        ("dram:0", "dram"),
    ]
    assert all(channel.wraps_at_j == pytest.approx(262143.32885) for channel in channels)
    meter.open()
    assert meter.read() == {"cpu:0": 5.0, "cpu:1": 6.0, "dram:0": 7.0}
    meter.close()
    assert "driver is not loaded" in meter.describe()["left_out"]["gpu"]


@pytest.mark.parametrize(
    "zones",
    [{"intel-rapl:0": "package-0-die-0"}, {"intel-rapl:0": "psys", "intel-rapl:1": "package-0"}],
    ids=["dies", "psys first"],
)
def test_packages_that_pyjoules_does_not_see_are_said_to_be_missing(
    rig: Install, powercap: Path, zones: Mapping[str, str]
) -> None:
    rig(Gpu())
    for path, name in zones.items():
        zone(powercap, path, name)
    meter = PyJoules()
    assert ids(meter) == ["gpu:0"]
    assert "no zone named package-N as pyJoules wants it" in meter.describe()["left_out"]["cpu"]


def test_a_counter_without_permission_does_not_cost_the_gpu(
    rig: Install, powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyJoules.device import rapl_device

    def locked(path: str, *more: str) -> Any:
        if path.endswith("energy_uj"):  # root reads whatever its mode is, so that the mode would not do
            raise PermissionError(13, "Permission denied", path)
        return open(path, *more)

    rig(Gpu())
    zone(powercap, "intel-rapl:0", "package-0")
    monkeypatch.setattr(rapl_device, "open", locked, raising=False)
    meter = PyJoules()
    assert ids(meter) == ["gpu:0"]
    assert f"sudo chmod -R a+r {powercap}" in meter.describe()["left_out"]["cpu:0"]


def test_where_it_can_read_nothing_it_says_why_for_each_part(rig: Install) -> None:
    rig(init=12)
    with pytest.raises(Unavailable) as caught:
        probe(PyJoules())
    assert caught.value.what == "pyJoules can read nothing here."
    assert "No NVIDIA driver library" in caught.value.why
    assert "intel-rapl" in caught.value.why
    assert "llmjoules meters" in caught.value.fix


def test_without_pyjoules_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyJoules.device", None)
    with pytest.raises(Unavailable, match="not installed") as caught:
        probe(PyJoules())
    assert caught.value.fix == "pip install pyJoules nvidia-ml-py"


def test_a_whole_measurement_with_both(stub: Stub, measure: Callable[..., Any], environment: dict[str, str]) -> None:
    """Through the command line, where NVML has a GPU and torch has none."""
    gpu = Gpu(base=200, wave=80, wave_s=1.7)
    env = environment | {key: value for key, value in stub.environment(gpu).items() if key not in environment}
    words = "--model dummy:llama-tiny --meter nvml,pyjoules --repeats 1 --new-tokens 200"
    measured = measure(*words.split(), env=env)
    assert measured.done.returncode == 0, measured.done.stderr
    [run] = measured.records
    assert isinstance(run, Run)
    assert [meter.name for meter in run.meters] == ["nvml", "pyjoules"]
    assert [channel.id for meter in run.meters for channel in meter.channels] == [
        "gpu:0",
        "gpu:0@power",
        "gpu:0@pyjoules",
    ]
    assert run.meters[1].options["units"] == {"gpu:0": "mJ"}
    assert run.system.accelerators == ()
    phase = run.phase("inference")
    assert phase is not None
    true_j = gpu.energy_j(run.clock.monotonic_s + phase.start_s, run.clock.monotonic_s + phase.end_s)
    for energy in phase.energy:
        assert energy.joules is not None, energy.reason
        assert energy.uncertainty_j is not None
        assert abs(energy.joules - true_j) <= 1.5 * energy.uncertainty_j  # a band of 95 %
    total = run.totals["gpu"]
    assert total.channels == ("gpu:0",)
    assert total.joules == phase.energy[0].joules
