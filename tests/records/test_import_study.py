"""What the study's files are known to get wrong is flagged or said, and corrected only when somebody says so."""

from __future__ import annotations

from llmjoules.records.record import Published
from tests.records.importing import DATA, Read, close, needs_data, phase_j

pytestmark = needs_data
STUDY = DATA / "energy-inference"


def inferences(read: Read) -> list[Published]:
    return [record for record in read.records if any(phase.name == "inference" for phase in record.phases)]


def seconds(record: Published) -> float:
    return next(phase for phase in record.phases if phase.name == "inference").duration_s


def test_a_phase_below_the_step_of_the_counter_is_unresolved_and_not_zero() -> None:
    record = Read("energy-inference", STUDY / "hotcarbon24/mixtral8x7b-cuda-4.csv").only
    assert phase_j(record, "pipeline") is None
    assert "unresolved:pipeline" in record.flags


def test_a_heading_in_microjoules_over_millijoules_is_flagged_and_not_corrected_unasked() -> None:
    path = STUDY / "runs/input-token-test-swing.csv"
    long = [record for record in inferences(Read("energy-inference", path)) if seconds(record) >= 0.5]
    assert long
    assert all("power_below_idle:gpu" in record.flags for record in long)
    told = Read("energy-inference", path, units={"GPU Energy (uJ)": "mJ"})
    assert not [record.flags for record in told.records if record.flags]
    corrections = {record.origin.corrections for record in told.records if record.origin is not None}
    assert [(c.column, c.stated, c.taken) for found in corrections for c in found] == [("GPU Energy (uJ)", "uJ", "mJ")]


def test_a_sum_that_disagrees_with_the_single_gpus_is_said() -> None:
    read = Read("energy-inference", STUDY / "runs/independence-all-stats-raw-4.csv")
    assert any("'GPU Energy (J)' disagrees" in note and "77 rows" in note for note in read.notes)
    assert close(inferences(read)[0].totals["gpu"].joules, 1214.18)
