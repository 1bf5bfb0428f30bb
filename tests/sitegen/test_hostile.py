"""Names from records are text, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmjoules.records.record import Accelerator, MeterInfo
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.render import environment
from llmjoules.sitegen.text import file_name
from tests.builders import RAPL, make_run
from tests.sitegen.html import pages
from tests.sitegen.inputs import failed, published, write

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<a href='javascript:alert(1)'>x</a>",
    "{{ 7*7 }}{% raw %}",
    "../../../etc/passwd",
    "..\\..\\windows",
    "a\u202egnp.exe\u2066",
    "x" * 10_000,
    "\x00\x1b[31mred",
    "<!--",
    "]]>",
    "/",
    "con.html",
    " ",
]


def hostile_records(name: str) -> list[Any]:
    """The name in every field that is free text."""
    run = make_run(model=name, system=name, load=name, id=f"{name}#run", started_at=name, command=name, flags=(name,))
    channel = msgspec.structs.replace(RAPL.channels[0], id=name, note=name, uuid=name)
    run.meters = (MeterInfo(name=name, channels=(channel,), options={name: name}),)
    run.software = {name: name}
    run.model = msgspec.structs.replace(run.model, architecture=name, dtype=name, revision=name)
    run.workload = msgspec.structs.replace(run.workload, decoding=name, prompt_sha256=name)
    run.system = msgspec.structs.replace(
        run.system, cpu=name, os=name, device=name, strategy=name, device_map={name: name},
        accelerators=(Accelerator(name=name),),
    )  # fmt: skip
    run.totals = {name: msgspec.structs.replace(run.totals["cpu"], channels=(name,)), **run.totals}
    run.trace = msgspec.Raw(bytes(run.trace).replace(b'"cpu:0"', json.dumps(name).encode()))
    bad = failed(name)
    bad.id = f"{name}#failed"
    bad.model = run.model
    figure = published()
    figure.source = name
    figure.system = msgspec.structs.replace(figure.system, name=name)
    return [run, make_run(model=name, system=name, id=f"{name}#2", threads=2), bad, figure]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_inert(tmp_path: Path, plotly_stub: Path, name: str) -> None:
    build_site([write(tmp_path / "in" / "r.jsonl", hostile_records(name))], tmp_path / "site", plotly_js=plotly_stub)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".site-cache", "in", "site"]
    for path in (tmp_path / "site").rglob("*"):
        assert all(c.isalnum() or c in "-._" for c in path.name), path
        assert len(path.name) < 80
    for page in pages(tmp_path / "site"):
        for tag, attributes in page.tags:
            assert tag not in {"img", "iframe", "object", "base"}, page.path
            assert "action" not in attributes, page.path
            assert not [a for a in attributes if a.startswith("on") or a == "style"], page.path
            assert tag != "script" or "src" in attributes or attributes.get("type") == "application/json"
            assert not attributes.get("href", "").lower().startswith(("javascript:", "data:", "/"))
        for script in page.scripts:
            assert not script or json.loads(script)
        assert not set("\u202e\u2066\x00\x1b") & set(page.text), page.path
        assert len(page.heading) < 300
        assert "49" not in page.heading


def test_plot_labels_cannot_make_links(tmp_path: Path, plotly_stub: Path) -> None:
    """Plotly turns <a>, <b> and the like in labels into links and styles, so those must not reach it."""
    name = "<a href='x'><b>"
    records = [make_run(model=name + m, system=name, threads=n, id=f"{m}{n}") for n in (1, 2) for m in "mn"]
    build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site", plotly_js=plotly_stub)
    data = [script for page in pages(tmp_path / "site") for script in page.scripts if script]
    labels = " ".join(json.dumps(json.loads(script)) for script in data)
    assert "&lt;a" in labels
    assert "<a" not in labels
    assert "<b>" not in labels


def test_data_in_a_page_cannot_end_its_block_and_holds_no_nan() -> None:
    template = environment().from_string('<script type="application/json">{{ value|data }}</script>')
    value = {"</script><script>": ["<!--", "&amp;", "'\""]}
    page = template.render(value=value)
    assert page.count("<") == 2
    assert json.loads(page.partition(">")[2].rpartition("<")[0]) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        template.render(value=float("nan"))


@pytest.mark.parametrize("number", ["1e308", "5e-324", "0", "123456789012345678901234567890"])
def test_absurd_numbers_break_no_page(tmp_path: Path, plotly_stub: Path, number: str) -> None:
    lines = []
    for i in range(3):
        record = msgspec.json.decode(msgspec.json.encode(make_run(id=f"r{i}", load=f"l{i}", threads=i)))
        total = {"joules": "N", "uncertainty_j": "N", "source": "measured", "channels": ["cpu:0"]}
        record["totals"] = {"cpu": total}
        record["model"]["parameters"] = 2**64
        record["phases"][0]["energy"] = [{"channel": "cpu:0", "joules": "N", "uncertainty_j": "N"}]
        record["phases"][0]["end_s"] = "N"
        record["tokens"]["times_s"] = ["N", "N"]
        energy = record["phases"][0]["energy"]
        record["phases"].append({"name": "idle-after", "start_s": 1, "end_s": "N", "energy": energy})
        record["warm_up"] = {
            "rule": "auto",
            "ended": "settled",
            "calls": [{"start_s": 0, "end_s": "N", "energy": energy} for _ in range(5)],
        }
        record["replays"] = [{"name": name, "context_tokens": 7, "energy": energy} for name in ("prefill", "decode")]
        record["conditions"] = {
            "at_s": "N",
            "start_delay_s": "N",
            "cool_down": {"limit_s": "N", "waited_s": "N", "outcome": "cool"},
            "temperatures_c": {"cpu": "N"},
            "other_cpus": {"idle": "N"},
        }
        lines.append(json.dumps(record).replace('"N"', number))
    file = tmp_path / "in" / "r.jsonl"
    file.parent.mkdir()
    file.write_text("\n".join(lines) + "\n")
    report = build_site([file], tmp_path / "site", plotly_js=plotly_stub)
    assert report.runs == 3
    for page in pages(tmp_path / "site"):
        assert not {"nan", "inf", "-inf"} & set(page.text.lower().split()), page.path


def test_a_lone_surrogate_breaks_no_page(tmp_path: Path, plotly_stub: Path) -> None:
    line = msgspec.json.encode(make_run(model="MODEL")).replace(b"MODEL", b"\\ud800x")
    file = write(tmp_path / "in" / "r.jsonl", [make_run(id="fine")], line + b"\n")
    build_site([file], tmp_path / "site", plotly_js=plotly_stub)
    assert pages(tmp_path / "site")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_name_becomes_a_plain_file_name(name: str) -> None:
    made = file_name(name, name)
    assert made.isascii()
    assert all(c.isalnum() or c == "-" for c in made)
    assert 0 < len(made) < 80


def test_names_that_look_alike_get_different_files() -> None:
    assert len({file_name(name, name) for name in ("a/b", "a-b", "A b", "a\u202eb")}) == 4
