"""Older records are brought up to the current schema one version at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llmjoules.records.record import SCHEMA, SCHEMA_VERSION, Record, decode

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
    """A record of any readable version. Raises UnknownVersion, or msgspec.DecodeError where it is not a record."""
    record = msgspec.json.decode(line)
    if not isinstance(record, dict):
        raise msgspec.ValidationError(f"a record is a JSON object, not {type(record).__name__}")
    return decode(msgspec.json.encode(upgrade(record)))


def _version(record: dict[str, Any]) -> int:
    if "schema" not in record:
        raise UnknownVersion("no schema is named")
    match = re.fullmatch(r"llmjoules/([0-9]{1,9})", str(record["schema"]))
    if match is None:
        raise UnknownVersion(f"schema is {record['schema']!r}, not {SCHEMA}")
    return int(match[1])
