"""What `llmjoules doctor` has found, as plain data: docs/doctor.md explains every key."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from llmjoules.meters.guard import Fault
from llmjoules.meters.libraries import Torch
from llmjoules.meters.step_response import Agreement, Response, Tick
from llmjoules.records.record import Channel


class Lag(Struct, frozen=True, kw_only=True):
    """Found without a load of ours: by how much this channel is later than another of the same device."""

    behind: str
    lag_s: float
    correlation: float


class ChannelReport(Struct, frozen=True, kw_only=True):
    """id: as in a record, where two meters may not share one. believe_above_s: only where the channel is late."""

    id: str
    channel: Channel
    readings: int
    tick: Tick | None = None
    smallest_step: float | None = None
    grid: float | None = None
    response: Response | None = None
    response_note: str | None = None
    lag: Lag | None = None
    believe_above_s: float | None = None
    notes: tuple[str, ...] = ()


class MeterReport(Struct, frozen=True, kw_only=True):
    """what, why, fix: the reason and the remedy where it is not usable, or was not tested."""

    name: str
    origin: str
    summary: str
    usable: bool
    tested: bool = False
    what: str | None = None
    why: str | None = None
    fix: str | None = None
    channels: tuple[ChannelReport, ...] = ()
    read_median_us: float | None = None
    read_p99_us: float | None = None
    cpu_percent: float | None = None


class Compared(Struct, frozen=True, kw_only=True):
    """Two channels of one device over one window. verdict is None where one has no figure: reason."""

    during: str
    first: str
    second: str
    first_j: float | None
    second_j: float | None
    first_uncertainty_j: float | None
    second_uncertainty_j: float | None
    verdict: Agreement | None = None
    reason: str | None = None
    measured: bool = True


class Report(Struct, frozen=True, kw_only=True):
    """cpu_percent: of one core, all meters together. attention: why it is not ok."""

    ok: bool
    seconds: float
    libraries: dict[str, str | None]
    gpus_of_nvml: tuple[str, ...]
    torch: Torch
    loads: dict[str, str]
    meters: tuple[MeterReport, ...]
    agreement: tuple[Compared, ...]
    cpu_percent: float | None
    faults: tuple[Fault, ...]
    attention: tuple[str, ...]


def as_json(report: Report) -> dict[str, Any]:
    """Named tuples as objects too; msgspec would make lists of them."""
    found: dict[str, Any] = _plain(report)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
