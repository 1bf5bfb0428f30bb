"""One block of lines, read once: its records as a columnar table, and what run.html draws its runs from.

Nothing here depends on other records, so that a block is worked out once and kept until its bytes change.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from llmjoules.records import stats
from llmjoules.records.cells import versions_of
from llmjoules.records.ending import last_level, widening
from llmjoules.records.ids import short_hash
from llmjoules.records.net import net
from llmjoules.records.record import Failed, Published, Record, Run, Total, encode
from llmjoules.records.store import Line, read_lines
from llmjoules.sitegen import finding, text
from llmjoules.sitegen.aggregate import cell_of, components_in, group_of, has_energy, scope_in, setting_of, source_of
from llmjoules.sitegen.inputs import Block
from llmjoules.sitegen.runpage import RunView, run_view
from llmjoules.sitegen.runview import said_of_model, said_of_system
from llmjoules.sitegen.trace import checked, trace_of
from llmjoules.sitegen.views import run_line, units_of

if TYPE_CHECKING:
    import pyarrow

NO_TOTAL = Total(joules=None, source="measured")
SHARD_LINES = 32  # runs in a file of data/runs: about 100 kB
KINDS = {Run: "run", Failed: "failed", Published: "published"}
_encoder = msgspec.json.Encoder(order="deterministic")


def read_block(block: Block, kept: Path, site: Path | None) -> list[str]:
    """Write the block's table to `kept` and its shards below `site`, if any; the names of the shards."""
    import pyarrow

    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str, int, int]] = []
    shards: list[str] = []
    views: list[RunView] = []
    with open(block.file, "rb") as stream:
        stream.seek(block.start)
        for line in read_lines(stream, block.before, block.end):
            if isinstance(line.found, str):
                bad.append((line.number, line.found, line.offset, line.length))
                continue
            row, view = _row(line, line.found, block.name, site is not None)
            rows.append({**row, "shard": shard_of(block, len(rows) // SHARD_LINES), "slot": len(rows) % SHARD_LINES})
            if view is not None:
                views.append(view)
    if site is not None:
        for k in range(0, len(views), SHARD_LINES):
            name = shard_of(block, k // SHARD_LINES)
            shards.append(f"data/runs/{name}.js")
            target = site / shards[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(packed_script(f"runs/{name}", views[k : k + SHARD_LINES]))
    table = table_of(rows, {"file": block.name, "bad": bad, "shards": shards})
    part = kept.with_suffix(".part")
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.OSFile(str(part), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    part.replace(kept)
    return shards


def shard_of(block: Block, number: int) -> str:
    """Named by place, so that an appended line changes no other shard's name."""
    return f"{short_hash((block.place, block.start))}-{number}"


def packed_script(name: str, value: Any) -> bytes:
    """A classic script, since those alone load from a disk too; compressed inside, since a disk does not do that."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = packer.compress(_encoder.encode(value)) + packer.flush()
    return b'LJ.put("%s","%s");\n' % (name.encode(), base85(packed))


BASE85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def base85(data: bytes) -> bytes:
    """As base64.b85encode, but quick: five characters for four bytes, none of which a script would have to escape."""
    import numpy as np

    words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
    digits = np.empty((len(words), 5), np.uint8)
    for place in range(4, -1, -1):
        words, digits[:, place] = np.divmod(words, np.uint32(85))
    coded = np.frombuffer(BASE85, np.uint8)[digits].tobytes()
    return coded[: len(coded) - -len(data) % 4]


def rows_of_records(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Rows as of a file with one record to a line."""
    for number, record in enumerate(records, 1):
        row, _ = _row(Line(number, 0, 0, record), record, "", False)
        yield {**row, "shard": "", "slot": 0}


def _row(line: Line, record: Record, file: str, viewed: bool) -> tuple[dict[str, Any], RunView | None]:
    trace, no_trace = trace_of(record)
    check = checked(record, trace, no_trace)
    view = run_view(record, trace, no_trace, file, line.number) if viewed else None
    components = components_in(record)
    first = components[0] if components else ""
    total = record.totals.get(first)
    load = record.load.id if record.load is not None else ""
    row = {
        "line": line.number,
        "offset": line.offset,
        "length": line.length,
        "sha256": hashlib.sha256(encode(record)).hexdigest()[:24],
        "id": _plain(record.id),
        "kind": KINDS[type(record)],
        "page": text.file_name(record.model.name, record.id),
        "model": _plain(record.model.name),
        "system": _plain(record.system.name),
        "started_at": _plain(record.started_at or ""),
        "cell": cell_of(record),
        "loads_of": short_hash((cell_of(record), record.class_)) if load else "",
        "load": _plain(load),
        "units": units_of(record.system),
        **_ending(record),
        "key": "" if isinstance(record, Failed) else group_of(record),
        "setting": "" if isinstance(record, Failed) else _json(setting_of(record)),
        "versions": "" if isinstance(record, Failed) else _json(versions_of(record)),
        "said_of_model": _json(said_of_model(record)),
        "said_of_system": _json(said_of_system(record)),
        "tokens_per_s": stats.tokens_per_s(record),
        "title": view.title if view is not None else finding.run_title(record),
        "listed": _json(run_line(record)),
        "flags": [_plain(flag) for flag in record.flags],
        "compared": check.compared,
        "wrong": check.wrong,
        "unchecked": check.unchecked,
        "missing": [
            {"component": _plain(component), "reason": _plain(found.reason or "")}
            for component, found in sorted(record.totals.items())
            if found.joules is None
        ],
        "component": _plain(first),
        "source": source_of(record, first) if has_energy(record, first) else "",
        "dummy": record.model.weights == "dummy",
        "uncertainty_j": total.uncertainty_j if total is not None else None,
        "parts": [_part(record, component) for component in components],
    }
    return row, view


def _ending(record: Record) -> dict[str, Any]:
    """How its repeats came to an end, which a comparison has to know. repeat: its number. level: see records.ending."""
    level = last_level([record], [record]) if isinstance(record, Run) else None
    return {
        "study": None if record.study is None else _plain(record.study),
        "repeat": record.repeat if record.repeat is not None and record.repeat < 2**31 else None,
        "level": level,
        "widened": widening([record]) if isinstance(record, Run) else 1.0,
    }


def _part(record: Record, component: str) -> dict[str, Any]:
    total = record.totals.get(component, NO_TOTAL)
    return {
        "component": _plain(component),
        "joules": total.joules if total is not NO_TOTAL else stats.stated(record, component).j_per_request,
        "j_per_token": stats.joules_per_token(record, component),
        "net_per_token": _net_per_token(record, component),
        "j_per_request": _per_request(record, component),
        "power_w": stats.implied_power_w(record, component),
        "unused_share": _unused_share(total),
        "reason": None if total.joules is not None or total.reason is None else _plain(total.reason),
        "scope": _json(scope_in(record, component)),
        "phases": [
            {"name": stretch.name, "joules": joules}
            for phase in record.phases
            for stretch in phase.parts or (phase,)
            if not stretch.name.startswith("idle")
            and (joules := stats.joules_of(stretch.energy, total.channels)) is not None
        ],
    }


def _net_per_token(record: Record, component: str) -> float | None:
    """By the idle of the run itself, or as the source of a published record worked it out."""
    tokens, net_j = stats.generated_tokens(record), net(record, component).joules
    if net_j is None:
        net_j = stats.stated(record).net_j.get(component)
    return net_j / tokens if net_j is not None and tokens else None


def _per_request(record: Record, component: str) -> float | None:
    """Of one row of a batch; a mean that a source states is one already."""
    said, joules = stats.stated(record, component).j_per_request, stats.joules(record, component)
    if said is not None or joules is None:
        return said
    return joules / record.workload.batch_size if record.workload.batch_size else None


def _unused_share(total: Total) -> float | None:
    """The part of the joules that devices took which were there and held nothing; None where that is not known."""
    return total.unused_j / total.joules if total.unused_j is not UNSET and total.joules else None


def _json(value: Any) -> str:
    return _encoder.encode(value).decode("utf-8", "replace")


def _plain(value: str) -> str:
    """Half a surrogate pair, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def table_of(rows: list[dict[str, Any]], about: dict[str, Any]) -> pyarrow.Table:
    return _schema_table(rows).replace_schema_metadata({b"about": _encoder.encode(about)})


def _schema_table(rows: list[dict[str, Any]]) -> pyarrow.Table:
    import pyarrow as pa

    words, number, whole = pa.string(), pa.float64(), pa.int64()
    few_words = pa.dictionary(pa.int32(), words)  # the same in most records
    phase = pa.struct({"name": words, "joules": number})
    part = pa.struct(
        {
            "component": words, "joules": number, "j_per_token": number, "net_per_token": number,
            "j_per_request": number, "power_w": number,
            "unused_share": number, "reason": words, "scope": words, "phases": pa.list_(phase),
        }
    )  # fmt: skip
    kinds = {
        "line": whole, "offset": whole, "length": whole, "slot": whole, "tokens_per_s": number, "uncertainty_j": number,
        "repeat": whole, "level": number, "widened": number,
        "dummy": pa.bool_(), "compared": pa.bool_(), "flags": pa.list_(words), "wrong": pa.list_(words),
        "unchecked": pa.list_(words),
        "missing": pa.list_(pa.struct({"component": words, "reason": words})), "parts": pa.list_(part),
        "versions": few_words, "said_of_model": few_words, "said_of_system": few_words,
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema({name: kinds.get(name, words) for name in COLUMNS}))


COLUMNS = (
    "line", "offset", "length", "sha256", "shard", "slot", "id", "kind", "page", "model", "system", "started_at",
    "cell", "loads_of", "load", "units", "study", "repeat", "level", "widened", "key", "setting", "versions",
    "said_of_model", "said_of_system", "tokens_per_s", "title", "listed", "flags", "compared", "wrong",
    "unchecked", "missing", "component", "source", "dummy", "uncertainty_j", "parts",
)  # fmt: skip
