"""Where meters come from, and that no plug-in takes the registry down: it is named in the faults, the others go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from llmjoules.meters import guard
from llmjoules.meters.choice import probe
from llmjoules.meters.listing import list_meters
from llmjoules.meters.registry import GROUP, Registry
from llmjoules.records.errors import LlmjoulesError
from tests.meters.plugins import HEAD, HOOK, meter_source, plugin

ROOT = Path(__file__).parents[2]
GOOD = meter_source("good")


def test_our_own_meters_come_through_the_entry_point_group() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    assert {name: installed.get(name) for name in declared} == declared
    registry = Registry()
    assert {name for name, entry in registry.entries.items() if entry.origin == "llmjoules"} == set(declared)
    assert registry.faults == []


def test_a_file_named_with_plugin_is_registered_with_its_path_as_origin(tmp_path: Path) -> None:
    path = plugin(tmp_path, "good", GOOD)
    registry = Registry([path])
    assert registry.entries["good"].origin == str(path)
    assert registry.make("good").read()["wall"] > 0


def test_a_file_that_does_not_exist_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match=r"No plug-in at .*nowhere\.py"):
        Registry([tmp_path / "nowhere.py"])


BROKEN = {
    "raises on import": ("1 / 0", "importing it raised ZeroDivisionError"),
    "is no Python": ("def (", "importing it raised SyntaxError"),
    "exits on import": ("import sys; sys.exit(3)", "importing it raised SystemExit: 3"),
    "is interrupted on import": ("raise KeyboardInterrupt", "importing it raised KeyboardInterrupt"),
    "misspells the hook": (GOOD.replace("llmjoules_meters", "llmjoules_metres"), "llmjoules_metres"),
    "forgets the mark": (GOOD.replace("@hookimpl", ""), "no hook llmjoules_meters"),
    "asks for arguments": (GOOD.replace("llmjoules_meters()", "llmjoules_meters(config)"), "config"),
    "returns None": (GOOD.replace("return [Plug]", "return None"), "no hook llmjoules_meters"),
    "returns a class": (GOOD.replace("return [Plug]", "return Plug"), "llmjoules_meters raised TypeError"),
    "returns no meter": (GOOD.replace("return [Plug]", "return [int]"), "int is not a Meter class"),
    "returns an object": (GOOD.replace("return [Plug]", "return [Plug()]"), "object of type Plug is not a Meter class"),
    "has no name": (GOOD.replace('name = "good"', ""), "Plug is not a Meter class with a name"),
    "has a number for a name": (GOOD.replace('name = "good"', "name = 5"), "Plug is not a Meter class with a name"),
    "has rubbish for options": (
        GOOD.replace('name = "good"', 'name = "good"\n    Options = dict'),
        "Options of its meter 'good' is not a msgspec.Struct",
    ),
    "raises in the hook": (GOOD.replace("return [Plug]", "raise OSError('no bus')"), "OSError: no bus"),
    "exits in the hook": (GOOD.replace("return [Plug]", "sys.exit()"), "raised SystemExit"),
    "takes the name of ours": (GOOD.replace('"good"', '"mock"'), "llmjoules has one of that name"),
    "raises when a name is looked up": (
        GOOD + "\ndef __getattr__(name): raise OSError('no ' + name)\ndef __dir__(): return ['gone']\n",
        "no hook llmjoules_meters",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_plugin_that_is_broken_is_named_and_the_others_go_on(what: str, tmp_path: Path) -> None:
    source, why = BROKEN[what]
    bad, other = plugin(tmp_path, "bad", source), plugin(tmp_path, "other", meter_source("other"))
    registry = Registry([bad, other])
    assert [fault.where for fault in registry.faults] == [str(bad)]
    assert why in registry.faults[0].why
    assert "other" in registry.entries
    assert {"rapl", "estimate", "mock"} <= set(registry.entries)


def test_a_plugin_that_hangs_on_import_is_named_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALL_LIMIT_S", 0.3)
    bad = plugin(tmp_path, "bad", "import time; time.sleep(5)")
    registry = Registry([bad, plugin(tmp_path, "other", meter_source("other"))])
    assert [str(fault) for fault in registry.faults] == [f"{bad}: importing it did not return within 0.3 s"]
    assert "other" in registry.entries


def test_of_two_plugins_with_one_name_the_first_is_kept(tmp_path: Path) -> None:
    first, second = plugin(tmp_path, "first", GOOD), plugin(tmp_path, "second", GOOD)
    registry = Registry([first, second])
    assert registry.entries["good"].origin == str(first)
    assert [fault.where for fault in registry.faults] == [str(second)]


def test_a_plugin_with_a_good_and_a_bad_meter_keeps_the_good_one(tmp_path: Path) -> None:
    path = plugin(tmp_path, "half", GOOD.replace("return [Plug]", "return [Plug, 5]"))
    registry = Registry([path])
    assert "good" in registry.entries
    assert [fault.where for fault in registry.faults] == [str(path)]


def test_an_unknown_meter_names_the_nearest() -> None:
    with pytest.raises(LlmjoulesError, match="Unknown meter: estimat") as caught:
        Registry().make("estimat")
    assert caught.value.why == "The nearest known name is estimate."


def test_an_unknown_meter_that_resembles_none_names_all() -> None:
    with pytest.raises(LlmjoulesError) as caught:
        Registry().make("qqqq")
    assert all(name in caught.value.why for name in ("rapl", "estimate", "mock"))


def test_an_unknown_meter_tells_which_plugins_were_left_out(tmp_path: Path) -> None:
    bad = plugin(tmp_path, "wall", "1 / 0")
    with pytest.raises(LlmjoulesError) as caught:
        Registry([bad]).make("wall-plug")
    assert f"{bad}: importing it raised ZeroDivisionError" in caught.value.why


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(LlmjoulesError, match=r"Unknown option: mock\.sed") as caught:
        Registry().make("mock", {"sed": 1})
    assert caught.value.why == "The nearest known name is seed."


def test_a_meter_without_options_refuses_any(tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match=r"Unknown option: good\.port") as caught:
        Registry([plugin(tmp_path, "good", GOOD)]).make("good", {"port": 1})
    assert caught.value.why == "Known: none."


def test_options_of_a_plugin_are_typed(tmp_path: Path) -> None:
    source = GOOD.replace("class Plug", "import msgspec\nclass O(msgspec.Struct):\n    port: int = 1\nclass Plug", 1)
    path = plugin(tmp_path, "good", source.replace('name = "good"', 'name = "good"\n    Options = O'))
    registry = Registry([path])
    assert registry.make("good", {"port": 7}).options.port == 7
    with pytest.raises(LlmjoulesError, match="Bad option for meter good"):
        registry.make("good", {"port": "seven"})


PROBES = {
    "raises": ("raise OSError('no bus')", "probe raised OSError: no bus"),
    "exits": ("sys.exit(1)", "probe raised SystemExit: 1"),
    "hangs": ("time.sleep(5)", "probe did not return within 0.3 s"),
    "gives nothing": ("pass", "probe returned NoneType"),
    "gives an empty list": ("return []", "no channel"),
    "gives text": ("return 'wall'", "str among its channels"),
    "gives a dict": ("return {'wall': 1}", "str among its channels"),
    "gives a generator that raises": (
        "yield Channel(id='wall', component='wall', kind='counter')\n1 / 0",
        "ZeroDivision",
    ),
    "gives one id twice": ("return [Channel(id='wall', component='wall', kind='counter')] * 2", "same id"),
    "gives a component that there is not": (
        "return [Channel(id='wall', component='socket', kind='counter')]",
        "bad channel",
    ),
    "gives text for a period": (
        "return [Channel(id='wall', component='wall', kind='counter', period_s='fast')]",
        "bad channel",
    ),
    "gives a period without end": (
        "return [Channel(id='wall', component='wall', kind='counter', period_s=float('inf'))]",
        "bad channel",
    ),
    "gives a resolution that is no number": (
        "return [Channel(id='wall', component='wall', kind='counter', resolution=float('nan'))]",
        "bad channel",
    ),
    "gives a counter in watts": (
        "return [Channel(id='wall', component='wall', kind='counter', unit='W')]",
        "of kind counter in W",
    ),
    "gives power in joules": ("return [Channel(id='wall', component='wall', kind='power')]", "of kind power in J"),
}


@pytest.mark.parametrize("what", PROBES)
def test_a_probe_that_misbehaves_is_listed_with_the_reason(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, why = PROBES[what]
    monkeypatch.setattr(guard, "CALL_LIMIT_S", 0.3)
    path = plugin(tmp_path, "bad", meter_source("bad", probe=body))
    with pytest.raises(guard.PluginFault) as caught:
        probe(Registry([path]).make("bad"))
    assert why in caught.value.fault.why
    listed, faults = list_meters([path])
    row = next(row for row in listed if row.name == "bad")
    assert not row.available
    assert why in row.what
    assert faults == []
    assert next(row for row in listed if row.name == "estimate").available


def test_a_probe_may_be_a_generator(tmp_path: Path) -> None:
    body = "yield Channel(id='wall', component='wall', kind='counter')"
    path = plugin(tmp_path, "good", meter_source("good", probe=body))
    assert [channel.id for channel in probe(Registry([path]).make("good"))] == ["wall"]


def test_a_meter_that_is_unavailable_says_what_why_and_what_to_do(tmp_path: Path) -> None:
    path = plugin(
        tmp_path, "off", meter_source("off", probe="raise Unavailable('No plug.', 'It is off.', 'Switch it on.')")
    )
    row = next(row for row in list_meters([path])[0] if row.name == "off")
    assert (row.available, row.what, row.why, row.fix) == (False, "No plug.", "It is off.", "Switch it on.")


CHILD = """
import json
from llmjoules.meters.registry import Registry
registry = Registry()
print(json.dumps([{name: entry.origin for name, entry in registry.entries.items()}, list(map(str, registry.faults))]))
"""


def test_a_package_of_others_is_found_through_its_entry_point(tmp_path: Path) -> None:
    """One that works and one that cannot even be imported, installed as pip would: a folder and its dist-info."""
    for package, source in {"acme_wall": meter_source("acme"), "broken_wall": "import nothing_of_that_name"}.items():
        plugin(tmp_path, package, source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\nwall = {package}\n")
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    entries, faults = json.loads(done.stdout)
    assert entries["acme"] == "acme-wall (wall)"
    assert entries["rapl"] == "llmjoules"
    assert len(faults) == 1
    assert faults[0].startswith("broken-wall (wall): importing it raised ModuleNotFoundError")


def test_a_package_with_broken_metadata_does_not_hide_the_meters_of_others(tmp_path: Path) -> None:
    info = tmp_path / "torn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nwall nothing\n")
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    entries, faults = json.loads(done.stdout)
    assert {"rapl", "estimate", "mock"} <= set(entries)
    assert [fault.partition(":")[0] for fault in faults] == ["entry points of installed packages"]


def test_importing_our_meters_loads_no_vendor_library() -> None:
    code = "import sys; from llmjoules.meters.registry import Registry; Registry(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"pynvml", "pyJoules", "torch", "numpy"} & set(done.stdout.split())


def test_the_parts_of_a_plugin_for_tests_make_a_good_one(tmp_path: Path) -> None:
    assert HEAD in GOOD
    assert GOOD.endswith(HOOK)
    assert Registry([plugin(tmp_path, "good", GOOD)]).faults == []
