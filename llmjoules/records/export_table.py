"""Records as a tidy table: one row for each energy that a record states, and its CSV form.

The columns are `COLUMNS`; docs/export.md lists them. Parquet and pandas take the same rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

from llmjoules.records import stats
from llmjoules.records.net import net
from llmjoules.records.record import Channel, Energy, Failed, Figures, Phase, Published, Record, Run, Total

Type = Literal["text", "integer", "number", "boolean"]
Row = tuple[Any, ...]
Channels = dict[str, tuple[str, Channel]]  # with the name of the meter, by id


class Column(NamedTuple):
    """unit: empty where there is none."""

    name: str
    type: Type
    unit: str
    meaning: str


_OF_RECORD = (
    Column("id", "text", "", "of the record: one inference, or one published figure"),
    Column("kind", "text", "", "run, failed (did not finish) or published (taken from a paper or another tool)"),
    Column("source", "text", "", "of a published one: where a reader finds the figures"),
    Column("study", "text", "", "name of the study"),
    Column("cell", "text", "", "hash of the settings: repeats share it"),
    Column("class", "text", "", "comparability class: only within one may runs be ranked"),
    Column("load", "text", "", "the process that ran it"),
    Column("first_of_load", "boolean", "", "this run did the loading"),
    Column("repeat", "integer", "", "number of the repeat, from 0"),
    Column("started_at", "text", "", "UTC, ISO 8601"),
    Column("model", "text", "", "name of the model"),
    Column("architecture", "text", "", "of the model"),
    Column("parameters", "integer", "", "of the model"),
    Column("dtype", "text", "", "of the weights"),
    Column("weights", "text", "", "real, or dummy: random numbers"),
    Column("system", "text", "", "name of the machine"),
    Column("accelerators", "text", "", "their names, separated by semicolons"),
    Column("device", "text", "", "on which the model ran"),
    Column("devices_used", "integer", "", "accelerators that held a part of the model"),
    Column("strategy", "text", "", "how the model was spread over devices"),
    Column("threads", "integer", "", "CPU threads that torch was given"),
    Column("prompt_tokens", "integer", "tokens", "of one row of the batch, the longest"),
    Column("new_tokens", "integer", "tokens", "asked for, per row"),
    Column("batch_size", "integer", "", "rows of the batch"),
    Column("decoding", "text", "", "greedy or sample"),
    Column("stop", "text", "", "when generation ends: new-tokens or end-of-sequence"),
    Column("generated_tokens", "integer", "tokens", "computed, over the whole batch"),
    Column("tokens_per_s", "number", "tokens/s", "generated tokens over the seconds of the inference"),
    Column("flags", "text", "", "what to know before trusting a figure, separated by semicolons"),
    Column("error", "text", "", "of a failed run"),
)
_OF_ENERGY = (
    Column("level", "text", "", "phase, part (of a phase), total (of a component), stated (a mean) or none"),
    Column(
        "phase",
        "text",
        "",
        "idle, import, tokenizer, model, pipeline, model+pipeline, warm-up, idle-loaded, inference or idle-after",
    ),
    Column("part", "text", "", "prefill, decode or detokenize, of an inference"),
    Column("start_s", "number", "s", "since the record's clock"),
    Column("end_s", "number", "s", "since the record's clock"),
    Column("duration_s", "number", "s", "end less start"),
    Column("channel", "text", "", "gpu:0, cpu:0 …; of a total those added up, separated by semicolons"),
    Column("meter", "text", "", "that read the channel"),
    Column("component", "text", "", "gpu, cpu, dram, ane, chip, host or wall: different quantities, never added up"),
    Column("extent", "text", "", "device, module or process-share"),
    Column("channel_kind", "text", "", "counter, power, interval or model"),
    Column("energy_source", "text", "", "measured, modelled or simulated"),
    Column("gain", "number", "", "systematic error of the channel as a fraction, on top of the uncertainty"),
    Column("joules", "number", "J", "empty where it could not be measured; reason then says why"),
    Column("uncertainty_j", "number", "J", "95 % half-width of the method's error in this window"),
    Column("method", "text", "", "how readings became joules"),
    Column("reason", "text", "", "why there is no figure: a code, a colon and a sentence"),
    Column("largest_gap_s", "number", "s", "between two readings of power"),
    Column("mean_power_w", "number", "W", "joules over duration"),
    Column("j_per_token", "number", "J/token", "of a total or a stated mean: energy over generated tokens"),
    Column(
        "net_j", "number", "J", "of a total: less what the idle machine takes; may be negative, empty where unknown"
    ),
    Column("net_uncertainty_j", "number", "J", "95 % half-width of net_j"),
)
COLUMNS = _OF_RECORD + _OF_ENERGY


def rows(records: Iterable[Record]) -> Iterator[Row]:
    """The table, a row at a time, values in the order of COLUMNS; None where there is none."""
    for record in records:
        yield from rows_of(record)


def rows_of(record: Record) -> Iterator[Row]:
    """At least one: a record without any energy has a row of level `none`, whose reason says why, if it is known."""
    head = _head(record)
    channels = {channel.id: (meter.name, channel) for meter in record.meters for channel in meter.channels}
    found = [row for phase in record.phases for row in _phase_rows(phase, channels)]
    found += [_total_row(record, component, total, channels) for component, total in record.totals.items()]
    if isinstance(record, Published) and record.figures is not None:
        found.append(_stated_row(record, record.figures))
    if not found:
        why = "failed: before anything was measured" if isinstance(record, Failed) else "not_stated: no energy is given"
        found.append(("none", *[None] * 15, why, *[None] * 5))
    return (head + row for row in found)


def _phase_rows(phase: Phase, channels: Channels) -> Iterator[Row]:
    for energy in phase.energy:
        span = (phase.start_s, phase.end_s, phase.end_s - phase.start_s)
        yield ("phase", phase.name, None, *span, *_energy_values(energy, span[2], channels))
    for part in phase.parts:
        for energy in part.energy:
            span = (part.start_s, part.end_s, part.end_s - part.start_s)
            yield ("part", phase.name, part.name, *span, *_energy_values(energy, span[2], channels))


def _total_row(record: Record, component: str, total: Total, channels: Channels) -> Row:
    seconds = stats.inference_s(record)
    added = [channels[name] for name in total.channels if name in channels]
    gains = [channel.gain for _, channel in added]
    known = [gain for gain in gains if gain is not None]
    where: Row = (
        ";".join(total.channels) or None,
        _shared(meter for meter, _ in added),
        component,
        _shared(channel.extent for _, channel in added),
        _shared(channel.kind for _, channel in added),
        total.source,
        max(known) if known and len(known) == len(gains) else None,
    )
    figure: Row = (total.joules, total.uncertainty_j, None, total.reason, None)
    less_idle = net(record, component)
    net_j = less_idle.joules if less_idle.joules is not None else stats.stated(record).net_j.get(component)
    derived: Row = (_power(total.joules, seconds), stats.joules_per_token(record, component))
    derived += (net_j, less_idle.uncertainty_j)
    return ("total", "inference" if seconds else None, None, None, None, seconds, *where, *figure, *derived)


def _stated_row(record: Record, figures: Figures) -> Row:
    """joules: of one request, as the source states it."""
    named = [(m.name, c) for m in record.meters for c in m.channels if c.component == figures.component]
    where: Row = (
        None,
        _shared(meter for meter, _ in named),
        figures.component,
        _shared(channel.extent for _, channel in named),
        _shared(channel.kind for _, channel in named),
        _shared(channel.source for _, channel in named),
        None,
    )
    figure: Row = (figures.j_per_request, None, None, None, None)
    derived: Row = (stats.implied_power_w(record, figures.component), figures.j_per_token, None, None)
    return ("stated", *[None] * 5, *where, *figure, *derived)


def _energy_values(energy: Energy, seconds: float, channels: Channels) -> Row:
    meter, channel = channels.get(energy.channel, (None, None))
    where: Row = (None, None, None, None, None)
    if channel is not None:
        where = (channel.component, channel.extent, channel.kind, channel.source, channel.gain)
    figure = (energy.joules, energy.uncertainty_j, energy.method, energy.reason, energy.largest_gap_s)
    return (energy.channel, meter, *where, *figure, _power(energy.joules, seconds), None, None, None)


def _head(record: Record) -> Row:
    executed = record if isinstance(record, Run | Failed) else None
    load = record.load
    system, work, model = record.system, record.workload, record.model
    return (
        record.id,
        "run" if isinstance(record, Run) else "failed" if executed is not None else "published",
        record.source if isinstance(record, Published) else None,
        record.study,
        record.cell,
        record.class_,
        load.id if load is not None else None,
        load.first if load is not None else None,
        record.repeat,
        record.started_at,
        model.name,
        model.architecture,
        model.parameters,
        model.dtype,
        model.weights,
        system.name,
        ";".join(accelerator.name for accelerator in system.accelerators) or None,
        system.device,
        system.devices_used,
        system.strategy,
        system.threads,
        work.prompt_tokens,
        work.new_tokens,
        work.batch_size,
        work.decoding,
        work.stop,
        record.tokens.generated if record.tokens is not None else None,
        stats.tokens_per_s(record),
        ";".join(record.flags) or None,
        record.error.message if isinstance(record, Failed) else None,
    )


def _shared(values: Iterable[str]) -> str | None:
    """What all of them are; None where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _power(joules: float | None, seconds: float | None) -> float | None:
    return joules / seconds if joules is not None and seconds else None


