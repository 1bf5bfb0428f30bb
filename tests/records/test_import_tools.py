"""Other tools' files, against answers that were worked out from them independently (../shared/data/EXPECTED.json)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmjoules.records import stats
from llmjoules.records.physics import findings
from llmjoules.records.record import Published
from tests.records.importing import DATA, Read, close, expected, needs_data, phase_j

pytestmark = needs_data


def files(pattern: str) -> list[Path]:
    return sorted(DATA.glob(pattern))


def figures(record: Published) -> Any:
    assert record.figures is not None
    return record.figures


@pytest.mark.parametrize("task", ["lm-arena-chat", "sourcegraph-fim"])
def test_ml_energy_v3(task: str) -> None:
    name = f"ml-energy-v3/tasks/{task}.json"
    right = expected()[name]
    records = Read("ml-energy", DATA / name).records
    assert len(records) == right["configurations"]
    groups: dict[tuple[object, ...], list[Published]] = {}
    for record in records:
        groups.setdefault((record.model.name, record.system.name, record.system.devices_used), []).append(record)
    assert len(groups) == right["groups"]
    for minimum in right["minima"]:
        group = groups[minimum["model"], minimum["gpu"], minimum["gpus"]]
        lowest = min(group, key=lambda record: stats.joules_per_token(record, "gpu") or 0.0)
        assert len(group) == minimum["configs"]
        assert close(stats.joules_per_token(lowest, "gpu"), minimum["min_energy_per_token_joules"])
        assert lowest.workload.batch_size == minimum["at_max_num_seqs"]
    assert not [finding for record in records for finding in findings(record)]  # they hold to the last bit


def test_ml_energy_v2() -> None:
    right = expected()["ml-energy-v2/data/llm_text_generation"]
    records = Read("ml-energy-v2", *files("ml-energy-v2/data/llm_text_generation/**/*.json")).records
    assert len(records) == right["files"]
    for group in right["groups"]:
        key = group["model"], group["gpu"], group["gpus_tp_x_pp"]
        found = [r for r in records if (r.model.name, r.system.name, r.system.devices_used) == key]
        lowest = min(found, key=lambda record: stats.joules_per_token(record, "gpu") or 0.0)
        assert len(found) == group["files"]
        assert close(stats.joules_per_token(lowest, "gpu"), group["min_j_per_output_token"])
        assert lowest.workload.batch_size == group["at_max_batch"]
        assert stats.implied_power_w(lowest, "gpu") == pytest.approx(group["implied_mean_power_w_at_min"], rel=1e-4)


@pytest.mark.parametrize("board", ["A100", "A40"])
def test_ml_energys_older_tables(board: str) -> None:
    right = expected()[f"ml-energy-v2/data/legacy/{board}_chat_benchmark.csv"]
    records = Read("ml-energy-v2", DATA / f"ml-energy-v2/data/legacy/{board}_chat_benchmark.csv").records
    assert len(records) == right["models"]
    for record in records:
        name = record.model.name
        assert close(stats.joules_per_token(record, "gpu"), right["j_per_output_token"][name])
        assert stats.implied_power_w(record, "gpu") == pytest.approx(right["mean_power_w"][name], rel=1e-4)


@pytest.mark.parametrize("path", files("mlperf-v4.1/*spl.txt*"), ids=lambda path: path.name)
def test_mlperf_power_logs(path: Path) -> None:
    right = expected()[f"mlperf-v4.1/{path.name}"]
    begin, end = right["window"]
    record = Read("mlperf-power", path, begin=begin, end=end).only
    job = next(phase for phase in record.phases if phase.name == "job")
    assert close(job.duration_s, right["span_s"])
    assert close(phase_j(record, "job", "wall"), right["trapezoid_j_whole_mark"])
    assert job.energy[0].largest_gap_s == pytest.approx(right["max_gap_s"])
    assert close(stats.inference_s(record), right["window_s"])
    assert close(record.totals["wall"].joules, right["window_energy_j_mean_w_times_s"])
    assert close(figures(record).power_w, right["window_mean_w"])
    derived = right.get("derived", {})
    assert close(figures(record).j_per_request, derived.get("j_per_sample"))
    assert close(figures(record).j_per_token, derived.get("j_per_token", derived.get("j_per_token_inferred")))


@pytest.mark.parametrize("path", files("zeus/*.csv"), ids=lambda path: path.name)
def test_zeus_windows(path: Path) -> None:
    right = expected()[f"zeus/{path.name}"]
    records = Read("zeus", path).records
    assert len(records) == right["windows"]
    assert {record.system.devices_used for record in records} == {right["gpus"]}
    assert close(sum(record.totals["gpu"].joules or 0.0 for record in records), right["total_j"])
    for record, window in zip(records, right["per_window"], strict=True):
        assert close(record.phases[0].duration_s, window["s"])
        assert close(record.totals["gpu"].joules, window["j"])
        assert str(int(record.system.accelerators[0].power_limit_w or 0)) == window["window"].rsplit("_")[-1]


@pytest.mark.parametrize("path", files("codecarbon/*.csv"), ids=lambda path: path.name)
def test_codecarbon_takes_the_last_row_of_each_run(path: Path) -> None:
    right = expected()[f"codecarbon/{path.name}"]
    read = Read("codecarbon", path)
    assert len(read.bad) == right["broken_rows"]
    assert len(read.records) == right["runs"]
    for run in right["per_run"]:
        record = next(record for record in read.records if record.model.name == run["project"])
        joules = {energy.channel: energy.joules for energy in record.phases[0].energy}
        assert close(sum(value for value in joules.values() if value is not None), run["last_row_j"])
        assert close(joules["gpu"] or 0.0, run["last_row_gpu_j"])
        assert record.totals["dram"].source == "modelled"
        assert record.totals["gpu"].source == "measured"


def test_optimum_benchmark() -> None:
    name = "optimum-benchmark/benchmark_report.json"
    right = expected()[name]
    read = Read("optimum-benchmark", DATA / name)
    inference = read.records[-1]
    found = {}
    for record, phase in zip(read.records[:-1], ("load_dataset", "preprocess_dataset"), strict=True):
        assert phase in record.source
        found[phase] = record.phases[0].energy
    found["load_model"] = inference.phases[0].energy
    found |= {part.name: part.energy for part in inference.phases[1].parts}
    for phase, joules in right["phase_gpu_j"].items():
        assert close(next(energy.joules for energy in found[phase] if energy.channel == "gpu"), joules)
    for phase, joules in right["phase_total_j"].items():
        assert close(sum(energy.joules or 0.0 for energy in found[phase]), joules)
    decode = inference.phases[1].parts[1]
    assert close(decode.end_s - decode.start_s, right["generate_s_minus_prefill_s"])
    assert close(figures(inference).tokens_per_s, right["implied_decode_tokens_per_s"])
    decode_j = sum(energy.joules or 0.0 for energy in decode.energy)
    gpu_j = next(energy.joules or 0.0 for energy in decode.energy if energy.channel == "gpu")
    assert close(figures(inference).j_per_token * decode_j / gpu_j, right["j_per_token_as_reported_total"])
    assert "rate_above_bandwidth" in inference.flags


def test_aiperf_energy_is_max_less_min_of_the_counter() -> None:
    right = expected()["aiperf/telemetry_data-h100.json"]
    record = Read("aiperf", DATA / "aiperf/telemetry_data-h100.json").only
    assert close(record.phases[0].duration_s, right["span_s"])
    assert close(record.totals["gpu"].joules, right["energy_j_from_counter_max_minus_min"])
    assert close(record.phases[0].energy[0].joules, right["energy_j_from_mean_power"]) or close(
        record.phases[0].energy[1].joules, right["energy_j_from_mean_power"]
    )
    assert "lower_bound:gpu" in record.flags
