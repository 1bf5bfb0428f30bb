"""The compare page and `llmjoules compare`, side by side on the same records."""

from __future__ import annotations

import json
import random
import re
from typing import Any, NamedTuple

import msgspec
import pytest

from llmjoules.records.cells import Repeat, cells_of
from llmjoules.records.compare import Compared, Comparison, compare
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import comparability_class
from llmjoules.records.record import Accelerator, Published, Run, Stopping
from llmjoules.records.rounding import number, plus_minus
from llmjoules.reports import comparison, percent
from llmjoules.sitegen.build import build_site
from tests.browser.test_pages import Visit, browser  # noqa: F401
from tests.builders import ESTIMATE, make_run
from tests.records.test_rounding import CASES
from tests.sitegen.inputs import write

pytestmark = pytest.mark.browser

[CHANNEL] = ESTIMATE.channels
SIMULATED = msgspec.structs.replace(ESTIMATE, channels=(msgspec.structs.replace(CHANNEL, source="simulated"),))
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


def powers(name: str, threads: int, watts: list[float], **more: Any) -> list[Run]:
    return [
        make_run(
            model=name, threads=threads, load=f"{name}{threads}{n}", inference_w=w, id=f"{name}-{threads}-{n}", **more
        )
        for n, w in enumerate(watts)
    ]


def published(runs: list[Run]) -> list[Published]:
    return [
        Published(
            id=run.id, schema=run.schema, started_at=run.started_at, model=run.model, system=run.system,
            workload=run.workload, meters=run.meters, totals=run.totals, tokens=run.tokens, phases=run.phases,
            source="A paper, table 2", cell=run.cell, class_=run.class_, load=run.load,
        )
        for run in runs
    ]  # fmt: skip


def figures(runs: list[Run]) -> list[Published]:
    """Of whose processes nothing is known."""
    return [msgspec.structs.replace(one, load=None) for one in published(runs)]


def without_lengths(runs: list[Run]) -> list[Published]:
    """As most tables are: neither how long prompts nor how long answers were, and a class that is made of the rest."""
    work = msgspec.structs.replace(runs[0].workload, prompt_tokens=None, new_tokens=None, prompt_sha256=None)
    class_ = comparability_class(runs[0].meters, runs[0].model, work)
    return [msgspec.structs.replace(one, workload=work, class_=class_) for one in published(runs)]


def with_versions(runs: list[Run], torch: str, limit_w: float, driver: str = "550") -> list[Run]:
    boards = (Accelerator(name="A board", power_limit_w=limit_w),)
    return [
        msgspec.structs.replace(
            run, software=run.software | {"torch": torch, "driver": driver},
            system=msgspec.structs.replace(run.system, accelerators=boards),
        )
        for run in runs
    ]  # fmt: skip


