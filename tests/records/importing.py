"""What the tests of importers share: reading a file that a test wrote, or one of ../shared/data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmjoules.records.importers.importing import Report, import_files, read_files
from llmjoules.records.importers.types import Bad, Note, Units, Unmapped
from llmjoules.records.record import Published
from llmjoules.records.store import BadLine, read_results

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "EXPECTED.json").is_file(), reason="needs ../shared/data")


@cache
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "EXPECTED.json").read_text())
    return found


class Read:
    """Everything that an importer made of a file, by kind."""

    def __init__(self, format_name: str, *files: Path, units: dict[str, str] | None = None, **settings: str) -> None:
        items = list(read_files(format_name, files, settings, Units(units)))
        self.records = [item for item in items if isinstance(item, Published)]
        self.bad = [item for item in items if isinstance(item, Bad)]
        self.notes = [item.text for item in items if isinstance(item, Note)]
        self.unmapped = [item.what for item in items if isinstance(item, Unmapped)]

    @property
    def only(self) -> Published:
        assert len(self.records) == 1
        return self.records[0]


def phase_j(record: Published, phase: str, component: str = "gpu", *, share: bool = False) -> float | None:
    """The joules of a phase, added over a component's channels; an unresolved one counts as what the file says: 0."""
    extents = {c.id: (c.component, c.extent == "process-share") for meter in record.meters for c in meter.channels}
    found = next(p for p in record.phases if p.name == phase)
    values = [e.joules for e in found.energy if extents[e.channel] == (component, share)]
    return None if not values or None in values else sum(v for v in values if v is not None)


def stored(out: Path) -> list[Any]:
    return [found.record for found in read_results([out], lambda bad: pytest.fail(str(bad)))]


def run(format_name: str, path: Path, out: Path, **more: Any) -> tuple[Report, list[BadLine]]:
    bad: list[BadLine] = []
    return import_files(format_name, [path], out, on_bad=bad.append, **more), bad


def close(value: float | None, right: float | None, tolerance: float = 1e-6) -> bool:
    return value == right or (value is not None and right is not None and value == pytest.approx(right, rel=tolerance))
