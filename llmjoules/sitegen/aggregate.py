"""Rows: runs that are repeats of each other, taken together for one component of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records import stats
from llmjoules.records.ids import short_hash
from llmjoules.records.record import Channel, Failed, Published, Record, Run, Total
from llmjoules.records.stats import Estimate
from llmjoules.sitegen.load import Entry

PRIMARY = ("gpu", "chip", "cpu", "host", "wall", "dram", "ane")
SOURCES = ("measured", "modelled", "simulated")  # those that claim most come first
FEW_RUNS = 5
ABSURD = 1e15  # no joules, watts or tokens/s: such a number would only break the arithmetic of all others
# In a channel's note: its maker's model, whose error on another machine nobody states.
ONE_MACHINE_ONLY = "not for comparing machines"
KINDS = {"counter": "counter", "power": "power integral", "interval": "interval records", "model": "model"}


class Instrument(NamedTuple):
    """What measured: the same one errs by the same gain. uuid, pci: of the device, where they are known."""

    system: str
    meter: str
    channel: str
    uuid: str | None
    pci: str | None


class Row(Struct, frozen=True, kw_only=True):
    """One model on one system in one setting, for one component.

    Figures are joules, watts and tokens/s; None where no run has them, and `reason` says why there is no energy.
    gain: systematic error of the channels as a fraction, on top of every interval; None where one of them is unknown.
    instruments: the sets of them that measured its runs; within_system: their maker's model says nothing elsewhere.
    with_energy: runs that have joules. guessed: the TDP behind a model was a guess.
    """

    key: str
    model: str
    system: str
    class_: str
    component: str
    source: str
    scope: str
    gain: float | None
    guessed: bool
    instruments: frozenset[frozenset[Instrument]]
    within_system: bool
    device: str
    devices: int | None
    threads: int | None
    settings: dict[str, str]
    weights: str | None
    published: bool
    entries: tuple[Entry, ...]
    failed: int
    runs: int
    loads: int
    with_energy: int
    tokens_per_s: Estimate | None
    j_per_token: Estimate | None
    joules: Estimate | None
    power_w: Estimate | None
    reason: str | None

    @property
    def by_threads(self) -> bool:
        return self.device == "cpu"

    @property
    def units(self) -> int | None:
        """What scaling counts: threads on a CPU, devices elsewhere."""
        return self.threads if self.by_threads else self.devices

    @property
    def rankable(self) -> bool:
        return self.source == "measured" and not self.published and self.j_per_token is not None


def rows_of(entries: Iterable[Entry]) -> list[Row]:
    """A row per group of repeats and component, sorted by model, system, setting; the primary component comes first."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    failed: dict[tuple[str, ...], int] = {}
    for entry in entries:
        record = entry.record
        if isinstance(record, Failed):
            cell = (record.model.name, record.system.name, record.cell)
            failed[cell] = failed.get(cell, 0) + 1
        else:
            groups.setdefault(_group(record), []).append(entry)
    rows = [row for key, group in groups.items() for row in _rows(key, group, failed)]
    return sorted(rows, key=_order)


def primary_rows(rows: Iterable[Row]) -> list[Row]:
    """One row per group: the component that says most about the inference."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.key, row)
    return list(first.values())


def components_of(record: Record) -> list[str]:
    """Components with a total: those without joules last, measured first, then the one that did the work."""
    order = ("cpu", *PRIMARY) if record.system.device == "cpu" else PRIMARY
    place = {component: order.index(component) for component in PRIMARY}

    def key(name: str) -> tuple[object, ...]:
        total = record.totals[name]
        return total.joules is None, SOURCES.index(total.source), place.get(name, len(order)), name

    return sorted(record.totals, key=key)


def channels_of(record: Record, component: str) -> list[Channel]:
    """The channels that are added up in a component's total."""
    total = record.totals.get(component)
    wanted = set(total.channels) if total is not None else set()
    return [channel for meter in record.meters for channel in meter.channels if channel.id in wanted]


def gain_of(channels: Sequence[Channel]) -> float | None:
    """The largest of them; None where one is not known."""
    gains = [channel.gain for channel in channels]
    known = [gain for gain in gains if gain is not None]
    return max(known) if known and len(known) == len(gains) else None


def _instruments(record: Record, component: str) -> frozenset[Instrument]:
    total = record.totals.get(component)
    wanted = set(total.channels) if total is not None else set()
    return frozenset(
        Instrument(record.system.name, meter.name, channel.id, channel.uuid, channel.pci)
        for meter in record.meters
        for channel in meter.channels
        if channel.id in wanted
    )


def _guessed(record: Record, component: str) -> bool:
    """Was the TDP of a meter in this total a guess?"""
    total = record.totals.get(component)
    wanted = set(total.channels) if total is not None else set()
    return any(
        str(meter.options.get("tdp_origin", "")).startswith("a guess")
        for meter in record.meters
        if any(channel.id in wanted for channel in meter.channels)
    )


def scope_of(channels: Sequence[Channel]) -> str:
    """How the joules came about, and of what if not simply the device: `counter`, `interval records, module`."""
    kinds = sorted({KINDS[channel.kind] for channel in channels})
    extents = sorted({channel.extent.replace("-", " ") for channel in channels if channel.extent != "device"})
    return ", ".join([*kinds, *extents])


def _group(record: Run | Published) -> tuple[str, ...]:
    system = record.system
    place = (record.model.name, system.name, str(system.device), str(system.devices_used), str(system.threads))
    if isinstance(record, Published):
        return (*place, "published", record.cell or record.id)
    return (*place, str(system.strategy), str(record.model.dtype), record.class_, record.cell)


