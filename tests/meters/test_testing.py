"""check_meter: sound meters pass, and each way to break the contract is told in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmjoules.meters import Meter, Unavailable, guard
from llmjoules.meters import testing as testing_module
from llmjoules.meters.registry import Registry
from llmjoules.meters.testing import check_meter
from tests.meters.plugins import meter_source, plugin

INTERVAL = "return [Channel(id='wall', component='wall', kind='interval')]"
RECORDS = """
start_s = time.monotonic()
while not getattr(self, "closed", False):
    time.sleep(0.02)
    end_s = time.monotonic()
    yield IntervalRecord(start_s, end_s, {"wall": 1.0})
    start_s = end_s"""


def make(folder: Path, source: str) -> Meter:
    registry = Registry([plugin(folder, "plug", source)])
    assert registry.faults == []
    return registry.make("plug")


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing_module, "STREAM_LIMIT_S", 0.3)
    monkeypatch.setattr(guard, "CALL_LIMIT_S", 0.3)


def test_a_sound_meter_passes_and_its_channels_come_back(tmp_path: Path) -> None:
    assert [channel.id for channel in check_meter(make(tmp_path, meter_source("plug")), seconds=0.05)] == ["wall"]


def test_a_sound_stream_passes(tmp_path: Path) -> None:
    source = meter_source("plug", probe=INTERVAL, stream=RECORDS, read="return {}", close="self.closed = True")
    check_meter(make(tmp_path, source), seconds=0.05)


def test_a_counter_may_stand_still_and_may_wrap_where_it_says_so(tmp_path: Path) -> None:
    check_meter(make(tmp_path, meter_source("plug", read="return {'wall': 5.0}")), seconds=0.05)
    probe = "return [Channel(id='wall', component='wall', kind='counter', wraps_at_j=2.0)]"
    source = meter_source("plug", probe=probe, read="return {'wall': 100.0 * time.monotonic() % 2.0}")
    check_meter(make(tmp_path, source), seconds=0.1)


def test_a_meter_that_cannot_measure_here_stays_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No plug"):
        check_meter(make(tmp_path, meter_source("plug", probe="raise Unavailable('No plug.')")))


BROKEN = {
    "id of another component": (
        {"probe": "return [Channel(id='gpu:0', component='wall', kind='counter')]"},
        "gpu:0: the id of a channel begins with its component, here wall",
    ),
    "contains itself": (
        {"probe": "return [Channel(id='wall', component='wall', kind='counter', contains=('wall',))]"},
        "does not contain itself",
    ),
    "period in milliseconds": (
        {"probe": "return [Channel(id='wall', component='wall', kind='counter', period_s=10000)]"},
        "not in seconds",
    ),
    "gain in percent": (
        {"probe": "return [Channel(id='wall', component='wall', kind='counter', gain=5)]"},
        "not a fraction",
    ),
    "a model that says it measures": (
        {"probe": "return [Channel(id='wall', component='wall', kind='model')]"},
        "model of measured",
    ),
    "channels that change": (
        {"probe": "self.n = getattr(self, 'n', 0) + 1\n"
         "return [Channel(id=f'wall:{self.n}', component='wall', kind='counter')]"},
        "a second probe must return the same channels",
    ),
    "no channel": ({"probe": "return []"}, "no channel"),
    "open raises": ({"open": "1 / 0"}, "open raised ZeroDivisionError"),
    "read raises": ({"read": "1 / 0"}, "read raised ZeroDivisionError"),
    "read hangs": ({"read": "time.sleep(2)"}, "read did not return"),
    "read returns a list": ({"read": "return [1.0]"}, "read returns list, not a dict"),
    "undeclared channel": ({"read": "return {'wall': 1.0, 'gpu:7': 1.0}"}, "gives gpu:7, which probe does not declare"),
    "missing channel": ({"read": "return {}"}, "read does not give wall"),
    "NaN": ({"read": "return {'wall': float('nan')}"}, "read gave nan for wall"),
    "text": ({"read": "return {'wall': '5'}"}, "read gave '5' for wall"),
    "negative": ({"read": "return {'wall': -1.0}"}, "read gave -1.0 for wall"),
    "falls": ({"read": "return {'wall': 1e6 - time.monotonic()}"}, "a counter that wraps says where"),
    "millijoules": ({"read": "return {'wall': 1e5 * time.monotonic()}"}, "are these joules?"),
    "milliwatts": (
        {"probe": "return [Channel(id='wall', component='wall', kind='power', unit='W')]",
         "read": "return {'wall': 250000.0}"},
        "are these watts?",
    ),
    "close raises": ({"close": "1 / 0"}, "close raised ZeroDivisionError"),
    "close only once": (
        {"close": "self.n = getattr(self, 'n', 0) + 1\nif self.n > 1:\n    raise OSError('closed')"},
        "a second close raised OSError: closed",
    ),
    "describe returns text": ({"describe": "return 'me'"}, "describe returns str, not a dict"),
    "describe returns what JSON cannot hold": ({"describe": "return {'x': object()}"}, "what JSON cannot hold"),
    "stream ends": (
        {"probe": INTERVAL, "read": "return {}", "stream": "yield IntervalRecord(1.0, 2.0, {'wall': 1.0})"},
        "its stream ended before close was called",
    ),
    "stream raises": (
        {"probe": INTERVAL, "read": "return {}", "stream": "1 / 0\nyield"},
        "stream raised ZeroDivisionError",
    ),
    "stream yields nothing": (
        {"probe": INTERVAL, "read": "return {}", "stream": "time.sleep(2)\nyield"},
        "its stream yielded 0 records in 0.3 s",
    ),
    "stream goes on": (
        {"probe": INTERVAL, "read": "return {}",
         "stream": RECORDS.replace('not getattr(self, "closed", False)', "time.sleep(0) is None")},
        "its stream goes on after close",
    ),
    "records overlap": (
        {"probe": INTERVAL, "read": "return {}", "close": "self.closed = True",
         "stream": RECORDS.replace("start_s = end_s", "start_s = end_s - 0.01")},
        "overlap",
    ),
    "records on another clock": (
        {"probe": INTERVAL, "read": "return {}", "close": "self.closed = True",
         "stream": RECORDS.replace("IntervalRecord(start_s, end_s", "IntervalRecord(1e9 + start_s, 1e9 + end_s")},
        "times are time.monotonic()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_meter_that_breaks_the_contract_is_told_in_a_sentence(what: str, tmp_path: Path) -> None:
    methods, sentence = BROKEN[what]
    meter = make(tmp_path, meter_source("plug", **methods))
    try:
        with pytest.raises(AssertionError, match=re.escape(sentence)):
            check_meter(meter, seconds=0.08)
    finally:
        meter.closed = True  # type: ignore[attr-defined]


def test_options_that_accept_any_key_are_refused(tmp_path: Path) -> None:
    source = meter_source("plug").replace(
        "class Plug", "import msgspec\nclass O(msgspec.Struct):\n    x: int = 1\nclass Plug"
    )
    source = source.replace('name = "plug"', 'name = "plug"\n    Options = O')
    with pytest.raises(AssertionError, match="forbid_unknown_fields"):
        check_meter(make(tmp_path, source))


def test_a_meter_without_a_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="plug has no summary"):
        check_meter(make(tmp_path, meter_source("plug").replace('summary = "A plug-in for tests"', "")))


def test_what_is_no_meter_is_refused() -> None:
    with pytest.raises(AssertionError, match="int is not a Meter"):
        check_meter(5)  # type: ignore[arg-type]
