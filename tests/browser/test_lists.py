"""Where a list is cut, its last line leads to the rest: to all of them, and to nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import Record
from llmjoules.sitegen.build import build_site
from tests.browser.test_pages import Visit, browser, until  # noqa: F401
from tests.builders import make_run
from tests.sitegen.inputs import failed, without_energy, write
from tests.sitegen.test_flags import millijoules_as_joules
from tests.sitegen.test_health import with_power

pytestmark = pytest.mark.browser

LONG = "a name that is longer than any list has room for, and that differs only at its very end, number "
FLAG = "offloaded:disk; 100 % of it"  # what has a meaning in an address
# Of each list of data health what its last line says, and how many records are behind it.
OF_HEALTH = {
    "failed": ("52 more: all 102", 102),
    "missing": ("5 more: all 55", 55),
    "mismatch": ("2 more: all 52", 52),
    "unchecked": ("5 more: all 55", 55),
    "few": ("5 more: the runs of all 55", 110),
    "checks": ("1 more: all 51", 51),
    "flags": ("5 more: all 55", 55),
}


def records() -> list[Record]:
    """55 settings with two runs each, of which one has a flag and a trace with a hole, and one no energy; 52 runs of
    one setting whose traces disagree; of two models 51 runs each that failed; and 51 figures that cannot be."""
    found: list[Record] = []
    for threads in range(1, 56):
        holed = make_run(id=f"holed-{threads}", model="Few", threads=threads, flags=(FLAG,))
        found += [with_power(holed, 1.0, hole=True)]
        bare = without_energy(model="Few", threads=threads, repeat=1)
        bare.id = f"bare-{threads}"
        found += [bare]
    found += [with_power(make_run(id=f"off-{n}", model="Off", repeat=n), 1.01) for n in range(52)]
    for n in range(102):
        lost = failed()
        lost.id, lost.model = f"lost-{n}", msgspec.structs.replace(lost.model, name=f"{LONG}{n % 2}")
        found += [lost]
    return [*found, *(millijoules_as_joules(id=f"wrong-{n}") for n in range(51))]


def behind(reader: Visit, link: Any) -> tuple[str, str]:
    """What a link says, and what the page of runs says once it was clicked."""
    reader.page.evaluate("document.querySelectorAll('details').forEach(function (one) { one.open = true; })")
    words = link.locator("xpath=..").inner_text()
    link.click()
    status = reader.page.locator(".finder [role=status]")
    until(lambda: "page 1 of" in status.inner_text())
    assert not reader.complaints
    return words, f"{status.inner_text()}; {reader.page.locator('[data-only]').inner_text()}"


def test_every_cut_list_leads_to_the_rest(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    stub = tmp_path / "plotly.min.js"
    stub.write_text("// no chart is looked at\n")
    every = records()
    build_site([write(tmp_path / "in" / "r.jsonl", every)], tmp_path / "site", plotly_js=stub, max_run_pages=1)
    reader = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 800})
    for heading, (said, expected) in OF_HEALTH.items():
        reader.open("health.html")
        link = reader.page.locator(f"main #{heading} ~ * >> css=a[href*='runs/index.html']").first
        words, found = behind(reader, link)
        assert words == said
        assert found.startswith(f"{expected} of {len(every)} records;"), heading
        assert "only " in found
    models = sorted((tmp_path / "site" / "models").glob("a-name*.html"))
    assert len(models) == 2
    for page in models:
        reader.open(f"models/{page.name}")
        words, found = behind(reader, reader.page.locator("main a[href*='runs/index.html']").last)
        assert words == "1 more: all 51"
        assert found.startswith(f"51 of {len(every)} records;")
        assert "only failed, a name that is longer" in found
        reader.page.get_by_role("button", name="Show all").click()
        until(lambda: f"{len(every)} of" in reader.page.locator(".finder [role=status]").inner_text())
    reader.open("models/off")
    words, found = behind(reader, reader.page.locator("main a[href*='runs/index.html']").last)
    assert words == "27 more: all 52"
    assert found.startswith(f"52 of {len(every)} records;")
    reader.context.close()


def test_a_list_of_a_small_site_leads_to_its_rest_too(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    """Fewer records than the page of runs shows at once."""
    stub = tmp_path / "plotly.min.js"
    stub.write_text("// no chart is looked at\n")
    runs = [make_run(id=f"r{n}", threads=1 + n % 2, repeat=n) for n in range(60)]
    build_site([write(tmp_path / "in" / "r.jsonl", runs)], tmp_path / "site", plotly_js=stub)
    reader = Visit(browser, tmp_path / "site", viewport={"width": 1280, "height": 800})
    reader.open("models/dummy")
    words, found = behind(reader, reader.page.locator("main a[href*='runs/index.html']").last)
    assert re.sub(r"\s+", " ", words) == "5 more: all 30"
    assert found.startswith("30 of 60 records;")
    reader.context.close()
