"""Prompts of a wished length, so that models with different tokenizers get the same work."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice

from msgspec.structs import replace

from llmjoules.records.errors import LlmjoulesError
from llmjoules.runner.models import Resolved
from llmjoules.runner.settings import DEFAULT_PROMPT, Settings

FILLERS = (" the", " a", " of", " 1", ".", "a")  # most vocabularies have one of them as a token of its own


def with_prompt(settings: Settings, model: Resolved) -> Settings:
    """The settings with a prompt of `prompt_tokens` tokens in every row, if that is what they ask for.

    Raises LlmjoulesError where no text of that length is found.
    """
    if settings.prompt_tokens is None:
        return settings
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.path, trust_remote_code=False)
    text = prompt_of(settings.prompt_tokens, lambda text: len(tokenizer(text)["input_ids"]))
    return replace(settings, prompts=(text,) * settings.batch_size)


def prompt_of(tokens: int, count: Callable[[str], int]) -> str:
    """A text of exactly so many tokens: words of the default prompt over and over, then fillers one at a time.

    count: the number of tokens of a text, special ones included.
    """
    words = DEFAULT_PROMPT.split()

    def of(number: int) -> str:
        return " ".join(islice(cycle(words), number))

    low, high = 0, tokens + 1
    while low < high:  # the most words that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(of(middle)) <= tokens else (low, middle - 1)
    text = of(low)
    while count(text) < tokens:
        longer = [text + filler for filler in FILLERS if count(text) < count(text + filler) <= tokens]
        if not longer:
            break
        text = longer[0]
    if count(text) != tokens:
        raise LlmjoulesError(
            f"No prompt of {tokens} tokens was found.",
            f"This tokenizer makes {count(text)} of the nearest text.",
            "Choose another length: --prompt-tokens N",
        )
    return text
