"""What a measuring process tells the one that started it: one JSON object a line."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from llmjoules.records.record import Failed, Phase
from llmjoules.runner.settings import Settings


class Job(Struct, frozen=True, kw_only=True):
    """What a process is to do: load the model once and run these repeats.

    target_c: how cool devices were, by place, when the first run of all began; empty where this is the first.
    """

    settings: Settings
    path: str
    weights: str
    revision: str | None
    load: str
    first_repeat: int
    repeats: int
    study: str | None
    target_c: dict[str, float] = {}


class Began(Struct, frozen=True, tag="began"):
    """A repeat has begun. draft: what its record would be if the process died now."""

    draft: Failed


class PhaseBegan(Struct, frozen=True, tag="phase"):
    """finished: the phases before it in this run, with energies as far as they are known by now."""

    name: str
    finished: tuple[Phase, ...] = ()


class Finished(Struct, frozen=True, tag="record"):
    """A repeat is over, well or not: the line to store. The process waits for a line on its input before it goes on."""

    record: msgspec.Raw


class Note(Struct, frozen=True, tag="note"):
    """Something that a user should see once."""

    text: str


class Refused(Struct, frozen=True, tag="refused"):
    """The user's settings cannot be run: nothing is wrong with the machine."""

    what: str
    why: str
    fix: str


Event: TypeAlias = Began | PhaseBegan | Finished | Note | Refused

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Event).decode
decode_job = msgspec.json.Decoder(Job).decode
