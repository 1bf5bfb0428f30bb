"""What is to be measured, checked before anything is started."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.ids import short_hash

DEFAULT_PROMPT = "Explain in a few sentences how the energy that a computer uses turns into heat."

MOST = 2**53  # beyond it a number is a slip, and JSON does not carry it exactly
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Decoding = Literal["greedy", "sample"]
Stop = Literal["new-tokens", "end-of-sequence"]


class Settings(Struct, frozen=True, kw_only=True):
    """One cell: a model and how it is run. `threads`: of the CPU; None leaves the choice to torch.

    prompts: the rows of a batch, as many as its size.
    warm_up: discarded generations of a few tokens after loading, a phase of their own; `auto`: until they agree.
    idle_s: length of the idle phases before and after each run.
    cool_down_s: how long devices may take, before each run, to come down to the temperature at which the first began.
    replay: prefill and decode steps over and over after the last run of a process, for meters too slow for a phase.
    page_cache: `drop` has the weight files put out of memory before they are loaded.
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
        return short_hash(
            {
                "model": self.model_name,
                "prompt": self.prompt_sha256,
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
        if self.prompts_file is None and len(set(self.prompts)) > 1:
            return None
        defaults = Settings(model=self.model)
        words = ["llmjoules", "measure", "--model", self.model_name, "--meter", ",".join(self.meters)]
        for meter, options in sorted(self.meter_options.items()):
            for key, value in sorted(options.items()):
                words += ["--meter-option", f"{meter}.{key}={_as_option(value)}"]
        for plugin in self.plugins:
            words += ["--plugin", Path(plugin).name]
        if self.prompts_file is not None:
            words += ["--prompts", Path(self.prompts_file).name]
        elif self.prompts[0] != DEFAULT_PROMPT:
            words += ["--prompt", self.prompts[0]]
        words += ["--new-tokens", str(self.new_tokens), "--batch", str(self.batch_size)]
        if self.seed + repeat:
            words += ["--seed", str(self.seed + repeat)]
        for name in ("decoding", "stop", "dtype", "device", "threads", "warm_up", "idle_s", "system"):
            if getattr(self, name) != getattr(defaults, name):
                words += [f"--{name.removesuffix('_s').replace('_', '-')}", str(getattr(self, name))]
        words += ["--materialize"] if self.materialize else []
        return shlex.join([*words, "--repeats", "1", "--loads", "1"])


class Plan(Struct, frozen=True, kw_only=True):
    """The cells (rungs of `--threads`) of one call, and how their repeats are dealt over processes."""

    cells: tuple[Settings, ...]
    repeats: int
    loads: int

    @property
    def runs(self) -> int:
        return len(self.cells) * self.repeats

    def processes(self) -> list[tuple[Settings, range]]:
        """Each process with the repeats it does. Rungs take turns, so that a drift does not favour one of them."""
        return [(cell, repeats) for repeats in self._deals() for cell in self.cells]

    def _deals(self) -> list[range]:
        least, over = divmod(self.repeats, self.loads)
        starts = [load * least + min(load, over) for load in range(self.loads + 1)]
        return [range(start, end) for start, end in pairwise(starts)]


def make_plan(
    settings: Settings, *, batch: int | None, repeats: int, loads: int, threads: Sequence[int] | int | None
) -> Plan:
    """The plan, or LlmjoulesError with what is wrong and what to do. loads above repeats are cut to repeats."""
    for name, value, least in (
        ("--new-tokens", settings.new_tokens, 1),
        ("--repeats", repeats, 1),
        ("--loads", loads, 1),
        ("--batch", 1 if batch is None else batch, 1),
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
    settings = replace(settings, prompts=_batch(settings.prompts, batch))
    numbers = [threads] if isinstance(threads, int) else list(threads or [])
    rungs: list[int | None] = [_checked_threads(number) for number in dict.fromkeys(numbers)]
    cells = tuple(replace(settings, threads=rung) for rung in rungs or [settings.threads])
    return Plan(cells=cells, repeats=repeats, loads=min(loads, repeats))


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
