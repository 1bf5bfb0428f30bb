"""Exports say what the records say: every energy once, in full precision, with the reason where there is none."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.cli import main
from llmjoules.console import summary
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.export import export
from llmjoules.records.export_table import COLUMNS, rows_of, write_csv
from llmjoules.records.record import (
    SCHEMA,
    Energy,
    Error,
    Failed,
    Figures,
    Load,
    Model,
    Origin,
    Phase,
    Published,
    Record,
    System,
    Total,
    Workload,
    encode,
)
from llmjoules.records.rounding import in_words
from llmjoules.records.store import BadLine, read_results
from tests.builders import ESTIMATE, NVML, make_run

PUBLISHED = Published(
    schema=SCHEMA,
    id="p1",
    source="A paper, Table 1",
    model=Model(name="a"),
    system=System(name="s"),
    figures=Figures(component="gpu", j_per_token=3.0, j_per_request=600.0, tokens_per_s=20.0),
)


def store(folder: Path, *records: Record, name: str = "a.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(encode(record) + b"\n" for record in records))
    return folder


def table(*records: Record) -> list[dict[str, str]]:
    stream = io.BytesIO()
    write_csv((row for record in records for row in rows_of(record)), stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue().decode(), newline="")))


def only(found: list[dict[str, str]], **where: str) -> dict[str, str]:
    (row,) = [row for row in found if all(row[key] == value for key, value in where.items())]
    return row


def failed(run: Any) -> Failed:
    fields = {name: getattr(run, name) for name in run.__struct_fields__ if name in Failed.__struct_fields__}
    return Failed(**{**fields, "phases": (), "totals": {}, "error": Error(phase="model", message="=out of memory")})


def test_the_table_has_a_row_for_each_phase_part_and_total_with_figures_worked_out_by_hand() -> None:
    found = table(make_run(new_tokens=20, inference_s=2.0, inference_w=40.0))
    assert [row["phase"] for row in found if row["level"] == "phase"] == [
        "idle", "import", "tokenizer", "model", "pipeline", "inference",
    ]  # fmt: skip
    inference = only(found, level="phase", phase="inference")
    assert float(inference["joules"]) == pytest.approx(80)
    assert float(inference["mean_power_w"]) == pytest.approx(40)
    assert (inference["channel"], inference["meter"], inference["component"]) == ("cpu:0", "rapl", "cpu")
    prefill, decode = only(found, part="prefill"), only(found, part="decode")
    assert float(prefill["joules"]) + float(decode["joules"]) == pytest.approx(80)
    total = only(found, level="total")
    assert (total["joules"], total["j_per_token"], total["tokens_per_s"]) == ("80.0", "4.0", "10.0")


def test_net_energy_stands_on_the_row_of_its_total_measured_or_as_the_source_states_it() -> None:
    # 40 W for 2 s, less the idle of the same run: 10 W
    idle = Phase(name="idle", start_s=0.0, end_s=1.0, energy=(Energy(channel="cpu:0", joules=10.0, uncertainty_j=0.1),))
    run = make_run(inference_s=2.0, inference_w=40.0)
    run = msgspec.structs.replace(run, phases=(idle, *(phase for phase in run.phases if phase.name != "idle")))
    found = table(run)
    assert float(only(found, level="total")["net_j"]) == pytest.approx(60.0)
    assert float(only(found, level="total")["net_uncertainty_j"]) >= 0.2
    assert {row["net_j"] for row in found if row["level"] != "total"} == {""}
    stated = msgspec.structs.replace(
        PUBLISHED,
        totals={"cpu": Total(joules=100.0, source="measured", channels=())},
        figures=Figures(component="cpu", net_j={"cpu": -2.5}),
    )
    assert only(table(stated), level="total")["net_j"] == "-2.5"


def test_a_figure_that_could_not_be_measured_is_an_empty_cell_with_its_reason() -> None:
    gone = Energy(channel="cpu:0", joules=None, reason="too_short: the window is shorter than the meter's period")
    run = make_run(
        phases=(Phase(name="inference", start_s=0.0, end_s=0.01, energy=(gone,)),),
        totals={"cpu": Total(joules=None, source="measured", channels=("cpu:0",), reason="too_short: as above")},
    )
    for row in table(run):
        assert row["joules"] == row["mean_power_w"] == row["j_per_token"] == ""
        assert row["reason"].startswith("too_short: ")


def test_a_published_mean_and_a_failed_run_have_a_row_each() -> None:
    stated = only(table(PUBLISHED), level="stated")
    assert (stated["joules"], stated["j_per_token"], stated["mean_power_w"]) == ("600.0", "3.0", "60.0")
    assert stated["source"] == "A paper, Table 1"
    none = only(table(failed(make_run())), kind="failed")
    assert (none["level"], none["joules"], none["error"]) == ("none", "", "'=out of memory")
    assert none["reason"].startswith("failed")


def test_modelled_energy_says_so_in_each_row() -> None:
    assert {row["energy_source"] for row in table(make_run(meter=ESTIMATE))} == {"modelled"}


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
def test_numbers_keep_full_precision(joules: float) -> None:
    energy = Energy(channel="gpu:0", joules=joules)
    run = make_run(meter=NVML, phases=(Phase(name="inference", start_s=0.0, end_s=1.0, energy=(energy,)),), totals={})
    assert float(only(table(run), level="phase")["joules"]) == joules


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_no_text_begins_like_a_formula_and_every_text_can_be_had_back(name: str) -> None:
    (cell,) = {row["model"] for row in table(make_run(model=name))}
    assert cell[0] not in "=+-@\t\r＝＋－＠"
    assert cell.removeprefix("'") == name


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1"])
def test_a_hostile_name_is_text_for_a_spreadsheet(name: str) -> None:
    assert {row["model"] for row in table(make_run(model=name))} == {f"'{name}"}


def test_a_negative_number_is_a_number() -> None:
    run = make_run(
        phases=(Phase(name="inference", start_s=-0.5, end_s=1.0, energy=(Energy(channel="x", joules=1.0),)),)
    )
    assert only(table(run), level="phase")["start_s"] == "-0.5"


def test_json_lines_come_back_byte_for_byte_with_their_traces(tmp_path: Path) -> None:
    records = [make_run(), failed(make_run()), PUBLISHED]
    folder = store(tmp_path / "results", *records)
    assert main(f"export {folder} --format jsonl --out {tmp_path / 'out.jsonl'}".split()) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (folder / "a.jsonl").read_bytes()
    back = [stored.record for stored in read_results([tmp_path / "out.jsonl"], pytest.fail)]
    assert back == [msgspec.json.decode(encode(record), type=Record) for record in records]
    assert back[0].decoded_trace() == records[0].decoded_trace() is not None


def test_bad_lines_are_named_and_skipped_and_strict_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = store(tmp_path / "r", make_run())
    (folder / "b.jsonl").write_text("{broken\n")
    assert main(f"export {folder} --format csv".split()) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0].split(",") == [column.name for column in COLUMNS]
    assert "b.jsonl:1" in err
    assert main(f"export {folder} --format csv --strict --out {tmp_path / 'x'}".split()) == 2
    assert not (tmp_path / "x").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_an_input_is_never_written_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = store(tmp_path / "r", make_run())
    before = (folder / "a.jsonl").read_bytes()
    assert main(f"export {folder} --format csv --out {folder / 'a.jsonl'}".split()) == 2
    assert "one of the files to read" in capfd.readouterr().err
    assert (folder / "a.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--format parquet", "--out FILE"),
        ("--format csv --out /nowhere/at/all", "Cannot write"),
        ("--format csv --model dummy:llama-tinny", "The nearest known name is dummy:llama-tiny."),
        ("--format model-card", "Name it: --model NAME"),
    ],
)
def test_mistakes_are_named_with_a_remedy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    folder = store(tmp_path / "r", make_run(), make_run(model="b"))
    assert main(f"export {folder} {words}".split()) == 2
    err = capfd.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    found: list[BadLine] = []
    with pytest.raises(LlmjoulesError, match="No record to export"):
        export([tmp_path], "csv", io.BytesIO(), on_bad=found.append)
    assert len(found) == 1


def test_a_table_is_written_in_a_tenth_of_the_memory_that_its_records_take() -> None:
    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            return len(data)

    def records(count: int) -> Iterator[Record]:
        line = encode(make_run())
        for _ in range(count):
            yield msgspec.json.decode(line, type=Record)

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        work()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    def write() -> None:
        write_csv((row for record in records(600) for row in rows_of(record)), Nowhere())  # type: ignore[arg-type]

    assert peak(write) < peak(lambda: list(records(600))) / 10


def test_parquet_holds_the_table_with_units(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = store(tmp_path / "r", make_run(), PUBLISHED, make_run(model="=1"))
    out = tmp_path / "t.parquet"
    assert main(f"export {folder} --format parquet --out {out}".split()) == 0
    found = parquet.read_table(out)
    assert found.column_names == [column.name for column in COLUMNS]
    assert found.schema.field("joules").metadata == {
        b"unit": b"J",
        b"meaning": b"empty where it could not be measured; reason then says why",
    }
    expected = [
        row for record in (stored.record for stored in read_results([folder], pytest.fail)) for row in rows_of(record)
    ]
    assert [tuple(row.values()) for row in found.to_pylist()] == expected


def test_parquet_leaves_out_an_integer_that_it_cannot_hold_and_makes_half_a_surrogate_pair_a_question_mark(
    tmp_path: Path,
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from llmjoules.records.export_parquet import write_parquet

    run = make_run()
    run.model = msgspec.structs.replace(run.model, name="\ud800é", parameters=2**64)
    with (tmp_path / "t").open("wb") as stream:
        write_parquet(rows_of(run), stream)
    found = parquet.read_table(tmp_path / "t", columns=["model", "parameters", "threads"]).to_pylist()
    assert set(map(tuple, (row.values() for row in found))) == {("?é", None, 1)}


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from llmjoules.records import export_parquet

    monkeypatch.setattr(export_parquet, "ROW_GROUP", 4)
    count = len(list(rows_of(make_run())))
    with (tmp_path / "t").open("wb") as stream:
        export_parquet.write_parquet(rows_of(make_run()), stream)
    file = parquet.ParquetFile(tmp_path / "t")
    assert file.num_row_groups == -(-count // 4)
    assert file.metadata.num_rows == count


def test_a_data_frame_has_the_table_with_missing_values_and_types(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    import llmjoules

    folder = store(tmp_path / "r", make_run(), PUBLISHED)
    frame = llmjoules.to_pandas(folder)
    assert list(frame.columns) == [column.name for column in COLUMNS]
    assert str(frame["repeat"].dtype) == "Int64"
    assert frame.loc[frame.level == "total", "joules"].tolist() == [80.0]
    assert pandas.isna(frame.loc[frame.level == "stated", "repeat"].iloc[0])
    run = make_run()
    assert llmjoules.to_pandas(run).equals(llmjoules.to_pandas([run]))
    assert len(llmjoules.to_pandas([run, run])) == 2 * len(llmjoules.to_pandas(run))


def test_a_file_of_the_studys_goes_through_both_commands(tmp_path: Path) -> None:
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not shared.exists():
        pytest.skip("needs ../shared")
    expected = json.loads((shared / "EXPECTED.json").read_text())
    name = "llama2-mps.csv"
    file = shared / "energy-inference" / "hotcarbon24" / name
    assert main(["import", "energy-inference", str(file), "--out", str(tmp_path / name)]) == 0
    assert main(["export", str(tmp_path / name), "--format", "csv", "--out", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    joules = [float(row["joules"]) for row in found if row["level"] == "total" and row["component"] == "gpu"]
    answer = expected[f"energy-inference/hotcarbon24/{name}"]["phases"]["inference"]["gpu_j"]
    assert len(joules) == answer["n"]
    assert fmean(joules) == pytest.approx(answer["mean"], rel=1e-6)
    assert stdev(joules) == pytest.approx(answer["sd"], rel=1e-6)


@pytest.mark.parametrize("form", ["csv", "jsonl", "model-card"])
def test_where_there_is_nothing_to_export_nothing_is_written(
    form: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "empty.jsonl").touch()
    for words in (
        [tmp_path / "empty.jsonl"],
        [tmp_path / "missing"],
        [store(tmp_path / "r", make_run()), "--model", "another"],
    ):
        assert main(["export", *map(str, words), "--format", form]) == 2
        assert capsysbinary.readouterr().out == b""


def test_without_their_libraries_parquet_and_frames_say_how_to_install_them(tmp_path: Path) -> None:
    """pyarrow and pandas are hidden from the import system, as in the base install."""
    store(tmp_path / "r", make_run())
    code = (
        "import sys; sys.modules.update(pyarrow=None, pandas=None); from llmjoules.cli import main; import llmjoules\n"
        "code = main(sys.argv[1:])\n"
        "try: llmjoules.to_pandas(sys.argv[2])\n"
        "except llmjoules.LlmjoulesError as error: print(error, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    words = f"export {tmp_path / 'r'} --format parquet --out {tmp_path / 'x'}".split()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install '.[site]' in a clone of llmjoules, or 'llmjoules[site]'" in done.stderr
    assert "pip install pandas" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_every_column_is_documented_with_its_unit() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "export.md").read_text("utf-8")
    for column in COLUMNS:
        assert f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |" in text


def card(*records: Record) -> str:
    from llmjoules.records.export_card import write_card

    stream = io.BytesIO()
    write_card(records, stream)
    return stream.getvalue().decode()


def real(**more: Any) -> Record:
    run = make_run(model="a/b", meter=NVML, **more)
    return msgspec.structs.replace(run, model=msgspec.structs.replace(run.model, weights="real"))


def test_a_model_card_has_metadata_that_the_hub_reads() -> None:
    repocard = pytest.importorskip("huggingface_hub.repocard")
    text = card(*(real(load=f"l{n}", inference_w=40.0 + n) for n in range(3)))
    data = repocard.ModelCard(text).data
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_name) == (
        "energy_per_output_token_joules",
        "7 prompt tokens, 20 new tokens, batch 1, greedy, float32",
    )
    assert result.metric_value == pytest.approx(4.1)  # 41 W x 2 s / 20 tokens
    # t(2) = 4.3027, sd of 4.0, 4.1, 4.2 is 0.1: 4.3027 x 0.1 / sqrt(3)
    assert result.metric_args["interval_95_half_width"] == pytest.approx(0.24842, rel=1e-4)
    assert result.metric_args["interval_over"] == "loads"
    assert "gain ± 5 %" in result.metric_args["method"]
    assert data.model_name == "a/b"
    assert "co2_eq_emissions" not in text
    assert "| 4.10 ± 0.25 |" in text


def test_a_model_card_keeps_estimates_and_dummies_out_of_the_metadata_and_labels_them() -> None:
    repocard = pytest.importorskip("huggingface_hub.repocard")
    for record, label in ((make_run(meter=ESTIMATE), "ESTIMATED"), (make_run(), "dummy weights")):
        text = card(record)
        assert repocard.ModelCard(text).data.eval_results is None
        assert label in text


def test_repeats_from_another_tools_file_are_one_row_of_a_model_card() -> None:
    origin = Origin(tool="a log", file="x.csv", sha256="0" * 64)
    repeats = [
        msgspec.structs.replace(
            PUBLISHED, id=f"p{n}", source=f"a log: x.csv, line {n}", origin=origin, cell="c",
            load=Load(id=f"l{n}", first=True), figures=None, workload=Workload(new_tokens=10, batch_size=1),
            totals={"gpu": Total(joules=20.0 + n, source="measured")},
        )
        for n in (0, 2)
    ]  # fmt: skip
    (row,) = [line for line in card(*repeats).splitlines() if "a log, x.csv" in line and line.startswith("|")]
    assert "| 2.1 ± 1.3 |" in row  # of 2.0 and 2.2: t(1) = 12.7062 times 0.1
    assert row.endswith("| 2 \\(2\\) |")


def test_a_figure_that_is_not_of_the_inference_says_so_and_stays_out_of_the_metadata() -> None:
    text = card(msgspec.structs.replace(PUBLISHED, flags=("not_as_headed:gpu",)))
    assert "\nmodel-index:" not in text
    assert "flags: not\\_as\\_headed:gpu" in text
    assert "| a stated mean |" in text


@pytest.mark.parametrize(
    ("value", "half", "said"),
    [(840.1238, 4.2342, "840.1 ± 4.2"), (6061.2, 104.16, "6060 ± 100"), (0.0123, 0.00049, "0.01230 ± 0.00049"),
     (4.0, 0.0, "4.000 ± 0.000"), (4.0, None, "4.00"), (None, 1.0, "–"), (2.0, float("nan"), "2.00")],
)  # fmt: skip
def test_a_mean_has_as_many_digits_as_its_half_width(value: float | None, half: float | None, said: str) -> None:
    assert in_words(value, half) == said


def test_a_wide_interval_reads_alike_in_the_terminal_and_on_a_model_card() -> None:
    """8 and 30 W: the half-width of two loads is larger than the mean of their joules per token."""
    runs = [make_run(load=str(n), inference_w=8.0 + 22 * n) for n in (0, 1)]
    [shown] = {column.header: list(column.cells) for column in next(summary(runs)).columns}["J/token"]
    assert shown == "1.9 ± 14.0"  # 0.8 and 3.0: t(1) = 12.706 times 1.1
    assert f"| {shown} |" in card(*runs)


@given(st.text(min_size=1))
def test_no_name_breaks_a_model_card(name: str) -> None:
    repocard = pytest.importorskip("huggingface_hub.repocard")
    run = real()
    record = msgspec.structs.replace(
        run, model=msgspec.structs.replace(run.model, name=name), system=msgspec.structs.replace(run.system, name=name)
    )
    text = card(record)
    assert len(repocard.ModelCard(text).data.eval_results) == 1
    heading, line = (line for line in text.split("\n") if line.startswith("| "))
    assert "J per output token" in heading
    assert line.replace("\\\\", "").replace("\\|", "").count("|") == 8
    assert "<" not in line


def test_the_schema_of_a_card_is_plain_json_strings() -> None:
    text = card(real(system='"\n---\nlicense: x'))
    assert not any(line.startswith("license") for line in text.splitlines())
    assert json.loads(text.split("        system: ")[1].split("\n")[0]).startswith('" --- license: x')
