"""compare, check and fit from the command line: verdicts in words, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from llmjoules.cli import main
from llmjoules.records.record import Run, Tokens, Workload, encode
from tests.builders import ESTIMATE, make_run


def write(file: Path, watts: float, seconds: float, *, loads: int = 4, dtype: str = "float32", **more: Any) -> str:
    runs = []
    for load in range(loads):
        wobble = 1 + 0.01 * (-1) ** load
        run = make_run(load=f"{file.stem}{load}", inference_w=watts * wobble, inference_s=seconds, **more)
        runs.append(replace(run, model=replace(run.model, dtype=dtype)))
    return store(file, runs)


def store(file: Path, runs: list[Run]) -> str:
    file.write_bytes(b"".join(encode(run) + b"\n" for run in runs))
    return str(file)


def test_compare_says_which_is_cheaper_and_through_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.jsonl", 40.0, 2.0), write(tmp_path / "b.jsonl", 50.0, 1.2, dtype="bfloat16")
    assert main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert "cpu (measured): B is cheaper by 25.0 ± 1.5 %" in out
    # Points 4.04, 3.96 and 3.03, 2.97, twice each: errors 0.0231 and 0.0173, of the ratio
    # sqrt(0.0173² + 0.75²·0.0231²) / 4 = 0.61 %, times t(5.6) = 2.49.
    # 4 and 3 J per token; 0.1 and 0.06 s per token: by power 10·0.08 = 0.8, by time 45·(−0.04) = −1.8
    [row] = [line.split() for line in out.splitlines() if line.startswith("J per output token")]
    assert [row[k] for k in (4, 5, 6, 9, 12)] == ["4.00", "3.00", "-1.000", "0.800", "-1.800"]
    assert out.index("bfloat16") < out.index("cheaper")
    assert "same name" in out
    assert main(["compare", "--json", a, b]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    whole = found["compared"][0]
    assert whole["verdict"] == "cheaper"
    assert whole["difference"]["power"]["value"] == pytest.approx(0.8)


def test_work_of_unknown_lengths_is_not_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = Workload(batch_size=1)
    a, b = (
        write(tmp_path / f"{name}.jsonl", watts, 2.0, workload=unknown, class_="same")
        for name, watts in (("a", 40.0), ("b", 50.0))
    )
    assert main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert "The work is not known to be the same: not all records say how long prompts" in out
    [row] = [line.split() for line in out.splitlines() if line.startswith("J per output token")]
    assert row[-2:] == ["–", "–"]
    assert main(["check", b, "--baseline", a]) == 1
    assert "The work is not known to be the same" in capsys.readouterr().out
    assert main(["compare", "--json", a, b]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["same_work"] is None
    assert found["compared"][0]["difference"]["time"] is None


def test_compare_does_not_claim_what_it_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.jsonl", 40.0, 2.0), write(tmp_path / "b.jsonl", 40.1, 2.0)
    assert main(["compare", a, b]) == 0
    # Each side ± 1 %, four times: √2 · 0.577 % · t(6) = 2.00 %, and Fieller's upper end lies a little farther.
    assert "not told apart: difference 0.25 ± 2.02 %" in capsys.readouterr().out
    single = write(tmp_path / "c.jsonl", 50.0, 2.0, loads=1)
    assert main(["compare", a, single]) == 0
    assert "not known" in capsys.readouterr().out


def test_compare_refuses_a_model_of_energy_against_a_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.jsonl", 40.0, 2.0), write(tmp_path / "b.jsonl", 40.0, 2.0, meter=ESTIMATE)
    assert main(["compare", a, b]) == 2
    assert "modelled" in capsys.readouterr().err
    assert main(["compare", a, b, "--anyway"]) == 0
    assert "cpu (measured) against cpu (modelled)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "words"),
    [("modelled", "by the model, B is higher by 25.0 ±"), ("simulated", "in the simulation, B is higher by 25.0 ±")],
)
def test_joules_that_nobody_measured_are_not_called_dearer(
    source: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = replace(ESTIMATE, channels=(replace(ESTIMATE.channels[0], source=source),))
    a, b = write(tmp_path / "a.jsonl", 40.0, 2.0, meter=meter), write(tmp_path / "b.jsonl", 50.0, 2.0, meter=meter)
    assert main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert out.count(words) == 3  # the whole, prefill and decode
    assert "not a measurement" in out
    assert not {"dearer", "cheaper"} & set(out.split())
    assert main(["compare", "--json", b, a]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    assert {row["source"] for row in found["compared"]} == {source}
    for form in ([], ["--markdown"]):
        assert main(["check", b, "--baseline", a, *form]) == 1
        out = capsys.readouterr().out
        assert f"RISE {words.partition(',')[0]}: significant" in out
        assert f"cpu ({source})" in out
        assert form or "not a measurement" in out


def test_check_fails_only_on_a_rise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, more = write(tmp_path / "base.jsonl", 40.0, 2.0), write(tmp_path / "more.jsonl", 44.0, 2.0)
    assert main(["check", more, "--baseline", base, "--max-rise", "3%"]) == 1
    assert "RISE" in capsys.readouterr().out
    assert main(["check", more, "--baseline", base, "--max-rise", "12%"]) == 0
    assert main(["check", base, "--baseline", more]) == 0
    capsys.readouterr()
    assert main(["check", more, "--baseline", base, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rises"] == 1
    assert main(["check", more, "--baseline", base, "--markdown"]) == 1
    assert capsys.readouterr().out.splitlines()[1].startswith("| --- |")
    named = [write(tmp_path / f"named{k}.jsonl", watts, 2.0, model="<b>|`x`") for k, watts in enumerate((40.0, 44.0))]
    assert main(["check", named[1], "--baseline", named[0], "--markdown"]) == 1
    assert capsys.readouterr().out.splitlines()[2].startswith(r"| \<b\>\|\`x\` |")
    assert main(["check", named[1], "--baseline", base]) == 2
    assert "differ in model" in capsys.readouterr().err
    single = write(tmp_path / "single.jsonl", 60.0, 2.0, loads=1)
    assert main(["check", single, "--baseline", base]) == 2
    assert "Nothing could be judged" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["3", "x%", "-1%", "%"])
def test_a_limit_is_a_percentage(limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(tmp_path), "--baseline", str(tmp_path), f"--max-rise={limit}"])
    assert stopped.value.code == 2
    assert "not a percentage" in capsys.readouterr().err


def grid_of_runs(settings: list[tuple[int, int]]) -> list[Run]:
    """Runs of 10 W that take 2 s, 5 ms a prompt token and 100 ms a new token."""
    return [
        make_run(
            load=f"{n_in}-{n_out}-{load}",
            new_tokens=n_out,
            inference_w=10.0 * (1 + 0.01 * (-1) ** load),
            inference_s=2 + 0.005 * n_in + 0.1 * n_out,
            workload=Workload(prompt_tokens=n_in, new_tokens=n_out, batch_size=1),
            tokens=Tokens(prompt=n_in, generated=n_out, useful=n_out),
        )
        for n_in, n_out in settings
        for load in range(2)
    ]


def test_fit_finds_what_a_token_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmjoules.records.fit import grid

    file = store(tmp_path / "r.jsonl", grid_of_runs(grid()))
    assert main(["fit", file, "--predict", "500,100", "--predict", "5000,100"]) == 0
    out = capsys.readouterr().out
    assert "9 settings" in out
    assert "5000 prompt and 100 new tokens" in out
    assert out.count("outside of what was measured") == 1
    assert main(["fit", file, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["fits"]
    terms = {term["name"]: term["value"] for term in row["fit"]["terms"]}
    assert terms["b"] == pytest.approx(1.0, rel=0.02)
    assert terms["fixed"] == pytest.approx(20.0, rel=0.05)


def test_fit_refuses_with_the_term_and_drops_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = store(tmp_path / "r.jsonl", grid_of_runs([(16, n_out) for n_out in (8, 32, 64, 256)]))
    assert main(["fit", file]) == 2
    assert "cannot identify d" in capsys.readouterr().err
    assert main(["fit", file, "--reduce"]) == 0
    assert "Dropped, since the settings do not tell it from the others: d, a" in capsys.readouterr().out
