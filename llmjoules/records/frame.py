"""Records as a pandas data frame: the table of export.py, with pandas' types that know a missing value."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.export import read_all
from llmjoules.records.export_table import COLUMNS, rows
from llmjoules.records.record import Record
from llmjoules.records.store import BadLine

if TYPE_CHECKING:
    import pandas

_TYPES = {"text": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}


def to_pandas(results: str | Path | Record | Iterable[str | Path | Record]) -> pandas.DataFrame:
    """One row for each energy: run x phase or part x channel, then totals; columns as in docs/export.md.

    results: files and folders of *.jsonl, or records such as `measure` yields. Lines that cannot be read are warned of
    and left out. Raises LlmjoulesError where pandas is not installed or a source does not exist.
    """
    try:
        import pandas
    except ImportError as error:
        raise LlmjoulesError(
            "Cannot make a data frame.", "pandas is not installed.", "Install it: pip install pandas"
        ) from error
    values: list[list[Any]] = [[] for _ in COLUMNS]
    for row in rows(_records(results)):
        for column, value in zip(values, row, strict=True):
            column.append(value)
    return pandas.DataFrame(
        {
            column.name: pandas.array(column_values, dtype=_TYPES[column.type])
            for column, column_values in zip(COLUMNS, values, strict=True)
        }
    )


def _records(results: Any) -> Iterable[Record]:
    items = [results] if isinstance(results, str | Path | Record) else results
    return chain.from_iterable(read_all([item], _warn) if isinstance(item, str | Path) else (item,) for item in items)


def _warn(bad: BadLine) -> None:
    import warnings

    warnings.warn(f"left out: {bad}", stacklevel=2)
