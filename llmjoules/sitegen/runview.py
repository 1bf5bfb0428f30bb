"""What the page of one run says: figures, energy by phase, and the evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from llmjoules.records import stats
from llmjoules.records.net import net
from llmjoules.records.record import Channel, DeviceState, Failed, Part, Phase, Published, Record, Run, encode
from llmjoules.records.stats import components_of
from llmjoules.sitegen import protocol, text
from llmjoules.sitegen.aggregate import channels_of, components_in, gain_of, scope_of

BAR_WIDTH = 220.0
SUMS_AGREE = 0.001
FEW_VALUES = 4  # of one fact, from records that differ
NO_TOKENS = "the number of tokens is not known"
NO_TIME = "the record has no inference with a length"


class Card(Struct, frozen=True):
    """A loud number. half: its ±; notes: what stands below it, in small.

    mean: whose mean over all runs of the setting stands there too: `speed` or a component, for its J/token.
    """

    label: str
    value: str
    unit: str
    half: str
    notes: tuple[str, ...]
    mean: str = ""


class Column(Struct, frozen=True):
    """What a column of the table of phases adds up. beside: why it is in no total, and so added to nothing."""

    name: str
    component: str
    channels: tuple[str, ...]
    beside: str = ""


class Cell(Struct, frozen=True):
    """Joules of one column in one phase; where there is no figure, the reason and the channel that it is of."""

    joules: str
    half: str
    watts: str
    reason: str | None
    channel: str


class Bar(Struct, frozen=True):
    """One below the other, since components may contain each other and are not added up."""

    y: int
    width: float
    colour: str


class PhaseRow(Struct, frozen=True):
    name: str
    part: bool
    seconds: str
    cells: tuple[Cell, ...]
    bars: tuple[Bar, ...]


class PhaseTable(Struct, frozen=True):
    """notes: what the columns beside the totals are; apart: where these have no figure, and why.

    legend: class and name of each kind of bar.
    """

    columns: tuple[Column, ...]
    unit: str
    rows: tuple[PhaseRow, ...]
    bar_height: int
    legend: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    apart: tuple[str, ...]


class StateRow(Struct, frozen=True):
    """One quantity of a device during the inference."""

    channel: str
    quantity: str
    first: str
    last: str
    extent: str


class Fact(Struct, frozen=True):
    name: str
    value: str


class Said(NamedTuple):
    """What one record says of a fact. part: of a fact that has several, such as the versions of software."""

    name: str
    part: str
    value: str


def cards(record: Record) -> list[Card]:
    """The five figures of a run; none of a failed one without totals."""
    if isinstance(record, Failed) and not record.totals:
        return []
    components = components_in(record)[:1]
    found = [card for component in components for card in _energy_cards(record, component)]
    found.append(_speed_card(record))
    found += [_power_card(record, component) for component in components]
    found.append(_latency_card(record))
    return found


def _energy_cards(record: Record, component: str) -> list[Card]:
    total = record.totals.get(component)
    name = text.component_name(component)
    label, each = f"{name} energy{_work(record)}", f"{name} energy per output token"
    if total is not None and total.joules is None:
        why = text.shown(total.reason or "no reason given", 160)
        return [Card(label, text.DASH, "", "", (why,)), Card(each, text.DASH, "", "", (why,))]
    joules = total.joules if total is not None else stats.stated(record, component).j_per_request
    half = total.uncertainty_j if total is not None else None
    unit = text.unit_for([joules])
    shown = text.plus_minus(joules, half, unit.factor)
    gain = gain_of(channels_of(record, component))
    notes = [] if half is not None or joules is None else ["± not known: the record does not state it"]
    notes += [f"and ± {text.percent(gain)} gain of the channel"] if gain else []
    notes += _net_note(record, component)
    per_token = stats.joules_per_token(record, component)
    token_unit = text.unit_for([per_token])
    tokens = stats.generated_tokens(record)
    each_half = half / tokens if half is not None and tokens and joules is not None else None
    each_shown = text.plus_minus(per_token, each_half, token_unit.factor)
    missing = (NO_TOKENS,) if per_token is None else ()
    unit_of_each = f"{token_unit.prefix}J/token" if per_token is not None else ""
    return [
        Card(label, shown.mean, f"{unit.prefix}J" if joules is not None else "", shown.half, tuple(notes)),
        Card(each, each_shown.mean, unit_of_each, each_shown.half, missing, component),
    ]


def _work(record: Record) -> str:
    """What the joules of a record are of, as far as it tells: `, inference`; of other tools `, job` or `, request`."""
    names = {phase.name for phase in record.phases}
    if "inference" in names or not isinstance(record, Published):
        return ", inference"
    if "job" in names:
        return ", job"
    return ", request" if record.figures is not None and record.figures.j_per_request is not None else ""


def _net_note(record: Record, component: str) -> tuple[str, ...]:
    """Net stands beside gross, by which runs are ranked, and names its idle."""
    found = net(record, component)
    if found.joules is None:
        return ()
    unit = text.unit_for([found.joules])
    shown = text.plus_minus(found.joules, found.uncertainty_j, unit.factor)
    idles = f"net of {text.number(found.idle_w)} W ({text.listed(found.idles)})"
    if found.uncertainty_j is None:
        return (f"{idles}: {text.number(found.joules * unit.factor)} {unit.prefix}J, ± not known",)
    return (f"{idles}: {shown.mean} ± {shown.half or text.DASH} {unit.prefix}J",)


def _speed_card(record: Record) -> Card:
    speed = stats.tokens_per_s(record)
    if speed is not None:
        return Card("Throughput", text.number(speed), "tokens/s", "", (), "speed")
    return Card("Throughput", text.DASH, "", "", (NO_TOKENS if stats.inference(record) else NO_TIME,), "speed")


def _power_card(record: Record, component: str) -> Card:
    watts = stats.implied_power_w(record, component)
    idle = next((phase for phase in record.phases if phase.name == "idle" and phase.duration_s > 0), None)
    total = record.totals.get(component)
    energy_j = stats.joules_of(idle.energy, total.channels) if idle is not None and total is not None else None
    idle_w = energy_j / idle.duration_s if idle is not None and energy_j is not None else None
    notes = (f"idle before it: {text.number(idle_w)} W",) if idle_w is not None else ()
    if watts is None and total is not None and total.joules is None:
        notes = (text.shown(total.reason or "no reason given", 160),)
    elif watts is None:
        notes = (NO_TIME,)
    return Card(
        f"Implied {text.component_name(component)} power",
        text.number(watts),
        "W" if watts is not None else "",
        "",
        notes,
    )


def _latency_card(record: Record) -> Card:
    phase = stats.inference(record)
    times = record.tokens.times_s if record.tokens is not None else ()
    if phase is None or not times or times[0] < phase.start_s:
        return Card("Time to first token", text.DASH, "", "", ("the record has no token times",))
    value, unit = text.seconds(times[0] - phase.start_s).rsplit(" ", 1)
    notes = (f"then {text.seconds((times[-1] - times[0]) / (len(times) - 1))} per token",) if len(times) > 1 else ()
    return Card("Time to first token", value, unit, "", (*notes, f"inference took {text.seconds(phase.duration_s)}"))


def phase_table(record: Record) -> PhaseTable:
    """Joules of each component in each phase and part, other readings beside them, and bars of the components."""
    columns = _columns(record)
    main = [column for column in columns if not column.beside]
    stretches = _stretches(record)
    figures = [[_column_j(stretch, column) for column in columns] for stretch, _ in stretches]
    known = [found.joules for row in figures for found in row if found.joules is not None]
    unit, longest = text.unit_for([max(known, default=None)]), max(known, default=0.0) or 1.0
    height = 11 if len(main) < 2 else 7
    rows, apart = [], []
    for (stretch, is_part), found in zip(stretches, figures, strict=True):
        seconds = stretch.end_s - stretch.start_s
        cells, bars = [], []
        for column, (energy_j, half, reason, channel) in zip(columns, found, strict=True):
            shown = text.plus_minus(energy_j, half, unit.factor)
            watts = text.number(energy_j / seconds) if energy_j is not None and seconds > 0 else text.DASH
            why = text.shown(reason, 200) if reason else None
            cells.append(Cell(shown.mean, shown.half, watts, why, text.shown(channel, 30)))
            if why and column.beside:
                apart.append(f"{text.shown(channel, 30)}, {stretch.name.replace('+', ' + ')}: {why}")
            width = round(BAR_WIDTH * ((energy_j or 0.0) / longest), 1)
            if width > 0 and not column.beside:
                colour = f"c-{column.component}" if len(main) > 1 else f"p-{stretch.name.replace('+', '-')}"
                bars.append(Bar(1 + main.index(column) * height, width, colour))
        rows.append(
            PhaseRow(stretch.name.replace("+", " + "), is_part, text.seconds(seconds), tuple(cells), tuple(bars))
        )
    legend = [(f"c-{column.component}", column.name) for column in main] if len(main) > 1 else []
    notes = [f"{column.name}: {column.beside}." for column in columns if column.beside]
    if any(cell.joules != text.DASH and not cell.half for row in rows for cell in row.cells):
        notes.append("Where no ± stands its size is not known: the record does not state it.")
    return PhaseTable(
        tuple(columns),
        f"{unit.prefix}J",
        tuple(rows),
        2 + height * max(len(main), 1),
        tuple(legend),
        tuple(notes),
        tuple(apart),
    )


def _columns(record: Record) -> list[Column]:
    """The components with a total; then channels that no total adds up, those of a kind together.

    A run that failed before there was a total shows each channel by itself.
    """
    columns = [Column(text.component_name(name), name, record.totals[name].channels) for name in components_of(record)]
    counted = {channel for column in columns for channel in column.channels}
    others: dict[tuple[str, str], list[Channel]] = {}
    for channel in (channel for meter in record.meters for channel in meter.channels if channel.id not in counted):
        _, at, opinion = channel.id.partition("@")
        others.setdefault((channel.component, at + opinion if at else channel.id), []).append(channel)
    for (component, _), channels in sorted(others.items(), key=lambda item: item[0]):
        columns.append(_column_of(component, channels, bool(counted)))
    return columns


def _column_of(component: str, channels: Sequence[Channel], counted: bool) -> Column:
    ids, name = tuple(channel.id for channel in channels), text.component_name(component)
    _, at, opinion = ids[0].partition("@")
    label = text.shown(ids[0] if len(ids) == 1 else f"{name} × {len(ids)} {at}{opinion}", 30)
    if channels[0].extent == "process-share":
        return Column(
            label,
            component,
            ids,
            f"this process's share of the {name} energy, a model; part of the figure of the machine",
        )
    if at:
        return Column(label, component, ids, f"a second reading of the same {name}, not added to the first")
    return Column(
        label, component, ids, f"not in the {name} total, which counts it inside another channel" if counted else ""
    )


def _stretches(record: Record) -> list[tuple[Phase | Part, bool]]:
    found: list[tuple[Phase | Part, bool]] = []
    for phase in record.phases:
        found.append((phase, False))
        found += [(part, True) for part in phase.parts]
    return found


class Found(NamedTuple):
    """channel: the one that has no figure; the column's name where the record does not tell."""

    joules: float | None
    uncertainty_j: float | None
    reason: str | None
    channel: str


