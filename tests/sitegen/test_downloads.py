"""What is there to take away: the records, and the table of their energies as CSV and Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import duckdb
import pyarrow
import pytest

from llmjoules.records.export import export
from llmjoules.records.export_table import COLUMNS
from llmjoules.records.record import encode
from llmjoules.sitegen import downloads, inputs
from llmjoules.sitegen.build import build_site
from tests.builders import make_run
from tests.sitegen.html import Html
from tests.sitegen.inputs import everything, runs, write
from tests.sitegen.test_incremental import append, places


def content_of(file: Path) -> bytes:
    found = file.read_bytes()
    content: bytes = pyarrow.Codec("zstd").decompress(found, decompressed_size=content_size(found), asbytes=True)
    return content


def content_size(frame: bytes) -> int:
    """What the header of the first frame says that the frame holds (RFC 8878, 3.1.1.1)."""
    assert frame[:4] == b"\x28\xb5\x2f\xfd"
    size_flag, single, dictionary = frame[4] >> 6, frame[4] >> 5 & 1, frame[4] & 3
    start = 5 + (not single) + (0, 1, 2, 4)[dictionary]
    width = (1 if single else 0, 2, 4, 8)[size_flag]
    return int.from_bytes(frame[start : start + width], "little") + (256 if width == 2 else 0)


def test_the_table_is_that_of_llmjoules_export(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4_000)
    monkeypatch.setattr(downloads, "PART_BLOCKS", 2)
    results = everything(tmp_path / "results")
    (results / "z-again.jsonl").write_bytes((results / "measured.jsonl").read_bytes())  # ids that came before
    build_site([results], tmp_path / "site", plotly_js=plotly_stub)
    folder = tmp_path / "site" / "downloads"
    expected = io.BytesIO()
    export([results], "csv", expected)
    header, *lines = expected.getvalue().splitlines(keepends=True)
    found = [content_of(file).splitlines(keepends=True) for file in folder.glob("*.csv.zst")]
    assert all(part[0] == header for part in found)
    assert sorted(line for part in found for line in part[1:]) == sorted(lines)
    assert len(found) > 10
    names = [column.name for column in COLUMNS]
    rows = duckdb.sql(f"FROM read_parquet('{folder}/*.parquet')")
    assert rows.columns == names
    assert len(rows.fetchall()) == len(lines)
    total = "SELECT sum(joules) FROM {} WHERE level = 'total'"
    by_hand = sum(float(row["joules"] or 0) for row in table(expected.getvalue()) if row["level"] == "total")
    assert duckdb.sql(total.format("rows")).fetchall()[0][0] == pytest.approx(by_hand)


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_a_compressed_file_is_one_frame_since_some_readers_stop_at_the_first(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4_000)
    file = write(tmp_path / "r.jsonl", [make_run(id=f"r{n}") for n in range(9)], b"not a record\n")
    append(file, encode(make_run(id="after")) + b"\n")
    build_site([file], tmp_path / "site", plotly_js=plotly_stub)
    (made,) = (tmp_path / "site" / "downloads").glob("*.jsonl.zst")
    kept = [line for line in file.read_bytes().splitlines(keepends=True) if line != b"not a record\n"]
    assert content_size(made.read_bytes()) == sum(map(len, kept))
    assert content_of(made) == b"".join(kept)


def test_one_more_run_makes_the_last_part_of_its_file_anew_and_no_other(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4_000)
    monkeypatch.setattr(downloads, "PART_BLOCKS", 2)
    results, site = tmp_path / "results", tmp_path / "site"
    write(results / "a.jsonl", runs(name="a"))
    file = write(results / "b.jsonl", [make_run(id=f"r{n}", load=f"l{n}") for n in range(12)])
    build_site([results], site, plotly_js=plotly_stub)
    before = {name: place for name, place in places(site).items() if name.startswith("downloads/")}
    append(file, encode(make_run(id="one more")) + b"\n")
    build_site([results], site, plotly_js=plotly_stub)
    after = {name: place for name, place in places(site).items() if name.startswith("downloads/")}
    touched = {name for name, place in after.items() if before.get(name) != place}
    assert len(before) > 12
    assert not any(name.startswith("downloads/a") for name in touched)
    assert len(touched) in (4, 7)  # three forms of the last part, perhaps of a new one, and the checksums


def test_names_that_a_spreadsheet_would_run_are_text(tmp_path: Path, plotly_stub: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "+1", "-1", "\t=1", "＝1+1"]
    records = [make_run(model=name, system=name, id=f"{name}{n}") for n, name in enumerate(names)]
    build_site([write(tmp_path / "in" / "=r.jsonl", records)], tmp_path / "site", plotly_js=plotly_stub)
    (made,) = (tmp_path / "site" / "downloads").glob("*.csv.zst")
    assert {row[key] for row in table(content_of(made)) for key in ("model", "system")} == {
        f"'{name}" for name in names
    }


def test_the_page_names_every_file_with_size_and_checksum_and_says_what_columns_mean(full_site: Path) -> None:
    page = Html(full_site / "downloads.html")
    sums = (full_site / "downloads" / "SHA256SUMS").read_text().splitlines()
    assert {name.rpartition(".")[2] for name in sums} == {"zst", "parquet", "json", "csv"}
    for line in sums:
        digest, name = line.split("  ")
        assert hashlib.sha256((full_site / "downloads" / name).read_bytes()).hexdigest() == digest
        assert name in page.text
        assert f"{digest[:16]}…" in page.text
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a" and "download" in attributes} == {
        f"downloads/{line.split('  ')[1]}" for line in sums
    }
    for column in COLUMNS:
        assert column.meaning.split()[0] in page.text
    assert "schema.json" in page.text
