"""A process's share of the CPU's energy: the rule by hand, what always holds, and a load of which we do half."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.meters import share as share_module
from llmjoules.meters.estimate import Estimate, EstimateOptions
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.share import SHARE, ProcessShare, ProcessTree, busy_s, process_share
from llmjoules.meters.testing import check_meter
from llmjoules.records.record import Channel
from llmjoules.runner.totals import totals

pytestmark = pytest.mark.alone

OPTIONS = {"estimate": {"share": True, "tdp_w": 100.0}}


def package(number: int = 0, wraps_at_j: float | None = None) -> Channel:
    return Channel(id=f"cpu:{number}", component="cpu", kind="counter", wraps_at_j=wraps_at_j)


class Machine:
    """Accounts that the test advances by hand."""

    def __init__(self, *channels: Channel) -> None:
        self.now_s, self.own_s, self.all_s = 100.0, 7.0, 5000.0
        self.share = ProcessShare(channels, lambda: self.own_s, lambda: self.all_s, lambda: self.now_s)

    def after(
        self, readings: Mapping[str, float], own_s: float = 0.0, all_s: float = 0.0, seconds: float = 1.0
    ) -> float | None:
        self.now_s += seconds
        self.own_s += own_s
        self.all_s += all_s
        return self.share.joules(readings)


# The rule


@pytest.mark.parametrize(
    ("own_s", "busy", "expected"),
    [
        (1.0, 4.0, 0.25),
        (0.0, 4.0, 0.0),
        (4.0, 4.0, 1.0),
        (4.1, 4.0, 1.0),
        (0.3, 0.0, 0.0),
        (0.3, -0.1, 0.0),
        (-0.1, 4.0, 0.0),
    ],
)
def test_the_rule_by_hand(own_s: float, busy: float, expected: float) -> None:
    assert process_share(own_s, busy) == expected


def test_the_energy_of_all_packages_is_shared_out_and_no_other() -> None:
    """(30 + 10) J x 1/4, then (20 + 20) J x 1/2; memory is no CPU."""
    machine = Machine(package(0), package(1), Channel(id="dram:0", component="dram", kind="counter"))
    assert machine.after({"cpu:0": 500.0, "cpu:1": 90.0, "dram:0": 5.0}) == 0
    assert machine.after({"cpu:0": 530.0, "cpu:1": 100.0, "dram:0": 50.0}, own_s=1, all_s=4) == pytest.approx(10)
    assert machine.after({"cpu:0": 550.0, "cpu:1": 120.0, "dram:0": 99.0}, own_s=1, all_s=2) == pytest.approx(30)


def test_an_interval_in_which_nothing_ran_has_no_share() -> None:
    machine = Machine(package())
    machine.after({"cpu:0": 10.0})
    assert machine.after({"cpu:0": 20.0}) == 0


def test_it_is_renewed_ten_times_a_second_at_the_most_and_loses_nothing() -> None:
    machine = Machine(package())
    machine.after({"cpu:0": 0.0})
    seen = [machine.after({"cpu:0": k * 1.0}, own_s=0.01, all_s=0.02, seconds=0.02) for k in range(1, 51)]
    assert len(set(seen)) <= 11
    assert seen[-1] == pytest.approx(25, abs=2.5)
    assert machine.after({"cpu:0": 51.0}, own_s=0.01, all_s=0.02, seconds=0.1) == pytest.approx(25.5)


def test_ticks_of_the_kernels_account_do_not_bias_it() -> None:
    """One CPU that works for us alone: the kernel's ticks say 9, then 11 hundredths; all of the energy is ours."""
    machine = Machine(package())
    machine.after({"cpu:0": 0.0})
    for k in range(1, 101):
        total = machine.after({"cpu:0": k * 1.0}, own_s=0.05, all_s=0.09 if k % 2 else 0.11, seconds=0.1)
    assert total == pytest.approx(50, rel=0.02)
    for k in range(101, 201):
        total = machine.after({"cpu:0": k * 1.0}, own_s=0.1, all_s=0.09 if k % 2 else 0.11, seconds=0.1)
    assert total == pytest.approx(150, rel=0.02)


def test_where_the_kernel_books_nothing_while_we_work_all_of_it_is_ours() -> None:
    """A guest's kernel may book seconds that we ran as stolen: then its account of what ran stands still."""
    machine = Machine(package())
    machine.after({"cpu:0": 0.0})
    for k in range(1, 11):
        total = machine.after({"cpu:0": k * 10.0}, own_s=0.8, all_s=0.0)
    assert total == pytest.approx(100)


