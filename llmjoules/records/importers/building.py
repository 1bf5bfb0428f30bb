"""From the figures of a foreign file to a published record: what all importers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from llmjoules.records.devices import APPLES_MODEL
from llmjoules.records.ids import comparability_class, content_id, short_hash
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Options
from llmjoules.records.physics import flagged
from llmjoules.records.record import (
    SOURCES,
    Accelerator,
    Channel,
    Correction,
    Energy,
    Figures,
    Load,
    MeterInfo,
    Model,
    Origin,
    Phase,
    Published,
    System,
    Tokens,
    Total,
    Workload,
)

UNNAMED_MODEL, UNNAMED_SYSTEM = "unnamed model", "unnamed system"
BOARD_GAIN = 0.05  # of NVIDIA boards, as for our own meter
PROCESS_SHARE = "cpu:0@process"
MOST_DEVICES = 1024  # that a record names one by one
NVML_TICK_S = 0.1  # how often an NVIDIA board renews its counter


def gpu_counters(count: int) -> tuple[Channel, ...]:
    """The energy counters of NVIDIA boards, read in millijoules."""
    return tuple(
        Channel(
            id=f"gpu:{index}", component="gpu", kind="counter", period_s=NVML_TICK_S, resolution=0.001, gain=BOARD_GAIN
        )
        for index in range(count)
    )


def joules(channel: str, value: float | None, *, method: str = "as the source states it", reason: str = "") -> Energy:
    """An energy as stated, or null with a reason."""
    if value is None:
        return Energy(channel=channel, joules=None, reason=reason or "missing: the source has no figure")
    if value < 0:
        return Energy(channel=channel, joules=None, reason=f"negative: the source says {value:.6g} J")
    return Energy(channel=channel, joules=value, method=method)


def totals_of(phase: Phase | None, channels: Iterable[Channel]) -> dict[str, Total]:
    """Joules per component over a phase; a process's share and second opinions (`@`) are no part of a total."""
    if phase is None:
        return {}
    found: dict[str, Total] = {}
    by_id = {energy.channel: energy for energy in phase.energy}
    counted: dict[str, list[Channel]] = {}
    for channel in channels:
        if channel.id in by_id and "@" not in channel.id and channel.extent != "process-share":
            counted.setdefault(channel.component, []).append(channel)
    for component, members in counted.items():
        energies = [by_id[channel.id] for channel in members]
        missing = next((energy.reason for energy in energies if energy.joules is None), None)
        known = [energy.joules for energy in energies if energy.joules is not None]
        found[component] = Total(
            joules=sum(known) if len(known) == len(energies) else None,
            source=worst(members),
            channels=tuple(channel.id for channel in members),
            reason=missing,
        )
    return found


def apples_rail(channel: str) -> Channel:
    """A rail of Apple's as the study's powermetrics gave it, or a process's share of the CPU's: both modelled."""
    return Channel(
        id=channel,
        component="gpu" if channel == "gpu:0" else "cpu",
        kind="interval",
        extent="process-share" if channel == PROCESS_SHARE else "device",
        source="modelled",
        period_s=0.2,
        resolution=0.001,
        note=APPLES_MODEL,
    )


def worst(channels: Sequence[Channel]) -> Any:
    """Of measured, modelled and simulated the one that claims least."""
    return max((channel.source for channel in channels), key=SOURCES.index)


class Publisher:
    """Makes the records of one file, all with the same tool, licence and rules for cell, class, id and flags."""

    def __init__(self, file: SourceFile, tool: str, options: Options) -> None:
        self.file = file
        self.tool = tool
        self.options = options
        self._session = short_hash(file.sha256)
        self._last: tuple[Any, ...] = ()  # rows mostly share what cell and class are of, so the last ones are kept
        self._cell = self._class = ""

    def load(self, number: int, *, first: bool) -> Load:
        """The process of the file's number-th session."""
        return Load(id=f"{self._session}-{number}", first=first)

    def record(
        self,
        *,
        line: int | None,
        model: Model,
        system: System,
        workload: Workload = Workload(),  # noqa: B008 - frozen in effect: never changed
        meters: tuple[MeterInfo, ...] = (),
        phases: tuple[Phase, ...] = (),
        totals: dict[str, Total] | None = None,
        tokens: Tokens | None = None,
        figures: Figures | None = None,
        load: Load | None = None,
        repeat: int | None = None,
        started_at: str | None = None,
        flags: Iterable[str] = (),
        units: Mapping[str, str] | None = None,
        corrections: Sequence[Correction] = (),
        setting: Any = None,
        where: str = "",
    ) -> Published:
        """where: what a reader looks for in the file if not a line. setting: what else tells cells apart."""
        options = self.options
        if totals is None:
            by_name = {phase.name: phase for phase in phases}
            over = by_name.get("inference") or by_name.get("job")
            totals = totals_of(over, (channel for meter in meters for channel in meter.channels))
        place = where or (f"line {line}" if line is not None else "")
        if self._last != (model, workload, system, meters, setting):
            self._last = (model, workload, system, meters, setting)
            self._cell = short_hash(
                {
                    "file": self.file.name,
                    "tool": self.tool,
                    "model": (model.name, model.dtype),
                    "work": workload,
                    "system": (system.name, system.devices_used, system.strategy),
                    "setting": setting,
                }
            )
            self._class = comparability_class(meters, model, workload)
        record = Published(
            schema="llmjoules/1",
            id="-",
            source=", ".join(filter(None, (f"{self.tool}: {self.file.name}", place))),
            origin=Origin(
                tool=self.tool,
                file=self.file.name,
                sha256=self.file.sha256,
                line=line,
                units=dict(units or {}),
                corrections=tuple(corrections),
                licence=options.licence,
                citation=options.citation,
            ),
            study=options.study,
            cell=self._cell,
            class_=self._class,
            started_at=started_at,
            model=model,
            system=system,
            workload=workload,
            meters=meters,
            phases=phases,
            totals=totals,
            tokens=tokens,
            figures=figures,
            load=load,
            repeat=repeat,
            flags=tuple(flags),
        )
        return msgspec.structs.replace(record, flags=flagged(record), id=content_id(record))

    def model(self, name: str | None, **known: Any) -> Model:
        """weights: whoever publishes energies ran trained ones unless he says otherwise."""
        return Model(name=self.options.model or name or UNNAMED_MODEL, **known)

    def system(self, name: str | None, accelerator: str | None, count: int | None, **known: Any) -> System:
        """One with `count` accelerators of a kind, all of them used."""
        named = self.options.accelerator or accelerator
        boards = (Accelerator(name=named),) * min(count or 1, MOST_DEVICES) if named else ()
        return System(
            name=self.options.system or name or named or UNNAMED_SYSTEM,
            accelerators=boards,
            devices_visible=count,
            devices_used=count,
            **known,
        )
