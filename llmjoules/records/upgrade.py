"""Older records are brought up to the current schema one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llmjoules.records.record import SCHEMA_VERSION, Record

Step = Callable[[dict[str, Any]], dict[str, Any]]

# STEPS[n] turns a record of version n into one of version n + 1. Version 1 is the first, so there is none yet.
STEPS: dict[int, Step] = {}


class UnknownVersion(ValueError):
    """The line names no schema version that this release can read; the text says which and what to do."""


def upgrade(record: dict[str, Any], steps: Mapping[int, Step] = STEPS, target: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The record at version `target`. Raises UnknownVersion for a newer, an unknown or a missing version."""
    version = _version(record)
    if version > target:
        raise UnknownVersion(f"schema llmjoules/{version} is newer than this release reads; upgrade llmjoules")
    while version < target:
        if version not in steps:
            raise UnknownVersion(f"schema llmjoules/{version} is older than this release can upgrade")
        record = {**steps[version](record), "schema": f"llmjoules/{version + 1}"}
        version += 1
    return record


def decode_any_version(line: bytes) -> Record:
    """A record of any readable version. Raises UnknownVersion, or msgspec.DecodeError where the line is not a record."""
    record = msgspec.json.decode(line)
    if not isinstance(record, dict):
        raise msgspec.ValidationError(f"a record is a JSON object, not {type(record).__name__}")
    return msgspec.json.decode(msgspec.json.encode(upgrade(record)), type=Record)


def _version(record: dict[str, Any]) -> int:
    name = record.get("schema")
    prefix, _, number = str(name).partition("/")
    if prefix != "llmjoules" or not number.isascii() or not number.isdigit():
        raise UnknownVersion(f"schema is {name!r}, not llmjoules/1" if "schema" in record else "no schema is named")
    return int(number)
