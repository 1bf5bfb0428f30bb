"""The study's page: its figures come from the printed table and the author's files, and say what they are."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import msgspec
import pytest

from llmjoules.records.record import Origin, encode
from llmjoules.records.stats import implied_power_w, joules_per_token, tokens_per_s
from llmjoules.sitegen import extra, study
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.cache import program
from llmjoules.sitegen.hotcarbon24.derived import derived
from llmjoules.sitegen.hotcarbon24.recompute import recompute
from llmjoules.sitegen.hotcarbon24.table import printed, records
from tests.builders import ESTIMATE, make_run

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "site" / "results" / "hotcarbon24-table1.jsonl"
TAGS = re.compile(r"<[^>]+>")


def words(body: str) -> str:
    return " ".join(TAGS.sub(" ", body).split())


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip("needs ../shared")
    return SHARED / name


def test_the_published_records_are_what_the_command_makes_of_the_table() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "llmjoules.sitegen.hotcarbon24", "table"], capture_output=True, check=True
    )
    assert made.stdout == RESULTS.read_bytes()


def test_a_record_gives_back_the_printed_figures_and_their_scope() -> None:
    found = dict(zip(printed(), records(), strict=True))
    assert len(found) == 15
    for row, record in found.items():
        assert joules_per_token(record, "gpu") == row.j_per_token
        assert tokens_per_s(record) == row.tokens_per_s
        assert implied_power_w(record, "gpu") == pytest.approx(row.j_per_token * row.tokens_per_s)
        (meter,) = record.meters
        if row.gpus:
            assert [c.source for c in meter.channels] == ["measured"] * row.gpus
        else:
            assert [(c.component, c.source) for c in meter.channels] == [("gpu", "modelled")]
        assert record.totals == {}  # what was printed is not the energy of one inference
        assert record.source.endswith(row.name)


def test_the_printed_figures_are_those_of_the_table() -> None:
    with shared("hotcarbon24/table1.csv").open() as stream:
        expected = [
            (r["model"], 0 if "M1" in r["device"] else int(r["n_devices"]),
             float(r["tokens_per_s"]), float(r["gpu_j_per_token"]), float(r["gpu_j"]))
            for r in csv.DictReader(stream)
        ]  # fmt: skip
    assert [(r.model, r.gpus, r.tokens_per_s, r.j_per_token, r.joules) for r in printed()] == expected


def test_every_row_is_recomputed_and_comes_out_to_a_thousandth() -> None:
    by_file = {row.file: row for row in printed()}
    assert [found.file for found in derived().rows] == [row.file for row in printed()]
    for found in derived().rows:
        off = 1.5e-3 if found.file == "phi2-cuda-8.csv" else 1e-3  # 4087.1846 J in the file, 4087.186 printed
        assert found.table_joules == pytest.approx(by_file[found.file].joules, abs=off)
        assert found.table_tokens_per_s == pytest.approx(by_file[found.file].tokens_per_s, abs=1e-3)


def test_the_stored_figures_are_those_of_the_files() -> None:
    """Of each file that is here: the page's figures against a new computation, and both against an independent one."""
    again = recompute(shared("energy-inference"))
    stored = {row.file: row for row in derived().rows}
    assert len(again.rows) == 6
    assert all(row == stored[row.file] for row in again.rows)
    assert again.idle == derived().idle
    expected = json.loads(shared("EXPECTED.json").read_text())
    for row in again.rows:
        answer = expected[f"energy-inference/hotcarbon24/{row.file}"]
        inference = answer["phases"]["inference"]["gpu_j"]
        assert row.inference_j == pytest.approx(inference["mean"], rel=1e-6)
        assert row.inference_sd_j == pytest.approx(inference["sd"], rel=1e-6)
        assert row.runs == inference["n"]
        if row.board_w:
            assert sum(row.board_w) == pytest.approx(answer["inference"]["mean_power_w_all_gpus"], rel=1e-6)
        else:
            assert row.cpu_j == pytest.approx(answer["phases"]["inference"]["cpu_j_scaled"]["mean"], rel=1e-6)


