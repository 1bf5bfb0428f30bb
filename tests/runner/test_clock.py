"""The token clock against independent witnesses inside `generate()`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from llmjoules.runner.clock import TokenClock
from llmjoules.runner.inference import _useful


@pytest.fixture(scope="module")
def model_and_prompt(llama_tiny: Path) -> tuple[Any, Any]:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(llama_tiny)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama_tiny)
    return model, tokenizer(["The energy that", "The power it draws, summed over"], return_tensors="pt", padding=True)


def generate(model_and_prompt: tuple[Any, Any], clock: TokenClock, new_tokens: int) -> Any:
    model, prompt = model_and_prompt
    lengths = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
    return model.generate(**prompt, **lengths, do_sample=False, stopping_criteria=[clock])


def test_it_ticks_once_a_step_after_the_token_was_chosen_and_before_the_next_forward(
    model_and_prompt: tuple[Any, Any],
) -> None:
    model, _ = model_and_prompt
    began: list[float] = []
    ended: list[float] = []
    hooks = [
        model.register_forward_pre_hook(lambda *_: began.append(time.monotonic())),
        model.register_forward_hook(lambda *_: ended.append(time.monotonic())),
    ]
    clock = TokenClock()
    generate(model_and_prompt, clock, 10)
    for hook in hooks:
        hook.remove()
    assert len(clock.times_s) == len(began) == 10
    for step in range(10):
        assert ended[step] < clock.times_s[step]
    for step in range(9):
        assert clock.times_s[step] < began[step + 1]


def test_it_counts_tokens_by_length_and_holds_their_ids(model_and_prompt: tuple[Any, Any]) -> None:
    clock = TokenClock()
    ids = generate(model_and_prompt, clock, 5)
    width = model_and_prompt[1]["input_ids"].shape[1]
    assert clock.lengths == [width + step for step in range(1, 6)]
    assert clock.ids.tolist() == ids.tolist()


def test_it_changes_no_token(model_and_prompt: tuple[Any, Any]) -> None:
    model, prompt = model_and_prompt
    plain = model.generate(**prompt, max_new_tokens=12, min_new_tokens=12, do_sample=False)
    assert generate(model_and_prompt, TokenClock(), 12).tolist() == plain.tolist()


def test_it_waits_for_the_device_before_it_takes_the_time(model_and_prompt: tuple[Any, Any]) -> None:
    waited: list[float] = []
    first: list[int] = []
    clock = TokenClock(lambda: waited.append(time.monotonic()), lambda: first.append(len(waited)))
    generate(model_and_prompt, clock, 3)
    assert len(waited) == 3
    assert all(wait <= tick for wait, tick in zip(waited, clock.times_s, strict=True))
    assert first == [1]


@pytest.mark.parametrize(
    ("row", "ends", "useful"),
    [
        ([5, 6, 7], {2}, 3),  # no end: all of them
        ([5, 2, 0, 0], {2}, 2),  # the end itself was generated for use; padding after it was not
        ([5, 2, 2, 2], {2}, 2),  # padding with the same id
        ([2, 2, 2], {2}, 1),
        ([5, 9, 2], {2, 9}, 2),  # several ids can end
        ([5, 6], set(), 2),
    ],
)
def test_useful_tokens_reach_up_to_the_first_end(row: list[int], ends: set[int], useful: int) -> None:
    assert _useful(row, frozenset(ends)) == useful
