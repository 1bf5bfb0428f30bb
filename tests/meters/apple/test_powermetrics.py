"""The powermetrics meter against simulated programs: real processes, real pipes, real time, known power."""

from __future__ import annotations

import gzip
import json
import os
import plistlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llmjoules.meters import powermetrics as module
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.powermetrics import Powermetrics, PowermetricsOptions, _Placed
from llmjoules.meters.powermetrics_records import Record, Task, impact_factor
from llmjoules.meters.registry import Registry
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import IntervalRecord, Unavailable
from llmjoules.meters.window import IntervalCurve
from llmjoules.records.record import Channel
from llmjoules.runner.totals import totals
from tests.meters.apple.fake_powermetrics import energy_j
from tests.meters.apple.simulator import Simulator

DATA = Path(__file__).parents[4] / "shared" / "data"
ARRIVAL_S = 0.03  # a record may reach us so late; on a busy machine this is not in a window's uncertainty
SWING_W = 16.0  # the largest step of the simulated power


def meter(**options: Any) -> Powermetrics:
    return Powermetrics(PowermetricsOptions(**{"interval_ms": 50, **options}))


def stream(meter: Powermetrics, count: int = 1000) -> tuple[list[IntervalRecord], str]:
    """So many records after a probe, and why there were no more."""
    meter.probe()
    meter.open()
    records: list[IntervalRecord] = []
    try:
        for record in meter.stream():
            records.append(record)
            if len(records) == count:
                return records, ""
        return records, "ended without a reason"
    except ChildProcessError as error:
        return records, str(error)
    finally:
        meter.close()


def refusal(meter: Powermetrics) -> Unavailable:
    begun_s = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        meter.probe()
    assert time.monotonic() - begun_s < 5
    return caught.value


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    return thread, results


# The contract


def test_it_keeps_the_contract_of_a_meter(mac: Simulator) -> None:
    channels = check_meter(meter(), seconds=0.3)
    assert [(c.id, c.component, c.kind, c.extent, c.source, c.gain) for c in channels] == [
        ("cpu:0", "cpu", "interval", "device", "modelled", None),
        ("gpu:0", "gpu", "interval", "device", "modelled", None),
        ("ane:0", "ane", "interval", "device", "modelled", None),
        ("cpu:0@process", "cpu", "interval", "process-share", "modelled", None),
    ]
    assert all("not for comparing machines" in (c.note or "") for c in channels)


def test_every_call_of_sudo_forbids_it_to_ask(mac: Simulator) -> None:
    stream(meter(), 2)
    assert len(mac.sudo_calls) == 2
    assert all(call.startswith("-n ") for call in mac.sudo_calls)


def test_the_commands_are_those_that_the_page_permits_word_for_word(mac: Simulator) -> None:
    page = (Path(__file__).parents[3] / "docs" / "meters.md").read_text()
    stream(meter(interval_ms=500), 1)
    for call in mac.sudo_calls:
        words = call.removeprefix(f"-n {mac.folder}/powermetrics ").replace(",", "\\,")
        assert f"/usr/bin/powermetrics {words}" in page


def test_it_is_never_taken_without_being_named() -> None:
    assert Registry().entries["powermetrics"].meter.auto is False
    assert Registry().entries["apple"].meter.auto is True


# Joules


def test_the_records_add_up_to_the_energy_of_their_time(mac: Simulator) -> None:
    """Each is rounded to 1 mJ; they follow on each other without gap or overlap."""
    records, _ = stream(meter(), 20)
    start_s, end_s = records[0].start_s, records[-1].end_s
    assert all(a.end_s == b.start_s for a, b in pairwise(records))
    for channel, part in (("cpu:0", "cpu"), ("gpu:0", "gpu"), ("ane:0", "ane")):
        total_j = sum(record.joules[channel] for record in records)
        assert total_j == pytest.approx(energy_j(part, start_s, end_s), abs=0.0005 * 20 + SWING_W * ARRIVAL_S)