def test_a_file_with_two_runs_gives_the_sums_worked_out_by_hand(tmp_path: Path) -> None:
    (tmp_path / "llama2-7b-cuda-2.csv").write_text(
        "timestamp;tag;duration;nvidia_gpu_0;nvidia_gpu_1\n"
        "1700000000.0;tokenizer;0.5;10000;20000\n"
        "1700000001.0;pipeline load;10.0;300000;300000\n"
        "1700000011.0;inference;4.0;400000;200000\n"
        "1700000020.0;tokenizer;0.5;10000;20000\n"
        "1700000021.0;pipeline load;10.0;300000;300000\n"
        "1700000031.0;inference;5.0;500000;300000\n"
    )
    (row,) = recompute(tmp_path).rows
    # 30 + 600 + 600 + 30 + 600 + 800 = 2660 J over six rows; inferences of 600 and 800 J, in 4 and 5 s
    assert row.table_joules == pytest.approx(2660 / 6, rel=1e-8)
    assert (row.inference_j, row.runs, row.rows) == (700.0, 2, 6)
    assert row.inference_sd_j == pytest.approx(20000**0.5, rel=1e-8)
    assert row.tokens_per_s == row.table_tokens_per_s == 45.0  # of 50 and 40
    assert row.board_w == (100.0, pytest.approx(250 / 4.5, rel=1e-8))


def test_the_page_says_what_was_found() -> None:
    page = study.page()
    said = words(page.body)
    assert page.title == "One inference of Llama-2 on one A100 took 840.1 J; the study’s table prints 627.6 J"
    assert "15 rows are printed; all of them were recomputed here" in said
    assert "and come out to within 0.0014 J and 0.0006 tokens/s" in said
    assert "(14.423 + 1028.117 + 840.124) / 3 = 627.555 J" in said
    assert "5 × 201.476 = 1007.382 J" in said
    assert "7 of the 9 rows of several GPUs" in said
    # Least: Phi-2 on 2 boards, 51.36 W × 7.989 s over 577.0 J; most: on 8, 7 × 57.89 W × 12.77 s over 5484 J
    assert "Boards that wait account for 71 to 94 % of the rise" in said
    for claim in ("Contradicted.", "Supported.", "Not supported.", "Supported by the files, but not by the table."):
        assert claim in said


def test_boards_and_a_laptops_rail_stand_in_tables_of_their_own() -> None:
    tables = re.findall(r"<table.*?</table>", study.page().body, re.DOTALL)
    boards, rails = tables[:2]
    assert boards.count("<tr>") == 13
    assert rails.count("<tr>") == 4
    assert "M1" not in words(boards)


def test_the_files_bear_on_the_claims_of_all_three_models() -> None:
    said = words(study.page().body)
    # 6061.2 / 840.1, 6070.2 / 586.0, 6328.9 / 912.5 J of one inference
    assert "one inference in the files: Llama-2 × 7.21, Phi-2 × 10.36, Mistral × 6.94" in said
    # 233.2 J in 37.93 s, 36.35 J in 42.59 s
    assert "GPU rail in the files: 6.15 W and 0.85 W. In the files it is 7.2 times." in said
    assert "Runs in the files: 5, 2 and 7 on the laptop, 26 to 52 per model" in said


def test_runs_of_the_same_plan_stand_on_the_page_as_what_they_are(tmp_path: Path) -> None:
    name = "<b>dummy"
    runs = [make_run(model=name, study="paper@1a2b3c4d", load=f"l{n}", repeat=n, meter=ESTIMATE) for n in range(3)]
    runs = [msgspec.structs.replace(run, model=msgspec.structs.replace(run.model, weights="dummy")) for run in runs]
    others = [make_run(model="not of the study", study="another")]
    (tmp_path / "a.jsonl").write_bytes(b"".join(encode(record) + b"\n" for record in [*runs, *others, *records()]))
    (page,) = study.llmjoules_site_pages(extra.Results([tmp_path]))
    assert "&lt;b&gt;dummy" in page.body
    assert "<b>" not in page.body
    assert "dummy weights, estimated" in page.body
    assert "not of the study" not in page.body


def test_there_is_no_page_where_the_studys_records_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        encode(make_run(study="paper@1a2b3c4d")) + b"\nnot a record hotcarbon24-table1\n"
    )
    assert study.llmjoules_site_pages(extra.Results([tmp_path])) == []