def cases() -> dict[str, tuple[list[Repeat], list[Repeat]]]:
    """A and B by the name of their model, which is all that they share beside the work."""
    precise = stopping("precise: ± 1.9 %")
    looks = [stopping("goes on", level, stop=False) for level in (0.0001, 0.004, 0.01)]
    turns_a, turns_b = (
        side("level", threads, watts, 6, at=at, step=2, study="s") for threads, watts, at in ((1, 40, 0), (2, 30, 1))
    )
    for n, run in enumerate(turns_a[3:] + turns_b[3:]):
        run.stopping = looks[n % 3]
    older = side("versions", 1, 40, 5)
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
        "published": (published(side("published", 1, 40, 3, 2)), published(side("published", 2, 30, 3, 2, at=20))),
        "one-published": (side("one-published", 1, 40, 3, 2), published(side("one-published", 2, 25, 4, at=20))),
        "versions": (
            with_versions(older[:3], "2.11.0", 300) + with_versions(older[3:], "2.12.0", 300),
            with_versions(side("versions", 2, 30, 4, at=30), "2.12.0", 250.5, "560"),
        ),
        "equal": (powers("equal", 1, [40.0, 40.0]), powers("equal", 2, [40.0, 40.0])),
        "unequal": (side("unequal", 1, 40, 2), side("unequal", 2, 38, 10, at=20)),
        "unequal-far": (side("unequal-far", 1, 10, 12), side("unequal-far", 2, 80, 3, 2, at=20)),
        "even": (powers("even", 1, [40.0, 40.0]), powers("even", 2, [30.0, 31.0, 32.0])),
        "figures": (figures(side("figures", 1, 40, 3)), figures(side("figures", 2, 30, 4, at=20))),
        "one-figure": (figures(side("one-figure", 1, 40, 1)), figures(side("one-figure", 2, 30, 1, at=20))),
        "run-and-figure": (side("run-and-figure", 1, 40, 1), figures(side("run-and-figure", 2, 30, 3, at=20))),
        "one-against-figures": (
            side("one-against-figures", 1, 40, 3, 2),
            figures(side("one-against-figures", 2, 30, 4, at=20)),
        ),
        "unknown-work": (
            without_lengths(side("unknown-work", 1, 40, 3)),
            without_lengths(side("unknown-work", 2, 30, 3, at=20)),
        ),
        "half-known-work": (
            side("half-known-work", 1, 40, 3),
            without_lengths(side("half-known-work", 2, 30, 3, at=20)),
        ),
        "modelled": (side("modelled", 1, 40, 3, meter=ESTIMATE), side("modelled", 2, 60, 3, at=20, meter=ESTIMATE)),
        "modelled-lower": (
            published(side("modelled-lower", 1, 60, 3, meter=ESTIMATE)),
            published(side("modelled-lower", 2, 40, 3, at=20, meter=ESTIMATE)),
        ),
        "modelled-alike": (
            powers("modelled-alike", 1, [40.0, 41.0], meter=ESTIMATE),
            powers("modelled-alike", 2, [40.1, 41.1], meter=ESTIMATE),
        ),
        "simulated": (
            side("simulated", 1, 40, 3, meter=SIMULATED),
            side("simulated", 2, 60, 3, at=20, meter=SIMULATED),
        ),
        "mixed-figures": (
            published(side("mixed-figures", 1, 40, 2, 2)) + figures(side("mixed-figures", 1, 41, 5, at=9)[2:]),
            figures(side("mixed-figures", 2, 30, 4, at=20)),
        ),
    }


def refused() -> dict[str, tuple[list[Repeat], list[Repeat]]]:
    """As `cases`; the command refuses them, and says what the value is."""
    estimates, counts = (side("published-sources", *of, 3, 2) for of in ((1, 40), (2, 30)))
    for run in estimates:
        run.meters = ESTIMATE, *run.meters[1:]
        run.totals = {"cpu": msgspec.structs.replace(run.totals["cpu"], source="modelled")}
    return {"published-sources": (published(estimates), published(counts))}


class Both(NamedTuple):
    """What the command finds of a case and what the page says. differing: the table of what differs, as lists of words.
    counts: how many runs and loads each side has, in words.

    whole: None where the command refuses.
    """

    comparison: Comparison | None
    whole: Compared | None
    why: str
    page: dict[str, str]
    differing: list[list[str]]
    counts: list[str]