def _column_j(stretch: Phase | Part, column: Column) -> Found:
    """Uncertainties add up, as in totals: the edges of all channels are the same. One unknown leaves the sum so."""
    found = [energy for energy in stretch.energy if energy.channel in column.channels]
    joules = stats.joules_of(found, column.channels)
    if joules is None:
        first = next((energy for energy in found if energy.joules is None and energy.reason), None)
        if first is None:
            return Found(None, None, "the record has no figure here", column.name)
        return Found(None, None, first.reason, first.channel)
    halves = [energy.uncertainty_j for energy in found if energy.uncertainty_j is not None]
    return Found(joules, sum(halves) if len(halves) == len(found) else None, None, "")


def sum_check(record: Record) -> str:
    """Do the parts of the inference add up to it, component by component?

    Where only `detokenize` has no figure, which is short, the other two are held against the inference: they must
    agree within what all three can be off by.
    """
    phase = stats.inference(record)
    if phase is None or not phase.parts:
        return "the inference is not split into parts"
    said = []
    for component in components_of(record):
        column = Column("", component, record.totals[component].channels)
        whole, doubt_j = _known(phase, column)
        found = {part.name: _known(part, column) for part in phase.parts}
        known = [joules for joules, _ in found.values() if joules is not None]
        without = [part for part, (joules, _) in found.items() if joules is None]
        name = text.component_name(component)
        if whole is None or without not in ([], ["detokenize"]) or not known:
            said.append(f"{name}: not possible, " + (text.listed(without) or "the inference") + " without a figure")
            continue
        allowed_j = SUMS_AGREE * whole + 1e-5
        allowed_j += doubt_j + sum(half for _, half in found.values()) if without else 0.0
        verdict = "✓" if abs(sum(known) - whole) <= allowed_j else "does not add up"
        verdict += " within the uncertainties (detokenize has no figure)" if without else ""
        names = " + ".join(part for part in found if part not in without)
        said.append(f"{name}: {names} = {text.joules(sum(known), 4)}, inference {text.joules(whole, 4)} {verdict}")
    return "; ".join(said) or "no component has a total"