def test_records_read_from_the_authors_files_bring_the_page_too(tmp_path: Path) -> None:
    read = Origin(tool="pyJoules log", file="llama2-7b-cuda-4.csv", sha256="0" * 64)
    other = msgspec.structs.replace(read, file="something-cuda-4.csv")
    for origin, pages in ((read, 1), (other, 0)):
        record = msgspec.structs.replace(records()[0], study=None, origin=origin)
        (tmp_path / "a.jsonl").write_bytes(encode(record) + b"\n")
        assert len(study.llmjoules_site_pages(extra.Results([tmp_path]))) == pages


def test_the_page_has_no_script_no_style_and_no_address_but_the_authors() -> None:
    body = study.page().body
    assert not re.search(r"<script|<style|style=|onload|javascript:", body)
    assert set(re.findall(r'(?:href|src)="([^"]*)"', body)) == {"https://github.com/grantwilkins/energy-inference"}


GOOD = """
from llmjoules.sitegen.extra import ExtraPage
from llmjoules.sitegen.hookspecs import hookimpl
@hookimpl
def llmjoules_site_pages(results):
    return [ExtraPage("mine.html", "Mine", "A page of mine", f"<p>{sum(1 for _ in results.records())}</p>")]
"""
BAD = {
    "raises": GOOD.replace("    return", "    raise SystemExit('no <b>page')\n    return"),
    "imports": "import nothing_of_the_kind",
    "nameless": "x = 1",
    "misspelt": GOOD.replace("llmjoules_site_pages", "llmjoules_site_page"),
    "rubbish": GOOD.replace("ExtraPage(", "str(")
    .replace(', "Mine", "A page of mine"', ", 'x', 'y'")
    .split("    return")[0]
    + "    return ['a']\n",
    "leads-out": GOOD.replace("mine.html", "../mine.html"),
    "index": GOOD.replace("mine.html", "index.html"),
}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installed packages with entry points, as pip leaves them."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for name, source in {"good": GOOD, **BAD}.items():
        module = f"site_pages_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(source)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[llmjoules.site_pages]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("site_pages_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("plugins")
def test_a_broken_plug_in_is_named_and_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(encode(make_run()) + b"\n")
    pages, faults = extra.extra_pages(extra.Results([tmp_path / "r.jsonl"]), taken=["index.html"])
    assert [(page.path, page.body) for page in pages] == [("mine.html", "<p>1</p>")]
    assert sorted(fault.split(":")[0] for fault in faults) == sorted(BAD)


@pytest.mark.usefixtures("plugins")
def test_pages_of_plug_ins_are_in_the_navigation_and_faults_on_the_page_of_data_health(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a.jsonl").write_bytes(encode(make_run()) + b"\n")
    without = build_site([tmp_path / "r"], tmp_path / "site")
    home = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert '<a href="mine.html">Mine</a>' in home
    assert "study.html" not in home
    assert not (tmp_path / "site" / "study.html").exists()
    health = (tmp_path / "site" / "health.html").read_text("utf-8")
    for name in BAD:
        assert f"{name}: " in words(health)
    assert "no &lt;b&gt;page" in health

    (tmp_path / "r" / "study.jsonl").write_bytes(RESULTS.read_bytes())
    again = build_site([tmp_path / "r"], tmp_path / "site")
    assert again.published == 15 > without.published == 0
    assert '<a href="study.html">Study</a>' in (tmp_path / "site" / "index.html").read_text("utf-8")
    study_page = (tmp_path / "site" / "study.html").read_text("utf-8")
    assert study_page.count("<h1>") == 1
    assert '<a href="study.html" aria-current="page">Study</a>' in study_page


def test_a_changed_file_in_a_folder_of_the_generator_is_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a new derived.json would leave the old page standing."""
    for room in ("records", "sitegen/hotcarbon24", "templates"):
        (tmp_path / room).mkdir(parents=True)
    figures = tmp_path / "sitegen" / "hotcarbon24" / "derived.json"
    figures.write_text("1")
    monkeypatch.setattr("llmjoules.sitegen.cache.files", lambda package: tmp_path)
    before = program()
    (tmp_path / "sitegen" / "__pycache__").mkdir()
    (tmp_path / "sitegen" / "__pycache__" / "x.pyc").write_text("compiled")
    assert program() == before
    figures.write_text("2")
    assert program() != before


def test_our_own_page_is_registered_like_any_other() -> None:
    found = [point for point in entry_points(group=extra.GROUP) if point.name == "study"]
    assert [(point.value, point.load()) for point in found] == [("llmjoules.sitegen.study", study)]
    assert isinstance(found[0], EntryPoint)