def test_steady_power_is_exact_but_for_rounding(mac: Simulator) -> None:
    """0.5 W: late arrivals shift both edges alike, and only the change between them shows."""
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 200}}) as monitor:
        with monitor.window("work") as window:
            time.sleep(1.3)
        true_j = 0.5 * (window.end_s - window.start_s)
        assert window.joules("ane:0") == pytest.approx(true_j, abs=window.uncertainty_j("ane:0") + 0.5 * ARRIVAL_S)
        assert window.uncertainty_j("ane:0") < 0.1 * true_j


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_a_window_holds_the_truth_within_its_uncertainty(mac: Simulator, seconds: float) -> None:
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 200}}) as monitor:
        with monitor.window("work") as window:
            time.sleep(seconds)
        energies = {energy.channel: energy for energy in window.energies}
    assert monitor.faults == []
    for channel, part in (("cpu:0", "cpu"), ("gpu:0", "gpu")):
        energy = energies[channel]
        true_j = energy_j(part, window.start_s, window.end_s)
        assert energy.method == "intervals"
        assert abs(energy.joules - true_j) <= energy.uncertainty_j + SWING_W * ARRIVAL_S
        assert energy.uncertainty_j < 0.5 * true_j


def test_the_share_of_a_process_stands_beside_the_machine_and_not_in_its_total(mac: Simulator) -> None:
    """Others have 20, we 30: α is 0.6 in every record."""
    mac.tasks((os.getpid(), 1, 30.0, 300_000_000))
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 200}}) as monitor:
        with monitor.window("work") as window:
            time.sleep(0.8)
        joules = window.joules("cpu:0")
        assert window.joules("cpu:0@process") == pytest.approx(0.6 * joules, rel=1e-3)
        (cpu,) = (total for name, total in totals(monitor.meters, window.energies).items() if name == "cpu")
    assert cpu.channels == ("cpu:0",)
    assert cpu.joules == pytest.approx(joules)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [("energy_impact", (30 + 10) / (20 + 30 + 10)), ("cputime", (0.3 + 0.05) / (0.1 + 0.3 + 0.05)), ("none", None)],
)
def test_alpha_by_hand(mac: Simulator, alpha: str, expected: float | None) -> None:
    """We and a child of ours: energy impact 30 and 10 beside 20 of others; CPU time 0.3 and 0.05 s beside 0.1 s."""
    mac.tasks((os.getpid(), 1, 30.0, 300_000_000), (99999, os.getpid(), 10.0, 50_000_000))
    ours = meter(alpha=alpha)
    records, _ = stream(ours, 4)
    for record in records:
        if expected is None:
            assert "cpu:0@process" not in record.joules
        else:
            assert record.joules["cpu:0@process"] == pytest.approx(expected * record.joules["cpu:0"])
    assert ours.describe().get("alpha_mean") == (None if expected is None else pytest.approx(expected))
    assert ours.describe()["alpha"] == alpha


def test_without_alpha_no_table_of_tasks_is_asked_for(mac: Simulator) -> None:
    stream(meter(alpha="none"), 1)
    assert "tasks" not in " ".join(mac.sudo_calls)


def test_a_child_that_the_record_gives_no_parent_is_found_all_the_same(mac: Simulator) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mac.tasks((child.pid, -1, 20.0, 0))
        (record,), _ = stream(meter(), 1)
        assert record.joules["cpu:0@process"] == pytest.approx(0.5 * record.joules["cpu:0"])
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("sudo", ["", "forks"])
def test_what_measuring_costs_is_not_counted_to_the_process(mac: Simulator, sudo: str) -> None:
    """powermetrics is a child of ours, and 4 of the 20 are its own."""
    mac.mode(sudo=sudo)
    (record,), _ = stream(meter(), 1)
    assert record.joules["cpu:0@process"] == 0.0


