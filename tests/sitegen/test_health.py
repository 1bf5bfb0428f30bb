"""Data health counts what it speaks of, claims no more than was checked, and every list that is cut leads on."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import Record, Run, encode
from llmjoules.sitegen.build import build_site
from tests.builders import make_run
from tests.sitegen.html import Html, page_of
from tests.sitegen.inputs import failed, published, without_energy, write

AGREES = "they are the same within 0.1 %"


@pytest.fixture
def health(tmp_path: Path, plotly_stub: Path) -> Any:
    """Builds a site of the given records and returns its page of data health."""

    def build(records: Iterable[Record], more: bytes = b"") -> Html:
        file = write(tmp_path / "results" / "r.jsonl", records, more)
        build_site([file], tmp_path / "site", plotly_js=plotly_stub)
        return Html(tmp_path / "site" / "health.html")

    return build


def with_power(run: Run, factor: float, hole: bool = False) -> Run:
    """The same run with a trace whose power is `factor` times as high, and unknown at its end."""
    trace = msgspec.json.decode(run.trace)
    for line in trace["channels"].values():
        line["mean_w"] = [watts * factor for watts in line["mean_w"]]
        if hole:
            line["mean_w"][-1] = None
    run.trace = msgspec.Raw(msgspec.json.encode(trace))
    return run


def section(page: Html, heading: str, until: str) -> str:
    return page.text.partition(heading)[2].partition(until)[0]


def traces(page: Html) -> str:
    return section(page, "Traces that disagree with their record", "Settings with fewer")


def test_a_trace_with_a_hole_is_not_said_to_agree(health: Any) -> None:
    page = health([with_power(make_run(id="hole"), 1.0, hole=True)])
    assert AGREES not in page.text
    assert "No trace was compared with its record." in page.text
    listed = traces(page).partition("Traces that could not be compared with their record")[2]
    assert "CPU: in a part of the inference no power is known" in listed
    assert "cannot be compared" in page_of(page.path.parent, "runs", "80.0 J").text  # as the run's own page says


def test_how_many_traces_were_compared_is_counted(health: Any) -> None:
    runs = [make_run(id=f"{n}", repeat=n) for n in range(3)]
    assert f"In every run the area under the trace was compared with the energy of the record: {AGREES}. Traces" in (
        health(runs).text
    )
    bare = make_run(id="bare")
    bare.trace = msgspec.UNSET
    unreadable = make_run(id="unreadable", trace=msgspec.Raw(b"[1]"))
    hole = with_power(make_run(id="hole"), 1.0, hole=True)
    page = traces(health([*runs, bare, unreadable, hole, without_energy(), failed(), published()]))
    assert f"In three runs of 7 the area under the trace was compared with the energy of the record: {AGREES}." in page
    assert "Two runs have no trace, or no energy to compare it with." in page
    assert page.count("The record's trace cannot be read.") == 1
    page = traces(health([*runs, with_power(make_run(id="more"), 1.01)]))
    assert (
        f"In every run the area under the trace was compared with the energy of the record: {AGREES}, but for" in page
    )
    assert page.count("the area under the CPU trace is not the energy of the record") == 1


def test_where_there_is_no_run_no_trace_is_spoken_of_as_compared(health: Any) -> None:
    page = health([published()])
    assert "There is no run, so there is no trace to compare." in page.text
    assert page.heading == "Every line was read"


def flagged_figure(number: int) -> Record:
    figure = published()
    figure.id, figure.flags = f"figure-{number}", ("tokens_assumed",)
    return figure


def test_published_figures_are_not_counted_as_runs(health: Any) -> None:
    page = health([flagged_figure(1), flagged_figure(2)])
    assert page.heading == "Every line was read; two published figures carry a flag"
    assert Html(page.path.parent / "runs" / "index.html").heading == "1 model, 1 system, 2 published figures"
    assert "2 published figures, tokens_assumed" in page.text
    page = health([flagged_figure(1), flagged_figure(2), make_run(flags=("tokens_assumed", "busy:cpu"))])
    assert page.heading == "Every line was read and no run failed; three records carry a flag"
    assert "3 records, tokens_assumed" in page.text
    assert "1 run, busy:cpu" in page.text


def test_published_settings_are_not_asked_for_five_runs_and_the_page_says_so(health: Any) -> None:
    left_out = "Published figures are left out: how many runs stand behind one is for its source to say."
    assert left_out in section(health([make_run(), published()]), "Settings with fewer", "What the physics")
    assert left_out not in health([make_run()]).text


def test_bad_lines_beyond_those_listed_are_there_to_download(tmp_path: Path, plotly_stub: Path) -> None:
    lines = [b'{"n": %d' % n for n in range(120)]
    write(tmp_path / "results" / "=r.jsonl", [make_run()], b"\n".join(lines) + b"\n")
    site = tmp_path / "site"
    build_site([tmp_path / "results"], site, plotly_js=plotly_stub)
    page = Html(site / "health.html")
    assert "70 more: all 120 as CSV" in page.text
    assert "downloads/skipped.csv" in page.attributes("href")
    content = (site / "downloads" / "skipped.csv").read_bytes()
    header, *found = csv.reader(content.decode().splitlines())
    assert header == ["file", "line", "why"]
    assert [(file, int(line)) for file, line, _ in found] == [("'=r.jsonl", n) for n in range(2, 122)]
    assert all(why for _, _, why in found)
    assert f"{hashlib.sha256(content).hexdigest()}  skipped.csv\n" in (site / "downloads" / "SHA256SUMS").read_text()
    assert "skipped.csv" in Html(site / "downloads.html").text


def test_where_every_line_was_read_no_list_of_skipped_ones_is_left(health: Any) -> None:
    page = health([make_run(id="a")], b"{\n")
    skipped = page.path.parent / "downloads" / "skipped.csv"
    assert len(skipped.read_text().splitlines()) == 2
    page = health([make_run(id="a")], encode(make_run(id="b")) + b"\n")
    assert not skipped.exists()
    assert "skipped.csv" not in (page.path.parent / "downloads" / "SHA256SUMS").read_text()
    assert "Lines that could not be read" not in Html(page.path.parent / "downloads.html").text