def _known(stretch: Phase | Part, column: Column) -> tuple[float | None, float]:
    found = _column_j(stretch, column)
    return found.joules, found.uncertainty_j or 0.0


def evidence(record: Record, file: str, line: int) -> list[Fact]:
    """How the figures came about: everything needed to judge them."""
    facts = [Fact("Meter", _meter(meter)) for meter in record.meters]
    for component in components_of(record):
        total = record.totals[component]
        channels = ", ".join(total.channels) or "no channel named"
        scope = scope_of(channels_of(record, component))
        words = filter(None, (text.source_name(total.source), scope, f"channels {channels}"))
        facts.append(Fact(text.component_name(component), text.shown("; ".join(words), 240)))
        facts.append(Fact(f"{text.component_name(component)} error", _uncertainty(record, component)))
    facts.append(Fact("Sum check", sum_check(record)))
    facts += [Fact("Longest gap", gaps)] if (gaps := _gaps(record)) else []
    facts += [Fact(name, words) for name, words in protocol.facts(record)]
    facts.append(Fact("Devices", _devices(record)))
    facts += [Fact("Device map", text.shown(_device_map(record), 300))] if record.system.device_map else []
    facts.append(Fact("Flags", text.shown(", ".join(record.flags), 400) if record.flags else "none"))
    if isinstance(record, Published):
        facts.append(Fact("Source", text.shown(record.source, 400)))
    facts.append(Fact("Record", f"{text.shown(file, 120)}, line {line}"))
    return facts


