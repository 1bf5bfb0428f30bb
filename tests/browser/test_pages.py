"""Every page as a reader opens it: by double click, from a disk, without a network, narrow and wide, light and dark."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import Part, Phase, Run, Tokens, Total, Trace, TraceLine
from llmjoules.sitegen.build import build_site
from tests.builders import energy, make_run, phase, trace
from tests.sitegen.inputs import everything, runs, write

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PAGES = (
    "index.html", "scaling.html", "compare.html", "models/index.html", "models/org", "systems/index.html",
    "systems/test", "downloads.html", "runs/index.html", "runs/org", "runs/e", "runs/f", "runs/dummy",
    "methods.html", "health.html",
)  # fmt: skip
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    build_site([everything(folder / "results")], folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened, and what it complained of or asked for."""

    def __init__(self, browser: Any, site: Path, **context: Any) -> None:
        self.site = site
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.site.as_uri(), "data:", "blob:")):
            self.complaints.append(f"asked for {request.url}")

    def open(self, name: str) -> None:
        path = self.site / name
        if path.suffix != ".html":
            path = sorted(path.parent.glob(f"{path.name}*.html"))[0]
        self.page.goto(path.as_uri())

    def draw_all(self) -> int:
        """Move, so that charts become more than sketches, and scroll to each; how many there were."""
        self.page.mouse.move(1, 1)
        self.page.mouse.move(2, 2)
        boxes = self.page.locator("[data-chart]").all()
        for box in boxes:
            box.scroll_into_view_if_needed()
            box.locator("svg.main-svg").first.wait_for()
        return len(boxes)

    def prefer(self, scheme: str) -> None:
        """The system changes to light or dark, and the charts that are drawn follow."""
        self.page.emulate_media(color_scheme=scheme)
        until(lambda: self.page.evaluate(RECOLOURED))


