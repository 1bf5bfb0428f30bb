"""Closure of replays, worked by hand and against a sum over every step."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.closure import closure, step_weights
from llmjoules.records.record import Energy, Replay, Run, Tokens
from tests.builders import make_run


def replay(name: str, context: int, joules: float | None, doubt_j: float = 0.0, **more: Any) -> Replay:
    energy = Energy(channel="cpu:0", joules=joules, uncertainty_j=doubt_j, reason=None if joules else "too_short: …")
    return Replay(name=name, context_tokens=context, times=10, energy=(energy,), **more)


def with_replays(*replays: Replay, new_tokens: int = 5) -> Run:
    """Four decode steps behind seven prompt tokens, so at contexts 7 to 10; 80 ± 0.8 J in all."""
    run = make_run(new_tokens=new_tokens)
    times_s = tuple(float(n) for n in range(new_tokens))
    return msgspec.structs.replace(
        run, replays=replays, tokens=Tokens(prompt=7, generated=new_tokens, useful=new_tokens, times_s=times_s)
    )


def test_prefill_and_decode_steps_add_up_along_the_context() -> None:
    run = with_replays(replay("prefill", 7, 20.0, 0.5), replay("decode", 7, 10.0, 0.1), replay("decode", 10, 16.0, 0.2))
    found = closure(run, "cpu")
    assert found.prefill_j == 20.0
    assert found.decode_j == pytest.approx(10 + 12 + 14 + 16)
    assert found.ratio == pytest.approx(72 / 80)
    doubt_j = (0.5**2 + (2 * 0.1) ** 2 + (2 * 0.2) ** 2) ** 0.5  # each end counts as two steps
    whole = run.totals["cpu"]
    assert found.uncertainty == pytest.approx(
        0.9 * ((doubt_j / 72) ** 2 + (whole.uncertainty_j / whole.joules) ** 2) ** 0.5
    )


def test_one_new_token_needs_no_decode() -> None:
    assert closure(with_replays(replay("prefill", 7, 60.0), new_tokens=1), "cpu").ratio == pytest.approx(60 / 80)


@pytest.mark.parametrize(
    ("replays", "code"),
    [
        ((), "no_replay"),
        ((Replay(name="prefill", context_tokens=7, reason="not_replayed: RuntimeError"),), "not_replayed"),
        ((replay("prefill", 7, 20.0), replay("decode", 7, None)), "too_short"),
        ((replay("prefill", 7, 20.0),), "missing"),
    ],
)
def test_without_a_figure_there_is_a_reason(replays: tuple[Replay, ...], code: str) -> None:
    found = closure(with_replays(*replays), "cpu")
    assert found.ratio is None
    assert found.reason.startswith(code)


@given(
    known=st.lists(st.integers(0, 300), min_size=1, max_size=4, unique=True).map(sorted),
    first=st.integers(0, 200),
    steps=st.integers(1, 150),
)
def test_weights_sum_any_straight_line_exactly_and_count_every_step(known: list[int], first: int, steps: int) -> None:
    contexts = range(first, first + steps)
    weights = step_weights(known, contexts)
    assert sum(weights) == pytest.approx(steps)
    inside = [min(max(context, known[0]), known[-1]) for context in contexts]
    assert sum(w * (3 + 2 * c) for w, c in zip(weights, known, strict=True)) == pytest.approx(
        sum(3 + 2 * c for c in inside)
    )