def test_a_wrap_of_a_package_is_reckoned_with() -> None:
    machine = Machine(package(wraps_at_j=1000.0))
    machine.after({"cpu:0": 990.0})
    assert machine.after({"cpu:0": 10.0}, own_s=1, all_s=2) == pytest.approx(10)


@pytest.mark.parametrize("wraps_at_j", [None, 1e9], ids=["range unknown", "more than a wrap explains"])
def test_a_fall_that_is_no_wrap_starts_the_share_anew_so_that_it_is_null_with_the_package(
    wraps_at_j: float | None,
) -> None:
    machine = Machine(package(wraps_at_j=wraps_at_j))
    machine.after({"cpu:0": 100.0})
    assert machine.after({"cpu:0": 200.0}, own_s=1, all_s=2) == pytest.approx(50)
    assert machine.after({"cpu:0": 5.0}, own_s=1, all_s=2) == 0
    assert machine.after({"cpu:0": 25.0}, own_s=1, all_s=2) == pytest.approx(10)


def test_while_a_package_is_missing_there_is_no_share_and_its_return_makes_up_for_it() -> None:
    machine = Machine(package(0), package(1))
    machine.after({"cpu:0": 0.0, "cpu:1": 0.0})
    assert machine.after({"cpu:0": 10.0}, own_s=1, all_s=2) is None
    assert machine.after({"cpu:0": 20.0, "cpu:1": 20.0}, own_s=1, all_s=2) == pytest.approx(20)


amounts = st.floats(0, 1000, allow_nan=False)


@given(st.lists(st.tuples(amounts, amounts, amounts, st.floats(0, 1)), max_size=50))
def test_it_never_exceeds_the_machines_energy_and_never_falls(steps: list[tuple[float, float, float, float]]) -> None:
    machine = Machine(package())
    machine_j, before = 0.0, machine.after({"cpu:0": 0.0})
    for joules, own_s, all_s, seconds in steps:
        stood_j, machine_j = machine_j, machine_j + joules
        total = machine.after({"cpu:0": machine_j}, own_s, all_s, seconds)
        if total is None:  # until it rises
            assert machine_j == pytest.approx(stood_j)
            continue
        assert before <= total <= machine_j * (1 + 1e-9)
        before = total


# Whose CPU time


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(k * k for k in range(2_000))


def rises(tree: ProcessTree, by_s: float, limit_s: float = 10.0) -> bool:
    begun, deadline = tree.cpu_s(), time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if tree.cpu_s() - begun >= by_s:
            return True
        time.sleep(0.01)
    return False


WORK = "import time\nwhile time.process_time() < {}: pass\n"


def test_the_time_of_children_counts_while_they_run_and_after_they_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_module, "SCAN_EVERY_S", 0.05)
    tree = ProcessTree()
    before = tree.cpu_s()
    child = subprocess.Popen([sys.executable, "-S", "-c", WORK.format(0.5) + "input()"], stdin=subprocess.PIPE)
    assert rises(tree, 0.49)
    at_work = tree.cpu_s()
    child.communicate(b"\n")
    ended = tree.cpu_s()
    assert ended >= at_work
    assert 0.49 <= ended - before < 0.9  # twice would be 1.0


def test_children_that_come_and_go_between_two_looks_count_too() -> None:
    tree = ProcessTree()
    before = tree.cpu_s()
    subprocess.run([sys.executable, "-S", "-c", WORK.format(0.2)], check=True)
    assert tree.cpu_s() - before >= 0.19


class Gone:
    """A child that the table shows until it is gone, and for which nobody waited."""

    times: Callable[[], object]

    def cpu_times(self) -> object:
        return self.times()


def test_a_child_that_nobody_waited_for_leaves_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Gone()
    child.times = lambda: SimpleNamespace(user=2.0, system=1.0, children_user=0.5, children_system=0.5)
    tree = ProcessTree()
    monkeypatch.setattr(tree._me, "children", lambda recursive: [child])
    before = tree.cpu_s()

    def gone() -> object:
        raise psutil.NoSuchProcess(1)

    child.times = gone
    tree._scan_at_s = float("inf")
    after = tree.cpu_s()
    assert before <= after <= before + 0.5


@pytest.mark.parametrize("error", [psutil.ZombieProcess(1), psutil.AccessDenied(1)])
def test_a_child_that_may_not_be_asked_keeps_its_last_figure(
    monkeypatch: pytest.MonkeyPatch, error: psutil.Error
) -> None:
    child = Gone()
    child.times = lambda: SimpleNamespace(user=2.0, system=1.0, children_user=0.5, children_system=0.5)
    tree = ProcessTree()
    monkeypatch.setattr(tree._me, "children", lambda recursive: [child])
    before = tree.cpu_s()

    def refuse() -> object:
        raise error

    child.times = refuse
    assert before <= tree.cpu_s() <= before + 0.5