_END = "\r\n"
# A spreadsheet takes a cell that begins with one of these for a formula, some also the full-width forms
# (owasp.org/www-community/attacks/CSV_Injection). The quote is here so that taking one away gives back every text.
_FORMULA = tuple("=+-@\t\r\n'＝＋－＠")


def write_csv(table: Iterable[Row], stream: BinaryIO) -> None:
    """UTF-8, a header, numbers in full precision, empty cells for None.

    A text that a spreadsheet could take for a formula begins with one more `'`.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="", write_through=False)
    of_record: Row = ()
    head = ""
    try:
        text.write(csv_line([column.name for column in COLUMNS]))
        for row in table:
            if row[: len(_OF_RECORD)] != of_record:  # else the words are as before: most of the time goes into them
                of_record = row[: len(_OF_RECORD)]
                head = csv_line(of_record)[: -len(_END)]
            text.write(f"{head},{csv_line(row[len(_OF_RECORD) :])}")
    finally:
        text.detach()  # the stream is the caller's to close


def csv_line(values: Iterable[Any]) -> str:
    """A line with its end; a text that a spreadsheet could take for a formula begins with one more `'`."""
    line: str = _written([_cell(value) for value in values])
    return line


class _Line:
    """What csv writes to here, it returns."""

    def write(self, line: str) -> str:
        return line


_written = csv.writer(_Line()).writerow  # lines end as in RFC 4180: Python 3.11 would not quote a \r before a \n


def _cell(value: Any) -> Any:
    if type(value) is str and value.startswith(_FORMULA):
        return f"'{value}"
    return str(value).lower() if type(value) is bool else value
