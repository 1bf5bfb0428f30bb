"""Every figure of ../shared/data/EXPECTED.json, which were worked out independently, out of `import` and `export`.

An answer is built for each source in the shape of the file's own, and the two are held against each other leaf by leaf:
a figure that no answer has fails, unless EXCUSED names it with the reason. Nothing here knows the right figures.
"""

from __future__ import annotations

import csv
import gzip
import re
from bisect import bisect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest

from llmjoules.records.errors import LlmjoulesError
from tests.records.exported import Exported, Imported, Stretch, summary
from tests.records.importing import DATA, close, expected, needs_data

Answer = dict[str, Any]
STUDY = DATA / "energy-inference"
TAGS = {"tokenizer": "tokenizer", "model": "model load", "pipeline": "pipeline load", "inference": "inference"}
WRONG_UNITS = {
    "input-token-test-swing": {"GPU Energy (uJ)": "mJ"},
    "independence-all-stats-raw-4": {"GPU Energy (J)": "mJ"},
}
# Paths of keys that no record answers, and why.
EXCUSED = {
    "_conventions*": "how the file is to be read",
    "_cross_checks > trace_vs_run_file": "words; test_traces_of_the_laptop_are_the_rows_of_its_run_files does it",
    "* > note": "words; test_what_the_answers_say_in_words holds the figures in them against the import",
    "* > left_rectangle_j": "another rule of integration, given beside the trapezoid, which is ours",
    "* > socket?_sum_times_0.1s_j": "another rule of integration, given beside the trapezoid, which is ours",
    "*/amduprof/mixtral-* > header_lines": "the session was stopped: there is no record that could say where it begins",
    "*/amduprof/* > interval": "the preamble's words; the longest gap is checked instead",
    "mlperf-v4.1/* > mean_w_of_samples": "of the whole mark, idle ends included: nothing rests on it",
    "mlperf-v4.1/* > window > ?": "given to the import: the load generator's detailed log is not packed",
    "codecarbon/* > empty_rows": "the blank line at the end of each file, which holds nothing",
    "codecarbon/laptop-* > WRONG_sum_of_rows_kwh": "of a single row the sum is right",
    "codecarbon/* > durations_min_max_s > 0": "of the first row of a run; rows add up, so only the last one is kept",
}  # fmt: skip
# Figures that are not given to nine digits: half a unit of the last digit that stands there.
COARSE = re.compile(
    r"ratio_|^(mean_w|mean_power_w|implied_mean_power_w_at_min|mean_power_w_from_counter|max_gap_s|max_interval_ms)$"
)

# Records say when they begin to the millisecond, which is 0.4 % of the shortest windows that are compared by clock.
TO_THE_MILLISECOND = 5e-4


