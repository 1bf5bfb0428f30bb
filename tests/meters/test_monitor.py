"""Measuring around code: windows, threads, edges in time; and plug-ins that misbehave while they are read."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules import Monitor
from llmjoules.meters import guard, watcher
from llmjoules.meters import monitor as monitor_module
from llmjoules.meters.mock import MockOptions, scripts
from llmjoules.meters.types import Meter
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Energy, MeterInfo
from tests.meters.plugins import HEAD, HOOK, meter_source, plugin

Plugins = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    set_short_limits(monkeypatch)


def set_short_limits(patch: pytest.MonkeyPatch) -> None:
    """Meters that hang are given up after tenths of a second; sound ones need a few hundredths."""
    patch.setattr(monitor_module, "FIRST_READING_LIMIT_S", 0.8)
    patch.setattr(watcher, "STOP_LIMIT_S", 0.5)
    patch.setattr(guard, "CALL_LIMIT_S", 0.5)


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    def write(**sources: str) -> list[Path]:
        return [plugin(tmp_path, name, source) for name, source in sources.items()]

    return write


def measured(names: list[str], files: list[Path], seconds: float = 0.15) -> tuple[Monitor, Any]:
    with Monitor(names, plugins=files) as monitor, monitor.window("work") as window:
        time.sleep(seconds)
    return monitor, window


# Windows


def test_nested_windows_add_up() -> None:
    with Monitor(["mock"]) as monitor, monitor.window("whole") as whole:
        with monitor.window("first") as first:
            time.sleep(0.15)
        with monitor.window("second") as second:
            time.sleep(0.15)
    parts = sum(monitor_window.joules("gpu:0") for monitor_window in (first, second))
    truth = scripts(MockOptions())["gpu:0"]
    gaps = [(whole.start_s, first.start_s), (first.end_s, second.start_s), (second.end_s, whole.end_s)]
    between_j = (whole.joules("gpu:0") or 0) - parts
    bands_j = sum(window.uncertainty_j("gpu:0") for window in (whole, first, second))
    assert between_j == pytest.approx(sum(truth.energy_j(*gap) for gap in gaps), abs=bands_j)


def test_windows_of_several_threads_at_once_are_each_right() -> None:
    curve = scripts(MockOptions())["gpu:0"]
    windows: list[Any] = []

    def work(monitor: Monitor, seconds: float) -> None:
        with monitor.window(f"{seconds}") as window:
            time.sleep(seconds)
        assert window.joules("gpu:0") is not None
        windows.append(window)

    with Monitor(["mock"]) as monitor:
        threads = [threading.Thread(target=work, args=(monitor, 0.1 + 0.03 * k)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(windows) == 8
    for window in windows:
        truth_j = curve.energy_j(window.start_s, window.end_s)
        assert window.joules("gpu:0") == pytest.approx(truth_j, abs=3 * window.uncertainty_j("gpu:0"))


def test_asking_an_open_window_raises() -> None:
    with Monitor(["mock"]) as monitor, monitor.window("work") as window:
        for question in (lambda: window.energies, lambda: window.joules("gpu:0"), lambda: window.reason("gpu:0")):
            with pytest.raises(RuntimeError, match="window 'work' is still open"):
                question()


def test_asking_after_the_monitor_has_closed_works_also_for_a_counter_with_a_slow_tick() -> None:
    """The last window ends where the monitor closes, so its last ticks come only after it."""
    options = {"mock": {"channels": [{"id": "gpu:0", "component": "gpu", "tick_s": 0.2}]}}
    with Monitor(["mock"], options=options) as monitor, monitor.window("work") as window:
        time.sleep(0.5)
    truth_j = scripts(msgspec.convert(options["mock"], MockOptions))["gpu:0"].energy_j(window.start_s, window.end_s)
    assert window.joules("gpu:0") == pytest.approx(truth_j, abs=3 * window.uncertainty_j("gpu:0"))


def test_a_window_whose_code_raises_is_closed_and_measured() -> None:
    def fail() -> None:
        with monitor.window("work") as window:
            windows.append(window)
            time.sleep(0.1)
            raise ZeroDivisionError

    windows: list[Any] = []
    with Monitor(["mock"]) as monitor, pytest.raises(ZeroDivisionError):
        fail()
    assert windows[0].joules("gpu:0") > 0


def test_a_channel_that_is_not_measured_is_a_key_error_that_names_those_that_are() -> None:
    _, window = measured(["mock"], [], 0.05)
    with pytest.raises(KeyError, match="measured: gpu:0"):
        window.joules("gpu:7")


def test_a_window_shorter_than_the_period_is_null_with_a_reason() -> None:
    options = {"mock": {"channels": [{"id": "gpu:0", "component": "gpu", "tick_s": 0.1}]}}
    with Monitor(["mock"], options=options) as monitor:
        with monitor.window("short") as window:
            time.sleep(0.01)
        assert window.joules("gpu:0") is None
        assert window.uncertainty_j("gpu:0") is None
        assert window.reason("gpu:0").startswith("too_short: ")


def test_leaving_twice_is_allowed_and_entering_twice_is_not() -> None:
    monitor = Monitor(["mock"])
    with monitor, pytest.raises(RuntimeError, match="entered once"):
        monitor.__enter__()
    monitor.close()
    monitor.close()
    with pytest.raises(RuntimeError, match="entered once"):
        monitor.__enter__()
    assert monitor.faults == []


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    measured(["mock", "estimate"], [], 0.05)
    assert set(threading.enumerate()) <= before


def test_the_area_under_the_trace_is_the_energy_of_the_window() -> None:
    with Monitor(["mock"]) as monitor, monitor.window("work") as window:
        time.sleep(0.3)
    edges = [window.start_s + (window.end_s - window.start_s) * k / 7 for k in range(8)]
    (line,) = monitor.trace(edges).values()
    area_j = sum(w * (edges[1] - edges[0]) for w in line.mean_w)
    assert area_j == pytest.approx(window.joules("gpu:0"), abs=2e-6)


def test_forgetting_keeps_later_windows() -> None:
    with Monitor(["mock"]) as monitor:
        time.sleep(0.5)
        with monitor.window("work") as window:
            time.sleep(0.2)
        kept = window.energies
        monitor.forget(window.start_s)
        assert monitor.energies(window.start_s, window.end_s) == kept


# Which meters


def test_auto_takes_the_meters_that_measure(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", "/nonexistent")
    with Monitor(plugins=plugins(wall=meter_source("wall"))) as monitor:
        assert "wall" in [meter.name for meter in monitor.meters]
        assert not {"mock", "estimate"} & {meter.name for meter in monitor.meters}
        assert monitor.notes == []


def test_auto_takes_a_makers_model_beside_meters_that_measure_and_a_simulation_never(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", "/nonexistent")
    channel = "return [Channel(id='chip', component='gpu', kind='counter', source='{}')]"
    files = plugins(
        wall=meter_source("wall"),
        chip=meter_source("chip", probe=channel.format("modelled"), read="return {'chip': 10.0 * time.monotonic()}"),
        play=meter_source("play", probe=channel.format("simulated"), read="return {'chip': 10.0 * time.monotonic()}"),
    )
    with Monitor(plugins=files) as monitor:
        names = [meter.name for meter in monitor.meters]
        assert {"wall", "chip"} <= set(names)
        assert not {"play", "mock", "estimate"} & set(names)
        assert monitor.notes == ["What 'chip' gives is modelled by the device, not measured."]


def test_auto_takes_the_estimate_where_nothing_measures_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", "/nonexistent")
    monkeypatch.setattr(monitor_module, "Registry", lambda files: only(files, "rapl", "estimate", "mock"))
    with Monitor() as monitor:
        assert [meter.name for meter in monitor.meters] == ["estimate"]
        (note,) = monitor.notes
    assert "not measured" in note


def only(files: Any, *names: str) -> Any:
    """The real registry without meters that this machine may happen to have."""
    from llmjoules.meters.registry import Registry

    registry = Registry(files)
    registry.entries = {name: entry for name, entry in registry.entries.items() if name in names}
    return registry


def test_auto_leaves_out_a_plugin_whose_probe_fails_and_names_it(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = plugins(
        bad=meter_source("bad", probe="raise OSError('no bus')"),
        hangs=meter_source("hangs", probe="time.sleep(5)"),
        wall=meter_source("wall"),
    )
    with Monitor(plugins=files) as monitor:
        assert "wall" in [meter.name for meter in monitor.meters]
    assert [fault.where for fault in monitor.faults] == ["bad", "hangs"]


def test_a_named_meter_that_is_unavailable_is_an_error(plugins: Plugins) -> None:
    files = plugins(off=meter_source("off", probe="raise Unavailable('No plug.', 'It is off.', 'Switch it on.')"))
    with pytest.raises(LlmjoulesError, match=r"No plug\.") as caught:
        Monitor(["off"], plugins=files)
    assert caught.value.fix == "Switch it on."


def test_no_meter_at_all_is_an_error() -> None:
    with pytest.raises(LlmjoulesError, match="No meter is named"):
        Monitor([])


def test_a_channel_that_two_meters_share_gets_the_later_meters_name(plugins: Plugins) -> None:
    files = plugins(
        second=meter_source("second", "gpu:0"),
        third=meter_source(
            "third",
            "gpu:0",
            probe="""return [
    Channel(id="gpu:0", component="gpu", kind="counter"),
    Channel(id="host", component="host", kind="counter", contains=("gpu:0",)),
]""",
            read='return {"gpu:0": 50 * time.monotonic(), "host": 70 * time.monotonic()}',
        ),
    )
    monitor, window = measured(["mock", "second", "third"], files)
    assert [energy.channel for energy in window.energies] == ["gpu:0", "gpu:0@second", "gpu:0@third", "host"]
    length_s = window.end_s - window.start_s
    assert window.joules("gpu:0@second") == pytest.approx(100 * length_s, rel=0.05)
    assert window.joules("gpu:0@third") == pytest.approx(50 * length_s, rel=0.05)
    host = next(c for meter in monitor.meters for c in meter.channels if c.id == "host")
    assert host.contains == ("gpu:0@third",)


# Plug-ins that misbehave while they are read


READS = {
    "raises always": ("raise OSError('bus gone')", "missing: the meter gave no reading: OSError: bus gone"),
    "exits": ("sys.exit(1)", "missing: the meter gave no reading: SystemExit: 1"),
    "raises what cannot be told": (
        "class Odd(Exception):\n    def __str__(self): raise OSError\nraise Odd",
        "missing: the meter gave no reading: Odd",
    ),
    "gives NaN": ("return {'host': float('nan')}", "no usable number for host"),
    "gives a negative number": ("return {'host': -5.0}", "no usable number for host"),
    "gives infinity": ("return {'host': float('inf')}", "no usable number for host"),
    "gives a number without bounds": ("return {'host': 10 ** 400}", "no usable number for host"),
    "gives text": ("return {'host': '12'}", "no usable number for host"),
    "gives a truth": ("return {'host': True}", "no usable number for host"),
    "gives another channel": ("return {'hosts': 1.0}", "no usable number for host"),
    "gives nothing": ("pass", "no usable number for host"),
    "gives a list": ("return [1.0]", "no usable number for host"),
    "hangs": ("time.sleep(6)\nreturn {'host': 1.0}", "read has not returned for "),
}


STREAMS = {
    "has a stream that raises": ("raise OSError('no pipe')\nyield", "OSError: no pipe"),
    "has a stream that ends": (
        "yield IntervalRecord(time.monotonic() - 0.1, time.monotonic(), {'host': 1.0})",
        "its stream ended",
    ),
    "has a stream of numbers": ("yield 5", "not an IntervalRecord"),
    "has a stream without times": ("yield IntervalRecord(float('nan'), 1.0, {'host': 1.0})", "finite times"),
    "has a stream with text for times": ("yield IntervalRecord('now', 1.0, {'host': 1.0})", "TypeError"),
    "has a stream that is none": ("pass", "TypeError"),
}


@pytest.fixture(scope="module")
def misbehaving(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Energy], Energy, float]:
    """All of them at once beside a good one: their energies and the true joules."""
    folder = tmp_path_factory.mktemp("misbehaving")
    stream = "return [Channel(id='host', component='host', kind='interval')]"
    sources = {what: {"read": body} for what, (body, _) in READS.items()}
    sources |= {what: {"probe": stream, "stream": body} for what, (body, _) in STREAMS.items()}
    names = [f"bad{k}" for k in range(len(sources))]
    files = [
        plugin(folder, name, meter_source(name, "host", **methods))
        for name, methods in zip(names, sources.values(), strict=True)
    ]
    files.append(plugin(folder, "good", meter_source("good")))
    with pytest.MonkeyPatch.context() as patch:
        set_short_limits(patch)
        _, window = measured([*names, "good"], files, 0.3)
    *bad, good = window.energies
    return dict(zip(sources, bad, strict=True)), good, 100 * (window.end_s - window.start_s)


@pytest.mark.parametrize("what", [*READS, *STREAMS])
def test_a_meter_that_cannot_be_read_is_null_with_the_reason(what: str, misbehaving: Any) -> None:
    bad, *_ = misbehaving
    assert bad[what].joules is None
    assert bad[what].uncertainty_j is None
    assert {**READS, **STREAMS}[what][1] in bad[what].reason


def test_the_others_go_on_beside_meters_that_cannot_be_read(misbehaving: Any) -> None:
    _, good, truth_j = misbehaving
    assert good.joules == pytest.approx(truth_j, rel=0.05)


def test_a_meter_that_hangs_in_read_is_named_when_the_monitor_closes(plugins: Plugins) -> None:
    files = plugins(bad=meter_source("bad", "host", read="time.sleep(6)"), good=meter_source("good"))
    monitor, _ = measured(["bad", "good"], files)
    assert [str(fault) for fault in monitor.faults] == ["bad: did not stop within 0.5 s"]


def test_a_meter_that_hangs_in_the_middle_of_a_run_leaves_earlier_windows(plugins: Plugins) -> None:
    read = """
