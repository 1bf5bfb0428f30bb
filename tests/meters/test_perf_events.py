"""RAPL through perf events: made-up PMU folders, and the real system call on the kernel's own clock event."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmjoules.meters import perf_events
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.perf_events import cpus_of, event_joules, open_event, perf_sources, refused
from llmjoules.meters.rapl import Rapl, RaplOptions
from llmjoules.meters.testing import check_meter
from llmjoules.meters.types import Unavailable

pytestmark = pytest.mark.alone

SCALE = "2.3283064365386962890625e-10"
INTEL = {
    "energy-pkg": "0x02",
    "energy-ram": "0x03",
    "energy-cores": "0x01",
    "energy-gpu": "0x04",
    "energy-psys": "0x05",
}
CLOCK = {"energy-pkg": "0x00"}  # PERF_COUNT_SW_CPU_CLOCK: nanoseconds, of each CPU
SOFTWARE = 1  # PERF_TYPE_SOFTWARE


def permitted() -> str | None:
    try:
        os.close(open_event(SOFTWARE, 0, 0))
    except OSError as error:
        return f"this kernel does not let us count system-wide: {error.strerror}"
    return None


needs_perf = pytest.mark.skipif(permitted() is not None, reason=permitted() or "")


def pmu(
    root: Path,
    events: Mapping[str, str],
    *,
    kind: int = 32,
    cpumask: str = "0",
    scale: str = SCALE,
    unit: str = "Joules",
) -> Path:
    """A PMU's folder as the kernel lays it out, one line a file."""
    (root / "events").mkdir(parents=True)
    (root / "type").write_text(f"{kind}\n")
    (root / "cpumask").write_text(f"{cpumask}\n")
    for name, config in events.items():
        (root / "events" / name).write_text(f"event={config}\n")
        (root / "events" / f"{name}.scale").write_text(f"{scale}\n")
        (root / "events" / f"{name}.unit").write_text(f"{unit}\n")
    return root


def topology(root: Path, places: Mapping[int, tuple[int, int]]) -> Path:
    for cpu, (package, die) in places.items():
        folder = root / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "die_id").write_text(f"{die}\n")
    return root


class Calls:
    """In place of the system call: what was asked for, with a file descriptor that shows a count of 2^32 (1 J)."""

    def __init__(self, folder: Path, error: int | None = None) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.error = error
        self.count = folder / "count"
        self.count.write_bytes((1 << 32).to_bytes(8, "little"))

    def __call__(self, kind: int, config: int, cpu: int) -> int:
        self.asked.append((kind, config, cpu))
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return os.open(self.count, os.O_RDONLY)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls(tmp_path)
    monkeypatch.setattr(perf_events, "open_event", calls)
    monkeypatch.setattr(perf_events, "TOPOLOGY", topology(tmp_path / "cpu", {0: (0, 0), 18: (1, 0), 4: (0, 1)}))
    return calls


@pytest.mark.parametrize(
    ("cpumask", "expected"),
    [
        ("0", {"cpu:0": (2, 0), "dram:0": (3, 0), "host": (5, 0)}),
        ("0,18", {"cpu:0": (2, 0), "cpu:1": (2, 18), "dram:0": (3, 0), "dram:1": (3, 18), "host": (5, 0)}),
        ("0,4", {"cpu:0.0": (2, 0), "cpu:0.1": (2, 4), "dram:0.0": (3, 0), "dram:0.1": (3, 4), "host": (5, 0)}),
        ("7-8", {"cpu:0": (2, 7), "cpu:1": (2, 8), "dram:0": (3, 7), "dram:1": (3, 8), "host": (5, 7)}),
    ],
    ids=["one package", "two packages", "two dies", "hidden topology"],
)
def test_one_counter_is_opened_per_package_on_the_cpu_that_the_mask_names(
    tmp_path: Path, calls: Calls, cpumask: str, expected: Mapping[str, tuple[int, int]]
) -> None:
    """Cores and graphics lie inside the package; the platform is one."""
    sources = perf_sources(pmu(tmp_path / "power", INTEL, cpumask=cpumask))
    assert {s.channel.id: a[1:] for s, a in zip(sources, calls.asked, strict=True)} == expected
    assert {asked[0] for asked in calls.asked} == {32}
    assert all(s.channel.wraps_at_j is None and s.channel.source == "measured" for s in sources)
    assert set(sources[-1].channel.contains) == set(expected) - {"host"}


def test_a_count_becomes_joules_by_the_scale_of_the_event(tmp_path: Path, calls: Calls) -> None:
    (source,) = perf_sources(pmu(tmp_path / "power", {"energy-pkg": "0x02"}))
    fd = source.open()
    assert source.joules(fd) == pytest.approx(1.0)
    os.close(fd)


def test_all_64_bits_of_a_count_are_read(tmp_path: Path) -> None:
    (tmp_path / "count").write_bytes((1 << 60).to_bytes(8, "little"))
    fd = os.open(tmp_path / "count", os.O_RDONLY)
    assert event_joules(float(SCALE), fd) == pytest.approx(2**28)
    os.close(fd)


