"""What powermetrics writes: its plist stream, and the text form of older captures, into one small record. Pure.

Each plist record is an XML document; one NUL byte stands between two of them and none after the last. Energies are
millijoules over `elapsed_ns`, which runs over the interval that was asked for by 1 to 8 %, so that alone is used.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple

_END = b"</plist>"
_BARE_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

_SECTION = re.compile(r"^\*\*\* (Sampled|Summary) system activity .*\(([\d.]+)ms elapsed\) \*\*\*$", re.MULTILINE)
_SECTION_START = re.compile(rb"^\*\*\* Sampled system activity ", re.MULTILINE)
# Anchored at the start of a line, or "E-Cluster Power" and "Combined Power (CPU + GPU + ANE)" would count too.
_POWER = re.compile(r"^(CPU|GPU|ANE|DRAM|Package) Power: ([\d.]+) mW\s*$", re.MULTILINE)
_INTEL_POWER = re.compile(r"^Intel energy model derived package power \(.*\): ([\d.]+)W\s*$", re.MULTILINE)
# A name may hold blanks and digits, so the row is told by its right side: an id, then decimals only.
_ROW = re.compile(r"^(?P<name>\S.*?) +(?P<pid>-?\d+)(?P<columns>(?: +-?\d+\.\d+)+) *$", re.MULTILINE)
_TEXT_NAMES = {"CPU": "cpu", "GPU": "gpu", "ANE": "ane", "DRAM": "dram", "Package": "chip"}
ALL_TASKS = -2


class Task(NamedTuple):
    """One row of the task table; -1 stands for the tasks that ended in the interval, 0 for the kernel.

    energy_impact has no unit. Each is None where the record does not give it.
    """

    pid: int
    parent_pid: int | None = None
    cputime_s: float | None = None
    energy_impact: float | None = None


class Record(NamedTuple):
    """joules: by `cpu`, `gpu`, `ane`; `dram` and `chip` in macOS 12; `package` (and its `cpu`) on Intel."""

    elapsed_s: float
    joules: dict[str, float]
    tasks: tuple[Task, ...] = ()
    all_tasks: Task | None = None


class PlistStream:
    """Takes the bytes as they come and gives the records that are complete. dropped: records that could not be read."""

    def __init__(self) -> None:
        self.dropped = 0
        self._tail = b""

    def feed(self, data: bytes) -> list[Record]:
        *documents, self._tail = (self._tail + data).split(b"\0")
        if self._tail[-32:].rstrip().endswith(_END):  # complete, though its NUL comes only before the next record
            documents.append(self._tail)
            self._tail = b""
        records = [self._record(document) for document in documents if document.strip()]
        return [record for record in records if record is not None]

    def pause(self) -> list[Record]:
        """Nothing has come for a while: a plist says itself where it ends."""
        return []

    def finish(self) -> str:
        """The stream has ended; what is left was cut off, or is no record but a message: its text."""
        rest, self._tail = self._tail.strip(), b""
        self.dropped += bool(rest)
        return rest.decode("utf-8", "replace")

    def _record(self, document: bytes) -> Record | None:
        record = record_of(_loads(document))
        self.dropped += record is None
        return record


class TextStream:
    """The same for the text form. A sample ends where the next one begins, or where nothing more comes for a while."""

    def __init__(self) -> None:
        self.dropped = 0
        self._tail = b""

    def feed(self, data: bytes) -> list[Record]:
        self._tail += data
        *_, last = (0, *(found.start() for found in _SECTION_START.finditer(self._tail)))
        return self._records(last)

    def pause(self) -> list[Record]:
        return self._records(self._tail.rfind(b"\n") + 1)

    def finish(self) -> str:
        rest, self._tail = self._tail.strip(), b""
        return rest.decode("utf-8", "replace")

    def _records(self, end: int) -> list[Record]:
        """Of all that stands before this place, where there are any; else it is kept."""
        records = parse_text(self._tail[:end].decode("utf-8", "replace"))
        if not any(record.joules for record in records):
            return []
        self._tail = self._tail[end:]
        self.dropped += sum(not record.joules for record in records)
        return [record for record in records if record.joules]


def _loads(document: bytes) -> Any:
    for repair in (bytes.lstrip, _repaired):  # plistlib wants "<?xml" first, and some records begin with a newline
        try:
            return plistlib.loads(repair(document), fmt=plistlib.FMT_XML)
        except Exception:  # expat's error, ValueError, …: plistlib documents none
            pass
    return None


def _repaired(document: bytes) -> bytes:
    """Names of processes are written as they are: with a bare "&", control characters, or bytes that are not UTF-8."""
    text = _CONTROL.sub(b"", document).decode("utf-8", "replace").encode().lstrip()
    return _BARE_AMPERSAND.sub(b"&amp;", text)


def record_of(plist: Any) -> Record | None:
    """None for what is not a record: no elapsed time, or no processor."""
    if not isinstance(plist, Mapping):
        return None
    elapsed_ns, processor = _number(plist, "elapsed_ns"), plist.get("processor")
    if not elapsed_ns or not isinstance(processor, Mapping):
        return None
    all_tasks = plist.get("all_tasks")
    return Record(
        elapsed_ns / 1e9,
        dict(_joules(processor, _mapping(plist.get("gpu")), elapsed_ns / 1e9)),
        tuple(_task(row) for row in _rows(plist)),
        _task(all_tasks) if isinstance(all_tasks, Mapping) else None,
    )


def _joules(processor: Mapping[str, Any], gpu: Mapping[str, Any], elapsed_s: float) -> Iterator[tuple[str, float]]:
    for name, key in (("cpu", "cpu"), ("gpu", "gpu"), ("ane", "ane"), ("dram", "dram"), ("chip", "package")):
        energy_mj = _number(processor, f"{key}_energy")
        if energy_mj is None and name == "gpu":
            energy_mj = _number(gpu, "gpu_energy")  # the same figure as the processor's: never both
        power_mw = _number(processor, f"{key}_power")
        if energy_mj is not None:
            yield name, energy_mj / 1e3
        elif power_mw is not None:
            yield name, power_mw / 1e3 * elapsed_s
    for name in ("package", "cpu"):  # Intel, in joules
        joules = _number(processor, f"{name}_joules")
        if joules is not None:
            yield name, joules


def _rows(plist: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The task table, which lies inside the coalitions where these are shown; a coalition's own sums differ from it."""
    for group in (plist, *_mappings(plist.get("coalitions"))):
        yield from _mappings(group.get("tasks"))