def test_looking_for_children_costs_little_however_long_the_process_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes 20 ms may come each 4 s: half a hundredth of a CPU."""
    tree = ProcessTree()
    looks: list[float] = []

    def slow(recursive: bool) -> list[psutil.Process]:
        looks.append(time.monotonic())
        time.sleep(0.02)
        return []

    monkeypatch.setattr(tree._me, "children", slow)
    for _ in range(20):
        tree.cpu_s()
    assert len(looks) == 1
    assert tree._scan_at_s - looks[0] >= 0.02 / share_module.SCAN_COST


# On this machine


def test_the_meters_offer_it_as_a_model_of_a_process_share_that_is_in_no_total() -> None:
    channels = {c.id: c for c in check_meter(Estimate(EstimateOptions(share=True)), seconds=0.1)}
    channel = channels[SHARE]
    assert (channel.component, channel.extent, channel.kind, channel.source) == (
        "cpu",
        "process-share",
        "model",
        "modelled",
    )
    assert channel.unit == "J"
    assert channel.gain is None
    assert "CPU time of this process and its children" in channel.note
    with Monitor(["estimate"], options=OPTIONS) as monitor:
        with monitor.window("work") as window:
            burn(0.6)
        found = totals(monitor.meters, window.energies)
    assert found["cpu"].channels == ("cpu:0",)
    bands_j = window.uncertainty_j("cpu:0") + window.uncertainty_j(SHARE)
    assert 0 < window.joules(SHARE) <= window.joules("cpu:0") + bands_j


def test_without_the_option_there_is_none() -> None:
    assert [c.id for c in Estimate(EstimateOptions(share=False)).probe()] == ["cpu:0"]


STRANGER = """
import os, sys, time
if os.fork():
    os._exit(0)  # its parent ends, so that nobody here is its parent
print(os.getpid(), flush=True)
until = time.monotonic() + 4
while time.monotonic() < until and os.path.exists(sys.argv[1]):
    for _ in range(100_000):
        pass
"""


@pytest.mark.hardware
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_beside_a_stranger_who_works_as_much_our_share_is_half(tmp_path: Path) -> None:
    """And on a machine that does other things too, it is our part of all that ran, as the kernel accounts for it."""
    flag = tmp_path / "go on"
    flag.touch()
    command = [sys.executable, "-S", "-c", STRANGER, str(flag)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    stranger = psutil.Process(int(started.stdout.readline()))
    started.stdout.close()
    started.wait()
    try:
        with Monitor(["estimate"], options=OPTIONS) as monitor:
            burn(0.2)
            with monitor.window("work") as window:
                ours, all_s, theirs = time.process_time(), busy_s(), sum(stranger.cpu_times()[:2])
                until = time.monotonic() + 2
                while time.monotonic() < until:
                    burn(0.02)
                ours, all_s = time.process_time() - ours, busy_s() - all_s
                theirs = sum(stranger.cpu_times()[:2]) - theirs
            burn(0.2)
            part = window.joules(SHARE) / window.joules("cpu:0")
    finally:
        flag.unlink()
    if all_s < 0.9 * (ours + theirs):
        pytest.skip("this machine's kernel books seconds that ran as stolen: there is no account to compare with")
    assert part == pytest.approx(ours / all_s, rel=0.1)
    if all_s - ours - theirs < 0.05 * all_s and abs(ours - theirs) < 0.05 * all_s:  # nobody else
        assert part == pytest.approx(0.5, rel=0.1)


def test_a_package_that_stands_still_leaves_the_share_unknown_and_never_too_low() -> None:
    """100 W, half of it ours, until the counter stands still at 10 s: what we took after it nobody knows."""
    package, now_s = Channel(id="cpu:0", component="cpu", kind="counter", period_s=0.001), 0.0
    shared = ProcessShare([package], lambda: 0.5 * now_s, lambda: now_s, lambda: now_s)
    totals_j = []
    for step in range(200):
        now_s = 0.1 * step
        totals_j.append(shared.joules({"cpu:0": 100 + 100 * min(now_s, 10.0)}))
    assert totals_j[100] == pytest.approx(500)
    assert set(totals_j[101:]) == {None}
    now_s = 20.0
    assert shared.joules({"cpu:0": 2100.0}) == pytest.approx(1000)  # it moves on: half of 2000 J in 20 s
