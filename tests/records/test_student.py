"""Student's t, against closed forms and printed tables."""

from __future__ import annotations

from math import atan, inf, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.student import critical, two_sided_p

# Two-sided points as printed in tables: 99 % and 99.9 %.
TABLE = {(0.01, 3): 5.841, (0.01, 10): 3.169, (0.01, 30): 2.750, (0.001, 5): 6.869, (0.001, 20): 3.850, (0.01, inf): 2.576, (0.2, 7): 1.415}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("key", TABLE)
def test_points_are_those_of_the_tables(key: tuple[float, float]) -> None:
    assert critical(*key) == pytest.approx(TABLE[key], abs=6e-4)


@given(st.floats(-50, 50))
def test_one_two_and_four_degrees_have_closed_forms(t: float) -> None:
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / pi * atan(abs(t)), abs=1e-12)
    assert two_sided_p(t, 2) == pytest.approx(1 - abs(t) / sqrt(2 + t * t), abs=1e-12)
    x = t * t / (4 + t * t)
    assert two_sided_p(t, 4) == pytest.approx(1 - sqrt(x) * (1.5 - 0.5 * x), abs=1e-12)


@given(st.floats(1e-6, 0.999), st.floats(0.5, 1e6))
def test_a_point_has_the_probability_that_was_asked_for(alpha: float, degrees: float) -> None:
    assert two_sided_p(critical(alpha, degrees), degrees) == pytest.approx(alpha, rel=1e-6)


def test_degrees_between_whole_numbers_lie_between_their_points() -> None:
    assert critical(0.05, 3) > critical(0.05, 3.5) > critical(0.05, 4)
    assert critical(0.05, 1e9) == pytest.approx(critical(0.05, inf), abs=1e-7)