def _task(row: Mapping[str, Any]) -> Task:
    pid, parent = row.get("pid"), row.get("parent_pid")
    cputime_ns = _number(row, "cputime_ns")
    return Task(
        pid if isinstance(pid, int) else -1,
        parent if isinstance(parent, int) else None,
        None if cputime_ns is None else cputime_ns / 1e9,
        _number(row, "energy_impact"),
    )


def process_tree(record: Record, roots: Iterable[int]) -> set[int]:
    """The roots and all that descend from them in the record's own task table."""
    children: dict[int, list[int]] = {}
    for task in record.tasks:
        if task.parent_pid is not None and task.pid > 0:
            children.setdefault(task.parent_pid, []).append(task.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def impact_factor(record: Record, pids: Iterable[int], measure: str) -> float | None:
    """α: what these processes have of all tasks, from 0 to 1; None where the record does not tell.

    measure: `energy_impact` or `cputime_s`. Without a row for all tasks their sum stands for it, the ended included.
    Plain values, not those per second: each row divides these by an interval of its own, tiny for a young process.
    """
    values = {task.pid: getattr(task, measure) for task in record.tasks}
    known = [value for value in values.values() if value is not None]
    total = getattr(record.all_tasks, measure, None)
    if total is None and known:
        total = sum(known)
    if total is None or not known:
        return None
    ours = sum(values.get(pid) or 0.0 for pid in pids)
    return min(ours / total, 1.0) if total else 0.0


def _number(mapping: Mapping[str, Any], key: str) -> float | None:
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isfinite(value) and value >= 0 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def parse_text(text: str) -> list[Record]:
    """The records of a capture in text form; summaries are left out, they repeat what the samples hold.

    Powers are rounded to milliwatts here and rows lose small tasks: the plist form says more. No parents are given.
    """
    text = text.replace("\r\n", "\n")
    records = []
    sections = list(_SECTION.finditer(text))
    for section, following in zip(sections, [*sections[1:], None], strict=False):
        if section[1] == "Sampled":
            body = text[section.end() : following.start() if following else len(text)]
            records.append(_text_record(float(section[2]) / 1e3, body))
    return records


def _text_record(elapsed_s: float, body: str) -> Record:
    joules: dict[str, float] = {}
    for name, power_mw in _POWER.findall(body):  # newer systems print the GPU's a second time: the first counts
        joules.setdefault(_TEXT_NAMES[name], float(power_mw) / 1e3 * elapsed_s)
    for power_w in _INTEL_POWER.findall(body):
        joules.setdefault("package", float(power_w) * elapsed_s)
    header = next((line for line in body.splitlines() if line.startswith("Name ")), "")
    tasks = list(_text_tasks(body, elapsed_s, header.rstrip().endswith("Energy Impact")))
    all_tasks = next((task for task in tasks if task.pid == ALL_TASKS), None)
    return Record(elapsed_s, joules, tuple(task for task in tasks if task.pid != ALL_TASKS), all_tasks)


def _text_tasks(body: str, elapsed_s: float, with_impact: bool) -> Iterable[Task]:
    for row in _ROW.finditer(body):
        columns = [float(column) for column in row["columns"].split()]
        cputime_s = columns[0] / 1e3 * elapsed_s  # the table has milliseconds per second
        yield Task(int(row["pid"]), None, cputime_s, columns[-1] if with_impact else None)
