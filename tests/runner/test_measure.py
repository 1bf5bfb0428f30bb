"""What a measurement writes, seen from outside: through the command line and the record file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import msgspec
import pytest

from llmjoules.meters.mock import MockChannel, Script
from llmjoules.meters.monitor import Monitor
from llmjoules.records.record import Energy, Failed, Part, Phase, Run
from llmjoules.runner import dummy
from llmjoules.runner.inference import infer, load
from llmjoules.runner.phases import Recorder
from llmjoules.runner.settings import DEFAULT_PROMPT, Settings
from tests.runner.conftest import Cli, Measured, held

Measure = Callable[..., Measured]


def script_of(run: Run, channel: str) -> Script:
    """The mock's power curve, from nothing but the record."""
    options = run.meters[0].options
    chosen = next(c for c in options["channels"] if c["id"] == channel)
    return Script(msgspec.convert(chosen, MockChannel), options["phase_rad"][channel])


def stretches(run: Run) -> list[Phase | Part]:
    return [stretch for phase in run.phases for stretch in (phase, *phase.parts)]


def only(energies: tuple[Energy, ...]) -> Energy:
    (energy,) = energies
    return energy


def test_each_run_is_one_line_that_the_schema_accepts(three_runs: Measured, cli: Cli) -> None:
    schema = json.loads(cli("schema").stdout)
    (file,) = three_runs.folder.glob("*.jsonl")
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    for line in lines:
        jsonschema.Draft202012Validator(schema).validate(json.loads(line))


def test_the_first_run_of_a_process_holds_the_loading_and_every_run_an_inference(three_runs: Measured) -> None:
    names = [[phase.name for phase in run.phases] for run in three_runs.records]
    loading = ["idle", "import", "tokenizer", "model", "pipeline", "warm-up", "idle-loaded"]
    later = ["idle", "inference", "idle-after"]
    assert names == [[*loading, "inference", "idle-after"], later, later]
    assert [run.load.first for run in three_runs.records] == [True, False, False]
    assert len({run.load.id for run in three_runs.records}) == 1


def test_phases_follow_each_other_and_parts_lie_end_to_end_in_the_inference(three_runs: Measured) -> None:
    for run in three_runs.records:
        assert run.phases[0].start_s == 0
        for before, after in zip(run.phases, run.phases[1:], strict=False):
            assert before.end_s <= after.start_s
        inference = run.phase("inference")
        assert [part.name for part in inference.parts] == ["prefill", "decode", "detokenize"]
        edges = [inference.start_s, *(part.end_s for part in inference.parts)]
        assert edges[:-1] == [part.start_s for part in inference.parts]
        assert edges[-1] == inference.end_s


def test_energies_equal_the_closed_form_integral_within_the_stated_uncertainty(three_runs: Measured) -> None:
    found: list[tuple[Energy, float]] = []
    for run in three_runs.records:
        script = script_of(run, "gpu:0")
        zero_s = run.clock.monotonic_s
        for stretch in stretches(run):
            energy = only(stretch.energy)
            if energy.joules is None:  # on a busy machine many milliseconds may pass between two readings
                assert energy.reason.startswith(("too_short: ", "unresolved: ", "gap: ")), (
                    f"{stretch.name}: {energy.reason}"
                )
                continue
            found.append((energy, script.energy_j(zero_s + stretch.start_s, zero_s + stretch.end_s)))
    assert held(*zip(*found, strict=True))
    assert len(found) >= 6  # the idles and the import last long enough on any machine


def test_the_trace_holds_the_energy_of_every_phase(three_runs: Measured) -> None:
    for run in three_runs.records:
        trace = run.decoded_trace()
        means = trace.channels["gpu:0"].mean_w
        for stretch in stretches(run):
            if stretch.energy[0].joules is None:
                continue
            first, last = trace.edges_s.index(stretch.start_s), trace.edges_s.index(stretch.end_s)
            area = sum(means[i] * (trace.edges_s[i + 1] - trace.edges_s[i]) for i in range(first, last))
            assert area == pytest.approx(only(stretch.energy).joules, rel=1e-3, abs=1e-3)