def leaves(right: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inside = right.items() if isinstance(right, dict) else enumerate(right) if isinstance(right, list) else None
    if inside is None:
        yield path, right
    else:
        for key, value in inside:
            yield from leaves(value, (*path, str(key)))


def excuse(path: tuple[str, ...]) -> str | None:
    """The pattern that excuses a leaf, or a part of the file that it is in."""
    words = " > ".join(path)
    return next((pattern for pattern in EXCUSED if fnmatchcase(words, pattern)), None)


def wrongs(right: Any, ours: Answer) -> list[str]:
    """Every leaf of the right answers that ours has not, or has another value of."""
    found = []
    for path, value in leaves(right):
        if excuse(path) is not None:
            continue
        got, missing = ours, False
        for key in path:
            try:
                got = got[int(key)] if isinstance(got, list) else got[key]
            except (KeyError, IndexError, TypeError):
                missing = True
                break
        if missing:
            found.append(f"{' > '.join(path)}: no answer")
        elif path[-1].startswith("WRONG"):
            assert isinstance(got, float)
            found += [f"{path[-1]}: ours"] if close(got, value, 0.01) else []
        elif not _same(path, got, value):
            found.append(f"{' > '.join(path)}: {got!r}, right is {value!r}")
    return found


def _same(path: tuple[str, ...], got: Any, right: Any) -> bool:
    if type(right) is not float or got is None:
        return bool(got == right)
    if "_cross_checks" in path:
        return close(got, right, TO_THE_MILLISECOND)
    if any(COARSE.search(key) for key in path):
        exponent = Decimal(repr(right)).as_tuple().exponent
        return abs(got - right) <= 0.5001 * 10.0 ** int(exponent)
    return close(got, right)


def tag(stretch: Stretch, record: Exported) -> str:
    """The source's name of a phase."""
    if stretch.name != "model+pipeline":
        return TAGS[stretch.name]
    return "pipeline load" if record.phase("tokenizer") is not None else "load model"


def by_tag(read: Imported) -> dict[str, list[Stretch]]:
    found: dict[str, list[Stretch]] = {}
    for record in read.records:
        for stretch in record.stretches:
            found.setdefault(tag(stretch, record), []).append(stretch)
    return found


def number(row: dict[str, str] | None, column: str) -> float:
    assert row is not None
    return float(row[column])


@cache
def study(name: str) -> Imported:
    path = DATA / name
    return Imported("energy-inference", [path], WRONG_UNITS.get(path.stem))


def ladder(name: str, _: Answer) -> Answer:
    read = study(name)
    assert not read.bad
    phases = by_tag(read)
    energies = [stretch.joules() for stretch in read.stretches]
    whole = sum(energy for energy in energies if energy is not None)
    runs = [record.inference for record in read.records]
    assert all("tokens_assumed" in record.flags for record in read.records)
    (cap,) = {int(record.head["new_tokens"]) for record in read.records}
    joules, seconds = [run.joules() or 0.0 for run in runs], [run.seconds for run in runs]
    return {
        "rows": len(read.stretches),
        "n_gpus": int(read.records[0].head["devices_used"]),
        "phases": {
            name: {
                "n": len(found),
                "gpu_j": summary([stretch.joules() for stretch in found]),
                "runtime_s": summary([stretch.seconds for stretch in found]),
            }
            for name, found in phases.items()
        },
        "inference": {
            "output_tokens_assumed": cap,
            "gpu_j": summary(joules),
            "gpu_j_per_output_token": summary([number(r.totals["gpu"], "j_per_token") for r in read.records]),
            "tokens_per_s_mean_of_runs": summary([number(r.head, "tokens_per_s") for r in read.records]),
            "tokens_per_s_total_over_total": cap * len(runs) / sum(seconds),
            "mean_power_w_all_gpus": sum(joules) / sum(seconds),
        },
        "mean_j_over_all_rows_of_all_phases (this is what Table 1 prints)": whole / len(energies),
        "gpu_j_whole_file": whole,
    }


def segment(stretch: Stretch, label: str) -> Answer:
    return {
        "phase": label,
        "samples": stretch.samples() // 3,  # of each of three channels
        "s": stretch.seconds,
        "gpu_j": stretch.joules(),
        "cpu_j_total": stretch.joules("cpu"),
        "cpu_j_scaled": stretch.joules("cpu", share=True),
        "alpha_unknown_samples": stretch.samples(r"; (\d+) samples without a share"),
        "alpha_over_1_samples": stretch.samples(r"; (\d+) samples with a share above 1"),
    }


def segments(read: Imported) -> list[Answer]:
    return [
        segment(
            stretch,
            record.head["source"].split(", ")[-1] if stretch.name == "inference" else tag(stretch, record),
        )
        for record in read.records
        for stretch in record.stretches
    ]


def laptop(name: str, _: Answer) -> Answer:
    read = study(name)
    found = segments(read)
    runs = [one for one in found if one["phase"] == "inference"]
    (cap,) = {int(record.head["new_tokens"]) for record in read.records}
    gpu_j, share_j = (sum(one[key] for one in runs) for key in ("gpu_j", "cpu_j_scaled"))
    assert {row["energy_source"] for stretch in read.stretches for row in stretch.rows} == {"modelled"}
    return {
        "rows": sum(one["samples"] for one in found),
        "segments": len(found),
        "cycles": len(read.records),
        "phases": {
            label: {
                key: summary([one[key] for one in found if one["phase"] == label])
                for key in ("s", "gpu_j", "cpu_j_total", "cpu_j_scaled")
            }
            for label in {one["phase"] for one in found}
        },
        "inference_runs": runs,
        "inference": {
            "gpu_j_per_run": summary([one["gpu_j"] for one in runs]),
            "gpu_j_per_token_200": summary([number(r.totals["gpu"], "j_per_token") for r in read.records]),
            "tokens_per_s_200": summary([cap / one["s"] for one in runs]),
            "gpu_j_summed_over_runs (this is what Table 1 prints)": gpu_j,
            "gpu_share_of_gpu_plus_scaled_cpu": gpu_j / (gpu_j + share_j),
        },
    }


def headless(name: str, right: Answer) -> Answer:
    read = study(name)
    found = segments(read)
    listed = right["per_segment"]
    if isinstance(listed, dict):  # the first and the last ones of a long file
        ends = {"first": found[: len(listed["first"])], "last": found[-len(listed["last"]) :]}
    return {
        "rows": sum(one["samples"] for one in found),
        "segments": len(found),
        "total_s": sum(one["s"] for one in found),
        "total_gpu_j": sum(one["gpu_j"] for one in found),
        "total_cpu_j_scaled": sum(one["cpu_j_scaled"] for one in found),
        "total_cpu_j_unscaled": sum(one["cpu_j_total"] for one in found),
        "invalid_samples": sum(one["alpha_unknown_samples"] for one in found),
        "max_interval_ms": max(stretch.largest_gap_s for stretch in read.stretches) * 1e3,
        "per_segment": ends if isinstance(listed, dict) else found,
    }


def run_file(name: str, right: Answer) -> Answer:
    read = study(name)
    assert not read.bad
    phases = by_tag(read)
    groups: dict[tuple[Any, ...], list[Exported]] = {}
    for record in read.having("inference"):
        numbers = (int(record.head[column]) for column in ("devices_used", "prompt_tokens", "new_tokens"))
        groups.setdefault((record.head["model"], record.head["system"], *numbers), []).append(record)
    return {
        "rows": len(read.stretches),
        "phases": {name: len(found) for name, found in phases.items()},
        "models": sorted({record.head["model"] for record in read.records}),
        "systems": sorted({record.head["system"] for record in read.records}),
        "load_phases": {
            name: {
                "n": len(found),
                "gpu_j": summary([stretch.joules() for stretch in found]),
                "runtime_s": summary([stretch.seconds for stretch in found]),
            }
            for name, found in phases.items()
            if name != "inference"
        },
        "groups": [group(key, found) for key, found in sorted(groups.items())],
    }


def group(key: tuple[Any, ...], found: list[Exported]) -> Answer:
    assert [int(record.head["repeat"]) for record in found] == list(range(len(found)))
    energies = [record.inference.joules() for record in found]
    counts = [int(record.head["generated_tokens"]) for record in found if record.head["generated_tokens"]]
    answer: Answer = dict(zip(("model", "system", "gpus", "input_tokens", "output_token_limit"), key, strict=True))
    answer |= {
        "n": len(found),
        "gpu_j": summary(energies),
        "gpu_j_without_first_row": summary(energies[1:]) if found[1:] else None,
        "runtime_s": summary([record.inference.seconds for record in found]),
    }
    if counts:
        answer |= {
            "output_tokens_min_max": [min(counts), max(counts)],
            "gpu_j_per_output_token": summary([number(r.totals["gpu"], "j_per_token") for r in found]),
            "output_tokens_per_s": summary([number(r.head, "tokens_per_s") for r in found]),
        }
    else:
        assert {record.totals["gpu"]["j_per_token"] for record in found} == {""}
    net = [float(r.totals["cpu"]["net_j"]) for r in found if "cpu" in r.totals and r.totals["cpu"]["net_j"]]
    shares = [record.inference.joules("cpu", share=True) for record in found]
    cpu = net or [share for share in shares if share is not None]
    return answer | ({"cpu_j": summary(cpu)} if len(cpu) == len(found) else {})


def trace(name: str, right: Answer) -> Answer:
    if not (DATA / name).stat().st_size:  # as found
        with pytest.raises(LlmjoulesError, match="Nothing in"):
            study(name)
        return {"data_rows": 0, "bad_rows": 0}
    read = study(name)
    (job,) = read.stretches
    each = [float(row["joules"]) for row in job.rows]
    return {
        "data_rows": job.samples() + len(read.bad) - right["bad_rows"],
        "bad_rows": len(read.bad),
        "gpus": int(read.records[0].head["devices_used"]),
        "span_s": job.seconds,
        "trapezoid_j": sum(each),
        "trapezoid_j_sum": sum(each),
        "per_gpu_trapezoid_j": each,
        "WRONG_if_read_as_one_series_j": sum(each),
    }


def timechart(name: str, _: Answer) -> Answer:
    if "mixtral" in name:
        with pytest.raises(LlmjoulesError, match="no records: the session was stopped"):
            study(name)
        return {"records": 0, "complete_records": 0}
    read = study(name)
    (job,) = read.stretches
    first, second = job.rows
    line = re.search(r"line (\d+)", read.records[0].head["source"])
    assert line is not None
    assert not read.bad
    return {
        "header_lines": int(line[1]) - 2,  # the table's own header is one more
        "records": job.samples() // 2,
        "complete_records": job.samples() // 2,
        "span_s": job.seconds,
        "max_gap_s": job.largest_gap_s,
        "socket0_trapezoid_j": float(first["joules"]),
        "socket1_trapezoid_j": float(second["joules"]),
    }


def leaderboard(name: str, _: Answer) -> Answer:
    read = Imported("ml-energy", [DATA / name])
    groups = grouped(read)
    minima = []
    for (model, gpu, gpus), found in groups.items():
        lowest, batches, energies = minimum(found)
        minima.append({
            "model": model, "gpu": gpu, "gpus": gpus, "configs": len(found), "batches": [batches[0], batches[-1]],
            "min_energy_per_token_joules": energies[0], "at_max_num_seqs": lowest,
            "position": "highest batch" if lowest == batches[-1] else "interior",
            "ratio_max_min": energies[-1] / energies[0],
        })  # fmt: skip
    places = [one["position"] for one in minima]
    assert not [flag for record in read.records for flag in record.flags if flag]  # they hold to the last bit
    return {
        "configurations": len(read.records),
        "groups": len(groups),
        "metric": "energy_per_token_joules",
        "positions": {place: places.count(place) for place in set(places)},
        "minima": minima,
    }


def grouped(read: Imported) -> dict[tuple[str, str, int], list[Exported]]:
    groups: dict[tuple[str, str, int], list[Exported]] = {}
    for record in read.records:
        key = record.head["model"], record.head["system"], int(record.head["devices_used"])
        groups.setdefault(key, []).append(record)
    return dict(sorted(groups.items()))


def minimum(found: list[Exported]) -> tuple[int, list[int], list[float]]:
    """The batch of the least J/token, all batches, and all J/token from the least."""
    points = sorted((number(record.stated, "j_per_token"), int(record.head["batch_size"])) for record in found)
    return points[0][1], sorted(batch for _, batch in points), [energy for energy, _ in points]


def version_2(name: str, _: Answer) -> Answer:
    read = Imported("ml-energy-v2", sorted((DATA / name).glob("**/*.json")))
    answers = []
    for (model, gpu, gpus), found in grouped(read).items():
        lowest, batches, energies = minimum(found)
        best = next(record for record in found if int(record.head["batch_size"]) == lowest)
        answers.append({
            "model": model, "gpu": gpu, "gpus_tp_x_pp": gpus, "files": len(found), "at_max_batch": lowest,
            "min_j_per_output_token": energies[0], "position": "highest batch" if lowest == batches[-1] else "interior",
            "implied_mean_power_w_at_min": number(best.stated, "mean_power_w"),
        })  # fmt: skip
    return {"files": len(read.records), "groups": answers}


def legacy(name: str, _: Answer) -> Answer:
    read = Imported("ml-energy-v2", [DATA / name])
    return {
        "models": len(read.records),
        "j_per_output_token": {r.head["model"]: number(r.stated, "j_per_token") for r in read.records},
        "mean_power_w": {r.head["model"]: number(r.stated, "mean_power_w") for r in read.records},
    }


def wall(name: str, right: Answer) -> Answer:
    begin, end = right["window"]
    read = Imported("mlperf-power", [DATA / name], begin=begin, end=end)
    (record,) = read.records
    job, window = record.phase("job"), record.inference
    assert job is not None
    of_mean, trapezoid = window.rows
    marks = re.search(r"marked (.+?): ", " ".join(read.said))
    assert marks is not None
    figures = record.record["figures"]
    per_token = figures.get("j_per_token")
    return {
        "samples": job.samples(),
        "marks": {marks[1]: job.samples()},
        "channels": read.unmapped["watts of single channels, parts of the total"],
        "channel_sum_off_by_over_0.15W": sum("do not add up to the total" in note for note in read.said),
        "span_s": job.seconds,
        "trapezoid_j_whole_mark": job.joules("wall"),
        "max_gap_s": job.largest_gap_s,
        "window_s": window.seconds,
        "window_samples": window.samples(r"mean of (\d+) samples"),
        "window_mean_w": number(record.totals["wall"], "mean_power_w"),
        "window_energy_j_mean_w_times_s": number(of_mean, "joules"),
        "window_trapezoid_j_inside_samples": number(trapezoid, "joules"),
        "derived": {
            "samples_per_s": figures.get("requests_per_s"),
            "tokens_per_s": figures.get("tokens_per_s"),
            "tokens_per_s_inferred": figures.get("tokens_per_s") if "tokens_assumed" in record.flags else None,
            "j_per_sample": number(record.stated, "joules") if figures.get("requests_per_s") else None,
            "j_per_token": per_token,
            "j_per_token_inferred": per_token,
        },
    }


def windows(name: str, _: Answer) -> Answer:
    read = Imported("zeus", [DATA / name])
    answers = []
    for record in read.records:
        (job,) = record.stretches
        window = record.head["source"].split(", ")[-1]
        limits = {board["power_limit_w"] for board in record.record["system"]["accelerators"]}
        assert limits == {float(window.rsplit("_", 1)[-1])}
        mean_w = number(record.totals["gpu"], "joules") / job.seconds
        answers.append({"window": window, "s": job.seconds, "j": job.joules(), "mean_w": mean_w})
    (gpus,) = {int(record.head["devices_used"]) for record in read.records}
    return {
        "windows": len(answers),
        "gpus": gpus,
        "total_j": sum(answer["j"] for answer in answers),
        "per_window": answers,
    }


def emissions(name: str, right: Answer) -> Answer:
    read = Imported("codecarbon", [DATA / name])
    counted = [re.search(r"\((\d+) rows, (\d+) runs\)", note) for note in read.said]
    rows = next((int(found[1]) for found in counted if found), len(read.records))
    answers = []
    by_project = {record.head["model"]: record for record in read.records}
    for of_run in right["per_run"]:
        record = by_project[of_run["project"]]
        (job,) = record.stretches
        whole = sum(float(row["joules"]) for row in job.rows if row["joules"])
        fell = "energy_fell" in record.flags
        assert {row["component"]: row["energy_source"] for row in job.rows} == {
            "gpu": "measured", "cpu": "modelled", "dram": "modelled",
        }  # fmt: skip
        answers.append({
            "project": record.head["model"],
            "run_id": record.head["source"].split(", run ")[-1],
            "rows": of_run["rows"],  # of each run; their sum is checked
            "last_row_energy_kwh": whole / 3.6e6,
            "max_energy_kwh": None if fell else whole / 3.6e6,
            "last_row_j": whole,
            "last_row_gpu_j": job.joules(),
            "durations_min_max_s": [None, job.seconds],
            "energy_never_falls": not fell,
            "WRONG_sum_of_rows_kwh": whole / 3.6e6,
        })  # fmt: skip
    assert rows == sum(of_run["rows"] for of_run in right["per_run"])
    return {"data_rows_ok": rows, "broken_rows": len(read.bad), "runs": len(read.records), "per_run": answers}


def report(name: str, _: Answer) -> Answer:
    read = Imported("optimum-benchmark", [DATA / name])
    *jobs, inference = read.records
    found = {record.head["source"].split(", ")[-1]: record.stretches[0] for record in jobs}
    parts = {stretch.name: stretch for stretch in inference.stretches}
    found |= {"load_model": parts["model+pipeline"], "prefill": parts["prefill"], "decode": parts["decode"]}
    gpu = {phase: stretch.joules() for phase, stretch in found.items()}
    everything = {p: sum(float(row["joules"] or 0.0) for row in stretch.rows) for p, stretch in found.items()}
    decode, whole = parts["decode"], parts["inference"]
    stated = number(inference.stated, "j_per_token")
    tokens = (decode.joules() or 0.0) / stated
    assert {"rate_above_bandwidth", "lower_bound:gpu"} <= set(inference.flags)
    difference = (whole.joules() or 0.0) - (parts["prefill"].joules() or 0.0)
    return {
        "phase_gpu_j": gpu,
        "phase_total_j": everything,
        "decode_equals_generate_minus_prefill_gpu_kwh": [(gpu["decode"] or 0.0) / 3.6e6, difference / 3.6e6],
        "tokens_implied_by_decode_efficiency": tokens,
        "j_per_token_as_reported_total": everything["decode"] / tokens,
        "generate_s_minus_prefill_s": decode.seconds,
        "implied_decode_tokens_per_s": number(inference.head, "tokens_per_s"),
    }


def telemetry(name: str, _: Answer) -> Answer:
    (record,) = Imported("aiperf", [DATA / name]).records
    (job,) = record.stretches
    total = number(record.totals["gpu"], "joules")
    assert "lower_bound:gpu" in record.flags
    (of_power,) = (float(row["joules"]) for row in job.rows if row["channel"].endswith("@power"))
    return {
        "span_s": job.seconds,
        "energy_j_from_counter_max_minus_min": total,
        "mean_power_w_from_counter": total / job.seconds,
        "energy_j_from_mean_power": of_power,
        "WRONG_avg_of_counter_as_energy_j": total,
    }


def crosschecks(_: str, right: Answer) -> Answer:
    """Two measurements of the same stretches of time: phases of imported run files, in the samples of a trace."""
    found = []
    for pair in right["counter_vs_sampled_power"]:
        read, samples = study(f"energy-inference/{pair['runs']}"), samples_of(STUDY / pair["trace"])
        counted, sampled, long = [], [], []
        for record in read.records:
            zero = datetime.fromisoformat(record.head["started_at"]).timestamp()
            for stretch in record.stretches:
                edges = zero + stretch.start_s, zero + stretch.start_s + stretch.seconds
                sums = [integral(gpu, *edges) for gpu in samples]
                if any(one is None for one in sums):
                    continue  # the trace begins after it, or ends before
                counted.append(stretch.joules() or 0.0)
                sampled.append(sum(one for one in sums if one is not None))
                long.append(stretch.seconds > 5)
        ratios = [s / c for s, c, is_long in zip(sampled, counted, long, strict=True) if not is_long]
        sums_of_long = [sum(x for x, is_long in zip(side, long, strict=True) if is_long) for side in (sampled, counted)]
        found.append({
            "runs": pair["runs"], "trace": pair["trace"], "trace_clock": pair["trace_clock"],
            "result": {
                "windows": len(counted),
                "sum_counter_j": sum(counted),
                "sum_sampled_j": sum(sampled),
                "ratio_sampled_over_counter": sum(sampled) / sum(counted),
                "ratio_windows_over_5s": sums_of_long[0] / sums_of_long[1],
                "ratio_range_single_windows_up_to_5s": [min(ratios), max(ratios)],
            },
        })  # fmt: skip
    return {"counter_vs_sampled_power": found}


def samples_of(path: Path) -> list[list[tuple[float, float]]]:
    """Seconds since 1970 and watts of each GPU, in turn; the local clock is five hours behind."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        rows = [row for row in csv.reader(stream, skipinitialspace=True) if len(row) == 4 and row[3].endswith("%")]
    ahead = timedelta(hours=5)
    times = [(datetime.strptime(r[0], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC) + ahead).timestamp() for r in rows]
    gpus = 3 if "falcon-40b" in path.name else 1
    watts = [float(row[1].split()[0]) for row in rows]
    return [list(zip(times[gpu::gpus], watts[gpu::gpus], strict=True)) for gpu in range(gpus)]


def integral(samples: list[tuple[float, float]], begin_s: float, end_s: float) -> float | None:
    """Trapezoid with interpolation at both edges; None where the samples do not reach over it."""
    if samples[0][0] > begin_s or samples[-1][0] < end_s:
        return None
    total = 0.0
    first, last = bisect(samples, (begin_s, inf)) - 1, bisect(samples, (end_s, inf)) + 1
    for (t0, w0), (t1, w1) in pairwise(samples[first:last]):
        a, b = max(t0, begin_s), min(t1, end_s)
        if a < b:
            slope = (w1 - w0) / (t1 - t0)
            total += (b - a) * (w0 + slope * (a - t0) + w0 + slope * (b - t0)) / 2
    return total


BUILDERS: dict[str, Callable[[str, Answer], Answer]] = {
    "_cross_checks": crosschecks,
    "energy-inference/hotcarbon24/*-cuda-*": ladder,
    "energy-inference/hotcarbon24/*-mps.csv": laptop,
    "energy-inference/powermetrics/*": headless,
    "energy-inference/runs/*": run_file,
    "energy-inference/nvidia-smi/*": trace,
    "energy-inference/amduprof/*": timechart,
    "ml-energy-v3/tasks/*": leaderboard,
    "ml-energy-v2/data/legacy/*": legacy,
    "ml-energy-v2/data/llm_text_generation": version_2,
    "mlperf-v4.1/*": wall,
    "zeus/*": windows,
    "codecarbon/*": emissions,
    "optimum-benchmark/*": report,
    "aiperf/*": telemetry,
}
SOURCES = [name for name in (expected() if (DATA / "EXPECTED.json").is_file() else ["?"]) if name != "_conventions"]


@needs_data
@pytest.mark.parametrize("name", SOURCES)
def test_every_figure_of_a_source_comes_out_of_import_and_export(name: str) -> None:
    builder = next((builder for pattern, builder in BUILDERS.items() if fnmatchcase(name, pattern)), None)
    assert builder is not None, "this source is neither tested nor named with a reason"
    right = expected()[name]
    assert wrongs({name: right}, {name: builder(name, right)}) == []


@needs_data
@pytest.mark.parametrize(
    ("run_file", "traces", "share"),
    [
        (
            "output-test-Llama-2-7b-chat-hf-M1-Pro",
            ["Llama-2-7b-2024-04-04-15-14-54", "Llama-2-7b-2024-04-04-17-47-47"],
            True,
        ),
        ("input-test-falcon-7b-M1-Pro", ["falcon-7b-21-58-06"], True),
        ("caching-Mistral-7B-v0.1-M1-Pro", ["Mistral-7B-2024-03-27-15-46-40", "Mistral-7B-2024-03-27-16-45-31"], False),
    ],
)
def test_traces_of_the_laptop_are_the_rows_of_its_run_files(run_file: str, traces: list[str], share: bool) -> None:
    """share: the file's CPU column is the process's share throughout; else it changes, and records have none."""
    rows = study(f"energy-inference/runs/{run_file}.csv").having("inference")
    for name in traces:
        (path,) = STUDY.glob(f"powermetrics/{name}-power.csv*")
        for record in study(f"energy-inference/powermetrics/{path.name}").having("inference"):
            found = [row for row in rows if close(row.inference.joules(), record.inference.joules())]
            assert len(found) == 1
            in_row, in_trace = (one.inference.joules("cpu", share=True) for one in (found[0], record))
            assert close(in_row, in_trace) if share else in_row is None


@needs_data
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hotcarbon24/llama2-7b-cuda-1.csv", "loading once took 139.4 s, usually 1"),
        ("hotcarbon24/llama2-7b-cuda-8.csv", r"a new session begins in line 80, 232\d\d s after"),
        ("runs/scale-output-Mixtral-8x7B-v0.1-argonne-swing-3.csv", "a comma is missing in the header at 'GPU-1 Used"),
        (
            "runs/independence-all-stats-raw-4.csv",
            r"disagrees with .* in 77 rows \(87055 J where the others make 87.055 J",
        ),
        ("runs/independence-all-stats-raw-4.csv", "total less input tokens is above the limit: .* rounded by hand"),
        (
            "powermetrics/Llama-2-7b-2024-03-28-16-35-44-power.csv.gz",
            "1 sample has no number for the process's share",
        ),
        ("powermetrics/Llama-2-7b-2024-03-28-23-32-21-power.csv", "times are seconds sampled"),
    ],
)
def test_what_the_answers_say_in_words_is_what_the_import_says(name: str, words: str) -> None:
    path = STUDY / name
    read = Imported("energy-inference", [path]) if path.stem in WRONG_UNITS else study(f"energy-inference/{name}")
    assert any(re.search(words, note) for note in read.said), read.said


@needs_data
def test_two_sessions_in_a_file_are_told_apart_by_their_times() -> None:
    records = study("energy-inference/hotcarbon24/llama2-7b-cuda-8.csv").records
    starts = [datetime.fromisoformat(record.head["started_at"]).timestamp() for record in records]
    (breaks,) = (at for at, (a, b) in enumerate(pairwise(starts), 1) if b - a > 3600)
    assert starts[breaks] - starts[breaks - 1] == pytest.approx(23222, abs=60)
    first, second = (summary([r.inference.joules() for r in half]) for half in (records[:breaks], records[breaks:]))
    assert (first["n"], second["n"]) == (26, 26)
    assert [first["mean"], first["sd"], second["mean"], second["sd"]] == pytest.approx(
        [6094.937, 225.179, 6027.532, 482.162], abs=5e-4
    )


@needs_data
def test_the_same_runs_in_a_file_with_the_wrong_unit_are_the_same_energies() -> None:
    right = study("energy-inference/runs/input-test-falcon-7b-argonne-swing-1.csv").having("inference")
    told = study("energy-inference/runs/input-token-test-swing.csv").having("inference")
    falcon = [record.inference.joules() for record in told if record.head["model"] == "falcon-7b"]
    assert falcon == pytest.approx([record.inference.joules() for record in right])


@needs_data
def test_every_excuse_is_of_a_figure_that_stands_there() -> None:
    used = {excuse(path) for path, _ in leaves(expected())}
    assert set(EXCUSED) <= used


def test_a_figure_without_an_answer_is_found() -> None:
    right = {"a": {"x": 1.00000001, "n": 2, "WRONG_x": 5.0, "note": "words", "mean_w": 2.5, "list": [1, 2]}}
    ours = {"a": {"x": 1.0, "n": 2, "WRONG_x": 1.0, "mean_w": 2.54, "list": [1, 2]}}
    assert wrongs(right, ours) == []
    assert wrongs(right | {"b": {"y": 1}}, ours) == ["b > y: no answer"]
    assert wrongs({"a": {"x": 1.1, "n": 3, "list": [1, 2, 3]}}, ours) == [
        "a > x: 1.0, right is 1.1", "a > n: 2, right is 3", "a > list > 2: no answer",
    ]  # fmt: skip
    assert wrongs({"a": {"WRONG_x": 1.0, "mean_w": 2.6}}, ours) == ["WRONG_x: ours", "a > mean_w: 2.54, right is 2.6"]
