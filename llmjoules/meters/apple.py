"""CPU, GPU, neural engine and memory of Apple silicon from the chip's energy counters, without root.

Through zeus-apple-silicon, which reads the "Energy Model" group of macOS's private IOReport: the source of the figures
of powermetrics too, so the two agree to a millijoule in each interval.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterable
from typing import Any

from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.devices import APPLES_MODEL
from llmjoules.records.record import Channel

FIELDS = {"cpu:0": "cpu_total_mj", "gpu:0": "gpu_mj", "ane:0": "ane_mj", "dram:0": "dram_mj"}
RENEWED_EVERY_S = 0.02  # not published; the window arithmetic finds slower ticks by itself


class Apple(Meter):
    name = "apple"
    summary = "CPU, GPU, neural engine and memory of Apple silicon, from its energy counters"

    def __init__(self, options: object = None) -> None:
        super().__init__(options)
        self._counters: Any = None

    def probe(self) -> list[Channel]:
        found = _read(_counters())
        if not found:
            raise Unavailable(
                "The energy counters of this Mac show nothing.",
                "zeus-apple-silicon finds no CPU, GPU, neural engine or memory energy on this chip.",
                "Take powermetrics: --meter powermetrics",
            )
        return [
            Channel(
                id=channel,
                component=channel.split(":")[0],  # type: ignore[arg-type]
                kind="counter",
                source="modelled",
                period_s=RENEWED_EVERY_S,
                resolution=0.001,
                note=APPLES_MODEL,
            )
            for channel in found
        ]

    def open(self) -> None:
        self._counters = _counters()

    def read(self) -> dict[str, float]:
        return _read(self._counters)

    def close(self) -> None:
        self._counters = None


def _counters() -> Any:
    try:
        return importlib.import_module("zeus_apple_silicon").AppleEnergyMonitor()
    except ImportError as error:
        if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
            why, fix = f"zeus-apple-silicon cannot be imported: {error}.", "pip install zeus-apple-silicon"
        else:
            why, fix = f"This is {platform.system()} on {platform.machine()}.", "It needs a Mac with an M-series chip."
        raise Unavailable("No energy counters of Apple silicon.", why, fix) from error
    except Exception as error:  # its C++ side raises RuntimeError where IOReport refuses
        raise Unavailable(
            "The energy counters of this Mac cannot be opened.",
            f"zeus-apple-silicon: {error}.",
            "A newer one may know this macOS: pip install --upgrade zeus-apple-silicon. Or: --meter powermetrics",
        ) from error


def _read(counters: Any) -> dict[str, float]:
    totals = counters.get_cumulative_energy()
    millijoules = {channel: getattr(totals, field, None) for channel, field in FIELDS.items()}
    return {channel: value / 1e3 for channel, value in millijoules.items() if value is not None}


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Apple]