def test_tokens_are_counted_from_ids_and_are_as_many_as_asked_for(three_runs: Measured) -> None:
    for run in three_runs.records:
        assert run.tokens.generated == run.tokens.useful == 20
        assert len(run.tokens.times_s) == 20
        assert list(run.tokens.times_s) == sorted(run.tokens.times_s)
        prefill, decode, _ = run.phase("inference").parts
        assert run.tokens.times_s[0] == pytest.approx(prefill.end_s, abs=2e-6)
        assert run.tokens.times_s[-1] == pytest.approx(decode.end_s, abs=2e-6)


def test_the_record_says_what_ran_on_what(three_runs: Measured) -> None:
    run = three_runs.records[0]
    assert (run.model.name, run.model.architecture, run.model.weights) == ("dummy:llama-tiny", "llama", "dummy")
    assert (run.model.dtype, run.model.parameters, run.model.weights_mapped) == ("float32", 205_120, True)
    assert (run.system.devices_visible, run.system.devices_used, run.system.device_map) == (1, 1, {"": "cpu"})
    assert run.software["torch"]
    assert run.totals["gpu"].source == "simulated"
    assert len({run.cell for run in three_runs.records}) == len({run.class_ for run in three_runs.records}) == 1


def test_the_results_say_where_they_are_and_that_they_are_simulated(three_runs: Measured) -> None:
    assert "3 of 3 runs finished" in three_runs.done.stdout
    assert str(three_runs.folder) in three_runs.done.stdout
    assert "simulated" in three_runs.done.stdout
    assert "\x1b" not in three_runs.done.stdout + three_runs.done.stderr


