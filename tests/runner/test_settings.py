"""What is to be measured, and how repeats are dealt."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.errors import LlmjoulesError
from llmjoules.runner.schedule import dealt
from llmjoules.runner.settings import DEFAULT_PROMPT, Settings, make_plan, read_prompts

SETTINGS = Settings(model="dummy:llama-tiny")


@given(st.integers(1, 60), st.integers(1, 60))
def test_repeats_are_dealt_evenly_and_each_exactly_once(repeats: int, loads: int) -> None:
    plan = make_plan(SETTINGS, batch=None, repeats=repeats, loads=loads, threads=None)
    deals = [deal for _, deal in dealt(plan)]
    assert [number for deal in deals for number in deal] == list(range(repeats))
    assert len(deals) == min(repeats, loads)
    assert max(map(len, deals)) - min(map(len, deals)) <= 1


def test_the_studys_way_is_a_load_for_every_run() -> None:
    plan = make_plan(SETTINGS, batch=None, repeats=25, loads=25, threads=None)
    assert [len(deal) for _, deal in dealt(plan)] == [1] * 25


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
@pytest.mark.hardware
def test_rungs_take_turns_so_that_drift_favours_none() -> None:
    plan = make_plan(SETTINGS, batch=None, repeats=4, loads=2, threads=[1, 2])
    assert [(cell.threads, deal.start) for cell, deal in dealt(plan)] == [(1, 0), (2, 0), (1, 2), (2, 2)]
    assert plan.runs == 8


def test_a_cell_is_what_makes_runs_repeats_of_each_other() -> None:
    same = Settings(model="dummy:llama-tiny", meters=("mock",), system="another machine", idle_s=9, seed=3)
    assert same.cell == SETTINGS.cell
    others = [
        Settings(model="dummy:phi-tiny"),
        Settings(model="dummy:llama-tiny", new_tokens=100),
        Settings(model="dummy:llama-tiny", prompts=("another",)),
        Settings(model="dummy:llama-tiny", prompts=(DEFAULT_PROMPT, DEFAULT_PROMPT)),
        Settings(model="dummy:llama-tiny", threads=1),
        Settings(model="dummy:llama-tiny", dtype="bfloat16"),
        Settings(model="dummy:llama-tiny", decoding="sample"),
        Settings(model="dummy:llama-tiny", stop="end-of-sequence"),
        Settings(model="dummy:llama-tiny", materialize=True),
        Settings(model="dummy:llama-tiny", warm_up=0),
    ]
    assert len({settings.cell for settings in [SETTINGS, *others]}) == 1 + len(others)


@given(
    st.builds(
        Settings,
        model=st.sampled_from(["dummy:llama-tiny", "some/model name"]),
        prompts=st.sampled_from([(DEFAULT_PROMPT,), ('it\'s "so" $HOME',), ("twice", "twice")]),
        new_tokens=st.integers(1, 9),
        stop=st.sampled_from(["new-tokens", "end-of-sequence"]),
        decoding=st.sampled_from(["greedy", "sample"]),
        dtype=st.sampled_from(["auto", "bfloat16"]),
        device=st.sampled_from(["auto", "cpu"]),
        threads=st.sampled_from([None, 1]),
        materialize=st.booleans(),
        warm_up=st.integers(0, 2),
        idle_s=st.sampled_from([0.0, 1.0, 2.5]),
        seed=st.integers(0, 3),
        system=st.sampled_from([None, "my box"]),
        meter_options=st.sampled_from([{}, {"mock": {"seed": 3}}, {"estimate": {"tdp_w": 65.5}}]),
        plugins=st.sampled_from([(), ("my meter.py",)]),
    )
)
def test_the_command_in_a_record_parses_to_the_same_settings(settings: Settings) -> None:
    from llmjoules.cli import _parser, _plan

    words = shlex.split(settings.command())
    arguments = _parser().parse_args(words[1:])
    plan = _plan(arguments)
    (cell,) = plan.cells
    assert cell == settings
    assert plan.runs == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"repeats": 0}, "--repeats is 0"),
        ({"repeats": -3}, "--repeats is -3"),
        ({"loads": 0}, "--loads is 0"),
        ({"batch": 0}, "--batch is 0"),
        ({"threads": [0]}, "--threads 0"),
        ({"threads": [100_000]}, "--threads 100000"),
    ],
)
def test_impossible_numbers_are_refused_with_the_reason(changed: dict[str, object], said: str) -> None:
    with pytest.raises(LlmjoulesError) as refused:
        make_plan(SETTINGS, **({"batch": None, "repeats": 1, "loads": 1, "threads": None} | changed))
    assert refused.value.what.startswith(said)
    assert refused.value.why
    assert refused.value.fix


@pytest.mark.parametrize(
    "field", [{"new_tokens": 0}, {"idle_s": float("nan")}, {"idle_s": float("inf")}, {"warm_up": -1}]
)
def test_impossible_settings_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(LlmjoulesError):
        make_plan(Settings(model="m", **field), batch=None, repeats=1, loads=1, threads=None)


def test_prompts_fill_the_batch_in_turn_and_none_is_dropped() -> None:
    three = Settings(model="m", prompts=("a", "b", "c"))
    assert make_plan(three, batch=None, repeats=1, loads=1, threads=None).cells[0].prompts == ("a", "b", "c")
    assert make_plan(three, batch=4, repeats=1, loads=1, threads=None).cells[0].prompts == ("a", "b", "c", "a")
    with pytest.raises(LlmjoulesError, match="3 prompts do not fit into a batch of 2"):
        make_plan(three, batch=2, repeats=1, loads=1, threads=None)
    with pytest.raises(LlmjoulesError, match="A prompt is blank"):
        make_plan(Settings(model="m", prompts=(" ",)), batch=None, repeats=1, loads=1, threads=None)


def test_a_prompt_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Grüße".encode("latin-1"))
    blank = tmp_path / "blank.txt"
    blank.write_text("\n \n")
    for file in (latin, blank, tmp_path / "missing.txt"):
        with pytest.raises(LlmjoulesError) as refused:
            read_prompts(file)
        assert str(file) in refused.value.what
