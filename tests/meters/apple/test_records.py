"""Reading what powermetrics writes: its stream in any pieces and with every fault, older text, and α by hand."""

from __future__ import annotations

import plistlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.meters.powermetrics_records import (
    PlistStream,
    Record,
    Task,
    TextStream,
    impact_factor,
    parse_text,
    process_tree,
    record_of,
)


def plist(elapsed_ns: int = 508_000_000, name: str = "zsh", **processor: Any) -> bytes:
    processor = processor or {"cpu_energy": 1270, "gpu_energy": 254, "ane_energy": 0}
    rows = [{"pid": 77, "parent_pid": 1, "name": name, "cputime_ns": 40_000_000, "energy_impact": 12.5}]
    all_tasks = {"pid": -2, "cputime_ns": 160_000_000, "energy_impact": 50.0}
    return plistlib.dumps(
        {"elapsed_ns": elapsed_ns, "tasks": rows, "all_tasks": all_tasks, "processor": processor}, sort_keys=False
    )


def read(data: bytes) -> tuple[list[Record], PlistStream]:
    stream = PlistStream()
    records = stream.feed(data)
    stream.finish()
    return records, stream


def test_a_record_holds_joules_seconds_and_tasks() -> None:
    (record,), stream = read(plist())
    assert record == Record(
        0.508,
        {"cpu": 1.27, "gpu": 0.254, "ane": 0.0},
        (Task(77, 1, 0.04, 12.5),),
        Task(-2, None, 0.16, 50.0),
    )
    assert stream.dropped == 0


def test_records_are_separated_by_a_nul_and_none_follows_the_last() -> None:
    records, stream = read(b"\0".join([plist(cpu_energy=1), plist(cpu_energy=2), plist(cpu_energy=3)]))
    assert [record.joules["cpu"] for record in records] == [0.001, 0.002, 0.003]
    assert stream.dropped == 0


def test_the_last_record_does_not_wait_for_the_nul_of_the_next() -> None:
    stream = PlistStream()
    assert len(stream.feed(plist())) == 1
    assert stream.feed(b"\0") == []
    assert len(stream.feed(plist())) == 1


STREAM = b"\0".join(plist(cpu_energy=n, name="a & b" * n) for n in range(1, 5))


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_pieces_in_which_it_comes_do_not_matter(cuts: list[int]) -> None:
    stream = PlistStream()
    edges = [0, *sorted(cuts), len(STREAM)]
    records = [r for a, b in pairwise(edges) for r in stream.feed(STREAM[a:b])]
    assert [record.joules["cpu"] for record in records] == [0.001, 0.002, 0.003, 0.004]
    assert stream.dropped == 0


def test_a_record_that_is_cut_off_is_dropped_and_counted() -> None:
    records, stream = read(plist() + b"\0" + plist()[:400])
    assert len(records) == 1
    assert stream.dropped == 1


def test_a_record_that_cannot_be_read_leaves_the_next_ones() -> None:
    records, stream = read(b"\0".join([plist(), b"<plist><dict><key>elapsed_ns</dict></plist>", plist()]))
    assert len(records) == 2
    assert stream.dropped == 1


@pytest.mark.parametrize("junk", [b"& & &amp; &#38; &lt;", b"a\x01b\x1fc", b"caf\xe9 \xff", b"\xf0\x9f"])
def test_the_name_of_a_process_may_hold_what_xml_does_not_allow(junk: bytes) -> None:
    records, stream = read(plist(name="NAME").replace(b"NAME", junk))
    assert [record.joules["cpu"] for record in records] == [1.27]
    assert stream.dropped == 0


def test_a_newline_before_the_document_is_skipped() -> None:
    records, stream = read(b"\n" + plist() + b"\0\n\n" + plist() + b"\n")
    assert len(records) == 2
    assert stream.dropped == 0


def test_numbers_that_are_none_are_not_there() -> None:
    record = record_of({"elapsed_ns": 10**9, "processor": {"cpu_energy": float("nan"), "gpu_energy": True}})
    assert record is not None
    assert record.joules == {}
    assert record_of({"elapsed_ns": 0, "processor": {}}) is None
    assert record_of({"elapsed_ns": 10**9}) is None
    assert record_of(["elapsed_ns"]) is None


def test_energy_comes_before_power_and_power_counts_over_the_true_interval() -> None:
    """2000 mW over 0.508 s is 1.016 J, not 1 J of the half second that was asked for."""
    (record,), _ = read(plist(cpu_energy=900, cpu_power=5.0, gpu_power=2000.0, combined_power=7777.0))
    assert record.joules == {"cpu": 0.9, "gpu": pytest.approx(1.016)}


