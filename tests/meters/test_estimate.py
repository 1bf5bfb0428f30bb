"""The model of CPU energy: labelled as one, and its formula by hand against a load of our own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from llmjoules.meters import cpu, estimate
from llmjoules.meters.cpu import normalised, tdp
from llmjoules.meters.estimate import Estimate, EstimateOptions, busy_s
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.registry import Registry
from llmjoules.meters.testing import check_meter
from llmjoules.records.errors import LlmjoulesError

pytestmark = pytest.mark.alone

NOWHERE = Path("/nonexistent/powercap")


def burn(seconds: float) -> float:
    """Work for so many seconds of this process's CPU time; the CPU time that it took, by the process's own account."""
    me = psutil.Process()
    before = me.cpu_times()
    until = before.user + before.system + seconds
    while True:
        sum(k * k for k in range(20_000))
        now = me.cpu_times()
        if now.user + now.system >= until:
            return now.user + now.system - before.user - before.system


def test_it_is_labelled_as_modelled_with_a_gain_of_a_half() -> None:
    (channel,) = Estimate(EstimateOptions(tdp_w=65, share=False)).probe()
    assert (channel.id, channel.component, channel.kind, channel.source) == ("cpu:0", "cpu", "model", "modelled")
    assert channel.gain == 0.5
    with Monitor(["estimate"]) as monitor, monitor.window("rest") as window:
        time.sleep(0.1)
    assert window.energies[0].method == "model"


def test_the_formula_by_hand_on_one_second_of_a_busy_cpu() -> None:
    """E = TDP · (0.1·t + 0.9·busy/CPUs). This process's own CPU time is a lower bound of busy, and the machine can
    be busy for no more than all its CPUs; between the two the kernel's account decides, read around the window."""
    cpus = cpu.logical_cpus()
    with Monitor(["estimate"], options={"estimate": {"tdp_w": 100.0}}) as monitor:
        outer_busy, outer_s = busy_s(), time.monotonic()
        with monitor.window("burn") as window:
            inner_busy, inner_s = busy_s(), time.monotonic()
            own_s = burn(1.0)
            inner_busy, inner_s = busy_s() - inner_busy, time.monotonic() - inner_s
        # A guest's kernel may book seconds that we ran as stolen; they were worked all the same.
        outer_busy, outer_s = max(busy_s() - outer_busy, own_s + 0.05), time.monotonic() - outer_s
        joules, band_j = window.joules("cpu:0"), window.uncertainty_j("cpu:0")
    tick_j = 100 * 0.9 * 0.05 / cpus  # the kernel's account comes in hundredths, from each CPU by itself
    assert joules + band_j + tick_j >= 100 * (0.1 * inner_s + 0.9 * inner_busy / cpus)
    assert joules - band_j - tick_j <= 100 * (0.1 * outer_s + 0.9 * outer_busy / cpus)
    assert joules + band_j + tick_j >= 100 * (0.1 * inner_s + 0.9 * own_s / cpus)
    assert joules <= 100 * outer_s * 1.05


