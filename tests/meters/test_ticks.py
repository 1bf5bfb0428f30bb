"""A counter's beat, learned from its readings: what is dated by it, what it saves, and where there is none."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence

import pytest

from llmjoules.meters.ticks import Ticks
from tests.meters.simulated import Power, channel, steps, watched
from tests.meters.test_window import HARD

TICKING = channel(period_s=0.1, resolution=0.001)


def ticks_s(rng: random.Random, until_s: float, period_s: float = 0.1, jitter_s: float = 0.002) -> list[float]:
    phase_s = period_s * rng.random()
    return [phase_s + period_s * k + jitter_s * rng.random() for k in range(-2, int(until_s / period_s) + 2)]


def shown(truth: Power, at_s: Sequence[float]) -> Callable[[float], float]:
    """What a counter shows that is renewed at these instants."""
    return lambda t_s: math.floor(truth.joules(at_s[bisect_right(at_s, t_s) - 1]) / 0.001) * 0.001


@pytest.mark.parametrize("jitter", [0.2, 2.5], ids=["on time", "late"])
@pytest.mark.parametrize("situation", HARD)
def test_read_rarely_the_stated_uncertainty_holds_the_truth_where_edges_are_hard(situation: str, jitter: float) -> None:
    rng = random.Random(20261125)
    held = measured = 0
    for _ in range(200):
        a = 4 + rng.random()
        truth, length_s = HARD[situation](a, rng.random())
        b = a + length_s
        counters = [shown(truth, ticks_s(rng, b + 1)) for _ in range(5)]
        curves, _ = watched(counters, TICKING, (a, b), from_s=rng.random(), until_s=b + 0.8, rng=rng, jitter=jitter)
        for found in (curve.energy(a, b) for curve in curves):
            if found.joules is not None:
                measured += 1
                held += abs(found.joules - truth.between(a, b)) <= found.uncertainty_j
    assert measured >= 950
    assert held >= 0.95 * measured, (held, measured)


@pytest.mark.parametrize(("length_s", "rms", "bias"), [(0.3, 0.01, 0.005), (1, 0.004, 0.002), (3, 0.0012, 0.0006)])
@pytest.mark.parametrize("unmarked", [False, True], ids=["edges are marked", "nobody marks the edges"])
def test_read_rarely_a_ticking_counter_is_this_good_on_plain_loads(
    unmarked: bool, length_s: float, rms: float, bias: float
) -> None:
    """Also where nobody tells of the edges in time: windows may be asked for afterwards."""
    rng = random.Random(20261125)
    errors, bands = [], []
    for _ in range(40):
        a = 4 + rng.random()
        b = a + length_s
        truth = steps([a, b], [60, 300, 60])
        counters = [shown(truth, ticks_s(rng, b + 1)) for _ in range(8)]
        edges_s = () if unmarked else (a, b)
        curves, _ = watched(counters, TICKING, edges_s, from_s=rng.random(), until_s=b + 0.8, rng=rng)
        for curve in curves:
            found = curve.energy(a, b)
            errors.append(found.joules / (300 * length_s) - 1)
            bands.append(found.uncertainty_j / (300 * length_s))
    found_rms = math.sqrt(sum(e * e for e in errors) / len(errors))
    assert found_rms <= rms
    assert abs(sum(errors) / len(errors)) <= bias
    assert sum(abs(e) <= band for e, band in zip(errors, bands, strict=True)) >= 0.95 * len(errors)
    assert sorted(bands)[len(bands) // 2] <= 3 * found_rms


def readings_a_second(counters: Sequence[Callable[[float], float]], seconds: float = 60) -> float:
    rng = random.Random(3)
    _, first = watched(counters, TICKING, (), from_s=0.1, until_s=seconds / 2, rng=rng)
    _, all_of_it = watched(counters, TICKING, (), from_s=0.1, until_s=seconds, rng=random.Random(3))
    return (all_of_it - first) / (seconds / 2)


def test_eight_counters_with_a_beat_share_about_a_dozen_readings_a_second() -> None:
    """Ten would be one a period; the rest is looking whether the beats have slipped. Densely it would be 90."""
    rng, truth = random.Random(20261125), steps([20], [60, 300])
    assert readings_a_second([shown(truth, ticks_s(rng, 61)) for _ in range(8)]) < 20


def test_a_counter_without_a_beat_goes_on_being_read_densely() -> None:
    rng, truth, at_s = random.Random(20261125), steps([20], [60, 300]), [0.0]
    while at_s[-1] < 61:
        at_s.append(at_s[-1] + rng.uniform(0.03, 0.17))
    assert readings_a_second([shown(truth, at_s)]) > 80


def test_a_counter_that_stands_still_is_not_read_densely_for_ever() -> None:
    assert readings_a_second([lambda _: 5.0]) < 15


@pytest.mark.parametrize("slip_s", [0.02, 0.05, 0.08])
def test_a_beat_that_slips_is_found_out_and_learned_anew(slip_s: float) -> None:
    """Until it is found out, dates may be off by the slip; a second window later they hold again."""
    rng, truth = random.Random(20261125), steps([], [200])
    regular = ticks_s(rng, 40)
    slipped = [t for t in regular if t < 20] + [t + slip_s for t in regular if t >= 20]
    [curve], _ = watched([shown(truth, slipped)], TICKING, (), from_s=0.1, until_s=40, rng=rng)
    late = [k for k, t in enumerate(curve.t) if t > 26]
    assert len(late) > 100
    off_s = [min(abs(curve.t[k] - t) for t in slipped) for k in late]
    assert all(off <= 2 * curve.dt[k] + 0.002 for off, k in zip(off_s, late, strict=True))
    whole = curve.energy(26, 39)
    assert abs(whole.joules - 13 * 200) <= whole.uncertainty_j


def test_what_is_known_of_no_beat_dates_nothing() -> None:
    ticks = Ticks(0.1)
    assert ticks.dated(1.0, 1.01) is None
    assert ticks.next_after(1.0) is None
    for k in range(20):
        ticks.moved(0.1 * k, 0.1 * k + 0.01)
    low_s, high_s = ticks.dated(1.95, 2.05) or (0, 0)
    assert low_s <= 2.005 <= high_s
    assert high_s - low_s < 0.015
    ticks.lose()
    assert ticks.dated(1.95, 2.05) is None
