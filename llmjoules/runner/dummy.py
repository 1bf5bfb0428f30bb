"""Models without a hub: published architectures with seeded random weights and a tokenizer made here.

How long they take depends on shapes, not on what the weights say; the power of a GPU may depend on them a little, so
records and pages mark these models as dummies.
Built once, in a process of its own, into the user's cache folder: aside first, then renamed, so that a folder of the
final name is always whole.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.ids import short_hash

RECIPE = 1  # raise it when the same preset would be built differently
SEED = 0
TOKENIZER_TOKENS = 1024
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Preset(NamedTuple):
    """A published architecture. parameters: by its formula; a test compares with what torch counts."""

    family: str
    dtype: str
    parameters: int
    config: dict[str, Any]

    @property
    def bytes(self) -> int:
        return self.parameters * BYTES[self.dtype]


def _llama(family: str, dtype: str, parameters: int, *shape: int, **more: Any) -> Preset:
    layers, hidden, heads, kv_heads, intermediate, vocabulary, positions = shape
    config = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "tie_word_embeddings": False,
        **more,
    }
    return Preset(family, dtype, parameters, config)


# Shapes as published in each model's own configuration; columns: layers, hidden, heads, kv heads, intermediate,
# vocabulary, positions.
PRESETS: dict[str, Preset] = {
    "llama-tiny": _llama("llama", "float32", 205_120, 2, 64, 4, 2, 128, 1024, 2048),
    "mistral-tiny": _llama("mistral", "float32", 205_120, 2, 64, 4, 2, 128, 1024, 2048, sliding_window=None),
    "phi-tiny": _llama("phi", "float32", 198_912, 2, 64, 4, 4, 128, 1024, 2048, partial_rotary_factor=0.5),
    "smollm2-135m": _llama(
        "llama", "bfloat16", 134_515_008, 30, 576, 9, 3, 1536, 49152, 8192, tie_word_embeddings=True
    ),
    "smollm2-360m": _llama(
        "llama", "bfloat16", 361_821_120, 32, 960, 15, 5, 2560, 49152, 8192, tie_word_embeddings=True
    ),
    "qwen2.5-0.5b": _llama(
        "qwen2", "bfloat16", 494_032_768, 24, 896, 14, 2, 4864, 151936, 32768, tie_word_embeddings=True
    ),
    "tinyllama-1.1b": _llama("llama", "bfloat16", 1_100_048_384, 22, 2048, 32, 4, 5632, 32000, 2048),
    "phi-2": _llama("phi", "float16", 2_779_683_840, 32, 2560, 32, 32, 10240, 51200, 2048, partial_rotary_factor=0.4),
    "llama-2-7b": _llama("llama", "float16", 6_738_415_616, 32, 4096, 32, 32, 11008, 32000, 4096),
    "mistral-7b": _llama("mistral", "bfloat16", 7_241_732_096, 32, 4096, 32, 8, 14336, 32000, 32768),
}

# What the tokenizer learns its merges from: enough for English prompts to take about four characters a token.
CORPUS = """
The energy that a machine uses is the power it draws, summed over time. A processor draws little while it waits and much
while it works; memory draws power for every byte that is moved, and a fan draws power to carry the heat away. Language
models read a prompt in one pass and then write their answer one token after another. Reading is fast, because all the
words of the prompt are worked on together; writing is slow, because each new token needs all the weights again.
Explain in a few sentences how the energy that a computer uses turns into heat. What is the capital of France? Write a
short story about a river, a mountain and a small boat. How many people live in the largest cities of the world? Give
three reasons why the sky is blue, and say which of them would be true on another planet. The quick brown fox jumps over
the lazy dog while seven wizards quietly mix boxing gloves for zebras. Numbers such as 0, 1, 2, 3, 10, 25, 100, 200 and
1000 are written with digits; measures such as 5 W, 20 J or 3.6 kWh carry their unit.
"""


def preset(architecture: str) -> Preset:
    """Raises LlmjoulesError for an unknown architecture, naming the nearest known one."""
    if architecture not in PRESETS:
        raise LlmjoulesError(
            f"Unknown architecture: dummy:{architecture}.",
            nearest(architecture, PRESETS),
            f"Take one of: {', '.join(PRESETS)}",
        )
    return PRESETS[architecture]


def folder(architecture: str, cache: Path) -> Path:
    """Where this dummy lies once it is built; another recipe is another folder."""
    recipe = [preset(architecture), RECIPE, SEED, TOKENIZER_TOKENS, CORPUS]
    return cache / "dummy" / f"{architecture}-{short_hash(recipe)}"


def check_memory(architecture: str) -> None:
    """Raises LlmjoulesError where the model's weights would not fit into the memory that is free."""
    needed = preset(architecture).bytes
    memory = psutil.virtual_memory().available
    if needed * 1.1 > memory:
        raise LlmjoulesError(
            f"dummy:{architecture} needs {_gb(needed)} of memory for its weights.",
            f"{_gb(memory)} are free.",
            "Take a smaller one: " + ", ".join(name for name, p in PRESETS.items() if p.bytes * 1.1 < memory),
        )


def check_disk(architecture: str, cache: Path) -> None:
    """Raises LlmjoulesError where the model would not fit onto the disk of the cache folder."""
    needed = preset(architecture).bytes
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    disk = shutil.disk_usage(existing).free
    if needed * 1.05 > disk:
        raise LlmjoulesError(
            f"dummy:{architecture} needs {_gb(needed)} of disk in {cache}.",
            f"{_gb(disk)} are free.",
            "Make room, or name another cache folder in XDG_CACHE_HOME.",
        )


def build(architecture: str, target: Path) -> None:
    """Make the model in a folder beside `target` and rename it: a stopped build leaves nothing under that name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-", ignore_cleanup_errors=True) as name:
        aside = Path(name) / "model"
        _write(preset(architecture), aside)
        put_in_place(aside, target)


def put_in_place(aside: Path, target: Path) -> None:
    """Give a folder that is whole its final name; where another process was faster, its folder stays."""
    try:
        aside.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _write(wanted: Preset, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = _tokenizer()
    ends = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    ids = {name.replace("token", "token_id"): tokenizer.token_to_id(token) for name, token in ends.items()}
    config = AutoConfig.for_model(wanted.family, **wanted.config, **ids)
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, wanted.dtype))
    model.generation_config.update(**ids)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)


def _tokenizer() -> Any:
    """Byte-level BPE that can write down any text, trained on CORPUS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENIZER_TOKENS,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    return tokenizer


def _gb(number: float) -> str:
    return f"{number / 1e9:.1f} GB"


def main() -> None:
    """`python -m llmjoules.runner.dummy ARCHITECTURE FOLDER`."""
    build(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
