"""Rows: runs that are repeats of each other, taken together for one component of the machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from llmjoules.records import physics, stats
from llmjoules.records.devices import ONE_MACHINE_ONLY
from llmjoules.records.ids import short_hash
from llmjoules.records.record import COMPONENTS, SOURCES, Channel, Published, Record, Run
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import text

if TYPE_CHECKING:
    from llmjoules.sitegen.index import ByLoad, Group, Index, Part

FEW_RUNS = 5
DOUBTS = physics.CODES | {"not_as_headed"}
ABSURD = 1e15  # no joules, watts or tokens/s: such a number would only break the arithmetic of all others
KINDS = {"counter": "counter", "power": "power integral", "interval": "interval records", "model": "model"}


class Instrument(NamedTuple):
    """What measured: the same one errs by the same gain. uuid, pci: of the device, where they are known."""

    system: str
    meter: str
    channel: str
    uuid: str | None
    pci: str | None


class Scope(Struct, frozen=True):
    """How the joules of one component came about in one record. instruments: None where it has no joules."""

    source: str
    kinds: tuple[str, ...]
    extents: tuple[str, ...]
    gains: tuple[float | None, ...]
    guessed: bool
    instruments: tuple[Instrument, ...] | None
    within_system: bool


class Setting(Struct, frozen=True):
    """What the runs of a row share. words: what may differ between rows of one model and system."""

    model: str
    system: str
    class_: str
    device: str
    devices: int | None
    threads: int | None
    weights: str | None
    published: bool
    words: dict[str, str]


class Row(Struct, frozen=True, kw_only=True):
    """One model on one system in one setting, for one component.

    Figures are joules, watts and tokens/s; None where no run has them, and `reason` says why there is no energy.
    gain: systematic error of the channels as a fraction, on top of every interval; None where one of them is unknown.
    instruments: the sets of them that measured its runs; within_system: their maker's model says nothing elsewhere.
    net_per_token: less the energy of the idle machine. j_per_request: of one row of a batch.
    flags: each with the number of runs that carry it. versions: of software and driver, and power limits, by name.
    with_energy: runs that have joules. guessed: the TDP behind a model was a guess.
    phase_j: mean joules of each phase or part. unused: share of the joules in devices that hold no part of the model.
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
    instruments: tuple[tuple[Instrument, ...], ...]
    within_system: bool
    device: str
    devices: int | None
    threads: int | None
    settings: dict[str, str]
    weights: str | None
    published: bool
    flags: tuple[tuple[str, int], ...]
    versions: dict[str, tuple[str, ...]]
    failed: int
    runs: int
    loads: int
    with_energy: int
    tokens_per_s: Estimate | None
    j_per_token: Estimate | None
    net_per_token: Estimate | None
    j_per_request: Estimate | None
    joules: Estimate | None
    power_w: Estimate | None
    unused: Estimate | None
    phase_j: dict[str, float]
    reason: str | None

    @property
    def by_threads(self) -> bool:
        return self.device == "cpu"

    @property
    def units(self) -> int | None:
        """What scaling counts: threads on a CPU, devices elsewhere."""
        return self.threads if self.by_threads else self.devices

    @property
    def link_key(self) -> str:
        """In links: hexadecimal, and not the same for two components of one setting."""
        return short_hash((self.key, self.component))[:10]

    @property
    def rankable(self) -> bool:
        return self.source == "measured" and not self.published and self.j_per_token is not None and not self.doubtful

    @property
    def doubtful(self) -> bool:
        """Some of its runs have figures that cannot be right, or are not what they are headed as."""
        return any(flag.partition(":")[0] in DOUBTS for flag, _ in self.flags)


