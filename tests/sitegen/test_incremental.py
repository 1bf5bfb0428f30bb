"""A second build makes only what has changed, and ends where a build from nothing would."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmjoules.records.record import Record, Run, encode
from llmjoules.sitegen import inputs
from llmjoules.sitegen.block import read_block
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.inputs import read_inputs
from tests.builders import make_run
from tests.sitegen.html import Html, pages
from tests.sitegen.inputs import everything, failed, published, runs, write

STEPS = (
    "new setting", "repeat", "new file", "torn line", "mend it", "same id", "failed", "published", "fewer pages",
    "more pages", "rewritten", "file gone", "page deleted", "cache deleted", "owner's words", "owner's template",
)  # fmt: skip


def tree(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in sorted(site.rglob("*")) if p.is_file()}


def places(site: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file."""
    found = {p.relative_to(site).as_posix(): p.stat() for p in site.rglob("*") if p.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def append(file: Path, *lines: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("ab") as stream:
        stream.writelines(lines)


def one(number: int, **changes: Any) -> Run:
    return make_run(id=f"run-{number}", repeat=number, load=f"load-{number}", inference_w=40 + number, **changes)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """About three runs to a block, so that small results have several."""
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 15_000)


class Story:
    """Results that grow, shrink and break, and the options of the next build."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.results, self.site = folder / "results", folder / "site"
        self.count, self.most, self.chance = 3, 100, random.Random(seed)
        write(self.results / "a.jsonl", [one(n) for n in range(3)])

    def go_on(self, step: str) -> None:
        self.count += 1
        file = self.chance.choice(sorted(self.results.glob("*.jsonl")))
        line = encode(one(self.count)) + b"\n"
        lines = {
            "new setting": encode(one(self.count, threads=self.count, model="B-model")) + b"\n",
            "repeat": line,
            "torn line": line[:300],
            "mend it": b"\n" + line,
            "same id": encode(one(0, model="Late")) + b"\n",
            "failed": encode(failed()) + b"\n",
            "published": encode(published()) + b"\n",
        }
        if step in lines:
            append(file, lines[step])
        elif step in ("fewer pages", "more pages"):
            self.most = 2 if step == "fewer pages" else 100
        else:
            self.meddle(step, file)

    def meddle(self, step: str, file: Path) -> None:
        if step == "new file":
            write(self.results / f"{self.count}.jsonl", [one(self.count, system="Other")])
        elif step == "rewritten":
            write(file, [one(self.count, threads=2)])
        elif step == "file gone" and len(list(self.results.glob("*.jsonl"))) > 1:
            file.unlink()
        elif step == "page deleted":
            self.chance.choice(sorted(self.site.rglob("*.*ml"))).unlink()
        elif step == "owner's words":
            words = (
                f"notes = ['{self.count}']\ntemplates = 'look'\n[limits]\npower_w = {self.chance.randrange(35, 60)}\n"
            )
            (self.results.parent / "look").mkdir(exist_ok=True)
            (self.results.parent / "site.toml").write_text(words)
        elif step == "owner's template":
            self.meddle("owner's words", file)
            block = f'{{% extends "llmjoules/base.html" %}}{{% block footer %}}{self.count}{{% endblock %}}'
            (self.results.parent / "look" / "base.html").write_text(block)
        elif step == "cache deleted":
            shutil.rmtree(self.site.parent / ".site-cache")

    def build(self, out: Path, plotly: Path) -> dict[str, bytes]:
        build_site([self.results], out, plotly_js=plotly, max_run_pages=self.most)
        return tree(out)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STEPS), min_size=5, max_size=6), st.integers(0, 9))
def test_building_again_ends_where_a_build_from_nothing_does(
    tmp_path_factory: pytest.TempPathFactory, plotly_stub: Path, steps: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("story")
    story = Story(folder, seed)
    story.build(story.site, plotly_stub)
    for step in steps:
        story.go_on(step)
        again = story.build(story.site, plotly_stub)
    assert again == story.build(folder / "anew", plotly_stub)
    shutil.rmtree(folder)


@pytest.mark.parametrize("most", [1, 100])
def test_where_nothing_has_changed_no_file_is_touched(tmp_path: Path, plotly_stub: Path, most: int) -> None:
    results, site = everything(tmp_path / "results"), tmp_path / "site"
    told: list[list[Any]] = [[], []]
    reports = []
    for bad in told:
        reports.append(build_site([results], site, plotly_js=plotly_stub, max_run_pages=most, on_bad=bad.append))
        before = places(site)
    assert places(site) == before
    assert told[0] == told[1] != []
    assert reports[0] == reports[1]


PLUG_IN = """
from pathlib import Path
from llmjoules.sitegen.extra import ExtraPage
from llmjoules.sitegen.hookspecs import hookimpl
@hookimpl
def llmjoules_site_pages(results):
    words = Path(__file__).with_name("words.txt").read_text()
    return [ExtraPage("mine.html", "Mine", "A page of mine", f"<p>{words}</p>")]
"""


def test_a_plug_in_edited_in_place_is_asked_again(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code, what it reads, and the error that it then raises; its version stays as it was."""
    package = tmp_path / "installed"
    write_plug_in(package)
    monkeypatch.syspath_prepend(package)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    results, site = write(tmp_path / "r.jsonl", runs()), tmp_path / "site"
    edits = (
        ("words.txt", "first words"),
        ("words.txt", "other words"),
        ("edited_plug_in.py", PLUG_IN.replace("A page of mine", "Another title")),
        ("edited_plug_in.py", PLUG_IN.replace('"Mine"', '"Yours"')),
        ("edited_plug_in.py", PLUG_IN.replace("return [", "raise LookupError('<b>gone')\n    [")),
        ("edited_plug_in.py", PLUG_IN.replace("A page", "\\ud800")),  # half a pair of surrogates
    )
    shown = []
    for number, (name, content) in enumerate(edits):
        (package / name).write_text(content)
        for out in (site, tmp_path / f"anew{number}"):
            sys.modules.pop("edited_plug_in", None)
            build_site([results], out, plotly_js=plotly_stub)
        shown.append(tree(site))
        assert shown[-1] == tree(tmp_path / f"anew{number}")
        before = places(site)
        build_site([results], site, plotly_js=plotly_stub)
        assert places(site) == before
    sys.modules.pop("edited_plug_in")
    pages_ = [files.get("mine.html", b"") for files in shown]
    assert [b"other words" in page for page in pages_] == [False, True, True, True, False, False]
    assert b"LookupError: &lt;b&gt;gone" in shown[4]["health.html"]
    assert b"surrogates" in shown[5]["health.html"]


def write_plug_in(package: Path) -> None:
    info = package / "edited_plug_in-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "edited_plug_in.py").write_text(PLUG_IN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edited_plug_in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llmjoules.site_pages]\nedited = edited_plug_in\n")


