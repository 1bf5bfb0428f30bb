"""The compare page and `llmjoules compare`, side by side on the same records."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from llmjoules.records.cells import cells_of
from llmjoules.records.compare import Compared, compare
from llmjoules.records.record import Run, Stopping
from llmjoules.reports import percent
from llmjoules.sitegen.build import build_site
from tests.browser.test_pages import Visit, browser  # noqa: F401
from tests.builders import make_run
from tests.sitegen.inputs import write

pytestmark = pytest.mark.browser

CHANCE = random.Random(5)


def side(
    name: str, threads: int, watts: float, loads: int, repeats: int = 1, *, at: int = 0, step: int = 1, **more: Any
) -> list[Run]:
    """Loads that scatter by 3 %, their runs by 1 %, each load one `step` of minutes after the last."""
    found = []
    for load in range(loads):
        level = watts * (1 + 0.03 * CHANCE.gauss(0, 1))
        for repeat in range(repeats):
            run = make_run(
                model=name, threads=threads, load=f"{name}-{threads}-{load}", repeat=load * repeats + repeat,
                inference_w=level * (1 + 0.01 * CHANCE.gauss(0, 1)), id=f"{name}-{threads}-{load}-{repeat}",
                inference_s=round(2 * (1 + 0.02 * CHANCE.gauss(0, 1)), 6),
                started_at=f"2026-01-02T03:{at + step * load:02d}:{repeat:02d}.000Z", **more,
            )  # fmt: skip
            found.append(run)
    return found


def stopping(reason: str, level: float | None = None, *, stop: bool = True) -> Stopping:
    made = Stopping(
        stop=stop, reason=reason, rule="t", precision=0.02, component="cpu", half_width=0.01, mean=4.0, basis="loads",
        runs=5, loads=5,
    )  # fmt: skip
    return made if level is None else msgspec.structs.replace(made, level=level, difference=-1.0)


def powers(name: str, threads: int, watts: list[float]) -> list[Run]:
    return [
        make_run(model=name, threads=threads, load=f"{name}{threads}{n}", inference_w=w, id=f"{name}-{threads}-{n}")
        for n, w in enumerate(watts)
    ]


def cases() -> dict[str, tuple[list[Run], list[Run]]]:
    """A and B by the name of their model, which is all that they share beside the work."""
    precise = stopping("precise: ± 1.9 %")
    looks = [stopping("goes on", level, stop=False) for level in (0.0001, 0.004, 0.01)]
    turns_a, turns_b = (
        side("level", threads, watts, 6, at=at, step=2, study="s") for threads, watts, at in ((1, 40, 0), (2, 30, 1))
    )
    for n, run in enumerate(turns_a[3:] + turns_b[3:]):
        run.stopping = looks[n % 3]
    return {
        "welch": (side("welch", 1, 40, 5, 3), side("welch", 2, 38, 4, 2, at=20)),
        "far": (side("far", 1, 10, 3), side("far", 2, 80, 3, at=20)),
        "turns": (side("turns", 1, 40, 6, 2, step=2), side("turns", 2, 39, 6, 2, at=1, step=2)),
        "one-load": (side("one-load", 1, 40, 1, 6), side("one-load", 2, 35, 1, 4, at=9)),
        "mixed": (side("mixed", 1, 40, 1, 6), side("mixed", 2, 35, 5, 2, at=9)),
        "widened": (side("widened", 1, 40, 5, stopping=precise), side("widened", 2, 37, 5, at=20)),
        "level": (turns_a, turns_b[:5]),  # the last block failed on one side
        "zero": (powers("zero", 1, [1.0, 40.0, 90.0]), powers("zero", 2, [20.0, 21.0, 22.0])),
        "one-run": (powers("one-run", 1, [40.0]), powers("one-run", 2, [30.0, 31.0])),
        "equal": (powers("equal", 1, [40.0, 40.0]), powers("equal", 2, [40.0, 40.0])),
    }


@pytest.fixture(scope="module")
def both(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Compared, dict[str, Any]]]:  # noqa: F811
    """Of each case what the command finds and what the page says."""
    folder, records = tmp_path_factory.mktemp("compare"), cases()
    (folder / "plotly.js").write_text("// no chart is looked at\n")
    build_site(
        [write(folder / "in" / "r.jsonl", [run for sides in records.values() for run in (*sides[0], *sides[1])])],
        folder / "site",
        plotly_js=folder / "plotly.js",
    )
    rows = json.loads((folder / "site" / "data" / "settings.js").read_text()[len("LJ.rows(") : -len(");\n")])
    keys = {(row["facts"]["Model"], row["facts"]["Threads"]): row["key"] for row in rows}
    visit = Visit(browser, folder / "site", viewport={"width": 1280, "height": 900})
    found = {}
    for name, (a, b) in records.items():
        visit.page.goto("about:blank")
        visit.page.goto(f"{(folder / 'site' / 'compare.html').as_uri()}#v1;s={keys[name, '1']},{keys[name, '2']}")
        item = visit.page.locator(".findings li")
        said = item.evaluate("item => ({...item.dataset, words: item.textContent.replaceAll('\\u2212', '-')})")
        [comparison], _ = compare(cells_of(a), cells_of(b))
        [whole] = [one for one in comparison.compared if one.figure == "whole"]
        found[name] = whole, said
    visit.context.close()
    assert not visit.complaints
    return found


@pytest.mark.parametrize("name", list(cases()))
def test_page_and_command_find_the_same_difference(both: Any, name: str) -> None:
    command, page = both[name]
    found = command.difference
    for key, value in (("percent", found.percent), ("low", found.percent_low), ("high", found.percent_high)):
        assert page[key] == "null" if value is None else float(page[key]) == pytest.approx(value, rel=1e-6, abs=1e-7)
    assert page["p"] == "null" if found.p is None else float(page["p"]) == pytest.approx(found.p, rel=1e-5, abs=1e-12)
    words = page["words"]
    if command.verdict == "not told apart":
        assert f"not told apart: the difference is {percent(found)} of" in words
    elif command.verdict != "unknown":
        more = "less" if command.verdict == "cheaper" else "more"
        assert f"takes {percent(found, positive=True)} {more} energy" in words
    if found.power is not None and command.verdict in ("cheaper", "dearer"):
        assert f"{found.power.value:.1f}"[:3] in words
    assert f"{command.runs[0]} and {command.runs[1]} runs in {command.loads[0]} and {command.loads[1]} loads" in words
    assert ("since the sides took turns" in words) is found.paired
    assert ("counts 1.15 times" in words) is (max(command.widened) > 1)


def test_the_cases_are_of_every_kind(both: Any) -> None:
    """Else agreement would mean little."""
    commands = {name: command for name, (command, _) in both.items()}
    assert {command.verdict for command in commands.values()} == {"cheaper", "dearer", "not told apart", "unknown"}
    assert {name for name, command in commands.items() if command.difference.paired} == {"turns", "level"}
    assert commands["level"].difference.alpha == 0.01
    assert {command.basis for command in commands.values()} == {"loads", "runs", "one run"}
    assert commands["zero"].difference.percent_low is None
    assert commands["zero"].difference.p is not None
