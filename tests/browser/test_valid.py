"""Pages as two checkers see them that are not ours: axe-core (accessibility) and html-validate (the HTML standard)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_pages import PAGES, WIDTHS, browser, site, visit  # noqa: F401

pytestmark = pytest.mark.browser

NODE = Path(__file__).parents[2] / ".venv" / "node" / "node_modules"
# Our titles are findings, which take more than 70 characters.
RULES = {"extends": ["html-validate:standard"], "rules": {"long-title": "off"}}


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_any_page(visit: Any, width: int) -> None:  # noqa: F811
    if not (NODE / "axe-core").is_dir():
        pytest.skip("axe-core is not installed")
    axe = (NODE / "axe-core" / "axe.min.js").read_text()
    reader = visit(viewport={"width": width, "height": 900}, bypass_csp=True)
    found = []
    for name in PAGES:
        reader.page.emulate_media(color_scheme="light")
        reader.open(name)
        reader.draw_all()
        reader.page.evaluate(axe)
        for scheme in ("light", "dark"):
            reader.prefer(scheme)
            result = reader.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert len(result["passes"]) > 5
            found += [(name, scheme, broken["id"], broken["nodes"][0]["html"][:200]) for broken in result["violations"]]
    assert found == []


def test_html_validate_finds_no_error_on_any_page(site: Path, tmp_path: Path) -> None:  # noqa: F811
    if not (NODE / "html-validate").is_dir() or shutil.which("node") is None:
        pytest.skip("html-validate is not installed")
    config = tmp_path / "rules.json"
    config.write_text(json.dumps(RULES))
    program = NODE / ".bin" / "html-validate"
    report = tmp_path / "report.json"
    command = [str(program), "--config", str(config), "--formatter", f"json={report}", str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = {
        (Path(file["filePath"]).name, message["ruleId"], message["message"], message["line"])
        for file in json.loads(report.read_text())
        for message in file["messages"]
    }
    assert not found
    assert done.returncode == 0, done.stderr


def test_html_validate_would_find_an_error(tmp_path: Path) -> None:
    if not (NODE / "html-validate").is_dir() or shutil.which("node") is None:
        pytest.skip("html-validate is not installed")
    (tmp_path / "bad.html").write_text(
        "<!DOCTYPE html><html lang='en'><head><title>x</title></head><body><p><div></p></body></html>"
    )
    done = subprocess.run([str(NODE / ".bin" / "html-validate"), str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 1
