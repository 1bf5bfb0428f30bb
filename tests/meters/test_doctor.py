"""The doctor finds the tick, the lag and the contradictions that were put there, and nothing where all is well."""

from __future__ import annotations

import json
import os
import random
import re
import time
from itertools import accumulate
from math import floor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.meters import doctor, guard, libraries, polling, stretches
from llmjoules.meters.doctor_report import ChannelReport, Compared, Lag, MeterReport, Report
from llmjoules.meters.libraries import Torch
from llmjoules.meters.load import Load
from llmjoules.meters.step_response import (
    PIECE_S,
    Agreement,
    Line,
    Readings,
    Response,
    Tick,
    agreement,
    grid_note,
    lag_behind,
    power_line,
    resolution,
    step_response,
    tick,
    tick_note,
    unwrapped,
    upwards,
)
from llmjoules.records.errors import LlmjoulesError
from tests.meters import nvml_stub
from tests.meters.nvml_stub import Gpu, Install, Stub, uuid
from tests.meters.plugins import meter_source, plugin
from tests.meters.simulated import channel
from tests.meters.test_rapl import ONE_SOCKET, Draw, Tree
from tests.runner.conftest import Cli, cache, cli, environment

pytestmark = pytest.mark.alone  # it also puts load on the machine

__all__ = ["cache", "cli", "environment"]  # fixtures that are used here too
stub, rig = nvml_stub.stub, nvml_stub.rig
DOCS = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")


# ---- tick and resolution ----


def polled(tick_s: float, until_s: float, *, every_s: float = 0.002, watts: float = 100.0, seed: int = 0) -> Readings:
    """A total that is renewed every tick_s, as a reader sees it that is late by up to half of its interval."""
    rng = random.Random(seed)
    offset_s, t_s, times, values = rng.random() * tick_s, 0.0, [], []
    while t_s < until_s:
        times.append(t_s)
        values.append(watts * (floor((t_s - offset_s) / tick_s) * tick_s + offset_s if tick_s else t_s))
        t_s += every_s * rng.uniform(1, 1.5)
    return Readings(times, values)


