"""What a reader chooses: filters, limits, order, prices and comparisons, kept in the link."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_pages import Visit, browser, site, visit  # noqa: F401

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
    home.page.get_by_label("Best setting only").uncheck()
    assert models(home.page).count("C-model") == 3
    assert link(home.page) == "#v1;best=0"
    home.page.go_back()
    assert models(home.page) == best
    assert home.complaints == []


def test_limits_choose_the_best_setting_that_keeps_them_and_live_in_the_link(home: Visit) -> None:
    """Of C-model's settings (40, 30 and 60 W) none is below 20 W; A-model's second (20 W) and both of B-model's are."""
    home.page.get_by_label("At most").fill("25")
    assert "most=25" in link(home.page)
    shown = models(home.page)
    assert "C-model" not in shown
    assert {"A-model", "B-model"} <= set(shown)
    again = home.page.evaluate("location.href")
    home.page.goto("about:blank")
    home.page.goto(again)
    assert models(home.page) == shown
    home.page.get_by_label("At least").fill("1000")
    assert models(home.page) == []
    assert "no setting is within these limits" in home.page.locator("[data-status]").text_content()
    home.page.get_by_role("button", name="Reset").click()
    assert len(models(home.page)) > len(shown)
    assert link(home.page) == ""
    assert home.complaints == []


def test_a_head_sorts_within_its_sections_up_then_down_then_not(home: Visit) -> None:
    page = home.page
    page.get_by_label("Best setting only").uncheck()
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


def test_joules_become_money_by_the_readers_price_and_say_that_they_are_derived(home: Visit) -> None:
    """60 J a run, batch 1: 60 / 3600 Wh x 1,000 requests x 0.30 / 1000 EUR per Wh x PUE 1.5 = 0.0075 EUR."""
    page = home.page
    row = page.locator("tr.first:visible", has_text="C-model")
    assert float(row.get_attribute("data-joules")) == pytest.approx(60)
    page.get_by_label("Energy as").select_option("money")
    cell = row.locator("td[data-joules]")
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


def test_a_table_is_copied_as_markdown(home: Visit) -> None:
    home.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    home.page.get_by_role("button", name="Copy as Markdown").click()
    lines = home.page.locator("[data-copied]").input_value().splitlines()
    assert "**Measured CPU energy" in "\n".join(lines)
    table = [line for line in lines if line.startswith("|") and "C-model" in line]
    assert len(table) == 1
    assert len({line.count(" | ") for line in lines if line.startswith("| ")}) == 1
    assert lines[-1].startswith("Source: file://")


def test_without_scripts_all_rows_are_there_and_no_control_that_does_nothing(visit: Any) -> None:  # noqa: F811
    opened = visit(java_script_enabled=False)
    opened.open("index.html")
    assert models(opened.page).count("C-model") == 3
    assert not opened.page.locator("[data-reader]").is_visible()


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
    a, b = one["token"], two["token"]
    ratio, u, v = b["mean"] / a["mean"], (b["mean"] / a["mean"] * a["se"] / a["mean"]) ** 2, (b["se"] / a["mean"]) ** 2
    assert ratio == pytest.approx(0.75)
    degrees = (u + v) ** 2 / (u**2 / 2 + v**2 / 2)
    assert 2 <= degrees <= 4  # t: 4.3027, 3.1824 or 2.7764
    t = {2: 4.3027, 3: 3.1824, 4: 2.7764}[int(degrees)]
    assert f"takes 25.0 ± {t * sqrt(u + v) * 100:.1f} % less energy per token" in said
    assert "−1 J/token come from power and 0 J/token from time" in said
    assert opened.page.locator("table", has_text="Threads").first.locator("td").all_text_contents()[:2] == ["1", "2"]
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
