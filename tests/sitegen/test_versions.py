"""Rows, models and systems whose records say different things: what has changed is shown, not pooled unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import Accelerator, Model, Record, Run
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.views import row_badges
from tests.builders import make_run
from tests.sitegen.html import page_of
from tests.sitegen.inputs import failed, published, rows_from, runs, write

replace = msgspec.structs.replace


def changed(
    run: Run, n: int, *, software: dict[str, str | None] | None = None, limits: tuple[float, ...] = (), **more: Any
) -> Run:
    boards = tuple(Accelerator(name="A board", power_limit_w=limit_w) for limit_w in limits)
    system = replace(run.system, accelerators=boards, **more)
    return replace(run, id=f"{run.id}-{n}", software=run.software | (software or {}), system=system)


def warnings(records: list[Run]) -> list[tuple[str, str]]:
    [row] = rows_from(records)
    return [
        (badge.words, badge.meaning) for badge in row_badges(row) if "version" in badge.words or "limit" in badge.words
    ]


def of_torch(*versions: str) -> list[Run]:
    return [changed(run, n, software={"torch": version}) for n, version in enumerate(versions) for run in runs()]


def test_a_row_of_two_torch_versions_says_so() -> None:
    assert warnings(of_torch("2.12.0", "2.11.0")) == [("2 torch versions", "2 torch versions: 2.11.0, 2.12.0")]


def test_other_versions_of_unlike_runs_are_no_pool() -> None:
    """Two rows, each with one version."""
    records = [
        *of_torch("2.11.0"),
        *(replace(run, cell="another", id=f"another-{run.id}") for run in of_torch("2.12.0")),
    ]
    assert [len(row.versions["torch"]) for row in rows_from(records)] == [1, 1]


@pytest.mark.parametrize(("name", "words"), [("transformers", "transformers versions"), ("driver", "driver versions")])
def test_other_software_that_decides_figures_is_flagged_too(name: str, words: str) -> None:
    records = [changed(run, n, software={name: f"5.{n}"}) for n in range(3) for run in runs()]
    assert warnings(records) == [(f"3 {words}", f"3 {words}: 5.0, 5.1, 5.2")]


def test_what_is_not_installed_is_no_version() -> None:
    records = [
        changed(run, n, software={"driver": d, "torch": "2"}) for n, d in enumerate((None, "550")) for run in runs()
    ]
    [row] = rows_from(records)
    assert row.versions["driver"] == ("550",)
    assert warnings(records) == []


def test_a_row_of_two_power_limits_says_so() -> None:
    """Two boards with the same limit have one; with one of them held lower there is another."""
    alike = [changed(run, 0, limits=(300, 300)) for run in runs()]
    assert warnings(alike) == []
    lower = [changed(run, 1, limits=(300, 250)) for run in runs()]
    assert warnings(alike + lower) == [("2 power limits", "2 power limits: 250 W + 300 W, 300 W")]


def facts(site: Path, folder: str, words: str) -> dict[str, str]:
    text = page_of(site, folder, words).path.read_text("utf-8")
    pairs = [part.partition("</dt><dd>")[::2] for part in text.split("<dt>")[1:]]
    return {name: value.partition("</dd>")[0] for name, value in pairs}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, plotly_stub: Path) -> Path:
    """One model and one system whose records say different things; a failed run and a published figure among them."""
    folder = tmp_path_factory.mktemp("differing")
    records: list[Record] = of_torch("2.10.0", "2.9.1")
    records += [changed(run, 9, limits=(300, 300, 250), memory_bytes=48_000_000_000) for run in runs(threads=2)]
    real = Model(name="dummy:llama-tiny", dtype="bfloat16", weights="real", architecture="llama", parameters=200_000)
    records += [replace(run, id=f"real-{run.id}", model=real, cell="real") for run in runs(new_tokens=30)]
    records += [
        make_run(model="M", id=f"m{n}", load=f"m{n}", system="Wide", software={"torch": f"2.{n}.0"}) for n in range(12)
    ]
    write(folder / "in" / "r.jsonl", [*records, failed(), published()])
    build_site([folder / "in"], folder / "site", plotly_js=plotly_stub)
    return folder / "site"


def test_the_badge_stands_on_the_row_of_each_page(site: Path) -> None:
    for page in (site / "index.html", page_of(site, "models", "llama-tiny").path):
        assert 'title="2 torch versions: 2.10.0, 2.9.1">2 torch versions<' in page.read_text("utf-8")


def test_facts_of_a_model_are_those_of_all_its_records(site: Path) -> None:
    found = facts(site, "models", "llama-tiny")
    assert found["Weights"] == "dummy (random numbers), real"
    assert found["Precision"] == "bfloat16, float32"
    assert found["Architecture"] == "llama"


def test_facts_of_a_system_are_those_of_all_its_records(site: Path) -> None:
    found = facts(site, "systems", "Test CPU")
    assert found["Memory"] == "24.0 GB, 48.0 GB"
    assert found["Accelerators"] == "2 × A board (300 W limit) + 1 × A board (250 W limit), none"
    assert "; torch 2.9.1, 2.10.0, 2.13.0; transformers 5.24.0" in found["Software"]


def test_of_many_values_a_few_are_named(site: Path) -> None:
    assert facts(site, "systems", "Wide")["Software"] == "torch 2.0.0, 2.1.0, 2.2.0, 2.3.0 and 8 more"


def test_nobody_says_that_the_machine_of_a_paper_has_no_accelerators(site: Path) -> None:
    assert "Accelerators" not in facts(site, "systems", "M1 Pro")