@pytest.mark.parametrize(("mask", "cpus"), [("0", [0]), ("0,18\n", [0, 18]), ("0-2,5", [0, 1, 2, 5]), ("", [])])
def test_lists_of_cpus_as_the_kernel_writes_them(mask: str, cpus: list[int]) -> None:
    assert cpus_of(mask) == cpus


@pytest.mark.parametrize(
    "broken",
    [{"unit": "Watts"}, {"scale": "much"}, {"cpumask": ""}, {"cpumask": "x"}],
    ids=["not joules", "no scale", "no CPU", "no list"],
)
def test_a_pmu_that_is_not_understood_is_none(tmp_path: Path, calls: Calls, broken: Mapping[str, str]) -> None:
    root = pmu(tmp_path / "power", INTEL, **broken)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"No RAPL events\."):
        perf_sources(root)


def test_an_absent_pmu_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        perf_sources(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in caught.value.why


@pytest.mark.parametrize(
    ("code", "why", "fix"),
    [
        (errno.EACCES, "only privileged users", "sudo sysctl kernel.perf_event_paranoid=0"),
        (errno.EPERM, "seccomp", "--cap-add PERFMON"),
        (errno.ENOENT, "driver is gone", "modprobe rapl"),
        (errno.EMFILE, "too many open files", "ulimit -n"),
        (errno.ENODEV, "offline", "online"),
        (errno.EINVAL, "refuses", "rapl.route=powercap"),
        (errno.ENOSYS, "no perf events", "rapl.route=powercap"),
        (errno.EIO, "Input/output error", ""),
    ],
)
def test_a_refusal_of_the_kernel_is_a_sentence_with_a_remedy(
    tmp_path: Path, calls: Calls, code: int, why: str, fix: str
) -> None:
    calls.error = code
    with pytest.raises(Unavailable) as caught:
        perf_sources(pmu(tmp_path / "power", INTEL))
    assert caught.value.what == "Cannot open the perf event of cpu:0."
    assert why in caught.value.why
    assert fix in caught.value.fix


def test_a_refusal_says_how_strict_the_kernel_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paranoid").write_text("4\n")
    monkeypatch.setattr(perf_events, "PARANOID", tmp_path / "paranoid")
    assert "(perf_event_paranoid is 4)" in refused(PermissionError(errno.EACCES, "denied"), "cpu:0").why


def test_an_architecture_without_a_known_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_events.platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="not implemented") as caught:
        open_event(SOFTWARE, 0, 0)
    assert caught.value.errno == errno.ENOSYS


# The real system call


@needs_perf
@pytest.mark.hardware
def test_the_real_call_counts_the_time_of_a_cpu() -> None:
    """The clock event of a CPU counts nanoseconds of real time, so ours bound two of its readings."""
    fd = open_event(SOFTWARE, 0, 0)
    try:
        outer_s = time.monotonic()
        before = event_joules(1e-9, fd)
        inner_s = time.monotonic()
        time.sleep(0.1)
        inner_s = time.monotonic() - inner_s
        after = event_joules(1e-9, fd)
        outer_s = time.monotonic() - outer_s
    finally:
        os.close(fd)
    assert 0.99 * inner_s <= after - before <= 1.01 * outer_s


@needs_perf
@pytest.mark.hardware
@pytest.mark.parametrize(
    ("kind", "config", "cpu", "code"),
    [(SOFTWARE, 99_999, 0, errno.ENOENT), (250, 0, 0, errno.ENOENT), (SOFTWARE, 0, 9_999, errno.EINVAL)],
    ids=["unknown event", "unknown PMU", "no such CPU"],
)
def test_the_real_call_raises_what_the_kernel_says(kind: int, config: int, cpu: int, code: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        open_event(kind, config, cpu)
    assert caught.value.errno in (code, errno.ENODEV)


@needs_perf
@pytest.mark.hardware
def test_the_whole_meter_on_real_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PMU whose packages are CPUs and whose joules are their seconds: each uses exactly 1 W."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    mask = ",".join(map(str, cpus))
    monkeypatch.setenv("LLMJOULES_PERF_PMU", str(pmu(tmp_path, CLOCK, kind=SOFTWARE, cpumask=mask, scale="1e-9")))
    monkeypatch.setattr(perf_events, "TOPOLOGY", tmp_path / "hidden")
    names = [f"cpu:{number}" for number in range(len(cpus))]
    check_meter(Rapl(RaplOptions(route="perf")), seconds=0.1)
    with Monitor(["rapl"], options={"rapl": {"route": "perf"}}) as monitor:
        with monitor.window("second") as window:
            time.sleep(0.5)
        assert [energy.channel for energy in window.energies][: len(names)] == names
        for name in names:
            assert window.joules(name) == pytest.approx(window.end_s - window.start_s, rel=0.03)
        assert monitor.meters[0].options["route"] == "perf"