if time.monotonic() > float(sys.modules["llmjoules_until"].until):
    time.sleep(4)
return {"host": 100.0 * time.monotonic()}"""
    source = meter_source("bad", "host", read=read)
    source = source.replace(
        "class Plug", 'import types\nsys.modules["llmjoules_until"] = types.SimpleNamespace(until="inf")\nclass Plug', 1
    )
    with Monitor(["bad"], plugins=plugins(bad=source)) as monitor:
        with monitor.window("before") as before:
            time.sleep(0.15)
        assert before.joules("host") is not None
        sys.modules["llmjoules_until"].until = "0"  # type: ignore[attr-defined]
        with monitor.window("after") as after:
            time.sleep(0.6)
        assert after.joules("host") is None
        assert "read has not returned for" in after.reason("host")
    del sys.modules["llmjoules_until"]


def test_a_reading_that_is_missing_now_and_then_costs_nothing_on_a_counter(plugins: Plugins) -> None:
    read = "if int(time.monotonic() * 50) % 2:\n    raise OSError('busy')\nreturn {'host': 100.0 * time.monotonic()}"
    _, window = measured(["bad"], plugins(bad=meter_source("bad", "host", read=read)), 0.4)
    assert window.joules("host") == pytest.approx(100 * (window.end_s - window.start_s), rel=0.1)
    assert window.reason("host") is None


def test_an_old_problem_is_not_the_reason_once_readings_come(plugins: Plugins) -> None:
    read = """
