"""Building a site: read, render into a folder beside the target, and only then put it in place."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.store import BadLine
from llmjoules.sitegen import folder
from llmjoules.sitegen.load import Loaded, load

if TYPE_CHECKING:
    from llmjoules.sitegen.pages import Assets, Site

INSTALL = "Install what draws pages: pip install 'llmjoules[site]'"
DEFAULT_TITLE = "llmjoules"
# The map libraries inside Plotly add a style element, which our pages forbid, unless something has its id already.
STYLE_IDS = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')


class SiteReport(Struct, frozen=True):
    """What was built. index: the page to open; runs: finished ones; bad: the skipped lines; pages: HTML files."""

    out: Path
    index: Path
    runs: int
    failed: int
    published: int
    bad: tuple[BadLine, ...]
    pages: int


def build_site(
    results: Iterable[str | Path],
    out: str | Path,
    *,
    base_url: str | None = None,
    title: str | None = None,
    strict: bool = False,
    plotly_js: str | Path | None = None,
    on_bad: Callable[[BadLine], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SiteReport:
    """Make a static site of the records in `results` (files and folders of *.jsonl) in the folder `out`.

    base_url: where the site will stand, for canonical links and a sitemap; without it there are none.
    strict: any line that is not a record is an error. plotly_js: use this script instead of the one that plotly brings.
    progress: called with pages done and in all.
    Raises LlmjoulesError where there is nothing to read, `out` is not ours, or a library is missing; the folder is then
    as it was. The same records give the same bytes.
    """
    url = _checked_url(base_url)
    _check_libraries()
    script = _plotly_script(plotly_js)
    real, ours = folder.checked(Path(out))
    loaded = load([results] if isinstance(results, str | Path) else results, on_bad, strict=strict)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        folder.remove_left_over(real)
        with tempfile.TemporaryDirectory(prefix=folder.own_prefix(real), dir=real.parent) as beside:
            staged = Path(beside, "site")
            pages = _render(loaded, staged, title or DEFAULT_TITLE, url, script, progress)
            folder.replace(real, staged, ours)
    except OSError as error:
        raise folder.cannot_write(Path(out), error) from error
    shown = Path(out)
    counts = (len(loaded.runs), len(loaded.failed), len(loaded.published))
    return SiteReport(shown, shown / "index.html", *counts, loaded.bad_lines, pages)


def _render(
    loaded: Loaded,
    staged: Path,
    title: str,
    base_url: str | None,
    script: bytes,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write every file of the site below `staged`; how many of them are pages."""
    from llmjoules.sitegen.pages import Site

    site: Site = Site(loaded, title, base_url, _write_assets(staged, script))
    pages = list(site.pages())
    for done, page in enumerate(pages, 1):
        target = staged / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(page.render().encode("utf-8", "replace"))
        if progress is not None:
            progress(done, len(pages))
    (staged / ".nojekyll").touch()
    return sum(page.path.endswith(".html") for page in pages)


def _write_assets(staged: Path, script: bytes) -> Assets:
    """Copy style and scripts; a hash in each name, so that no browser shows a new page with an old style."""
    from llmjoules.sitegen.pages import Assets

    (staged / "assets").mkdir(parents=True)
    templates = files("llmjoules") / "templates"
    contents = {name: (templates / name).read_bytes() for name in ("site.css", "theme.js", "charts.js")}
    contents["plotly.min.js"] = script
    paths = {name: _asset_name(name, content) for name, content in contents.items()}
    for name, path in paths.items():
        (staged / path).write_bytes(contents[name])
    return Assets(
        css=paths["site.css"],
        theme=paths["theme.js"],
        charts=paths["charts.js"],
        plotly=paths["plotly.min.js"],
        plotly_styles=" ".join(sorted({found.decode() for found in STYLE_IDS.findall(contents["plotly.min.js"])})),
    )


def _asset_name(name: str, content: bytes) -> str:
    stem, _, ending = name.partition(".")
    return f"assets/{stem}.{hashlib.sha256(content).hexdigest()[:8]}.{ending}"


def _check_libraries() -> None:
    if importlib.util.find_spec("jinja2") is None:
        raise LlmjoulesError("Cannot build a site.", "jinja2 is not installed.", INSTALL)


def _plotly_script(given: str | Path | None) -> bytes:
    """The script that draws charts: the given one, or the one inside the plotly package, which is not imported."""
    name_it = "Name plotly.min.js: --plotly-js FILE"
    if given is not None:
        return _read_script(Path(given), name_it)
    spec = importlib.util.find_spec("plotly")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise LlmjoulesError("Cannot build a site.", "plotly is not installed.", INSTALL)
    return _read_script(Path(places[0], "package_data", "plotly.min.js"), name_it)


def _read_script(script: Path, fix: str) -> bytes:
    try:
        content = script.read_bytes()
    except FileNotFoundError as error:
        raise LlmjoulesError(f"No script at {script}.", "There is no such file.", fix) from error
    except OSError as error:
        raise LlmjoulesError(f"Cannot read the script {script}.", f"{error.strerror or error}.", fix) from error
    if not content:
        raise LlmjoulesError(f"The script {script} is empty.", "Charts would stay blank.", fix)
    return content


def _checked_url(base_url: str | None) -> str | None:
    if base_url is None:
        return None
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s\"'<>\\]", base_url):
        raise LlmjoulesError(
            f"{base_url!r} is no address of a site.",
            "It must begin with http:// or https://.",
            "Give --base-url https://…",
        )
    return base_url.rstrip("/")