def test_the_share_of_another_process_can_be_asked_for(mac: Simulator) -> None:
    mac.tasks((4242, 1, 60.0, 0))
    (record,), _ = stream(meter(pid=4242), 1)
    assert record.joules["cpu:0@process"] == pytest.approx(0.75 * record.joules["cpu:0"])


# Systems and chips


def test_without_a_row_for_all_tasks_the_share_is_that_of_the_sum(mac: Simulator) -> None:
    mac.mode("no-all-tasks")
    mac.tasks((os.getpid(), 1, 30.0, 0))
    (record,), _ = stream(meter(), 1)
    assert record.joules["cpu:0@process"] == pytest.approx(0.6 * record.joules["cpu:0"])


def test_macos_12_has_memory_too_and_its_package_is_left_out(mac: Simulator) -> None:
    mac.mode("macos12")
    assert [c.id for c in meter().probe()] == ["cpu:0", "gpu:0", "ane:0", "dram:0", "cpu:0@process"]
    (record,), _ = stream(meter(), 1)
    assert record.joules["dram:0"] == pytest.approx(2.0 * (record.end_s - record.start_s), abs=0.001)


def test_on_intel_the_package_is_the_cpu(mac: Simulator) -> None:
    mac.mode("intel")
    channels = meter(alpha="none").probe()
    assert [c.id for c in channels] == ["cpu:0"]
    assert "package" in (channels[0].note or "")
    (record,), _ = stream(meter(alpha="none"), 1)
    whole_j = energy_j("cpu", *record[:2]) + energy_j("gpu", *record[:2])
    assert record.joules == {"cpu:0": pytest.approx(whole_j, abs=0.002 + SWING_W * ARRIVAL_S)}


def test_a_cluster_of_another_name_changes_nothing(mac: Simulator) -> None:
    mac.mode("m5")
    records, _ = stream(meter(), 2)
    assert len(records) == 2


def test_a_sampler_that_this_system_does_not_know_is_left_out(mac: Simulator) -> None:
    mac.mode("no-ane")
    records, _ = stream(meter(), 2)
    assert len(records) == 2
    assert ["ane_power" in call for call in mac.sudo_calls] == [True, False, False]


def test_one_that_knows_no_plists_is_read_in_its_text_form(mac: Simulator) -> None:
    """It refuses `-f` and ends; asked without it, its samples add up to the energy of their time all the same."""
    mac.mode("text-only")
    mac.tasks((os.getpid(), os.getppid(), 20.0, 1))
    ours = meter(interval_ms=100)
    records, _ = stream(ours, 12)
    assert [" -f " in f" {call} " for call in mac.sudo_calls] == [True, False, False]
    assert ours.describe()["form"] == "text"
    start_s, end_s = records[0].start_s, records[-1].end_s
    assert all(a.end_s == b.start_s for a, b in pairwise(records))
    for channel, part in (("cpu:0", "cpu"), ("gpu:0", "gpu"), ("ane:0", "ane")):
        total_j = sum(record.joules[channel] for record in records)
        assert total_j == pytest.approx(energy_j(part, start_s, end_s), abs=0.0005 * 12 + SWING_W * ARRIVAL_S)
    assert records[0].joules["cpu:0@process"] == pytest.approx(records[0].joules["cpu:0"] * 20 / 40)


def test_a_window_over_text_holds_the_truth(mac: Simulator) -> None:
    """Each sample is taken as whole once nothing more has come; that shifts no edge."""
    mac.mode("text-only")
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 300}}) as monitor:
        with monitor.window("work") as window:
            time.sleep(1.3)
        energies = {energy.channel: energy for energy in window.energies}
    for channel, part in (("cpu:0", "cpu"), ("gpu:0", "gpu")):
        true_j, energy = energy_j(part, window.start_s, window.end_s), energies[channel]
        assert abs(energy.joules - true_j) <= energy.uncertainty_j + SWING_W * ARRIVAL_S


