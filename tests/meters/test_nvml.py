"""NVML through NVIDIA's own bindings over scripted GPUs: what is measured how, what is refused, and the true joules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmjoules import Monitor, Window
from llmjoules.meters.choice import probe
from llmjoules.meters.nvml import Nvml, NvmlOptions
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import Unavailable
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Channel
from llmjoules.runner.totals import totals
from tests.meters import nvml_stub
from tests.meters.nvml_stub import AMPERE, KEPLER, PASCAL, VOLTA, Gpu, Install, Stub, held, installed, uuid

stub, rig = nvml_stub.stub, nvml_stub.rig

MEGAHERTZ_AND_SUCH = {
    "temperature_c": 54,
    "sm_clock_mhz": 1980,
    "memory_clock_mhz": 2619,
    "power_limit_w": 700.0,
    "throttling": ["power cap", "software thermal slowdown"],
    "other_processes": 1,
}


def probed(**options: object) -> dict[str, Channel]:
    return {channel.id: channel for channel in probe(Nvml(NvmlOptions(**options)))}  # type: ignore[arg-type]


def refused(**options: object) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        probed(**options)
    return caught.value


# ---- real time: windows over scripts whose integral is known ----

PULSE_S = 1.3
STEPS = {"pulse": 280.0, "pulse_s": PULSE_S}
RIG = {
    "H100": Gpu(**STEPS, wave=20, wave_s=3),
    "V100": Gpu(**STEPS, name="Tesla V100", arch=VOLTA, tick=0.02, mean=0.01),
    "P100": Gpu(**STEPS, name="Tesla P100", arch=PASCAL, tick=0.02, mean=0.01, energy=0, phase=0.011),
    "A100": Gpu(**STEPS, name="NVIDIA A100", arch=AMPERE, duty=0.025, phase=0.05),
    "GH200": Gpu(**STEPS, name="GH200", energy=0, instant=0, usage=0, module=1),
    "3090": Gpu(**STEPS, name="GeForce RTX 3090", arch=AMPERE, energy=0, instant=0, mean=1.0),
    "lagging": Gpu(**STEPS, counter_mean=1.0, phase=0.08),
    "at zero": Gpu(**STEPS, energy=2),
}
NUMBER = {name: number for number, name in enumerate(RIG)}


@pytest.fixture(scope="module")
def windows(stub: Stub) -> Iterator[list[Window]]:
    """Windows of 0.5 to 1.2 s, two of them beginning with a step of power, as phases do."""
    gpus = [Gpu(**vars(gpu) | {"bus": number + 1, "uuid": uuid(number)}) for number, gpu in enumerate(RIG.values())]
    with installed(stub) as install:
        install(*gpus)
        found = []
        with Monitor(["nvml"]) as monitor:
            time.sleep(0.5)
            for after_step_s, length_s in ((0.0, 0.5), (0.3, 1.1), (0.0, 0.7), (0.4, 1.2)):
                time.sleep(PULSE_S - time.monotonic() % PULSE_S + after_step_s)
                with monitor.window("answer") as window:
                    time.sleep(length_s)
                found.append(window)
        yield found


@pytest.mark.parametrize("gpu", ["H100", "V100"])
def test_a_counter_holds_the_true_joules_within_what_it_states(windows: list[Window], gpu: str) -> None:
    channel = f"gpu:{NUMBER[gpu]}"
    assert held(RIG[gpu], windows, channel)
    for energy in (energy for window in windows for energy in window.energies if energy.channel == channel):
        assert energy.joules is not None
        assert energy.uncertainty_j is not None
        assert energy.uncertainty_j < 0.5 * energy.joules  # and it says something, on a busy machine too


@pytest.mark.parametrize("gpu", ["H100", "V100", "A100"])
def test_power_beside_the_counter_is_a_second_opinion_within_what_it_states(windows: list[Window], gpu: str) -> None:
    assert held(RIG[gpu], windows, f"gpu:{NUMBER[gpu]}@power")


def test_a_counter_that_sees_a_quarter_of_the_time_holds_the_true_joules_of_steps_inside(windows: list[Window]) -> None:
    assert held(RIG["A100"], windows, f"gpu:{NUMBER['A100']}")


@pytest.mark.parametrize("gpu", ["P100", "GH200", "at zero"])
def test_without_a_counter_to_believe_power_holds_the_true_joules(windows: list[Window], gpu: str) -> None:
    channel = f"gpu:{NUMBER[gpu]}"
    assert held(RIG[gpu], windows, channel)
    methods = {energy.method for window in windows for energy in window.energies if energy.channel == channel}
    assert methods == {"power-integral"}


def test_a_power_reading_that_is_a_mean_of_a_second_gives_no_figure_below_one(windows: list[Window]) -> None:
    channel = f"gpu:{NUMBER['3090']}"
    short = [window for window in windows if window.end_s is not None and window.end_s - window.start_s < 1]
    assert short
    for window in short:
        assert window.joules(channel) is None
        assert str(window.reason(channel)).startswith("too_short: ")
    assert held(RIG["3090"], [window for window in windows if window not in short], channel)


def test_a_counter_of_a_one_second_mean_is_contradicted_by_the_power_beside_it(windows: list[Window]) -> None:
    """The counter alone does not show it: `doctor` finds it by its step response."""
    counter, power = (f"gpu:{NUMBER['lagging']}{suffix}" for suffix in ("", "@power"))
    assert not held(RIG["lagging"], windows, counter)
    assert held(RIG["lagging"], windows, power)
    first = {energy.channel: energy for energy in windows[0].energies}
    assert first[counter].joules is not None
    assert first[power].joules is not None
    stated = (first[counter].uncertainty_j or 0) + (first[power].uncertainty_j or 0)
    assert abs(first[counter].joules - first[power].joules) > stated


def test_readings_that_take_up_to_20_ms_widen_the_uncertainty_and_stay_within_it(rig: Install) -> None:
    gpu = Gpu(**STEPS, latency=0.02)
    rig(gpu)
    with Monitor(["nvml"]) as monitor:
        time.sleep(0.3)
        time.sleep(PULSE_S - time.monotonic() % PULSE_S)
        with monitor.window("answer") as window:
            time.sleep(0.9)
    assert held(gpu, [window], "gpu:0")


def test_a_reset_voids_its_window_a_lost_gpu_its_own_figures_and_the_rest_goes_on(rig: Install) -> None:
    soon_s = time.monotonic() + 1.2
    resets = Gpu(bus=1, uuid=uuid(1), reset_at=soon_s)
    lost = Gpu(bus=2, uuid=uuid(2), lost_at=soon_s)
    healthy = Gpu(bus=3, uuid=uuid(3))
    rig(resets, lost, healthy)
    with Monitor(["nvml"]) as monitor:
        with monitor.window("around") as around:
            time.sleep(max(0.0, soon_s + 0.3 - time.monotonic()))
        time.sleep(0.3)
        with monitor.window("after") as after:
            time.sleep(0.6)
    assert around.joules("gpu:0") is None
    assert str(around.reason("gpu:0")).startswith("counter_reset: the counter fell from ")
    assert after.end_s is not None
    assert after.joules("gpu:0") == pytest.approx(90 * (after.end_s - after.start_s), rel=0.1)
    for window in (around, after):
        assert window.joules("gpu:1") is None
        assert str(window.reason("gpu:1")).startswith("missing: ")
        assert window.end_s is not None
        assert window.joules("gpu:2") == pytest.approx(healthy.energy_j(window.start_s, window.end_s), rel=0.1)
    total = totals(monitor.meters, after.energies)["gpu"]
    assert total.joules is None
    assert total.channels == ("gpu:0", "gpu:1", "gpu:2")  # no second opinion among them


def test_when_every_gpu_is_lost_the_reason_is_what_nvml_says(rig: Install) -> None:
    rig(Gpu(lost_at=time.monotonic() + 0.5))
    with Monitor(["nvml"]) as monitor, monitor.window("answer") as window:
        time.sleep(0.7)
    assert window.joules("gpu:0") is None
    assert window.reason("gpu:0") == "missing: the meter gave no reading: NVMLError_GpuIsLost: GPU is lost"


# ---- what is measured, and how ----


def test_it_keeps_the_contract_of_a_meter(rig: Install) -> None:
    rig(Gpu(), Gpu(bus=2, uuid=uuid(1), energy=0))
    channels = check_meter(Nvml(), 0.2)
    assert [channel.id for channel in channels] == ["gpu:0", "gpu:0@power", "gpu:1"]


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (Gpu(), {"gpu:0": "energy counter", "gpu:0@power": "instant power"}),
        (Gpu(instant=0, arch=VOLTA), {"gpu:0": "energy counter", "gpu:0@power": "power usage"}),
        (Gpu(instant=0, usage=0), {"gpu:0": "energy counter"}),
        (Gpu(instant=0), {"gpu:0": "energy counter"}),  # a mean of a second would be late at every edge
        (Gpu(energy=0), {"gpu:0": "instant power"}),
        (Gpu(energy=0, instant=0, arch=KEPLER), {"gpu:0": "power usage"}),
        (Gpu(energy=0, instant=0, module=1), {"gpu:0": "instant power of the module"}),
        (Gpu(energy=0, instant=0, arch=-1), {"gpu:0": "power usage"}),
    ],
    ids=lambda value: " and ".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_is_not_supported_is_found_out_by_function(rig: Install, gpu: Gpu, expected: Mapping[str, str]) -> None:
    rig(gpu)
    meter = Nvml()
    channels = {channel.id: channel for channel in probe(meter)}
    assert meter.describe()["routes"] == expected
    for name, method in expected.items():
        counts = method == "energy counter"
        assert (channels[name].kind, channels[name].unit) == (("counter", "J") if counts else ("power", "W"))


@pytest.mark.parametrize(
    ("gpu", "period_s", "note"),
    [
        (Gpu(energy=0), 0.1, "25 ms of every 100 ms"),
        (Gpu(energy=0, arch=AMPERE, name="NVIDIA A100-SXM4-40GB"), 0.1, "25 ms of every 100 ms"),
        (Gpu(energy=0, arch=AMPERE, name="NVIDIA RTX A6000"), 0.1, None),
        (Gpu(energy=0, arch=VOLTA), 0.02, "10 ms of every 20 ms"),
        (Gpu(energy=0, instant=0), 1.0, "mean of the last second"),
        (Gpu(energy=0, instant=0, arch=AMPERE, name="NVIDIA A100-SXM4-40GB"), 0.1, "25 ms of every 100 ms"),
    ],
)
def test_the_note_says_what_a_power_reading_is_the_mean_of(
    rig: Install, gpu: Gpu, period_s: float, note: str | None
) -> None:
    rig(gpu)
    channel = probed()["gpu:0"]
    assert channel.period_s == period_s
    assert channel.note is None if note is None else note in str(channel.note)


def test_a_reading_of_the_module_says_that_it_holds_the_cpu(rig: Install) -> None:
    rig(Gpu(energy=0, instant=0, usage=0, module=1))
    channel = probed()["gpu:0"]
    assert channel.extent == "module"
    assert channel.note == "the sensor sees 25 ms of every 100 ms; CPU and GPU of the module together"


def test_gpus_are_numbered_by_their_pci_addresses_over_all_of_the_machine(rig: Install) -> None:
    rig(Gpu(bus=0xC1, uuid=uuid(1)), Gpu(bus=0x41, uuid=uuid(2)), Gpu(bus=0x81, uuid=uuid(3)))
    channels = probed(gpus=(uuid(1), 0))
    assert channels["gpu:2"].uuid == uuid(1)
    assert channels["gpu:2"].pci == "00000000:c1:00.0"
    assert channels["gpu:0"].uuid == uuid(2)
    assert set(channels) == {"gpu:0", "gpu:0@power", "gpu:2", "gpu:2@power"}


def test_a_counter_that_stands_still_is_not_believed(rig: Install) -> None:
    rig(
        Gpu(bus=1, uuid=uuid(1), energy=2),
        Gpu(bus=2, uuid=uuid(2), energy=2, stuck=123456),
        Gpu(bus=3, uuid=uuid(3), energy=2, instant=0, usage=0),
    )
    meter = Nvml()
    channels = {channel.id: channel for channel in probe(meter)}
    assert {name: channel.kind for name, channel in channels.items()} == {"gpu:0": "power", "gpu:1": "power"}
    assert all("its energy counter stands still" in str(channel.note) for channel in channels.values())
    assert "stands still" in meter.describe()["left_out"]["gpu:2"]


def test_a_divided_gpu_is_measured_whole_and_says_so(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(Gpu(bus=1, uuid=uuid(1)), Gpu(bus=2, uuid=uuid(2), mig_uuid="MIG-5f5f"))
    for value in ("MIG-5f5f", f"MIG-{uuid(2)}/3/0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        channels = probed()
        assert set(channels) == {"gpu:1", "gpu:1@power"}
        assert channels["gpu:1"].note == "whole GPU, shared by MIG; the sensor sees 25 ms of every 100 ms"
        assert "whole GPU, shared by MIG" in str(channels["gpu:1@power"].note)


def test_cuda_visible_devices_decides_unless_the_option_does(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(Gpu(bus=1, uuid=uuid(0x1111)), Gpu(bus=2, uuid=uuid(0x2222)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert set(probed()) == {"gpu:1", "gpu:1@power"}
    assert set(probed(gpus="all")) == {"gpu:0", "gpu:0@power", "gpu:1", "gpu:1@power"}
    assert set(probed(gpus=(uuid(0x1111)[:12],))) == {"gpu:0", "gpu:0@power"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    error = refused()
    assert error.what == "No GPU is visible."
    assert error.why == "CUDA_VISIBLE_DEVICES is ''."


def test_among_different_models_all_are_measured_and_it_is_said(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(Gpu(bus=1, uuid=uuid(1), name="small"), Gpu(bus=2, uuid=uuid(2), name="large"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    meter = Nvml()
    channels = probe(meter)
    assert [channel.id for channel in channels] == ["gpu:0", "gpu:0@power", "gpu:1", "gpu:1@power"]
    assert all("all GPUs are measured: CUDA_VISIBLE_DEVICES=0" in str(channel.note) for channel in channels)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in meter.describe()["gpus_note"]
    torch = SimpleNamespace(  # CUDA has started, and knows: the larger one is its first
        cuda=SimpleNamespace(
            is_initialized=lambda: True,
            device_count=lambda: 1,
            get_device_properties=lambda _: SimpleNamespace(uuid=uuid(2).removeprefix("GPU-")),
        )
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert set(probed()) == {"gpu:1", "gpu:1@power"}


@pytest.mark.parametrize("wanted", [2, "GPU-9", "GPU-0"], ids=["number", "unknown", "ambiguous"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(rig: Install, wanted: int | str) -> None:
    rig(Gpu(bus=1, uuid=uuid(1)), Gpu(bus=2, uuid=uuid(2)))
    error = refused(gpus=(wanted,))
    assert error.what == f"No such GPU: {wanted}."
    assert uuid(1) in error.why


def test_options_are_typed(rig: Install) -> None:
    rig(Gpu())
    for bad in ({"gpus": "some"}, {"gpus": [-1]}, {"gpus": 1.5}, {"gpu": "all"}):
        with pytest.raises(LlmjoulesError, match="option"):
            Monitor(["nvml"], options={"nvml": bad})
    assert Monitor(["nvml"], options={"nvml": {"gpus": [0]}}).meters[0].options["gpus"] == [0]


def test_a_gpu_that_is_lost_already_leaves_the_others(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1), lost_at=-inf), Gpu(bus=2, uuid=uuid(2)))
    meter = Nvml()
    assert [channel.uuid for channel in probe(meter)] == [uuid(2), uuid(2)]
    assert meter.describe()["left_out"] == {"NVML's GPU 0": "GPU is lost"}


def test_describe_says_driver_routes_and_limits(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1)), Gpu(bus=2, uuid=uuid(2), energy=0, instant=0, usage=0, state=0))
    with Monitor(["nvml"]) as monitor:
        described = monitor.meters[0].options
    assert described["driver"] == "570.00"
    assert described["routes"] == {"gpu:0": "energy counter", "gpu:0@power": "instant power"}
    assert described["power_limits_w"] == {"gpu:0": 700.0}
    assert described["left_out"] == {"gpu:1": "NVIDIA H100 80GB HBM3 reports no power, and has no energy counter"}


def test_state_tells_clocks_and_throttling_in_words_and_leaves_out_what_is_not_told(rig: Install) -> None:
    rig(Gpu(bus=1, uuid=uuid(1)), Gpu(bus=2, uuid=uuid(2), state=0))
    meter = Nvml()
    meter.open()
    assert meter.state() == {"gpu:0": MEGAHERTZ_AND_SUCH, "gpu:1": {}}
    meter.close()


# ---- what is refused, and what to do about it ----


@pytest.mark.parametrize(
    ("code", "what", "fix"),
    [
        (4, "No permission to use NVML.", "Ask for access"),
        (9, "The NVIDIA driver is not loaded.", "modprobe nvidia"),
        (12, "No NVIDIA driver library.", "--gpus all"),
        (13, "The NVIDIA driver is too old.", "Update the driver"),
        (15, "An NVIDIA GPU is lost.", "Reboot"),
        (17, "The operating system blocks NVML.", "Start the container"),
        (18, "NVIDIA's driver and its library do not match.", "Reboot"),
        (999, "NVML failed: Unknown Error.", ""),
        (77, "NVML failed: an error of the stub.", ""),
    ],
)
def test_each_error_of_nvml_comes_with_its_remedy(rig: Install, code: int, what: str, fix: str) -> None:
    rig(Gpu(), init=code)
    error = refused()
    assert error.what == what
    assert error.why
    assert fix in error.fix


def test_a_machine_without_a_gpu_says_so(rig: Install) -> None:
    rig()
    error = refused()
    assert error.what == "No NVIDIA GPU."
    assert "--gpus all" in error.fix


def test_a_jetson_is_sent_to_its_own_sensors(rig: Install) -> None:
    rig(Gpu(name="Orin (nvgpu)", energy=0, instant=0, usage=0, state=0))
    error = refused()
    assert error.what == "No GPU here reports its energy or power."
    assert "Orin (nvgpu) reports no power" in error.why
    assert "INA3221" in error.fix


def test_without_bindings_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert refused().fix == "pip install nvidia-ml-py"


def test_the_old_package_pynvml_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml" / "__init__.py").write_text("def nvmlInit(): raise AssertionError('it was used')\n")
    listed = listed_meters(PYTHONPATH=str(tmp_path))
    assert listed["nvml"]["what"] == "The NVML bindings are not NVIDIA's."
    assert listed["nvml"]["fix"] == "pip uninstall pynvml; pip install nvidia-ml-py"


def test_the_library_is_found_as_a_user_s_would_be_and_its_errors_reach_the_list(stub: Stub) -> None:
    listed = listed_meters(**stub.environment(Gpu()))
    assert listed["nvml"]["available"]
    assert listed["nvml"]["channels"] == ["gpu:0", "gpu:0@power"]
    listed = listed_meters(**stub.environment(Gpu(), init=18))
    assert listed["nvml"]["fix"] == "Reboot, or unload the kernel module and load it again."
    assert "do not match" in listed["pyjoules"]["why"]


def listed_meters(**environment: str) -> dict[str, dict[str, object]]:
    """`llmjoules meters --json`, by name."""
    command = [sys.executable, "-m", "llmjoules", "meters", "--json"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    return {row["name"]: row for row in listed["meters"]}
