"""Reading goes on past every bad line, and names its file and number; nothing is dropped in silence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import SCHEMA, Error, Failed, Published, Record, Run, encode
from llmjoules.records.store import MAX_LINE_BYTES, BadLine, read_results
from tests.builders import make_run

ROOT = Path(__file__).parents[2]


def read(*sources: Path) -> tuple[list[Record], list[BadLine]]:
    bad: list[BadLine] = []
    return [stored.record for stored in read_results(sources, bad.append)], bad


def changed(**keys: Any) -> bytes:
    return json.dumps({**json.loads(encode(make_run())), **keys}).encode()


def without(key: str) -> bytes:
    line = json.loads(encode(make_run()))
    del line[key]
    return json.dumps(line).encode()


GOOD = encode(make_run())
BAD_LINES = {
    "half a line": (GOOD[: len(GOOD) // 2], "malformed|truncated|ended"),
    "NaN": (GOOD.replace(b'"start_s":0.0', b'"start_s":NaN', 1), "holds NaN at byte"),
    "NaN in the trace": (GOOD[: GOOD.index(b'"trace":')] + b'"trace":{"edges_s":[NaN]}}', "holds NaN at byte"),
    "minus infinity": (GOOD.replace(b'"start_s":0.0', b'"start_s":-Infinity', 1), "holds -Infinity at byte"),
    "nan of C": (GOOD.replace(b'"start_s":0.0', b'"start_s":-nan', 1), "holds -nan at byte"),
    "infinity": (GOOD.replace(b'"start_s":0.0', b'"start_s":1e999', 1), "out of range"),
    "negative energy": (GOOD.replace(b'"joules":', b'"joules":-', 1), r">= 0.* at `\$\.totals\[\.\.\.\]\.joules`"),
    "wrong schema": (changed(schema="zeus/1"), "schema is 'zeus/1', not llmjoules/1"),
    "newer schema": (changed(schema="llmjoules/2"), "newer than this release reads; upgrade llmjoules"),
    "missing schema": (without("schema"), "no schema is named"),
    "schema of 5000 digits": (changed(schema="llmjoules/" + "9" * 5000), "schema is 'llmjoules/999"),
    "missing phases": (without("phases"), "missing required field `phases`"),
    "unknown kind": (changed(kind="walk"), "walk"),
    "a kind that paints the terminal": (changed(kind="\x1b[31mred\r\n"), "\ufffd\\[31mred"),
    "NUL bytes": (GOOD[:100] + b"\0" * 50 + GOOD[150:], "NUL bytes"),
    "only NUL bytes": (b"\0" * 4096, "NUL bytes"),
    "Latin-1": (changed(study="Köln").replace(b"K\\u00f6ln", b"K\xf6ln"), "not UTF-8 at byte"),
    "UTF-16": (GOOD.decode().encode("utf-16-le"), "NUL bytes"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "invalid character"),
    "10 MB": (changed(command="x" * 10_000_000), r"10\.0 MB long; a record has at most 8 MB"),
    "10 MB of spaces": (b" " * 10_000_000, r"10\.0 MB long"),
    "exactly the limit": (changed(command="x" * MAX_LINE_BYTES)[:MAX_LINE_BYTES], "8.0 MB long"),
    "deeply nested": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "recursion depth"),
    "deeply nested options": (changed(x=0).replace(b'"x": 0', b'"x": ' + b"[" * 100_000 + b"]" * 100_000), "recursion"),
    "a JSON array": (b"[" + GOOD + b"]", "Expected `object`, got `array`"),
    "a JSON string": (b'"run"', "Expected `object`, got `str`"),
    "two records on one line": (GOOD + b" " + GOOD, "trailing characters"),
    "no JSON": (b"Traceback (most recent call last):", "invalid character"),
}


@pytest.mark.parametrize(("bad", "why"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_and_reading_goes_on(tmp_path: Path, bad: bytes, why: str) -> None:
    before, after = make_run(), make_run()
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\n".join([encode(before), bad, encode(after), b""]))
    records, [refused] = read(file)
    assert records == [before, after]
    assert (refused.file, refused.line) == (file, 2)
    assert str(refused).startswith(f"{file}:2: ")
    assert re.search(why, refused.why), refused.why
    assert "cut off" not in refused.why
    assert len(refused.why) < 200
    assert refused.why.isprintable()


def test_every_bad_line_of_every_file_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.jsonl").write_bytes(b"x\n" + encode(make_run()) + b"\ny\n")
    (tmp_path / "deep" / "er" / "b.jsonl").write_bytes(encode(make_run()) + b"\n\n[]\n")
    (tmp_path / "notes.txt").write_text("not ours")
    records, bad = read(tmp_path)
    assert len(records) == 2
    assert [(line.file.name, line.line) for line in bad] == [("a.jsonl", 1), ("a.jsonl", 3), ("b.jsonl", 3)]


def test_empty_lines_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    one, two = make_run(), make_run()
    (tmp_path / "a.jsonl").write_bytes(b"\r\n\n" + encode(one) + b"\r\n \t \r\n" + encode(two) + b"\r\n\r\n")
    assert read(tmp_path) == ([one, two], [])


def test_an_empty_file_and_an_empty_folder_hold_no_records(tmp_path: Path) -> None:
    assert read(tmp_path) == ([], [])
    (tmp_path / "a.jsonl").touch()
    assert read(tmp_path) == ([], [])


@given(st.integers(0, len(GOOD)))
def test_a_torn_last_line_is_skipped_wherever_it_was_cut(cut: int) -> None:
    before = make_run()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.jsonl")
        file.write_bytes(encode(before) + b"\n" + GOOD[:cut])
        records, bad = read(file)
    if cut == len(GOOD):  # only its newline is missing: nothing is lost
        assert (len(records), bad) == (2, [])
    elif cut == 0:
        assert (records, bad) == ([before], [])
    else:
        assert records == [before]
        assert [line.line for line in bad] == [2]
        assert "cut off before its end" in bad[0].why or GOOD[:cut].endswith(b"}")


@given(st.binary(max_size=300))
def test_no_bytes_whatever_stop_the_reader(garbage: bytes) -> None:
    good = make_run()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.jsonl")
        file.write_bytes(garbage + b"\n" + encode(good) + b"\n")
        records, bad = read(file)
    assert records == [good]
    assert len(bad) == sum(bool(line.strip()) for line in garbage.split(b"\n"))


@given(st.data())
def test_no_change_of_one_byte_stops_the_reader(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    line = GOOD[:at] + bytes([data.draw(st.integers(0, 255))]) + GOOD[at + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.jsonl")
        file.write_bytes(line + b"\n")
        records, bad = read(file)
    assert len(records) + len(bad) in (1, 2)  # a newline in the middle makes two


def test_of_records_with_the_same_id_the_first_counts(tmp_path: Path) -> None:
    first, other = make_run(id="SAME", repeat=1), make_run(id="SAME", repeat=2)
    (tmp_path / "b.jsonl").write_bytes(encode(other) + b"\n")
    (tmp_path / "a.jsonl").write_bytes(encode(first) + b"\n" + encode(other) + b"\n")
    assert read(tmp_path) == ([first], [])
    assert read(tmp_path / "b.jsonl", tmp_path / "a.jsonl", tmp_path) == ([first], [])


def test_all_kinds_are_read_in_the_order_of_file_and_line(tmp_path: Path) -> None:
    run = make_run()
    fields = {key: getattr(run, key) for key in Run.__struct_fields__ if key not in ("tokens", "id")}
    failed = Failed(**fields, id="F", error=Error(phase=None, message="killed"))
    published = Published(id="P", schema=SCHEMA, model=run.model, system=run.system, source="Table 2")
    (tmp_path / "2.jsonl").write_bytes(encode(run) + b"\n")
    (tmp_path / "1.jsonl").write_bytes(encode(published) + b"\n" + encode(failed) + b"\n")
    bad: list[BadLine] = []
    stored = list(read_results([tmp_path], bad.append))
    assert [(s.file.name, s.line, s.record) for s in stored] == [
        ("1.jsonl", 1, published), ("1.jsonl", 2, failed), ("2.jsonl", 1, run),
    ]  # fmt: skip
    assert bad == []


@pytest.mark.parametrize("missing", ["nowhere", "nowhere/a.jsonl", "file/below"])
def test_a_path_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LlmjoulesError) as error:
        read(tmp_path / missing)
    assert str(error.value) == (
        f"No results at {tmp_path / missing}.\nWhy: There is no such file or folder.\n"
        "Do:  Name a .jsonl file or a folder of them."
    )


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert read(tmp_path) == ([], [BadLine(tmp_path / "a.jsonl", 0, "cannot be opened: No such file or directory")])


# Permissions mean nothing to root, so the reader runs as nobody. It imports first: nobody may not reach the packages.
AS_NOBODY = """
import os, sys
from pathlib import Path
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.store import read_results
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    for stored in read_results([Path(sys.argv[1])], lambda bad: print("bad", bad)):
        print("record", stored.record.id)
