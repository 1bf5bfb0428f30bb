"""What a user gets for a mistake: one message that says what, why and what to do, exit code 2, nothing written."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmjoules.cli import main
from llmjoules.records.record import encode
from tests.builders import make_run
from tests.runner.conftest import Cli, Measured, cache, cli, environment, llama_tiny, measure

__all__ = ["cache", "cli", "environment", "llama_tiny", "measure"]  # fixtures that are used here too

MISTAKES = [
    ("measure --model dummy:lama-tiny --meter mock", "llama-tiny"),
    ("measure --model dummy:llama-tiny --meter mok", "mock"),
    ("measure --model dummy:llama-tiny --meter rapl", "rapl|RAPL"),
    ("measure --model dummy:llama-tiny --meter mock --new-tokens 0", "at least 1"),
    ("measure --model dummy:llama-tiny --meter mock --new-tokens -5", "at least 1"),
    ("measure --model dummy:llama-tiny --meter mock --repeats -1", "at least 1"),
    ("measure --model dummy:llama-tiny --meter mock --threads 0", "Take 1 to"),
    ("measure --model dummy:llama-tiny --meter mock --meter-option mock.sed=1", "nearest known name is seed"),
    ("measure --model dummy:llama-tiny --meter mock --meter-option mock.seed=x", "Expected `int`"),
    ("measure --model dummy:llama-tiny --meter mock --meter-option nonsense", "NAME.KEY=VALUE"),
    ("measure --model dummy:llama-tiny --meter mock --plugin missing.py", "missing.py"),
    ("measure --model dummy:llama-tiny --meter mock --out a-file", "a-file"),
    ("measure --model ./missing --meter mock", "no such folder"),
    ("measure --model dummy:llama-tiny --meter mock --prompts missing.txt", "missing.txt"),
    ("measure --model dummy:llama-tiny --meter mock --device cuda --repeats 1", "--device cpu"),
    ("measure --model dummy:llama-tiny --meter mock --seed -1", "at least 0"),
    ("measure --model dummy:llama-tiny --meter mock --repeats " + "9" * 400, "at least 1"),
    ("measure --model dummy:llama-tiny --meter mock --new-tokens x", "invalid int value"),
    ("measure --model dummy:llama-tiny --meter mock,auto", "auto"),
    ("measure --model dummy:llama-tiny --meter mock --meter-option mok.seed=1", "mock"),
    ("measure --model dummy:lama-tiny --dry-run", "llama-tiny"),
    ("measure --model dummy:llama-tiny --meter mock --prompt \udcff", "not text"),
    ("measure --model dumy:llama-tiny --meter mock", "dummy:llama-tiny"),
    ("measure --model dummy:llama-tiny --meter mock --meter-option rapl.share=true", "takes no part"),
    ("build-site missing --out site", "missing"),
    ("build-site a-file --out site", "a-file|record"),
]


@pytest.mark.parametrize(("words", "hint"), MISTAKES)
def test_a_mistake_is_answered_in_a_few_lines(
    words: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the function that is the command, and by the processes that it starts."""
    (tmp_path / "a-file").write_text("not a record\n")
    (tmp_path / "tree").mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMJOULES_POWERCAP", str(tmp_path / "tree"))
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        code = main(words.split())
    except SystemExit as left:  # argparse's way
        code = left.code
    finally:
        signal.signal(signal.SIGTERM, terminate)
    said, complained = capfd.readouterr()
    assert code == 2
    assert re.search(hint, complained), complained
    assert len(complained.splitlines()) <= 5
    assert "Traceback" not in complained
    assert said == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_ends_the_process_with_its_code(cli: Cli) -> None:
    done = cli(*"measure --model dummy:lama-tiny --prompt \udcff".split())
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 3)


DENIED = [
    "build-site {closed} --out site",
    "build-site {closed}/sub --out site",
    "build-site {open} --out site --templates {closed}/look",
    "export {closed} --format csv",
    "export {open} --format csv --out {closed}/x.csv",
    "compare {closed}#threads=1 {open}",
    "check {closed}/x.jsonl --baseline {open}",
    "fit {closed}",
    "import csv {closed}/x.csv",
    "measure --model {closed}/model --meter mock",
    "measure --model dummy:llama-tiny --meter mock --plugin {closed}/x.py",
    "measure --model dummy:llama-tiny --meter mock --out {closed}/x",
]


