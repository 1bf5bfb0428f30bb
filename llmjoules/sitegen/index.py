"""All records as one table, and the questions that pages ask of it. DuckDB groups, counts and sorts; it runs on one
thread and every list is ordered, so that the same records give the same bits. Means and intervals are worked out by
records.stats from the lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from llmjoules.records.cells import each_of
from llmjoules.sitegen.aggregate import Scope, Setting, believable
from llmjoules.sitegen.runview import Said
from llmjoules.sitegen.views import RunLine

if TYPE_CHECKING:
    import pyarrow

ByLoad: TypeAlias = dict[str, list[float]]


class Group(NamedTuple):
    """Runs that are repeats of each other. cell: what it shares with runs that failed."""

    key: str
    cell: str
    setting: Setting
    runs: int
    loads: int
    tokens_per_s: ByLoad


class Part(NamedTuple):
    """One component of a group. reason: the first one given for joules that are missing."""

    key: str
    component: str
    scopes: tuple[Scope, ...]
    joules: ByLoad
    j_per_token: ByLoad
    net_per_token: ByLoad
    j_per_request: ByLoad
    power_w: ByLoad
    unused_share: ByLoad
    reason: str | None


class Load(NamedTuple):
    """The runs of one process in a row, in order. started: its place among all loads; nowhere: that is not known.

    known: else it is a published figure, of whose process nothing is known.
    seconds: per token. widened, level: how its repeats came to an end. studies, without_study: what they are named.
    """

    started: int
    nowhere: bool
    known: bool
    j_per_token: list[float | None]
    seconds: list[float | None]
    repeats: list[int | None]
    widened: float
    level: float | None
    studies: list[str]
    without_study: bool


class Place(NamedTuple):
    """Where a record stands: in its file, and in the shard that run.html reads. key: of its rows."""

    page: str
    file: int
    line: int
    offset: int
    length: int
    shard: str
    slot: int
    key: str
    sha256: str


class Count(NamedTuple):
    """Records of a model or system. others: systems or models."""

    others: int
    runs: int
    published: int
    failed: int


class Listing(NamedTuple):
    """A record in a list, as its block wrote it down. load: its number within the setting."""

    page: str
    load: int | None
    listed: str


class Index:
    """Records in the order of pages: by model, system, start and id. Of records with one id the first read counts."""

    def __init__(self, tables: Sequence[pyarrow.Table]) -> None:
        import duckdb
        import numpy as np
        import pyarrow as pa

        self._sql = duckdb.connect(":memory:", config={"threads": 1})
        self._line = msgspec.json.Decoder(RunLine)
        numbers = np.repeat(np.arange(len(tables), dtype=np.int64), [len(table) for table in tables])
        # Not pa.array, which imports pandas where it is installed.
        files = pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
        found = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
        self._sql.register("found", found.append_column("file", files))
        self._sql.execute(
            """
            CREATE TABLE record AS
            SELECT * EXCLUDE (parts, nth), row_number() OVER (ORDER BY model, system, started_at, id) AS pos
            FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY file, line) AS nth FROM found)
            WHERE nth = 1
            ORDER BY pos;
            CREATE TABLE part AS
            SELECT record.key, coalesce(nullif(record.load, ''), record.id) AS load, pos, unnest(found.parts) AS part
            FROM found JOIN record USING (file, line) WHERE record.key <> '' ORDER BY pos;
            CREATE TABLE numbered AS
            SELECT pos, dense_rank() OVER (PARTITION BY loads_of ORDER BY first) AS load_number
            FROM (SELECT pos, loads_of, min(pos) OVER (PARTITION BY loads_of, load) AS first FROM record)
            WHERE loads_of <> '';
            """
        )

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._sql.execute(query, values).fetchall()
        return found

    def one(self, query: str, *values: Any) -> Any:
        return self.rows(query, *values)[0][0]

    def count(self, kind: str | None = None) -> int:
        found: int = self.one("SELECT count(*) FROM record WHERE kind = coalesce(?, kind)", kind)
        return found

    def counts(self, own: str) -> dict[str, Count]:
        """By name of each `model` or `system`, in their order."""
        other = "system" if own == "model" else "model"
        rows = self.rows(
            f"""
            SELECT {own}, count(DISTINCT {other}), count(*) FILTER (kind = 'run'),
                count(*) FILTER (kind = 'published'), count(*) FILTER (kind = 'failed')
            FROM record GROUP BY {own} ORDER BY {own}
            """
        )
        return {name: Count(*found) for name, *found in rows}

    def groups(self) -> list[Group]:
        return [
            Group(key, cell, msgspec.json.decode(setting, type=Setting), runs, loads, _by_load(of_load, speeds))
            for key, cell, setting, runs, loads, of_load, speeds in self.rows(
                """
                SELECT key, first(cell ORDER BY pos), first(setting ORDER BY pos), count(*),
                    count(DISTINCT nullif(load, '')),
                    list(coalesce(nullif(load, ''), id) ORDER BY pos), list(tokens_per_s ORDER BY pos)
                FROM record WHERE key <> '' GROUP BY key ORDER BY key
                """
            )
        ]

    def parts(self) -> list[Part]:
        scope = _decoder(Scope)
        return [
            Part(
                key, component, tuple(map(scope, texts)),
                _by_load(loads, joules), _by_load(loads, tokens), _by_load(loads, net), _by_load(loads, requests),
                _by_load(loads, power), _by_load(loads, unused), reason,
            )
            for key, component, texts, reason, loads, joules, tokens, net, requests, power, unused in self.rows(
                """
                SELECT key, part.component AS component, list(DISTINCT part.scope ORDER BY part.scope),
                    first(part.reason ORDER BY pos) FILTER (part.reason IS NOT NULL), list(load ORDER BY pos),
                    list(part.joules ORDER BY pos), list(part.j_per_token ORDER BY pos),
                    list(part.net_per_token ORDER BY pos), list(part.j_per_request ORDER BY pos),
                    list(part.power_w ORDER BY pos), list(part.unused_share ORDER BY pos)
                FROM part GROUP BY key, component ORDER BY key, component
                """
            )
        ]  # fmt: skip

    def j_per_token(self, keys: Iterable[str]) -> dict[tuple[str, str], ByLoad]:
        """By key of a row and component: what the means of these rows are taken over."""
        found = self.rows(
            """
            SELECT key, part.component AS component, list(load ORDER BY pos), list(part.j_per_token ORDER BY pos)
            FROM part WHERE key IN (SELECT unnest(?)) GROUP BY key, component ORDER BY key, component
            """,
            sorted(set(keys)),
        )
        return {(key, component): believable(_by_load(loads, values)) for key, component, loads, values in found}

    def loads(self) -> dict[tuple[str, str], list[Load]]:
        """By key of a row and component: its loads in the order of their start."""
        found: dict[tuple[str, str], list[Load]] = {}
        for key, component, *load in self.rows(
            """
            SELECT part.key, part.part.component AS component,
                dense_rank() OVER (ORDER BY min(started_at)), min(started_at) = '', max(record.load) <> '',
                list(part.part.j_per_token ORDER BY started_at, id), list(1 / tokens_per_s ORDER BY started_at, id),
                list(repeat ORDER BY started_at, id), max(widened), max(level),
                coalesce(list(DISTINCT study ORDER BY study) FILTER (study IS NOT NULL), []),
                count(*) FILTER (study IS NULL) > 0
            FROM part JOIN record USING (pos) GROUP BY part.key, part.part.component, part.load
            ORDER BY part.key, component, min(started_at), min(id)
            """
        ):
            found.setdefault((key, component), []).append(Load(*load))
        return found

    def phase_means(self) -> dict[tuple[str, str], dict[str, float]]:
        """Mean joules of each phase by row key and component, over the runs that have it."""
        found: dict[tuple[str, str], dict[str, float]] = {}
        for key, component, name, joules in self.rows(
            """
            SELECT key, component, phase.name AS name, list(phase.joules ORDER BY pos)
            FROM (SELECT key, pos, part.component AS component, unnest(part.phases) AS phase FROM part)
            GROUP BY key, component, name ORDER BY key, component, name
            """
        ):
            found.setdefault((key, component), {})[name] = fsum(joules) / len(joules)
        return found

    def flags_of_rows(self) -> dict[str, list[tuple[str, int]]]:
        """By row key: each flag of its runs, and how many carry it."""
        found: dict[str, list[tuple[str, int]]] = {}
        for key, flag, runs in self.rows(
            """
            SELECT key, flag, count(*) FROM (
                SELECT key, unnest(list_distinct(flags)) AS flag FROM record WHERE key <> ''
            ) GROUP BY key, flag ORDER BY key, flag
            """
        ):
            found.setdefault(key, []).append((flag, runs))
        return found

    def versions_of_rows(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """By row key: every version and power limit that its runs name (see cells.versions_of)."""
        found = self.rows(
            """
            SELECT key, list(DISTINCT versions ORDER BY versions) FROM record WHERE key <> '' GROUP BY key ORDER BY key
            """
        )
        decoded = _decoder(dict[str, str])
        return {key: each_of(map(decoded, texts)) for key, texts in found}

    def said_of(self, own: str) -> dict[str, list[list[Said]]]:
        """By name of each `model` or `system`: all that its records say of it, each different list once."""
        found = self.rows(
            f"""
            SELECT {own}, list(DISTINCT said_of_{own} ORDER BY said_of_{own})
            FROM record GROUP BY {own} ORDER BY {own}
            """
        )
        decoded = _decoder(list[Said])
        return {name: list(map(decoded, texts)) for name, texts in found}

    def failed_of_cells(self) -> dict[str, int]:
        return dict(self.rows("SELECT cell, count(*) FROM record WHERE kind = 'failed' GROUP BY cell ORDER BY cell"))

    def places(self) -> list[Place]:
        return [
            Place(*row)
            for row in self.rows(
                'SELECT page, file, line, "offset", length, shard, slot, key, sha256 FROM record ORDER BY pos'
            )
        ]

    def again(self) -> list[tuple[int, int]]:
        """File and offset of records that do not count, since their id came before."""
        found: list[tuple[int, int]] = self.rows(
            'SELECT file, "offset" FROM found ANTI JOIN record USING (file, line) ORDER BY file, "offset"'
        )
        return found

    def lines(self, where: str, *values: Any) -> list[RunLine]:
        """As lists show them, in the order of pages; `where` may begin with a condition and end with a limit."""
        query = f"SELECT page, load_number, listed FROM record LEFT JOIN numbered USING (pos) WHERE {where}"
        return [self.line(Listing(*row)) for row in self.rows(query, *values)]

    def line(self, listing: Listing) -> RunLine:
        line = self._line.decode(listing.listed)
        line.page = listing.page
        if listing.load is not None:
            line.load = f"load {listing.load}"
        return line

    def newest_of_rows(self, most: int) -> dict[str, list[Listing]]:
        """By row key: its newest runs, `most` at most, in the order of pages; not decoded, since few are shown."""
        found: dict[str, list[Listing]] = {}
        for key, *listing in self.rows(
            """
            SELECT key, page, load_number, listed FROM record LEFT JOIN numbered USING (pos) WHERE key <> ''
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY pos DESC) <= ? ORDER BY pos
            """,
            most,
        ):
            found.setdefault(key, []).append(Listing(*listing))
        return found


def _decoder(kind: Any) -> Callable[[str], Any]:
    """Of texts that come again and again."""
    return cache(msgspec.json.Decoder(kind).decode)


def _by_load(loads: Iterable[str], values: Iterable[float | None]) -> ByLoad:
    found: ByLoad = {}
    for load, value in zip(loads, values, strict=True):
        if value is not None:
            found.setdefault(load, []).append(value)
    return found


def read_table(file: Path) -> pyarrow.Table:
    import pyarrow

    with pyarrow.OSFile(str(file), "rb") as source:
        return pyarrow.ipc.open_file(source).read_all()


def about(table: pyarrow.Table) -> dict[str, Any]:
    """What block.read_block noted beside the rows: the file's name, its bad lines, the block's shards."""
    found: dict[str, Any] = msgspec.json.decode(table.schema.metadata[b"about"])
    return found