def test_on_intel_in_text_form_the_package_is_the_cpu(mac: Simulator) -> None:
    mac.mode("text-only,intel")
    records, _ = stream(meter(), 3)
    assert "gpu:0" not in records[0].joules
    found_j = sum(record.joules["cpu:0"] for record in records)
    true_j = sum(energy_j(part, records[0].start_s, records[-1].end_s) for part in ("cpu", "gpu"))
    assert found_j == pytest.approx(true_j, abs=SWING_W * ARRIVAL_S)


def test_a_machine_without_figures_says_so(mac: Simulator) -> None:
    mac.mode("vm")
    assert "virtual machine" in refusal(meter()).why


# Permission


def test_elsewhere_than_on_a_mac_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMJOULES_POWERMETRICS", raising=False)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    assert "macOS" in refusal(meter()).why


@pytest.mark.parametrize(("mode", "sudo"), [("not-root", ""), ("", "password")])
def test_without_root_the_remedy_is_a_line_for_sudoers(mac: Simulator, mode: str, sudo: str) -> None:
    mac.mode(mode, sudo)
    error = refusal(meter())
    assert "password" in error.why
    assert "sudo visudo" in error.fix
    assert f"ALL = (root) NOPASSWD: {mac.folder}/powermetrics" in error.fix


def test_a_sudo_that_hangs_is_not_waited_for(mac: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIAL_LIMIT_S", 0.3)
    mac.mode(sudo="hangs")
    assert "no record came within 0.3 s" in refusal(meter()).why


def test_a_missing_program_is_named(mac: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_SUDO", "")
    monkeypatch.setenv("LLMJOULES_POWERMETRICS", str(mac.folder / "nowhere"))
    assert "nowhere: No such file" in refusal(meter()).why


def test_no_sudo_is_used_where_none_is_named(mac: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_SUDO", "")
    records, _ = stream(meter(), 2)
    assert len(records) == 2
    assert mac.sudo_calls == []


def test_a_permission_that_lapses_after_the_probe_is_the_reason(mac: Simulator) -> None:
    mac.mode(sudo="lapses")
    records, why = stream(meter())
    assert records == []
    assert why == "powermetrics ended with exit status 1: sudo: a password is required"


def test_the_command_line_prints_the_remedy(mac: Simulator) -> None:
    mac.mode(sudo="password")
    done = subprocess.run([sys.executable, "-m", "llmjoules", "meters", "--json"], capture_output=True, text=True)
    rows = json.loads(done.stdout)
    rows = rows["meters"] if isinstance(rows, dict) else rows
    row = next(row for row in rows if row["name"] == "powermetrics")
    assert not row["available"]
    assert "NOPASSWD" in row["fix"]


# Faults of the stream


def test_names_that_break_the_xml_cost_no_record(mac: Simulator) -> None:
    mac.mode("ampersand")
    ours = meter()
    records, _ = stream(ours, 5)
    assert len(records) == 5
    assert ours.describe()["dropped_records"] == 0


def test_a_record_that_was_cut_off_is_counted_and_the_stream_ends_with_a_reason(mac: Simulator) -> None:
    mac.mode("truncated")
    ours = meter()
    records, why = stream(ours)
    assert len(records) == 3
    assert why == "powermetrics ended with exit status 0"
    assert ours.describe()["dropped_records"] == 1


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_death_is_named(mac: Simulator, name: str) -> None:
    mac.mode(f"dies={name}")
    records, why = stream(meter())
    assert len(records) == 3
    assert why == f"powermetrics ended by {name}"


def test_a_death_inside_a_window_makes_it_null_with_that_reason(mac: Simulator) -> None:
    mac.mode("dies=SIGKILL")
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 200}}) as monitor:
        begun_s = time.monotonic()
        with monitor.window("work") as window:
            time.sleep(0.8)
        assert window.joules("cpu:0") is None
        assert "ended by SIGKILL" in window.reason("cpu:0")
        assert time.monotonic() - begun_s < 2.5


