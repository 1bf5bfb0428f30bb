"""Digits claim no more than is known."""

from __future__ import annotations

import base64
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.stats import Estimate
from llmjoules.sitegen import text
from llmjoules.sitegen.bars import PAD, WIDTH, interval, scale_over
from llmjoules.sitegen.block import base85

NARROW = "\u202f"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (1.0, "1.00"), (0.1234, "0.123"), (12.345, "12.3"), (999.6, "1000"), (1234.5, "1230"),
        (123456.0, f"123{NARROW}000"), (0.00012345, "0.000123"), (1e-12, "1.00e-12"), (3e12, "3.00e+12"),
        (None, "–"), (float("nan"), "–"), (float("inf"), "–"),
    ],
)  # fmt: skip
def test_a_figure_alone_has_three_digits(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["batch 128", "batch 16", "batch 8, float32", "bfloat16", "16-bit"]
    assert sorted(names, key=text.natural) == ["16-bit", "batch 8, float32", "batch 16", "batch 128", "bfloat16"]


@given(st.floats(1e-8, 1e8), st.integers(2, 5))
def test_a_figure_is_the_nearest_with_so_many_digits(value: float, significant: int) -> None:
    exact = Decimal(value)
    step = Decimal(1).scaleb(exact.adjusted() - significant + 1)
    found = text.number(value, significant)
    assert abs(Decimal(found.replace(NARROW, "")) - exact) <= step / 2
    assert len(found.replace(NARROW, "").partition("e")[0].replace(".", "").strip("0")) <= significant


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (4.0, 0.4968, ("4.00", "0.50")),
        (180.934, 0.7737, ("180.93", "0.77")),
        (1234.5, 117.0, ("1230", "120")),
        (0.31857, 0.0089, ("0.3186", "0.0089")),
        (9.96, 0.0996, ("9.96", "0.10")),
        (2.0, None, ("2.00", "")),
        (12345.678, 0.001, (f"12{NARROW}346", "1")),  # five digits of the mean are enough, and none finer is shown
        (5.0, 0.0, ("5.000", "0.000")),
        (None, None, ("–", "")),
        (1.0, float("inf"), ("1.00", "")),
        (1192.0, 14680.0, ("1200", f"14{NARROW}700")),  # of the mean its first two digits stay
        (400.0, 14680.0, ("400", f"14{NARROW}680")),
        (-2.34, 17.06, ("-2.3", "17.1")),
        (0.001, 15.04, ("0", "15")),  # nothing is known of it
    ],
)
def test_a_half_width_has_two_digits_and_the_mean_matches(
    mean: float | None, half: float | None, shown: tuple[str, str]
) -> None:
    assert text.plus_minus(mean, half) == shown


@given(st.floats(allow_nan=True, allow_infinity=True), st.none() | st.floats().map(abs))
def test_no_pair_of_numbers_prints_nan(mean: float, half: float | None) -> None:
    shown = " ".join(text.plus_minus(mean, half))
    assert "nan" not in shown
    assert "inf" not in shown


def test_a_column_has_one_unit() -> None:
    assert text.unit_for([0.0009, 0.05]) == ("m", 1e3)
    assert text.unit_for([0.0009, 0.5]) == ("", 1.0)
    assert text.unit_for([20_000.0, 30_000.0]) == ("k", 1e-3)
    assert text.unit_for([None, 0.0]) == ("", 1.0)


def test_characters_that_hide_others_become_visible() -> None:
    assert text.clean("a\u202eb\x00c") == "a\ufffdb\ufffdc"
    assert text.clean("SmolLM2 – 135M µ") == "SmolLM2 – 135M µ"


def test_long_names_are_cut_with_a_mark() -> None:
    assert text.shown("x" * 10_000) == "x" * (text.NAME_LIMIT - 1) + "…"
    assert text.shown("two\n lines") == "two lines"


def estimate(mean: float, half: float | None = None) -> Estimate:
    return Estimate(mean=mean, half_width=half, basis="loads", runs=3, loads=3)


def test_an_interval_is_drawn_on_the_scale_of_all_rows() -> None:
    scale = scale_over([(estimate(1.0), None), (estimate(4.0, 1.0), None)])
    assert scale is not None
    assert (scale.low, scale.high, scale.log) == (0.0, 5.0, False)
    drawn = interval(estimate(4.0, 1.0), 0.25, scale)
    inner = WIDTH - 2 * PAD  # 106 pixels for 5 J
    assert drawn == pytest.approx(
        (PAD + inner * 0.8, PAD + inner * 0.6, WIDTH - PAD, PAD + inner * 0.6, WIDTH - PAD), abs=0.1
    )


def test_rows_far_apart_get_a_logarithmic_scale() -> None:
    scale = scale_over([(estimate(0.2), None), (estimate(20.0), None)])
    assert scale is not None
    assert scale.log
    assert scale.x(2.0) - scale.x(0.2) == pytest.approx(scale.x(20.0) - scale.x(2.0), abs=0.2)


def test_no_figure_is_drawn_nowhere() -> None:
    assert scale_over([(None, None), (estimate(0.0), None)]) is None
    assert interval(None, None, None) is None


@given(st.binary(max_size=64))
def test_base85_is_that_of_the_standard_library(data: bytes) -> None:
    assert base85(data) == base64.b85encode(data)
