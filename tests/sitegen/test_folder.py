"""What a build does to the folder it is given, and to the files that others keep there."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.store import BadLine
from llmjoules.sitegen import folder
from llmjoules.sitegen import pages as site_pages
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.folder import MARKER
from tests.sitegen.inputs import everything, failed, published, runs, write


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "results" / "r.jsonl", runs())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "site"


def build(results: Path, out: Path, plotly: Path, **options: Any) -> Any:
    return build_site([results], out, plotly_js=plotly, **options)


def refused(results: Path, out: Path, plotly: Path, **options: Any) -> LlmjoulesError:
    with pytest.raises(LlmjoulesError) as caught:
        build(results, out, plotly, **options)
    assert caught.value.fix
    return caught.value


def test_two_builds_of_the_same_records_give_the_same_bytes(tmp_path: Path, plotly_stub: Path) -> None:
    here, there = everything(tmp_path / "here" / "results"), everything(tmp_path / "elsewhere" / "deep" / "results")
    build(here, tmp_path / "one", plotly_stub)
    build(there, tmp_path / "two", plotly_stub)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(tree(tmp_path / "one")) > 70


def test_the_report_counts_what_was_read_and_written(tmp_path: Path, out: Path, plotly_stub: Path) -> None:
    told: list[BadLine] = []
    steps: list[tuple[int, int]] = []
    records = [*runs(), failed(), published()]
    file = write(tmp_path / "r.jsonl", records, b"not json\n")
    report = build(file, out, plotly_stub, on_bad=told.append, progress=lambda *step: steps.append(step))
    assert (report.runs, report.failed, report.published) == (3, 1, 1)
    assert report.bad == tuple(told)
    assert told[0].line == 6
    assert report.pages == len(list(out.rglob("*.html")))
    assert report.index == out / "index.html"
    assert report.index.is_file()
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(results: Path, out: Path, plotly_stub: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("ten years of work")
    assert "not ours to overwrite" in refused(results, out, plotly_stub).what
    assert tree(out) == {"thesis.txt": b"ten years of work"}


def test_an_empty_folder_is_taken(results: Path, out: Path, plotly_stub: Path) -> None:
    out.mkdir()
    build(results, out, plotly_stub)
    assert (out / "index.html").is_file()


def test_files_of_others_are_kept_and_stale_pages_of_ours_removed(results: Path, out: Path, plotly_stub: Path) -> None:
    write(results, runs(model="Old-model"))
    build(results, out, plotly_stub)
    (out / "CNAME").write_text("joules.example.org")
    (out / "runs" / "notes.txt").write_text("mine")
    stale = {name for name in tree(out) if "old-model" in name}
    write(results, runs(model="New-model"))
    build(results, out, plotly_stub)
    now = tree(out)
    assert stale
    assert not stale & set(now)
    assert now["CNAME"] == b"joules.example.org"
    assert now["runs/notes.txt"] == b"mine"
    assert set(json.loads(now[MARKER])["files"]) == set(now) - {"CNAME", "runs/notes.txt", MARKER}


def test_files_that_do_not_change_are_not_written_again(results: Path, out: Path, plotly_stub: Path) -> None:
    build(results, out, plotly_stub)
    for file in out.rglob("*.*"):
        os.utime(file, (1, 1))
    build(results, out, plotly_stub)
    assert {file.stat().st_mtime for file in out.rglob("*.html")} == {1}


def test_a_build_that_fails_half_way_leaves_the_old_site_whole(
    results: Path, out: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(results, out, plotly_stub)
    before = tree(out)
    write(results, runs(model="New-model"))
    monkeypatch.setattr(site_pages.Site, "_health", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(results, out, plotly_stub)
    assert tree(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == [".site-cache", "results", "site"]


def test_a_first_build_that_fails_leaves_nothing(
    results: Path, out: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_pages.Site, "_health", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(results, out, plotly_stub)
    assert not out.exists()


def test_a_foreign_file_in_the_place_of_a_page_is_refused_before_anything_changes(
    results: Path, out: Path, plotly_stub: Path
) -> None:
    build(results, out, plotly_stub)
    (out / "sitemap.xml").write_text("made by hand")
    before = tree(out)
    error = refused(results, out, plotly_stub, base_url="https://example.org")
    assert "sitemap.xml" in error.what
    assert tree(out) == before


def test_a_link_inside_the_folder_leads_no_file_out_of_it(results: Path, out: Path, plotly_stub: Path) -> None:
    build(results, out, plotly_stub)
    elsewhere = out.parent / "elsewhere"
    (out / "runs").rename(elsewhere)
    (out / "runs").symlink_to(elsewhere)
    before = tree(elsewhere)
    write(results, runs(model="New-model"))
    assert "in the way" in refused(results, out, plotly_stub).what
    assert tree(elsewhere) == before


def test_a_marker_that_names_files_outside_removes_none(results: Path, out: Path, plotly_stub: Path) -> None:
    build(results, out, plotly_stub)
    victim = out.parent / "victim.txt"
    victim.write_text("precious")
    names = ["../victim.txt", str(victim), "runs/../../victim.txt", "index.html"]
    (out / MARKER).write_text(json.dumps({"files": names}))
    for file in list(out.rglob("*")):
        if file.is_file() and file not in (out / MARKER, out / "index.html"):
            file.unlink()
    build(results, out, plotly_stub)
    assert victim.read_text() == "precious"


def test_a_link_to_a_folder_is_followed_to_that_folder(results: Path, out: Path, plotly_stub: Path) -> None:
    real = out.parent / "deep" / "real"
    real.mkdir(parents=True)
    out.symlink_to(real)
    build(results, out, plotly_stub)
    assert (real / "index.html").is_file()
    assert out.is_symlink()


def test_dots_in_the_path_mean_the_folder_they_lead_to(results: Path, out: Path, plotly_stub: Path) -> None:
    build(results, out.parent / "no-such" / ".." / "site", plotly_stub)
    assert (out / "index.html").is_file()


def test_a_file_in_place_of_the_folder_is_refused(results: Path, out: Path, plotly_stub: Path) -> None:
    out.write_text("a file")
    assert "is not a folder" in refused(results, out, plotly_stub).what
    assert out.read_text() == "a file"


def test_a_place_that_cannot_be_written_is_named(results: Path, out: Path, plotly_stub: Path) -> None:
    (out.parent / "file").write_text("")
    error = refused(results, out.parent / "file" / "site", plotly_stub)
    assert "file/site" in error.what


def test_strict_refuses_a_bad_line_before_writing(results: Path, out: Path, plotly_stub: Path) -> None:
    write(results, runs(), b"{}\n")
    error = refused(results, out, plotly_stub, strict=True)
    assert "r.jsonl:4" in error.what
    assert not out.exists()


def test_nothing_readable_is_an_error_and_says_how_many_lines_were_bad(
    results: Path, out: Path, plotly_stub: Path
) -> None:
    write(results, [], b"{}\n[]\n")
    assert "2 lines are not records" in refused(results, out, plotly_stub).why
    assert "no such file" in refused(results.parent / "nowhere", out, plotly_stub).why.lower()
    assert not out.exists()


@pytest.mark.parametrize("place", ["keep.txt", "blocks/keep.txt", "memory.json"])
def test_a_folder_of_others_in_the_place_of_the_cache_is_refused_and_left_alone(
    results: Path, out: Path, plotly_stub: Path, place: str
) -> None:
    theirs = out.parent / ".site-cache"
    (theirs / place).parent.mkdir(parents=True)
    (theirs / place).write_text("{}")
    bad = write(results.parent / "bad.jsonl", [], b"{}\n")
    for file in (results, bad):
        assert str(theirs) in refused(file, out, plotly_stub).what
        assert tree(theirs) == {place: b"{}"}
    assert not out.exists()


def test_a_file_in_the_place_of_the_cache_is_refused_and_left_alone(
    results: Path, out: Path, plotly_stub: Path
) -> None:
    (out.parent / ".site-cache").write_text("mine")
    assert "is not ours" in refused(results, out, plotly_stub).what
    assert (out.parent / ".site-cache").read_text() == "mine"


def test_what_others_put_into_the_cache_stays_and_old_blocks_go(results: Path, out: Path, plotly_stub: Path) -> None:
    build(results, out, plotly_stub)
    cache = out.parent / ".site-cache"
    theirs = dict.fromkeys(("notes.txt", "blocks/notes.txt", "blocks/table.arrow", "blocks/more/x.part"), b"mine")
    (cache / "blocks" / "more").mkdir()
    for name, content in theirs.items():
        (cache / name).write_bytes(content)
    old = set(cache.rglob("*.arrow"))
    write(results, runs(model="New-model"))
    build(results, out, plotly_stub)
    assert {name: tree(cache).get(name) for name in theirs} == theirs
    assert len(old - set(cache.rglob("*.arrow"))) == 1

    (cache / "memory.json").unlink()  # as after a first build that was killed
    write(results, [], b"{}\n")
    refused(results, out, plotly_stub)
    assert {name: tree(cache).get(name) for name in theirs} == theirs


def test_a_refused_first_build_leaves_no_cache(results: Path, out: Path, plotly_stub: Path) -> None:
    write(results, [], b"{}\n")
    refused(results, out, plotly_stub)
    assert [path.name for path in out.parent.iterdir()] == ["results"]


def test_a_script_that_is_not_there_is_named(results: Path, out: Path) -> None:
    assert "nowhere.js" in refused(results, out, out.parent / "nowhere.js").what


def test_a_script_that_cannot_be_read_says_what_is_wrong_with_it(results: Path, out: Path) -> None:
    loop, empty = out.parent / "loop.js", out.parent / "empty.js"
    loop.symlink_to(loop)
    empty.touch()
    for script, why in ((out.parent, "directory"), (loop, "symbolic links"), (empty, "blank")):
        error = refused(results, out, script)
        assert str(script) in error.what
        assert why in error.why.lower()
        assert "--plotly-js" in error.fix
    assert not out.exists()


class Disk:
    """A disk that fails at its n-th step in the site, once or from then on. links: whether it knows links.

    one: whether the site is on the disk of the folder that it lies in.
    """

    def __init__(self, patch: pytest.MonkeyPatch, site: Path, *, links: bool = True, one: bool = True) -> None:
        self.site, self.links, self.one = site, links, one
        self.steps, self.failing = 0, range(0)
        self.error: BaseException = OSError(errno.ENOSPC, "No space left on device")
        for name in ("mkdir", "link", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, self.step(name, getattr(os, name)))

    def step(self, name: str, really: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            within = [self.site in (Path(arg), *Path(arg).parents) for arg in args if isinstance(arg, str | Path)]
            if any(within):
                self.steps += 1
                if self.steps - 1 in self.failing:
                    raise self.error
                if name == "link" and not self.links:
                    raise PermissionError(errno.EPERM, "Operation not permitted")
                if name in ("link", "replace") and not self.one and not all(within):
                    raise OSError(errno.EXDEV, "Invalid cross-device link")
            return really(*args, **options)

        return wrapped


def everything_in(place: Path) -> dict[str, Any]:
    """Folders too, and the times of files."""
    return {
        path.relative_to(place).as_posix(): path.is_dir() or (path.read_bytes(), path.stat().st_mtime_ns)
        for path in place.rglob("*")
    }


OLD = {"index.html": "old", "kept.html": "kept", "same.html": "same", "runs/a.html": "old", "gone/far/b.html": "old"}
NEW = {"index.html": "new", "same.html": "same", "runs/a.html": "new", "runs/c.html": "new", "come/far/d.html": "new"}


def lay(place: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return place


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("disk", [{}, {"links": False}, {"one": False}], ids=["plain", "no links", "two disks"])
@pytest.mark.parametrize("first", [True, False])
def test_wherever_moving_fails_the_old_site_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, disk: dict[str, bool], first: bool
) -> None:
    undone = at = 0
    while True:
        place = tmp_path / str(at)
        site, ours, kept = place / "site", set(OLD), {"kept.html"}
        if first:
            ours, kept = set(), set()
        else:
            folder.replace(site, lay(place / "old", OLD), set(), set(), place / "unused")
            (site / "runs" / "notes.txt").write_text("mine")
        before, staged = everything_in(site), lay(place / "new", NEW)
        with monkeypatch.context() as patch:
            failing = Disk(patch, site, **disk)
            failing.error, failing.failing = error, range(at, at + 1)
            raised = replaced(site, staged, kept, ours, place / "before")
        if raised is not None:
            assert error in (raised, raised.__cause__)
            assert everything_in(site) == before
            assert site.exists() != first
            undone += 1
        else:  # no step failed, or one that may: there is no link then but a copy
            now = tree(site)
            assert set(json.loads(now.pop(MARKER))["files"]) == NEW.keys() | kept
            rest = {} if first else {"kept.html": "kept", "runs/notes.txt": "mine"}
            assert now == {name: content.encode() for name, content in (NEW | rest).items()}
        if failing.steps <= at:
            break
        at += 1
    assert undone > 10


def replaced(*args: Any) -> BaseException | None:
    try:
        folder.replace(*args)
    except (LlmjoulesError, KeyboardInterrupt) as raised:
        return raised
    return None


def test_a_build_that_fails_while_moving_leaves_the_old_site_as_it_was(
    tmp_path: Path, results: Path, out: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(results, out, plotly_stub)
    before = everything_in(out)
    write(results, runs(model="New-model"))
    with monkeypatch.context() as patch:
        disk = Disk(patch, out)
        disk.failing = range(40, 42)  # no link and no move
        assert "No space left" in refused(results, out, plotly_stub).why
        assert disk.steps > 60  # what had been moved was moved back
    assert everything_in(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == [".site-cache", "results", "site"]
    build(results, out, plotly_stub)
    build(results, tmp_path / "expected", plotly_stub)
    assert tree(out) == tree(tmp_path / "expected")


def test_where_nothing_can_be_put_back_the_next_build_makes_the_site_whole(
    tmp_path: Path, results: Path, out: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a step on the disk fails, and for good: what is left is what a build leaves that is killed there."""
    new = write(tmp_path / "new" / "r.jsonl", runs(model="New-model"))
    build(results, tmp_path / "counted", plotly_stub)
    with monkeypatch.context() as patch:
        counted = Disk(patch, tmp_path / "counted")
        build(new, tmp_path / "counted", plotly_stub)
    expected = tree(tmp_path / "counted")
    assert counted.steps > 20
    for at in (0, 1, 2, counted.steps // 2, counted.steps - 6):
        build(results, out, plotly_stub)
        (out / "runs" / "notes.txt").write_text("mine")
        with monkeypatch.context() as patch:
            Disk(patch, out).failing = range(at, 1_000_000)
            refused(new, out, plotly_stub)
        listed = set(json.loads((out / MARKER).read_text())["files"])
        assert set(tree(out)) - listed <= {"runs/notes.txt", MARKER, f"{MARKER}.part"}
        build(new, out, plotly_stub)
        assert tree(out) == {**expected, "runs/notes.txt": b"mine"}, at
        shutil.rmtree(out)


# A build that is killed just before its n-th step on the way to the new site.
KILLED = """
import os, signal, sys
from llmjoules.sitegen import folder
from llmjoules.sitegen.build import build_site

results, out, script, at = sys.argv[1:]
steps, moving = 0, False

def dying(step):
    def wrapped(*args, **options):
        global steps
        if moving and steps == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        steps += moving
        return step(*args, **options)
    return wrapped

def replace(*args, really=folder.replace):
    global moving
    moving = True
    really(*args)
    moving = False

for name in ("mkdir", "link", "replace", "unlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
folder.replace = replace
build_site([results], out, plotly_js=script)
print(steps)
"""


def killed_build(results: Path, out: Path, plotly: Path, at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(results), str(out), str(plotly), str(at)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_after_a_build_that_was_killed_the_next_one_makes_the_site_whole(
    tmp_path: Path, results: Path, out: Path, plotly_stub: Path
) -> None:
    new = write(tmp_path / "new" / "r.jsonl", runs(model="New-model"))
    build(new, tmp_path / "expected", plotly_stub)
    expected = tree(tmp_path / "expected")
    build(results, tmp_path / "counted", plotly_stub)
    steps = int(killed_build(new, tmp_path / "counted", plotly_stub, -1).stdout)
    assert steps > 20
    for at in (steps // 2, steps - 1):
        build(results, out, plotly_stub)
        (out / "runs" / "notes.txt").write_text("mine")
        assert killed_build(new, out, plotly_stub, at).returncode == -signal.SIGKILL
        build(new, out, plotly_stub)
        now = tree(out)
        assert now.pop("runs/notes.txt") == b"mine"
        assert now == expected, at
        shutil.rmtree(out)
    assert not list(tmp_path.glob(".site-building-*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_first_build_that_was_killed_can_be_made_again(
    tmp_path: Path, results: Path, out: Path, plotly_stub: Path
) -> None:
    for at in (0, 7):
        assert killed_build(results, out, plotly_stub, at).returncode == -signal.SIGKILL
        build(results, out, plotly_stub)
        assert (out / "index.html").is_file()
        shutil.rmtree(out)


def test_what_another_build_is_working_on_stays(results: Path, out: Path, plotly_stub: Path) -> None:
    at_work = out.parent / f"{folder.own_prefix(out)}abc"
    theirs = out.parent / ".site-building-elsewhere-notes"
    at_work.mkdir()
    theirs.mkdir()
    build(results, out, plotly_stub)
    assert at_work.is_dir()
    assert theirs.is_dir()


@pytest.mark.parametrize("library", ["jinja2", "plotly"])
def test_a_missing_library_says_what_to_install(
    results: Path, out: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name, *rest))
    with pytest.raises(LlmjoulesError) as caught:
        build_site([results], out)
    assert library in caught.value.why
    assert "pip install '.[site]' in a clone of llmjoules, or 'llmjoules[site]'" in caught.value.fix


@pytest.mark.parametrize("address", ["javascript:alert(1)", "example.org", 'https://x.org/"><script>', "ftp://x.org"])
def test_an_address_that_is_none_is_refused(results: Path, out: Path, plotly_stub: Path, address: str) -> None:
    assert "is no address" in refused(results, out, plotly_stub, base_url=address).what


def test_plotly_is_found_without_importing_it(results: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)  # importing it now fails
    monkeypatch.setattr(importlib.util, "find_spec", importlib.util.find_spec)
    monkeypatch.delitem(__import__("sys").modules, "plotly")
    build_site([results], out)
    assert "plotly" not in __import__("sys").modules
    (script,) = (out / "assets").glob("plotly*.js")
    assert b"plotly.js v" in script.read_bytes()[:100]