def _rows(key: tuple[str, ...], group: list[Entry], failed: dict[tuple[str, ...], int]) -> list[Row]:
    first = group[0].record
    components = dict.fromkeys(name for entry in group for name in components_of(entry.record))
    cell = (first.model.name, first.system.name, getattr(first, "cell", ""))
    return [_row(key, group, component, failed.get(cell, 0)) for component in components or ("",)]


def _row(key: tuple[str, ...], group: list[Entry], component: str, failed: int) -> Row:
    records = [entry.record for entry in group]
    first = records[0]
    totals = [record.totals[component] for record in records if component in record.totals]
    channels = [channel for record in records for channel in channels_of(record, component)]
    loads = {record.load.id for record in records if record.load is not None}
    return Row(
        key=short_hash(key),
        model=first.model.name,
        system=first.system.name,
        class_=first.class_ if isinstance(first, Run) else f"published {first.class_ or first.id}",
        component=component,
        source=_worst(totals),
        scope=scope_of(channels),
        gain=gain_of(channels),
        guessed=any(_guessed(record, component) for record in records),
        instruments=frozenset(
            _instruments(record, component) for record in records if stats.joules(record, component) is not None
        ),
        within_system=any(ONE_MACHINE_ONLY in (channel.note or "") for channel in channels),
        device=first.system.device or ("gpu" if first.system.accelerators else "cpu"),
        devices=first.system.devices_used,
        threads=first.system.threads,
        settings=_settings(first),
        weights=first.model.weights,
        published=isinstance(first, Published),
        entries=tuple(group),
        failed=failed,
        runs=len(records),
        loads=len(loads),
        with_energy=sum(stats.joules(record, component) is not None for record in records),
        tokens_per_s=_estimate(records, stats.tokens_per_s),
        j_per_token=_estimate(records, lambda record: stats.joules_per_token(record, component)),
        joules=_estimate(records, lambda record: stats.joules(record, component)),
        power_w=_estimate(records, lambda record: stats.implied_power_w(record, component)),
        reason=_reason(records, totals),
    )


def _estimate(records: Sequence[Record], figure: Callable[[Record], float | None]) -> Estimate | None:
    def possible(record: Record) -> float | None:
        value = figure(record)
        return value if value is not None and value < ABSURD else None

    return stats.estimate_of(records, possible)


def _worst(totals: Sequence[Total]) -> str:
    """Of measured, modelled and simulated the one that claims least; a row without totals claims nothing."""
    return max((total.source for total in totals), key=SOURCES.index, default="measured")


def _reason(records: Sequence[Record], totals: Sequence[Total]) -> str | None:
    reason = next((total.reason for total in totals if total.joules is None and total.reason), None)
    if reason is not None:
        return reason
    if all(stats.joules_per_token(record, name) is None for record in records for name in record.totals):
        return "the record names no energy of the inference" if not totals else "the number of tokens is not known"
    return None


def _settings(record: Record) -> dict[str, str]:
    """What may differ between rows of one model and system, in words."""
    model, work = record.model, record.workload
    settings = {
        "dtype": model.dtype,
        "batch": f"batch {work.batch_size}" if work.batch_size else None,
        "new tokens": f"{work.new_tokens} new tokens" if work.new_tokens else None,
        "prompt": f"{work.prompt_tokens} prompt tokens" if work.prompt_tokens else None,
        "decoding": work.decoding,
        "stop": "stops at end of sequence" if work.stop == "end-of-sequence" else None,
        "strategy": record.system.strategy,
        "weights": "weights read while loading" if model.materialized else None,
        "meters": f"meters {', '.join(meter.name for meter in record.meters)}" if record.meters else None,
        "text": f"prompt text {work.prompt_sha256[:6]}" if work.prompt_sha256 else None,
        "cell": f"cell {record.cell[:6]}" if isinstance(record, Run) else None,
    }
    return {name: value for name, value in settings.items() if value}


def _order(row: Row) -> tuple[object, ...]:
    units = (row.by_threads, row.devices or 0, row.threads or 0)
    place = PRIMARY.index(row.component) if row.component in PRIMARY else len(PRIMARY)
    first = row.joules is None, SOURCES.index(row.source), 0 if (row.device == "cpu") == (row.component == "cpu") else 1
    return (
        row.published,
        row.model,
        row.system,
        *units,
        sorted(row.settings.items()),
        row.key,
        *first,
        place,
        row.component,
    )


def telling(rows: Sequence[Row]) -> list[str]:
    """Names of the settings that differ between these rows.

    Meters, and after them hashes, only where nothing else tells two rows apart.
    """
    names = sorted({name for row in rows for name in row.settings} - {"meters", "text", "cell"})
    own, published = ([row for row in rows if row.published is kind] for kind in (False, True))
    varying = [
        name for name in names if any(len({row.settings.get(name) for row in kind}) > 1 for kind in (own, published))
    ]
    placed = {(row.model, row.system, row.units, row.settings.get("strategy")) for row in rows}
    if "strategy" in varying and len({place[:3] for place in placed}) == len(placed):
        varying.remove("strategy")  # the number of devices already says it
    for name in ("meters", "text", "cell"):
        alike: dict[tuple[object, ...], set[str | None]] = {}
        for row in rows:
            place = (row.model, row.system, row.units, row.component, *map(row.settings.get, varying))
            alike.setdefault(place, set()).add(row.settings.get(name))
        if any(len(values) > 1 for values in alike.values()):
            varying.append(name)
    return varying
