"""Before each repeat: cooled down, out of step, and described. Devices are simulated by a meter of one's own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from llmjoules.meters.monitor import Monitor
from llmjoules.records.record import Conditions, CoolDown, DeviceState, Run
from llmjoules.runner.conditions import Others, prepare, stalled
from llmjoules.runner.flags import flags
from tests.builders import NVML, make_run
from tests.runner.conftest import Measured

COOLING = """
import time
from llmjoules.meters import Channel, Meter, hookimpl

class Cooling(Meter):
    name = "cooling"
    def probe(self):
        return [Channel(id="gpu:0", component="gpu", kind="counter", period_s={period_s})]
    def open(self):
        self.opened_s = time.monotonic()
    def read(self):
        return {{"gpu:0": 50 * time.monotonic()}}
    def state(self):
        since_s = time.monotonic() - self.opened_s
        return {{"gpu:0": {{"temperature_c": max(60.0 - {c_per_s} * since_s, 40.0), "power_limit_w": 300.0}}}}

@hookimpl
def llmjoules_meters():
    return [Cooling]
"""


@pytest.fixture
def cooling(tmp_path: Path) -> Callable[..., Monitor]:
    def make(c_per_s: float, period_s: float = 0.0) -> Monitor:
        plugin = tmp_path / "cooling.py"
        plugin.write_text(COOLING.format(c_per_s=c_per_s, period_s=period_s))
        return Monitor(["cooling"], plugins=[plugin])

    return make


def test_a_hot_device_is_waited_for_until_it_is_cool(cooling: Callable[..., Monitor]) -> None:
    with cooling(c_per_s=20.0) as monitor:
        found = prepare(monitor, 30.0, {"gpu:0": 45.0}, "seed")
    assert found.cool_down.outcome == "cool"
    assert 0 < found.cool_down.waited_s < 30
    assert found.temperatures_c["gpu:0"] <= 46
    assert found.devices["gpu:0"].power_limit_w == 300


@pytest.mark.parametrize(("limit_s", "outcome"), [(0.2, "limit"), (0.0, "off")])
def test_one_that_stays_hot_is_waited_for_no_longer_than_asked(
    cooling: Callable[..., Monitor], limit_s: float, outcome: str
) -> None:
    with cooling(c_per_s=0.0) as monitor:
        found = prepare(monitor, limit_s, {"gpu:0": 45.0, "gpu:1": 20.0}, "seed")
    assert (found.cool_down.outcome, found.temperatures_c["gpu:0"]) == (outcome, 60.0)
    run = msgspec.structs.replace(make_run(meter=NVML, device="cuda"), conditions=found)
    assert flags(run, True, []) == ("hot_start:gpu:0",)


def test_without_a_temperature_nobody_waits() -> None:
    with Monitor(["mock"]) as monitor:
        found = prepare(monitor, 30.0, {"gpu:0": 45.0}, "seed")
    assert found.cool_down.outcome in ("no_temperature", "cool")  # cool: of this machine's CPU, which has no target
    assert found.cool_down.waited_s < 0.1 * found.cool_down.limit_s


def test_starts_fall_anywhere_in_a_period_and_the_same_seed_gives_the_same_start(
    cooling: Callable[..., Monitor],
) -> None:
    with cooling(c_per_s=0.0, period_s=0.05) as monitor:
        delays_s = [prepare(monitor, 0.0, {}, f"0 cell {repeat}").start_delay_s for repeat in range(12)]
        again_s = prepare(monitor, 0.0, {}, "0 cell 3").start_delay_s
        before_s = time.monotonic()
        found = prepare(monitor, 0.0, {}, "0 cell 3")
        assert time.monotonic() - found.at_s >= found.start_delay_s
        assert found.at_s >= before_s
    assert again_s == delays_s[3]
    assert all(0 <= delay_s <= 0.05 for delay_s in delays_s)
    assert max(delays_s) - min(delays_s) > 0.02


def test_what_others_do_on_the_cpu_is_told_from_what_we_do() -> None:
    """Ours is a loop of this very process; a busy machine may add to it, never the other way."""
    others = Others()
    with others.during("inference"):
        before_s = time.process_time()
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            pass
        ours_s = time.process_time() - before_s
    import psutil

    assert ours_s > 0
    assert 0 <= others.found["inference"] <= psutil.cpu_count() - 0.5 * ours_s
    with others.during("idle"):
        pass
    assert "idle" not in others.found  # too short to say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("some avg10=1.50 avg60=0.20 avg300=0.00 total=54\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=4\n", 0.015),
        ("some avg60=0.20\n", None),
        ("some avg10=?\n", None),
        (None, None),
    ],
)
def test_memory_pressure_is_read_as_the_kernel_writes_it(text: str | None, expected: float | None) -> None:
    assert stalled(text) == (None if expected is None else pytest.approx(expected))


def with_conditions(**more: object) -> Run:
    conditions = Conditions(
        at_s=-0.1, start_delay_s=0.0, cool_down=CoolDown(limit_s=0.0, waited_s=0.0, outcome="cool"), **more
    )
    return msgspec.structs.replace(make_run(meter=NVML, device="cuda"), conditions=conditions)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"cpus": 8, "other_cpus": {"idle": 0.79, "inference": 0.79}}, ()),
        ({"cpus": 8, "other_cpus": {"idle": 0.1, "inference": 0.81}}, ("busy:cpu",)),
        ({"memory_stalled": 0.2}, ("memory_pressure",)),
        ({"devices": {"gpu:0": DeviceState(at_s=-1.0, throttling=("hardware slowdown",))}}, ("throttled:gpu:0",)),
        ({"devices": {"gpu:0": DeviceState(at_s=-1.0, other_processes=1)}}, ("shared:gpu:0",)),
    ],
)
def test_conditions_that_are_not_clean_are_flagged(more: dict[str, object], expected: tuple[str, ...]) -> None:
    assert flags(with_conditions(**more), True, []) == expected


def test_a_power_limit_that_changes_is_flagged() -> None:
    run = with_conditions(devices={"gpu:0": DeviceState(at_s=-0.5, power_limit_w=300.0)})
    states = {"gpu:0": (DeviceState(at_s=4.0, power_limit_w=300.0), DeviceState(at_s=5.0, power_limit_w=250.0))}
    assert flags(msgspec.structs.replace(run, states=states), True, []) == ("power_limit_changed:gpu:0",)
    steady = {"gpu:0": states["gpu:0"][:1]}
    assert flags(msgspec.structs.replace(run, states=steady), True, []) == ()


def test_every_run_says_how_things_stood_before_it(three_runs: Measured) -> None:
    for run in three_runs.records:
        found = run.conditions
        assert found.at_s + found.start_delay_s <= 0  # before the first phase, where the record's time begins
        assert found.cpus >= 1
        assert set(found.other_cpus) >= {"idle"}
        assert found.memory_available_bytes > 0


@pytest.fixture(scope="module")
def heating(measure: Callable[..., Measured], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Two loads from a dropped page cache, on a device that gets hotter all the time."""
    plugin = tmp_path_factory.mktemp("plugin") / "heating.py"
    text = COOLING.format(c_per_s=0.0, period_s=0.0)
    plugin.write_text(re.sub(r"max\(.*?40.0\)", "40.0 + time.monotonic() % 1e5", text))
    words = f"--model dummy:llama-tiny --meter cooling --plugin {plugin} --repeats 2 --loads 2 --new-tokens 4"
    return measure(*words.split(), *"--idle 0 --cool-down 0.1 --warm-up 0 --page-cache drop".split())


def test_later_runs_are_held_against_the_temperature_before_the_first(heating: Measured) -> None:
    """Of all loads, not of each: a device that got hot in one must not be the standard of the next."""
    first, second = (run.conditions for run in heating.records)
    assert first.cool_down.target_c == {}
    assert second.cool_down.target_c["gpu:0"] == first.temperatures_c["gpu:0"]
    assert second.cool_down.outcome == "limit"
    assert "hot_start:gpu:0" in heating.records[1].flags


def test_each_load_drops_its_page_cache_where_that_is_asked_for(heating: Measured) -> None:
    for run in heating.records:
        assert run.page_cache.asked == "drop"
        assert run.page_cache.resident is not None or run.page_cache.reason  # a file system in memory keeps them
        assert "--page-cache drop" in run.command
