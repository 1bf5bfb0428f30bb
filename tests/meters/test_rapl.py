"""RAPL on powercap trees in temporary folders, with a thread that raises the counters as the kernel would."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from llmjoules.meters import perf_events
from llmjoules.meters.cpu import tdp
from llmjoules.meters.listing import list_meters
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.rapl import Rapl, RaplOptions
from llmjoules.meters.share import SHARE
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import Unavailable
from llmjoules.records.record import Channel
from llmjoules.runner.totals import totals

RANGE_UJ = 262_143_328_850
CLOSE = 0.15  # the thread that plays the kernel is late on a busy machine
ONE_SOCKET = {
    "intel-rapl:0": "psys",
    "intel-rapl:1": "package-0",
    "intel-rapl:1:0": "core",
    "intel-rapl:1:1": "uncore",
    "intel-rapl:1:2": "dram",
}
TWO_SOCKETS = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:1:0": "dram",
}
AMD = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"}
DIES = {"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1", "intel-rapl:1:0": "dram"}
BARE = {"rapl": {"share": False}}


class Tree:
    """A powercap tree; `nested` as in /sys/devices/virtual/powercap, else flat as in /sys/class/powercap."""

    def __init__(self, root: Path, zones: Mapping[str, str], *, nested: bool = False) -> None:
        self.root = root
        self.zones: dict[str, Path] = {}
        self.total_uj: dict[str, float] = {}
        for number, (zone, name) in enumerate(zones.items()):
            self.add(zone, name, nested=nested, start_uj=1_000_000 * (number + 1))

    def add(self, zone: str, name: str, *, nested: bool = False, start_uj: int = 0) -> Path:
        top, _, sub = zone.rpartition(":") if zone.count(":") == 2 else (zone, "", "")
        folder = self.root / "intel-rapl" / top / (zone if sub else "") if nested else self.root / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        (folder / "energy_uj").write_text(f"{start_uj}\n")
        self.zones[zone] = folder
        self.total_uj[zone] = start_uj
        return folder

    def range_uj(self, zone: str, value: int) -> None:
        (self.zones[zone] / "max_energy_range_uj").write_text(f"{value}\n")

    def show(self, zone: str, micro_j: int) -> None:
        """In place and in one write, as long as ever, so that no reader sees half of it."""
        with (self.zones[zone] / "energy_uj").open("r+b", buffering=0) as stream:
            stream.write(f"{micro_j:<20}\n".encode())


class Draw:
    """Constant watts per zone, written each 2 ms; joules() is what was truly drawn."""

    def __init__(self, tree: Tree, watts: Mapping[str, float], wraps_at_uj: int = RANGE_UJ) -> None:
        self.tree, self.watts, self.wraps_at_uj = tree, watts, wraps_at_uj
        self.stop = threading.Event()
        self.paused: set[str] = set()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Draw:
        self.begun_s = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def run(self) -> None:
        while not self.stop.wait(0.002):
            since_s = time.monotonic() - self.begun_s
            for zone, watts in self.watts.items():
                if zone not in self.paused:
                    total_uj = int(self.tree.total_uj[zone] + watts * 1e6 * since_s)
                    self.tree.show(zone, total_uj % self.wraps_at_uj)


def pmu(folder: Path, kind: int = 1, config: int = 0) -> None:
    """A PMU `power` with one event; by default the kernel's clock: 1 W."""
    (folder / "events").mkdir(parents=True)
    texts = {"type": kind, "cpumask": 0, "events/energy-pkg": f"event={config:#x}"}
    texts |= {"events/energy-pkg.scale": "1e-9", "events/energy-pkg.unit": "Joules"}
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(tmp_path))
    monkeypatch.setenv("LLMJOULES_PERF_PMU", str(tmp_path / "no pmu"))
    return tmp_path


def probed() -> dict[str, Channel]:
    return {channel.id: channel for channel in Rapl(RaplOptions(share=False)).probe()}


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        (ONE_SOCKET, ["cpu:0", "dram:0", "host"]),
        (TWO_SOCKETS, ["cpu:0", "cpu:1", "dram:0", "dram:1"]),
        (AMD, ["cpu:0"]),
        (DIES, ["cpu:0.0", "cpu:0.1", "dram:0.1"]),
    ],
    ids=["psys first", "two sockets", "AMD", "dies"],
)
def test_zones_are_told_apart_by_their_names(
    root: Path, zones: Mapping[str, str], expected: list[str], nested: bool
) -> None:
    Tree(root, zones, nested=nested)
    channels = probed()
    assert sorted(channels) == expected
    assert all(c.kind == "counter" and c.unit == "J" and c.source == "measured" for c in channels.values())
    assert all(c.wraps_at_j == pytest.approx(262143.32885) for c in channels.values())


