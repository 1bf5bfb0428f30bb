"""The front door is light: nobody waits for torch to read a help text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache

import pytest

import llmjoules

HEAVY = {"torch", "transformers", "accelerate", "plotly", "numpy", "jinja2", "duckdb", "pyarrow", "pandas", "pyJoules"}

THEN_LIST_MODULES = """
import atexit, json, sys
def report():
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
atexit.register(report)
"""


def loaded_by(code: str, **environment: str) -> tuple[str, set[str]]:
    """What `code` prints, and the top-level modules that it has loaded by its end."""
    command = [sys.executable, "-c", THEN_LIST_MODULES + code]
    environment = {**os.environ, "COLUMNS": "100", **environment}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def run_command(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    return loaded_by(f"import sys; from llmjoules.cli import main; sys.exit(main({list(arguments)!r}))", **environment)


@cache
def commands() -> list[str]:
    text, _ = run_command("--help")
    return re.findall(r"^    ([a-z][a-z-]*)(?=\s|$)", text, re.MULTILINE)


def test_importing_the_package_loads_nothing_heavy() -> None:
    _, modules = loaded_by("import llmjoules; dir(llmjoules); llmjoules.__version__")
    assert not modules & (HEAVY | {"pynvml", "rich", "msgspec", "psutil"})


@pytest.mark.parametrize("room", ["records", "meters", "runner", "sitegen"])
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    assert not loaded_by(f"import llmjoules.{room}")[1] & HEAVY


def test_the_help_names_the_commands() -> None:
    assert set(commands()) >= {"measure", "meters", "build-site", "demo", "schema"}


def test_no_help_loads_anything_heavy() -> None:
    for arguments in (["--help"], ["--version"], *([command, "--help"] for command in commands())):
        text, modules = run_command(*arguments)
        assert text.strip()
        assert not modules & HEAVY, arguments


def test_every_help_can_be_printed_where_only_ascii_can() -> None:
    for arguments in (["--help"], *([command, "--help"] for command in commands())):
        run_command(*arguments, PYTHONIOENCODING="ascii")


def test_the_program_and_the_module_are_the_same_door() -> None:
    module = subprocess.run([sys.executable, "-m", "llmjoules", "--help"], capture_output=True, text=True, check=True)
    assert re.findall(r"^    ([a-z][a-z-]*)(?=\s|$)", module.stdout, re.MULTILINE) == commands()


def test_the_public_names_are_those_of_the_contract() -> None:
    assert llmjoules.__all__ == [
        "LlmjoulesError",
        "Monitor",
        "Window",
        "__version__",
        "build_site",
        "measure",
        "to_pandas",
    ]
    assert dir(llmjoules) == sorted(llmjoules.__all__)
    for name in llmjoules.__all__:
        assert getattr(llmjoules, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_the_kind'"):
        llmjoules.nothing_of_the_kind  # noqa: B018
