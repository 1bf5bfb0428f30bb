"""The study's four steps on real transformers code, and what is counted in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Tokens
from llmjoules.runner.clock import TokenClock
from llmjoules.runner.phases import Recorder, Stretch
from llmjoules.runner.settings import Settings


class Libraries(NamedTuple):
    torch: Any
    transformers: Any


class Loaded(NamedTuple):
    """What the loading phases leave behind. weights_mapped: None where the system does not tell."""

    libraries: Libraries
    tokenizer: Any
    model: Any
    pipe: Any
    weights_mapped: bool | None


class Reply(NamedTuple):
    """One inference. prompt_tokens: of the longest row.

    ids: of the whole batch, prompts padded on the left by `padding` tokens, and what was generated.
    """

    tokens: Tokens
    prompt_tokens: int
    flags: tuple[str, ...]
    ids: Any
    padding: tuple[int, ...]


def load(settings: Settings, path: str, recorder: Recorder, note: Callable[[str], None]) -> Loaded:
    """The phases import, tokenizer, model and pipeline. Raises LlmjoulesError for what this machine cannot run."""
    with recorder.phase("import"):
        libraries = _import(settings, path)
    torch, transformers = libraries
    recorder.finish_work = _finisher(torch)
    _check_device(settings, torch)
    with recorder.phase("tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    _check_length(settings, path, tokenizer, transformers)
    with recorder.phase("model"):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, **_load_options(settings))
        if settings.materialize:
            _read_every_weight(torch, model)
    if tokenizer.pad_token_id is None:  # a batch needs one; the usual stand-in is the end of sequence
        tokenizer.pad_token = tokenizer.eos_token
    with recorder.phase("pipeline"):
        pipe = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    mapped = _weights_mapped(path)
    if mapped and not settings.materialize:
        note(
            "The weights are memory-mapped: most are read from disk when first used, not while loading (--materialize)."
        )
    return Loaded(libraries, tokenizer, model, pipe, mapped)


def infer(settings: Settings, loaded: Loaded, recorder: Recorder, seed: int) -> Reply:
    """The phase inference with its parts prefill, decode and detokenize."""
    torch = loaded.libraries.torch
    torch.manual_seed(seed)
    clock = TokenClock(token_wait(loaded), recorder.expect_edge)
    with recorder.phase("inference") as window:
        generate(settings, loaded, clock, settings.new_tokens)
    if not clock.times_s or window.end_s is None:
        raise RuntimeError("the pipeline returned without having generated a token")
    recorder.split_last(parts_of(window.start_s, clock.times_s, window.end_s))
    return _count(settings, loaded, clock, recorder.origin_s)


def parts_of(start_s: float, times_s: list[float], end_s: float) -> list[Stretch]:
    """Prefill, decode and detokenize of one call, from when its tokens were ready."""
    first_s, last_s = times_s[0], times_s[-1]
    decode = [("decode", first_s, last_s)] if last_s > first_s else []
    return [("prefill", start_s, first_s), *decode, ("detokenize", last_s, end_s)]


def _import(settings: Settings, path: str) -> Libraries:
    import accelerate
    import torch
    import transformers

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    # The first use of a family imports its modelling file: that belongs here, not into loading the model.
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    _ = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], transformers.pipeline, accelerate
    return Libraries(torch, transformers)


def _load_options(settings: Settings) -> dict[str, Any]:
    placed = settings.device if settings.device in ("cpu", "mps") else "auto"
    options: dict[str, Any] = {"device_map": placed, "trust_remote_code": False, "use_safetensors": True}
    return options if settings.dtype == "auto" else options | {"dtype": settings.dtype}


def _check_device(settings: Settings, torch: Any) -> None:
    present = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if settings.device in present and not present[settings.device]():
        raise LlmjoulesError(
            f"--device {settings.device} is not there.",
            f"torch {torch.__version__} sees no such device.",
            "Take --device cpu, or install a torch build for this device.",
        )


def _check_length(settings: Settings, path: str, tokenizer: Any, transformers: Any) -> None:
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(row) for row in tokenizer(list(settings.prompts))["input_ids"])
    if limit is not None and longest + settings.new_tokens > limit:
        raise LlmjoulesError(
            f"{longest} prompt tokens and {settings.new_tokens} new ones are too many for {settings.model}.",
            f"It can hold {limit} positions.",
            f"Ask for at most {max(0, limit - longest)}: --new-tokens …",
        )


def _read_every_weight(torch: Any, model: Any) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.is_meta:
                weight.sum()


def _weights_mapped(path: str) -> bool | None:
    """Does this process hold a weight file as a memory map? Loading then only mapped it."""
    try:
        maps = psutil.Process().memory_maps()
    except (AttributeError, psutil.Error, OSError):
        return None
    folder = Path(path).resolve()
    return any(item.path.endswith(".safetensors") and folder in _parents(item.path) for item in maps)


def _parents(file: str) -> Iterable[Path]:
    return (Path(file), *Path(file).parents, *Path(file).resolve().parents)


def generate(settings: Settings, loaded: Loaded, clock: TokenClock, new_tokens: int) -> None:
    """One call of the pipeline, as one real batch: exactly `new_tokens`, unless an end of sequence may stop it."""
    lengths = {"max_new_tokens": new_tokens}
    if settings.stop == "new-tokens":
        lengths["min_new_tokens"] = new_tokens
    options = {**lengths, "do_sample": settings.decoding == "sample", "num_beams": 1, "stopping_criteria": [clock]}
    if settings.batch_size == 1:
        loaded.pipe(settings.prompts[0], **options)
    else:
        loaded.pipe(list(settings.prompts), batch_size=settings.batch_size, **options)


def _count(settings: Settings, loaded: Loaded, clock: TokenClock, origin_s: float) -> Reply:
    """Tokens from ids, never from text: the padded prompt's width is what the first step found less its own token."""
    rows = [len(row) for row in loaded.tokenizer(list(settings.prompts))["input_ids"]]
    width = max(rows)
    new_ids = clock.ids[:, width:].tolist()
    ends = _end_ids(loaded.model)
    steps = clock.lengths[-1] - width
    flags = []
    if clock.lengths[0] - width < 1 or len(new_ids) != settings.batch_size:
        raise RuntimeError(
            f"the pipeline ran {len(new_ids)} rows of {clock.lengths[0]} tokens, not {len(rows)} of {width} + 1"
        )
    if settings.stop == "new-tokens" and steps != settings.new_tokens:
        flags.append("unexpected_length")
    tokens = Tokens(
        prompt=sum(rows),
        generated=steps * len(new_ids),
        useful=sum(_useful(row, ends) for row in new_ids),
        times_s=tuple(round(t - origin_s, 6) for t in clock.times_s),
    )
    return Reply(tokens, width, tuple(flags), clock.ids, tuple(width - row for row in rows))