def test_a_tree_that_is_both_flat_and_nested_counts_each_zone_once(root: Path) -> None:
    """As /sys/class/powercap is: links in it to the zones under their control type."""
    nested = Tree(root, TWO_SOCKETS, nested=True)
    for zone, folder in nested.zones.items():
        (root / zone).symlink_to(folder)
    assert sorted(probed()) == ["cpu:0", "cpu:1", "dram:0", "dram:1"]


def test_the_control_type_itself_may_be_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tree(root, TWO_SOCKETS, nested=True)
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(root / "intel-rapl"))
    assert sorted(probed()) == ["cpu:0", "cpu:1", "dram:0", "dram:1"]


def test_the_mmio_duplicate_of_package_0_is_passed_over(root: Path) -> None:
    tree = Tree(root, AMD)
    tree.add("intel-rapl-mmio:0", "package-0")
    tree.add("intel-rapl-mmio", "")
    assert list(probed()) == ["cpu:0"]


def test_of_two_zones_with_one_name_the_first_is_read_and_its_note_says_so(root: Path) -> None:
    """One AMD socket that stands in the tree twice (as in codecarbon issue 788): added up, it would count double."""
    Tree(root, {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "package-0"})
    (channel,) = probed().values()
    assert channel.note == "intel-rapl:1 bears the same name as intel-rapl:0 and is left out"
    meter = Rapl(RaplOptions(share=False))
    meter.open()
    assert meter.read() == {"cpu:0": 1.0}
    meter.close()


@pytest.mark.parametrize(
    ("second_uj", "read"),
    [(7_000_123_456, ["cpu:0.0"]), (7_100_000_000, ["cpu:0.0", "cpu:0.1"])],
    ids=["one counter shown twice", "true dies"],
)
def test_dies_that_show_one_counter_are_read_once(root: Path, second_uj: int, read: list[str]) -> None:
    """As on AMD's first Zen generations, where each die shows the total of the socket."""
    tree = Tree(root, {"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1"})
    tree.show("intel-rapl:0", 7_000_000_000)
    tree.show("intel-rapl:1", second_uj)
    channels = probed()
    assert list(channels) == read
    assert (channels["cpu:0.0"].note is None) == (len(read) == 2)


def test_packages_of_two_sockets_that_happen_to_be_near_are_both_read(root: Path) -> None:
    tree = Tree(root, TWO_SOCKETS)
    tree.show("intel-rapl:0", 7_000_000_000)
    tree.show("intel-rapl:1", 7_000_000_001)
    assert {"cpu:0", "cpu:1"} <= set(probed())


def test_psys_is_the_host_contains_the_others_and_is_never_part_of_the_total_of_the_cpu(root: Path) -> None:
    tree = Tree(root, ONE_SOCKET)
    host = probed()["host"]
    assert host.component == "host"
    assert set(host.contains) == {"cpu:0", "dram:0"}
    watts = {"intel-rapl:0": 90.0, "intel-rapl:1": 40.0, "intel-rapl:1:0": 30.0, "intel-rapl:1:2": 8.0}
    with Draw(tree, watts), Monitor(["rapl"], options=BARE) as monitor:
        with monitor.window("load") as window:
            time.sleep(0.4)
        energies = window.energies
        length_s = window.end_s - window.start_s
    found = totals(monitor.meters, energies)
    assert {name: total.channels for name, total in found.items()} == {
        "cpu": ("cpu:0",),
        "dram": ("dram:0",),
        "host": ("host",),
    }
    for component, power_w in {"cpu": 40.0, "dram": 8.0, "host": 90.0}.items():
        assert found[component].joules == pytest.approx(power_w * length_s, rel=CLOSE)


def test_two_sockets_add_up(root: Path) -> None:
    tree = Tree(root, TWO_SOCKETS)
    with Draw(tree, {"intel-rapl:0": 40.0, "intel-rapl:1": 60.0, "intel-rapl:0:0": 5.0, "intel-rapl:1:0": 6.0}):
        with Monitor(["rapl"], options=BARE) as monitor, monitor.window("load") as window:
            time.sleep(0.4)
        length_s = window.end_s - window.start_s
        found = totals(monitor.meters, window.energies)
    assert found["cpu"].channels == ("cpu:0", "cpu:1")
    assert found["cpu"].joules == pytest.approx(100 * length_s, rel=CLOSE)
    assert found["dram"].joules == pytest.approx(11 * length_s, rel=CLOSE)


