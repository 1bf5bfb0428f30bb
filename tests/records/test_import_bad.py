"""Files as they really arrive: cut, doubled, headless, from a spreadsheet. File, line, column and remedy are said."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.importing import import_files, read_files
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.registry import Importers
from llmjoules.records.importers.types import Units
from tests.records.importing import Read, run, stored
from tests.records.miniatures import (
    APPLE_ROW,
    CONFIGURATION,
    CUDA_ROW,
    EMISSIONS,
    LAB,
    LEGACY,
    MAPPING,
    POWER,
    PYJOULES,
    RUNS,
    SMI,
    SPL,
    TEXTS,
    UPROF,
    V2,
    ZEUS,
)


def test_a_decimal_comma_is_named_with_its_column_and_remedy(write: Any) -> None:
    mapping = write(MAPPING.replace("decimal_comma = true", ""), "lab.toml")
    read = Read("csv", write(LAB), mapping=str(mapping))
    assert [bad.line for bad in read.bad] == [2]
    assert read.bad[0].why.startswith("column 'Energy (mJ)': '500000,5' has a decimal comma; write 500000.5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("energy = [", "energie = ["), "Bad mapping"),
        (('column = "Energy (mJ)"', 'column = "Energy"'), "No column 'Energy'"),
        (('unit = "mJ"', 'unit = "mj"'), "Unknown unit mj"),
        (("values = {system", "values = {sistem"), "Unknown entry of the mapping: sistem"),
        (("devices = 1", 'devices = "eight"'), "Bad mapping: devices = 'eight'"),
        (("[{column", "[[{column"), "Bad mapping"),
    ],
)
def test_a_wrong_mapping_is_answered_by_name(write: Any, change: tuple[str, str], message: str) -> None:
    mapping = write(MAPPING.replace(*change), "lab.toml")
    with pytest.raises(LlmjoulesError, match=message):
        Read("csv", write(LAB), mapping=str(mapping))


# A format, what is wrong with one line of it, the line, and what is said: the column where there is one, and a remedy.
WRONG_LINES = [
    ("energy-inference", PYJOULES, ("inference;8.0", "inference;8,0"), 4, "duration.*decimal comma; write 8.0"),
    ("energy-inference", PYJOULES, (";900000;", ";900000,5;"), 4, "nvidia_gpu_0.*decimal comma; write 900000.5"),
    ("energy-inference", PYJOULES, (";inference;8.0", ";thinking;8.0"), 4, "tag: a phase 'thinking'.*Known are"),
    ("energy-inference", PYJOULES, ("1700000000.0;", ";"), 2, "timestamp: no number stands there; write one"),
    ("energy-inference", POWER, ("2000,10000", '2000,"10000,5"'), 3, "GPU mW.*decimal comma; write 10000.5"),
    ("energy-inference", POWER, ("200.0,300.0,400.0", "200,0,300.0,400.0"), 3, "7 fields instead of 6.*decimal comma"),
    ("energy-inference", POWER, ("inference-64-0,200", "thinking,200"), 3, "phase: a phase 'thinking'.*Known are"),
    ("energy-inference", RUNS, (",2.0,300000", ',"2,0",300000'), 4, r"'Runtime \(s\)'.*decimal comma; write 2.0"),
    ("energy-inference", RUNS, (",300000,", ",x,"), 4, r"'GPU Energy \(mJ\)': 'x' is not a number; write one"),
    ("energy-inference", SMI, ("100.00 W", '"100,00 W"'), 2, r"power.draw \[W\]: '100,00' has a decimal comma"),
    ("energy-inference", SMI, ("100.00 W", "100,00 W"), 2, "5 fields instead of 4.*decimal comma"),
    ("energy-inference", SMI, ("2024/04/02 07:36:21.010", "02.04.2024"), 2, "timestamp: .* is no time like 2024/"),
    ("energy-inference", UPROF, ("200.00,", "200,00,"), 6, "5 fields instead of 4.*decimal comma"),
    ("energy-inference", UPROF, ("0:0:0:000", "midnight"), 6, "Timestamp: 'midnight' is no time like 7:36:22:035"),
    ("codecarbon", EMISSIONS, (",0.002,", ',"0,002",'), 3, "'gpu_energy'.*decimal comma; write 0.002"),
    ("codecarbon", EMISSIONS, (",0.002,", ",0,002,"), 3, "13 fields of 12.*decimal comma"),
    ("mlperf-power", SPL, ("Watts,3000.0,V", "Watts,3000,0,V"), 2, "decimal comma.*write a point"),
    ("mlperf-power", SPL, ("Watts,3000.0,V", "Watts,x,V"), 2, "Watts: 'x' is not a number; write one"),
    ("mlperf-power", SPL, ("07-17-2024 07:00:01.000", "17.07.2024"), 2, "Time: '17.07.2024' is no time like 07-17-"),
    ("zeus", ZEUS, (",10.0,2000.0", ',"10,0",2000.0'), 2, "'elapsed_time'.*decimal comma; write 10.0"),
    ("zeus", ZEUS, (",10.0,2000.0", ",10,0,2000.0"), 2, "6 fields instead of 5.*decimal comma"),
    ("ml-energy-v2", LEGACY, ("1500.0", '"1500,0"'), 2, "'energy'.*decimal comma; write 1500.0"),
    ("ml-energy-v2", LEGACY, (",200.0,", ",0,"), 2, "response_length: .* take the row out"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "change", "line", "said"), WRONG_LINES)
def test_a_wrong_line_is_named_with_its_file_number_column_and_remedy(
    form: str, text: str, change: tuple[str, str], line: int, said: str, write: Any, tmp_path: Path
) -> None:
    assert change[0] in text
    path = write(text.replace(*change, 1))
    _, bad = run(form, path, tmp_path / "out")
    assert (bad[0].file, bad[0].line) == (path, line)
    assert re.search(said, bad[0].why), bad[0].why


# A row that stands twice: its line, and what it is the same as.
TWICE = [
    ("energy-inference", PYJOULES, 8, "the same row as line 7"),
    ("energy-inference", RUNS, 8, "the same row as line 6"),
    ("energy-inference", SMI, 29, "not later than the one before"),
    ("energy-inference", UPROF, 8, "not later than the one before"),
    ("mlperf-power", SPL.rstrip() + "\n", 6, "not later than the one before"),
    ("zeus", ZEUS, 4, "the same row as line 3"),
    ("ml-energy-v2", LEGACY, 4, "the same row as line 3"),
]


@pytest.mark.parametrize(("form", "text", "line", "said"), TWICE)
def test_a_row_that_stands_twice_counts_once(
    form: str, text: str, line: int, said: str, write: Any, tmp_path: Path
) -> None:
    once = Read(form, write(text, "once.csv")).records
    rows = text.splitlines(keepends=True)
    path = write(text + "".join(rows[-2:] if text is RUNS else rows[-3:] if text is SMI else rows[-1:]), "twice.csv")
    report, bad = run(form, path, tmp_path / "out")
    assert bad[0].line == line
    assert said in bad[0].why
    assert [record.totals for record in stored(tmp_path / "out")] == [record.totals for record in once]
    assert report.bad == (3 if text is SMI else 1)


@pytest.mark.parametrize(
    "text", [PYJOULES, POWER, RUNS, SMI, UPROF, EMISSIONS, SPL, ZEUS, LEGACY], ids=lambda t: t[:12]
)
def test_the_line_ends_of_a_spreadsheet_change_nothing(text: str, write: Any) -> None:
    form = Importers().guess(SourceFile(write(text)))[0]
    plain = Read(form, write(text))
    saved = Read(form, write("\ufeff" + text.replace("\n", "\r\n")))
    assert plain.records
    assert [record.totals for record in saved.records] == [record.totals for record in plain.records]
    assert (saved.bad, saved.notes) == (plain.bad, plain.notes)


@pytest.mark.parametrize("text", [PYJOULES, POWER, SMI, UPROF, EMISSIONS, SPL, ZEUS, LEGACY], ids=lambda t: t[:12])
def test_a_cut_last_line_is_left_out_and_said(text: str, write: Any, tmp_path: Path) -> None:
    """Cut to a third of its length, of every kind of file with rows."""
    *rows, last = text.rstrip("\n").split("\n")
    path = write("\n".join([*rows, last[: len(last) // 3]]))
    form = Importers().guess(SourceFile(path))[0]
    report, bad = run(form, path, tmp_path / "out")
    assert [line.line for line in bad] == [len(rows) + 1]
    assert report.new > 0
    assert any("no end: its writer was stopped" in note for note in report.notes)


@pytest.mark.parametrize(
    ("columns", "note"), [(CUDA_ROW, "read as the study's 16 columns"), (APPLE_ROW, "read as the study's 14 columns")]
)
def test_a_run_file_without_a_header_is_read_by_the_number_of_its_columns(columns: str, note: str, write: Any) -> None:
    read = Read("energy-inference", write(columns))
    assert not read.bad
    assert any(note in said for said in read.notes)
    assert [record.tokens.generated if record.tokens else None for record in read.records] == [32]


@pytest.mark.parametrize("form", ["codecarbon", "zeus", "ml-energy-v2"])
def test_a_header_that_was_cut_off_where_the_tool_writes_one_is_said(form: str, write: Any, tmp_path: Path) -> None:
    text = {"codecarbon": EMISSIONS, "zeus": ZEUS, "ml-energy-v2": LEGACY}[form]
    with pytest.raises(LlmjoulesError, match=f"is not of format {form}") as raised:
        run(form, write(text.split("\n", 1)[1]), tmp_path / "out")
    assert "first line" in raised.value.why
    assert "llmjoules import csv FILE --set mapping" in raised.value.fix


@pytest.mark.parametrize("format_name", TEXTS)
def test_a_wrong_format_is_guessed_and_the_right_one_named(format_name: str, write: Any, tmp_path: Path) -> None:
    wrong = "zeus" if format_name != "zeus" else "aiperf"
    with pytest.raises(LlmjoulesError) as raised:
        run(wrong, write(TEXTS[format_name], "source.txt"), tmp_path / "out")
    assert format_name in raised.value.why
    assert raised.value.fix == f"llmjoules import {format_name} source.txt"


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_said_to_be_empty(text: str, write: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match=r"Nothing in|not of format"):
        run("codecarbon", write(text), tmp_path / "out")


@pytest.mark.parametrize("format_name", ["ml-energy", "ml-energy-v2", "optimum-benchmark", "aiperf"])
def test_truncated_json_names_line_and_column(format_name: str, write: Any, tmp_path: Path) -> None:
    text = json.dumps(json.loads(TEXTS[format_name]), indent=1)[:-20]
    with pytest.raises(LlmjoulesError) as raised:
        run(format_name, write(text), tmp_path / "out")
    assert f"line {text.count(chr(10)) + 1}, column " in raised.value.what
    assert "cut off" in raised.value.why


def test_strict_fails_on_a_bad_line_and_keeps_what_was_read(write: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match="1 lines"):
        run("energy-inference", write(PYJOULES + "x;y\n"), tmp_path / "out", strict=True)
    assert len(stored(tmp_path / "out")) == 2


def test_one_unreadable_file_does_not_take_the_others_down(write: Any, tmp_path: Path) -> None:
    good, empty = write(PYJOULES, "good.csv"), write("", "empty.csv")
    report = import_files("energy-inference", [empty, good, tmp_path / "none.csv"], tmp_path / "out")
    assert (report.new, len(report.refused)) == (2, 2)


@pytest.mark.parametrize(
    ("format_name", "settings", "message"),
    [
        ("codecarbn", {}, "codecarbon"),
        ("energy-inference", {"modle": "x"}, "model"),
        ("energy-inference", {"new_tokens": "many"}, "Expected `int"),
    ],
)
def test_a_wrong_name_gets_the_nearest(format_name: str, settings: dict[str, str], message: str, write: Any) -> None:
    with pytest.raises(LlmjoulesError, match=message) as raised:
        list(read_files(format_name, [write(PYJOULES)], settings))
    assert raised.value.fix


def test_a_unit_for_a_column_that_does_not_exist_is_said(write: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match="No column 'GPU Energy'"):
        run("energy-inference", write(RUNS), tmp_path / "out", units=Units({"GPU Energy": "mJ"}))


def test_a_log_whose_header_was_cut_off_is_read_and_said(write: Any) -> None:
    whole = Read("energy-inference", write(PYJOULES))
    cut = Read("energy-inference", write(PYJOULES.split("\n", 1)[1]))
    assert [record.totals for record in cut.records] == [record.totals for record in whole.records]
    assert any("the header is missing" in note for note in cut.notes)


def test_a_header_without_a_row_is_said(write: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match="There is a header, and no row") as raised:
        run("energy-inference", write(PYJOULES.split("\n", 1)[0] + "\n"), tmp_path / "out")
    assert raised.value.fix


def test_a_files_text_is_read_in_the_encoding_of_a_spreadsheet(write: Any) -> None:
    assert len(Read("energy-inference", write(RUNS.encode("utf-16"))).records) == 2


@pytest.mark.parametrize("format_name", TEXTS)
@given(cut=st.integers(1, 2000), noise=st.binary(max_size=30))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_or_spoilt_anywhere_never_ends_in_a_traceback(
    format_name: str, cut: int, noise: bytes, tmp_path: Path
) -> None:
    text = TEXTS[format_name].encode()
    path = tmp_path / "spoilt.txt"
    path.write_bytes(text[: cut % len(text)] + noise + text[cut % len(text) + len(noise) :])
    with suppress(LlmjoulesError):
        import_files(format_name, [path], tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "value"), [("TP", 0), ("GPU", 5), ("Avg Output Tokens", 0.0), ("Max BS (reqs)", "many"), ("TP", 10**30)]
)
def test_a_value_that_cannot_be_is_named(key: str, value: Any, write: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmjoulesError, match=r"Not a result of ML.ENERGY v2"):
        run("ml-energy-v2", write(json.dumps({**V2, key: value})), tmp_path / "out")


def test_what_no_record_may_hold_is_a_bad_line_and_the_others_are_stored(write: Any, tmp_path: Path) -> None:
    two = {
        "configurations": [{**CONFIGURATION, "median_itl_ms": "fast"}, {**CONFIGURATION, "model_id": 5}, CONFIGURATION]
    }
    report, bad = run("ml-energy", write(json.dumps(two)), tmp_path / "out")
    assert (report.new, report.bad, len(bad)) == (1, 2, 2)


def test_pieces_of_broken_rows_are_named_and_skipped(write: Any) -> None:
    read = Read("codecarbon", write(EMISSIONS + "ine,N,,,,,,,,,,\n"))
    assert [bad.line for bad in read.bad] == [5]
    assert len(read.records) == 2


def test_a_compressed_file_that_was_cut_is_named_and_what_was_read_is_kept(write: Any, tmp_path: Path) -> None:
    rows = "".join(f"1700{k:06d}.5;inference;8.0;{900000 + k * k % 9973};700000\n" for k in range(4_000))
    packed = gzip.compress((PYJOULES.splitlines()[0] + "\n" + rows).encode())
    with pytest.raises(LlmjoulesError, match="to its end") as raised:
        run("energy-inference", write(packed[: len(packed) // 2], "log.csv.gz"), tmp_path / "out")
    assert raised.value.fix == "Copy it again."
    assert len(stored(tmp_path / "out")) > 500
