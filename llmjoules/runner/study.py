"""Studies: a TOML file that names everything that is to be measured, and the plan it makes. See docs/studies.md."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records import sequential
from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.fit import grid
from llmjoules.records.ids import short_hash
from llmjoules.runner.ladder import rungs
from llmjoules.runner.settings import (
    DEFAULT_PROMPT,
    Decoding,
    Device,
    Dtype,
    Plan,
    Settings,
    Stop,
    Strategy,
    make_plan,
    read_precision,
    read_prompts,
)

PAPER = "paper"
Value = TypeVar("Value")
OneOrMore: TypeAlias = Value | tuple[Value, ...]


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a study's file may say. Lists are crossed with each other: every combination is a cell.

    devices: rungs of GPUs; threads: rungs of a CPU; one of the two. prompt_tokens: the length of a prompt that is made
    for each model's tokenizer. design: `fit` crosses the prompt lengths and new tokens that a cost model needs.
    loads: fresh processes of each cell, dealt over `blocks`, inside which cells come in random order.
    """

    name: str
    models: OneOrMore[str] = ()
    devices: OneOrMore[int] = ()
    threads: OneOrMore[int] = ()
    strategy: Strategy | None = None
    dtype: OneOrMore[Dtype] = "auto"
    batch: OneOrMore[int] = 1
    prompt: str | None = None
    prompts: str | None = None
    prompt_tokens: OneOrMore[int] = ()
    new_tokens: OneOrMore[int] = 200
    design: Literal["fit"] | None = None
    repeats: int | Literal["auto"] = 25
    precision: str | float = "2%"
    loads: int | None = None
    blocks: int | None = None
    seed: int = 0
    device: Device = "auto"
    decoding: Decoding = "greedy"
    stop: Stop = "new-tokens"
    materialize: bool = False
    warm_up: int | Literal["auto"] = "auto"
    idle: float = 1.0
    cool_down: float = 10.0
    replay: bool = False
    page_cache: Literal["as-is", "drop"] = "as-is"
    meters: OneOrMore[str] = "auto"
    meter_options: dict[str, dict[str, Any]] = {}
    plugins: tuple[str, ...] = ()
    system: str | None = None


def read_study(file: str, given: Mapping[str, Any]) -> Study:
    """The study of a file, or the built-in `paper`, with what the command line says instead.

    given: fields of Study; None says nothing. Raises LlmjoulesError with file and key.
    """
    said = _read(file)
    known = Study.__struct_fields__
    for key in said:
        if key not in known:
            raise LlmjoulesError(f"{file} has an unknown key: {key}.", "Nothing reads it.", nearest(key, known))
    said.setdefault("name", Path(file).stem)
    try:
        study = msgspec.convert(said, Study)
    except msgspec.ValidationError as error:
        raise LlmjoulesError(
            f"{file} has a wrong value.", f"{error}.", "docs/studies.md says what it may be."
        ) from error
    given = {name: value for name, value in given.items() if value is not None}
    if "threads" in given and "devices" not in given:
        study = replace(study, devices=(), device="cpu", strategy=None)
    if "devices" in given and "threads" not in given:
        study = replace(study, threads=())
    study = replace(study, **given)
    if study.prompts is not None and file != PAPER and "prompts" not in given:
        study = replace(study, prompts=str(Path(file).parent / study.prompts))
    return study


def _read(file: str) -> dict[str, Any]:
    path = Path(__file__).with_name("paper.toml") if file == PAPER else Path(file)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = "Name a TOML file, or the built-in study: --study paper"
        raise LlmjoulesError(f"Cannot read the study {file}.", f"{error.strerror or error}.", known) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LlmjoulesError(f"{file} is not TOML.", f"{error}.", "docs/studies.md has an example.") from error


