"""What append() has announced is safe, whatever happens to process or disk; a torn line is never gone on with."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmjoules.records import store
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Energy, Phase, Record, encode
from llmjoules.records.store import BadLine, ResultsFile, read_results
from tests.builders import make_run

ROOT = Path(__file__).parents[2]


def read(*sources: Path) -> tuple[list[Record], list[BadLine]]:
    bad: list[BadLine] = []
    return [stored.record for stored in read_results(sources, bad.append)], bad


def child(code: str, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_what_is_appended_is_read_back_in_order_from_a_new_folder(tmp_path: Path) -> None:
    runs = [make_run(repeat=repeat) for repeat in range(3)]
    results = ResultsFile(tmp_path / "new" / "results", "dummy:llama-tiny / cpu")
    for run in runs:
        results.append(run)
    results.close()
    assert read(tmp_path) == (runs, [])
    [file] = (tmp_path / "new" / "results").iterdir()
    assert file == results.path
    assert file.suffix == ".jsonl"
    assert "dummy-llama-tiny-cpu" in file.name
    assert file.read_bytes() == b"".join(encode(run) + b"\n" for run in runs)


def test_no_file_appears_before_the_first_run(tmp_path: Path) -> None:
    ResultsFile(tmp_path, "nothing measured").close()
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_the_same_second_and_label_have_a_file_each(tmp_path: Path) -> None:
    one, two = ResultsFile(tmp_path, "same"), ResultsFile(tmp_path, "same")
    one.append(make_run())
    two.append(make_run())
    one.append(make_run())
    assert [len(file.read_bytes().splitlines()) for file in (one.path, two.path)] == [2, 1]
    one.close()
    two.close()


@pytest.mark.parametrize("label", ["", "///", "..", "a\nb", "x" * 500, "größe", "-rf"])
def test_a_label_of_any_kind_gives_a_plain_file_name(tmp_path: Path, label: str) -> None:
    results = ResultsFile(tmp_path, label)
    results.append(make_run())
    results.close()
    [file] = tmp_path.iterdir()
    assert file.name.isascii()
    assert len(file.name) < 100
    assert not set(file.name) & set("/\\ \n'\"*?")


APPEND_FOR_EVER = """
import random, sys
from pathlib import Path
from llmjoules.records.store import ResultsFile
from tests.builders import make_run
results = ResultsFile(Path(sys.argv[1]), "killed")
for repeat in range(1_000_000):
    run = make_run(repeat=repeat, command="x" * random.choice([10, 10_000, 1_000_000]))
    results.append(run)
    print(run.id, flush=True)
"""


def test_every_announced_run_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    instants = random.Random(7)
    announced: set[str] = set()
    for _ in range(50):
        process = child(APPEND_FOR_EVER, tmp_path)
        first = process.stdout.readline()
        time.sleep(instants.uniform(0, 0.03))
        process.kill()
        rest, errors = process.communicate()
        assert errors == b""
        announced |= {line.decode() for line in (first + rest).split(b"\n") if len(line) == 26}

    records, bad = read(tmp_path)
    assert len(announced) >= 50
    assert announced <= {record.id for record in records}
    # Whatever was refused is the last line of its file, and had not been finished.
    for line in bad:
        assert line.line == line.file.read_bytes().count(b"\n") + 1
        assert "cut off before its end" in line.why
    assert len({line.file for line in bad}) == len(bad)
    # Each writer had its own file, so nobody went on in a torn one.
    assert len(list(tmp_path.iterdir())) == 50

    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    results = ResultsFile(tmp_path, "killed")
    results.append(make_run(id="NEXT"))
    results.close()
    assert {file: file.read_bytes() for file in before} == before
    assert {record.id for record in read(tmp_path)[0]} == {record.id for record in records} | {"NEXT"}


APPEND_TILL_FULL = """
import resource, signal, sys, tempfile
from pathlib import Path
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.store import ResultsFile
from tests.builders import make_run
folder, limit, rescue = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
tempfile.tempdir = rescue
results = ResultsFile(folder, "full")
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for repeat in range(1000):
    run = make_run(repeat=repeat)
    try:
        results.append(run)
    except LlmjoulesError as error:
        print("refused", run.id, flush=True)
        print(error.what, error.why, error.fix, sep="\\n", flush=True)
        break
    print("stored", run.id, flush=True)