def _gaps(record: Record) -> str:
    """The longest time without a reading in the inference, where the method integrates readings of power."""
    phase = stats.inference(record)
    gaps = [(energy.channel, energy.largest_gap_s) for energy in phase.energy] if phase else []
    return ", ".join(f"{text.shown(name, 30)} {text.seconds(gap)}" for name, gap in gaps if gap is not None)


def state_rows(record: Record) -> list[StateRow]:
    """What each device's state was in the inference; where none was read inside it, the nearest before and after."""
    phase = stats.inference(record)
    if not isinstance(record, Run | Failed) or phase is None:
        return []
    rows = []
    for channel, states in sorted(record.states.items()):
        during = [state for state in states if phase.start_s <= state.at_s <= phase.end_s]
        before = [state for state in states if state.at_s < phase.start_s]
        after = [state for state in states if state.at_s > phase.end_s]
        rows += _states(text.shown(channel, 30), during or [*before[-1:], *after[:1]])
    return rows


def _states(channel: str, states: Sequence[DeviceState]) -> list[StateRow]:
    numbers: dict[str, list[float | None]] = {
        "Temperature, °C": [state.temperature_c for state in states],
        "SM clock, MHz": [state.sm_clock_mhz for state in states],
        "Memory clock, MHz": [state.memory_clock_mhz for state in states],
        "Power limit, W": [state.power_limit_w for state in states],
        "Other processes on it": [state.other_processes for state in states],
    }
    rows = []
    for quantity, values in numbers.items():
        known = [value for value in values if value is not None]
        if known:
            first, last, low, high = (_plain(value) for value in (known[0], known[-1], min(known), max(known)))
            rows.append(StateRow(channel, quantity, first, last, low if low == high else f"{low} to {high}"))
    throttling = [state.throttling for state in states if state.throttling is not None]
    if throttling:
        every = dict.fromkeys(why for reasons in throttling for why in reasons)
        first, last = _reasons(throttling[0]), _reasons(throttling[-1])
        rows.append(StateRow(channel, "Held down by", first, last, _reasons(every)))
    return rows