RECOLOURED = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = "var(--muted)";
  const muted = getComputedStyle(probe).color;
  probe.remove();
  return Array.from(document.querySelectorAll(".xtick text, .ytick text")).every(
    one => getComputedStyle(one).fill === muted);
}"""


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Any]:
    visits: list[Visit] = []

    def start(**context: Any) -> Visit:
        visits.append(Visit(browser, site, **context))
        return visits[-1]

    yield start
    for each in visits:
        each.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_opens_from_a_disk_without_a_complaint(visit: Any, width: int) -> None:
    reader = visit(viewport={"width": width, "height": 800})
    charts = 0
    for name in PAGES:
        reader.page.emulate_media(color_scheme="light")
        reader.open(name)
        charts += reader.draw_all()
        for scheme in ("light", "dark"):
            reader.prefer(scheme)
            assert reader.page.evaluate("document.documentElement.scrollWidth") <= width, (name, scheme)
            assert reader.page.locator("h1").is_visible(), (name, scheme)
            assert not reader.complaints, (name, scheme)
    assert charts >= 8


@pytest.mark.parametrize("name", ["dummy:smollm2-360m", "WWWWWWWWWWWWWWWWWWWW", "l" * 40])
def test_the_names_at_the_ends_of_lines_are_seen_in_full(browser: Any, tmp_path: Path, name: str) -> None:
    records = [run for model in (name, f"{name}b") for n in (1, 2) for run in runs(model=model, threads=n)]
    build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site")
    reader = Visit(browser, tmp_path / "site")
    for width, page in ((w, page) for w in (900, 1280) for page in ("index.html", "scaling.html")):
        reader.page.set_viewport_size({"width": width, "height": 800})
        reader.open(page)
        reader.draw_all()
        for box in reader.page.locator("[data-chart]").all():
            chart = box.bounding_box()
            labels = box.locator(".annotation-text, .legendtext").all()
            assert len(labels) >= 2
            for label in labels:
                place = label.bounding_box()
                which = (page, width, label)
                assert place["x"] + place["width"] <= chart["x"] + chart["width"], which
                assert chart["y"] <= place["y"], which
                assert place["y"] + place["height"] <= chart["y"] + chart["height"], which
    reader.context.close()


def test_what_a_row_says_in_words_is_read_on_a_phone_without_scrolling(visit: Any) -> None:
    reader = visit(viewport={"width": 390, "height": 800})
    for name in ("index.html", "runs/f"):
        reader.open(name)
        places = [box.bounding_box() for box in reader.page.locator(".stay").all()]
        assert all(place["x"] + place["width"] <= 390 for place in places if place), name
        assert places or name != "index.html"
    assert not reader.complaints


def test_the_figures_of_a_list_of_runs_begin_on_the_screen_of_a_phone(visit: Any) -> None:
    reader = visit(viewport={"width": 390, "height": 800})
    reader.open("runs/index.html")
    assert reader.page.locator(".swipe").first.is_visible()
    row = reader.page.locator("table.runs tbody tr").first
    assert row.locator(".narrow").is_visible()
    assert not any(cell.is_visible() for cell in row.locator(".place").all())
    for column in (0, 1):  # tokens/s and J/token
        place = row.locator("td.n").nth(column).bounding_box()
        assert place["x"] + place["width"] <= 390
    wide = visit(viewport={"width": 1280, "height": 800})
    wide.open("runs/index.html")
    assert not wide.page.locator(".swipe").first.is_visible()
    assert not wide.page.locator("table.runs .narrow").first.is_visible()


def test_a_chart_is_drawn_only_when_it_comes_into_view(visit: Any) -> None:
    reader = visit(viewport={"width": 390, "height": 300})
    reader.open("runs/org")
    reader.page.mouse.move(1, 1)
    reader.page.mouse.move(2, 2)
    reader.page.evaluate(OBSERVED)
    assert reader.page.locator("[data-chart] svg").count() == 0
    assert reader.page.locator(PLOTLY).count() == 0
    assert reader.draw_all() == 2  # power and tokens
    assert reader.page.locator(PLOTLY).count() == 1


PLOTLY = "script[src*='assets/plotly']"
# Observers are told in the order in which they began, so that the page's own was told of its charts before this one.
OBSERVED = """() => new Promise(done => {
  new IntersectionObserver(() => done()).observe(document.querySelector("[data-chart]"));
})"""


def test_tokens_over_time_end_with_all_tokens_and_its_table_agrees(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 900})
    reader.open("runs/org")
    reader.draw_all()
    drawn = reader.page.evaluate("document.querySelector('[data-of=tokens]').data[0]")
    figure = reader.page.locator("figure", has_text="Tokens over time")
    said = figure.locator("figcaption").inner_text()
    assert (drawn["x"][0], drawn["y"][0], drawn["y"][-1]) == (0, 0, 20)
    assert drawn["x"] == sorted(drawn["x"])
    assert said.startswith("20 tokens in 2.00 s: the first after 200 ms, each further step after 90.0 ms (median; ")
    rows = reader.page.locator("section[aria-label='Numbers: Tokens over time'] tbody tr")
    assert rows.first.locator("td").all_text_contents() == ["1", f"{drawn['x'][1]:.4f}", "200"]
    assert rows.last.locator("td").all_text_contents()[:2] == ["20", f"{drawn['x'][-1]:.4f}"]


@pytest.mark.parametrize("name", ["scaling.html", "runs/org"])
def test_until_the_reader_moves_a_sketch_stands_in_for_a_chart_and_nothing_is_loaded(visit: Any, name: str) -> None:
    reader = visit(viewport={"width": 1280, "height": 1000})
    reader.open(name)
    sketch = reader.page.locator("[data-chart] svg.sketch").first
    sketch.wait_for()
    assert sketch.locator("path, rect").count() > 0
    assert not reader.page.evaluate("'Plotly' in window")
    box = reader.page.locator("[data-chart]", has=reader.page.locator("svg.sketch")).first
    place, inside = box.bounding_box(), [label.bounding_box() for label in sketch.locator("text").all()]
    assert inside
    for label in inside:
        assert place["x"] <= label["x"]
        assert label["x"] + label["width"] <= place["x"] + place["width"]
    assert reader.draw_all()
    assert reader.page.locator("svg.sketch").count() == 0
    assert not reader.complaints


def test_a_chart_is_drawn_when_it_gets_the_focus(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 200})
    reader.open("scaling.html")
    reader.page.locator("[data-chart]").last.evaluate("box => box.focus({preventScroll: true})")
    reader.page.locator("[data-chart]").last.locator("svg.main-svg").first.wait_for(state="attached")


def test_a_chart_takes_its_space_before_it_is_drawn(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 800})
    reader.open("runs/org")
    before = reader.page.evaluate("document.documentElement.scrollHeight")
    reader.draw_all()
    assert reader.page.evaluate("document.documentElement.scrollHeight") == before


def test_without_scripts_the_numbers_are_there(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 800}, java_script_enabled=False)
    reader.open("index.html")
    assert reader.page.locator("table.rows").is_visible()
    assert "4.00" in reader.page.locator("table.rows").inner_text()
    reader.open("runs/org")
    assert reader.page.locator("table.phases").is_visible()
    assert not any(plot.is_visible() for plot in reader.page.locator(".plot").all())
    for summary in reader.page.locator("summary", has_text="Numbers as a table").all():
        summary.click()
    assert all(table.is_visible() for table in reader.page.locator(".numbers table").all())
    assert not reader.complaints


def test_the_theme_follows_the_system_until_the_reader_chooses_and_is_remembered(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    reader.open("runs/org")
    reader.draw_all()
    paper = "getComputedStyle(document.body).backgroundColor"
    ticks = "getComputedStyle(document.querySelector('.ytick text')).fill"
    assert reader.page.evaluate(paper) == "rgb(20, 23, 27)"
    dark_ticks = reader.page.evaluate(ticks)
    reader.page.locator("[data-theme-toggle]").click()
    assert reader.page.evaluate(paper) == "rgb(255, 255, 255)"
    until(lambda: reader.page.evaluate(ticks) != dark_ticks)
    reader.open("index.html")
    assert reader.page.evaluate(paper) == "rgb(255, 255, 255)"
    assert not reader.complaints


def test_both_themes_have_readable_colours(visit: Any) -> None:
    """Contrast of text and links on the paper of at least 4.5 (WCAG 2.2, 1.4.3), of phase and component colours 3."""
    for scheme in ("light", "dark"):
        reader = visit(color_scheme=scheme)
        reader.open("index.html")
        style = "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
        paper = luminance(reader.page.evaluate(style, "--paper"))
        for name in ("--ink", "--muted", "--link", "--warn"):
            assert contrast(luminance(reader.page.evaluate(style, name)), paper) >= 4.5, (scheme, name)
        for name in ("--c-cpu", "--c-gpu", "--c-dram", "--s-0", "--s-1", "--s-2", "--s-3", "--s-4", "--s-5"):
            assert contrast(luminance(reader.page.evaluate(style, name)), paper) >= 3, (scheme, name)


def until(condition: Callable[[], bool]) -> None:
    """wait_for_function would need eval, which the pages forbid."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def luminance(colour: str) -> float:
    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_a_link_to_a_setting_opens_its_runs(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 800})
    reader.open("index.html")
    link = reader.page.locator("td.loud a").first
    anchor = link.get_attribute("href").partition("#")[2]
    link.click()
    reader.page.wait_for_url(f"**#{anchor}")
    assert reader.page.locator(f"#{anchor} table").is_visible()
    assert reader.page.locator(f"#{anchor} table a").first.get_attribute("href").startswith("../runs/")