def without_rights_of_root() -> None:
    """In the process to be: root reads every file, unless it lacks CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights away from root by prctl(2)")
@pytest.mark.parametrize("words", DENIED)
def test_what_may_not_be_looked_at_is_named_in_a_few_lines(words: str, cli: Cli, tmp_path: Path) -> None:
    closed, other = tmp_path / "closed", tmp_path / "open"
    for folder in (closed, other):
        folder.mkdir()
        (folder / "r.jsonl").write_bytes(encode(make_run(load=folder.name)) + b"\n")
    closed.chmod(0)
    said = words.format(closed=closed, open=other).split()
    done = cli(*said, cwd=tmp_path, preexec_fn=without_rights_of_root)
    closed.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert str(closed) in done.stderr
    assert "Why: Permission denied." in done.stderr
    assert len(done.stderr.splitlines()) <= 3, done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "open"]


def test_a_full_disk_is_said_and_nothing_of_the_run_stays(cli: Cli, llama_tiny: Path, tmp_path: Path) -> None:
    """A limit on the size of files stops the write as a full disk does, half-way, and that of the rescue too."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    words = ["measure", *"--model dummy:llama-tiny --meter mock --repeats 1 --new-tokens 5 --idle 0".split()]
    rescue, results = tmp_path / "rescue", tmp_path / "results"
    rescue.mkdir()
    done = cli(*words, "--out", str(results), preexec_fn=limit, env_more={"TMPDIR": str(rescue)})
    assert done.returncode == 2, done.stderr
    assert "Cannot append to" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(rescue.glob("*.jsonl"))
    assert not results.exists()


def test_dry_run_shows_the_plan_and_runs_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli(*"measure --model dummy:llama-2-7b --repeats 7 --loads 3 --dry-run".split(), cwd=tmp_path)
    assert done.returncode == 0
    assert [line.split()[-2] for line in done.stdout.splitlines()[1:4]] == ["1–3", "4–5", "6–7"]
    assert "7 runs in 3 processes, about 2 min (a rule of thumb: " in done.stdout
    assert not list(tmp_path.iterdir())


def test_meters_lists_ours_with_the_reason_where_one_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    import json

    done = cli("meters", "--json", env=os.environ | {"LLMJOULES_POWERCAP": str(tmp_path)})
    listed = {meter["name"]: meter for meter in json.loads(done.stdout)["meters"]}
    assert {"mock", "rapl", "estimate"} <= set(listed)
    assert listed["mock"]["available"]
    assert listed["estimate"]["source"] == "modelled"
    assert not listed["rapl"]["available"]
    assert str(tmp_path) in listed["rapl"]["why"]


def test_output_that_nobody_reads_is_no_error(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m llmjoules schema | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, check=False)
    assert done.stderr == b""


def test_without_libraries_the_command_that_needs_them_says_how_to_install_them(tmp_path: Path) -> None:
    """An environment with the base install alone: everything else is hidden from the import system."""
    code = """
import sys, importlib.machinery
hidden = {"torch", "transformers", "accelerate", "jinja2", "plotly", "numpy"}
find = importlib.machinery.PathFinder.find_spec
def find_others(name, *rest, **more):
    return None if name.partition(".")[0] in hidden else find(name, *rest, **more)
importlib.machinery.PathFinder.find_spec = find_others
from llmjoules.cli import main
sys.exit(main(sys.argv[1:]))
"""
    (tmp_path / "r.jsonl").write_text("")
    for words, extra in (
        ("measure --model dummy:llama-tiny --meter mock", "measure"),
        (f"build-site {tmp_path} --out {tmp_path}/s", "site"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert f"pip install '.[{extra}]' in a clone" in done.stderr
        assert f"or 'llmjoules[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_plugin_that_breaks_is_named_and_the_rest_goes_on(measure: Callable[..., Measured], tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('out of order')\n")
    words = f"--model dummy:llama-tiny --meter mock --plugin {tmp_path}/broken.py --repeats 1 --new-tokens 3 --idle 0"
    measured = measure(*words.split())
    assert measured.done.returncode == 0
    assert "broken.py" in measured.done.stderr
    assert "out of order" in measured.done.stderr
    assert len(measured.records) == 1


def test_output_to_a_full_disk_is_said_in_a_line(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "llmjoules", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False)
    assert done.returncode == 2
    assert "no space is left" in done.stderr
    assert "Traceback" not in done.stderr
