"""Building a site: what it is asked for, what stands in its way, and the order of things."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError, install
from llmjoules.records.store import BadLine
from llmjoules.sitegen import folder
from llmjoules.sitegen.cache import Cache
from llmjoules.sitegen.config import read_config
from llmjoules.sitegen.inputs import read_inputs

INSTALL = f"Install what draws pages: {install('site')}"
DEFAULT_TITLE = "llmjoules"
MAX_RUN_PAGES = 5000  # from here on a host of static pages gets slow, and nobody reads them one by one


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
    max_run_pages: int = MAX_RUN_PAGES,
    config: str | Path | None = None,
    templates: str | Path | None = None,
    on_bad: Callable[[BadLine], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SiteReport:
    """Make a static site of the records in `results` (files and folders of *.jsonl) in the folder `out`.

    base_url: where the site will stand, for canonical links and a sitemap; without it there are none.
    strict: any line that is not a record is an error. plotly_js: use this script instead of the one that plotly brings.
    max_run_pages: this many runs get a page of their own; run.html shows the others. config: a `site.toml`; without it
    the one in a folder of results or beside it, if any. templates: a folder of templates that come before ours. What is
    given here goes before what the file says. progress: called with steps done and in all, as far as they are known.
    What does not change is not made again: a folder `.NAME-cache` beside `out` remembers it. Raises
    LlmjoulesError where there is nothing to read, a given file is wrong, `out` is not ours, or a library is missing;
    the folder is then as it was. The same records give the same bytes.
    """
    sources = [Path(source) for source in ([results] if isinstance(results, str | Path) else results)]
    said = read_config(Path(config) if config is not None else None, sources)
    url = _checked_url(base_url if base_url is not None else said.base_url)
    _check_libraries()
    script = _plotly_script(plotly_js)
    from llmjoules.sitegen.making import Build, Options
    from llmjoules.sitegen.theme import read_theme
    from llmjoules.sitegen.workers import without_collector, workers

    theme = read_theme(Path(templates) if templates is not None else said.templates)
    real, ours = folder.checked(Path(out))
    memory = Cache(real)
    inputs = read_inputs(sources, memory.memory.seen)
    size = sum(block.end - block.start for block in inputs.blocks)
    name = title or said.title or DEFAULT_TITLE
    options = Options(name, url, strict, max_run_pages, said.notes, said.limits, theme)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        folder.remove_left_over(real)
        memory.open()
        with (
            tempfile.TemporaryDirectory(prefix=folder.own_prefix(real), dir=real.parent) as beside,
            workers(size) as hands,
        ):
            with without_collector():
                build = Build(inputs, sources, options, script, memory, Path(beside, "site"), ours, hands, progress)
                report = build.last_report() or build.make(on_bad)
            if build.made:
                folder.replace(real, build.staged, set(build.kept), ours, Path(beside, "before"))
                build.remember(report)
            elif on_bad is not None:
                for line in build.bad_lines(report):
                    on_bad(line)
    except LlmjoulesError:
        memory.forget()
        raise
    except OSError as error:
        raise folder.cannot_write(Path(out), error) from error
    shown = Path(out)
    counts = (report.runs, report.failed, report.published)
    return SiteReport(shown, shown / "index.html", *counts, build.bad_lines(report), report.pages)


def _check_libraries() -> None:
    for library in ("jinja2", "duckdb", "pyarrow", "numpy"):
        if importlib.util.find_spec(library) is None:
            raise LlmjoulesError("Cannot build a site.", f"{library} is not installed.", INSTALL)


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