"""


def append_till_full(results: Path, rescue: Path, limit: int, why: str) -> tuple[list[str], str, Path]:
    """Ids that were announced, the id that was refused, and the file that keeps it."""
    process = child(APPEND_TILL_FULL, results, limit, rescue)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    *stored, refusal, what, reason, fix = out.decode().splitlines()
    announced = [line.removeprefix("stored ") for line in stored]
    refused = refusal.removeprefix("refused ")

    records, bad = read(results)
    assert len(announced) > 2
    assert [record.id for record in records] == announced
    assert bad == []
    [file] = results.iterdir()
    assert file.read_bytes().endswith(b"}\n")

    [kept] = rescue.iterdir()
    assert (what, reason) == (f"Cannot append to {file}.", why)
    assert fix == f"Make room, then copy this run in from {kept}; earlier ones are safe."
    assert [record.id for record in read(rescue)[0]] == [refused]
    return announced, refused, kept


def test_a_file_that_may_grow_no_further_keeps_earlier_runs_and_no_torn_line(tmp_path: Path) -> None:
    results, rescue = tmp_path / "results", tmp_path / "rescue"
    results.mkdir()
    rescue.mkdir()
    announced, refused, kept = append_till_full(results, rescue, limit=20_000, why="File too large.")
    kept.rename(results / kept.name)  # what the message says to do
    assert [record.id for record in read(results)[0]] == [*announced, refused]


@pytest.mark.hardware  # only root may mount a small disk
def test_a_full_disk_keeps_earlier_runs_and_no_torn_line(tmp_path: Path) -> None:
    disk, rescue = tmp_path / "disk", tmp_path / "rescue"
    disk.mkdir()
    rescue.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        (disk / "results").mkdir()
        append_till_full(disk / "results", rescue, limit=0, why="No space left on device.")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_without_room_is_an_error_and_the_next_run_with_room_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ResultsFile(tmp_path / "results", "full")
    results.append(make_run(id="A"))
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "write", partly_then_full(os.write))
    with pytest.raises(LlmjoulesError, match="No space left on device"):
        results.append(make_run(id="B"))
    monkeypatch.undo()
    results.append(make_run(id="C"))
    results.close()
    records, bad = read(tmp_path / "results")
    assert ([record.id for record in records], bad) == (["A", "C"], [])


def test_what_cannot_be_kept_anywhere_leaves_no_file_and_the_next_run_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that may not grow beyond 4 kB: neither that of the results nor the one that is to rescue the line."""
    results, rescue = tmp_path / "results", tmp_path / "rescue"
    rescue.mkdir()
    monkeypatch.setattr(store.tempfile, "tempdir", str(rescue))
    file = ResultsFile(results, "first")
    with files_of_at_most(4096), pytest.raises(LlmjoulesError, match="could not be kept elsewhere"):
        file.append(make_run(id="A", command="x" * 8192))
    assert [*results.iterdir(), *rescue.iterdir()] == []
    file.append(make_run(id="B"))
    file.close()
    records, bad = read(results)
    assert ([record.id for record in records], bad) == (["B"], [])


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def partly_then_full(write: object) -> object:
    calls = []

    def fake(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 1:
            return write(fd, data[:100])  # type: ignore[operator]
        raise OSError(28, "No space left on device")

    return fake


def test_a_line_that_cannot_be_taken_back_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = ResultsFile(tmp_path / "results", "stuck")
    results.append(make_run(id="A"))
    torn = results.path
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "write", partly_then_full(os.write))
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(LlmjoulesError) as error:
        results.append(make_run(id="B"))
    assert error.value.what == f"Cannot append to {torn}."
    monkeypatch.undo()
    results.append(make_run(id="C"))
    results.close()
    records, bad = read(tmp_path / "results")
    assert sorted(record.id for record in records) == ["A", "C"]
    assert [(line.file, line.line) for line in bad] == [(torn, 2)]


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_ctrl_c_inside_an_append_waits_until_the_run_is_on_disk(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real signal, sent while the system call of that name is under way."""
    results = ResultsFile(tmp_path, "interrupted")
    real = getattr(os, call)

    def interrupted(*arguments: Any, **more: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*arguments, **more)

    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.append(make_run(id="A"))
    monkeypatch.undo()
    results.append(make_run(id="B"))
    results.close()
    records, bad = read(tmp_path)
    assert ([record.id for record in records], bad) == (["A", "B"], [])


def test_a_file_system_that_cannot_sync_folders_still_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_only(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", files_only)
    results = ResultsFile(tmp_path, "cluster")
    results.append(make_run(id="A"))
    results.append(make_run(id="B"))
    results.close()
    assert [record.id for record in read(tmp_path)[0]] == ["A", "B"]


def test_a_folder_that_was_made_for_results_goes_again_where_there_are_none(tmp_path: Path) -> None:
    ResultsFile(tmp_path / "new", "none").close()
    (tmp_path / "old").mkdir()
    ResultsFile(tmp_path / "old", "none").close()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_run_that_can_be_kept_nowhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = ResultsFile(tmp_path / "results", "full")
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr(os, "write", partly_then_full(os.write))
    with pytest.raises(LlmjoulesError) as error:
        results.append(make_run())
    assert "could not be kept elsewhere" in error.value.fix
    results.close()


def bad_energy(joules: float) -> tuple[Phase, ...]:
    return (Phase(name="inference", start_s=0.0, end_s=1.0, energy=(Energy(channel="cpu:0", joules=joules),)),)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"phases": bad_energy(-0.001)}, ">= 0"),
        ({"phases": (Phase(name="idle", start_s=float("nan"), end_s=1.0),)}, "got `null`"),
        ({"id": ""}, "length >= 1"),
        ({"command": "x" * 8_000_000}, "too long"),
    ],
)
def test_a_record_that_no_reader_would_take_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    results = ResultsFile(tmp_path, "defect")
    with pytest.raises(ValueError, match=why):
        results.append(make_run(**change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_is_a_file_is_an_error_before_anything_is_measured(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(LlmjoulesError) as error:
        ResultsFile(tmp_path / where, "label")
    assert error.value.what == f"Cannot write results to {tmp_path / where}."
    assert error.value.fix == "Name another folder: --out DIR"
    assert (tmp_path / "file").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


AS_NOBODY = """
import os, sys
from pathlib import Path
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.store import ResultsFile
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    ResultsFile(Path(sys.argv[1]), "label")
except LlmjoulesError as error:
    print(error)
"""


@pytest.mark.parametrize("below", ["", "new"])
def test_a_folder_that_may_not_be_written_is_an_error_before_anything_is_measured(tmp_path: Path, below: str) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)  # read-only, and pytest's folders let nobody else in
    out, errors = child(AS_NOBODY, tmp_path / below).communicate()
    assert out.decode().splitlines() == [
        f"Cannot write results to {tmp_path / below}.",
        "Why: Permission denied.",
        "Do:  Name another folder: --out DIR",
    ], errors  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)


def test_a_line_is_on_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: (events.append("write"), write(fd, data))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(kind_of(fd)), fsync(fd))[1])
    results = ResultsFile(tmp_path, "durable")
    results.append(make_run())
    results.append(make_run())
    results.close()
    assert events == ["sync folder", "write", "sync file", "write", "sync file"]


def kind_of(fd: int) -> str:
    return "sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file"
