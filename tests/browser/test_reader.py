"""What a reader chooses: filters, limits, order, prices and comparisons, kept in the link."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.sitegen.build import build_site
from tests.browser.test_pages import WIDTHS, Visit, browser, site, until, visit  # noqa: F401
from tests.builders import make_run
from tests.sitegen.inputs import write

pytestmark = pytest.mark.browser


def models(page: Any) -> list[str]:
    return [row.text_content() for row in page.locator("tr.first .name").all() if row.is_visible()]


def link(page: Any) -> str:
    return page.evaluate("location.hash")


@pytest.fixture
def home(visit: Any) -> Visit:  # noqa: F811
    opened = visit(viewport={"width": 1280, "height": 900})
    opened.open("index.html")
    return opened


def test_one_row_for_each_model_on_each_system_until_all_settings_are_asked_for(home: Visit) -> None:
    """C-model ran at 1, 2 and 4 threads with 4, 3 and 6 J/token."""
    best = models(home.page)
    assert best.count("C-model") == 1
    row = home.page.locator("tr.first:visible", has_text="C-model")
    assert row.locator("td.n").first.text_content() == "2"
    assert home.page.locator("[data-status]").text_content() == "7 of 12 rows"
    home.page.get_by_label("Best setting only").uncheck()
    home.page.locator("tr.first", has_text="C-model").nth(2).wait_for()
    assert models(home.page).count("C-model") == 3
    assert link(home.page) == "#v1;best=0"
    home.page.go_back()
    assert models(home.page) == best
    assert home.complaints == []


def test_limits_choose_the_best_setting_that_keeps_them_and_live_in_the_link(home: Visit) -> None:
    """Of C-model's settings (40, 30 and 60 W) none is below 20 W; A-model's second (20 W) and both of B-model's are."""
    home.page.get_by_label("At most").fill("25")
    until(lambda: "C-model" not in models(home.page))
    assert "most=25" in link(home.page)
    shown = models(home.page)
    assert "C-model" not in shown
    assert {"A-model", "B-model"} <= set(shown)
    again = home.page.evaluate("location.href")
    home.page.goto("about:blank")
    home.page.goto(again)
    until(lambda: models(home.page) == shown)
    home.page.get_by_label("At least").fill("1000")
    assert models(home.page) == []
    assert "no setting is within these limits" in home.page.locator("[data-status]").text_content()
    home.page.get_by_role("button", name="Reset").click()
    assert len(models(home.page)) > len(shown)
    assert link(home.page) == ""
    assert home.complaints == []