@pytest.fixture(scope="module")
def both(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:  # noqa: F811
    folder, records = tmp_path_factory.mktemp("compare"), cases() | refused()
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
        differing = visit.page.get_by_role("region", name="What differs").locator("tbody tr").evaluate_all(
            "lines => lines.map(line => Array.from(line.children, cell => cell.textContent))"
        )  # fmt: skip
        counts = visit.page.get_by_role("row", name="Runs / loads").locator("td").all_text_contents()
        try:
            [command], _ = compare(cells_of(a), cells_of(b))
        except LlmjoulesError as error:
            found[name] = Both(None, None, str(error), said, differing, counts)
            continue
        [whole] = [one for one in command.compared if one.figure == "whole"]
        found[name] = Both(command, whole, "", said, differing, counts)
    visit.context.close()
    assert not visit.complaints
    return found


@pytest.mark.parametrize("name", list(cases()))
def test_page_and_command_find_the_same_difference(both: Any, name: str) -> None:
    command, page = both[name].whole, both[name].page
    found = command.difference
    for key, value in (("percent", found.percent), ("low", found.percent_low), ("high", found.percent_high)):
        assert page[key] == "null" if value is None else float(page[key]) == pytest.approx(value, rel=1e-6, abs=1e-7)
    assert page["p"] == "null" if found.p is None else float(page["p"]) == pytest.approx(found.p, rel=1e-5, abs=1e-12)
    words = page["words"]
    if command.verdict == "not told apart":
        assert f"not told apart: the difference is {percent(found)} of" in words
    elif command.source != "measured":
        how = "lower" if command.verdict == "cheaper" else "higher"
        assert f"B is {how} by {percent(found, positive=True)} in energy per token (what" in words
    elif command.verdict != "unknown":
        more = "less" if command.verdict == "cheaper" else "more"
        assert f"takes {percent(found, positive=True)} {more} energy" in words
    if found.power is not None and command.verdict in ("cheaper", "dearer"):
        [(value, half)] = re.findall(r"of the difference, (-?[\d.]+) ± ([\d.]+) J/token come from power", words)
        rounding = 0.51 * 10 ** -len(half.partition(".")[2])
        assert float(value) == pytest.approx(found.power.value, abs=rounding)
        assert float(half) == pytest.approx(found.power.half_width, abs=rounding)
    if command.figures == (0, 0):
        assert (
            f"{command.runs[0]} and {command.runs[1]} runs in {command.loads[0]} and {command.loads[1]} loads" in words
        )
    assert ("come from power" in words) is (found.power is not None and command.verdict != "not told apart")
    assert ("The work is not known to be the same" in words) is (both[name].comparison.same_work is None)
    assert ("since the sides took turns" in words) is found.paired
    assert ("counts 1.15 times" in words) is (max(command.widened) > 1)


def test_what_the_command_refuses_gets_no_ratio_on_the_page(both: Any) -> None:
    [refused] = [case for case in both.values() if case.comparison is None]
    assert "cpu (modelled) is not cpu (measured)" in refused.why
    assert "B is not compared: one is estimated, the other measured" in refused.page["words"]
    assert "percent" not in refused.page


@pytest.mark.parametrize(
    ("name", "rests_on"),
    [
        ("figures", "over figures (Welch, cautious where few{}): 3 and 4 published figures, {unknown}."),
        ("one-figure", "No interval: 1 and 1 published figures, {unknown}."),
        ("run-and-figure", "No interval: A 1 run in 1 load; B 3 published figures, {unknown}."),
        (
            "one-against-figures",
            "over loads and figures (Welch, cautious where few{}): "
            "A 6 runs in 3 loads; B 4 published figures, {unknown}.",
        ),
        ("mixed-figures", "A 4 runs in 2 loads and 3 published figures, {unknown}; B 4 published figures, {unknown}."),
    ],
)
def test_nobody_counts_the_loads_of_figures_whose_processes_are_unknown(both: Any, name: str, rests_on: str) -> None:
    case, unknown = both[name], "of whose processes nothing is known"
    assert rests_on.format("; Fieller", unknown=unknown) in case.page["words"]
    assert rests_on.format("", unknown=unknown) in " ".join(map(str, comparison(case.comparison)))
    assert ("one published figure has no interval" in case.page["words"]) is (name == "one-figure")
    assert case.counts[1] == f"{case.whole.figures[1]} published figure{'s' if name != 'one-figure' else ''}"


@pytest.mark.parametrize("name", ["unknown-work", "half-known-work"])
def test_work_of_unknown_lengths_passes_as_the_same_nowhere(both: Any, name: str) -> None:
    case, said = (
        both[name],
        "The work is not known to be the same: not all records say how long prompts and answers are.",
    )
    assert case.whole.verdict == "cheaper"
    assert case.whole.difference.power is None
    assert said in case.page["words"]
    assert said in list(comparison(case.comparison))
    assert "The work is not the same" not in case.page["words"]


@pytest.mark.parametrize(
    ("name", "who", "what"),
    [
        ("modelled", "by the model", "what a model says, not a measurement"),
        ("modelled-lower", "by the model", "what a model says, not a measurement"),
        ("modelled-alike", "by the model", "what a model says, not a measurement"),
        ("simulated", "in the simulation", "what was simulated, not a measurement"),
    ],
)
def test_joules_that_nobody_measured_take_more_of_nothing(both: Any, name: str, who: str, what: str) -> None:
    case = both[name]
    assert f"Against A, {who}, B is " in case.page["words"]
    assert what in case.page["words"]
    assert " takes " not in case.page["words"]
    said = " ".join(map(str, comparison(case.comparison)))
    assert f"{who}, " in said
    assert what in said
    assert ("published)" in case.page["words"]) is (name == "modelled-lower")


def test_published_figures_are_called_so(both: Any) -> None:
    assert "energy per token (published)" in both["published"].page["words"]
    one = both["one-published"]
    assert "energy per token (B is published)" in one.page["words"]
    assert ["Kind", "run", "published"] in one.differing
    assert "class" not in one.comparison.differing
    assert "The work is not the same" not in one.page["words"]
    assert "published" not in both["welch"].page["words"]


def test_versions_and_power_limits_stand_on_the_page_as_in_the_command(both: Any) -> None:
    case = both["versions"]
    assert case.differing[0] == ["torch", "2.11.0, 2.12.0", "2.12.0"], "what differs within a row comes first"
    assert case.comparison.differing["power limit"] == ("300 W", "250.5 W")
    page = {name: (a, b) for name, a, b in case.differing}
    for name in ("torch", "driver", "power limit"):
        assert page[name] == case.comparison.differing[name]
    assert "transformers" not in page
    assert "torch" not in {line[0] for line in both["welch"].differing}


def test_the_browser_rounds_as_python_does(browser: Any, tmp_path: Any) -> None:  # noqa: F811
    """The cases by hand, and a thousand at random of all sizes, many of them exactly between two figures."""
    chance = random.Random(7)
    build_site([write(tmp_path / "in" / "r.jsonl", side("a", 1, 40, 1))], tmp_path / "site")
    visit = Visit(browser, tmp_path / "site")
    visit.open("compare.html")
    pairs = [(case["mean"], case["half"]) for case in CASES]
    for _ in range(500):
        means = (
            chance.uniform(-10, 10) * 10 ** chance.randint(-12, 12),
            chance.randint(-9999, 9999) / 2 ** chance.randint(0, 9),
        )
        pairs += [
            (mean, abs(mean) * 10 ** chance.uniform(-6, 2) if chance.random() < 0.5 else chance.randint(0, 99) / 8)
            for mean in means
        ]
    found = visit.page.evaluate("pairs => pairs.map(pair => LJ.plusMinus(pair[0], pair[1]))", pairs)
    alone = visit.page.evaluate("pairs => pairs.map(pair => LJ.number(pair[0]))", pairs)
    visit.context.close()
    assert found[: len(CASES)] == [case["shown"] for case in CASES]
    assert found == [list(plus_minus(*pair)) for pair in pairs]
    assert alone == [number(mean) for mean, _ in pairs]


def test_the_cases_are_of_every_kind(both: Any) -> None:
    """Else agreement would mean little."""
    commands = {name: case.whole for name, case in both.items() if case.whole is not None}
    assert {command.verdict for command in commands.values()} == {"cheaper", "dearer", "not told apart", "unknown"}
    assert {name for name, command in commands.items() if command.difference.paired} == {"turns", "level"}
    assert commands["level"].difference.alpha == 0.01
    assert {command.basis for command in commands.values()} == {"loads", "runs", "one run"}
    assert commands["zero"].difference.percent_low is None
    assert commands["zero"].difference.p is not None
