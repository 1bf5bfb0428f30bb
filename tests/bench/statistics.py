"""Do the statistics hold? Simulated studies with a known truth, more of them than the tests can afford."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np

from llmjoules.records.difference import Point, difference, widened
from llmjoules.records.drift import drift
from llmjoules.records.ending import WIDENED
from llmjoules.records.fit import TERMS, coefficients, grid
from llmjoules.records.fit import Point as FitPoint
from llmjoules.records.sequential import judge, paired
from llmjoules.records.stats import Estimate, estimate, t_975
from llmjoules.sitegen.sweetspot import sweet_spot
from tests.records.studies import TRUTH, covers, ended, judged, repeats

STUDIES = 4000
Row = tuple[str, str, str, str, str]


def stopping() -> Iterator[Row]:
    """Coverage of the interval at which a study stops, and after how many repeats it does."""
    cases = (
        ("independent, 3 %", 30, 0.0, 0.0, 0.02),
        ("as much from load to load", 30, 3.0, 0.0, 0.02),
        ("2 runs a load, autocorrelation 0.3", 15, 0.0, 0.3, 0.02),
        ("2 runs a load, both", 15, 3.0, 0.3, 0.03),
        ("6 runs a load, both", 5, 3.0, 0.3, 0.05),
        ("one load, autocorrelation 0.3", 1, 0.0, 0.3, 0.02),
    )
    for name, loads, between, rho, precision in cases:
        rng = np.random.default_rng(loads)
        count, covered, plain, runs = STUDIES // 2, 0, 0, []
        for _ in range(count):
            values = repeats(rng, loads, 30 // loads, 3.0, between, rho)
            judgement, used = judged(values, precision)
            covered += covers(judgement)
            plain += _covers(_first_narrow(values, precision))
            runs.append(used)
        note = f"stopping at the first narrow one: {100 * plain / count:.1f} %"
        yield (
            f"auto, ±{100 * precision:g} %, {name}: coverage",
            f"{100 * covered / count:.1f} %",
            "≥ 92 %",
            at_least(covered / count, 0.92, count),
            note,
        )
        if not between and not rho:
            yield "… repeats, median", f"{np.median(runs):.0f}", "14", _met(np.median(runs) <= 14), "the study used 25"


def _first_narrow(values: np.ndarray, precision: float) -> Estimate:
    """The plain rule: the interval over loads (or runs of the only one), from five runs on."""
    single = len(values) == 1
    for count in range(2, (values.size if single else len(values)) + 1):
        seen = {"0": values[0, :count].tolist()} if single else {str(k): values[k].tolist() for k in range(count)}
        found = estimate(seen)
        if found.runs >= 5 and found.half_width is not None and found.half_width <= precision * found.mean:
            break
    return found


def _covers(found: Estimate) -> bool:
    return found.half_width is not None and abs(found.mean - TRUTH) <= found.half_width


def intervals() -> Iterator[Row]:
    """Coverage of 95 % intervals of a fixed number of repeats."""
    rng = np.random.default_rng(1)

    def mean(loads: int, each: int, spread: float, between: float) -> Callable[[], bool]:
        def covered() -> bool:
            values = repeats(rng, loads, each, spread, between)
            return _covers(estimate({str(k): values[k].tolist() for k in range(loads)}))

        return covered

    yield _coverage("mean, 5 loads of 5", mean(5, 5, 3.0, 3.0))
    yield _coverage("mean, 25 loads of 1", mean(25, 1, 3.0, 1.0))
    share = np.mean([mean(1, 25, 1.0, 1.0)() for _ in range(STUDIES)])
    yield (
        "… of 1 load with 25 runs, loads as far apart as runs",
        f"{100 * share:.0f} %",
        "",
        "",
        "why repeats get loads of their own",
    )

    def of_difference() -> bool:
        sides = [
            [Point(watts * (1 + rng.normal(0, 0.03)), None) for _ in range(count)]
            for watts, count in ((40, 5), (30, 8))
        ]
        found = difference(*sides)
        return found.joules.half_width is not None and abs(found.joules.value + 10) <= found.joules.half_width

    yield _coverage("difference, 5 and 8 loads", of_difference)
    truth = {"fixed": 20.0, "a": 0.1, "b": 3.0, "c": 1e-3, "d": 5e-5}
    hits = dict.fromkeys(truth, 0)
    for _ in range(STUDIES):
        points = [
            FitPoint(i, o, sum(k * TERMS[t](i, o) for t, k in truth.items()) * (1 + rng.normal(0, 0.02)), f"{i}{o}{n}")
            for i, o in grid()
            for n in range(2)
        ]
        for term in coefficients(points, tuple(TERMS))[0]:
            hits[term.name] += abs(term.value - truth[term.name]) <= term.half_width
    for name, count in hits.items():
        yield _row(f"coefficient {name}", count / STUDIES)


def false_alarms() -> Iterator[Row]:
    """How often equal things are called different."""
    rng = np.random.default_rng(2)

    def side(count: int) -> list[Point]:
        return [Point(40 * (1 + rng.normal(0, 0.03)), None) for _ in range(count)]

    for a, b in ((3, 3), (5, 5), (5, 12), (2, 10), (2, 25)):
        wrong = np.mean([difference(side(a), side(b)).verdict != "not told apart" for _ in range(STUDIES)])
        yield f"compare, {a} and {b} loads", f"{100 * wrong:.1f} %", "6 %", _met(wrong <= 0.06), ""
    for name, each, spread, between in (
        ("3 %", 1, 3.0, 0.0),
        ("4 %", 1, 4.0, 0.0),
        ("3 %, 2 dependent runs a load, loads apart", 2, 3.0, 3.0),
        ("3 %, 3 dependent runs a load, loads apart", 3, 3.0, 3.0),
    ):
        plain, wide = _both_ended(rng, each, spread, between)
        note = f"without widening: {100 * plain:.1f} %"
        yield f"… both ended by auto, noise of {name}", f"{100 * wide:.1f} %", "6 %", _met(wide <= 0.06), note
    looks = stars = resolved = 0
    for _ in range(STUDIES // 2):
        a, b = (rng.normal(100, 3, 20) for _ in "ab")
        found = judge(dict(enumerate(a.tolist())), dict(enumerate(b.tolist())), precision=0.02)
        looks += found.different
        resolved += found.reason.startswith("resolved")
        values = (b - a).tolist()
        stars += any((paired(values[:n]).p or 1.0) < 0.05 for n in range(4, 21))
    share, first, equal = looks / (STUDIES // 2), stars / (STUDIES // 2), resolved / (STUDIES // 2)
    note = f"stopping at the first star: {100 * first:.0f} %; known to be equal within 2 %: {100 * equal:.0f} %"
    yield "in turns, a look after each of 20 blocks", f"{100 * share:.1f} %", "6 %", _met(share <= 0.06), note
    for flag in ("trend", "autocorrelated"):
        cells = ({str(k): rng.normal(100, 3, 10).tolist() for k in range(3)} for _ in range(STUDIES))
        share = np.mean([flag in drift(cell).flags() for cell in cells])
        yield f"flag {flag}, 3 loads of 10", f"{100 * share:.1f} %", "1.5 %", _met(share <= 0.015), ""


def differences() -> Iterator[Row]:
    """Equal sides called different by numbers of loads and ratios of spreads, and differences that are found."""
    rng = np.random.default_rng(3)

    def told(loads: tuple[int, int], sds: tuple[float, float], apart: float) -> bool:
        """apart: the true difference in standard errors."""
        means = 40.0, 40.0 + apart * sqrt(sum(sd**2 / count for sd, count in zip(sds, loads, strict=True)))
        sides = (
            [Point(float(joules), None) for joules in rng.normal(mean, sd, count)]
            for mean, sd, count in zip(means, sds, loads, strict=True)
        )
        return difference(*sides).verdict != "not told apart"

    for loads in ((2, 2), (2, 3), (2, 10), (2, 25), (3, 10), (5, 25), (5, 5), (10, 10)):
        spreads = ((1.0, 1.0), (3.0, 1.0), (1.0, 3.0), (10.0, 1.0), (1.0, 10.0))
        shares = [np.mean([told(loads, (0.1 * a, 0.1 * b), 0) for _ in range(STUDIES // 2)]) for a, b in spreads]
        shown = ", ".join(f"{100 * share:.1f}" for share in shares)
        error = 2 * sqrt(0.05 * 0.95 / (STUDIES // 2))
        note = "spreads of A and B as 1:1, 3:1, 1:3, 10:1, 1:10"
        yield f"equal, {loads[0]} and {loads[1]} loads", f"{shown} %", "6.4 %", _met(max(shares) <= 0.064 + error), note
    for loads in ((2, 10), (2, 25)):
        share = np.mean([_welch(*(rng.normal(0, 1, count) for count in loads)) for _ in range(STUDIES // 2)])
        yield f"… {loads[0]} and {loads[1]} loads, as Welch would", f"{100 * share:.1f} %", "", "", "equal spreads"
    for loads in ((2, 25), (3, 10), (5, 25), (5, 5)):
        share = np.mean([told(loads, (1.0, 1.0), 4) for _ in range(STUDIES // 4)])
        yield f"4 standard errors apart, {loads[0]} and {loads[1]} loads", f"{100 * share:.0f} % told", "", "", ""


def _welch(a: np.ndarray, b: np.ndarray) -> bool:
    """Does Welch's interval of the difference leave out zero?"""
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    degrees = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return bool(abs(a.mean() - b.mean()) > t_975(float(degrees)) * sqrt(va + vb))