def test_it_may_take_two_seconds_to_start(mac: Simulator) -> None:
    mac.mode("slow")
    with Monitor(["powermetrics"], options={"powermetrics": {"interval_ms": 100}}) as monitor:
        with monitor.window("work") as window:
            time.sleep(0.5)
        assert window.joules("cpu:0") is not None


def test_what_it_says_on_stderr_never_stops_it(mac: Simulator) -> None:
    """130 kB with each record: a pipe that nobody reads would be full at once."""
    mac.mode("chatter")
    records, _ = stream(meter(), 4)
    assert len(records) == 4


# The end


def wait_for_records(ours: Powermetrics, count: int) -> None:
    deadline = time.monotonic() + 5
    while ours._alphas < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def close_while_streaming(ours: Powermetrics) -> float:
    """Close from another thread, as the monitor does; how long it takes."""
    thread, results = in_thread(lambda: stream(ours))
    wait_for_records(ours, 1)
    begun_s = time.monotonic()
    ours.close()
    took_s = time.monotonic() - begun_s
    thread.join(2)
    assert not thread.is_alive()
    assert results[0][1] == "ended without a reason"
    ours.close()
    return took_s


def test_closing_ends_it(mac: Simulator) -> None:
    assert close_while_streaming(meter()) < 1
    assert mac.gone_within(0.5)


@pytest.mark.parametrize("mode", ["deaf", "deaf,epipe"])
def test_closing_our_end_of_the_pipe_ends_one_that_we_may_not_signal(mac: Simulator, mode: str) -> None:
    """It runs as root in truth; here it ignores the signal. Its next record finds nobody."""
    mac.mode(mode)
    assert close_while_streaming(meter()) < 1.5
    assert mac.gone_within(0.5)


