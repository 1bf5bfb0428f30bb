"""How near the meters come to the truth and what measuring costs, beside pyJoules, Zeus and two plain reads.

Two kinds of figures: in real time through the real bindings on a stand-in NVML (child.py), and in simulated time on the
arithmetic alone, where thousands of windows take seconds. Truth is the integral of a power script.
In the table, ± is the median stated uncertainty, and it holds where the truth lies within.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from math import floor, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import child
from tests.meters.nvml_stub import LIBRARY, Gpu, Stub, uuid
from tests.meters.simulated import Power, channel, constant, steps, watched
from tests.meters.test_rapl import TWO_SOCKETS, Draw, Tree
from tests.meters.test_window import HARD, Situation, clamped_ramp

ROOT = Path(__file__).parents[2]
Row = tuple[str, str, str, str, str]  # figure, value, goal, verdict, ratio

IDLE_W, LOAD_W = 60.0, 300.0
GOALS = {0.3: 0.01, 1.0: 0.004, 3.0: 0.0012}  # rms of the relative error by length; half of it for the bias
# A pulse and a pause of equal length, a little more than the length so that its windows wander over the tick.
PULSES_S = {length_s: 2 * length_s + 0.01236 for length_s in GOALS}
WINDOWS = {0.3: 50, 1.0: 17, 3.0: 9}  # each on eight GPUs with ticks of their own
GPUS = 8
ADA = 8  # its sensor sees all of the time, as far as is known
STUCK = "stuck at zero"
FULL_AFTER_S = 240  # by then curves have been thinned
GROWS_LESS_THAN = 0.5e6  # what an interpreter's own memory goes up and down by
PEERS = {"pyJoules": "pyJoules 0.5.1", "Zeus": "Zeus 0.16.0", "two reads": "two reads"}

TICKING = channel(period_s=0.1, resolution=0.001)
TICK_JITTER_S, LATENCY_S = 0.002, 0.0002
ON_TIME, LATE = 0.2, 2.5  # a reading is late by up to this part of the time between two


def met(*holds: bool) -> str:
    return "met" if all(holds) else "missed"


class Errors(NamedTuple):
    """Relative errors of windows, and the stated uncertainties where there are any."""

    errors: list[float]
    bands: list[float]
    windows: int

    @property
    def rms(self) -> float:
        return sqrt(statistics.fmean(e * e for e in self.errors))

    @property
    def bias(self) -> float:
        return statistics.fmean(self.errors)

    @property
    def band(self) -> float:
        return statistics.median(self.bands)

    @property
    def held(self) -> float:
        return sum(abs(e) <= band for e, band in zip(self.errors, self.bands, strict=True)) / len(self.errors)

    @property
    def missing(self) -> str:
        missing = self.windows - len(self.errors)
        return f", {missing} null" if missing else ""


def percent(part: float, digits: int = 2) -> str:
    return f"{100 * part:.{digits}f} %"


def accuracy_row(name: str, found: Errors, goal: float) -> Row:
    return (
        f"{name}, {found.windows} windows",
        f"bias {100 * found.bias:+.2f} %, rms {percent(found.rms)}{found.missing}",
        f"rms {100 * goal:g} %, bias {50 * goal:g} %",
        met(found.rms <= goal, abs(found.bias) <= goal / 2),
        stated(found),
    )


def stated(found: Errors) -> str:
    return f"± {percent(found.band)} ({found.band / found.rms:.1f} × rms), holds {percent(found.held, 1)}"


def peer_row(name: str, found: Errors, ours: Errors) -> Row:
    value = f"bias {100 * found.bias:+.2f} %, rms {percent(found.rms)}"
    return f"  {name}", value, "", "", f"rms {found.rms / ours.rms:.0f} × llmjoules'"


# ---- in simulated time ----


def flat(length_s: float) -> Situation:
    return lambda a, _: (steps([a, a + length_s], [IDLE_W, LOAD_W, IDLE_W]), length_s)


def slow_ramp(a: float, _: float) -> tuple[Power, float]:
    """From its start to its end, and down again for as long after it."""
    up, down = clamped_ramp(a, 1.0), clamped_ramp(a + 1, 1.0)
    return Power(lambda t: IDLE_W, lambda t: IDLE_W * t + (LOAD_W - IDLE_W) * (up(t) - down(t)), ()), 1.0


ADVERSE = HARD | {"a ramp of 1 s from start to end": slow_ramp}
SITUATIONS: dict[str, tuple[Situation, tuple[float, ...]]] = {
    **{f"{length_s:g} s": (flat(length_s), (ON_TIME,)) for length_s in GOALS},
    "80 ms": (flat(0.08), (ON_TIME, LATE)),
    STUCK: (lambda a, _: (constant(0.0), 1.0), (ON_TIME, LATE)),
    **{name: (situation, (ON_TIME, LATE)) for name, situation in ADVERSE.items()},
}


class Counter:
    """What a counter of 100 ms shows of a power, by ticks of its own."""

    def __init__(self, truth: Power, rng: random.Random, until_s: float) -> None:
        self._truth = truth
        phase_s = TICKING.period_s * rng.random()
        count = floor(until_s / TICKING.period_s) + 1
        self._ticks_s = [phase_s + TICKING.period_s * k + TICK_JITTER_S * rng.random() for k in range(count)]

    def joules(self, t_s: float) -> float:
        tick_s = self._ticks_s[bisect_right(self._ticks_s, t_s) - 1]
        return floor(self._truth.joules(tick_s) / TICKING.resolution) * TICKING.resolution


def simulated(name: str, windows: int) -> tuple[Errors, Errors, int]:
    """Of llmjoules' arithmetic and of the plain difference; and how many of llmjoules' figures were 0 J."""
    situation, lateness = SITUATIONS[name]
    rng = random.Random(f"20261125 {name}")
    ours, plain, bands, zeros = [], [], [], 0
    for number in range(windows):
        start_s = 5 + rng.random()
        truth, length_s = situation(start_s, rng.random())
        end_s = start_s + length_s
        counter = Counter(truth, rng, end_s + 1)
        [curve], _ = watched(
            [counter.joules],
            TICKING,
            (start_s, end_s),
            from_s=start_s - 4 + TICKING.period_s * rng.random(),
            until_s=end_s + 0.8,
            rng=rng,
            latency_s=LATENCY_S,
            jitter=lateness[number % len(lateness)],
        )
        found = curve.energy(start_s, end_s)
        true_j = truth.between(start_s, end_s) or 1.0
        plain.append((counter.joules(end_s) - counter.joules(start_s)) / true_j - 1)
        if found.joules is not None and found.uncertainty_j is not None:
            ours.append(found.joules / true_j - 1)
            bands.append(found.uncertainty_j / true_j)
            zeros += found.joules == 0
    return Errors(ours, bands, windows), Errors(plain, [], windows), zeros


def in_simulated_time(windows: int = 2000) -> Iterator[Row]:
    with ProcessPoolExecutor() as pool:
        results = dict(zip(SITUATIONS, pool.map(simulated, SITUATIONS, [windows] * len(SITUATIONS)), strict=True))
    for length_s, goal in GOALS.items():
        ours, plain, _ = results[f"{length_s:g} s"]
        figure, value, goals, _, _ = accuracy_row(f"{length_s:g} s, simulated", ours, goal)
        good = met(ours.rms <= goal, abs(ours.bias) <= goal / 2, ours.band <= 3 * ours.rms, ours.held >= 0.95)
        yield figure, value, f"{goals}, ± 3 × rms", good, stated(ours)
        yield peer_row("two reads", plain, ours)
    for name in ("80 ms", STUCK):
        ours, plain, zeros = results[name]
        value = f"{len(ours.errors)} stated, {windows - len(ours.errors)} null, {zeros} of 0 J"
        peer = f"two reads: {percent(sum(e == -1 for e in plain.errors) / windows, 0)} of 0 J"
        stuck = name == STUCK
        good = met(zeros == 0, not ours.errors if stuck else not ours.errors or ours.held >= 0.95)
        yield f"{name}, simulated, {windows}", value, "null" if stuck else "a band or null", good, peer
    for name in ADVERSE:
        ours, plain, _ = results[name]
        yield (
            f"{name}",
            f"rms {percent(ours.rms)}, holds {percent(ours.held, 1)}{ours.missing}",
            f"rms {percent(2 * plain.rms)}, holds 95 %",  # twice that of two reads
            met(ours.rms <= 2 * plain.rms, ours.held >= 0.95),
            f"{ours.rms / plain.rms:.2f} × two reads ({percent(plain.rms)}); ± {percent(ours.band)}",
        )


# ---- in real time ----


@contextmanager
def stand_in() -> Iterator[Stub | None]:
    """The library of tests/meters/nvml_stub, built; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        if compiler is None:
            yield None
            return
        stub = Stub(Path(folder, LIBRARY))
        source = ROOT / "tests" / "meters" / "nvml_stub" / "nvml_stub.c"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", stub.path, source, "-lm"], check=True)
        yield stub