def _useful(row: list[int], ends: frozenset[int]) -> int:
    """Tokens up to and with the first end of sequence; where padding is the same id, only the first one counts."""
    return next((place + 1 for place, token in enumerate(row) if token in ends), len(row))


def _end_ids(model: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    return frozenset(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])


def _finisher(torch: Any) -> Callable[[], None]:
    """Waits for all work on all devices, without waking one that was not used yet."""

    def finish() -> None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            for index in range(torch.cuda.device_count()):
                torch.cuda.synchronize(index)
        if torch.backends.mps.is_available():
            torch.mps.synchronize()

    return finish


def token_wait(loaded: Loaded) -> Callable[[], None] | None:
    """What the token clock waits for.

    On a GPU `generate` reads back once a token anyway, so the wait only moves forward. On Apple's it does not: there
    only the first token is waited for, since a wait per token would be another workload.
    """
    torch, model = loaded.libraries.torch, loaded.model
    kind = model.device.type
    if kind == "cuda":
        mapped = set((getattr(model, "hf_device_map", None) or {"": model.device}).values())
        devices = [device for device in mapped if device not in ("cpu", "disk")]

        def wait() -> None:
            for device in devices:
                torch.cuda.synchronize(device)

        return wait
    if kind == "mps":
        waits = iter([torch.mps.synchronize])
        return lambda: next(waits, lambda: None)()
    return None