def test_a_limit_of_the_sites_owner_can_be_taken_away_in_a_link(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    """10 tokens/s is what every run has: of at least 20 there is none."""
    (tmp_path / "site.toml").write_text("[limits]\ntokens_per_s = 20")
    build_site([write(tmp_path / "in" / "r.jsonl", [make_run()]).parent], tmp_path / "site")
    opened = Visit(browser, tmp_path / "site")
    opened.open("index.html")
    assert models(opened.page) == []
    assert "no setting is within these limits" in opened.page.locator("[data-status]").text_content()
    opened.page.get_by_label("At least").fill("")
    until(lambda: len(models(opened.page)) == 1)
    assert link(opened.page) == "#v1;least="
    opened.page.reload()
    until(lambda: len(models(opened.page)) == 1)
    assert opened.complaints == []
    opened.context.close()


def test_a_head_sorts_within_its_sections_up_then_down_then_not(home: Visit) -> None:
    page = home.page
    page.get_by_label("Best setting only").uncheck()
    page.locator("tr.first", has_text="C-model").nth(2).wait_for()
    first = models(page)
    head = page.locator("th[data-sort=power]")

    def powers() -> list[float]:
        rows = page.locator("tbody", has_text="C-model").first.locator("tr.first")
        return [float(row.get_attribute("data-power")) for row in rows.all()]

    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert powers() == sorted(powers())
    head.get_by_role("button").click()
    assert powers() == sorted(powers(), reverse=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert models(page) == first


def test_all_kinds_of_energy_stand_in_one_list_where_the_reader_asks_for_it(home: Visit) -> None:
    page = home.page
    apart = models(page)
    page.get_by_label("All kinds in one list").check()
    until(lambda: page.locator("tr.section:visible").count() == 1)
    rows = page.locator("tr.first:visible").all()
    figures = [float(given) for row in rows if (given := row.get_attribute("data-token"))]
    assert figures == sorted(figures)
    assert len(figures) > 3
    assert sorted(models(page)) == sorted(apart)
    said = page.locator("tr.about:visible").all_text_contents()
    assert any("published" in words for words in said)
    assert any("simulated" in words or "estimated" in words for words in said)
    assert (
        page.locator("tr.section:visible")
        .text_content()
        .endswith("not a ranking: scope, source and work differ, as each row says")
    )
    assert link(page) == "#v1;together=1"
    page.get_by_label("All kinds in one list").uncheck()
    until(lambda: models(page) == apart)
    assert home.complaints == []


def test_joules_become_money_by_the_readers_price_and_say_that_they_are_derived(home: Visit) -> None:
    """60 J a run, batch 1: 60 / 3600 Wh x 1,000 requests x 0.30 / 1000 EUR per Wh x PUE 1.5 = 0.0075 EUR."""
    page = home.page
    row = page.locator("tr.first:visible", has_text="C-model")
    assert float(row.get_attribute("data-joules")) == pytest.approx(60)
    page.get_by_label("Energy as").select_option("money")
    cell = row.locator("td[data-cost]")
    assert cell.text_content() == "–", "no default pretends to know a price"
    page.get_by_label("Price").fill("0.30")
    page.get_by_label("Currency").fill("EUR")
    page.get_by_label("PUE").fill("1.5")
    assert float(cell.text_content().split(" ± ")[0]) == pytest.approx(0.0075, rel=0.01)
    assert "EUR per 1,000 requests" in page.locator("th[data-energy]").text_content()
    assert page.locator("[data-derived]").text_content().startswith("Derived: ")
    page.get_by_label("Requests a day").fill("2000")
    assert float(cell.text_content().split(" ± ")[0]) == pytest.approx(0.015, rel=0.01)
    assert link(page) == "#v1;as=money;currency=EUR;day=2000;price=0.30;pue=1.5"
    page.get_by_label("Energy as").select_option("j")
    assert cell.text_content().startswith("60")
    assert home.complaints == []


def costs(page: Any) -> list[float]:
    rows = page.locator("tr.first:visible td[data-cost]").all_text_contents()
    return [float(words.split(" ± ")[0]) for words in rows if words != "–"]


def test_a_price_tag_is_sorted_by_what_it_shows(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    """Two settings with a batch of 1 and two of 8: of 8 requests 160 J and 1,600 J are less each than 100 J of one."""
    one = make_run().workload
    eight = msgspec.structs.replace(one, batch_size=8)
    records = [
        make_run(id=f"{place}", model=f"M-{place}", threads=place, inference_w=watts, workload=work)
        for place, (watts, work) in enumerate(((50.0, one), (200.0, one), (80.0, eight), (800.0, eight)), 1)
    ]
    build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site")
    opened = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 900})
    opened.open("index.html")
    page = opened.page
    page.get_by_label("All kinds in one list").check()
    head = page.locator("th[data-energy]")
    head.get_by_role("button").click()
    assert costs(page) == [100, 160, 400, 1600]
    page.get_by_label("Energy as").select_option("wh")
    assert head.get_attribute("aria-sort") == "ascending"
    assert costs(page) == pytest.approx([joules / 3.6 for joules in (20, 100, 200, 400)], rel=0.01)
    head.get_by_role("button").click()
    assert costs(page) == pytest.approx([joules / 3.6 for joules in (400, 200, 100, 20)], rel=0.01)
    page.get_by_label("Energy as").select_option("j")
    assert costs(page) == [1600, 400, 160, 100]
    assert opened.complaints == []
    opened.context.close()


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("PUE", "0", "PUE cannot be below 1: no figure is worked out."),
        ("PUE", "0.9", "PUE cannot be below 1: no figure is worked out."),
        ("Requests a day", "-5", "Requests a day cannot be below 0: no figure is worked out."),
    ],
)
def test_a_figure_that_cannot_be_is_refused_and_named(home: Visit, field: str, given: str, said: str) -> None:
    page = home.page
    page.get_by_label("Energy as").select_option("wh")
    right = costs(page)
    assert right
    page.get_by_label(field).fill(given)
    assert costs(page) == []
    assert page.locator("[data-derived]").text_content() == said
    assert page.get_by_label(field).get_attribute("aria-invalid") == "true"
    page.get_by_label(field).fill("")
    assert costs(page) == right
    assert page.get_by_label(field).get_attribute("aria-invalid") == "false"
    assert home.complaints == []