self.n = getattr(self, "n", 0) + 1
if self.n == 1:
    raise OSError("warming up")
return {"host": 100.0 * time.monotonic()}"""
    with Monitor(["bad"], plugins=plugins(bad=meter_source("bad", "host", read=read))) as monitor:
        (energy,) = monitor.energies(time.monotonic(), time.monotonic() + 5)
    assert energy.reason.startswith("not_covered: ")


def test_a_meter_that_cannot_be_opened_is_named_closed_and_left_out(plugins: Plugins, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    bad = meter_source("bad", "host", open="raise OSError('busy')", close=f"open({str(closed)!r}, 'w').close()")
    hangs = meter_source("hangs", "chip", open="time.sleep(5)")
    monitor, window = measured(["bad", "hangs", "good"], plugins(bad=bad, hangs=hangs, good=meter_source("good")))
    assert [str(fault) for fault in monitor.faults] == [
        "bad: open raised OSError: busy",
        "hangs: open did not return within 0.5 s",
    ]
    assert [energy.channel for energy in window.energies] == ["wall"]
    assert closed.exists()


def test_nothing_that_can_be_opened_is_an_error_that_names_the_faults(plugins: Plugins) -> None:
    monitor = Monitor(["bad"], plugins=plugins(bad=meter_source("bad", open="raise OSError('busy')")))
    with pytest.raises(LlmjoulesError, match="No meter could be opened") as caught, monitor:
        pass
    assert "bad: open raised OSError: busy" in caught.value.why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("time.sleep(5)", "close did not return within 0.5 s"),
        ("raise OSError('stuck')", "close raised OSError: stuck"),
        ("sys.exit()", "close raised SystemExit"),
    ],
)
def test_a_meter_that_cannot_be_closed_is_named_and_its_window_kept(body: str, why: str, plugins: Plugins) -> None:
    files = plugins(bad=meter_source("bad", "host", close=body), good=meter_source("good"))
    monitor, window = measured(["bad", "good"], files)
    assert [str(fault) for fault in monitor.faults] == [f"bad: {why}"]
    assert window.joules("host") is not None
    assert window.joules("wall") is not None


def test_a_stream_record_without_a_usable_value_makes_its_window_null(plugins: Plugins) -> None:
    body = """
