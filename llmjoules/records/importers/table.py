"""Any table in CSV, with a mapping file in TOML that says which column is what (docs/import.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import (
    TO_SECONDS,
    Columns,
    Energies,
    NotANumber,
    Row,
    Seen,
    SourceFile,
    misfit,
    number,
)
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import (
    Channel,
    ChannelKind,
    Component,
    Energy,
    Extent,
    Load,
    MeterInfo,
    Phase,
    PhaseName,
    Source,
    Tokens,
    Workload,
)

TEXTS = ("model", "system", "accelerator", "dtype", "strategy", "started_at", "load")
COUNTS = ("devices", "prompt_tokens", "new_tokens", "generated_tokens", "batch_size", "repeat")


class EnergyColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of energies. unit: J, mJ, uJ, Wh, kWh …; phase: which one it is of."""

    column: str
    unit: str
    component: Component
    channel: str | None = None
    kind: ChannelKind = "counter"
    extent: Extent = "device"
    source: Source = "measured"
    phase: PhaseName = "inference"
    gain: float | None = None


class TimeColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of durations. unit: s, ms, min …"""

    column: str
    unit: str
    phase: PhaseName = "inference"


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """columns: from what a record holds to the name of a column; values: the same for what is alike in all rows.

    header: the names of the columns, where the file has none.
    """

    energy: list[EnergyColumn]
    time: list[TimeColumn] = []
    columns: dict[str, str] = {}
    values: dict[str, str | int] = {}
    tool: str = "CSV"
    meter: str = "unnamed meter"
    delimiter: str = ","
    decimal_comma: bool = False
    header: list[str] | None = None


class CsvOptions(Options, frozen=True, kw_only=True):
    mapping: str | None = None


class Table(Importer):
    name = "csv"
    summary = "any table in CSV, with a mapping file: --set mapping=FILE.toml"
    Options = CsvOptions
    general = True

    def matches(self, file: SourceFile) -> bool:
        first = "".join(file.lines_at_head(1))
        return not first.startswith(("{", "[")) and any(mark in first for mark in (",", ";", "\t"))

    def read(self, file: SourceFile, options: CsvOptions, units: Units) -> Iterator[Item]:
        mapping = _mapping(options.mapping)
        energies, seen = Energies(units), Seen()
        rows = file.rows(mapping.delimiter)
        header = mapping.header
        if header is None:
            first = next(rows)
            if isinstance(first, Bad):
                yield first
                return
            header = first.fields
        maker = _Maker(file, options, mapping, Columns(header), energies)
        yield from (Unmapped(f"column {name}") for name in maker.columns.left_over())
        for row in rows:
            if isinstance(row, Bad):
                yield row
            elif (twice := seen.before(row.line, row.fields)) is not None:
                yield twice
            elif (wrong := misfit(row, len(maker.columns))) is not None:
                yield wrong
            else:
                try:
                    yield maker.record(row)
                except NotANumber as error:
                    yield Bad(row.line, str(error))
        if not mapping.time:
            yield Note("the mapping names no column of time: records have energy, and no power")


def _mapping(name: str | None) -> Mapping:
    if name is None:
        raise LlmjoulesError(
            "Nothing says which column is what.",
            "The format csv needs a mapping file.",
            "--set mapping=FILE.toml (docs/import.md has an example).",
        )
    try:
        return msgspec.convert(tomllib.loads(Path(name).read_text("utf-8")), Mapping)
    except OSError as error:
        raise LlmjoulesError(f"Cannot read the mapping {name}.", f"{error.strerror}.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise LlmjoulesError(
            f"Bad mapping: {name}.", f"{error}.", "docs/import.md lists what a mapping may hold."
        ) from error


def _whole(key: str, value: str | float) -> int:
    try:
        return int(value)
    except (ValueError, OverflowError) as error:
        raise LlmjoulesError(
            f"Bad mapping: {key} = {value!r}.", "It counts something, so it is a whole number.", f"{key} = 1"
        ) from error


class _Maker:
    def __init__(
        self, file: SourceFile, options: CsvOptions, mapping: Mapping, columns: Columns, energies: Energies
    ) -> None:
        for known in (mapping.columns, mapping.values):
            for key in known:
                if key not in (*TEXTS, *COUNTS):
                    raise LlmjoulesError(
                        f"Unknown entry of the mapping: {key}.", f"Known: {', '.join((*TEXTS, *COUNTS))}."
                    )
        self.columns = columns
        self._publisher = Publisher(file, mapping.tool, options)
        self._mapping = mapping
        self._energies = energies
        self._at = {key: self._find(name) for key, name in mapping.columns.items()}
        self._texts = {key: str(value) for key, value in mapping.values.items() if key in TEXTS and value != ""}
        self._counts = {key: _whole(key, value) for key, value in mapping.values.items() if key in COUNTS}
        self._energy = [(column, self._find(column.column), energies.factor(column.column, column.unit))
                        for column in mapping.energy]  # fmt: skip
        self._time = {
            time.phase: (time.column, self._find(time.column), energies.factor(time.column, time.unit, TO_SECONDS))
            for time in mapping.time
        }
        channels = {
            self._channel(column): Channel(
                id=self._channel(column), component=column.component, kind=column.kind, extent=column.extent,
                source=column.source, gain=column.gain,
            )
            for column in mapping.energy
        }  # fmt: skip
        self._meters = (MeterInfo(name=mapping.meter, channels=tuple(channels.values())),)
        self._order = list(dict.fromkeys([*(c.phase for c in mapping.energy), *self._time]))

    def _find(self, name: str) -> int:
        at = self.columns.find(name)
        if at is None:
            raise LlmjoulesError(
                f"No column {name!r} in {self._publisher.file.name}.", f"It has: {', '.join(self.columns.header)}."
            )
        return at

    @staticmethod
    def _channel(column: EnergyColumn) -> str:
        return column.channel or f"{column.component}:0"

    def _number(self, row: Row, at: int) -> float:
        text = row.fields[at]
        try:
            return number(text.replace(",", ".") if self._mapping.decimal_comma else text)
        except NotANumber as error:
            raise NotANumber(f"column {self.columns.header[at]!r}: {error}") from None

    def _text(self, row: Row, key: str) -> str | None:
        at = self._at.get(key)
        return self._texts.get(key) if at is None else row.fields[at].strip() or None

    def _count(self, row: Row, key: str) -> int | None:
        at = self._at.get(key)
        if at is None:
            return self._counts.get(key)
        if not row.fields[at].strip():
            return None
        count = self._number(row, at)
        if count < 0 or count != int(count):
            raise NotANumber(f"column {self.columns.header[at]!r}: {count:g} is no count")
        return int(count)

    def record(self, row: Row) -> Item:
        """Raises NotANumber, which names the column."""
        publisher = self._publisher
        devices = self._count(row, "devices")
        prompt, generated = self._count(row, "prompt_tokens"), self._count(row, "generated_tokens")
        phases, at_s = [], 0.0
        for name in self._order:
            column, at, factor = self._time.get(name, ("", None, 0.0))
            seconds = self._number(row, at) * factor if at is not None else 0.0
            if seconds < 0:
                raise NotANumber(f"column {column!r}: {seconds:g} s is no duration")
            found = tuple(self._joules(row, e, at, factor) for e, at, factor in self._energy if e.phase == name)
            phases.append(Phase(name=name, start_s=at_s, end_s=at_s + seconds, energy=found))
            at_s += seconds
        load = self._text(row, "load")
        new_tokens = self._count(row, "new_tokens") or publisher.options.new_tokens
        return publisher.record(
            line=row.line,
            started_at=self._text(row, "started_at"),
            model=publisher.model(self._text(row, "model"), dtype=self._text(row, "dtype")),
            system=publisher.system(
                self._text(row, "system"), self._text(row, "accelerator"), devices,
                strategy=self._text(row, "strategy"),
            ),
            workload=Workload(
                prompt_tokens=prompt,
                new_tokens=new_tokens if new_tokens is not None or prompt is not None else generated,
                batch_size=self._count(row, "batch_size") or publisher.options.batch_size,
            ),
            meters=self._meters,
            phases=tuple(phases),
            tokens=Tokens(prompt=prompt, generated=generated, useful=generated)
            if generated is not None and prompt is not None
            else None,
            load=Load(id=f"{publisher.file.sha256[:12]}-{load}", first=False) if load else None,
            repeat=self._count(row, "repeat"),
            units=self._energies.stated,
            corrections=self._energies.corrections,
        )  # fmt: skip

    def _joules(self, row: Row, column: EnergyColumn, at: int, factor: float) -> Energy:
        if not row.fields[at].strip():
            return joules(self._channel(column), None, reason="missing: the cell is empty")
        return joules(self._channel(column), self._number(row, at) * factor)


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [Table()]
