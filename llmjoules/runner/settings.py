"""What is to be measured, checked before anything is started."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records import sequential, stopping
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import short_hash
from llmjoules.runner.ladder import rungs

DEFAULT_PROMPT = "Explain in a few sentences how the energy that a computer uses turns into heat."

MOST = 2**53  # beyond it a number is a slip, and JSON does not carry it exactly
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Decoding = Literal["greedy", "sample"]
Stop = Literal["new-tokens", "end-of-sequence"]
Strategy = Literal["single", "device-map", "tensor-parallel", "replicas"]
NOT_YET = ("tensor-parallel", "replicas")


class Settings(Struct, frozen=True, kw_only=True):
    """One cell: a model and how it is run. `threads`: of the CPU; None leaves the choice to torch.

    prompts: the rows of a batch, as many as its size.
    warm_up: discarded generations of a few tokens after loading, a phase of their own; `auto`: until they agree.
    idle_s: length of the idle phases before and after each run.
    cool_down_s: how long devices may take, before each run, to come down to the temperature at which the first began.
    replay: prefill and decode steps over and over after the last run of a process, for meters too slow for a phase.
    page_cache: `drop` has the weight files put out of memory before they are loaded.
    prompt_tokens: length of a prompt that is made for the model's tokenizer, in the place of `prompts`.
    devices: a rung of a ladder of GPUs; visible: the UUIDs of those that its process sees (none: all).
    """

    model: str
    prompts: tuple[str, ...] = (DEFAULT_PROMPT,)
    prompts_file: str | None = None
    new_tokens: int = 200
    stop: Stop = "new-tokens"
    decoding: Decoding = "greedy"
    dtype: Dtype = "auto"
    device: Device = "auto"
    threads: int | None = None
    devices: int | None = None
    visible: tuple[str, ...] = ()
    strategy: Strategy | None = None
    prompt_tokens: int | None = None
    materialize: bool = False
    warm_up: int | Literal["auto"] = "auto"
    idle_s: float = 1.0
    cool_down_s: float = 10.0
    replay: bool = False
    page_cache: Literal["as-is", "drop"] = "as-is"
    seed: int = 0
    meters: tuple[str, ...] = ("auto",)
    meter_options: dict[str, dict[str, Any]] = {}
    plugins: tuple[str, ...] = ()
    system: str | None = None

    @property
    def model_name(self) -> str:
        """What records and pages call the model: of a local folder its name alone, not where it lies on this disk."""
        folder = Path(self.model).expanduser()
        return folder.resolve().name if folder.is_dir() else self.model

    @property
    def batch_size(self) -> int:
        return len(self.prompts)

    @property
    def prompt_sha256(self) -> str:
        return hashlib.sha256("\0".join(self.prompts).encode()).hexdigest()

    @property
    def cell(self) -> str:
        """Hash of what makes two runs repeats of each other; software, system and meters stay outside."""
        only_where_said = {
            name: value
            for name in ("devices", "strategy", "prompt_tokens")
            if (value := getattr(self, name)) is not None  # so that cells of older records keep their hashes
        }
        if self.page_cache != "as-is":
            only_where_said["page_cache"] = self.page_cache
        return short_hash(
            only_where_said
            | {
                "model": self.model_name,
                "prompt": self.prompt_sha256 if self.prompt_tokens is None else None,
                "batch_size": self.batch_size,
                "new_tokens": self.new_tokens,
                "stop": self.stop,
                "decoding": self.decoding,
                "dtype": self.dtype,
                "device": self.device,
                "threads": self.threads,
                "materialize": self.materialize,
                "warm_up": self.warm_up,
            }
        )

    def command(self, repeat: int = 0) -> str | None:
        """The command that does this repeat again, with its own load; files and folders go by their names alone.

        None where no command line can say it: several prompts that came from no file.
        """
        made = self.prompt_tokens is not None
        if self.prompts_file is None and not made and len(set(self.prompts)) > 1:
            return None
        defaults = Settings(model=self.model)
        words = ["llmjoules", "measure", "--model", self.model_name, "--meter", ",".join(self.meters)]
        for meter, options in sorted(self.meter_options.items()):
            for key, value in sorted(options.items()):
                words += ["--meter-option", f"{meter}.{key}={_as_option(value)}"]
        for plugin in self.plugins:
            words += ["--plugin", Path(plugin).name]
        if self.prompts_file is not None and not made:
            words += ["--prompts", Path(self.prompts_file).name]
        elif self.prompts[0] != DEFAULT_PROMPT and not made:
            words += ["--prompt", self.prompts[0]]
        words += ["--new-tokens", str(self.new_tokens), "--batch", str(self.batch_size)]
        if self.seed + repeat:
            words += ["--seed", str(self.seed + repeat)]
        for name in (
            "decoding", "stop", "dtype", "device", "threads", "devices", "strategy", "prompt_tokens", "warm_up",
            "idle_s", "cool_down_s", "page_cache", "system",
        ):  # fmt: skip
            if getattr(self, name) != getattr(defaults, name):
                words += [f"--{name.removesuffix('_s').replace('_', '-')}", str(getattr(self, name))]
        words += ["--materialize"] if self.materialize else []
        words += ["--replay"] if self.replay else []
        return shlex.join([*words, "--repeats", "1", "--loads", "1"])


class Plan(Struct, frozen=True, kw_only=True):
    """The cells of one call or study, and how their repeats are dealt over processes (see runner/schedule.py).

    precision: the relative half-width at which auto mode stops; None for a fixed number of repeats. auto_loads: in auto
    mode the most processes of a cell, None for one a run. blocks, seed: cells of a study come in random order within
    blocks. study: its name and hash, `name@hash`. ab: two cells that take turns, and are compared at the end or, in
    auto mode, after each turn of both.
    """

    cells: tuple[Settings, ...]
    repeats: int
    loads: int
    precision: float | None = None
    auto_loads: int | None = None
    blocks: int | None = None
    seed: int = 0
    name: str | None = None
    study: str | None = None
    ab: bool = False

    @property
    def runs(self) -> int:
        """In auto mode, the most there can be."""
        return len(self.cells) * self.most

    @property
    def most(self) -> int:
        """Repeats of a cell; in auto mode, the most there can be."""
        if self.precision is None:
            return self.repeats
        return (self.auto_loads or sequential.MOST) if self.ab else stopping.MOST

    def deals(self) -> list[range]:
        """The repeats that each process of a cell does."""
        least, over = divmod(self.repeats, self.loads)
        starts = [load * least + min(load, over) for load in range(self.loads + 1)]
        return [range(start, end) for start, end in pairwise(starts)]


def make_plan(
    settings: Settings,
    *,
    batch: int | None,
    repeats: int | Literal["auto"],
    loads: int | None,
    threads: Sequence[int] | int | None,
    devices: Sequence[int] | int | None = None,
    precision: str | float = "2%",
) -> Plan:
    """The plan, or LlmjoulesError with what is wrong and what to do. loads above repeats are cut to repeats.

    repeats: `auto` repeats each cell until its J/token is known to `precision` (see records/stopping.py); loads: None
    for five, or in auto mode for one a run.
    """
    number = 1 if repeats == "auto" else repeats
    for name, value, least in (
        ("--new-tokens", settings.new_tokens, 1),
        ("--repeats", number, 1),
        ("--loads", 1 if loads is None else loads, 1),
        ("--batch", 1 if batch is None else batch, 1),
        ("--prompt-tokens", 1 if settings.prompt_tokens is None else settings.prompt_tokens, 1),
        ("--warm-up", 0 if settings.warm_up == "auto" else settings.warm_up, 0),
        ("--cool-down", settings.cool_down_s, 0),
        ("--idle", settings.idle_s, 0),
        ("--seed", settings.seed, 0),
    ):
        if not least <= value < MOST:
            raise LlmjoulesError(
                f"{name} is {value}."[:100], f"It must be at least {least}.", f"Give another: {name} …"
            )
    settings = _checked(settings)
    if settings.strategy in NOT_YET:
        raise LlmjoulesError(
            f"--strategy {settings.strategy} cannot be run yet.", "It is planned.", "Take single or device-map."
        )
    settings = replace(settings, prompts=_batch(settings.prompts, batch))
    return Plan(
        cells=tuple(_ladder(settings, _several(threads), _several(devices))),
        repeats=number,
        loads=min(5 if loads is None else loads, number),
        precision=read_precision(precision) if repeats == "auto" else None,
        auto_loads=loads,
        seed=settings.seed,
    )


def _several(numbers: Sequence[int] | int | None) -> list[int]:
    return [numbers] if isinstance(numbers, int) else list(dict.fromkeys(numbers or []))


def _ladder(settings: Settings, threads: Sequence[int], devices: Sequence[int]) -> Iterator[Settings]:
    """A cell for each rung: so many threads of a CPU, or so many GPUs."""
    if threads and devices:
        raise LlmjoulesError(
            "--threads and --devices cannot both be rungs.", "A ladder is of one kind.", "Leave one of them out."
        )
    if devices:
        for number, visible in rungs(devices).items():
            if settings.strategy == "single" and number > 1:
                raise LlmjoulesError(
                    f"--strategy single cannot use {number} devices.",
                    "It has the whole model on one.",
                    "Take --strategy device-map, or --devices 1",
                )
            yield replace(settings, devices=number, visible=visible, device="cuda")
        return
    if not threads:
        yield settings
    for number in threads:
        yield replace(settings, threads=_checked_threads(number))


def read_precision(said: str | float) -> float:
    """A fraction from `2%`, `2 %` or 0.02. Raises LlmjoulesError for what is none between 0.01 % and 50 %."""
    try:
        text = str(said).strip()
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 1e-4 <= value <= 0.5:
        raise LlmjoulesError(
            f"--precision {said} cannot be aimed at.", "It is the half-width of an interval.", "Give 0.01% to 50%: 2%"
        )
    return value


def _checked(settings: Settings) -> Settings:
    """The same settings, once every value is of its type: a struct made in Python is not checked by itself."""
    try:
        return msgspec.convert(msgspec.to_builtins(settings), Settings)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise LlmjoulesError("These settings cannot be run.", f"{error}.", "See llmjoules measure --help.") from error


def read_prompts(file: Path) -> tuple[str, ...]:
    """The prompts in a text file, one a line; blank lines do not count."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LlmjoulesError(f"Cannot read prompts from {file}.", f"{error}.", "Give a UTF-8 text file.") from error
    prompts = tuple(line for line in lines if line.strip())
    if not prompts:
        raise LlmjoulesError(f"No prompt in {file}.", "Every line is blank.", "Write one prompt a line.")
    return prompts


def _batch(prompts: tuple[str, ...], batch: int | None) -> tuple[str, ...]:
    """The rows of a batch: the prompts in turn. A prompt that would not fit is an error, not dropped in silence."""
    size = batch if batch is not None else len(prompts)
    for prompt in prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise LlmjoulesError(
                "A prompt is not text.", f"It is not UTF-8: {error.reason}.", "Give UTF-8 text."
            ) from error
    if any(not prompt.strip() for prompt in prompts):
        raise LlmjoulesError("A prompt is blank.", "There would be nothing to read before writing.", "Give some text.")
    if len(prompts) > size:
        raise LlmjoulesError(
            f"{len(prompts)} prompts do not fit into a batch of {size}.",
            "One run is one batch.",
            f"Take them all at once: --batch {len(prompts)}",
        )
    return tuple(prompts[row % len(prompts)] for row in range(size))


def _checked_threads(number: int) -> int:
    present = os.cpu_count() or 1
    if not 1 <= number <= present:
        raise LlmjoulesError(
            f"--threads {number} cannot be run.", f"This machine has {present} logical CPUs.", f"Take 1 to {present}."
        )
    return number


def _as_option(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