def test_everything_is_reached_by_keyboard(visit: Any) -> None:
    reader = visit(viewport={"width": 1280, "height": 800})
    reader.open("runs/org")
    seen: set[str] = set()
    wanted = {"A.skip", "A.brand", "BUTTON.theme", "DIV.plot", "SUMMARY.", "SECTION.scroll"}
    for _ in range(40):
        if wanted <= seen:
            break
        reader.page.keyboard.press("Tab")
        seen.add(
            reader.page.evaluate(
                "[document.activeElement.tagName, document.activeElement.className.split(' ')[0]].join('.')"
            )
        )
    assert wanted <= seen


def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)><a href='javascript:alert(3)'>x"
    records = [make_run(model=name, system=name, threads=n, id=f"{name}{n}", command=name) for n in (1, 2)]
    build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site")
    reader = Visit(browser, tmp_path / "site", viewport={"width": 390, "height": 800})
    for file in sorted((tmp_path / "site").rglob("*.html")):
        reader.open(str(file.relative_to(tmp_path / "site")))
        reader.draw_all()
        assert reader.page.locator("img, .plot a").count() == 0, file
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390, file
    reader.context.close()
    assert not reader.complaints


@pytest.fixture(scope="module")
def shells(site: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One set of records as two sites: each run with a page of its own, and all but one drawn by run.html."""
    folder = tmp_path_factory.mktemp("shells")
    build_site([everything(folder / "results")], folder / "drawn", max_run_pages=1)
    return site, folder / "drawn"


WORDS = """() => {
  const main = (document.querySelector("[data-run]") || document.querySelector("main")).cloneNode(true);
  main.querySelectorAll("script, .plot, .numbers, .span, [data-copy]").forEach(one => one.remove());
  main.querySelectorAll("a[download], a[href='downloads.html']").forEach(one => one.parentNode.remove());
  main.querySelectorAll("a").forEach(one => one.setAttribute("href", one.getAttribute("href").replace("../", "")));
  const words = main.innerHTML.replace(/\\s+/g, " ").replace(/ ?([<>]) ?/g, "$1");
  return words.replace(/ class=""/g, "").replace(/\\.0(?=\\W )/g, "").trim();
}"""


def test_a_run_without_a_page_is_drawn_like_one_with_a_page(browser: Any, shells: tuple[Path, Path]) -> None:
    with_pages, drawn = shells
    page, shell = Visit(browser, with_pages), Visit(browser, drawn)
    names = sorted(path.stem for path in (with_pages / "runs").glob("*-*.html"))
    assert len(names) > 25
    drawn_of = {name.partition("-")[0]: name for name in names}
    assert len(drawn_of) > 5
    for name in sorted({*names[::3], *drawn_of.values()}):
        page.open(f"runs/{name}.html")
        shell.page.goto(f"{(drawn / 'run.html').as_uri()}#id={name}")
        shell.page.locator("h1", has_text=page.page.locator("h1").inner_text()).wait_for()
        shell.page.locator(".raw").wait_for(state="attached")
        assert page.page.evaluate(WORDS) == shell.page.evaluate(WORDS), name
        charts = shell.page.locator("[data-chart]").count()
        assert charts == page.page.locator("[data-chart]").count(), name
        if name in drawn_of.values():  # one run of each model
            assert shell.draw_all() == charts
    shell.page.locator(".span input").first.fill("0.25")
    shell.page.locator(".span input").last.fill("0.5")
    assert shell.page.evaluate("location.hash") == f"#v1;from=0.25;id={name};to=0.5"
    said = shell.page.locator(".span li").first.inner_text()
    shell.page.reload()
    until(lambda: shell.page.locator(".span li").count() > 0)
    assert shell.page.locator(".span li").first.inner_text() == said
    assert not shell.complaints
    assert not page.complaints
    for visit in (page, shell):
        visit.context.close()


# Waits for what the page waits for, and reads it twice: by then the page, which asked first, has done what it would do.
FIRST_CAME = """([list, id]) => {
  const read = ([part, , setting]) =>
    Promise.all([LJ.packed("runs/" + part), LJ.load("settings/" + setting.slice(0, 2))]);
  LJ.load(list).then(where => read(where[id]).then(() => read(where[id])))
    .then(() => true, () => false).then(came => setTimeout(() => { window.came = came; }));
}"""


@pytest.mark.parametrize("answer", ["continue_", "abort"])
def test_a_run_that_loads_slowly_does_not_take_the_place_of_the_next(
    browser: Any, shells: tuple[Path, Path], answer: str
) -> None:
    """The list that says where the first run lies comes after the second run has been drawn, or fails then."""
    drawn, names = shells[1], sorted(path.stem for path in (shells[0] / "runs").glob("*-*.html"))
    first = names[0]
    second, part = next(name for name in names if name[-8:-6] != first[-8:-6]), first[-8:-6]
    reader, held = Visit(browser, drawn), []
    reader.page.route(f"**/where/{part}.js", lambda route: held.append(route))
    reader.page.goto(f"{(drawn / 'run.html').as_uri()}#id={first}", wait_until="commit")
    until(lambda: reader.page.locator(f"script[src$='where/{part}.js']").count() > 0 and bool(held))
    reader.page.evaluate("name => { location.hash = 'id=' + name; }", second)
    reader.page.locator(".raw").wait_for(state="attached")
    title = reader.page.locator("h1").inner_text()
    reader.page.evaluate(FIRST_CAME, [f"where/{part}", first])
    getattr(held[0], answer)()
    until(lambda: reader.page.evaluate("window.came") == (answer == "continue_"))
    assert reader.page.locator("h1").inner_text() == title
    assert reader.page.locator(".raw").count() == 1
    reader.context.close()


def test_an_address_of_no_run_says_so(browser: Any, shells: tuple[Path, Path]) -> None:
    reader = Visit(browser, shells[1])
    for address in ("", "#id=no-such-run-00000000", "#id=__proto__"):
        reader.page.goto("about:blank")
        reader.page.goto((shells[1] / "run.html").as_uri() + address)
        assert reader.page.locator("[role=alert]").inner_text()
    without = Visit(browser, shells[1], java_script_enabled=False)
    without.open("run.html")
    assert without.page.locator("main a[href='downloads.html']").is_visible()


def test_a_span_of_a_trace_is_given_in_joules_watts_tokens_and_joules_per_token(visit: Any) -> None:
    """59 W from the start of the inference: 1 s of it is 59 J. Ten of its 20 tokens are ready between 0.2 and 1.1 s."""
    reader = visit(viewport={"width": 1280, "height": 900})
    run = next(p for p in (reader.site / "runs").glob("org-c*.json") if '"joules":118.0' in p.read_text())
    record = msgspec.json.decode(run.read_bytes())
    start = next(phase["start_s"] for phase in record["phases"] if phase["name"] == "inference")
    reader.open(f"runs/{run.stem}.html")
    box = reader.page.locator(".span")
    box.locator("input").first.fill(str(start + 0.2))
    box.locator("input").last.fill(str(start + 1.1))
    tokens = sum(start + 0.2 < at <= start + 1.1 for at in record["tokens"]["times_s"])
    said = box.locator("li").inner_text()
    assert said == f"cpu:0: 53.10 J, mean 59.0 W, {tokens} tokens, {53.1 / tokens:.2f} J/token."
    box.locator("select").select_option(label="prefill")
    assert box.locator("li").inner_text().startswith("cpu:0: 11.80 J, mean 59.0 W")
    reader.draw_all()
    reader.page.locator(".plot").first.scroll_into_view_if_needed()
    chart = reader.page.locator(".plot .nsewdrag").first.bounding_box()
    reader.page.mouse.move(chart["x"] + chart["width"] * 0.5, chart["y"] + 60)
    reader.page.mouse.down()
    reader.page.mouse.move(chart["x"] + chart["width"] * 0.75, chart["y"] + 90, steps=4)
    reader.page.mouse.up()
    end = record["phases"][-1]["end_s"]
    until(lambda: float(box.locator("input").first.input_value() or 0) == pytest.approx(end * 0.5, rel=0.01))
    assert float(box.locator("input").last.input_value()) == pytest.approx(end * 0.75, rel=0.01)
    kept = [field.input_value() for field in box.locator("input").all()]
    assert reader.page.evaluate("location.hash") == f"#v1;from={kept[0]};to={kept[1]}"
    said = box.locator("li").inner_text()
    reader.page.go_back()
    until(lambda: box.locator("li").inner_text().startswith("cpu:0: 11.80 J"))
    reader.page.go_forward()
    until(lambda: box.locator("li").inner_text() == said)
    reader.page.reload()
    assert box.locator("li").inner_text() == said
    assert not reader.complaints


def quick_run() -> Run:
    """An idle at 0.062 W, a prefill of 3.627 ms at 110 W, a decode of 31.708 ms at 60 W, which ends at its last token.

    All ends lie between tenths of a millisecond; beside 110 W, 16 bits hold 0.062 W within 0.5 % alone.
    """
    stretches = (
        phase("idle", 0.0, 0.250649, 0.062),
        phase("prefill", 0.250649, 0.254276, 110.0),
        phase("decode", 0.254276, 0.285984, 60.0),
    )
    idle, *inside = stretches
    joules = sum(stretch.energy[0].joules or 0.0 for stretch in inside)
    parts = tuple(Part(name=s.name, start_s=s.start_s, end_s=s.end_s, energy=s.energy) for s in inside)  # type: ignore[arg-type]
    inference = Phase(
        name="inference", start_s=0.250649, end_s=0.285984, energy=(energy("cpu:0", joules),), parts=parts
    )
    times_s = tuple(round(0.254276 + 0.031708 * step / 19, 6) for step in range(20))
    return make_run(
        phases=(idle, inference),
        totals={"cpu": Total(joules=joules, uncertainty_j=0.01, source="measured", channels=("cpu:0",))},
        tokens=Tokens(prompt=7, generated=20, useful=20, times_s=times_s),
        trace=msgspec.Raw(msgspec.json.encode(trace(stretches, {"idle": 0.062, "prefill": 110.0, "decode": 60.0}))),
    )


def test_a_phase_has_the_joules_and_tokens_of_the_record_however_short(browser: Any, tmp_path: Path) -> None:
    """Chosen by its name, by its ends in a link, and again after going back."""
    run = quick_run()
    build_site([write(tmp_path / "in" / "r.jsonl", [run])], tmp_path / "site")
    reader = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 900})
    reader.open("runs/dummy")
    box, counts, said = reader.page.locator(".span"), {"idle": 0, "prefill": 1, "decode": 19}, {}
    for stretch in (run.phases[0], *run.phases[1].parts):
        box.locator("select").select_option(label=stretch.name)
        said[stretch.name] = words = box.locator("li").inner_text()
        found = re.fullmatch(r"cpu:0: ([\d.]+) J, mean ([\d.]+) W, (\d+) tokens?(?:, ([\d.]+) J/token)?\.", words)
        assert found, words
        joules = stretch.energy[0].joules
        assert joules
        assert float(found[1]) == pytest.approx(joules, rel=0.001)
        assert int(found[3]) == counts[stretch.name]
        if found[4]:
            assert float(found[4]) == pytest.approx(joules / counts[stretch.name], rel=0.005)  # three digits
    address = reader.page.evaluate("location.href")
    assert address.endswith("#v1;from=0.254276;to=0.285984")
    reader.page.go_back()
    until(lambda: box.locator("li").inner_text() == said["prefill"])
    assert box.locator("select option:checked").inner_text() == "prefill"
    reader.page.goto("about:blank")
    reader.page.goto(address)
    assert box.locator("li").inner_text() == said["decode"]
    assert box.locator("select option:checked").inner_text() == "decode"
    assert not reader.complaints
    reader.context.close()


def test_a_phase_without_energy_has_none_under_its_line_either(browser: Any, tmp_path: Path) -> None:
    run = quick_run()
    idle, inference = run.phases
    nothing = (energy("cpu:0", None, "too_short: the phase took 3.6 ms and the meter is read every 10 ms"),)
    parts = (msgspec.structs.replace(inference.parts[0], energy=nothing), *inference.parts[1:])
    run.phases = (idle, msgspec.structs.replace(inference, parts=parts))
    build_site([write(tmp_path / "in" / "r.jsonl", [run])], tmp_path / "site")
    reader = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 900})
    reader.open("runs/dummy")
    box = reader.page.locator(".span")
    box.locator("select").select_option(label="prefill")
    assert box.locator("li").inner_text() == f"cpu:0: no energy, {nothing[0].reason}."
    box.locator("select").select_option(label="decode")
    assert " J, mean 60.0 W" in box.locator("li").inner_text()
    assert not reader.complaints
    reader.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_lines_have_names_beside_the_chart_or_above_those_of_phases(browser: Any, tmp_path: Path, width: int) -> None:
    """11093094 microseconds are a bit less than 11.093094 s: names at that place still lie inside the chart."""
    run = make_run()
    ends_s = [0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 9.0, 11.093094]
    line = TraceLine(mean_w=(20.0,) * 7, min_w=(19.0,) * 7, max_w=(21.0,) * 7)
    drawn = Trace(edges_s=tuple(ends_s), channels={"cpu:0": line, "cpu:0@process": line})
    run.trace = msgspec.Raw(msgspec.json.encode(drawn))
    run.phases = (
        msgspec.structs.replace(run.phases[0], start_s=0.0, end_s=5.0),
        msgspec.structs.replace(run.phases[-1], start_s=5.0, end_s=11.093094, parts=()),
    )
    build_site([write(tmp_path / "in" / "r.jsonl", [run])], tmp_path / "site")
    reader = Visit(browser, tmp_path / "site", viewport={"width": width, "height": 900})
    reader.open("runs/dummy")
    reader.draw_all()
    figure = reader.page.locator("figure").first
    names = figure.locator(".annotation-text, .legendtext")
    shown = {text: box for one in names.all() if (text := one.text_content()) and (box := one.bounding_box())}
    lines = [box for text, box in shown.items() if text.lower().startswith("cpu")]
    phases = [box for text, box in shown.items() if not text.lower().startswith("cpu")]
    assert len(lines) == 2
    assert len(phases) == 2
    for one in lines:
        for other in phases:
            apart = one["y"] + one["height"] <= other["y"] + 1 or one["x"] >= other["x"] + other["width"]
            assert apart, (one, other)
    assert not reader.complaints
    reader.context.close()


def test_runs_are_found_sorted_and_paged(browser: Any, tmp_path: Path) -> None:
    records = [
        make_run(id=f"r{n}", model=f"Model-{n % 3}", inference_w=10.0 + n, load=f"l{n}", repeat=n,
                 flags=("throttled:cpu:0",) if n % 50 == 0 else ())
        for n in range(260)
    ]  # fmt: skip
    build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site", max_run_pages=30)
    reader = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 800})
    reader.open("runs/index.html")
    rows = reader.page.locator("table.runs tbody tr")
    assert rows.count() == 100
    assert not reader.page.evaluate("LJ.value.has('index')")
    reader.page.locator("input[type=search]").press_sequentially("model-1")
    until(lambda: "87 of 260 records" in reader.page.locator(".finder [role=status]").inner_text())
    assert rows.count() == 87
    reader.page.locator(".finder select").select_option("per_token")
    until(lambda: "11.0" in rows.first.inner_text())  # 11 W is the least of Model-1: 1.10 J/token
    reader.page.locator("input[type=search]").fill("")
    until(lambda: "page 1 of 3" in reader.page.locator(".finder [role=status]").inner_text())
    reader.page.get_by_role("button", name="Last").click()
    assert rows.count() == 60
    assert "26.9" in rows.last.inner_text()  # 269 W for 2 s over 20 tokens
    assert reader.page.evaluate("location.hash") == "#v1;page=3;sort=per_token"
    rows.last.locator("a").click()
    reader.page.locator("h1", has_text="538 J").wait_for()
    reader.page.go_back()
    until(lambda: "page 3 of 3" in reader.page.locator(".finder [role=status]").inner_text())
    for step in ("#v1;sort=per_token", "#v1;find=model-1;sort=per_token", "#v1;find=model-1", ""):
        reader.page.go_back()
        until(lambda step=step: reader.page.evaluate("location.hash") == step)
    until(lambda: "260 of 260 records; page 1" in reader.page.locator(".finder [role=status]").inner_text())
    assert reader.page.locator("input[type=search]").input_value() == ""
    reader.open("health.html")
    reader.page.goto((tmp_path / "site" / "runs" / "index.html").as_uri() + "#v1;flag=throttled%3Acpu%3A0")
    until(lambda: "6 of 260 records" in reader.page.locator(".finder [role=status]").inner_text())
    reader.page.locator("input[type=search]").fill("model-0")
    assert reader.page.evaluate("location.hash") == "#v1;find=model-0;flag=throttled%3Acpu%3A0"
    reader.page.get_by_role("button", name="Show all").click()
    until(lambda: "87 of 260 records" in reader.page.locator(".finder [role=status]").inner_text())
    assert not reader.complaints
    reader.context.close()