def test_a_counter_that_wraps_at_its_range_goes_on(root: Path) -> None:
    """It wraps each second at 100 W, twice in the window; one that were missed would be half of it."""
    tree = Tree(root, AMD)
    tree.range_uj("intel-rapl:0", 100_000_000)
    with Draw(tree, {"intel-rapl:0": 100.0}, wraps_at_uj=100_000_000), Monitor(["rapl"], options=BARE) as monitor:
        with monitor.window("load") as window:
            time.sleep(2)
        assert window.joules("cpu:0") == pytest.approx(100 * (window.end_s - window.start_s), rel=CLOSE)


def test_a_range_that_cannot_be_read_makes_a_wrap_a_null_and_no_crash(root: Path) -> None:
    tree = Tree(root, AMD)
    (tree.zones["intel-rapl:0"] / "max_energy_range_uj").unlink()
    assert probed()["cpu:0"].wraps_at_j is None
    with Draw(tree, {"intel-rapl:0": 50.0}, wraps_at_uj=10_000_000), Monitor(["rapl"], options=BARE) as monitor:
        with monitor.window("load") as window:
            time.sleep(0.4)
        assert window.joules("cpu:0") is None
        assert window.reason("cpu:0").startswith("counter_reset: ")


def test_a_zone_that_vanishes_in_a_run_is_null_with_a_reason_and_the_others_go_on(root: Path) -> None:
    """What a driver that is unloaded does to its open files: they can no longer be read."""
    tree = Tree(root, TWO_SOCKETS)
    watts = {"intel-rapl:0": 40.0, "intel-rapl:1": 60.0, "intel-rapl:0:0": 5.0, "intel-rapl:1:0": 6.0}
    with Draw(tree, watts) as draw, Monitor(["rapl"], options=BARE) as monitor:
        with monitor.window("before") as before:
            time.sleep(0.3)
        assert before.joules("cpu:1") is not None
        draw.paused.add("intel-rapl:1")
        time.sleep(0.02)
        os.truncate(tree.zones["intel-rapl:1"] / "energy_uj", 0)
        with monitor.window("after") as after:
            time.sleep(0.3)
        assert after.joules("cpu:1") is None
        assert after.reason("cpu:1") == "missing: the meter gave no reading: read gave no usable number for cpu:1"
        assert after.joules("cpu:0") == pytest.approx(40 * (after.end_s - after.start_s), rel=CLOSE)


def test_permission_that_is_withdrawn_in_a_run_is_told_and_the_others_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mode that changes does not reach a file that is open; a security module's refusal does."""
    tree = Tree(root, TWO_SOCKETS)
    watts = {"intel-rapl:0": 40.0, "intel-rapl:1": 60.0, "intel-rapl:0:0": 5.0, "intel-rapl:1:0": 6.0}
    denied: set[str] = set()
    pread = os.pread

    def guarded(fd: int, length: int, offset: int) -> bytes:
        if str(Path(f"/proc/self/fd/{fd}").readlink()) in denied:
            raise PermissionError(1, "Operation not permitted")
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", guarded)
    with Draw(tree, watts), Monitor(["rapl"], options=BARE) as monitor:
        (tree.zones["intel-rapl:0"] / "energy_uj").chmod(0)
        denied.add(str(tree.zones["intel-rapl:1"] / "energy_uj"))
        with monitor.window("after") as after:
            time.sleep(0.3)
        assert after.joules("cpu:1") is None
        assert after.reason("cpu:1").startswith("missing: ")
        assert after.joules("cpu:0") == pytest.approx(40 * (after.end_s - after.start_s), rel=CLOSE)
        denied.update(str(zone / "energy_uj") for zone in tree.zones.values())
        with monitor.window("last") as last:
            time.sleep(0.1)
        assert "PermissionError" in last.reason("cpu:0")


def test_all_zones_vanishing_is_null_with_the_cause(root: Path) -> None:
    tree = Tree(root, AMD)
    with Draw(tree, {"intel-rapl:0": 40.0}) as draw, Monitor(["rapl"], options=BARE) as monitor:
        draw.paused.add("intel-rapl:0")
        time.sleep(0.02)
        os.truncate(tree.zones["intel-rapl:0"] / "energy_uj", 0)
        with monitor.window("after") as after:
            time.sleep(0.1)
        assert after.joules("cpu:0") is None
        assert after.reason("cpu:0").startswith("missing: the meter gave no reading: ValueError")


