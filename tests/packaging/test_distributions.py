"""What is published is what git tracks: no module, template or table is left out, and nothing slips in."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import EntryPoint
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    """Files of this release; where there is no git (an unpacked sdist), those that lie here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    return [
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]


def package_files() -> set[str]:
    return {name for name in tracked() if name.startswith("llmjoules/")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it, of a copy of what git tracks."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    (source / "llmjoules" / "__pycache__").mkdir()
    (source / "llmjoules" / "__pycache__" / "left-over.cpython-311.pyc").touch()
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [sdist] = out.glob("*.tar.gz")
    [wheel] = out.glob("*.whl")
    return sdist, wheel


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if not member.isdir()}


def test_the_wheel_holds_every_tracked_file_of_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = in_wheel(built[1])
    assert {name for name in names if ".dist-info/" not in name} == package_files()


def test_the_sdist_holds_every_tracked_file_of_the_package_and_nothing_else_of_it(built: tuple[Path, Path]) -> None:
    names = in_sdist(built[0])
    assert {name for name in names if name.startswith("llmjoules/")} == package_files()
    assert names >= {"pyproject.toml", "README.md", "LICENSE", "CONTRIBUTING.md", "Makefile", "constraints.txt"}
    assert names >= {name for name in tracked() if name.startswith(("tests/", "docs/"))}
    assert names - set(tracked()) == {"PKG-INFO"}


def test_the_package_says_that_it_is_typed_and_under_which_licence(built: tuple[Path, Path]) -> None:
    names = in_wheel(built[1])
    assert "llmjoules/py.typed" in names
    [licence] = [name for name in names if name.endswith("/licenses/LICENSE")]
    with zipfile.ZipFile(built[1]) as archive:
        text = archive.read(licence).decode()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_metadata_gives_ranges_and_the_extras_of_the_contract(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "llmjoules"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {"all", "measure", "site", "test"}
    required = metadata.get_all("Requires-Dist")
    assert not [line for line in required if "==" in line.partition(";")[0]]
    base = {line.split(">")[0] for line in required if "extra ==" not in line}
    assert base == {
        "msgspec",
        "nvidia-ml-py",
        "platformdirs",
        "pluggy",
        "psutil",
        "pyjoules",
        "rich",
        "zeus-apple-silicon",
    }


def entry_points(wheel: Path) -> list[EntryPoint]:
    parser = configparser.ConfigParser(delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        parser.read_string(archive.read(name).decode())
    return [EntryPoint(name, value, group) for group in parser.sections() for name, value in parser[group].items()]


def test_every_entry_point_leads_to_something(built: tuple[Path, Path]) -> None:
    points = entry_points(built[1])
    assert {point.group for point in points} >= {"console_scripts", "llmjoules.meters"}
    for point in points:
        assert point.load() is not None


def test_every_pin_is_exact_and_the_extras_are_pinned() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    names = [plain(pin.partition("==")[0]) for pin in pins]
    assert all("==" in pin for pin in pins)
    assert names == sorted(set(names))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {plain(line.partition(">")[0]) for line in wanted if "[" not in line} <= set(names)
    assert "torch==2.13.0" in pins  # no local version such as +cpu, which no registry serves


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_linter_sees_every_module_once() -> None:
    """A pattern that leaves out the links at the top (meters, runner, …) leaves out the rooms of that name as well."""
    ruff = [sys.executable, "-m", "ruff", "check", "--show-files", "--no-cache"]
    seen = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [str(Path(line).relative_to(ROOT)) for line in seen if line.endswith(".py")]
    assert len(names) == len(set(names))
    assert set(names) >= {name for name in package_files() if name.endswith(".py")}
    assert not [name for name in names if name.startswith(("meters/", "runner/", "sitegen/", "templates/"))]
