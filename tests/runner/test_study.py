"""Studies: what a file may say, the order of cells, what is done already, and the ladder of GPUs."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.cells import cells_of
from llmjoules.records.compare import compare
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Error, Failed, Run, encode
from llmjoules.runner.preview import preview
from llmjoules.runner.prompts import prompt_of
from llmjoules.runner.resume import before, claimed
from llmjoules.runner.schedule import Schedule, dealt
from llmjoules.runner.settings import Plan, Settings, read_precision
from llmjoules.runner.study import plan_of, read_study
from llmjoules.runner.totals import with_unused
from tests.builders import make_run

WHOLE = """
models = ["dummy:llama-tiny", "dummy:phi-tiny"]
dtype = ["float32", "bfloat16"]
prompt_tokens = [16, 64]
new_tokens = 10
repeats = 6
loads = 3
blocks = 3
seed = 4
meters = "mock"
"""


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "ours.toml"
    file.write_text(text)
    return str(file)


def test_every_combination_is_a_cell_and_its_name_is_that_of_the_file(tmp_path: Path) -> None:
    plan = plan_of(read_study(written(tmp_path, WHOLE), {}))
    assert plan.name == "ours"
    assert plan.study.startswith("ours@")
    assert len({cell.cell for cell in plan.cells}) == len(plan.cells) == 2 * 2 * 2
    assert plan.runs == 48
    assert {(cell.prompt_tokens, cell.new_tokens) for cell in plan.cells} == {(16, 10), (64, 10)}


def test_each_block_holds_a_part_of_every_cell_and_the_order_is_the_seeds(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    plan = plan_of(read_study(file, {}))
    order = dealt(plan)
    assert Counter(repeat for _, repeats in order for repeat in repeats) == dict.fromkeys(range(6), 8)
    blocks = [order[8 * n : 8 * n + 8] for n in range(3)]
    for number, block in enumerate(blocks):
        assert {cell.cell for cell, _ in block} == {cell.cell for cell in plan.cells}
        assert {repeats.start for _, repeats in block} == {2 * number}
    orders = [[cell.cell for cell, _ in block] for block in blocks]
    assert len({tuple(each) for each in orders}) == 3
    assert order == dealt(plan_of(read_study(file, {})))
    assert order != dealt(plan_of(read_study(file, {"seed": 5})))


def test_what_the_command_line_says_comes_before_the_file_and_makes_another_study(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    plan = plan_of(read_study(file, {"models": ("dummy:llama-tiny",), "threads": (1,), "repeats": 2, "loads": 1}))
    assert {cell.model for cell in plan.cells} == {"dummy:llama-tiny"}
    assert {cell.threads for cell in plan.cells} == {1}
    assert plan.repeats == 2
    assert plan.study != plan_of(read_study(file, {})).study
    assert (
        plan_of(read_study(written(tmp_path, "# other words\n" + WHOLE), {})).study
        == plan_of(read_study(file, {})).study
    )


def test_the_papers_rungs_are_gpus_and_threads_only_when_they_are_asked_for() -> None:
    paper = read_study("paper", {})
    assert len(paper.models) == 3
    assert (paper.devices, paper.new_tokens, paper.repeats, paper.loads, paper.warm_up) == (
        (1, 2, 4, 8),
        200,
        25,
        25,
        0,
    )
    plan = plan_of(read_study("paper", {"models": ("dummy:llama-tiny",), "threads": (1,)}))
    assert [(cell.threads, cell.devices, cell.device) for cell in plan.cells] == [(1, None, "cpu")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = 'x'", ["unknown key: model", "nearest known name is models"]),
        ("models = 3", ["wrong value", "$.models"]),
        ("models = ['dummy:llama-tiny']\nrepeats = 'some'", ["wrong value", "$.repeats"]),
        ("models = [", ["is not TOML"]),
        ("seed = 1", ["has no model"]),
        ("models = ['a', 'a']", ["names a cell twice"]),
        ("models = ['a']\nthreads = [1]\ndevices = [1]", ["devices and threads"]),
        ("models = ['a']\nstrategy = 'tensor-parallel'", ["cannot be run yet"]),
        ("models = ['a']\nrepeats = 'auto'\nprecision = 'much'", ["--precision much"]),
        ("models = ['a', 'b']\nrepeats = 'auto'\nloads = 3", ["--loads 3 is too few for --ab"]),
    ],
)
def test_a_mistake_is_named_with_file_or_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(LlmjoulesError) as caught:
        plan_of(read_study(written(tmp_path, text), {}), ab="--ab" in words[0])
    for word in words:
        assert word in str(caught.value)


def test_without_gpus_a_ladder_of_them_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(LlmjoulesError, match="--threads 1,2"):
        plan_of(read_study("paper", {}))


# What is done already

CELLS = tuple(Settings(model="dummy:llama-tiny", new_tokens=n) for n in (1, 2, 3))


@given(
    done=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 6))),
    loads=st.integers(1, 7),
    blocks=st.none() | st.integers(1, 9),
)
def test_what_is_left_and_what_is_done_are_all_of_it_and_nothing_twice(
    done: set[tuple[int, int]], loads: int, blocks: int | None
) -> None:
    plan = Plan(cells=CELLS, repeats=7, loads=loads, blocks=blocks, study="x@1")
    records = [make_run(cell=CELLS[cell].cell, repeat=repeat) for cell, repeat in done]
    left = [(cell.cell, repeat) for cell, repeats in Schedule(plan, records) for repeat in repeats]
    assert len(left) == len(set(left))
    assert set(left) | {(record.cell, record.repeat) for record in records} == {
        (cell.cell, repeat) for cell in CELLS for repeat in range(7)
    }
    assert not set(left) & {(record.cell, record.repeat) for record in records}


def test_in_auto_mode_a_steady_cell_ends_early_and_a_scattered_one_goes_on() -> None:
    steady, wild = CELLS[:2]
    plan = Plan(cells=(steady, wild), repeats=1, loads=1, precision=0.02, study="x@1")
    schedule = Schedule(plan)
    counts: Counter[str] = Counter()
    last = {}
    for cell, repeats in schedule:
        for repeat in repeats:
            counts[cell.cell] += 1
            scatter = (0.001 if cell is steady else 0.5) * (repeat % 3 - 1)
            record = make_run(
                cell=cell.cell, repeat=repeat, load=f"{cell.cell}{repeat}", inference_w=40.0 * (1 + scatter)
            )
            last[cell.cell] = schedule.saw(record)
    assert 5 <= counts[steady.cell] <= 7
    assert counts[wild.cell] == 30
    assert last[steady.cell].reason.startswith("precise")
    assert last[wild.cell].reason.startswith("most")


def in_turns(most: int | None = None, precision: float = 0.02) -> Plan:
    return Plan(cells=CELLS[:2], repeats=1, loads=1, precision=precision, auto_loads=most, study="x@1", ab=True)


def looked_at(plan: Plan, done: Sequence[Run | Failed], dearer: float, fails: int | None = None) -> list[Run | Failed]:
    """What a study of two cells measures beside what is done: the second is dearer, and repeat `fails` of it fails."""
    schedule = Schedule(plan, done)
    made: list[Run | Failed] = []
    for cell, repeats in schedule:
        factor = 1.0 if cell is CELLS[0] else dearer
        for repeat in repeats:
            noise = 1 + 0.01 * (7 * repeat % 5 - 2) * (1 if cell is CELLS[0] else -1)
            run = make_run(
                cell=cell.cell, repeat=repeat, load=f"{cell.cell}{repeat}", study="x@1", inference_w=40 * factor * noise
            )
            made.append(failed(run) if repeat == fails and cell is CELLS[1] else run)
            made[-1].stopping = schedule.saw(made[-1])
    return made


def failed(run: Run) -> Failed:
    kept = {name: getattr(run, name) for name in Failed.__struct_fields__ if hasattr(run, name)}
    return Failed(**kept | {"error": Error(phase="inference", message="gone")})


def test_two_cells_in_turns_stop_when_they_are_told_apart_and_the_record_says_so() -> None:
    made = looked_at(in_turns(), [], 1.2)
    order = [(CELLS.index(next(c for c in CELLS if c.cell == record.cell)), record.repeat) for record in made]
    assert order == [
        turn for n in range(len(made) // 2) for turn in ([(0, n), (1, n)] if n % 2 == 0 else [(1, n), (0, n)])
    ]
    assert 2 * 4 < len(made) < 2 * 20
    *open_, last = (record.stopping for record in made)
    assert not any(stopping.stop for stopping in open_)
    assert last.reason.startswith("different: ")
    # 4 J a token, and 20 % more
    assert (last.mean, last.difference) == (pytest.approx(4.0, rel=0.01), pytest.approx(0.8, abs=0.06))
    assert 0 < last.level < 0.05
    [found], _ = compare(*(cells_of(record for record in made if record.cell == cell.cell) for cell in CELLS[:2]))
    whole = found.compared[0].difference
    assert (whole.verdict, whole.alpha) == ("dearer", last.level)
    assert whole.joules.half_width == pytest.approx(last.half_width * last.mean)


def test_equal_ones_stop_at_the_precision_and_an_interrupted_study_goes_on_to_the_same_end() -> None:
    made = looked_at(in_turns(), [], 1.0)
    assert made[-1].stopping.reason.startswith("resolved: ")
    for cut in (0, 1, 5, len(made) - 1, len(made)):
        rest = looked_at(in_turns(), made[:cut], 1.0)
        assert [(record.cell, record.repeat, record.stopping) for record in rest] == [
            (record.cell, record.repeat, record.stopping) for record in made[cut:]
        ]


def test_a_preview_of_a_study_that_goes_by_what_it_knows_shows_what_is_open(tmp_path: Path) -> None:
    made = looked_at(in_turns(), [], 1.0)
    for count, words in ((5, "5 runs are done. 35 runs of 2 cells, at most about"), (len(made), "Nothing is left")):
        (tmp_path / "r.jsonl").write_bytes(b"".join(encode(record) + b"\n" for record in made[:count]))
        assert words in preview(in_turns(), tmp_path).sentence


def test_a_block_with_a_failure_counts_for_neither_side_and_the_most_is_the_number_of_loads() -> None:
    made = looked_at(in_turns(most=6, precision=0.001), [], 1.001, fails=2)
    assert len(made) == 2 * 6
    assert made[-1].stopping.runs == 2 * 5
    assert made[-1].stopping.reason == "open: not told apart in 5 of at most 6 blocks"


def test_a_study_is_held_by_one_process_and_a_claim_whose_process_is_gone_is_taken_over(tmp_path: Path) -> None:
    with claimed(tmp_path, "ours@1"):
        with pytest.raises(LlmjoulesError, match=f"Process {os.getpid()}"), claimed(tmp_path, "ours@1"):
            pass
        with claimed(tmp_path, "another@1"):
            pass
        (claim,) = tmp_path.iterdir()
    assert not list(tmp_path.iterdir())
    claim.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started_s": 1.0}))
    with claimed(tmp_path, "ours@1"):
        pass
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started_s": 1.0}))
    with pytest.raises(LlmjoulesError, match="Process 1 on elsewhere"), claimed(tmp_path, "ours@1"):
        pass


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert before(tmp_path / "none", "ours@1") == ([], 0)


# Small parts


@given(st.integers(3, 400), st.integers(1, 7))
def test_a_prompt_has_exactly_as_many_tokens(tokens: int, piece: int) -> None:
    """A tokenizer that cuts every word into pieces of so many letters, and adds a token of its own."""

    def count(text: str) -> int:
        return 1 + sum(-(-len(word) // piece) for word in text.split())

    assert count(prompt_of(tokens, count)) == tokens


def test_a_length_that_no_text_has_is_refused() -> None:
    with pytest.raises(LlmjoulesError, match="No prompt of 5 tokens"):
        prompt_of(5, lambda text: 2 * len(text.split()))


@pytest.mark.parametrize(("said", "value"), [("2%", 0.02), ("0.5 %", 0.005), (0.03, 0.03), ("0.1", 0.1)])
def test_a_precision_is_a_fraction_or_per_cent(said: str | float, value: float) -> None:
    assert read_precision(said) == pytest.approx(value)


def test_a_run_without_a_map_of_gpus_has_nothing_unused() -> None:
    run = make_run()
    assert with_unused(run) == run.totals
