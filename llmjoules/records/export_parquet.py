"""The table of energies as Parquet, written a row group at a time. Needs pyarrow, which the extra `site` brings."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, BinaryIO

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.export_table import COLUMNS, Row

ROW_GROUP = 20_000  # rows held in memory at a time


def write_parquet(table: Iterable[Row], stream: BinaryIO) -> None:
    """Each column with its unit and meaning as metadata. Raises LlmjoulesError where pyarrow is not installed."""
    pyarrow, parquet = _pyarrow()
    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
    }
    schema = pyarrow.schema(
        [
            pyarrow.field(column.name, types[column.type], metadata={"unit": column.unit, "meaning": column.meaning})
            for column in COLUMNS
        ]
    )
    remaining = iter(table)
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while rows := list(islice(remaining, ROW_GROUP)):
            arrays = [
                pyarrow.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.table(arrays, schema=schema), row_group_size=ROW_GROUP)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise LlmjoulesError(
            "Cannot write Parquet.", "pyarrow is not installed.", "Install it: pip install 'llmjoules[site]'"
        ) from error
    return pyarrow, parquet
