"""Trend and autocorrelation: found where they are, and falsely in as few cells as stated. Moments are enumerated."""

from __future__ import annotations

from itertools import permutations
from math import sqrt

import numpy as np
import pytest

from llmjoules.records.drift import Drift, drift
from llmjoules.records.student import NORMAL
from tests.records.studies import repeats

CELLS = 2000
TOLERANCE = 3 * sqrt(0.01 * 0.99 / CELLS)


def by_load(values: np.ndarray) -> dict[str, list[float]]:
    return {str(k): list(row) for k, row in enumerate(values)}


def test_a_slope_is_that_of_the_regression_with_its_t() -> None:
    # 10, 12, 13, 15: slope (−1.5·10 − 0.5·12 + 0.5·13 + 1.5·15) / 5 = 1.6; 13 squared off
    # the mean, 12.8 of it the slope: 0.2 left;
    # t = 1.6 / sqrt(0.2 / 2 / 5) = 11.3137 with 2 degrees: p = 1 − t/sqrt(2 + t²) = 0.0077221
    found = drift({"a": [10.0, 12.0, 13.0, 15.0]})
    assert found.trend == pytest.approx(1.6 / 12.5)
    assert found.trend_p == pytest.approx(0.0077221, abs=1e-6)
    assert found.flags("cpu") == ("trend:cpu",)


def test_levels_of_loads_are_no_trend() -> None:
    found = drift({"a": [10.0, 10.1, 10.0], "b": [20.0, 20.1, 20.0], "c": [30.0, 30.1, 30.0]})
    assert found.trend == pytest.approx(0.0)
    assert found.over == "runs"


def test_the_moments_of_the_autocorrelation_are_those_over_all_orders() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0]
    off = np.array(list(permutations(np.array(values) - np.mean(values))))
    sums = (off[:, 1:] * off[:, :-1]).sum(1)
    mine = ((np.array(values) - np.mean(values))[1:] * (np.array(values) - np.mean(values))[:-1]).sum()
    z = (mine - sums.mean()) / sums.std()
    assert drift({"a": values}).autocorrelation_p == pytest.approx(NORMAL.cdf(-z), abs=1e-9)


def test_runs_with_a_load_each_are_taken_in_their_order() -> None:
    found = drift({str(k): [100.0 + k] for k in range(12)})
    assert found.over == "loads"
    assert found.flags("gpu") == ("trend:gpu", "autocorrelated:gpu")


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1.0]}, {"a": [1.0, 2.0]}, {"a": [5.0] * 9}])
def test_too_few_or_equal_repeats_say_nothing(values: dict[str, list[float]]) -> None:
    found = drift(values)
    assert found == Drift(over=found.over, trend=None, trend_p=None, autocorrelation=None, autocorrelation_p=None)
    assert found.flags() == ()


@pytest.mark.parametrize(("loads", "each"), [(5, 5), (1, 25), (3, 10), (12, 1)])
def test_one_cell_in_a_hundred_without_drift_is_flagged(loads: int, each: int) -> None:
    rng = np.random.default_rng(each)
    flags = [drift(by_load(repeats(rng, loads, each, 3.0, between=3.0))).flags() for _ in range(CELLS)]
    for name in ("trend", "autocorrelated"):
        assert sum(name in found for found in flags) / CELLS <= 0.01 + TOLERANCE


def test_strong_drift_is_flagged() -> None:
    rng = np.random.default_rng(0)
    flags = [drift(by_load(repeats(rng, 5, 25, 3.0, rho=0.4))).flags() for _ in range(100)]
    assert sum("autocorrelated" in found for found in flags) > 90
    ramp = 0.8 * np.arange(10)
    flags = [drift(by_load(repeats(rng, 5, 10, 3.0) + ramp)).flags() for _ in range(100)]
    assert sum("trend" in found for found in flags) > 80