def test_a_file_that_is_deleted_and_stands_still_is_null(root: Path) -> None:
    tree = Tree(root, AMD)
    with Draw(tree, {"intel-rapl:0": 40.0}) as draw, Monitor(["rapl"], options=BARE) as monitor:
        draw.paused.add("intel-rapl:0")
        time.sleep(0.02)
        (tree.zones["intel-rapl:0"] / "energy_uj").unlink()
        with monitor.window("after") as after:
            time.sleep(0.1)
        assert after.joules("cpu:0") is None
        assert after.reason("cpu:0").startswith("not_moving: ")


def test_an_absent_tree_says_where_it_looked_and_what_to_do(root: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Rapl().probe()
    assert str(root) in caught.value.why
    assert "modprobe" in caught.value.fix


CHILD = """
import os
from llmjoules.meters.rapl import Rapl, RaplOptions
from llmjoules.meters.share import SHARE
from llmjoules.meters.types import Unavailable
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print([channel.id for channel in Rapl(RaplOptions(share=False)).probe()])
except Unavailable as error:
    print(error)
"""


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A tree that others than its owner can walk: pytest's own folders cannot be."""
    with tempfile.TemporaryDirectory(prefix="llmjoules-powercap-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(root: Path) -> str:
    """What a user without rights is told: root reads every file, so root asks in a child that gives its rights up."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "LLMJOULES_POWERCAP": str(root), "LLMJOULES_PERF_PMU": str(root / "power")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_counters_without_permission_are_told_apart_from_an_absent_tree_and_name_the_remedy(open_root: Path) -> None:
    absent = as_nobody(open_root)
    tree = Tree(open_root, AMD)
    for folder in tree.zones.values():
        (folder / "energy_uj").chmod(0o400)
        (folder / "max_energy_range_uj").chmod(0o400)
    if os.geteuid() != 0:
        (tree.zones["intel-rapl:0"] / "energy_uj").chmod(0)
    denied = as_nobody(open_root)
    assert "No RAPL counters." in absent
    assert "No permission to read" in denied
    assert "Since Linux 5.10 only root" in denied
    assert f"sudo chmod -R a+r {open_root}/intel-rapl*" in denied


def test_where_both_routes_are_closed_both_remedies_are_named(open_root: Path) -> None:
    """The PMU's event is one that no kernel lets a user without rights count, and that this machine may lack."""
    tree = Tree(open_root, AMD)
    (tree.zones["intel-rapl:0"] / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    pmu(open_root / "power")
    told = as_nobody(open_root)
    assert "No permission to read" in told
    assert "Cannot open the perf event of cpu:0." in told
    assert f"sudo chmod -R a+r {open_root}/intel-rapl*" in told
    if Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip() > "0":
        assert "Only privileged users" in told or "lets only privileged users" in told
        assert "sudo sysctl kernel.perf_event_paranoid=0" in told
        assert "setcap cap_perfmon" in told
        assert "leak secrets). Or, for perf events: sudo sysctl" in told
        assert told.count("Or") == 1


def test_a_route_that_this_machine_does_not_have_is_no_remedy(open_root: Path) -> None:
    tree = Tree(open_root, AMD)
    (tree.zones["intel-rapl:0"] / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    told = as_nobody(open_root)
    assert "No RAPL events." in told
    assert "perf_event_paranoid" not in told
    assert told.rstrip().endswith("leak secrets).")


def test_the_list_of_meters_calls_the_share_modelled_and_the_counters_measured(root: Path) -> None:
    Tree(root, TWO_SOCKETS)
    [rapl] = [meter for meter in list_meters([])[0] if meter.name == "rapl"]
    assert rapl.source == "measured"
    measured = [channel for channel, source in rapl.sources.items() if source == "measured"]
    assert {"cpu:0", "cpu:1", "dram:0"} <= set(measured)
    assert rapl.sources == dict.fromkeys(measured, "measured") | {"cpu:0@process": "modelled"}
    assert tuple(rapl.sources) == rapl.channels
    assert rapl.row()[-1].endswith(f": {', '.join(measured)} (measured), cpu:0@process (modelled)")


def test_counters_that_others_may_read_are_read_by_others(open_root: Path) -> None:
    Tree(open_root, AMD)
    assert as_nobody(open_root).strip() == "['cpu:0']"


@pytest.mark.parametrize("zones", [ONE_SOCKET, TWO_SOCKETS, AMD, DIES], ids=["one", "two", "AMD", "dies"])
def test_it_keeps_the_contract_of_a_meter(root: Path, zones: Mapping[str, str]) -> None:
    tree = Tree(root, zones)
    with Draw(tree, dict.fromkeys(zones, 20.0)):
        check_meter(Rapl(RaplOptions(share=True)), seconds=0.15)


def test_it_leaves_no_file_open(root: Path) -> None:
    Tree(root, TWO_SOCKETS)
    meter = Rapl(RaplOptions(share=False))
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
    meter.open()
    assert set(meter.read()) == {"cpu:0", "cpu:1", "dram:0", "dram:1"}
    meter.close()
    meter.close()
    if before is not None:
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_the_long_term_limit_of_all_packages_is_the_design_power(root: Path, nested: bool) -> None:
    tree = Tree(root, TWO_SOCKETS, nested=nested)
    for zone in ("intel-rapl:0", "intel-rapl:1"):
        (tree.zones[zone] / "constraint_0_name").write_text("long_term\n")
        (tree.zones[zone] / "constraint_0_power_limit_uw").write_text("125000000\n")
    found = tdp(root, "unknown CPU", 8)
    assert found.watts == 250
    assert "powercap" in found.origin


# Routes and the process's share


@pytest.fixture
def no_syscall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in place of the kernel's counter: 5 J in nanojoules."""
    (tmp_path / "count").write_bytes((5 * 10**9).to_bytes(8, "little"))
    monkeypatch.setattr(perf_events, "open_event", lambda *_: os.open(tmp_path / "count", os.O_RDONLY))


@pytest.mark.parametrize(
    ("route", "has", "taken"),
    [
        ("auto", "both", "powercap"),
        ("auto", "pmu", "perf"),
        ("auto", "tree", "powercap"),
        ("perf", "both", "perf"),
        ("powercap", "both", "powercap"),
    ],
)
def test_the_route_is_powercap_then_perf_or_as_it_is_asked_for(
    root: Path, no_syscall: None, route: Literal["auto", "powercap", "perf"], has: str, taken: str
) -> None:
    if has != "pmu":
        Tree(root, AMD)
    if has != "tree":
        pmu(root / "no pmu")
    meter = Rapl(RaplOptions(route=route, share=False))
    (channel,) = meter.probe()
    assert meter.describe()["route"] == taken
    assert (channel.id, channel.wraps_at_j is None) == ("cpu:0", taken == "perf")
    meter.open()
    assert meter.read() == {"cpu:0": pytest.approx(5.0 if taken == "perf" else 1.0)}
    meter.close()


@pytest.mark.parametrize(("route", "what"), [("perf", "No RAPL events."), ("powercap", "No RAPL counters.")])
def test_a_route_that_is_asked_for_and_absent_is_not_replaced(
    root: Path, no_syscall: None, route: Literal["auto", "powercap", "perf"], what: str
) -> None:
    if route == "perf":
        Tree(root, AMD)
    else:
        pmu(root / "no pmu")
    with pytest.raises(Unavailable) as caught:
        Rapl(RaplOptions(route=route)).probe()
    assert caught.value.what == what


def test_a_counter_that_cannot_be_opened_leaves_no_other_open(root: Path) -> None:
    tree = Tree(root, TWO_SOCKETS)
    meter = Rapl(RaplOptions(share=False))
    sources = meter._sources()
    (tree.zones["intel-rapl:1"] / "energy_uj").unlink()
    meter._sources = lambda: sources  # type: ignore[method-assign]
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        meter.open()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_share_of_the_process_stands_beside_the_packages_and_in_no_total(root: Path) -> None:
    tree = Tree(root, TWO_SOCKETS)
    watts = {"intel-rapl:0": 40.0, "intel-rapl:1": 60.0, "intel-rapl:0:0": 5.0, "intel-rapl:1:0": 6.0}
    with Draw(tree, watts), Monitor(["rapl"], options={"rapl": {"share": True}}) as monitor:
        with monitor.window("work") as window:
            until = time.monotonic() + 0.8
            while time.monotonic() < until:
                sum(k * k for k in range(2_000))
        found = totals(monitor.meters, window.energies)
    assert found["cpu"].channels == ("cpu:0", "cpu:1")
    assert found["cpu"].source == "measured"
    assert 0 < window.joules(SHARE) <= found["cpu"].joules + window.uncertainty_j(SHARE)


def test_a_fall_that_makes_a_package_null_makes_the_share_null_too(root: Path) -> None:
    tree = Tree(root, AMD)
    (tree.zones["intel-rapl:0"] / "max_energy_range_uj").unlink()
    options = {"rapl": {"share": True}}
    with Draw(tree, {"intel-rapl:0": 50.0}, wraps_at_uj=25_000_000), Monitor(["rapl"], options=options) as monitor:
        with monitor.window("work") as window:
            until = time.monotonic() + 0.8
            while time.monotonic() < until:
                sum(k * k for k in range(2_000))
        assert window.reason("cpu:0").startswith("counter_reset: ")
        assert window.reason(SHARE).startswith("counter_reset: ")
