"""Every format in miniature, with answers worked out by hand; and files as they really arrive."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmjoules.cli import main
from llmjoules.records import stats
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers import Importer, Note, hookimpl, registry
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Options, Units
from llmjoules.records.record import Published
from tests.builders import make_run
from tests.records.importing import Read, phase_j, run, stored
from tests.records.miniatures import (
    CONFIGURATION,
    EMISSIONS,
    LAB,
    MAPPING,
    POWER,
    PYJOULES,
    REPORT,
    RUNS,
    SMI,
    SPL,
    TELEMETRY,
    TEXTS,
    UPROF,
    V2,
    ZEUS,
)


def test_a_pyjoules_log(write: Any) -> None:
    read = Read("energy-inference", write(PYJOULES, "tiny-cuda-2.csv"))
    first, second = read.records
    assert (first.model.name, first.system.devices_used, first.system.strategy) == ("tiny", 2, "device-map")
    assert first.totals["gpu"].joules == pytest.approx(1600.0)  # 900 + 700
    assert phase_j(first, "model+pipeline") == pytest.approx(1210.0)
    assert stats.tokens_per_s(first) == pytest.approx(25.0)  # 200 assumed in 8 s
    assert stats.joules_per_token(second, "gpu") == pytest.approx(9.5)
    assert [record.repeat for record in read.records] == [0, 1]
    assert first.load != second.load
    assert first.cell == second.cell
    assert first.origin is not None
    assert (first.origin.line, second.origin.line if second.origin else 0) == (2, 5)
    assert first.origin.units == {"nvidia_gpu_0": "mJ", "nvidia_gpu_1": "mJ"}
    assert first.started_at == "2023-11-14T22:13:20.000Z"


def test_a_short_phase_on_a_counter_is_unresolved_also_where_it_shows_joules(write: Any) -> None:
    text = PYJOULES.replace("pipeline load;10.0;600000;610000", "pipeline load;0.01;0;7000", 1)
    record = Read("energy-inference", write(text)).records[0]
    assert [energy.joules for energy in record.phases[1].energy] == [None, None]
    assert all((energy.reason or "").startswith("unresolved: ") for energy in record.phases[1].energy)


def test_a_powermetrics_table_without_a_header(write: Any) -> None:
    record = Read("energy-inference", write(POWER, "tiny-7b-2024-04-04-15-14-54-power.csv")).only
    assert record.model.name == "tiny-7b"
    assert [phase.name for phase in record.phases] == ["model+pipeline", "inference"]
    assert phase_j(record, "model+pipeline", "cpu") == pytest.approx(1.6)  # 4 W for 0.4 s
    assert record.totals["gpu"].joules == pytest.approx(5.6)  # 10 W × 0.2 s + 12 W × 0.3 s
    assert phase_j(record, "inference", "cpu", share=True) == pytest.approx(0.3)  # 3/4 of 2 W for 0.2 s
    assert set(record.flags) == {"share_incomplete:cpu", "tokens_assumed"}
    assert record.workload.new_tokens == 64


def test_a_run_file_with_line_breaks_in_prompts_and_the_line_ends_of_a_spreadsheet(write: Any) -> None:
    text = "\ufeff" + RUNS.replace("\n", "\r\n").replace('is\r\nthis?"', 'is\nthis?"')
    read = Read("energy-inference", write(text))
    assert not read.bad
    first, second = read.records
    assert [phase.name for phase in first.phases] == ["tokenizer", "model", "inference"]
    assert (second.tokens.generated if second.tokens else None) == 30  # 38 in all, 8 of them read
    assert stats.joules_per_token(second, "gpu") == pytest.approx(5.0)  # 150 J
    assert (second.workload.batch_size, second.repeat) == (1, 1)
    assert second.origin is not None
    assert second.origin.line == 6


def test_counts_rounded_by_hand_give_no_joules_per_token(write: Any) -> None:
    read = Read("energy-inference", write(RUNS.replace(",40,32,argonne", ",41,32,argonne")))
    assert [record.tokens for record in read.records] == [None, None]
    assert stats.joules_per_token(read.records[0], "gpu") is None
    assert any("rounded by hand" in note for note in read.notes)


def test_microjoules_over_millijoules_are_flagged_until_somebody_confirms(write: Any, tmp_path: Path) -> None:
    path, out = write(RUNS.replace("(mJ)", "(uJ)")), tmp_path / "out"
    report, _ = run("energy-inference", path, out)
    assert [record.totals["gpu"].joules for record in stored(out)] == [pytest.approx(0.3), pytest.approx(0.15)]
    doubt = report.doubts["power_below_idle:gpu"]
    assert (doubt.count, doubt.line) == (2, 2)
    assert "a thousand times more, 150 W, would be possible" in doubt.example
    again = tmp_path / "again"
    report, _ = run("energy-inference", path, again, units=Units({"GPU Energy (uJ)": "mJ"}, by="A. Tester"))
    first = stored(again)[0]
    assert not report.doubts
    assert first.totals["gpu"].joules == pytest.approx(300.0)
    (correction,) = first.origin.corrections
    assert (correction.column, correction.stated, correction.taken) == ("GPU Energy (uJ)", "uJ", "mJ")
    assert correction.by == "A. Tester"


def test_a_sum_column_in_another_unit_is_said_and_not_used(write: Any) -> None:
    text = RUNS.replace("GPU Energy (mJ)", "GPU-0 Energy (mJ)").replace("CPU Core\n", "GPU Energy (J)\n")
    for energy in ("20000", "3000000", "300000", "150000"):
        text = text.replace(f",{energy},32,", f",{energy},32,", 1)
    text = text.replace("argonne-swing,1\n", "argonne-swing,150000\n")
    read = Read("energy-inference", write(text))
    assert read.records[1].totals["gpu"].joules == pytest.approx(150.0)
    assert "sum_column_doubtful:gpu" in read.records[1].flags


def test_a_trace_of_nvidia_smi_of_three_gpus_is_not_one_series(write: Any) -> None:
    record = Read("energy-inference", write(SMI)).only
    assert record.system.devices_used == 3
    assert [energy.joules for energy in record.phases[0].energy] == pytest.approx([80.0, 160.0, 240.0])  # 0.8 s


def test_a_cut_last_line_of_a_trace_is_bad_even_where_it_looks_like_a_number(write: Any) -> None:
    read = Read("energy-inference", write(SMI + "2024/04/02 07:36:22.910, 36"))
    assert [(bad.line, "cut" in bad.why) for bad in read.bad] == [(29, True)]
    assert read.only.totals["gpu"].joules == pytest.approx(480.0)


def test_a_timechart_over_midnight_goes_on_with_the_next_day(write: Any) -> None:
    record = Read("energy-inference", write(UPROF)).only
    assert record.phases[0].duration_s == pytest.approx(0.2)
    assert record.totals["cpu"].joules == pytest.approx(35.0)  # 0.1 s at 150 W, 0.1 s at 200 W


def test_codecarbon_rows_are_cumulative_and_its_ram_is_modelled(write: Any) -> None:
    one, two = Read("codecarbon", write(EMISSIONS)).records
    assert one.totals["gpu"].joules == pytest.approx(7200.0)  # 0.002 kWh of the last row, not 0.003 of both
    assert one.totals["dram"].joules == pytest.approx(72.0)
    assert [one.totals[name].source for name in ("gpu", "cpu", "dram")] == ["measured", "modelled", "modelled"]
    assert (one.system.devices_used, one.system.accelerators[0].name) == (2, "NVIDIA A40")
    assert two.totals["gpu"].joules is None
    assert (two.totals["gpu"].reason or "").startswith("unresolved: ")


def test_ml_energy_v3(write: Any) -> None:
    record = Read("ml-energy", write(TEXTS["ml-energy"])).only
    assert stats.joules_per_token(record, "gpu") == 0.5
    assert stats.implied_power_w(record, "gpu") == 1000.0
    assert record.flags == ()
    assert record.figures is not None
    assert record.figures.itl_s == {"p50": 0.02}
    assert (record.system.devices_used, record.system.strategy) == (2, "tensor-parallel 2")


def test_ml_energy_columns_that_do_not_fit_together_are_flagged(write: Any) -> None:
    wrong = {"configurations": [{**CONFIGURATION, "energy_per_token_joules": 0.6}]}
    assert set(Read("ml-energy", write(json.dumps(wrong))).only.flags) == {
        "per_token_not_joules:gpu",
        "power_not_per_token:gpu",
    }


def test_ml_energy_v2_and_its_older_tables(write: Any) -> None:
    record = Read("ml-energy-v2", write(json.dumps(V2))).only
    assert stats.joules_per_token(record, "gpu") == 0.5
    assert (record.system.devices_used, record.workload.batch_size) == (4, 32)
    old = "model,throughput,response_length,latency,energy\norg/old-7b,20.0,200.0,10.5,1500.0\n"
    record = Read("ml-energy-v2", write(old, "A40_chat_benchmark.csv")).only
    assert stats.joules_per_token(record, "gpu") == 7.5
    assert stats.implied_power_w(record, "gpu") == pytest.approx(142.857, rel=1e-5)


def test_optimum_benchmark_report(write: Any, tmp_path: Path) -> None:
    config = {
        "backend": {"model": "org/tiny-8B"},
        "scenario": {"num_samples": 10, "generate_kwargs": {"max_new_tokens": 101}, "input_shapes": {"batch_size": 1}},
        "environment": {"gpu": ["NVIDIA H100 80GB HBM3"], "gpu_vram_mb": 85520809984},
    }
    write(json.dumps(config), "benchmark_config.json")
    write('{"duration": 100.0}', "prefill_codecarbon.json")
    write('{"duration": 300.0}', "generate_codecarbon.json")
    record = Read("optimum-benchmark", write(json.dumps(REPORT), "benchmark_report.json")).only
    assert record.totals["gpu"].joules == pytest.approx(144000.0)  # 0.04 kWh
    assert record.totals["dram"].joules is None
    assert stats.joules_per_token(record, "gpu") == pytest.approx(108.0)  # 0.03 kWh over 10 × 100
    assert stats.tokens_per_s(record) == pytest.approx(5.0)
    assert stats.inference_s(record) == 300.0


def test_aiperf_reads_megajoules_of_a_counter_since_boot(write: Any) -> None:
    record = Read("aiperf", write(json.dumps(TELEMETRY))).only
    assert record.totals["gpu"].joules == pytest.approx(15000.0)  # not 220 kJ
    assert record.phases[0].energy[1].joules == pytest.approx(15500.0)  # 310 W for 50 s


def test_aiperf_without_an_endpoint_says_so(write: Any) -> None:
    empty = {"telemetry_data": {**TELEMETRY["telemetry_data"], "endpoints": {}}}
    with pytest.raises(LlmjoulesError, match="No energy"):
        Read("aiperf", write(json.dumps(empty)))


def test_mlperf_scores_the_window_and_not_the_mark(write: Any) -> None:
    path = write(SPL, "box-tiny-offline-run_1-spl.txt")
    whole = Read("mlperf-power", path).only
    assert whole.totals["wall"].joules == pytest.approx(10300.0)  # 2000 + 3100 + 3150 + 2050
    write(':::MLLOG {"key": "power_begin", "value": "07-17-2024 07:00:00.500", "time_ms": 1}\n'
          ':::MLLOG {"key": "power_end", "value": "07-17-2024 07:00:03.500", "time_ms": 2}\n',
          "box-tiny-offline-run_1-mlperf_log_detail.txt")  # fmt: skip
    write("Samples per second: 10\nTokens per second: 1000\n", "box-tiny-offline-run_1-mlperf_log_summary.txt")
    record = Read("mlperf-power", path).only
    assert (record.system.name, record.model.name) == ("box", "tiny")
    assert record.totals["wall"].joules == pytest.approx(9300.0)  # mean of 3000, 3200, 3100 W for 3 s
    assert stats.joules_per_token(record, "wall") == pytest.approx(3.1)


def test_zeus_windows_carry_their_power_limit(write: Any) -> None:
    first, second = Read("zeus", write(ZEUS, "A40+tiny+gpu0,1.csv")).records
    assert first.totals["gpu"].joules == 4100.0
    assert [board.power_limit_w for board in second.system.accelerators] == [200.0, 200.0]
    assert first.cell != second.cell


def test_any_table_with_a_mapping(write: Any) -> None:
    mapping = write(MAPPING, "lab.toml")
    first, second = Read("csv", write(LAB), mapping=str(mapping)).records
    assert first.totals["gpu"].joules == pytest.approx(500.0005)
    assert stats.joules_per_token(second, "gpu") == pytest.approx(5.1)
    assert stats.implied_power_w(first, "gpu") == pytest.approx(200.0002)
    assert first.load == second.load
    assert [first.repeat, second.repeat] == [0, 1]


def test_own_records_go_through_unchanged(tmp_path: Path) -> None:
    from llmjoules.records.store import ResultsFile

    results = ResultsFile(tmp_path / "a", "x")
    original = make_run()
    results.append(original)
    results.close()
    report, _ = run("llmjoules", results.path, tmp_path / "b")
    assert (report.new, stored(tmp_path / "b")) == (1, stored(tmp_path / "a"))


@pytest.mark.parametrize("format_name", TEXTS)
def test_a_second_import_adds_nothing_and_each_record_says_where_it_was_read(
    format_name: str, write: Any, tmp_path: Path
) -> None:
    path, out = write(TEXTS[format_name], "source.txt"), tmp_path / "out"
    first, _ = run(format_name, path, out)
    again, _ = run(format_name, path, out)
    assert first.new > 0
    assert (again.new, again.there) == (0, first.new)
    for record in stored(out):
        assert isinstance(record, Published)
        assert record.origin is not None
        assert (record.origin.file, len(record.origin.sha256)) == ("source.txt", 64)
        assert str(tmp_path) not in repr(record)


@pytest.mark.parametrize("format_name", TEXTS)
def test_a_compressed_file_is_read_as_well(format_name: str, write: Any) -> None:
    plain = Read(format_name, write(TEXTS[format_name], "source.txt")).records
    packed = Read(format_name, write(gzip.compress(TEXTS[format_name].encode()), "source.txt.gz")).records
    assert [record.totals for record in packed] == [record.totals for record in plain]


def test_what_no_record_keeps_is_listed(write: Any, tmp_path: Path) -> None:
    report, _ = run("energy-inference", write(RUNS), tmp_path / "out")
    assert report.unmapped["column Prompt"] == 1
    report, _ = run("codecarbon", write(EMISSIONS, "e.csv"), tmp_path / "out")
    assert report.unmapped["column emissions"] == 1


def test_settings_name_what_the_file_does_not(write: Any) -> None:
    settings = {"model": "Big", "system": "lab", "accelerator": "NVIDIA V100", "new_tokens": "100", "study": "s"}
    record = Read("energy-inference", write(PYJOULES), **settings, licence="CC-BY-4.0").records[0]
    assert (record.model.name, record.system.name, record.study) == ("Big", "lab", "s")
    assert record.workload.new_tokens == 100
    assert record.origin is not None
    assert record.origin.licence == "CC-BY-4.0"
    assert "tokens_assumed" not in record.flags


def test_the_importer_in_the_documentation_works(write: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    (importer,) = names["llmjoules_importers"]()
    file = SourceFile(write("seconds,joules\n2.0,300\n3.0,x\n"))
    assert importer.matches(file)
    record, bad = importer.read(file, Options(), Units())
    assert record.totals["gpu"].joules == 300.0
    assert (bad.line, "'x' is not a number" in bad.why) == (3, True)


def test_the_mapping_in_the_documentation_works(write: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    mapping = write(page.split("```toml\n")[1].split("```")[0], "lab.toml")
    assert stats.joules_per_token(Read("csv", write(LAB), mapping=str(mapping)).records[1], "gpu") == pytest.approx(5.1)


def test_every_format_stands_in_the_documentation_and_in_the_help() -> None:
    from llmjoules.records.importers.registry import Importers

    importers = Importers()
    assert not importers.faults
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    for name in importers.by_name:
        assert f"| `{name}` |" in page


def test_the_command_says_what_it_did_and_what_is_doubtful(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(RUNS.replace("(mJ)", "(uJ)") + "cut,line\n"), str(tmp_path / "out")
    assert main(["import", "energy-inference", str(path), "--out", out]) == 0
    said = capsys.readouterr()
    assert said.err == f"Skipped {path}:8: 2 fields instead of 14. Was it cut off, or a separator lost?\n"
    assert "Doubtful: power_below_idle:gpu in 2 records, first file.csv, line 2: " in said.out
    (written,) = (tmp_path / "out").glob("*.jsonl")
    remedy = f"delete {written} and import again with --unit 'GPU Energy (uJ)=UNIT' --by 'YOUR NAME'"
    assert f"Read: GPU Energy (uJ) as uJ. If one holds another unit, {remedy}" in said.out.replace("\n", " ")
    assert "Not kept: column Prompt" in said.out
    assert said.out.endswith(f"2 new, 1 bad lines skipped; results in {out}/\n")
    assert main(["import", "energy-inference", str(path), "--out", out]) == 0
    assert "0 new, 2 already there" in capsys.readouterr().out
    assert main(["import", "energy-inference", str(path), "--out", out, "--strict"]) == 2
    assert main(["import", "codecarbon", str(path), "--out", out]) == 2
    assert "It looks like energy-inference." in capsys.readouterr().err
    assert main(["import", "energy-inference", str(path), "--out", out, "--unit", "mJ"]) == 2
    assert "Bad --unit 'mJ'." in capsys.readouterr().err


def test_what_the_job_says_beside_a_trace_is_read_though_it_is_no_valid_yaml(write: Any) -> None:
    job = (
        "job:\n  date: 2024-04-02\n  start_time: 21-58-06\n  details:\n    model_name: tiny-7b\n"
        "    system_name: M1-Pro\n    num_tokens: 32\n    prompt-I: #include <a.h>\n#include <b.h>\n"
    )
    write(job, "x-21-58-06-job_info.yaml")
    text = POWER.replace("inference-64-0", "inference-A-0")
    record = Read("energy-inference", write(text, "x-21-58-06-power.csv")).only
    assert (record.model.name, record.system.name, record.workload.new_tokens) == ("tiny-7b", "M1-Pro", 32)


class Broken(Importer):
    name = "broken"
    summary = "a plug-in with a defect"

    def matches(self, file: SourceFile) -> bool:
        return True

    def read(self, file: SourceFile, options: Any, units: Units) -> Iterator[Any]:
        yield Note("so far so good")
        raise IndexError("list index out of range")


def test_an_importer_that_fails_is_named_without_a_traceback(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        name = "broken"

        def load(self) -> Any:
            module = ModuleType("broken")
            module.llmjoules_importers = hookimpl(lambda: [Broken()])  # type: ignore[attr-defined]
            return module

    class Spoilt:
        name = "spoilt"

        def load(self) -> Any:
            raise ImportError("no such library")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Installed(), Spoilt()])
    with pytest.raises(LlmjoulesError, match=r"broken cannot read file.csv on") as raised:
        run("broken", write("x"), tmp_path / "out")
    assert "IndexError: list index out of range" in raised.value.why
    assert [fault.origin for fault in registry.Importers().faults] == ["spoilt"]
