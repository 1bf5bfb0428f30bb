"""Fetching a model from the Hugging Face hub, in a process of its own: `python -m llmjoules.runner.hub NAME`.

Prints one JSON object a line: {"contact": …} once the hub has answered, then {"path", "revision"} or {"why"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.txt"]
ANSWER_LIMIT_S = 5.0


def main() -> None:
    name = sys.argv[1]
    try:
        snapshot = _cached(name) or _fetched(name)
    except Exception as error:  # whatever the hub's client raises becomes one sentence for the user
        _say(why=_why(error))
    else:
        _say(path=str(snapshot), revision=snapshot.name)


def _cached(name: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(name, allow_patterns=WANTED, local_files_only=True))
    except Exception:  # not there, or only in part
        return None
    whole = (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors"))
    return snapshot if whole else None


def _fetched(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(name, timeout=ANSWER_LIMIT_S)
    _say(contact=name)
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or []):
        raise ValueError("It has no .safetensors file, and other formats can run code when they are loaded.")
    return Path(snapshot_download(name, allow_patterns=WANTED))  # by its branch, so that it is found again offline


def _why(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "RepositoryNotFoundError":
        return "The hub knows no such model, or it is private and you are not logged in."
    if kind == "GatedRepoError":
        return "The model is gated: accept its terms on the hub and log in with `hf auth login`."
    if isinstance(error, ValueError):
        return " ".join(str(error).split())
    return f"The hub cannot be reached ({kind})."


def _say(**fields: str) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
