"""What the tool itself costs: `make bench` prints each figure, its goal, and a ratio to something known.

Goals are those of the design; a missed one is printed, not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from llmjoules.records.errors import nearest
from llmjoules.records.record import Trace, TraceLine, encode
from llmjoules.records.store import read_results
from tests.bench.importing import importing
from tests.bench.lighthouse import audits
from tests.bench.memory import peak_megabytes
from tests.bench.meters import in_real_time, in_simulated_time
from tests.bench.protocol import overhead
from tests.bench.site import building
from tests.bench.statistics import differences, false_alarms, intervals, stopping, sweet_spots
from tests.builders import make_run

ROOT = Path(__file__).parents[2]
Row = tuple[str, str, str, str, str]  # figure, value, goal, verdict, ratio


def sections() -> dict[str, tuple[str, Sequence[Callable[[], Iterator[Row]]]]]:
    """By name, the title and what is measured."""
    return {
        "costs": ("What llmjoules costs", (front_door, install_size, token_clock, reading)),
        "import": ("Other tools' measurements", (importing,)),
        "meters": (
            "Meters on a counter of 100 ms, 60 W idle and 300 W load: error, and what measuring costs",
            (in_simulated_time, in_real_time),
        ),
        "protocol": ("What the protocol of a run adds to its phases", (overhead,)),
        "site": ("The site of many runs", (building, audits)),
        "statistics": (
            "Statistics on simulated studies of known truth",
            (stopping, intervals, false_alarms, differences, sweet_spots),
        ),
    }


def main(only: list[str]) -> None:
    """Without names of sections, all of them."""
    named = sections()
    console = Console(width=150)
    for title, measures in (named[name] for name in only or named):
        table = Table("figure", "value", "goal", "", "ratio", title=title)
        for measure in measures:
            with console.status(f"{measure.__name__.replace('_', ' ')} ..."):
                for row in measure():
                    table.add_row(*row)
        console.print(table)


def verdict(value: float, goal: float) -> str:
    return "met" if value <= goal else "missed"


def wall_s(command: list[str], repeats: int = 10) -> float:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(repeats))


def front_door() -> Iterator[Row]:
    """Wall time of an import and of every help, against a Python that does nothing."""
    nothing = wall_s([sys.executable, "-c", "pass"])
    program = str(Path(sys.executable).with_name("llmjoules"))
    text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    commands = re.findall(r"^    ([a-z][a-z-]*)(?=\s|$)", text, re.MULTILINE)
    todo = {"import llmjoules": [sys.executable, "-c", "import llmjoules"], "llmjoules --help": [program, "--help"]}
    todo |= {f"llmjoules {command} --help": [program, command, "--help"] for command in commands}
    for name, command in todo.items():
        seconds = wall_s(command)
        ratio = f"{seconds / nothing:.1f} × python -c pass"
        yield name, f"{seconds * 1000:.0f} ms", "200 ms", verdict(seconds, 0.2), ratio


def install_size() -> Iterator[Row]:
    """Megabytes of the base install, as pip lays it down."""
    with tempfile.TemporaryDirectory() as folder:
        pins = ["--constraint", str(ROOT / "constraints.txt")]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        subprocess.run([*pip, *pins, "--target", folder, str(ROOT)], check=True, stderr=subprocess.DEVNULL)
        size = {path: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in Path(folder).iterdir()}
        ours = sum(n for path, n in size.items() if path.name.startswith("llmjoules"))
        total = sum(size.values())
        largest = max(size, key=lambda path: size[path])
    note = f"ours {ours / 1e6:.1f} MB; largest {largest.name} {size[largest] / 1e6:.1f} MB"
    yield "base install", f"{total / 1e6:.1f} MB", "25 MB", verdict(total, 25e6), note


def token_clock() -> Iterator[Row]:
    """Cost of a token's time stamp, beside a criterion that does nothing, both called as transformers calls them."""
    import torch
    from transformers import StoppingCriteriaList

    from llmjoules.runner.clock import TokenClock

    ids, scores = torch.zeros((1, 100), dtype=torch.long), torch.zeros((1, 1000))
    go_on = torch.zeros(1, dtype=torch.bool)

    def per_call_s(criterion: Callable[..., torch.Tensor], calls: int = 10_000) -> float:
        for _ in range(100):
            criterion(ids, scores)
        start = time.perf_counter()
        for _ in range(calls):
            criterion(ids, scores)
        return (time.perf_counter() - start) / calls

    def nothing(_ids: torch.Tensor, _scores: torch.Tensor, **_: object) -> torch.Tensor:
        return go_on

    stamp = statistics.median(per_call_s(TokenClock()) for _ in range(5))
    bare = statistics.median(per_call_s(nothing) for _ in range(5))
    whole = statistics.median(per_call_s(StoppingCriteriaList([TokenClock()])) for _ in range(5))
    yield (
        "token clock, per token",
        f"{stamp * 1e6:.2f} µs",
        "10 µs",
        verdict(stamp, 10e-6),
        f"{stamp / bare:.0f} × a no-op",
    )
    yield "… as transformers calls it", f"{whole * 1e6:.2f} µs", "", "", f"{whole / stamp:.1f} × the clock alone"


