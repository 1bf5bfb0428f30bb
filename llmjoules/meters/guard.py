"""A guard round every call into a plug-in: one that raises, hangs or returns rubbish is named, and the rest goes on."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from llmjoules.meters.types import Unavailable
from llmjoules.records.record import Channel

T = TypeVar("T")

CALL_LIMIT_S = 10.0  # a probe may start a helper process or wake a sleeping device; beyond this it hangs


class Fault(NamedTuple):
    """What a plug-in did wrong. where: its name or file."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class PluginFault(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.fault = Fault(where, why)


def call(where: str, what: str, function: Callable[[], T], limit_s: float = CALL_LIMIT_S) -> T:
    """The function's result. Raises PluginFault if it raises or takes too long; Unavailable passes through.

    It runs in a thread of its own, which is left behind if it hangs: Python cannot end it.
    """
    outcome: list[Any] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # a plug-in may raise anything, SystemExit included
            problem.append(error)

    thread = threading.Thread(target=run, name=f"llmjoules-{where}-{what}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if problem:
        if isinstance(problem[0], Unavailable):
            raise problem[0]
        raise PluginFault(where, f"{what} raised {describe(problem[0])}") from problem[0]
    if not outcome:
        raise PluginFault(where, f"{what} did not return within {limit_s:g} s")
    return outcome[0]  # type: ignore[no-any-return]


def describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def checked_channels(where: str, channels: Any) -> tuple[Channel, ...]:
    """The channels that a probe returned. Raises PluginFault where they are not a list of distinct channels."""
    if not isinstance(channels, Iterable):
        raise PluginFault(where, f"probe returned {type(channels).__name__}, not a list of channels")
    found = tuple(channels)
    wrong = next((item for item in found if not isinstance(item, Channel)), None)
    if wrong is not None:
        raise PluginFault(where, f"probe returned {type(wrong).__name__} among its channels")
    if not found:
        raise PluginFault(where, "probe returned no channel; a meter without any raises Unavailable")
    if len({channel.id for channel in found}) < len(found):
        raise PluginFault(where, "probe returned two channels with the same id")
    return found


def usable(values: Any, channel: str) -> float | None:
    """The reading of one channel if it is a finite, non-negative number; None is "missing now"."""
    value = values.get(channel) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
