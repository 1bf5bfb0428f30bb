"""A model of CPU energy from load, for machines that let nobody measure: labelled as modelled wherever it appears.

P = TDP · (0.1 + 0.9 · load), so E = TDP · (0.1 · t + 0.9 · busy CPU seconds / CPUs). The tenth for an idle machine is
CodeCarbon 3.3.2's; that power is linear in load was measured for servers (Fan, Weber, Barroso: Power provisioning for a
warehouse-sized computer, ISCA 2007). Being linear, the energy of a window needs only the kernel's account of CPU
time at its edges and does not depend on how often we look.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from llmjoules.meters.cpu import Tdp, cpu_name, logical_cpus, tdp
from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.powercap import powercap_root
from llmjoules.meters.share import CLOCK_TICK_S, SHARE, ProcessShare, Worked, busy_s, share_channel
from llmjoules.meters.types import Meter
from llmjoules.records.record import Channel

IDLE_SHARE = 0.1
# A TDP and a straight line for a known CPU. Where even the TDP is a guess: the makers' figures in tdp.csv lie at 1.4 to
# 8.8 W a thread, and 4 W are guessed.
GAIN, GAIN_OF_GUESS = 0.5, 1.2


class EstimateOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tdp_w: thermal design power of all CPUs of this system together, where you know better.

    share: beside the CPU's energy, record what falls to this process.
    """

    tdp_w: Annotated[float, msgspec.Meta(gt=0)] | None = None
    share: bool = True


class Estimate(Meter):
    name = "estimate"
    summary = "A model of CPU energy from the CPU's TDP and its load; not a measurement"
    Options = EstimateOptions

    def __init__(self, options: EstimateOptions | None = None) -> None:
        super().__init__(options)
        self._cpus = logical_cpus()
        given_w = self.options.tdp_w
        self._tdp = (
            Tdp(given_w, "given by the user") if given_w is not None else tdp(powercap_root(), cpu_name(), self._cpus)
        )
        self._share: ProcessShare | None = None
        self._worked = Worked()
        self._before = (time.process_time(), busy_s())
        self._busy_s = self._before[1]

    def probe(self) -> list[Channel]:
        tick_j = round(self._tdp.watts * (1 - IDLE_SHARE) * CLOCK_TICK_S / self._cpus, 6)
        cpu = Channel(
            id="cpu:0",
            component="cpu",
            kind="model",
            source="modelled",
            period_s=CLOCK_TICK_S,
            resolution=tick_j,
            gain=GAIN_OF_GUESS if self._tdp.guessed else GAIN,
            note="all CPU packages together",
        )
        return [cpu, share_channel(tick_j)] if self.options.share else [cpu]

    def open(self) -> None:
        self._share = ProcessShare(self.probe()) if self.options.share else None

    def read(self) -> dict[str, float]:
        before, self._before = self._before, (time.process_time(), busy_s())
        own_s, all_s = (b - a for a, b in zip(before, self._before, strict=True))
        self._busy_s += self._worked.of(own_s, all_s)[1]
        load_s = self._busy_s / self._cpus
        found = {"cpu:0": self._tdp.watts * (IDLE_SHARE * time.monotonic() + (1 - IDLE_SHARE) * load_s)}
        if self._share is not None and (joules := self._share.joules(found)) is not None:
            found[SHARE] = joules
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "formula": f"P = TDP * ({IDLE_SHARE:g} + {1 - IDLE_SHARE:g} * load)",
            "tdp_w": round(self._tdp.watts, 3),
            "tdp_origin": self._tdp.origin,
            "load": f"busy time of {self._cpus} logical CPUs, whole machine",
        }


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Estimate]