def plan_of(study: Study, *, ab: bool = False) -> Plan:
    """The plan of a study: its cells, each once, and its key. Raises LlmjoulesError for what cannot be run here."""
    many = _several(study)
    if not many["models"]:
        raise LlmjoulesError(f"The study {study.name} has no model.", "models is empty.", "Name some: --model NAME,…")
    auto = study.repeats == "auto"
    precision = read_precision(study.precision) if auto else None
    loads = study.loads if study.loads is not None else None if auto else 5
    lengths = grid() if study.design == "fit" else list(product(many["prompt_tokens"] or [None], many["new_tokens"]))
    ladder = _ladder(study.name, many["threads"], many["devices"])
    if many["devices"]:
        rungs(many["devices"])  # says at once if there are too few, whatever the order of cells
    cells: dict[str, Settings] = {}
    for model, rung, dtype, batch, (prompt_tokens, new_tokens) in product(
        many["models"], ladder, many["dtype"], many["batch"], lengths
    ):
        settings = Settings(
            model=model,
            prompts=read_prompts(Path(study.prompts))
            if study.prompts is not None
            else (study.prompt or DEFAULT_PROMPT,),
            prompts_file=study.prompts,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            stop=study.stop,
            decoding=study.decoding,
            dtype=dtype,
            device=study.device,
            strategy=study.strategy,
            materialize=study.materialize,
            warm_up=study.warm_up,
            idle_s=study.idle,
            cool_down_s=study.cool_down,
            replay=study.replay,
            page_cache=study.page_cache,
            seed=study.seed,
            meters=many["meters"],
            meter_options=study.meter_options,
            plugins=study.plugins,
            system=study.system,
        )
        one = make_plan(
            settings,
            batch=batch,
            repeats=1 if auto else int(study.repeats),
            loads=1 if loads is None else loads,
            **rung,
        ).cells[0]
        if one.cell in cells:
            raise LlmjoulesError(
                f"The study {study.name} names a cell twice.",
                f"{one.model} with {new_tokens} new tokens comes up again.",
                "Take the value out that stands twice in a list.",
            )
        cells[one.cell] = one
    if ab and len(cells) != 2:
        raise LlmjoulesError(
            "--ab compares two cells.", f"The study {study.name} has {len(cells)}.", "Let its lists make two."
        )
    if ab and auto and loads is not None and loads < sequential.LEAST:
        raise LlmjoulesError(
            f"--loads {loads} is too few for --ab with --repeats auto.",
            "Each load of both cells is a block, and nothing is told from fewer than four.",
            f"Give more, or leave it out: --loads {sequential.MOST}",
        )
    return Plan(
        cells=tuple(cells.values()),
        repeats=1 if auto else int(study.repeats),
        loads=min(loads or 1, 1 if auto else int(study.repeats)),
        precision=precision,
        auto_loads=loads,
        blocks=study.blocks,
        seed=study.seed,
        name=study.name,
        study=f"{study.name}@{_key(study, cells, ab)}",
        ab=ab,
    )


def _ladder(name: str, threads: tuple[int, ...], devices: tuple[int, ...]) -> list[dict[str, int | None]]:
    """The rungs, as make_plan takes them one at a time."""
    if threads and devices:
        raise LlmjoulesError(
            f"The study {name} names devices and threads.", "A ladder has rungs of one kind.", "Leave one of them out."
        )
    if devices:
        return [{"threads": None, "devices": number} for number in devices]
    return [{"threads": number, "devices": None} for number in threads or (None,)]


def _several(study: Study) -> dict[str, tuple[Any, ...]]:
    """The fields that may hold one value or several, as several."""
    names = ("models", "devices", "threads", "dtype", "batch", "prompt_tokens", "new_tokens", "meters")
    values = {name: getattr(study, name) for name in names}
    return {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}


def _key(study: Study, cells: Mapping[str, Settings], ab: bool) -> str:
    """A hash of all that decides what a study's runs are. A study that says the same in other words has the same."""
    said = (study.repeats, study.precision, study.loads, study.blocks, study.seed, study.idle, study.cool_down, ab)
    return short_hash([sorted(cells), said, study.meters, study.meter_options, study.plugins])[:8]
