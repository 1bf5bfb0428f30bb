"""What a site costs: time, memory and bytes of a build, from a few runs to many; a section of `make bench`.

Runs have one channel and a trace of 400 points, each point its own noise: nothing that would compress well.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmjoules.records.record import Run, Trace, TraceLine, encode
from tests.builders import NVML, make_run

ROOT = Path(__file__).parents[2]
Row = tuple[str, str, str, str, str]
POINTS = 400


def building(sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> Iterator[Row]:
    """A full build of each size; of the largest also one without a change and one with one more run."""
    with tempfile.TemporaryDirectory(prefix="llmjoules-bench-") as name:
        folder = Path(name)
        builds = {}
        for size in sizes:
            results, site = folder / f"{size}.jsonl", folder / f"site{size}"
            write_runs(results, size)
            builds[size] = build_in_a_process(results, site)
            goal = {1_000: 5.0, 100_000: 120.0}.get(size)
            yield _row(f"full build, {size} runs", builds[size], goal)
        last = sizes[-1]
        slope = (builds[last].wall_s / last) / (builds[sizes[-2]].wall_s / sizes[-2])
        yield "time per run, most over fewer", f"{slope:.2f}", "1.2", _verdict(slope, 1.2), "1 is linear"
        peak = builds[last].peak_mb
        yield "peak memory", f"{peak:.0f} MB", "2000 MB", _verdict(peak, 2000), f"all processes, {last} runs"
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
        of = f"{size / results.stat().st_size * 1e6:.2f} × its results"
        yield "the site", f"{size:.0f} MB", "900 MB", _verdict(size, 900), of
        yield _row("nothing has changed", build_in_a_process(results, site), 5.0)
        with results.open("ab") as stream:
            stream.write(encode(one_run(random.Random(1), last)) + b"\n")
        yield _row("one more run", build_in_a_process(results, site), 8.0)
        yield from transferred(site)
        yield from filtering(site)


def transferred(site: Path) -> Iterator[Row]:
    """Kilobytes until a chart is opened, as a server that compresses sends them."""
    runs = sorted(path for path in (site / "runs").glob("*.html") if path.name != "index.html")
    for name, page, goal in (("home", site / "index.html", 60), ("page of a run", runs[0], 30)):
        files = {
            page,
            *(page.parent / link for link in re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page.read_text())),
        }
        total = sum(len(gzip.compress(file.read_bytes(), 6)) for file in files) / 1024
        yield f"{name}, transferred", f"{total:.1f} KiB", f"{goal} KiB", _verdict(total, goal), f"{len(files)} files"


def filtering(site: Path) -> Iterator[Row]:
    """Milliseconds from a key to the filtered table, index loaded, in Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.browser.test_pages import CHROMIUM, OPTIONS

    if CHROMIUM is None:
        yield "filter of all runs", "no Chromium", "100 ms", "", ""
        return
    with sync_playwright() as started:
        page = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS).new_page()
        page.goto((site / "runs" / "index.html").as_uri())
        took = []
        for words in ("model-07", "model-07 system 1", "system", "model-3"):
            page.locator("input[type=search]").fill(words)
            page.locator("[data-finder][data-took]").wait_for()
            page.wait_for_timeout(300)
            took.append(float(page.locator("[data-finder]").get_attribute("data-took") or "nan"))
    count = (site / "data" / "index.js").stat().st_size / 1e6
    yield "filter of all runs", f"{max(took):.0f} ms", "100 ms", _verdict(max(took), 100), f"index of {count:.1f} MB"


def write_runs(file: Path, count: int) -> None:
    """40 models on 25 systems with one to eight devices, in order of time; the same for the same count."""
    chance = random.Random(count)
    with file.open("wb") as stream:
        for number in range(count):
            stream.write(encode(one_run(chance, number)) + b"\n")


def one_run(chance: random.Random, number: int) -> Run:
    watts = 60 + 10 * chance.random() + number % 40
    run = make_run(
        id=f"{number:026d}", model=f"org/Model-{number % 40:02d}", system=f"System {number // 40 % 25:02d}",
        device="cuda", devices=1 << (number // 1000 % 4), threads=None, meter=NVML, load=f"load-{number // 4000 % 5}",
        repeat=number // 4000, inference_w=round(watts, 4), first=number // 4000 < 5,
        started_at=f"2026-{1 + number // 28_000 % 12:02d}-{1 + number // 1000 % 28:02d}T00:00:00.000Z",
    )  # fmt: skip
    start_s, end_s = run.phases[0].start_s, run.phases[-1].end_s
    means = tuple(round(watts * (0.5 + chance.random()), 3) for _ in range(POINTS))
    line = TraceLine(
        mean_w=means,
        min_w=tuple(round(w * (0.8 + 0.2 * chance.random()), 3) for w in means),
        max_w=tuple(round(w * (1.0 + 0.2 * chance.random()), 3) for w in means),
    )
    edges_s = tuple(round(start_s + (end_s - start_s) * k / POINTS, 6) for k in range(POINTS + 1))
    run.trace = msgspec.Raw(msgspec.json.encode(Trace(edges_s=edges_s, channels={"gpu:0": line})))
    return run


class Cost(NamedTuple):
    """Of it and its helpers together. wall_s: starting Python included; cpu_s: what it is on a machine that is busy."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def build_in_a_process(results: Path, site: Path) -> Cost:
    command = [sys.executable, "-m", "tests.bench.site", str(results), str(site)]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Cost(time.perf_counter() - start, *map(float, done.stdout.split()))


def build_once(results: str, site: str) -> None:
    from llmjoules.sitegen.build import build_site

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    build_site([results], site)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(sum(one.ru_utime + one.ru_stime for one in used), sum(one.ru_maxrss for one in used) / unit)


def _row(what: str, cost: Cost, goal: float | None) -> Row:
    said = (f"{goal:g} s", _verdict(cost.wall_s, goal)) if goal is not None else ("", "")
    return what, f"{cost.wall_s:.1f} s", *said, f"two cores, {cost.cpu_s:.1f} s of them"


def _verdict(value: float, goal: float) -> str:
    return "met" if value <= goal else "missed"


if __name__ == "__main__":
    build_once(*sys.argv[1:])