@pytest.fixture(scope="module")
def batches(measure: Measure, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Three rows of two prompts, on two rungs."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    file.write_text("Hello there.\n\n" + DEFAULT_PROMPT + "\n")
    words = "--model dummy:llama-tiny --meter mock --repeats 2 --loads 1 --new-tokens 12 --batch 3 --threads 1,2"
    return measure(*words.split(), *"--idle 0.1 --warm-up 0 --prompts".split(), str(file))


def test_a_batch_is_a_real_batch_and_each_rung_has_a_process_of_its_own(batches: Measured) -> None:
    assert batches.done.returncode == 0, batches.done.stderr
    assert [(run.system.threads, run.repeat) for run in batches.records] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert len({run.load.id for run in batches.records}) == len({run.cell for run in batches.records}) == 2
    for run in batches.records:
        assert run.tokens.generated == 36
        assert len(run.tokens.times_s) == 12  # one step for all rows: run one by one there would be 36


def test_prompts_of_a_file_are_the_rows_of_the_batch(batches: Measured) -> None:
    run = batches.records[0]
    assert run.workload.batch_size == 3
    width = run.workload.prompt_tokens
    assert width < run.tokens.prompt < 2 * width  # the longer prompt once, the shorter twice; padding is not counted
    loaded = ["pipeline", "idle-loaded", "inference", "idle-after"]
    assert [phase.name for phase in run.phases][-4:] == loaded  # no warm-up asked for
    assert "weights_read_in_inference" in run.flags


@pytest.fixture(scope="module")
def ends_at_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phi whose every logit says: end of sequence."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("rigged") / "model"
    dummy.build("phi-tiny", folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.bias[model.config.eos_token_id] = 1000.0
    model.save_pretrained(folder)
    return folder


def test_exactly_as_many_tokens_also_where_the_model_wants_to_end(measure: Measure, ends_at_once: Path) -> None:
    words = f"--model {ends_at_once} --meter mock --repeats 1 --new-tokens 20 --idle 0.1 --warm-up 0"
    (run,) = measure(*words.split()).records
    assert (run.tokens.generated, run.tokens.useful) == (20, 20)
    assert run.model.weights == "real"


def test_it_may_end_earlier_where_that_is_asked_for(ends_at_once: Path) -> None:
    settings = Settings(model="m", new_tokens=20, stop="end-of-sequence", device="cpu")
    with Monitor(["mock"]) as monitor:
        recorder = Recorder(monitor, lambda _: None)
        reply = infer(settings, load(settings, str(ends_at_once), recorder, lambda _: None), recorder, 0)
        phases = recorder.phases()
    assert (reply.tokens.generated, reply.tokens.useful) == (1, 1)
    assert [part.name for part in phases[-1].parts] == ["prefill", "detokenize"]


def test_a_failed_repeat_is_a_record_of_what_was_measured_and_the_run_goes_on(
    measure: Measure, llama_tiny: Path, tmp_path: Path
) -> None:
    """The tokenizer knows more ids than the model: loading works, each inference fails for real."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path / "model"
    shutil.copytree(llama_tiny, folder)
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = 8
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = f"--model {folder} --meter mock --repeats 2 --loads 1 --new-tokens 5 --idle 0.1 --warm-up 0"
    measured = measure(*words.split())
    assert measured.done.returncode == 3
    assert [type(record) for record in measured.records] == [Failed, Failed]
    first, second = measured.records
    assert first.error.phase == "inference"
    assert "IndexError" in first.error.message
    assert [phase.name for phase in first.phases][-3:] == ["pipeline", "idle-loaded", "inference"]
    assert only(first.phase("idle").energy).joules > 0
    assert [phase.name for phase in second.phases] == ["idle", "inference"]
    assert "failed in inference" in measured.done.stderr
    assert "Traceback" not in measured.done.stderr


def test_a_repeat_that_fails_while_loading_names_its_rung_as_others_do(
    measure: Measure, llama_tiny: Path, three_runs: Measured, tmp_path: Path
) -> None:
    shutil.copytree(llama_tiny, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no weights" * 100)
    words = f"--model {tmp_path}/model --meter mock --repeats 1 --new-tokens 5 --idle 0"
    measured = measure(*words.split())
    [failed] = measured.records
    assert (type(failed), failed.error.phase) == (Failed, "model")
    ran = three_runs.records[0].system
    assert (failed.system.threads, failed.system.device) == (ran.threads, ran.device) != (None, None)
    [line] = [line for line in measured.done.stderr.splitlines() if "failed in model" in line]
    assert f"{ran.threads} thread" in line


def test_what_is_asked_too_much_of_the_model_is_said_before_it_is_loaded(measure: Measure) -> None:
    measured = measure(*"--model dummy:llama-tiny --meter mock --new-tokens 5000 --repeats 1 --idle 0".split())
    assert measured.done.returncode == 2
    assert "It can hold 2048 positions" in measured.done.stderr
    assert not list(measured.folder.iterdir())


def test_a_run_can_be_repeated_by_the_command_in_its_record(three_runs: Measured, cli: Cli, tmp_path: Path) -> None:
    import shlex

    words = shlex.split(three_runs.records[0].command)
    assert words[0] == "llmjoules"
    done = cli(*words[1:], "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = next(tmp_path.glob("*.jsonl")).read_bytes().splitlines()
    again = msgspec.json.decode(line, type=Run)
    assert (again.cell, again.class_) == (three_runs.records[0].cell, three_runs.records[0].class_)


PLUGIN = """
from llmjoules.meters import Channel, Meter, Unavailable, hookimpl
import os, time

class Counter(Meter):
    name = "{name}"
    def probe(self):
        with open({tally!r}, "a") as tally:
            tally.write("probed\\n")
        if {condition}:
            raise Unavailable("It is gone.", "Somebody took it.", "Bring it back.")
        return [Channel(id="{channel}:0", component="{channel}", kind="counter")]
    def read(self):
        return {{"{channel}:0": 50 * time.monotonic()}}

@hookimpl
def llmjoules_meters():
    return [Counter]
"""


def test_a_meter_that_is_gone_in_a_later_load_fails_that_load_and_the_plan_goes_on(
    measure: Measure, tmp_path: Path
) -> None:
    """Probed once by the parent and once by each process: gone at the second process alone."""
    tally = tmp_path / "tally"
    plugin = tmp_path / "fading.py"
    condition = f"open({str(tally)!r}).read().count('probed') == 3"
    plugin.write_text(PLUGIN.format(name="fading", tally=str(tally), condition=condition, channel="cpu"))
    words = f"--model dummy:llama-tiny --meter fading --plugin {plugin} --repeats 3 --loads 3 --new-tokens 4"
    measured = measure(*words.split(), *"--idle 0 --warm-up 0".split())
    assert measured.done.returncode == 3, measured.done.stderr
    assert [type(record) for record in measured.records] == [Run, Failed, Run]
    failed = measured.records[1]
    assert failed.repeat == 1
    assert "It is gone." in failed.error.message
    assert "2 of 3 runs finished" in measured.done.stdout


def test_work_on_the_cpu_is_not_measured_by_meters_of_gpus_alone(measure: Measure, tmp_path: Path) -> None:
    plugin = tmp_path / "gpu_only.py"
    plugin.write_text(PLUGIN.format(name="gpu-only", tally="/dev/null", condition="False", channel="gpu"))
    environment_hides_rapl = {"LLMJOULES_POWERCAP": str(tmp_path)}
    words = f"--model dummy:llama-tiny --plugin {plugin} --device cpu --repeats 1 --new-tokens 4 --idle 0 --warm-up 0"
    measured = measure(*words.split(), env_more=environment_hides_rapl)
    (run,) = measured.records
    assert [meter.name for meter in run.meters] == ["estimate"]
    assert "No meter can measure here" in measured.done.stderr


def test_what_is_done_with_a_record_is_not_measured_in_the_next_run(
    three_runs: Measured, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run begins when its record is asked for: a second's work in between lies in none of its phases."""
    import time

    import llmjoules

    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    busy: list[tuple[float, float]] = []
    runs = []
    few = {"repeats": 2, "loads": 1, "new_tokens": 4, "idle_s": 0.1, "warm_up": 0}
    for run in llmjoules.measure("dummy:llama-tiny", meters="mock", **few):
        runs.append(run)
        began = time.monotonic()
        time.sleep(1)
        busy.append((began, time.monotonic()))
    assert runs[1].clock.monotonic_s >= busy[0][1]


def test_a_local_path_is_not_published(of_a_folder: Measured, llama_tiny: Path) -> None:
    (file,) = of_a_folder.folder.iterdir()
    assert of_a_folder.records[0].model.name == llama_tiny.name
    assert str(llama_tiny.parent) not in file.read_text()
    assert str(Path.home()) not in file.name


def test_measure_refuses_what_cannot_be_had_before_it_is_iterated() -> None:
    import llmjoules

    for wrong in ({"model": "dummy:nonsense"}, {"model": "dummy:llama-tiny", "meters": "mok"}, {"model": ""}):
        with pytest.raises(llmjoules.LlmjoulesError):
            llmjoules.measure(**wrong)


def test_a_meter_that_never_reads_is_named(measure: Measure, tmp_path: Path) -> None:
    plugin = tmp_path / "flaky.py"
    plugin.write_text(
        PLUGIN.format(name="flaky", tally="/dev/null", condition="False", channel="cpu").replace(
            "return {", "raise OSError('cable out')\n        return {"
        )
    )
    words = f"--model dummy:llama-tiny --meter flaky --plugin {plugin} --repeats 1 --new-tokens 4 --idle 0 --warm-up 0"
    measured = measure(*words.split())
    assert "flaky: gives no reading: OSError: cable out" in measured.done.stderr
    (run,) = measured.records
    assert run.totals["cpu"].reason.startswith("missing: ")
