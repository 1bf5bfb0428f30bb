"""Identifiers: a sortable one for each run, and short hashes of what runs have in common."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from llmjoules.records.record import MeterInfo, Model, Published, Workload

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A ULID (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits; sorts by time of creation."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def random_suffix() -> str:
    return secrets.token_hex(3)


def short_hash(value: Any) -> str:
    """12 hexadecimal digits of SHA-256 over the canonical JSON of `value`."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:12]


def content_id(record: Published) -> str:
    """The id of an imported record: 32 hexadecimal digits of SHA-256 over where it was read and what was read there.

    A second import of the same file makes the same ids, in later releases too: what we conclude (flags, class, cell) is
    no part of it, and the structs in it leave out what they do not know.
    """
    work, tokens = record.workload, record.tokens
    said = (
        (record.source, record.origin, record.study, record.started_at),
        (record.model.name, record.system.name, record.system.devices_used),
        (work.prompt_tokens, work.new_tokens, work.batch_size),
        (tokens.prompt, tokens.generated) if tokens is not None else None,
        record.phases,
        {component: total.joules for component, total in record.totals.items()},
        record.figures,
    )
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:32]


def comparability_class(meters: Iterable[MeterInfo], model: Model, workload: Workload) -> str:
    """Runs may be ranked against each other only where this agrees: same parts of the machine, same way, same work."""
    return short_hash(
        {
            # an id with an @ is a second opinion on a device that is counted already
            "scope": sorted({(c.component, c.extent, c.source) for m in meters for c in m.channels if "@" not in c.id}),
            "prompt_tokens": workload.prompt_tokens,
            "new_tokens": workload.new_tokens,
            "stop": workload.stop,
            "batch_size": workload.batch_size,
            "decoding": workload.decoding,
            "dtype": model.dtype,
            "weights": model.weights,
        }
    )
