"""The study's files, against answers that were worked out from them independently (../shared/data/EXPECTED.json)."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from llmjoules.records import stats
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Published
from tests.records.importing import DATA, Read, close, expected, needs_data, phase_j

pytestmark = needs_data
STUDY = DATA / "energy-inference"
LABELS = {"tokenizer": "tokenizer", "model load": "model", "load model": "model+pipeline", "inference": "inference"}
RUN_FILES = {
    "input-token-test-swing": {"GPU Energy (uJ)": "mJ"},
    "independence-all-stats-raw-4": {"GPU Energy (J)": "mJ"},
}


def summary(values: list[float]) -> dict[str, Any]:
    return {"n": len(values), "mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}


def agrees(values: list[float], right: dict[str, Any]) -> bool:
    found = summary(values)
    return found["n"] == right["n"] and close(found["mean"], right["mean"]) and close(found["sd"], right["sd"])


def phase_of(label: str, labels: dict[str, Any]) -> str:
    if label == "pipeline load":
        return "pipeline" if "model load" in labels else "model+pipeline"
    return LABELS[label]


def having(records: list[Published], phase: str) -> list[Published]:
    return [record for record in records if any(p.name == phase for p in record.phases)]


def seconds(record: Published, phase: str) -> float:
    return next(p for p in record.phases if p.name == phase).duration_s


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_the_ladder_of_the_cluster(gpus: int) -> None:
    name = f"energy-inference/hotcarbon24/llama2-7b-cuda-{gpus}.csv"
    right = expected()[name]
    read = Read("energy-inference", DATA / name)
    assert not read.bad
    assert sum(len(record.phases) for record in read.records) == right["rows"]
    assert {record.system.devices_used for record in read.records} == {right["n_gpus"]}
    for label, figures in right["phases"].items():
        phase = phase_of(label, right["phases"])
        found = having(read.records, phase)
        assert agrees([phase_j(record, phase) or 0.0 for record in found], figures["gpu_j"])
        assert agrees([seconds(record, phase) for record in found], figures["runtime_s"])
    per_token = [stats.joules_per_token(record, "gpu") or 0.0 for record in read.records]
    assert agrees(per_token, right["inference"]["gpu_j_per_output_token"])
    assert agrees(
        [stats.tokens_per_s(record) or 0.0 for record in read.records], right["inference"]["tokens_per_s_mean_of_runs"]
    )
    assert all("tokens_assumed" in record.flags for record in read.records)


def test_a_phase_below_the_step_of_the_counter_is_unresolved_and_not_zero() -> None:
    record = Read("energy-inference", STUDY / "hotcarbon24/mixtral8x7b-cuda-4.csv").only
    assert phase_j(record, "pipeline") is None
    assert "unresolved:pipeline" in record.flags
    assert close(phase_j(record, "model"), 18340.836)
    assert close(record.totals["gpu"].joules, 5500.783)


@pytest.mark.parametrize("name", ["llama2-mps", "phi-2-mps"])
def test_the_laptops_tables_with_a_header(name: str) -> None:
    right = expected()[f"energy-inference/hotcarbon24/{name}.csv"]
    read = Read("energy-inference", STUDY / f"hotcarbon24/{name}.csv")
    assert len(read.records) == right["cycles"]
    for label, figures in right["phases"].items():
        phase = phase_of(label, right["phases"])
        found = having(read.records, phase)
        assert agrees([seconds(record, phase) for record in found], figures["s"])
        assert agrees([phase_j(record, phase) or 0.0 for record in found], figures["gpu_j"])
        assert agrees([phase_j(record, phase, "cpu") or 0.0 for record in found], figures["cpu_j_total"])
        assert agrees([phase_j(record, phase, "cpu", share=True) or 0.0 for record in found], figures["cpu_j_scaled"])


@pytest.mark.parametrize("path", sorted((STUDY / "powermetrics").glob("*-power.csv*")), ids=lambda path: path.name)
def test_the_laptops_tables_without_a_header(path: Path) -> None:
    right = expected()[f"energy-inference/powermetrics/{path.name}"]
    read = Read("energy-inference", path)
    phases = [phase for record in read.records for phase in record.phases]
    assert len(phases) == right["segments"]
    assert close(sum(phase.duration_s for phase in phases), right["total_s"])
    for component, share, total in (
        ("gpu", False, "total_gpu_j"),
        ("cpu", False, "total_cpu_j_unscaled"),
        ("cpu", True, "total_cpu_j_scaled"),
    ):
        found = [phase_j(r, p.name, component, share=share) or 0.0 for r in read.records for p in r.phases]
        assert close(sum(found), right[total]), component
    incomplete = [record for record in read.records if "share_incomplete:cpu" in record.flags]
    assert bool(incomplete) == bool(right["invalid_samples"])


@pytest.mark.parametrize("path", sorted((STUDY / "runs").glob("*.csv")), ids=lambda path: path.stem)
def test_run_files(path: Path) -> None:
    right = expected()[f"energy-inference/runs/{path.name}"]
    read = Read("energy-inference", path, units=RUN_FILES.get(path.stem))
    assert not read.bad
    assert sum(len(record.phases) for record in read.records) == right["rows"]
    assert sorted({record.model.name for record in read.records}) == sorted(right["models"])
    for label, figures in right["load_phases"].items():
        found = having(read.records, phase_of(label, right["load_phases"]))
        phase = phase_of(label, right["load_phases"])
        assert agrees([phase_j(record, phase) or 0.0 for record in found], figures["gpu_j"])
    groups: dict[tuple[object, ...], list[Published]] = {}
    for record in having(read.records, "inference"):
        work, system = record.workload, record.system
        key = record.model.name, system.name, system.devices_used, work.prompt_tokens, work.new_tokens
        groups.setdefault(key, []).append(record)
    assert len(groups) == len(right["groups"])
    for group in right["groups"]:
        found = groups[
            group["model"], group["system"], group["gpus"], group["input_tokens"], group["output_token_limit"]
        ]
        assert [record.repeat for record in found] == list(range(group["n"]))
        assert agrees([record.totals["gpu"].joules or 0.0 for record in found], group["gpu_j"])
        if group["gpu_j_without_first_row"] is not None:
            assert agrees(
                [record.totals["gpu"].joules or 0.0 for record in found[1:]], group["gpu_j_without_first_row"]
            )
        assert agrees([seconds(record, "inference") for record in found], group["runtime_s"])
        if "gpu_j_per_output_token" in group:
            per_token = [stats.joules_per_token(record, "gpu") or 0.0 for record in found]
            assert agrees(per_token, group["gpu_j_per_output_token"])
            rates = [stats.tokens_per_s(record) or 0.0 for record in found]
            assert agrees(rates, group["output_tokens_per_s"])
        else:  # input tokens were rounded by hand: no per-token answer
            assert all(stats.joules_per_token(record, "gpu") is None for record in found)
        if "cpu_j" in group:
            net = [record.figures.net_j["cpu"] if record.figures is not None else None for record in found]
            share = [phase_j(record, "inference", "cpu", share=True) for record in found if record.figures is None]
            assert agrees([value for value in net + share if value is not None], group["cpu_j"])


def test_a_heading_in_microjoules_over_millijoules_is_flagged_and_not_corrected_unasked() -> None:
    read = Read("energy-inference", STUDY / "runs/input-token-test-swing.csv")
    long = [record for record in having(read.records, "inference") if seconds(record, "inference") >= 0.5]
    assert long
    assert all("power_below_idle:gpu" in record.flags for record in long)
    told = Read("energy-inference", STUDY / "runs/input-token-test-swing.csv", units={"GPU Energy (uJ)": "mJ"})
    assert not [record.flags for record in told.records if record.flags]
    corrections = {record.origin.corrections for record in told.records if record.origin is not None}
    assert [(c.column, c.stated, c.taken) for found in corrections for c in found] == [("GPU Energy (uJ)", "uJ", "mJ")]


def test_a_sum_that_disagrees_with_the_single_gpus_is_said() -> None:
    read = Read("energy-inference", STUDY / "runs/independence-all-stats-raw-4.csv")
    assert any("'GPU Energy (J)' disagrees" in note and "77 rows" in note for note in read.notes)
    assert close(having(read.records, "inference")[0].totals["gpu"].joules, 1214.18)


@pytest.mark.parametrize("path", sorted((STUDY / "nvidia-smi").glob("*.csv*")), ids=lambda path: path.name)
def test_traces_of_nvidia_smi(path: Path) -> None:
    if not path.stat().st_size:  # as found
        with pytest.raises(LlmjoulesError, match="Nothing in"):
            Read("energy-inference", path)
        return
    right = expected()[f"energy-inference/nvidia-smi/{path.name}"]
    read = Read("energy-inference", path)
    record = read.only
    assert len(read.bad) == right["bad_rows"]
    assert record.system.devices_used == right["gpus"]
    assert close(seconds(record, "job"), right["span_s"])
    assert close(record.totals["gpu"].joules, right.get("trapezoid_j_sum", right.get("trapezoid_j")))
    for energy, joules in zip(record.phases[0].energy, right.get("per_gpu_trapezoid_j", []), strict=False):
        assert close(energy.joules, joules)


def test_timecharts_of_amduprof() -> None:
    name = "energy-inference/amduprof/falcon-7b-2024-04-02-07-36-20-timechart.csv.gz"
    right = expected()[name]
    record = Read("energy-inference", DATA / name).only
    assert close(seconds(record, "job"), right["span_s"])
    assert [energy.joules for energy in record.phases[0].energy] == pytest.approx(
        [right["socket0_trapezoid_j"], right["socket1_trapezoid_j"]]
    )
    assert record.phases[0].energy[0].largest_gap_s == pytest.approx(right["max_gap_s"])
    stopped = Read("energy-inference", STUDY / "amduprof/mixtral-8x7b-2024-04-04-10-53-49-timechart.csv")
    assert not stopped.records
    assert "no records" in stopped.notes[-1]