def test_a_burst_of_typing_is_one_step_back(home: Visit) -> None:
    page, field = home.page, home.page.get_by_label("Filter")
    length = page.evaluate("history.length")
    page.locator("th[data-sort=power]").get_by_role("button").click()
    field.press_sequentially("c-model")
    page.get_by_label("At most").press_sequentially("45")
    field.press("End")
    field.press_sequentially(" 2")  # after another change: a step of its own
    steps = [
        "#v1;sort=power",
        "#v1;find=c-model;sort=power",
        "#v1;find=c-model;most=45;sort=power",
        "#v1;find=c-model%202;most=45;sort=power",
    ]
    assert link(page) == steps[-1]
    assert page.evaluate("history.length") == length + len(steps)
    for step in [*steps[-2::-1], ""]:
        page.go_back()
        until(lambda step=step: link(page) == step)
    assert field.input_value() == ""
    assert page.locator("[data-status]").text_content() == "7 of 12 rows"
    page.go_forward()
    page.go_forward()
    until(lambda: field.input_value() == "c-model")
    field.press("End")
    field.press_sequentially("x")  # not into the step that one went back to
    until(lambda: link(page) == "#v1;find=c-modelx;sort=power")
    page.go_back()
    until(lambda: field.input_value() == "c-model")
    assert home.complaints == []


def test_typing_alone_does_not_leave_the_page_when_one_goes_back(home: Visit) -> None:
    page = home.page
    shown = models(page)
    page.get_by_label("Filter").press_sequentially("d-model")
    until(lambda: models(page) != shown)
    page.go_back()
    until(lambda: models(page) == shown)
    assert page.get_by_label("Filter").input_value() == ""
    assert home.complaints == []


def test_a_table_is_copied_as_markdown(home: Visit) -> None:
    home.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    home.page.get_by_role("button", name="Copy as Markdown").click()
    lines = home.page.locator("[data-copied]").input_value().splitlines()
    assert "**Measured CPU energy" in "\n".join(lines)
    table = [line for line in lines if line.startswith("|") and "C-model" in line]
    assert len(table) == 1
    assert len({line.count(" | ") for line in lines if line.startswith("| ")}) == 1
    assert "; net 2.00 ± 0.25 J/token" in table[0]
    assert any("| rank 1–2 of 2; " in line for line in lines if "D-model" in line)
    assert lines[-1].startswith("Source: file://")


def test_without_scripts_the_best_rows_are_there_and_no_control_that_does_nothing(visit: Any) -> None:  # noqa: F811
    opened, scripted = visit(java_script_enabled=False), visit()
    for reader in (opened, scripted):
        reader.open("index.html")
    assert models(opened.page).count("C-model") == 1
    assert words_of_rows(opened.page) == words_of_rows(scripted.page)
    for control in ("[data-reader]", "[data-pick]"):
        assert not opened.page.locator(control).first.is_visible()


def words_of_rows(page: Any) -> list[str]:
    rows = page.locator("tr.first, tr.about").all()
    return [" ".join(row.inner_text().replace("compare", "").split()) for row in rows if row.is_visible()]


def test_all_rows_filtered_to_the_best_again_are_the_rows_of_the_page(home: Visit) -> None:
    """Python and the script choose and rank alike: the script has only the figures in the rows."""
    before = words_of_rows(home.page)
    assert sum("rank 1–2 of 2" in words for words in before) == 2, "one run has no interval: D and F share both places"
    home.page.get_by_label("Best setting only").uncheck()
    home.page.locator("tr.first", has_text="C-model").nth(2).wait_for()
    every = " ".join(words_of_rows(home.page))
    assert [place in every for place in ("rank 1 of 3", "rank 2 of 3", "rank 3 of 3")] == [True] * 3, (
        "C: 3, 4, 6 J/token"
    )
    home.page.get_by_label("Best setting only").check()
    assert words_of_rows(home.page) == before
    assert home.complaints == []


def test_rows_are_picked_for_a_comparison(home: Visit) -> None:
    page = home.page
    page.get_by_label("Compare C-model", exact=False).check()
    page.get_by_label("Compare D-model", exact=False).check()
    keys = [page.locator("tr.first", has_text=name).first.get_attribute("data-key") for name in ("C-model", "D-model")]
    page.get_by_role("link", name="Compare 2 rows").click()
    page.locator(".findings li").wait_for()
    assert link(page) == f"#v1;s={keys[0]},{keys[1]}"
    assert home.complaints == []


