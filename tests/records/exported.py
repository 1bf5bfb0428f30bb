"""What comes out of `llmjoules import` and then `llmjoules export`, for tests that hold it against known answers."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from llmjoules.records.export import export
from llmjoules.records.importers.importing import import_files
from llmjoules.records.importers.types import Units
from llmjoules.records.store import BadLine


class Stretch(NamedTuple):
    """A phase of one record, from the table's rows of its channels: those of components, and those of shares."""

    name: str
    start_s: float
    seconds: float
    rows: list[dict[str, str]]

    def joules(self, component: str = "gpu", *, share: bool = False) -> float | None:
        """Added over channels; of an unresolved one what its reason says the counter showed."""
        found = [row for row in self.rows if row["component"] == component and "@power" not in row["channel"]]
        found = [
            row for row in found if (row["extent"] == "process-share") == share and "trapezoid" not in row["channel"]
        ]
        values = [float(row["joules"]) if row["joules"] else _shown(row["reason"]) for row in found]
        return None if not values or None in values else sum(value for value in values if value is not None)

    def samples(self, pattern: str = r"over (\d+) samples") -> int:
        """The number that the methods name; 0 where none does."""
        return sum(int(found[1]) for row in self.rows if (found := re.search(pattern, row["method"])))

    @property
    def largest_gap_s(self) -> float:
        return max(float(row["largest_gap_s"]) for row in self.rows)


class Exported(NamedTuple):
    """One record. head: what all its rows of the table share; stretches: its phases and parts; stated: its means."""

    head: dict[str, str]
    stretches: list[Stretch]
    totals: dict[str, dict[str, str]]
    stated: dict[str, str] | None
    record: dict[str, Any]

    def phase(self, name: str) -> Stretch | None:
        return next((stretch for stretch in self.stretches if stretch.name == name), None)

    @property
    def inference(self) -> Stretch:
        found = self.phase("inference")
        assert found is not None
        return found

    @property
    def flags(self) -> list[str]:
        return self.head["flags"].split(";")


class Imported:
    """Files of one format, imported and exported. said: notes of the import; bad: lines skipped."""

    def __init__(self, form: str, paths: Sequence[Path], units: dict[str, str] | None = None, **settings: str) -> None:
        self.bad: list[BadLine] = []
        table, lines = io.BytesIO(), io.BytesIO()
        with TemporaryDirectory() as folder:
            out = Path(folder)
            report = import_files(form, paths, out, settings=settings, units=Units(units), on_bad=self.bad.append)
            export([out], "csv", table)
            export([out], "jsonl", lines)
        self.said, self.unmapped = report.notes, report.unmapped
        rows: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(io.StringIO(table.getvalue().decode(), newline="")):
            rows.setdefault(row["id"], []).append(row)
        records = [json.loads(line) for line in lines.getvalue().splitlines()]
        assert [record["id"] for record in records] == list(rows)
        self.records = [_exported(rows[record["id"]], record) for record in records]
        self.stretches = [stretch for record in self.records for stretch in record.stretches]

    def having(self, phase: str) -> list[Exported]:
        return [record for record in self.records if record.phase(phase) is not None]


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {"n": len(values), "mean": fmean(known), "sd": stdev(known) if len(known) > 1 else None}


def _exported(rows: list[dict[str, str]], record: dict[str, Any]) -> Exported:
    stretches: dict[tuple[str, str], Stretch] = {}
    for row in rows:
        if row["level"] in ("phase", "part"):
            name = row["part"] or row["phase"]
            empty = Stretch(name, float(row["start_s"]), float(row["duration_s"]), [])
            stretches.setdefault((row["level"], name), empty).rows.append(row)
    return Exported(
        head=rows[0],
        stretches=list(stretches.values()),
        totals={row["component"]: row for row in rows if row["level"] == "total"},
        stated=next((row for row in rows if row["level"] == "stated"), None),
        record=record,
    )


def _shown(reason: str) -> float | None:
    found = re.search(r"^unresolved: (?:.* says )?([-\d.e+]+) J", reason)
    return float(found[1]) if found else None
