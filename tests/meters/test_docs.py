"""The pages about meters: the example runs, the page shows that very file, and nothing is left out."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.meters import IntervalRecord, Meter
from llmjoules.meters.choice import probe
from llmjoules.meters.listing import list_meters
from llmjoules.meters.mock import MockChannel
from llmjoules.meters.monitor import Monitor
from llmjoules.meters.registry import Registry
from llmjoules.meters.testing import check_meter
from llmjoules.records.record import Channel

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "wall_plug.py"
PLUGINS = (DOCS / "plugins.md").read_text(encoding="utf-8")
METERS = (DOCS / "meters.md").read_text(encoding="utf-8")


def ours() -> dict[str, type[Meter]]:
    return {name: entry.meter for name, entry in Registry().entries.items() if entry.origin == "llmjoules"}


def test_the_example_is_under_40_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40


def test_the_page_shows_the_file_of_the_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PLUGINS, re.DOTALL)
    assert EXAMPLE.read_text() in blocks


def test_every_python_block_of_the_page_runs(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PLUGINS, re.DOTALL):
        exec(block, names)
    names["test_the_wall_plug_keeps_the_contract"](tmp_path)


def test_the_example_keeps_the_contract(tmp_path: Path) -> None:
    total = tmp_path / "total_wh"
    total.write_text("12.500\n")
    registry = Registry([EXAMPLE])
    assert registry.faults == []
    (channel,) = check_meter(registry.make("wall-plug", {"path": str(total)}), seconds=0.1)
    assert channel.id == "wall"


def test_the_example_measures(tmp_path: Path) -> None:
    """1800 W from the outlet: half a watt-hour a second."""
    total, stop, begun_s = tmp_path / "total_wh", threading.Event(), time.monotonic()

    def log() -> None:
        while not stop.wait(0.01):
            (tmp_path / "next").write_text(f"{12.5 + 0.5 * (time.monotonic() - begun_s):.6f}\n")
            os.replace(tmp_path / "next", total)  # noqa: PTH105 - readers never see half a file

    total.write_text("12.5\n")
    logger = threading.Thread(target=log)
    logger.start()
    try:
        options = {"wall-plug": {"path": str(total)}}
        with Monitor(["wall-plug"], plugins=[EXAMPLE], options=options) as monitor:
            with monitor.window("work") as window:
                time.sleep(1.1)
            joules = window.joules("wall")
    finally:
        stop.set()
        logger.join()
    assert joules == pytest.approx(1800 * (window.end_s - window.start_s), abs=3 * window.uncertainty_j("wall"))
    assert joules == pytest.approx(1800 * (window.end_s - window.start_s), rel=0.15)


def test_the_example_without_its_file_says_what_to_do(tmp_path: Path) -> None:
    row = next(row for row in list_meters([EXAMPLE])[0] if row.name == "wall-plug")
    assert not row.available
    assert "No such file" in row.why
    assert "--meter-option wall-plug.path=FILE" in row.fix


def test_every_meter_of_ours_and_each_of_its_options_is_on_the_page() -> None:
    missing = []
    for name, meter in ours().items():
        heading = re.search(rf"^## {re.escape(name)}$(.*?)(?=^## |\Z)", METERS, re.MULTILINE | re.DOTALL)
        if heading is None:
            missing.append(name)
            continue
        options = [field.encode_name for field in msgspec.structs.fields(meter.Options)]
        missing += [f"{name}.{option}" for option in options if f"`{option}`" not in heading.group(1)]
        missing += [
            f"{name}: {row}"
            for row in ("Needs", "Channels", "Options", "Source")
            if f"\n| {row} " not in heading.group(1)
        ]
    assert missing == []


def test_every_meter_on_the_page_is_one_of_ours() -> None:
    assert set(re.findall(r"^## (\S+)$", METERS, re.MULTILINE)) == set(ours())


def test_every_option_of_a_simulated_channel_is_on_the_page() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(MockChannel)]
    assert [name for name in names if f"`{name}`" not in METERS] == []


def test_every_field_of_a_channel_and_member_of_a_meter_is_on_the_page_for_authors() -> None:
    fields = [field.encode_name for field in msgspec.structs.fields(Channel)]
    members = [name for name in vars(Meter) if not name.startswith("_")]
    members += ["name", *IntervalRecord._fields]
    prose = re.sub(r"^```.*?^```$", "", PLUGINS, flags=re.MULTILINE | re.DOTALL)
    text = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert [name for name in (*fields, *members) if name not in text] == []


def test_channels_that_can_be_had_here_are_of_a_unit_that_the_page_names() -> None:
    for name in ("mock", "estimate"):
        for channel in probe(Registry().make(name)):
            assert f"`{channel.id}` ({channel.unit}" in METERS