def test_one_more_run_touches_what_shows_it_and_nothing_else(tmp_path: Path, plotly_stub: Path) -> None:
    results, site = tmp_path / "results", tmp_path / "site"
    for name in ("A", "B", "C"):
        write(results / f"{name}.jsonl", runs(model=f"{name}-model", system=f"System {name}", name=name))
    build_site([results], site, plotly_js=plotly_stub)
    before = places(site)
    append(results / "B.jsonl", encode(one(9, model="B-model", system="System B", threads=1)) + b"\n")
    build_site([results], site, plotly_js=plotly_stub)
    touched = {name for name, place in places(site).items() if before.get(name) != place}
    assert any("b-model" in name for name in touched)
    assert not [name for name in touched if re.search(r"[ac]-model|system-[ac]|assets|methods", name)]


def test_one_more_run_reads_only_the_last_block_of_its_file(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, site = write(tmp_path / "r.jsonl", [one(n) for n in range(30)]), tmp_path / "site"
    build_site([file], site, plotly_js=plotly_stub, max_run_pages=5)
    blocks = len(read_inputs([file], {}).blocks)
    assert blocks > 4
    append(file, encode(one(31)) + b"\n")
    read: list[int] = []
    monkeypatch.setattr("llmjoules.sitegen.workers.read_block", lambda *job: read.append(1) or read_block(*job))
    build_site([file], site, plotly_js=plotly_stub, max_run_pages=5)
    assert len(read) <= 2 < blocks


def test_helpers_make_the_same_site_as_one_process(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = everything(tmp_path / "results")
    trees = []
    for helpers in (0, 2):
        monkeypatch.setattr("llmjoules.sitegen.workers.WORTH_HELPERS_BYTES", 0)
        monkeypatch.setattr("llmjoules.sitegen.workers.os.sched_getaffinity", lambda _, n=helpers: range(n + 1))
        build_site([results], tmp_path / f"site{helpers}", plotly_js=plotly_stub, max_run_pages=7)
        trees.append(tree(tmp_path / f"site{helpers}"))
    assert trees[0] == trees[1]


@given(st.lists(st.integers(0, 40_000), max_size=12), st.integers(0, 3))
def test_blocks_are_whole_lines_and_stay_when_a_file_grows(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], more: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "blocks.jsonl"
    lines = [b"x" * length + b"\n" for length in lengths]
    file.write_bytes(b"".join(lines))
    before = read_inputs([file], {}).blocks
    data = file.read_bytes()
    pieces = [data[block.start : block.end] for block in before]
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [block.before for block in before] == [data[: block.start].count(b"\n") for block in before]
    assert [block.sha256 for block in before] == [hashlib.sha256(piece).hexdigest() for piece in pieces]
    seen = read_inputs([file], {}).seen
    append(file, *[b"y" * 20_000 + b"\n"] * more)
    grown = read_inputs([file], {}).blocks
    assert grown[: max(len(before) - 1, 0)] == before[:-1]
    assert read_inputs([file], seen).blocks == grown
    if before:  # something else at the same place, in a file that has grown
        file.write_bytes(b"z" + file.read_bytes()[1:])
        assert read_inputs([file], seen).blocks == read_inputs([file], {}).blocks != grown


def test_the_downloads_are_the_records_and_their_checksums_are_right(tmp_path: Path, plotly_stub: Path) -> None:
    results, site = everything(tmp_path / "results"), tmp_path / "site"
    build_site([results], site, plotly_js=plotly_stub)
    folder = site / "downloads"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    files = sorted(folder.glob("*.jsonl.zst"))
    assert len(files) == 4
    lines = [line for file in results.glob("*.jsonl") for line in file.read_bytes().splitlines() if line.endswith(b"}")]
    # Another reader of the format: DuckDB's own zstd.
    found = duckdb.sql(f"SELECT id FROM read_json('{folder}/*.jsonl.zst', union_by_name=true)").fetchall()
    assert sorted(id_ for (id_,) in found) == sorted(json.loads(line)["id"] for line in lines)
    assert json.loads((folder / "schema.json").read_text())["title"] == "llmjoules record"


def test_lines_that_are_no_records_are_not_given_away(tmp_path: Path, plotly_stub: Path) -> None:
    secret = b'{"password": "hunter2"}\n'
    file = write(tmp_path / "r.jsonl", [one(1)], secret + encode(one(2)) + b"\n" + secret)
    build_site([file], tmp_path / "site", plotly_js=plotly_stub)
    (made,) = (tmp_path / "site" / "downloads").glob("*.jsonl.zst")
    import pyarrow

    with pyarrow.input_stream(str(made), compression="zstd") as stream:
        text = stream.read()
    assert text == encode(one_like(file, 0)) + b"\n" + encode(one_like(file, 2)) + b"\n"


def one_like(file: Path, line: int) -> Record:
    return msgspec.json.decode(file.read_bytes().splitlines()[line], type=Run, strict=False)


def test_the_best_and_the_newest_have_pages_and_all_others_can_be_drawn(tmp_path: Path, plotly_stub: Path) -> None:
    """B costs least, the runs of March are the newest."""
    records = [one(n, started_at=f"2026-0{n + 1}-01T00:00:00.000Z") for n in range(3)]
    best = make_run(id="best", model="B-model", inference_w=1.0, started_at="2020-01-01T00:00:00.000Z")
    site = tmp_path / "site"
    build_site([write(tmp_path / "r.jsonl", [*records, best])], site, plotly_js=plotly_stub, max_run_pages=2)
    titles = [page.heading for page in pages(site / "runs") if page.path.name != "index.html"]
    assert len(titles) == 2
    assert any("B-model" in title for title in titles)
    assert any("84.0 J" in title for title in titles)  # 42 W for 2 s: the run of March
    where = "".join(path.read_text() for path in sorted((site / "data" / "where").iterdir()))
    assert where.count("llama-tiny") == 3
    links = [
        a["href"] for tag, a in Html(site / "runs" / "index.html").tags if tag == "a" and "run" in a.get("href", "")
    ]
    assert sum("../run.html#id=" in link for link in links) == 2
    assert sum("../runs/" in link for link in links) >= 2
