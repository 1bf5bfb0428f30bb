"""Units and columns of other tools that say one thing and mean another: each is caught, or read for what it is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llmjoules.records import stats
from llmjoules.records.record import Published
from tests.records.importing import Read, phase_j
from tests.records.miniatures import (
    APPLE_ROW,
    CONFIGURATION,
    CUDA_ROW,
    EMISSIONS,
    POWER,
    PYJOULES,
    REPORT,
    RUNS,
    SPL,
    TELEMETRY,
    V2,
    ZEUS,
)

HEADED = """event,timestamp,python3.11,ALL_TASKS,cpu,gpu
tokenizer,200.0,1.0,100.0,100,0
pipeline load,200.0,50.0,100.0,8000,0
inference,200.0,300.0,400.0,4000,10000
inference,300.0,300.0,400.0,2000,10000
tokenizer,200.0,1.0,100.0,100,0
pipeline load,200.0,50.0,100.0,8000,0
inference,200.0,500.0,400.0,4000,20000
"""
PALMETTO = """Timestamp,Phase,Runtime (s),GPU Energy (uJ),CPU Package-0 Energy (uJ),CPU Package-1 Energy (uJ),Idle Package-0 Energy (uJ),Idle Package-1 Energy (uJ),CPU Energy (J),Output Token Limit,Number of Input Tokens,Iteration,Model,Number of GPUs,Prompt,Total Number of Tokens,Batch Size,System
1700000000.0,start-inference-A-0,2.0,300000000,60000000,40000000,20000000,20000000,60.0,32,8,32,tiny-7b,1,hi,40,32,palmetto-v100
"""  # noqa: E501 - as the study writes it


def inference(read: Read) -> Published:
    return next(record for record in read.records if stats.inference(record) is not None)


def scaled(text: str, *values: str, by: float) -> str:
    """These numbers of the file, times something: another unit under the same heading."""
    for value in values:
        text, found = re.subn(rf"\b{value}\b", f"{float(value) * by:.9g}", text)
        assert found
    return text


# What stands under the heading is another unit than it says, the power is impossible, and the flag says which way.
OTHER_UNITS = [
    ("energy-inference", "tiny-cuda-2.csv", scaled(PYJOULES, "900000", "700000", by=1e-3), "power_below_idle:gpu"),
    ("energy-inference", "tiny-cuda-2.csv", scaled(PYJOULES, "900000", "700000", by=1e3), "power_above_limit:gpu"),
    ("energy-inference", "a.csv", RUNS.replace("(mJ)", "(uJ)"), "power_below_idle:gpu"),
    ("energy-inference", "a.csv", RUNS.replace("(mJ)", "(J)"), "power_above_limit:gpu"),
    ("energy-inference", "a.csv", CUDA_ROW.replace(",300000,", ",300,"), "power_below_idle:gpu"),
    ("energy-inference", "a.csv", APPLE_ROW.replace(",64.0,", ",64000,"), "power_above_limit:gpu"),
    ("energy-inference", "a.csv", PALMETTO.replace("GPU Energy (uJ)", "GPU Energy (mJ)"), "power_above_limit:gpu"),
    ("energy-inference", "a.csv", HEADED.replace(",10000", ",10000000"), "power_above_limit:gpu"),
    ("codecarbon", "e.csv", EMISSIONS.replace(",0.002,0.00002", ",2.0,0.00002"), "power_above_limit:gpu"),
    ("codecarbon", "e.csv", EMISSIONS.replace(",0.002,0.00002", ",0.000002,0.00002"), "power_below_idle:gpu"),
    ("zeus", "A40+tiny+gpu0,1.csv", scaled(ZEUS, "2000.0", "2100.0", by=1e3), "power_above_limit:gpu"),
    ("ml-energy-v2", "a.json", json.dumps({**V2, "Energy/req (J)": 0.2}), "power_below_idle:gpu"),
    ("ml-energy", "a.json", json.dumps({"configurations": [{**CONFIGURATION, "median_itl_ms": 20.0,
     "energy_per_token_joules": 500.0, "energy_per_request_joules": 250e3, "avg_power_watts": 1e6}]}),
     "power_above_limit:gpu"),
    ("aiperf", "a.json", json.dumps(TELEMETRY).replace('"MJ"', '"kJ"'), "power_below_idle:gpu"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "name", "text", "flag"), OTHER_UNITS)
def test_a_unit_that_cannot_be_right_is_flagged(form: str, name: str, text: str, flag: str, write: Any) -> None:
    read = Read(form, write(text, name))
    assert flag in read.records[0].flags
    assert all(record.origin is not None and not record.origin.corrections for record in read.records)


def test_units_that_a_file_states_beside_its_figures_are_read_there(write: Any) -> None:
    watt_hours = json.loads(json.dumps(REPORT).replace('"kWh"', '"Wh"'))
    record = Read("optimum-benchmark", write(json.dumps(watt_hours))).only
    assert record.totals["gpu"].joules == pytest.approx(144.0)  # 0.04 Wh
    joules = json.dumps(TELEMETRY).replace('"MJ"', '"J"').replace("0.215", "215000").replace("0.2,", "200000,")
    assert Read("aiperf", write(joules)).only.totals["gpu"].joules == pytest.approx(15000.0)


def test_the_timestamp_of_a_powermetrics_table_is_a_length_and_neither_a_date_nor_seconds(write: Any) -> None:
    for other in ("1700000000000", "0.2"):
        read = Read("energy-inference", write(POWER.replace("load model,200.0", f"load model,{other}")))
        assert [bad.column for bad in read.bad] == ["ms", "ms"]
        assert "is no length of a sample" in read.bad[0].why
        assert "--unit timestamp=s" in read.bad[0].fix
    seconds = POWER.replace(",200.0,", ",0.2,").replace(",300.0,INV", ",0.3,INV")
    told = Read("energy-inference", write(seconds), units={"timestamp": "s"})
    assert told.only.totals["gpu"].joules == pytest.approx(5.6)


def test_runs_that_are_not_numbered_are_told_apart_where_the_tokenizer_comes_again(write: Any) -> None:
    first, second = Read("energy-inference", write(HEADED, "tiny-mps.csv")).records
    assert [first.totals["gpu"].joules, second.totals["gpu"].joules] == pytest.approx([5.0, 4.0])  # not 9 J of both
    assert phase_j(first, "inference", "cpu") == pytest.approx(1.4)
    assert phase_j(first, "inference", "cpu", share=True) == pytest.approx(1.05)  # three quarters
    assert first.load != second.load


def test_a_share_above_one_is_used_as_it_stands_and_flagged(write: Any) -> None:
    read = Read("energy-inference", write(HEADED, "tiny-mps.csv"))
    assert phase_j(read.records[1], "inference", "cpu", share=True) == pytest.approx(1.0)  # 1.25 of 4 W for 0.2 s
    assert ["share_above_1:cpu" in record.flags for record in read.records] == [False, True]
    assert any("1 sample has a process's share above 1" in note for note in read.notes)


@pytest.mark.parametrize("sample", ["300.0,10.0,400.0,2000,40", "200.0,10.0,400.0,2000,65000"])
def test_stretched_samples_with_no_or_impossible_power_are_flagged(sample: str, write: Any) -> None:
    text = POWER.replace("300.0,INVALID,400.0,2000,12000", sample)
    assert "stretched_interval:gpu" in Read("energy-inference", write(text)).only.flags


def test_rails_of_apple_are_modelled_and_the_tables_and_run_files_agree_on_it(write: Any) -> None:
    for text in (HEADED, POWER, APPLE_ROW):
        record = inference(Read("energy-inference", write(text)))
        assert {channel.source for meter in record.meters for channel in meter.channels} == {"modelled"}
        assert {total.source for total in record.totals.values()} == {"modelled"}


def test_a_laptops_run_file_counts_output_alone_and_its_time_has_two_seconds_of_sleep(write: Any) -> None:
    record = inference(Read("energy-inference", write(APPLE_ROW)))
    assert record.tokens is not None
    assert (record.tokens.generated, record.workload.batch_size) == (32, 1)
    assert stats.joules_per_token(record, "gpu") == pytest.approx(2.0)
    assert "includes_sleep:inference" in record.flags
    assert phase_j(record, "inference", "cpu", share=True) == pytest.approx(30.0)


def test_every_row_that_loads_begins_a_session_of_its_own(write: Any) -> None:
    load = APPLE_ROW.replace("inference-A-0", "load model").replace(",hi,32,", ",startup,0,")
    records = Read(
        "energy-inference",
        write(load + load + APPLE_ROW + load.replace("9.0", "8.0") + APPLE_ROW.replace("9.0", "9.1")),
    )
    assert [[phase.name for phase in record.phases] for record in records.records] == [
        ["model+pipeline", "inference"], ["model+pipeline", "inference"],
    ]  # fmt: skip
    assert len({record.load.id for record in records.records if record.load is not None}) == 2


def test_the_clusters_cpu_energy_is_shared_out_and_no_measurement_of_the_run(write: Any) -> None:
    text = RUNS.replace("CPU Core\n", "CPU Energy (J)\n").replace("argonne-swing,1\n", "argonne-swing,7.5\n")
    record = inference(Read("energy-inference", write(text)))
    (share,) = (c for meter in record.meters for c in meter.channels if c.component == "cpu")
    assert (share.source, share.extent) == ("modelled", "process-share")
    assert phase_j(record, "inference", "cpu", share=True) == pytest.approx(7.5)
    assert "cpu" not in record.totals


def test_microjoules_of_packages_are_gross_and_what_is_net_of_idle_stands_apart(write: Any) -> None:
    record = inference(Read("energy-inference", write(PALMETTO)))
    assert record.totals["gpu"].joules == pytest.approx(300.0)
    assert record.totals["cpu"].joules == pytest.approx(100.0)  # both packages
    assert record.figures is not None
    assert record.figures.net_j == {"cpu": 60.0}
    assert (record.repeat, record.workload.batch_size) == (0, 1)  # neither Iteration, which is the limit, nor 32


def test_the_first_watts_of_a_power_log_are_the_total_and_the_others_its_channels(write: Any) -> None:
    read = Read("mlperf-power", write(SPL, "box-tiny-offline-run_1-spl.txt"))
    assert read.only.totals["wall"].joules == pytest.approx(10300.0)  # not twice that
    assert any("watts of single channels" in what for what in read.unmapped)
    wrong = Read("mlperf-power", write(SPL.replace("Ch1,Watts,500.0", "Ch1,Watts,400.0")))
    assert any("in 2 samples the channels do not add up" in note for note in wrong.notes)


def test_the_scored_windows_trapezoid_stands_beside_its_mean_and_adds_to_nothing(write: Any) -> None:
    window = {"begin": "07-17-2024 07:00:00.500", "end": "07-17-2024 07:00:03.500"}
    record = Read("mlperf-power", write(SPL), **window).only
    of_mean, trapezoid = next(phase for phase in record.phases if phase.name == "inference").energy
    assert of_mean.joules == pytest.approx(9300.0)
    assert trapezoid.joules == pytest.approx(6250.0)  # 3000, 3200, 3100 W: two steps of a second
    assert record.totals["wall"].joules == of_mean.joules


def test_tokens_a_second_that_were_inferred_are_no_count(write: Any) -> None:
    write("Samples per second: 10\nTokens per second (inferred): 500\n", "x-mlperf_log_summary.txt")
    window = {"begin": "07-17-2024 07:00:00.500", "end": "07-17-2024 07:00:03.500"}
    record = Read("mlperf-power", write(SPL, "x-spl.txt"), **window).only
    assert "tokens_assumed" in record.flags
    assert stats.joules_per_token(record, "wall") == pytest.approx(6.2)  # 3100 W over 500 tokens/s


def test_a_monotonic_clock_is_no_date(write: Any) -> None:
    assert {record.started_at for record in Read("zeus", write(ZEUS, "A40+tiny+gpu0,1.csv")).records} == {None}


def test_columns_that_a_version_of_codecarbon_lacks_or_has_more_are_no_matter(write: Any) -> None:
    rows = [line.split(",") for line in EMISSIONS.splitlines()]
    fewer = "\n".join(",".join(row[:9]) for row in rows) + "\n"
    more = (
        "\n".join(",".join([*row, extra]) for row, extra in zip(rows, ["pue", "1.0", "1.0", "1.0"], strict=True)) + "\n"
    )
    for text in (fewer, more):
        record = Read("codecarbon", write(text)).records[0]
        assert record.totals["gpu"].joules == pytest.approx(7200.0)
        assert "sum_column_doubtful" not in record.flags


def test_a_task_without_tokens_is_listed_and_a_batch_that_comes_twice_is_two_figures(write: Any) -> None:
    image = {"model_id": "org/image", "energy_per_image_joules": 500.0, "batch_size": 4}
    data = {"configurations": [CONFIGURATION, {**CONFIGURATION, "avg_batch_size": 61.0}, image]}
    read = Read("ml-energy", write(json.dumps(data)))
    assert len(read.records) == 2
    assert any("without tokens" in what for what in read.unmapped)


def test_newer_names_of_aiperfs_metrics_are_read_too(write: Any) -> None:
    text = json.dumps(TELEMETRY).replace("energy_consumption", "nvidia_energy_consumption")
    record = Read("aiperf", write(text.replace("power_usage", "nvidia_power_usage"))).only
    assert [energy.joules for energy in record.phases[0].energy] == pytest.approx([15000.0, 15500.0])