start_s = time.monotonic()
for n in range(200):
    time.sleep(0.02)
    end_s = time.monotonic()
    yield IntervalRecord(start_s, end_s, {"host": "1" if n % 5 == 0 else 2.0})
    start_s = end_s"""
    probe = "return [Channel(id='host', component='host', kind='interval')]"
    _, window = measured(["bad"], plugins(bad=meter_source("bad", "host", probe=probe, stream=body)), 0.3)
    assert window.reason("host").startswith("missing: ")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return {'port': 5}", {"port": 5}),
        ("return {'path': __import__('pathlib').Path('/dev/null'), 'x': float('nan')}", {}),
        ("return [1, 2]", {}),
        ("return {1: 2}", {"1": 2}),
        ("raise OSError", {}),
        ("return {'x': float('nan')}", {"x": None}),
    ],
)
def test_what_a_meter_says_of_itself_always_fits_in_a_record(
    body: str, expected: dict[str, Any], plugins: Plugins
) -> None:
    with Monitor(["odd"], plugins=plugins(odd=meter_source("odd", describe=body))) as monitor:
        (info,) = monitor.meters
    assert info.options == expected
    assert msgspec.json.decode(msgspec.json.encode(info), type=MeterInfo) == info


def test_numbers_of_other_libraries_are_numbers(plugins: Plugins) -> None:
    source = meter_source(
        "frac", read="from fractions import Fraction\nreturn {'wall': Fraction(100 * time.monotonic())}"
    )
    _, window = measured(["frac"], plugins(frac=source))
    assert window.joules("wall") == pytest.approx(100 * (window.end_s - window.start_s), rel=0.05)


def test_a_fork_of_the_measured_program_does_not_disturb_the_monitor() -> None:
    if not hasattr(os, "posix_spawn"):
        pytest.skip("needs posix_spawn")
    with Monitor(["mock"]) as monitor, monitor.window("work") as window:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], os.environ)
        os.waitpid(pid, 0)
        time.sleep(0.1)
    assert window.joules("gpu:0") > 0


def test_the_plug_in_base_class_does_nothing_by_itself() -> None:
    class Bare(Meter):
        name = "bare"

    meter = Bare()
    assert meter.read() == {}
    assert list(meter.stream()) == []
    assert meter.describe() == {}
    with pytest.raises(NotImplementedError):
        meter.probe()
    assert HEAD
    assert HOOK


def test_a_window_can_be_entered_once() -> None:
    with Monitor(["mock"]) as monitor:
        with monitor.window("work") as window:
            pass
        with pytest.raises(RuntimeError, match="window 'work' can be entered once"):
            window.__enter__()


def test_measuring_leaves_the_random_numbers_of_the_program_alone() -> None:
    random.seed(1)
    before = random.getstate()
    with Monitor(["mock"]):
        time.sleep(0.3)
    assert random.getstate() == before
