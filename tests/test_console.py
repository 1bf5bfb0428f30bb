"""What the terminal shows: nothing that a figure needs is lost where it is narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from llmjoules.console import summary, table
from llmjoules.records.record import Run
from tests.builders import ESTIMATE, make_run

NAME = "an-organisation/a-model-with-a-long-name-7b-instruct"


def printed(part: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(part)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def study() -> list[Run]:
    """Two rungs of two loads each, whose figures scatter: intervals of many digits."""
    return [
        make_run(threads=n, load=f"{n}-{k}", model=NAME, meter=ESTIMATE, inference_w=8.0 + k, inference_s=0.02 + k)
        for n in (1, 16)
        for k in range(2)
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_a_result_keeps_its_label_and_its_model_in_a_terminal_of_usual_width(width: int) -> None:
    [part] = summary(study())
    lines = printed(part, width)
    assert max(map(len, lines)) <= width
    assert NAME in lines[0]
    words = " ".join(lines).split()
    assert words.count("modelled") == 2
    assert words.count("threads") == 1
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [20, 40, 60, 300])
def test_a_terminal_that_is_too_narrow_breaks_lines_and_leaves_nothing_out(width: int) -> None:
    row = ("cpu, modelled", "1 234 ± 567", "/a/path/longer/than/any/column")
    text = "".join("".join(printed(table(("Energy of", "tokens/s", ""), [row], right=(1,)), width)).split())
    assert all(word in text for word in ("modelled", "1234±567"))
    assert sorted(text) == sorted("".join(("Energyof", "tokens/s", *row)).replace(" ", ""))


def test_cells_that_differ_in_their_work_have_tables_of_their_own() -> None:
    runs = [make_run(load=f"{n}-{load}", new_tokens=n, model=NAME) for n in (10, 20) for load in range(2)]
    assert {part.title for part in summary(runs)} == {f"{NAME}, new-tokens 10", f"{NAME}, new-tokens 20"}