SHIFTS = """() => new Promise(done => {
  let sum = 0;
  const add = list => list.getEntries().forEach(one => { sum += one.value; });
  new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
  setTimeout(() => done(sum), 120);
})"""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_shifts_when_a_page_has_come(browser: Any, many: Path, width: int) -> None:  # noqa: F811
    opened = Visit(browser, many, viewport={"width": width, "height": 800})
    for name in ("index.html", "models/model-0", "runs/index.html", "runs/model-0", "health.html"):
        opened.open(name)
        assert opened.page.evaluate(SHIFTS) == 0, name
    opened.context.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many runs that their page searches them, and so many settings that the home page has not all of them."""
    folder = tmp_path_factory.mktemp("many")
    records = [make_run(id=f"{n}", model=f"Model-{n % 3}", threads=n, load=f"{n}") for n in range(1, 211)]
    build_site([write(folder / "r.jsonl", records)], folder / "site", max_run_pages=30)
    return folder / "site"


def test_a_long_table_shows_as_many_rows_as_a_browser_lays_out_quickly(browser: Any, many: Path) -> None:  # noqa: F811
    opened = Visit(browser, many)
    opened.open("index.html")
    assert opened.page.locator("[data-status]").text_content() == "3 of 210 rows"
    opened.page.get_by_label("Best setting only").uncheck()
    until(lambda: opened.page.locator("[data-status]").text_content() == "210 rows; the first 200 are shown")
    assert opened.page.locator("tr.first:visible").count() == 200
    opened.page.get_by_label("Filter").fill("model-1")
    assert opened.page.locator("[data-status]").text_content() == "70 of 210 rows"
    assert opened.page.locator("tr.first:visible").count() == 70
    assert opened.complaints == []
    opened.context.close()


def test_on_a_phone_the_choices_are_folded_until_asked_for(visit: Any) -> None:  # noqa: F811
    opened = visit(viewport={"width": 390, "height": 800})
    opened.open("index.html")
    field, fold = opened.page.get_by_label("At most"), opened.page.get_by_role("button", name="Filter, limits, prices")
    assert not field.is_visible()
    fold.click()
    assert field.is_visible()
    assert fold.get_attribute("aria-expanded") == "true"
    opened.page.goto(f"{opened.page.url}#v1;most=25")
    opened.page.reload()
    assert field.is_visible(), "a link with choices shows them"


def settings_of(site: Path) -> list[dict[str, Any]]:  # noqa: F811
    script = (site / "data" / "settings.js").read_text()
    return json.loads(script.removeprefix("LJ.rows(").removesuffix(");\n"))


def test_a_comparison_says_what_differs_and_by_how_much(visit: Any, site: Path) -> None:  # noqa: F811
    """C-model with 1 and 2 threads: 4 and 3 J/token over three loads each, at the same speed."""
    one, two = (
        row
        for row in settings_of(site)
        if row["facts"]["Model"].endswith("C-model") and row["facts"]["Threads"] in "12"
    )
    opened = visit(viewport={"width": 1280, "height": 900})
    opened.open("compare.html")
    opened.page.goto(f"{opened.page.url}#v1;s={one['key']}")
    field = opened.page.get_by_label("Setting")
    field.fill(two["name"])
    opened.page.get_by_role("button", name="Add").click()
    said = opened.page.locator(".findings li").text_content()
    # Both scatter by 0.1 in three loads: variances of 1/300. For the ratio of 0.75 that of A counts 0.5625 times: so
    # 1.5625² / ((0.5625² + 1) / 2) = 3.7092 degrees, fewer than the four of the difference; t² = 2.86443² = 8.20499.
    # Fieller's ends solve (16 − 0.02735) r² − 24 r + (9 − 0.02735) = 0.
    low, high = ((12 + sign * sqrt(144 - 15.97265 * 8.97265)) / 15.97265 for sign in (-1, 1))
    assert (round(low, 3), round(high, 3)) == (0.700, 0.803)
    assert f"takes 25.0 ± {(high - 0.75) * 100:.1f} % less energy per token" in said
    assert "−1.00 ± 0.23 J/token come from power" in said  # four degrees of freedom: 2.7764 · √(2 / 300) = 0.2267
    assert opened.page.locator("table", has_text="Threads").first.locator("tbody td").all_text_contents()[:2] == [
        "1",
        "2",
    ]
    assert opened.page.evaluate("location.hash") == f"#v1;s={one['key']},{two['key']}"
    opened.page.go_back()
    assert "Pick a second setting" in opened.page.locator("[data-says]").text_content()
    assert opened.complaints == []


def test_what_is_not_comparable_is_said_and_gets_no_ratio(visit: Any, site: Path) -> None:  # noqa: F811
    rows = settings_of(site)
    cpu = next(row for row in rows if row["facts"]["Model"].endswith("C-model"))
    gpu = next(row for row in rows if row["component"] == "GPU" and row["token"])
    estimated = next(row for row in rows if row["source"] == "estimated" and row["token"])
    opened = visit()
    opened.open("compare.html")
    opened.page.goto(f"{opened.page.url}#v1;s={cpu['key']},{gpu['key']},{estimated['key']}")
    first, second = opened.page.locator(".findings li").all_text_contents()
    assert "is not compared: one is CPU energy, the other GPU energy" in first
    assert "is not compared: one is measured, the other estimated" in second
    assert "%" not in first + second
