"""Means and half-widths as figures: cases by hand, which tests/browser/test_compare.py also puts to the browser."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.rounding import THIN, plus_minus

CASES = json.loads((Path(__file__).parent / "rounding.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_a_mean_and_its_half_width_are_shown_as_by_hand(case: dict[str, object]) -> None:
    assert list(plus_minus(case["mean"], case["half"])) == case["shown"]


@given(st.floats(-1e200, 1e200), st.floats(0, 1e200))
def test_both_stand_to_the_same_decimal_and_no_width_reads_zero(mean: float, half: float) -> None:
    shown = [Decimal(words.replace(THIN, "")) for words in plus_minus(mean, half)]
    assert shown[0].as_tuple().exponent == shown[1].as_tuple().exponent
    unit = Decimal(1).scaleb(shown[1].as_tuple().exponent)
    assert bool(shown[1]) is (half > 0)
    # Rounded to tens and more, the unit is the last place that is not filled up with zeros: five digits or fewer count.
    unit = max(unit, Decimal(10) ** (max(Decimal(mean).adjusted(), -400) - 4) if mean else unit)
    assert abs(shown[0] - Decimal(mean)) <= max(unit, Decimal(half) / 10)
    assert abs(shown[1] - Decimal(half)) <= max(unit, Decimal(half) / 10)