def test_seconds_that_we_ran_count_also_where_the_kernels_account_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a second of our own, of which the account knows nothing: all but what its ticks explain."""
    monkeypatch.setattr(estimate, "busy_s", lambda: 1000.0)
    meter = Estimate(EstimateOptions(tdp_w=100, share=False))
    first_s, first_j = time.monotonic(), meter.read()["cpu:0"]
    own_s = burn(0.5)
    elapsed_s, found_j = time.monotonic() - first_s, meter.read()["cpu:0"] - first_j
    cpus = cpu.logical_cpus()
    assert found_j == pytest.approx(100 * (0.1 * elapsed_s + 0.9 * own_s / cpus), abs=100 * 0.9 * (0.05 / cpus + 0.01))


def test_twice_the_design_power_is_twice_the_energy() -> None:
    """Two readings right after each other of the same clock and account."""
    single, double = Estimate(EstimateOptions(tdp_w=50)), Estimate(EstimateOptions(tdp_w=100))
    a, b, c = single.read()["cpu:0"], double.read()["cpu:0"], single.read()["cpu:0"]
    assert 2 * a <= b <= 2 * c


def test_it_keeps_the_contract_of_a_meter() -> None:
    check_meter(Estimate())


def test_the_record_says_where_the_design_power_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(NOWHERE))
    given = Estimate(EstimateOptions(tdp_w=65)).describe()
    assert given["tdp_w"] == 65
    assert given["tdp_origin"] == "given by the user"
    assert given["formula"] == "P = TDP * (0.1 + 0.9 * load)"
    assert Estimate().describe()["tdp_origin"] != "given by the user"


# Which design power


def powercap(root: Path, limits_uw: Mapping[str, int]) -> Path:
    for number, (name, limit_uw) in enumerate(limits_uw.items()):
        zone = root / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "constraint_0_name").write_text("long_term\n")
        (zone / "constraint_0_power_limit_uw").write_text(f"{limit_uw}\n")
    return root


def test_the_users_figure_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(powercap(tmp_path, {"package-0": 150_000_000})))
    assert Estimate(EstimateOptions(tdp_w=42)).describe()["tdp_w"] == 42
    assert Estimate().describe()["tdp_w"] == 150


def test_then_the_kernels_limit_then_the_makers_table_then_a_guess(tmp_path: Path) -> None:
    limited = powercap(tmp_path, {"package-0": 120_000_000, "psys": 400_000_000})
    known, unknown = "AMD EPYC 7742 64-Core Processor", "Loongson-3A6000"
    assert tdp(limited, known, 128).watts == 120
    assert tdp(NOWHERE, known, 128).watts == 225
    assert "AMD EPYC 7742" in tdp(NOWHERE, known, 128).origin
    assert tdp(NOWHERE, unknown, 8).watts == 8 * 4
    assert "guess" in tdp(NOWHERE, unknown, 8).origin


@pytest.mark.parametrize("rubbish", ["", "unlimited", "0", "-5"])
def test_a_limit_that_is_no_figure_is_passed_over(tmp_path: Path, rubbish: str) -> None:
    root = powercap(tmp_path, {"package-0": 0})
    (root / "intel-rapl:0" / "constraint_0_power_limit_uw").write_text(rubbish)
    assert tdp(root, "AMD EPYC 7742", 128).watts == 225


def test_a_virtual_machine_gets_its_share() -> None:
    """8 of the 128 threads of a CPU of 225 W."""
    found = tdp(NOWHERE, "AMD EPYC 7742 64-Core Processor", 8)
    assert found.watts == pytest.approx(225 * 8 / 128)
    assert "8 of 128 threads" in found.origin


def test_two_sockets_get_both_design_powers() -> None:
    found = tdp(NOWHERE, "AMD EPYC 7742 64-Core Processor", 256)
    assert found.watts == 450
    assert "2 of them" in found.origin


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", "intel xeon gold 6248"),
        ("Intel(R) Xeon(R) CPU E5-2620 v4 @ 2.10GHz", "intel xeon e5-2620 v4"),
        ("AMD EPYC 7742 64-Core Processor", "amd epyc 7742"),
        ("AMD Ryzen 7 5800X 8-Core Processor", "amd ryzen 7 5800x"),
        ("AMD Ryzen 7 7840U with Radeon 780M Graphics", "amd ryzen 7 7840u"),
        ("13th Gen Intel(R) Core(TM) i7-13700K", "intel core i7-13700k"),
        ("Intel® Core™ i9-9900K", "intel core i9-9900k"),
    ],
)
def test_names_are_reduced_to_maker_and_model(name: str, expected: str) -> None:
    assert normalised(name) == expected


def test_a_name_of_which_another_is_only_a_part_does_not_match() -> None:
    assert "guess" in tdp(NOWHERE, "AMD EPYC", 2).origin
    assert "guess" in tdp(NOWHERE, "AMD EPYC 7742X", 2).origin


@pytest.mark.parametrize("options", [{"tdp_w": 0}, {"tdp_w": -5}, {"tdp_w": "much"}])
def test_a_bad_design_power_is_refused(options: Mapping[str, object]) -> None:
    with pytest.raises(LlmjoulesError, match="Bad option for meter estimate"):
        Registry().make("estimate", options)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(LlmjoulesError, match=r"Unknown option: estimate\.tpd_w") as caught:
        Registry().make("estimate", {"tpd_w": 65})
    assert caught.value.why == "The nearest known name is tdp_w."
