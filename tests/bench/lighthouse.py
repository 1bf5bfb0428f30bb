"""What Lighthouse says of each kind of page, as a phone on a slow network sees it; a section of `make bench`.

npm install --no-save --prefix .venv/node-lighthouse lighthouse@13.5.0
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv" / "node-lighthouse" / "node_modules" / ".bin" / "lighthouse"
Row = tuple[str, str, str, str, str]
GOALS = {"performance": 95, "accessibility": 100, "best-practices": 95}
PAGES = (
    "index.html", "scaling.html", "compare.html", "models/index.html", "models/*-?*.html", "systems/index.html",
    "systems/*-?*.html", "runs/index.html", "runs/*-?*.html", "run.html#id=", "study.html", "downloads.html",
    "methods.html", "health.html",
)  # fmt: skip


def audits(runs: int = 1_000) -> Iterator[Row]:
    """A row for each kind of page: the scores, and by how much its layout shifts."""
    from tests.bench.site import write_runs
    from tests.browser.test_pages import CHROMIUM

    if not PROGRAM.exists() or CHROMIUM is None:
        yield "Lighthouse", "not installed" if CHROMIUM else "no Chromium", "", "", __doc__.split("\n")[-2].strip()
        return
    with tempfile.TemporaryDirectory(prefix="llmjoules-lighthouse-") as name:
        results, site = Path(name, "results.jsonl"), Path(name, "site")
        write_runs(results, runs)
        from llmjoules.sitegen.build import build_site

        build_site([results, ROOT / "site" / "results"], site, max_run_pages=runs // 2)  # these give the study its page
        with served(site) as address:
            for page in PAGES:
                yield row(page, audit(f"{address}/{path_of(site, page)}", CHROMIUM))


def path_of(site: Path, page: str) -> str:
    """The first page of its kind; of those without a page of their own, one that run.html draws."""
    if page.endswith("id="):
        own = {path.stem for path in (site / "runs").glob("*.html")}
        where = sorted((site / "data" / "where").glob("*.js"))
        names = [name for file in where for name in json.loads(file.read_text()[len('LJ.put("where/00",') : -3])]
        return page + next(name for name in sorted(names) if name not in own)
    found = sorted(path for path in site.glob(page) if path.name != "index.html" or page.endswith("index.html"))
    return found[0].relative_to(site).as_posix()


def audit(address: str, chromium: str) -> dict[str, Any]:
    from tests.browser.test_pages import OPTIONS

    flags = " ".join(("--headless=new", *OPTIONS))
    command = [
        str(PROGRAM), address, "--output=json", "--quiet", f"--only-categories={','.join(GOALS)}",
        f"--chrome-flags={flags}",
    ]  # fmt: skip
    environment = os.environ | {"CHROME_PATH": chromium}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr else str(done.returncode)}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(page: str, found: dict[str, Any]) -> Row:
    if "failed" in found:
        return f"Lighthouse, {page}", "failed", "", "missed", found["failed"]
    scores = {name: round(100 * (found["categories"][name]["score"] or 0)) for name in GOALS}
    shift = found["audits"]["cumulative-layout-shift"]["numericValue"]
    met = shift < 0.0005 and all(scores[name] >= goal for name, goal in GOALS.items())
    values = ", ".join(str(score) for score in scores.values())
    goals = ", ".join(map(str, GOALS.values()))
    return f"Lighthouse, {page}", f"{values}; {shift:.3f}", f"{goals}; 0", "met" if met else "missed", faults(found)


def faults(found: dict[str, Any]) -> str:
    """The audits that cost points, by their ids."""
    named = {
        audit["id"]
        for name, category in found["categories"].items()
        if round(100 * (category["score"] or 0)) < 100
        for audit in category["auditRefs"]
        if audit["weight"] and (found["audits"][audit["id"]]["score"] or 0) < 0.9
    }
    return ", ".join(sorted(named)) or "performance, accessibility, best practices; shift"


class _Host(SimpleHTTPRequestHandler):
    """Compresses what is text, as hosts of static pages do."""

    def send_head(self) -> BytesIO | BinaryIO | None:
        file = Path(self.translate_path(self.path))
        if file.suffix not in (".html", ".js", ".css", ".svg") or not file.is_file():
            return super().send_head()
        packed = gzip.compress(file.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        return BytesIO(packed)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Host, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


if __name__ == "__main__":
    for found in audits(*map(int, sys.argv[1:])):
        print(*found, sep=" | ", flush=True)
