"""The token clock: when each token was ready, seen from inside `generate()`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class TokenClock:
    """A stopping criterion that never stops: transformers calls it once a step, right after the token was appended.

    times_s: `time.monotonic()` of each step.
    lengths: of the sequence then, prompt and padding included; count tokens by these: one step may bring several.
    ids: the token ids of the whole batch at the last step.
    wait: called before the time is taken, so that the device has finished the token; None on a CPU.
    on_first: called after the first token's time is taken: prefill is over.
    """

    def __init__(self, wait: Callable[[], None] | None = None, on_first: Callable[[], None] | None = None) -> None:
        self.times_s: list[float] = []
        self.lengths: list[int] = []
        self.ids: Any = None
        self._wait = wait
        self._on_first = on_first
        self._go_on: Any = None

    def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        if self._wait is not None:
            self._wait()
        self.times_s.append(time.monotonic())
        self.lengths.append(input_ids.shape[1])
        self.ids = input_ids
        if self._go_on is None:  # made once: a new tensor each step costs several times the rest
            self._go_on = input_ids.new_zeros(input_ids.shape[0], dtype=_bool())
            if self._on_first is not None:
                self._on_first()
        return self._go_on


def _bool() -> Any:
    import torch

    return torch.bool