def gpus(count: int, pulse_s: float, *more: Gpu) -> list[Gpu]:
    rng = random.Random(20261125)
    shape: dict[str, Any] = {"name": "NVIDIA L40S", "arch": ADA, "base": IDLE_W, "pulse": LOAD_W - IDLE_W}
    rig = [Gpu(**shape, pulse_s=pulse_s, phase=0.1 * rng.random()) for _ in range(count)]
    return [Gpu(**vars(gpu) | {"uuid": uuid(n), "bus": n + 1}) for n, gpu in enumerate([*rig, *more])]


def ask(environment: dict[str, str], task: Callable[..., Any], *arguments: object) -> Any:
    command = [sys.executable, "-m", "tests.bench.child", task.__name__, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def errors_of(windows: Sequence[Any], rig: Sequence[Gpu]) -> Errors:
    errors, bands = [], []
    for start_s, end_s, figures in windows:
        for gpu, (joules, uncertainty_j) in zip(rig, figures, strict=False):
            true_j = gpu.energy_j(start_s, end_s)
            if joules is not None:
                errors.append(joules / true_j - 1)
                bands.append((uncertainty_j or 0.0) / true_j)
    return Errors(errors, bands, len(windows) * len(rig))


def python_bound_row(stub: Stub, length_s: float = 1.0) -> Row:
    """Load that keeps the interpreter busy: the watching thread gets it late, and the stated uncertainty must tell."""
    rig = gpus(GPUS, PULSES_S[length_s])
    found = ask(stub.environment(*rig), child.accuracy, WINDOWS[length_s], PULSES_S[length_s], "busy")
    ours = errors_of(found["llmjoules"], rig)
    name = f"{length_s:g} s, Python busy, {ours.windows} windows"
    value = f"bias {100 * ours.bias:+.2f} %, rms {percent(ours.rms)}{ours.missing}"
    return name, value, "holds 95 %", met(ours.held >= 0.95), stated(ours)


def in_real_time() -> Iterator[Row]:
    with stand_in() as stub:
        if stub is None:
            yield "real time, cost of an edge and of sampling", "no C compiler here", "", "", ""
            return
        for length_s, goal in GOALS.items():
            stuck = Gpu(name="NVIDIA L40S", arch=ADA, base=IDLE_W, pulse=LOAD_W - IDLE_W, energy=2)
            rig = gpus(GPUS, PULSES_S[length_s], Gpu(**vars(stuck) | {"pulse_s": PULSES_S[length_s]}))
            found = ask(stub.environment(*rig), child.accuracy, WINDOWS[length_s], PULSES_S[length_s])
            ours = errors_of(found["llmjoules"], rig[:GPUS])
            yield accuracy_row(f"{length_s:g} s, real time", ours, goal)
            for key, name in PEERS.items():
                if found[key]:
                    yield peer_row(name, errors_of(found[key], rig[:GPUS]), ours)
                else:
                    yield f"  {name}", "not installed here", "", "", ""
            if length_s == 1:
                yield stuck_row(found, rig[GPUS])
                yield python_bound_row(stub, length_s)
        yield from edge_rows(stub)
        yield from sampling_rows(stub)


def stuck_row(found: dict[str, list[Any]], gpu: Gpu) -> Row:
    last = {key: [(a, b, [figures[GPUS]]) for a, b, figures in windows] for key, windows in found.items()}
    ours = errors_of(last["llmjoules"], [gpu])
    zeros = {key: all(joules == 0 for _, _, [(joules, _)] in windows) for key, windows in last.items() if windows}
    value = f"by power: rms {percent(ours.rms)}{ours.missing}" if ours.errors else "null"
    peers = ", ".join(name for key, name in PEERS.items() if zeros.get(key))
    good = met(not ours.errors or (-1 not in ours.errors and ours.held >= 0.95))
    held = f"holds {percent(ours.held, 0)}; " if ours.errors else ""
    return f"counter {STUCK}, {ours.windows} windows", value, "a band or null", good, f"{held}0 J by {peers}"


def edge_rows(stub: Stub, count: int = 4000) -> Iterator[Row]:
    for number in (1, GPUS):
        found = ask(stub.environment(*gpus(number, 0.61236)), child.edges, count)

        def of(key: str, found: dict[str, list[float]] = found) -> tuple[float, float]:
            return statistics.median(found[key]), statistics.quantiles(found[key], n=100)[98]

        middle, slow = of("llmjoules")
        goals, no_slower, ratio = "10 µs, p99 200 µs", True, "Zeus: not installed here"
        if found["Zeus"]:
            theirs, theirs_slow = of("Zeus")
            goals, no_slower = f"{goals}, ≤ Zeus", middle <= theirs
            ratio = f"{middle / theirs:.2f} × Zeus ({theirs * 1e6:.1f} µs, p99 {theirs_slow * 1e6:.0f} µs)"
        yield (
            f"both edges of a window, {number} GPU{'s' * (number > 1)}",
            f"{middle * 1e6:.1f} µs, p99 {slow * 1e6:.0f} µs",
            goals,
            met(middle <= 10e-6, slow <= 200e-6, no_slower),
            ratio,
        )


def sampling_rows(stub: Stub) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder), TWO_SOCKETS)
        with Draw(tree, dict(zip(tree.zones, (50, 10, 40, 8), strict=True))):
            environment = stub.environment(*gpus(GPUS, 0.61236), LLMJOULES_POWERCAP=folder)
            bare = ask(environment, child.calls, 2000)
            found = ask(environment, child.sampling, 20, "no")
            with ThreadPoolExecutor() as pool:
                asked = [
                    pool.submit(ask, environment, child.sampling, 60, forgets, FULL_AFTER_S)
                    for forgets in ("yes", "no")
                ]
                forgetful, plain = (one.result() for one in asked)
    by_thread = {name.split("-")[1]: share for name, share in found["threads"].items()}
    calls = 100 * bare["counters"]
    yield (
        f"watching {GPUS} GPUs and RAPL, of a core",
        f"{percent(found['share'])} ({', '.join(f'{name} {percent(share)}' for name, share in by_thread.items())})",
        "1 %",
        met(found["share"] <= 0.01),
        f"{found['share'] / calls:.0f} × {GPUS} bare reads, warm, 100 a second ({percent(calls)})",
    )
    warm = 100 * bare["nvml"] + 50 * bare["rapl"] + bare["nvml state"]
    yield "  the same readings in a warm loop", percent(warm), "", "", f"{warm / found['share']:.2f} × as watched"
    for name, run in (
        ("memory in a minute, forgetting each second", forgetful),
        ("… a plain Monitor that nobody asks", plain),
    ):
        value = f"{run['grown'] / 1e6:+.2f} MB of {run['rss'] / 1e6:.0f} MB"
        hour = f"{run['grown'] / 1e6 * 3600 / run['seconds']:+.1f} MB an hour"
        yield name, value, f"{GROWS_LESS_THAN / 1e6:g} MB", met(run["grown"] <= GROWS_LESS_THAN), hour
