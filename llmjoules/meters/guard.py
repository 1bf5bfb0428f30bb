"""A guard round every call into a plug-in: one that raises, hangs or returns rubbish is named, and the rest goes on."""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

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


def call(where: str, what: str, function: Callable[[], T], limit_s: float | None = None) -> T:
    """The function's result. Raises PluginFault if it raises or takes too long; Unavailable passes through.

    limit_s: CALL_LIMIT_S unless given.
    It runs in a thread of its own, which is left behind if it hangs: Python cannot end it.
    """
    limit_s = CALL_LIMIT_S if limit_s is None else limit_s
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
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception class of a plug-in
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def checked_channels(where: str, channels: Any) -> tuple[Channel, ...]:
    """The channels that a probe returned. Raises PluginFault where they are not a list of distinct, valid channels."""
    if not isinstance(channels, Iterable):
        raise PluginFault(where, f"probe returned {type(channels).__name__}, not a list of channels")
    found = tuple(_checked(where, channel) for channel in channels)
    if not found:
        raise PluginFault(where, "probe returned no channel; a meter without any raises Unavailable")
    if len({channel.id for channel in found}) < len(found):
        raise PluginFault(where, "probe returned two channels with the same id")
    return found


def _checked(where: str, channel: Any) -> Channel:
    """msgspec checks what it reads, not what is constructed, so a channel is read back."""
    if not isinstance(channel, Channel):
        raise PluginFault(where, f"probe returned {type(channel).__name__} among its channels")
    try:
        found = msgspec.convert(msgspec.to_builtins(channel), Channel)
    except Exception as error:
        raise PluginFault(where, f"probe returned a bad channel: {describe(error)}") from error
    numbers_of_it = (found.period_s, found.resolution, found.gain or 0.0, found.wraps_at_j or 0.0)
    if not all(math.isfinite(number) for number in numbers_of_it):
        raise PluginFault(where, f"probe returned a bad channel: {found.id} has a number that is not finite")
    units = {"counter": "J", "interval": "J", "power": "W", "model": found.unit}
    if found.unit != units[found.kind]:
        raise PluginFault(where, f"probe returned a bad channel: {found.id} is of kind {found.kind} in {found.unit}")
    return found


def usable(values: Any, channel: str) -> float | None:
    """The reading of one channel if it is a finite, non-negative number; None is "missing now"."""
    value = values.get(channel) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