def test_one_that_writes_no_more_is_ended_through_sudo(mac: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    mac.mode("stall", "forks")
    monkeypatch.setattr(subprocess.Popen, "terminate", refused)
    ours = meter()
    thread, _ = in_thread(lambda: stream(ours))
    wait_for_records(ours, 3)
    begun_s = time.monotonic()
    ours.close()
    assert time.monotonic() - begun_s < 1.9
    thread.join(2)
    assert mac.gone_within(2)
    assert any(call.startswith("-n kill -TERM ") for call in mac.sudo_calls)


def test_none_outlives_a_killed_llmjoules(mac: Simulator) -> None:
    """Nothing of ours can run then, but nobody reads the pipe any more."""
    code = (
        "from llmjoules.meters.powermetrics import *; m = Powermetrics(PowermetricsOptions(interval_ms=50)); m.probe();"
        "m.open(); s = m.stream(); next(s); print('on', flush=True); [None for _ in s]"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"on\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert mac.gone_within(1)


def test_ctrl_c_is_not_for_it(mac: Simulator) -> None:
    """The terminal sends it to the whole group; the figures of the run that is being stopped are still wanted."""
    ours = meter()
    ours.probe()
    ours.open()
    assert ours._run is not None
    assert os.getpgid(ours._run.pid) != os.getpgid(0)
    assert os.getsid(ours._run.pid) == os.getsid(0)
    ours.close()


# Time


def placed(*arrivals: tuple[float, list[float]]) -> list[tuple[float, float]]:
    clock = _Placed()
    return [
        (round(start_s, 6), round(end_s, 6))
        for arrival_s, lengths_s in arrivals
        for start_s, end_s, _ in clock.of(arrival_s, [Record(length_s, {}) for length_s in lengths_s])
    ]


def test_records_follow_on_each_other_though_they_arrive_late() -> None:
    """The second is 40 ms late, of which 10 are believed; the third, on time, shows that the second was."""
    assert placed((10.5, [0.5]), (11.04, [0.5]), (11.5, [0.5])) == [(10.0, 10.5), (10.5, 11.01), (11.01, 11.5)]


def test_records_that_come_at_once_have_been_waiting() -> None:
    assert placed((10.5, [0.5]), (11.5, [0.5, 0.5])) == [(10.0, 10.5), (10.5, 11.0), (11.0, 11.5)]


def test_a_lost_record_leaves_a_hole() -> None:
    assert placed((10.5, [0.5]), (11.5, [0.5])) == [(10.0, 10.5), (11.0, 11.5)]
    assert placed((10.5, [0.5]), (999.0, [0.5])) == [(10.0, 10.5), (998.5, 999.0)]


def test_a_record_never_ends_before_it_starts() -> None:
    assert placed((10.5, [0.5]), (10.5, [0.5])) == [(10.0, 10.5), (10.5, 10.501)]


# Real data


def test_a_real_capture_through_the_whole_meter(mac: Simulator, captures: Path) -> None:
    file = captures / "plist-m1pro-macos15-showall-5samples.plists"
    mac.mode(f"replay={file}")
    records, _ = stream(meter(), 5)
    expected = [plistlib.loads(document)["processor"] for document in file.read_bytes().split(b"\0")]
    for record, processor in zip(records, expected, strict=True):
        assert record.joules["cpu:0"] == processor["cpu_energy"] / 1000
        assert record.joules["gpu:0"] == processor["gpu_energy"] / 1000
        assert record.joules["cpu:0@process"] == 0.0  # none of these pids is ours


@pytest.mark.parametrize(
    "name",
    [
        "Mistral-7B-2024-03-27-11-05-54-power.csv",
        "Llama-2-7b-2024-03-28-23-32-21-power.csv",
        "falcon-7b-21-58-06-power.csv",
        "Llama-2-7b-2024-03-28-16-35-44-power.csv.gz",
    ],
)
def test_the_papers_tables_give_the_papers_joules(name: str) -> None:
    """α·P over the author's own samples, through our rule for α and our curve; the answers were worked out apart."""
    file = DATA / "energy-inference" / "powermetrics" / name
    if not file.is_file():
        pytest.skip("needs ../shared/data/energy-inference")
    expected = json.loads((DATA / "EXPECTED.json").read_text())[f"energy-inference/powermetrics/{name}"]
    device = Channel(id="cpu:0", component="cpu", kind="interval")
    scaled, whole, gpu = IntervalCurve(device), IntervalCurve(device), IntervalCurve(device)
    at_s, unknown = 0.0, 0
    data = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    for line in data.decode().splitlines():
        ms, python, everything, cpu_mw, gpu_mw = line.rsplit(",", 5)[-5:]
        if not ms.replace(".", "").isdigit():
            continue
        start_s, seconds = at_s, float(ms) / 1000
        at_s += seconds
        try:
            impact: float | None = float(python)
        except ValueError:
            impact, unknown = None, unknown + 1
        record = Record(seconds, {}, (Task(7, 1, None, impact),), Task(-2, None, None, float(everything)))
        alpha = impact_factor(record, {7}, "energy_impact")
        cpu_j = float(cpu_mw) / 1000 * seconds
        scaled.add(start_s, at_s, 0.0 if alpha is None else alpha * cpu_j)
        whole.add(start_s, at_s, cpu_j)
        gpu.add(start_s, at_s, float(gpu_mw) / 1000 * seconds)
    assert unknown == expected["invalid_samples"]
    assert at_s == pytest.approx(expected["total_s"], rel=1e-6)
    assert scaled.energy(0.0, at_s).joules == pytest.approx(expected["total_cpu_j_scaled"], rel=1e-6)
    assert whole.energy(0.0, at_s).joules == pytest.approx(expected["total_cpu_j_unscaled"], rel=1e-6)
    assert gpu.energy(0.0, at_s).joules == pytest.approx(expected["total_gpu_j"], rel=1e-6)