def test_the_energy_of_the_gpu_counts_once() -> None:
    twice = {"elapsed_ns": 10**9, "processor": {"gpu_energy": 40}, "gpu": {"gpu_energy": 40}}
    alone = {"elapsed_ns": 10**9, "processor": {}, "gpu": {"gpu_energy": 40, "freq_hz": 388.8}}
    assert [record_of(p).joules for p in (twice, alone)] == [{"gpu": 0.04}, {"gpu": 0.04}]  # type: ignore[union-attr]


def test_macos_12_has_memory_and_a_package_that_is_not_the_sum() -> None:
    (record,), _ = read(plist(cpu_energy=10, gpu_energy=5, ane_energy=0, dram_energy=19, package_energy=25))
    assert record.joules == {"cpu": 0.01, "gpu": 0.005, "ane": 0.0, "dram": 0.019, "chip": 0.025}


def test_intel_has_joules_of_the_package() -> None:
    (record,), _ = read(plist(package_joules=4.25, cpu_joules=3.5, igpu_watts=0.5))
    assert record.joules == {"package": 4.25, "cpu": 3.5}


def test_clusters_may_have_any_name_and_number() -> None:
    clusters = [{"name": "M0-Cluster"}, {"name": "S-Cluster", "cpus": []}, {}]
    (record,), _ = read(plist(cpu_energy=8, clusters=clusters))
    assert record.joules == {"cpu": 0.008}


def test_tasks_inside_coalitions_are_found_and_the_sums_of_coalitions_are_not_used() -> None:
    coalition = {"id": 40, "name": "Terminal", "energy_impact": 99.0, "tasks": [{"pid": 5, "energy_impact": 2.0}]}
    record = record_of({"elapsed_ns": 10**9, "processor": {}, "coalitions": [coalition]})
    assert record is not None
    assert record.tasks == (Task(5, None, None, 2.0),)


TABLE = Record(
    0.5,
    {"cpu": 2.0},
    (
        Task(0, 0, 0.05, 10.0),
        Task(-1, 0, 0.01, 2.0),
        Task(50, 1, 0.20, 20.0),
        Task(51, 50, 0.10, 30.0),
        Task(52, 51, 0.04, 8.0),
        Task(60, 1, 0.10, 30.0),
    ),
    Task(-2, 0, 0.50, 100.0),
)


def test_the_tree_of_a_process_holds_its_children_and_theirs() -> None:
    assert process_tree(TABLE, [50]) == {50, 51, 52}
    assert process_tree(TABLE, [51, 60]) == {51, 52, 60}


def test_alpha_is_our_part_of_all_tasks() -> None:
    """(20 + 30 + 8) / 100, and by CPU time (0.20 + 0.10 + 0.04) / 0.50."""
    assert impact_factor(TABLE, {50, 51, 52}, "energy_impact") == pytest.approx(0.58)
    assert impact_factor(TABLE, {50, 51, 52}, "cputime_s") == pytest.approx(0.68)


def test_without_a_row_for_all_tasks_the_sum_of_all_rows_stands_for_it() -> None:
    """With the kernel and the tasks that ended: 58 of 100 again, and 0.34 of 0.50."""
    table = TABLE._replace(all_tasks=None)
    assert impact_factor(table, {50, 51, 52}, "energy_impact") == pytest.approx(0.58)
    assert impact_factor(table, {50, 51, 52}, "cputime_s") == pytest.approx(0.68)


def test_alpha_lies_between_0_and_1() -> None:
    assert impact_factor(TABLE._replace(all_tasks=Task(-2, 0, 0.1, 20.0)), {50, 51}, "energy_impact") == 1.0
    assert impact_factor(TABLE, {999}, "energy_impact") == 0.0
    assert impact_factor(Record(0.5, {}, (Task(7, 1, 0.0, 0.0),), Task(-2, 0, 0.0, 0.0)), {7}, "energy_impact") == 0.0


def test_alpha_is_unknown_where_the_table_does_not_tell() -> None:
    assert impact_factor(Record(0.5, {"cpu": 1.0}), {50}, "energy_impact") is None
    assert impact_factor(Record(0.5, {}, (Task(50, 1, 0.1),), Task(-2, 0, 0.2)), {50}, "energy_impact") is None


TEXT = """Machine model: Mac99,1
OS version: 22A1

*** Sampled system activity (Mon Jan  5 10:00:00 2026 +0100) (1050.00ms elapsed) ***

*** Running tasks ***

Name                               ID     CPU ms/s  User%  Energy Impact
Web Content 3                      4711   200.00    80.00  30.50
kernel_task                        0      50.00     0.00   9.50
ALL_TASKS                          -2     250.00    70.00  40.00

**** Processor usage ****

E-Cluster Power: 777 mW
P-Cluster Power: 888 mW
CPU Power: 2000 mW
GPU Power: 400 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): 2400 mW

**** GPU usage ****

GPU Power: 401 mW

*** Summary system activity (Mon Jan  5 10:00:00 2026 +0100) (1050.00ms elapsed) ***

CPU Power: 9999 mW
"""


