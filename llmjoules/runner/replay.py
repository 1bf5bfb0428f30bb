"""Phases too short for a meter, replayed: the same work over and over until the window is long enough.

What comes out is a steady state of the model's own forward pass: prefill with an empty cache each time, and decode
steps with a cache of fixed length. It is another quantity than the prefill inside a request, which also holds what
`generate` and the tokenizer do; records/closure.py says how far the two are apart.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from llmjoules.meters.guard import describe
from llmjoules.records.errors import without_home
from llmjoules.records.record import Energy, Replay
from llmjoules.runner.inference import Loaded, Reply
from llmjoules.runner.phases import Recorder

PERIODS = 20  # of the slowest channel: a window's edges are then well below a percent of it
SHORTEST_S, LONGEST_S = 0.5, 30.0

Name = Literal["prefill", "decode"]


def replays(loaded: Loaded, recorder: Recorder, reply: Reply) -> tuple[Replay, ...]:
    """Prefill, and decode at the first, the middle and the last context of the inference that gave this reply.

    What cannot be replayed says why; nothing that goes wrong here touches the run.
    """
    found = []
    for name, context in _wanted(reply):
        try:
            with loaded.libraries.torch.no_grad():
                step = Step(loaded, reply, context)
                once = step.prefill if name == "prefill" else step.decode
                found.append(_measured(name, context, once, recorder))
        except Exception as error:
            why = f"not_replayed: {without_home(describe(error))}"
            found.append(Replay(name=name, context_tokens=context, reason=why))
    return tuple(found)


def _wanted(reply: Reply) -> Iterator[tuple[Name, int]]:
    """context_tokens: of a prefill the prompt's, padding included; of a decode step those in the cache before it."""
    first, last = reply.prompt_tokens, reply.ids.shape[1] - 2
    yield "prefill", first
    if last >= first:  # else there was one new token, which the prefill gave
        for context in sorted({first, (first + last) // 2, last}):
            yield "decode", context


def _measured(name: Name, context: int, once: Callable[[], Any], recorder: Recorder) -> Replay:
    once()  # kernels for these shapes may be chosen now
    wanted_s, times = window_s(recorder.slowest_period_s), 0
    with recorder.window(name) as window:
        while not times or time.monotonic() < window.start_s + wanted_s:
            once()  # waits for its token, so that time on the clock is time on the device
            times += 1
    assert window.end_s is not None
    return Replay(
        name=name,
        context_tokens=context,
        times=times,
        start_s=recorder.since(window.start_s),
        end_s=recorder.since(window.end_s),
        energy=tuple(_per_replay(energy, times) for energy in window.energies),
    )


def window_s(period_s: float) -> float:
    """How long a window of replays is to be: PERIODS of the slowest channel."""
    return min(max(PERIODS * period_s, SHORTEST_S), LONGEST_S)


def _per_replay(energy: Energy, times: int) -> Energy:
    if energy.joules is None:
        return energy
    return msgspec.structs.replace(
        energy,
        joules=round(energy.joules / times, 9),
        uncertainty_j=None if energy.uncertainty_j is None else round(energy.uncertainty_j / times, 9),
    )


class Step:
    """Forward passes over the tokens of a reply, greedy and with the same batch.

    The prompt's mask and positions are those that `generate` makes: padding on the left does not count. Both kinds of
    replay return the token that comes next in each row.
    """

    def __init__(self, loaded: Loaded, reply: Reply, context: int) -> None:
        self._torch = loaded.libraries.torch
        self._model = loaded.model
        self._dynamic_cache = loaded.libraries.transformers.DynamicCache
        takes = inspect.signature(type(loaded.model).forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"  # renamed within transformers 5
        self._takes_positions = "position_ids" in takes
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._context = context
        self._ids = reply.ids
        self._mask = self._torch.ones_like(reply.ids)
        for row, padding in enumerate(reply.padding):
            self._mask[row, :padding] = 0
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._filled: Any = None

    def prefill(self) -> Any:
        """The prompt into a cache of its own, which is dropped."""
        return self._forward(0, self._context, self._empty())

    def decode(self) -> Any:
        """One step behind `context` tokens, and back again."""
        if self._filled is None:
            self._filled = self._empty()
            self._forward(0, self._context, self._filled)
        token = self._forward(self._context, self._context + 1, self._filled)
        self._filled.crop(-1)
        if self._filled.get_seq_length() != self._context:
            raise RuntimeError("this model's cache cannot be taken back by a step")
        return token

    def _empty(self) -> Any:
        return self._dynamic_cache(config=self._model.config)

    def _forward(self, start: int, end: int, cache: Any) -> Any:
        more = {"position_ids": self._positions[:, start:end]} if self._takes_positions else {}
        found = self._model(
            input_ids=self._ids[:, start:end],
            attention_mask=self._mask[:, :end],
            use_cache=True,
            **{self._cache_name: cache},
            **self._last_only,
            **more,
        )
        token = found.logits[:, -1].argmax(-1)
        token.max().item()  # read back, as `generate` does once a token
        return token
