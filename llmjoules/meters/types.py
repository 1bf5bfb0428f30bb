"""What a meter is: the small object behind the hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Channel


class Unavailable(LlmjoulesError):
    """This meter cannot measure here: what is missing, why, and what the user can do about it."""


class IntervalRecord(NamedTuple):
    """Energy over a stretch of time that the device has already closed; times as `time.monotonic()`."""

    start_s: float
    end_s: float
    joules: dict[str, float]


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For meters that take none."""


class Meter:
    """Base class of meters. A meter only reads; the window arithmetic turns its readings into joules.

    Options: a msgspec struct that refuses unknown keys; `self.options` is one of these.
    auto: `--meter auto` takes this meter where it is available (if it reads a device, so not all channels are models).
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    auto: ClassVar[bool] = True
    Options: ClassVar[type[msgspec.Struct]] = NoOptions

    def __init__(self, options: Any = None) -> None:
        self.options: Any = options if options is not None else self.Options()

    def probe(self) -> list[Channel]:
        """The channels it can measure here. Cheap, no side effect. Raises Unavailable."""
        raise NotImplementedError

    def open(self) -> None:
        """Called once before the first reading."""

    def read(self) -> dict[str, float]:
        """All channels of kind counter, power and model at once, each in its unit. Raise to say "missing now"."""
        return {}

    def stream(self) -> Iterator[IntervalRecord]:
        """Channels of kind interval: records as they close, until close() is called. Runs in a thread of its own."""
        return iter(())

    def state(self) -> dict[str, dict[str, Any]]:
        """By channel, what a `DeviceState` of the record holds, without its time. Asked for about once a second."""
        return {}

    def close(self) -> None:
        """Called once after the last reading, also after a failure."""

    def describe(self) -> dict[str, Any]:
        """What the record should say of how these figures came about (options, a TDP's origin); JSON values."""
        described: dict[str, Any] = msgspec.to_builtins(self.options)
        return described
