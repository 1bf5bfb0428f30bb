"""Meters: what can be measured here, and the arithmetic from readings to joules. Knows nothing of phases or models."""

from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.types import IntervalRecord, Meter, Unavailable
from llmjoules.records.record import Channel

__all__ = ["Channel", "IntervalRecord", "Meter", "Unavailable", "hookimpl"]