def _plain(value: float) -> str:
    return text.digits(value, 0 if value == round(value) else 1)


def _reasons(reasons: Iterable[str]) -> str:
    return text.shown(", ".join(reasons), 120) or "nothing"


def channel_rows(record: Record) -> list[tuple[str, ...]]:
    """Each channel as its meter described it."""
    return [
        (
            text.shown(channel.id, 30),
            text.shown(meter.name, 30),
            text.component_name(channel.component),
            channel.extent.replace("-", " "),
            channel.kind,
            text.source_name(channel.source),
            text.seconds(channel.period_s) if channel.period_s else "never stale",
            f"{text.number(channel.resolution)} {channel.unit}" if channel.resolution else text.DASH,
            text.percent(channel.duty) if channel.duty < 1 else "all of it",
            f"± {text.percent(channel.gain)}" if channel.gain is not None else "unknown",
            text.shown(channel.uuid or channel.pci or channel.note or text.DASH, 48),
        )
        for meter in record.meters
        for channel in meter.channels
    ]


def options(record: Record) -> list[Fact]:
    """The meters' options, such as a TDP and its origin."""
    return [
        Fact(
            text.shown(f"{meter.name}.{key}", 40), text.shown(value if isinstance(value, str) else _compact(value), 240)
        )
        for meter in record.meters
        for key, value in sorted(meter.options.items())
    ]


def facts_of_model(record: Record) -> list[Fact]:
    return gathered([said_of_model(record)])


def facts_of_system(record: Record) -> list[Fact]:
    return gathered([said_of_system(record)])


def said_of_model(record: Record) -> list[Said]:
    model = record.model
    mapped = {True: "memory-mapped: read from disk when first used", False: "read while loading", None: None}[
        model.weights_mapped
    ]
    return [
        Said("Architecture", "", _short(model.architecture)),
        Said("Parameters", "", text.parameters(model.parameters) or ""),
        Said("Precision", "", _short(model.dtype)),
        Said("Weights", "", {"dummy": "dummy (random numbers)", "real": "real", None: ""}[model.weights]),
        Said("Loading", "", "every weight read before inference" if model.materialized else mapped or ""),
        Said("Revision", "", _short(model.revision)),
    ]


def said_of_system(record: Record) -> list[Said]:
    system = record.system
    boards = [
        f"{a.name} ({text.number(a.power_limit_w)} W limit)" if a.power_limit_w else a.name for a in system.accelerators
    ]
    none = "" if isinstance(record, Published) else "none"  # of another's machine nobody knows
    software = record.software if isinstance(record, Run | Failed) else {}
    return [
        Said("CPU", "", _short(system.cpu)),
        Said("Memory", "", text.bytes_size(system.memory_bytes) if system.memory_bytes is not None else ""),
        Said("Accelerators", "", _short(" + ".join(f"{boards.count(a)} × {a}" for a in dict.fromkeys(boards))) or none),
        Said("System", "", _short(system.os)),
        *(Said("Software", _short(name), _short(version)) for name, version in sorted(software.items())),
    ]