def sweet_spots() -> Iterator[Row]:
    """Curves of equal rungs on which a winner is named, and lower rungs that are named."""
    rng = np.random.default_rng(4)

    def named(loads: tuple[int, ...], sds: tuple[float, ...], apart: float, *, skewed: bool = False) -> bool:
        """apart: how much lower the first rung is, in standard errors of the difference to another."""
        lower = apart * sqrt(sum(sd**2 / count for sd, count in zip(sds[:2], loads[:2], strict=True)))
        rungs = []
        for place, (count, sd) in enumerate(zip(loads, sds, strict=True)):
            noise = rng.lognormal(0, sd, count) if skewed else 100 + rng.normal(0, sd, count)
            rungs.append({str(load): [float(j) - lower * (place == 0)] for load, j in enumerate(noise)})
        return sweet_spot(rungs).claimed

    for loads, sds in (
        ((2, 25), (1.0, 1.0)),
        ((2, 25), (3.0, 0.3)),
        ((3, 10), (3.0, 0.3)),
        ((5, 5), (10.0, 1.0)),
        ((25, 25), (1.0, 1.0)),
        ((2, 25, 25), (3.0, 1.0, 1.0)),
        ((2, 5, 10, 25, 3, 4), (1.0, 2.0, 5.0, 10.0, 3.0, 1.0)),
    ):
        share = np.mean([named(loads, sds, 0) for _ in range(STUDIES // 4)])
        shown = f"{', '.join(map(str, loads))} loads, spreads {', '.join(f'{sd:g}' for sd in sds)}"
        met = _met(share <= 0.05 + 2 * sqrt(0.05 * 0.95 / (STUDIES // 4)))
        yield f"a winner among equal rungs, {shown}", f"{100 * share:.1f} %", "5 %", met, ""
    for loads in ((2, 25), (5, 25)):
        share = np.mean([named(loads, (1.0, 1.0), 0, skewed=True) for _ in range(STUDIES // 4)])
        yield (
            f"… {loads[0]}, {loads[1]} loads, log-normal, σ = 1",
            f"{100 * share:.1f} %",
            "",
            "",
            "scatter is not normal",
        )
    for loads, apart in (((3, 3), 6), ((3, 3), 8), ((5, 5), 4)):
        share = np.mean([named(loads, (1.0, 1.0), apart) for _ in range(STUDIES // 4)])
        yield f"{apart} standard errors lower, {loads[0]} loads each", f"{100 * share:.0f} % named", "", "", ""


def _both_ended(rng: np.random.Generator, each: int, spread: float, between: float) -> tuple[float, float]:
    """How often two equal cells, each repeated until known, are called different: as they are, and as compared."""
    wrong = [0, 0]
    for _ in range(STUDIES // 2):
        sides = [ended(rng, each, spread, between) for _ in "ab"]
        for number, factor in enumerate((1.0, WIDENED)):
            a, b = (widened(points, factor if precise else 1.0) for points, precise in sides)
            wrong[number] += difference(a, b).verdict != "not told apart"
    return wrong[0] / (STUDIES // 2), wrong[1] / (STUDIES // 2)


def _coverage(name: str, covered: Callable[[], bool]) -> Row:
    return _row(name, float(np.mean([covered() for _ in range(STUDIES)])))


def _row(name: str, share: float) -> Row:
    error = 2 * sqrt(0.05 * 0.95 / STUDIES)
    met = _met(0.93 - error <= share <= 0.97 + error)
    return f"coverage of the {name}", f"{100 * share:.1f} %", "93–97 %", met, f"± {100 * error:.1f} by chance"


def at_least(share: float, goal: float, count: int) -> str:
    return _met(share >= goal - 2 * sqrt(goal * (1 - goal) / count))


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