def reading(sizes: tuple[int, ...] = (25_000, 50_000, 100_000)) -> Iterator[Row]:
    """Seconds to read results with traces of 400 points, on one core; whether linear in their number; memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bench.jsonl")
        seconds: dict[int, float] = {}
        for size in sizes:
            write_records(file, size)
            seconds[size], peak = read_in_a_process(file)
            if size == sizes[0]:
                first_peak = peak
        sample = list(lines_of(file, 2_000))
        start = time.perf_counter()
        for line in sample:
            json.loads(line)
        plain = (time.perf_counter() - start) / len(sample) * sizes[-1]
        megabytes = file.stat().st_size / 1e6
    last, first = sizes[-1], sizes[0]
    ratio = f"{seconds[last] / plain:.2f} × json.loads ({plain:.1f} s), {megabytes / seconds[last]:.0f} MB/s"
    yield (
        f"reading {last} records ({megabytes:.0f} MB)",
        f"{seconds[last]:.1f} s",
        "5 s",
        verdict(seconds[last], 5.0),
        ratio,
    )
    for size in sizes[:-1]:
        yield f"reading {size} records", f"{seconds[size]:.1f} s", "", "", ""
    slope = (seconds[last] / last) / (seconds[first] / first)
    yield "time per record, most over fewest", f"{slope:.2f}", "1.2", verdict(slope, 1.2), "1 is linear"
    ids = (peak - first_peak) / (last - first) * 1000
    yield "peak memory while reading", f"{peak:.0f} MB", "", "", f"{ids:.2f} kB per further record"


def write_records(file: Path, count: int) -> None:
    points = 400
    watts = tuple(round(30 + 20 * ((7 * k) % 11) / 11, 3) for k in range(points))
    trace = Trace(
        edges_s=tuple(round(k * 0.01, 3) for k in range(points + 1)),
        channels={"cpu:0": TraceLine(mean_w=watts, min_w=watts, max_w=watts)},
    )
    line = encode(make_run(id="@" * 26, trace=msgspec.Raw(msgspec.json.encode(trace)))) + b"\n"
    before, after = line.split(b"@" * 26)
    with file.open("wb") as stream:
        for number in range(count):
            stream.write(b"%s%026d%s" % (before, number, after))


def lines_of(file: Path, count: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        for _ in range(count):
            yield stream.readline()


def read_in_a_process(file: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of a process of its own that reads the file, held to one core."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench", "read", str(file)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def read_once(file: Path) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bad: list[object] = []
    start = time.perf_counter()
    count = sum(1 for _ in read_results([file], bad.append))
    seconds = time.perf_counter() - start
    assert count > 0
    assert not bad
    print(seconds, peak_megabytes())


def chosen(arguments: list[str]) -> list[str]:
    """The sections named on the command line; answers `--help`, and a name that there is not, by itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=__doc__)
    lines = [f"{name}: {title[0].lower()}{title[1:]}" for name, (title, _) in sections().items()]
    parser.add_argument("section", nargs="*", help=f"all of them without a name; {'; '.join(lines)}")
    named: list[str] = parser.parse_args(arguments).section
    for name in named:
        if name not in sections():
            parser.error(f"there is no section {name!r}. {nearest(name, sections())}")
    return named


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read_once(Path(sys.argv[2]))
    else:
        main(chosen(sys.argv[1:]))