def rows_of(index: Index) -> list[Row]:
    """A row per group of repeats and component, sorted by model, system, setting; the primary component comes first."""
    failed = index.failed_of_cells()
    phases, flags, versions = index.phase_means(), index.flags_of_rows(), index.versions_of_rows()
    parts: dict[str, list[Part]] = {}
    for part in index.parts():
        parts.setdefault(part.key, []).append(part)
    rows = []
    for group in index.groups():
        of_group = parts.get(group.key, [])
        each: list[Part | None] = [*of_group] or [None]
        of_runs = tuple(flags.get(group.key, ())), versions[group.key]
        rows += [_row(group, part, of_group, failed.get(group.cell, 0), phases, *of_runs) for part in each]
    return sorted(rows, key=_order)


def primary_rows(rows: Iterable[Row]) -> list[Row]:
    """One row per group: the component that says most about the inference."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.key, row)
    return list(first.values())


def components_in(record: Record) -> list[str]:
    """Components with a total, and that of figures which a source states without one."""
    found = stats.components_of(record)
    said = record.figures if isinstance(record, Published) else None
    if said is not None and said.component not in found and (said.j_per_token is not None or said.power_w is not None):
        found.append(said.component)
    return found


def channels_of(record: Record, component: str) -> list[Channel]:
    """The channels that are added up in a component's total; where a source states figures alone, the component's."""
    total = record.totals.get(component)
    channels = [channel for meter in record.meters for channel in meter.channels]
    if total is None:
        return [channel for channel in channels if channel.component == component]
    return [channel for channel in channels if channel.id in total.channels]


def has_energy(record: Record, component: str) -> bool:
    return stats.joules(record, component) is not None or stats.joules_per_token(record, component) is not None


def source_of(record: Record, component: str) -> str:
    """Of its energy: measured, modelled or simulated; where there is no total, by its channels, the worst of them."""
    total = record.totals.get(component)
    if total is not None:
        return total.source
    return max((channel.source for channel in channels_of(record, component)), key=SOURCES.index, default="measured")


def gain_of(channels: Sequence[Channel]) -> float | None:
    """The largest of them; None where one is not known."""
    return _largest([channel.gain for channel in channels])


def _largest(gains: Collection[float | None]) -> float | None:
    known = [gain for gain in gains if gain is not None]
    return max(known) if known and len(known) == len(gains) else None


def _instruments(record: Record, component: str) -> tuple[Instrument, ...]:
    wanted = {channel.id for channel in channels_of(record, component)}
    found = {
        Instrument(record.system.name, meter.name, channel.id, channel.uuid, channel.pci)
        for meter in record.meters
        for channel in meter.channels
        if channel.id in wanted
    }
    return tuple(sorted(found, key=str))


def _guessed(record: Record, component: str) -> bool:
    """Was the TDP of a meter in this total a guess?"""
    wanted = {channel.id for channel in channels_of(record, component)}
    return any(
        str(meter.options.get("tdp_origin", "")).startswith("a guess")
        for meter in record.meters
        if any(channel.id in wanted for channel in meter.channels)
    )


def scope_of(channels: Sequence[Channel]) -> str:
    """How the joules came about, and of what if not simply the device: `counter`, `interval records, module`."""
    return _scope({channel.kind for channel in channels}, {channel.extent for channel in channels})


def _scope(kinds: Iterable[str], extents: Iterable[str]) -> str:
    words = sorted(KINDS[kind] for kind in kinds)
    return ", ".join([*words, *sorted(extent.replace("-", " ") for extent in extents if extent != "device")])


def group_of(record: Run | Published) -> str:
    """What repeats of each other have in common, as a hash: the key of their rows."""
    system = record.system
    place = (record.model.name, system.name, str(system.device), str(system.devices_used), str(system.threads))
    if isinstance(record, Published):
        return short_hash((*place, "published", record.cell or record.id))
    return short_hash((*place, str(system.strategy), str(record.model.dtype), record.class_, record.cell))


def cell_of(record: Record) -> str:
    """What failed runs and finished ones of a setting have in common."""
    return short_hash((record.model.name, record.system.name, getattr(record, "cell", "")))


def setting_of(record: Record) -> Setting:
    system = record.system
    return Setting(
        model=record.model.name,
        system=system.name,
        class_=(record.class_ or record.id) if isinstance(record, Published) else record.class_,
        device=system.device or ("gpu" if system.accelerators else "cpu"),
        devices=system.devices_used,
        threads=system.threads,
        weights=record.model.weights,
        published=isinstance(record, Published),
        words=_settings(record),
    )


def scope_in(record: Record, component: str) -> Scope:
    channels = channels_of(record, component)
    known = has_energy(record, component)
    return Scope(
        source=source_of(record, component),
        kinds=tuple(sorted({channel.kind for channel in channels})),
        extents=tuple(sorted({channel.extent for channel in channels})),
        gains=tuple(sorted({channel.gain for channel in channels}, key=str)),
        guessed=_guessed(record, component),
        instruments=_instruments(record, component) if known else None,
        within_system=any(ONE_MACHINE_ONLY in (channel.note or "") for channel in channels),
    )


def _row(
    group: Group,
    part: Part | None,
    parts: Sequence[Part],
    failed: int,
    phases: Mapping[tuple[str, str], dict[str, float]],
    flags: tuple[tuple[str, int], ...],
    versions: dict[str, tuple[str, ...]],
) -> Row:
    setting, scopes = group.setting, part.scopes if part is not None else ()
    component = part.component if part is not None else ""
    gains = {gain for scope in scopes for gain in scope.gains}
    return Row(
        key=group.key,
        model=setting.model,
        system=setting.system,
        class_=setting.class_,
        component=component,
        source=max((scope.source for scope in scopes), key=SOURCES.index, default="measured"),
        scope=_scope({kind for s in scopes for kind in s.kinds}, {extent for s in scopes for extent in s.extents}),
        gain=_largest(gains),
        guessed=any(scope.guessed for scope in scopes),
        instruments=tuple(sorted({s.instruments for s in scopes if s.instruments is not None}, key=str)),
        within_system=any(scope.within_system for scope in scopes),
        device=setting.device,
        devices=setting.devices,
        threads=setting.threads,
        settings=setting.words,
        weights=setting.weights,
        published=setting.published,
        flags=flags,
        versions=versions,
        failed=failed,
        runs=group.runs,
        loads=group.loads,
        with_energy=sum(map(len, part.joules.values())) if part is not None else 0,
        tokens_per_s=_estimate(group.tokens_per_s),
        j_per_token=_estimate(part.j_per_token) if part is not None else None,
        net_per_token=_estimate(part.net_per_token) if part is not None else None,
        j_per_request=_estimate(part.j_per_request) if part is not None else None,
        joules=_estimate(part.joules) if part is not None else None,
        power_w=_estimate(part.power_w) if part is not None else None,
        unused=_estimate(part.unused_share) if part is not None else None,
        phase_j=phases.get((group.key, component), {}),
        reason=_reason(part, parts),
    )


def _estimate(values: ByLoad) -> Estimate | None:
    by_load = believable(values)
    return stats.estimate(by_load) if by_load else None


def believable(values: ByLoad) -> ByLoad:
    """Without absurd numbers."""
    return {load: known for load, all_ in values.items() if (known := [v for v in all_ if abs(v) < ABSURD])}


def _reason(part: Part | None, parts: Sequence[Part]) -> str | None:
    """Why a row has no energy."""
    if part is None:
        return "the record names no energy of the inference"
    if part.reason is not None:
        return part.reason
    if not any(other.j_per_token for other in parts):
        return "the number of tokens is not known"
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
    place = COMPONENTS.index(row.component) if row.component in COMPONENTS else len(COMPONENTS)
    first = row.joules is None, SOURCES.index(row.source), 0 if (row.device == "cpu") == (row.component == "cpu") else 1
    return (
        row.published,
        row.model,
        row.system,
        *units,
        sorted((name, text.natural(value)) for name, value in row.settings.items()),
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