except LlmjoulesError as error:
    print(error)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "a.jsonl").write_bytes(encode(make_run(id="A")) + b"\n")
        (path / "b.jsonl").write_bytes(encode(make_run(id="B")) + b"\n")
        (path / "sub").mkdir()
        (path / "sub" / "c.jsonl").write_bytes(encode(make_run(id="C")) + b"\n")
        yield path
        for closed in (path, path / "sub"):
            closed.chmod(0o755)


def read_as_nobody(path: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_file_that_may_not_be_read_is_named_and_the_others_are_read(folder: Path) -> None:
    (folder / "a.jsonl").chmod(0)
    assert read_as_nobody(folder) == [
        f"bad {folder}/a.jsonl:0: cannot be opened: Permission denied", "record B", "record C",
    ]  # fmt: skip


@pytest.mark.parametrize("closed", [".", "sub"])
def test_a_folder_that_may_not_be_read_is_an_error_and_not_passed_over(folder: Path, closed: str) -> None:
    (folder / closed).chmod(0)
    lines = read_as_nobody(folder)
    assert lines == [
        f"Cannot read {folder / closed}.", "Why: Permission denied.", "Do:  Ask for read permission on it.",
    ]  # fmt: skip


def test_a_file_in_a_folder_that_may_not_be_entered_is_said_to_be_unreadable_not_missing(folder: Path) -> None:
    (folder / "sub").chmod(0)
    assert read_as_nobody(folder / "sub" / "c.jsonl")[:2] == [
        f"Cannot read {folder}/sub/c.jsonl.", "Why: Permission denied.",
    ]  # fmt: skip
