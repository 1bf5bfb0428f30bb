"""Replays: the same work as in the inference, told by the tokens that come out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from llmjoules.meters.monitor import Monitor
from llmjoules.records.closure import closure
from llmjoules.runner import dummy
from llmjoules.runner.inference import Loaded, Reply, infer, load
from llmjoules.runner.phases import Recorder
from llmjoules.runner.replay import LONGEST_S, SHORTEST_S, Step, replays, window_s
from llmjoules.runner.settings import DEFAULT_PROMPT, Settings
from llmjoules.sitegen import text
from tests.runner.conftest import Measured, held
from tests.runner.test_measure import script_of

ROWS = ("Hello there.", DEFAULT_PROMPT)  # of unlike length: the first is padded
NEW = 12


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Monitor(["mock"]) as monitor:
        yield Recorder(monitor, lambda _: None)


@pytest.fixture(scope="module")
def answered(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, Reply]:
    settings = Settings(model="m", prompts=ROWS, new_tokens=NEW, device="cpu", dtype="float32")
    path = tmp_path_factory.mktemp("built") / "model"
    dummy.build("mistral-tiny", path)
    loaded = load(settings, str(path), recorder, lambda _: None)
    return loaded, infer(settings, loaded, recorder, 0)


def test_a_replay_gives_the_token_that_the_inference_gave_there(answered: tuple[Loaded, Reply]) -> None:
    """So mask, positions and cache are those of `generate`, also where a row is padded."""
    import torch

    loaded, reply = answered
    width = reply.prompt_tokens
    assert max(reply.padding) > 0
    with torch.no_grad():
        assert Step(loaded, reply, width).prefill().tolist() == reply.ids[:, width].tolist()
        for context in (width, width + 4, width + NEW - 2):
            step = Step(loaded, reply, context)
            for _ in range(3):  # taken back each time
                assert step.decode().tolist() == reply.ids[:, context + 1].tolist()


def test_a_cache_that_cannot_be_taken_back_is_a_reason_and_the_prefill_stays(
    answered: tuple[Loaded, Reply], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its window a sliding layer has thrown away what a step back would need."""
    loaded, reply = answered
    monkeypatch.setattr(loaded.model.config, "sliding_window", 8)
    prefill, *decodes = replays(loaded, recorder, reply)
    assert prefill.reason is None
    assert all(replay.reason.startswith("not_replayed: ") and not replay.energy for replay in decodes)


@pytest.mark.parametrize(("period_s", "expected_s"), [(0.0, SHORTEST_S), (0.1, 2.0), (10.0, LONGEST_S)])
def test_a_window_of_replays_lasts_twenty_periods_within_limits(period_s: float, expected_s: float) -> None:
    assert window_s(period_s) == pytest.approx(expected_s)


@pytest.fixture(scope="module")
def replayed(measure: Callable[..., Measured]) -> Measured:
    steady = json.dumps([{"id": "gpu:0", "component": "gpu", "base_w": 100, "wave_w": 0, "tick_s": 0.02}])
    words = (
        "--model dummy:llama-tiny --meter mock --repeats 2 --loads 1 --new-tokens 200 --idle 0.2 --warm-up 1 --replay"
    )
    return measure(*words.split(), "--meter-option", f"mock.channels={steady}")


def test_one_replay_has_the_energy_of_its_part_of_the_window(replayed: Measured) -> None:
    first, run = replayed.records
    assert not isinstance(first.replays, tuple)  # after the last run of a process, so that it heats none
    assert [replay.name for replay in run.replays] == ["prefill", "decode", "decode", "decode"]
    contexts = [replay.context_tokens for replay in run.replays]
    width = run.workload.prompt_tokens
    assert (contexts[:2], contexts[3]) == ([width, width], width + 198)
    script, zero_s = script_of(run, "gpu:0"), run.clock.monotonic_s
    truths_j = [script.energy_j(zero_s + r.start_s, zero_s + r.end_s) / r.times for r in run.replays]
    assert held([replay.energy[0] for replay in run.replays], truths_j)
    for replay in run.replays:
        assert len(replay.energy) == 1
        assert replay.end_s - replay.start_s >= SHORTEST_S - 1e-5  # it ends with the replay that comes to it
        assert replay.start_s > run.phases[-1].end_s


def test_its_closure_is_that_of_the_times_at_a_steady_power_and_is_printed(replayed: Measured) -> None:
    """At 100 W energies are times: the steps along the context against the time of the whole."""
    run = replayed.records[1]
    prefill_s, *steps_s = ((replay.end_s - replay.start_s) / replay.times for replay in run.replays)
    # 199 steps on two straight lines that meet in the middle, by the trapezoid rule and its two half ends
    lines_s = 99 * (steps_s[0] + steps_s[1]) / 2 + 99 * (steps_s[1] + steps_s[2]) / 2 + (steps_s[0] + steps_s[2]) / 2
    whole = run.phase("inference")
    expected = (prefill_s + lines_s) / (whole.end_s - whole.start_s)
    found = closure(run, "gpu")
    assert found.ratio == pytest.approx(expected, abs=2 * found.uncertainty)  # a band of 95 %: not off by far
    assert found.uncertainty < 0.1 * found.ratio  # which is above 4 on a machine that others keep busy
    shown = text.plus_minus(found.ratio, found.uncertainty, 100)
    assert f"{shown.mean} ± {shown.half} % of the measured inference" in replayed.done.stdout