def test_text_gives_power_over_the_true_interval_and_summaries_are_left_out() -> None:
    (record,) = parse_text(TEXT)
    assert record.joules == {"cpu": pytest.approx(2.1), "gpu": pytest.approx(0.42), "ane": 0.0}


def test_rows_of_text_are_split_from_the_right() -> None:
    (record,) = parse_text(TEXT)
    assert record.tasks == (Task(4711, None, pytest.approx(0.21), 30.5), Task(0, None, pytest.approx(0.0525), 9.5))
    assert impact_factor(record, {4711}, "energy_impact") == pytest.approx(30.5 / 40)
    assert impact_factor(record, {4711}, "cputime_s") == pytest.approx(0.8)


def test_text_of_macos_12_and_of_intel() -> None:
    head = "*** Sampled system activity (now) (500.00ms elapsed) ***\n"
    old, intel = parse_text(
        head
        + "DRAM Power: 220 mW\nCPU Power: 900 mW\nPackage Power: 1400 mW\nDCS Power: 36 mW\n"
        + head
        + "Intel energy model derived package power (CPUs+GT+SA): 8.50W\n"
    )
    assert old.joules == {"dram": 0.11, "cpu": 0.45, "chip": 0.7}
    assert intel.joules == {"package": 4.25}


# Real captures


def test_a_real_stream_gives_the_joules_that_an_independent_sum_gives(captures: Path) -> None:
    for file in sorted(captures.glob("*.plists")):
        data = file.read_bytes()
        expected = [plistlib.loads(document) for document in data.split(b"\0")]
        stream = PlistStream()
        records = [r for at in range(0, len(data), 50_000) for r in stream.feed(data[at : at + 50_000])]
        assert stream.dropped == 0
        for record, whole in zip(records, expected, strict=True):
            of = whole["processor"]
            assert record.joules == {k: of[f"{k}_energy"] / 1000 for k in ("cpu", "gpu", "ane")}
            assert record.joules["cpu"] / record.elapsed_s == pytest.approx(of["cpu_power"] / 1000, rel=1e-5)
            assert sum(task.energy_impact or 0 for task in record.tasks) == pytest.approx(
                whole["all_tasks"]["energy_impact"], abs=0.01
            )
            everyone = {task.pid for task in record.tasks}
            assert impact_factor(record, everyone, "energy_impact") == pytest.approx(1.0, abs=1e-4)


def test_real_texts_give_the_joules_that_an_independent_sum_gives(captures: Path) -> None:
    names = []
    for file in sorted(captures.glob("text-*.txt")):
        text = file.read_text(errors="replace")
        expected_j, elapsed_s = 0.0, None
        for line in text.splitlines():
            if line.startswith("*** S"):
                milliseconds = re.findall(r"\(([0-9.]+)ms", line)
                elapsed_s = float(milliseconds[0]) / 1000 if line.startswith("*** Sampled") else None
            words = line.split()
            if elapsed_s and (line.startswith("CPU Power:") or "derived package power" in line):
                value = words[-1].removesuffix("W") if line.endswith("W") and words[-1] != "mW" else words[-2]
                expected_j += float(value) * elapsed_s / (1000 if words[-1] == "mW" else 1)
        found = [record.joules.get("cpu", record.joules.get("package", 0.0)) for record in parse_text(text)]
        assert sum(found) == pytest.approx(expected_j, abs=1e-9), file.name
        names += [file.name] * (expected_j > 0)
    assert len(names) >= 4


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_text_in_any_pieces_gives_the_same_records_the_last_when_nothing_more_comes(size: int) -> None:
    data = (TEXT + TEXT.replace("CPU Power", "\nCPU Power", 1) + TEXT).encode()
    stream = TextStream()
    records = [record for k in range(0, len(data), size) for record in stream.feed(data[k : k + size])]
    assert len(records) == len(parse_text(data.decode())) - 1
    assert [*records, *stream.pause()] == parse_text(data.decode())
    assert stream.pause() == []
    assert stream.dropped == 0


def test_what_is_no_sample_in_text_form_is_the_message() -> None:
    stream = TextStream()
    assert stream.feed(b"Machine model: Mac99,1\npowermetrics must be invoked as the superuser\n") == []
    assert stream.pause() == []
    assert "superuser" in stream.finish()