def gathered(records: Iterable[Iterable[Said]]) -> list[Fact]:
    """Facts of several records as one list: where they differ, all values, or the first few and how many more."""
    found: dict[str, dict[str, set[str]]] = {}
    for said in records:
        for name, part, value in said:
            found.setdefault(name, {}).setdefault(part, set()).update(filter(None, (value,)))
    values = {
        name: "; ".join(f"{part} {_few(parts[part])}".lstrip() for part in sorted(parts) if parts[part])
        for name, parts in found.items()
    }
    return [Fact(name, text.shown(value, 1000)) for name, value in values.items() if value]


def _few(values: Iterable[str]) -> str:
    several = sorted(values, key=text.natural)
    if len(several) <= FEW_VALUES + 1:
        return ", ".join(several)
    return f"{', '.join(several[:FEW_VALUES])} and {len(several) - FEW_VALUES} more"


def _short(value: str | None) -> str:
    return text.shown(value or "", 240)


def facts_of_work(record: Record) -> list[Fact]:
    work, tokens = record.workload, record.tokens
    stops = {
        "new-tokens": "after exactly the tokens asked for",
        "end-of-sequence": "at the end of sequence",
        None: None,
    }
    pairs = (
        ("Prompt", text.count(work.prompt_tokens, "token", spell=False) if work.prompt_tokens is not None else None),
        ("Asked for", text.count(work.new_tokens, "new token", spell=False) if work.new_tokens is not None else None),
        ("Generated", f"{tokens.generated} tokens, {tokens.useful} up to the end of sequence" if tokens else None),
        ("Batch", str(work.batch_size) if work.batch_size is not None else None),
        ("Decoding", work.decoding),
        ("Stops", stops[work.stop]),
        ("Prompt hash", work.prompt_sha256[:16] if work.prompt_sha256 else None),
    )  # fmt: skip
    return _facts(pairs)


def raw_json(record: Record) -> str:
    """The record for reading: indented, without the trace; characters that would not show are written as escapes."""
    if isinstance(record, Run | Failed):
        record = msgspec.structs.replace(record, trace=msgspec.UNSET)
    pretty = msgspec.json.format(encode(record), indent=2).decode("utf-8", "replace")
    return re.sub(r"[^\n\x20-\x7e]", lambda m: m[0] if m[0].isprintable() else _escape(m[0]), pretty)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")


def _facts(pairs: Sequence[tuple[str, str | None]]) -> list[Fact]:
    return [Fact(name, text.shown(value, 240)) for name, value in pairs if value]


def _meter(meter: Any) -> str:
    kinds = sorted({f"{c.kind}, {text.source_name(c.source)}" for c in meter.channels})
    return f"{text.shown(meter.name, 40)} ({text.count(len(meter.channels), 'channel')}: {'; '.join(kinds)})"


def _uncertainty(record: Record, component: str) -> str:
    total, gain = record.totals[component], gain_of(channels_of(record, component))
    if total.joules is None:
        return text.shown(total.reason or "no figure", 240)
    window = (
        f"± {text.joules(total.uncertainty_j, 2)} of this window"
        if total.uncertainty_j is not None
        else "not stated for this window"
    )
    return f"{window}; gain of the channel " + (f"± {text.percent(gain)}" if gain is not None else "unknown")


def _devices(record: Record) -> str:
    system = record.system
    words = [
        f"{system.devices_used} used" if system.devices_used is not None else "",
        f"{system.devices_visible} visible" if system.devices_visible is not None else "",
    ]
    words += [text.shown(system.device or "", 20), text.shown(system.strategy or "", 30)]
    words += [text.count(system.threads, "thread", spell=False)] if system.threads is not None else []
    return ", ".join(filter(None, words)) or "not named"


def _device_map(record: Record) -> str:
    counts: dict[str, int] = {}
    for device in (record.system.device_map or {}).values():
        counts[device] = counts.get(device, 0) + 1
    return ", ".join(f"{device}: {text.count(n, 'module', spell=False)}" for device, n in sorted(counts.items()))