def test_a_tick_by_hand() -> None:
    """Read every 10 ms, changed between 0 and 10, 30 and 40, 60 and 70, … ms: 30 ms apart."""
    readings = Readings([0.01 * k for k in range(19)], [float((k + 2) // 3) for k in range(19)])
    found = tick(readings)
    assert found is not None
    assert found.median_s == pytest.approx(0.03)
    assert (found.p5_s, found.p95_s) == (pytest.approx(0.03), pytest.approx(0.03))
    assert found.changes == 6
    assert not found.as_fast_as_read


@given(st.floats(0.01, 0.5), st.integers(0, 1000))
def test_any_tick_is_found_within_a_tenth(tick_s: float, seed: int) -> None:
    found = tick(polled(tick_s, 12 * tick_s, every_s=tick_s / 20, seed=seed))
    assert found is not None
    assert found.median_s == pytest.approx(tick_s, rel=0.1)
    assert found.p5_s <= found.median_s <= found.p95_s


def test_what_changes_at_each_reading_is_at_least_as_fast_as_it_was_read() -> None:
    found = tick(polled(0.0, 1.0))
    assert found is not None
    assert found.as_fast_as_read
    assert tick_note(found, channel(period_s=0.0)) is None
    assert tick_note(found, channel(period_s=0.001)) is None
    assert "100 ms is stated" in str(tick_note(found, channel(period_s=0.1)))


def test_a_gauge_that_repeats_a_value_does_not_hide_its_tick() -> None:
    """Renewed every 100 ms, but every fourth figure is as the one before."""
    shown = [k - (k % 4 == 3) for k in range(30)]
    times = [0.01 * k for k in range(300)]
    readings = Readings(times, [float(shown[k // 10]) for k in range(300)])
    found = tick(readings, gauge=True)
    assert found is not None
    assert found.median_s == pytest.approx(0.1)


def test_too_few_changes_are_no_tick() -> None:
    assert tick(Readings([], [])) is None
    assert tick(Readings([0.0, 1.0], [5.0, 5.0])) is None
    assert tick(polled(1.0, 4.0)) is None


@pytest.mark.parametrize(("period_s", "said"), [(0.1, False), (0.08, False), (0.13, False), (0.02, True), (0.2, True)])
def test_a_tick_that_is_not_as_stated_is_noted(period_s: float, said: bool) -> None:
    note = tick_note(Tick(0.1, 0.1, 0.1, 30, 0.002), channel(period_s=period_s))
    assert (note is not None) == said
    assert note is None or note.startswith("renewed every 100 ms, but ")


def test_a_tick_of_what_is_stated_as_never_stale_is_noted_and_that_of_a_model_is_not() -> None:
    found = Tick(0.1, 0.1, 0.1, 30, 0.002)
    assert "never stale" in str(tick_note(found, channel(period_s=0.0)))
    assert tick_note(found, channel("model", period_s=0.01, source="modelled")) is None


@given(st.sampled_from([1, 10, 61, 1000, 250_000]), st.integers(0, 10**6))
def test_the_grid_on_which_all_readings_lie_is_found(grid_u: int, seed: int) -> None:
    """Sixty random numbers have no divisor in common but by a chance of one in a billion billions."""
    rng = random.Random(seed)
    found = resolution([rng.randrange(10**7) * grid_u / 1e6 for _ in range(60)])
    assert found is not None
    assert found.grid == pytest.approx(grid_u / 1e6 if grid_u > 1 else 0.0)
    assert found.smallest_step >= 0.999 * grid_u / 1e6


def test_a_steady_power_does_not_pass_for_a_coarse_counter() -> None:
    found = resolution([10.0 * k for k in range(30)])
    assert found is not None
    assert found.grid is None


def test_resolution_by_hand() -> None:
    assert resolution([5.0, 5.0]) is None
    few = resolution([1.0, 1.5, 3.5])
    assert few is not None
    assert few == (0.5, None)
    many = resolution([0.1 * k * (k % 3 + 1) for k in range(30)])
    assert many is not None
    assert many.grid == pytest.approx(0.1)
    assert "0.1 J apart, but 0.001 J is stated" in str(grid_note(many, channel(resolution=0.001)))
    assert grid_note(many, channel(resolution=0.1)) is None


def test_a_wrap_goes_on_and_a_reset_adds_nothing() -> None:
    assert unwrapped([8.0, 9.0, 1.0, 2.0], 10.0) == [8.0, 9.0, 11.0, 12.0]
    assert unwrapped([8.0, 9.0, 1.0, 2.0], None) == [8.0, 9.0, 9.0, 10.0]
    assert unwrapped([], None) == []


# ---- step response ----

ON_S, OFF_S = 1.0, 3.0


def mean_of(length_s: float, t_s: float, low: float = 60.0, high: float = 300.0) -> float:
    """A running mean of a step from low to high at ON_S."""
    return low + (high - low) * min(max((t_s - ON_S) / length_s, 0.0), 1.0)


def counted(length_s: float, t_s: float) -> float:
    """The integral of that."""
    x = min(max(t_s - ON_S, 0.0), length_s)
    return 60 * t_s + 240 * (x * x / (2 * length_s) + max(t_s - ON_S - length_s, 0.0))


def test_the_step_of_a_mean_of_a_second_by_hand() -> None:
    """It rises along a straight line: 10 % after 0.1 s, 50 % after 0.5 s, 90 % after 0.9 s."""
    t_s = [0.01 * k for k in range(300)]
    found = step_response(Line(t_s, [mean_of(1.0, t) for t in t_s]), ON_S, OFF_S)
    assert found is not None
    assert (found.low_w, found.high_w) == (60.0, 300.0)
    assert found.rise_s == pytest.approx(0.8)
    assert found.delay_s == pytest.approx(0.5)
    assert found.lag_s == pytest.approx(0.9)
    assert found.believe_above_s == pytest.approx(1.0)


@given(st.floats(0.7, 1.2), st.sampled_from([0.02, 0.1]), st.integers(0, 1000))
def test_a_counter_of_a_running_mean_is_late_by_its_length(length_s: float, tick_s: float, seed: int) -> None:
    readings = polled(tick_s, 3.5, watts=1.0, seed=seed)
    late = Readings(readings.t_s, [counted(length_s, seen_s) for seen_s in readings.values])
    found = step_response(power_line(late, gauge=False), ON_S, OFF_S)
    assert found is not None
    assert found.lag_s >= 0.5
    assert found.believe_above_s == pytest.approx(length_s, abs=1.6 * max(tick_s, PIECE_S))


@given(st.sampled_from([0.0, 0.02, 0.1, 0.2]), st.integers(0, 1000))
def test_a_counter_that_only_ticks_is_not_called_late(tick_s: float, seed: int) -> None:
    readings = polled(tick_s, 3.5, watts=1.0, seed=seed)
    prompt = Readings(readings.t_s, [60 * t + 240 * max(t - ON_S, 0.0) for t in readings.values])
    found = step_response(power_line(prompt, gauge=False), ON_S, OFF_S)
    assert found is not None
    assert found.lag_s < 0.5


def test_a_gauge_that_is_late_without_being_slow_is_found_by_its_lag() -> None:
    t_s = [0.01 * k for k in range(300)]
    readings = Readings(t_s, [300.0 if t >= ON_S + 0.8 else 60.0 for t in t_s])
    found = step_response(power_line(readings, gauge=True), ON_S, OFF_S)
    assert found is not None
    assert found.rise_s < 0.1
    assert found.lag_s == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    "watts",
    [[60.0] * 60, [60.0 + 20 * (k % 2) for k in range(60)], [60.0 - (k >= 20) * 30 for k in range(60)]],
    ids=["flat", "noise", "falls"],
)
def test_where_no_step_stands_out_there_is_no_response(watts: list[float]) -> None:
    assert step_response(Line([0.05 * k for k in range(60)], watts), ON_S, OFF_S) is None
    assert step_response(Line([], []), ON_S, OFF_S) is None


@given(st.floats(-0.6, 0.6), st.integers(0, 1000))
def test_a_shift_between_two_lines_is_found(shift_s: float, seed: int) -> None:
    rng = random.Random(seed)
    edges = list(accumulate(rng.uniform(0.3, 0.8) for _ in range(14)))

    def watts(t_s: float) -> float:
        return 300.0 if sum(t_s >= edge for edge in edges) % 2 else 60.0

    t_s = [0.05 * k for k in range(80)]
    found = lag_behind(Line(t_s, [watts(t - shift_s + 1) for t in t_s]), Line(t_s, [watts(t + 1) for t in t_s]))
    assert found is not None
    assert found[0] == pytest.approx(shift_s, abs=0.06)
    assert found[1] > 0.8


def test_without_a_common_movement_no_lag_is_stated() -> None:
    t_s = [0.05 * k for k in range(80)]
    moving = Line(t_s, [300.0 if int(t) % 2 else 60.0 for t in t_s])
    assert lag_behind(Line(t_s, [60.0] * 80), moving) is None
    assert lag_behind(moving, Line([], [])) is None
    rng = random.Random(1)
    assert lag_behind(Line(t_s, [rng.uniform(60, 300) for _ in t_s]), moving) is None


def test_lengths_are_rounded_upwards() -> None:
    assert [upwards(seconds) for seconds in (0.5, 0.51, 0.99, 1.0)] == [0.5, 0.6, 1.0, 1.0]


# ---- agreement ----


@pytest.mark.parametrize(
    ("second", "agree", "within_gains"),
    [((101.0, 0.5, 0.05), True, True), ((102.0, 0.5, 0.05), False, True), ((115.0, 0.5, 0.05), False, False)],
)
def test_agreement_by_hand(second: tuple[float, float, float], agree: bool, within_gains: bool) -> None:
    """100 ± 0.5 J beside 101, 102 and 115 ± 0.5 J: allowed are 1.2 J, and 10 J or more by gains of 5 %."""
    found = agreement((100.0, 0.5, 0.05), second)
    assert (found.agree, found.within_gains) == (agree, within_gains)
    assert found.allowed_j == pytest.approx(1.2, abs=0.02)
    assert found.ratio == pytest.approx(second[0] / 100)


def test_a_model_is_held_to_its_gain_as_to_an_uncertainty() -> None:
    assert agreement((100.0, 0.5, 0.0), (140.0, 1.0, 0.5), same_source=False).agree
    assert not agreement((100.0, 0.5, 0.0), (250.0, 1.0, 0.5), same_source=False).agree


FIGURE = st.tuples(st.floats(0, 1e4), st.floats(0, 100), st.floats(0, 0.5))


@given(FIGURE, FIGURE)
def test_agreement_has_no_side(first: tuple[float, float, float], second: tuple[float, float, float]) -> None:
    one, other = agreement(first, second), agreement(second, first)
    assert (one.agree, one.within_gains) == (other.agree, other.within_gains)
    assert one.within_gains or not one.agree
    assert agreement(first, first).agree


# ---- through the real monitor ----


def channels_of(report: Report) -> dict[str, ChannelReport]:
    return {found.id: found for meter in report.meters for found in meter.channels}


def verdicts(report: Report, first: str, second: str) -> list[Agreement | None]:
    return [pair.verdict for pair in report.agreement if (pair.first, pair.second) == (first, second)]


LATE = """
import os
def power():  # the mean of the last 0.8 s of a step of load, which the test tells of
    on = float(os.environ.get("TEST_LOAD_ON") or "inf")
    return 60 + 240 * min(max(time.monotonic() - on, 0.0) / 0.8, 1.0)
"""


def test_ticks_lags_and_contradictions_are_found_and_what_is_well_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def switch(*, on: bool) -> float:
        now_s = time.monotonic()
        monkeypatch.setenv("TEST_LOAD_ON", str(now_s) if on else "")
        return now_s

    load = SimpleNamespace(kind="cpu", switch=switch)
    loads = stretches.Loads((load,), {"cpu": "scripted", "gpu": "none"})  # type: ignore[arg-type]
    monkeypatch.setattr(stretches, "prepare", lambda *_: loads)
    late = meter_source(
        "late",
        "host",
        probe='return [Channel(id="host", component="host", kind="power", unit="W")]',
        read='return {"host": power()}',
    )
    file = plugin(tmp_path, "late", LATE + late)
    steady = {"base_w": 100.0, "wave_w": 0.0, "component": "gpu"}
    scripted = [
        {**steady, "id": "gpu:0", "tick_s": 0.1},
        {**steady, "id": "gpu:0@second"},
        {**steady, "id": "gpu:1", "tick_s": 0.1},
        {**steady, "id": "gpu:1@second", "base_w": 120.0},
    ]
    report = doctor.examine(["mock", "late"], plugins=[file], options={"mock": {"channels": scripted}}, seconds=2.0)
    found = channels_of(report)
    for name in ("gpu:0", "gpu:1"):
        ticks = found[name].tick
        assert ticks is not None
        assert ticks.median_s == pytest.approx(0.1, rel=0.1)
        assert found[name].notes == ()
    assert all(verdict is not None and verdict.agree for verdict in verdicts(report, "gpu:0", "gpu:0@second"))
    apart = verdicts(report, "gpu:1", "gpu:1@second")
    assert len(apart) == 2
    for verdict in apart:
        assert verdict is not None
        assert not verdict.within_gains
        assert verdict.ratio == pytest.approx(1.2, rel=0.02)
    response = found["host"].response
    assert response is not None
    assert response.lag_s == pytest.approx(0.72, abs=0.2)
    assert found["host"].believe_above_s == pytest.approx(0.8, abs=0.25)
    assert re.fullmatch(r"windows below [\d.]+ s are not to be believed on this channel", found["host"].notes[-1])
    assert not report.ok
    assert {line.split()[0] for line in report.attention} == {"gpu:1", "host"}
    mock = report.meters[0]
    assert mock.read_median_us is not None
    assert mock.read_p99_us is not None
    assert 0 < mock.read_median_us <= mock.read_p99_us
    assert report.cpu_percent is not None


def test_on_nvidia_a_counter_of_a_one_second_mean_is_found_and_a_good_one_is_not(
    rig: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No load of ours: the GPUs follow their own script, and the counter is seen beside instant power."""
    monkeypatch.setattr(libraries, "ask_torch", lambda: Torch(("NVIDIA H100",), "CUDA 13.0"))
    pulses = {"pulse": 280.0, "pulse_s": 1.8}
    rig(Gpu(**pulses), Gpu(**pulses, bus=2, uuid=uuid(1), counter_mean=1.0))
    report = doctor.examine(["nvml", "pyjoules"], seconds=2.4, load="none")
    found = channels_of(report)
    for name in ("gpu:1", "gpu:1@pyjoules"):
        lag = found[name].lag
        assert lag is not None
        assert lag.behind == "gpu:1@power"
        assert lag.lag_s == pytest.approx(0.5, abs=0.15)
        assert found[name].believe_above_s == pytest.approx(1.0, abs=0.3)
    well = {"gpu:0", "gpu:0@power", "gpu:0@pyjoules", "gpu:1@power"}
    assert set(found) == well | {"gpu:1", "gpu:1@pyjoules"}
    for name in well:
        assert found[name].believe_above_s is None, found[name]
    for name in ("gpu:0", "gpu:1"):
        ticks = found[name].tick
        assert ticks is not None
        assert ticks.median_s == pytest.approx(0.1, rel=0.1)
        assert found[name].grid == pytest.approx(0.001)
    assert all(verdict is not None and verdict.within_gains for verdict in verdicts(report, "gpu:0", "gpu:0@power"))
    assert [line.split()[0] for line in report.attention][:1] == ["gpu:1"]
    assert report.loads == {"gpu": "not tested: no load was wanted"}
    assert report.torch.gpus == ("NVIDIA H100",)


def test_rapl_is_watched_with_a_load_that_its_scripted_tree_does_not_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(tmp_path))
    tree = Tree(tmp_path, ONE_SOCKET)
    watts = dict.fromkeys(ONE_SOCKET, 10.0) | {"intel-rapl:1": 40.0}
    with Draw(tree, watts):
        report = doctor.examine(["rapl"], seconds=1.0)
    found = channels_of(report)
    assert set(found) == {"cpu:0", "cpu:0@process", "dram:0", "host"}
    package = found["cpu:0"]
    assert package.tick is not None
    assert package.tick.median_s < 0.05
    assert package.response is None
    assert package.response_note == "the load's step does not show"
    assert package.believe_above_s is None
    assert re.fullmatch(r"\d+ busy process(es)?", report.loads["cpu"])
    assert report.agreement == ()  # the package and its memory are no second opinions of each other
    assert report.ok, report.attention


def test_meters_that_hang_and_raise_are_named_and_the_others_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALL_LIMIT_S", 0.5)
    monkeypatch.setattr(polling, "STOP_LIMIT_S", 0.3)
    sources = {
        "hangs": meter_source("hangs", read="time.sleep(60)"),
        "raises": meter_source("raises", read="raise OSError('out of order')"),
        "sleeps": meter_source("sleeps", probe="time.sleep(60)"),
        "shut": meter_source("shut", open="raise Unavailable('It is shut.', 'Nobody is in.', 'Knock.')"),
        "broken": "raise RuntimeError('no use')\n",
    }
    files = [plugin(tmp_path, name, source) for name, source in sources.items()]
    names = ["mock", "hangs", "raises", "sleeps", "shut"]
    begun_s = time.monotonic()
    report = doctor.examine(names, plugins=files, seconds=1.0, load="none")
    assert time.monotonic() - begun_s < 15
    by_name = {meter.name: meter for meter in report.meters}
    assert by_name["mock"].channels[0].readings > 50
    assert by_name["raises"].what == "A reading failed: OSError: out of order."
    assert not by_name["sleeps"].usable
    assert "did not return within" in str(by_name["sleeps"].what)
    faults = "\n".join(map(str, report.faults))
    for expected in ("hangs: read did not return", "shut: It is shut.", "no use"):
        assert expected in faults
    assert {pair.first for pair in report.agreement} == set()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"meters": ["mok"]}, "Unknown meter"),
        ({"seconds": 0.5}, "1 to 60 seconds"),
        ({"seconds": float("nan")}, "1 to 60 seconds"),
        ({"plugins": [Path("missing.py")]}, "missing.py"),
        ({"meters": ["mock"], "options": {"mock": {"sed": 1}}}, "seed"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(LlmjoulesError) as caught:
        doctor.examine(**arguments)  # type: ignore[arg-type]
    assert why in str(caught.value)


def test_a_load_is_busy_while_it_is_on_and_gone_afterwards() -> None:
    with Load("cpu", 1) as load:
        [child] = [p for p in psutil.Process().children() if "load.py" in " ".join(p.cmdline())]

        def busy_s(seconds: float) -> float:
            before = child.cpu_times().user
            time.sleep(seconds)
            return child.cpu_times().user - before

        busy_s(0.2)  # it may still be starting
        before_s = busy_s(0.2)
        load.switch(on=True)
        on_s = busy_s(0.6)
        load.switch(on=False)
        time.sleep(0.1)
        assert on_s / 0.6 > 2 * max(before_s, busy_s(0.2)) / 0.2
    assert not child.is_running()


# ---- libraries ----


@pytest.mark.parametrize(
    ("gpus", "torch", "said"),
    [
        ((), Torch(None, why="not asked"), None),
        (("H100",), Torch(("H100",), "CUDA 13.0"), None),
        (("H100", "H100"), Torch((), "CPU"), "NVML sees 2 GPUs (H100), but torch sees no GPU (it is built for CPU): "),
        (("H100",), Torch(None, why="torch is not installed"), "whether torch sees one is not known: torch is not"),
    ],
)
def test_it_says_loudly_when_torch_does_not_see_a_gpu_that_is_there(
    gpus: tuple[str, ...], torch: Torch, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = libraries.torch_misses_gpus(gpus, torch)
    assert found is None if said is None else said in str(found)
    if said is not None and torch.gpus is not None:
        assert str(found).endswith("install a CUDA build; measurements would run on the CPU")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES hides" in str(libraries.torch_misses_gpus(gpus, torch))


@pytest.mark.parametrize(("version", "old"), [("11.5.3", True), ("13.0.1", False), (None, False), ("odd", False)])
def test_the_old_package_pynvml_is_named_with_its_remedy(
    version: str | None, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "version_of", lambda _: version)
    said = libraries.old_pynvml()
    assert (said is not None) == old
    assert not old or "pip uninstall pynvml" in str(said)


# ---- the command ----


def test_the_command_prints_one_document_for_programs_and_its_keys_are_explained(cli: Cli, tmp_path: Path) -> None:
    nothing = os.environ | {"LLMJOULES_POWERCAP": str(tmp_path)}
    done = cli(*"doctor --json --meter estimate --seconds 1".split(), env=nothing)
    assert done.returncode == 1, done.stderr
    assert "1/3" in done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["attention"][0] == "No meter can measure here; energy would be modelled, not measured."
    assert document["meters"][0]["channels"][0]["tick"]["median_s"] < 0.1
    structs = (Report, MeterReport, ChannelReport, Lag, Compared)
    tuples = (Tick, Response, Agreement, Torch, guard.Fault)
    keys = [key for of in structs for key in of.__struct_fields__] + [key for of in tuples for key in of._fields]
    assert [key for key in dict.fromkeys(keys) if f"`{key}`" not in DOCS] == []
    assert set(document) == set(Report.__struct_fields__)


def test_a_gpu_that_torch_does_not_see_is_said_on_the_screen(cli: Cli, stub: Stub) -> None:
    done = cli(*"doctor --meter nvml --seconds 1 --load none".split(), env=stub.environment(Gpu()))
    assert done.returncode == 1, done.stderr
    assert "NVML sees 1 GPU" in done.stdout
    assert "torch sees no GPU" in done.stdout
    assert "gpu:0, gpu:0@power (load)" in done.stdout
