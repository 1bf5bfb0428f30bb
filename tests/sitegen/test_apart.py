"""Which rows may be told apart: intervals, the gain of what measured them, and makers' models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import MeterInfo
from llmjoules.sitegen import finding
from llmjoules.sitegen.aggregate import Row
from llmjoules.sitegen.build import build_site
from tests.builders import NVML, RAPL
from tests.sitegen.html import Html
from tests.sitegen.inputs import rows_from, runs, write

APPLES = msgspec.structs.replace(
    RAPL.channels[0], wraps_at_j=None, note="Apple's own model of the energy, not a sensor: not for comparing machines"
)
APPLE = MeterInfo(name="apple", channels=(APPLES,))


def board(uuid: str, gain: float | None = 0.05) -> MeterInfo:
    channel = msgspec.structs.replace(NVML.channels[0], uuid=uuid, gain=gain)
    return msgspec.structs.replace(NVML, channels=(channel,))


def row(watts: float, system: str, meter: MeterInfo, **more: Any) -> Row:
    """Three loads within 0.1 %: an interval of 0.25 % of the mean."""
    spread = watts / 1000
    records = runs([watts - spread, watts, watts + spread], system=system, meter=meter, name=system, **more)
    return rows_from(records)[0]


def test_two_systems_closer_than_their_gain_cannot_be_told_apart() -> None:
    one, other = row(100.0, "One", board("GPU-1")), row(101.3, "Other", board("GPU-2"))
    assert finding.not_apart(one, other) == "different devices measured them, which may be off by ± 5.0\u202f% (gain)"
    assert finding.not_apart(other, one) == finding.not_apart(one, other)


def test_two_systems_a_factor_of_two_apart_are_told_apart() -> None:
    assert finding.not_apart(row(100.0, "One", board("GPU-1")), row(200.0, "Other", board("GPU-2"))) is None


def test_the_gain_of_the_same_board_cancels() -> None:
    assert finding.not_apart(row(100.0, "One", board("GPU-1")), row(101.3, "One", board("GPU-1"))) is None
    assert finding.not_apart(row(100.0, "One", board("GPU-1")), row(101.3, "One", board("GPU-2"))) is not None


def test_different_gains_are_both_named() -> None:
    why = finding.not_apart(row(100.0, "One", board("GPU-1", 0.05)), row(101.0, "Other", board("GPU-2", 0.1)))
    assert why is not None
    assert "± 5.0\u202f% and ± 10\u202f%" in why


@pytest.mark.parametrize("gains", [(None, 0.05), (0.05, None), (None, None)])
def test_a_gain_that_is_not_known_tells_no_systems_apart(gains: tuple[float | None, float | None]) -> None:
    one, other = row(100.0, "One", board("GPU-1", gains[0])), row(900.0, "Other", board("GPU-2", gains[1]))
    assert "not known" in (finding.not_apart(one, other) or "")


def test_one_channel_without_a_known_gain_leaves_the_gain_unknown() -> None:
    second = msgspec.structs.replace(NVML.channels[0], id="gpu:1", gain=None)
    meter = msgspec.structs.replace(NVML, channels=(NVML.channels[0], second))
    records = runs([100.0, 100.0, 100.0], meter=meter)
    for record in records:
        total = msgspec.structs.replace(record.totals["gpu"], channels=("gpu:0", "gpu:1"))
        record.totals = {"gpu": total}
    assert rows_from(records)[0].gain is None


def test_threads_of_one_machine_are_told_apart_without_a_known_gain() -> None:
    assert finding.not_apart(row(100.0, "One", RAPL, threads=1), row(102.0, "One", RAPL, threads=2)) is None


def test_several_boards_of_one_model_name_measured_a_row_so_nothing_cancels() -> None:
    def mixed(watts: float, name: str) -> Row:
        records = [
            run
            for uuid in ("GPU-1", "GPU-2")
            for run in runs([watts, watts + 0.1], meter=board(uuid), name=f"{name}{uuid}")
        ]
        return rows_from(records)[0]

    assert finding.not_apart(mixed(100.0, "a"), mixed(101.3, "b")) is not None


def test_overlapping_intervals_and_single_runs_are_reasons_of_their_own() -> None:
    one = row(100.0, "One", RAPL)
    assert finding.not_apart(one, row(100.1, "One", RAPL)) == "the intervals overlap"
    (single,) = rows_from(runs([900.0], system="One"))
    assert finding.not_apart(one, single) == "one run has no interval"


def site_of(tmp_path: Path, plotly: Path, *records: Any) -> Html:
    build_site(
        [write(tmp_path / "r.jsonl", [run for group in records for run in group])], tmp_path / "s", plotly_js=plotly
    )
    return Html(tmp_path / "s" / "index.html")


def three(watts: float, **more: Any) -> list[Any]:
    return runs([watts * 0.999, watts, watts * 1.001], name=more["system"], **more)


def test_the_home_page_names_no_winner_inside_the_gain(tmp_path: Path, plotly_stub: Path) -> None:
    home = site_of(
        tmp_path,
        plotly_stub,
        three(100.0, system="One", meter=board("GPU-1"), model="A-model", device="cuda", threads=None),
        three(101.3, system="Other", meter=board("GPU-2"), model="A-model", device="cuda", threads=None),
    )
    assert home.heading.startswith(
        "A-model on One has the lowest mean, 10.000 J/token of GPU energy, but A-model on Other"
    )
    assert home.heading.endswith(
        "cannot be told from it: different devices measured them, which may be off by ± 5.0\u202f% (gain)"
    )
    assert "cannot be told from the lowest: different devices measured them" in home.text
    assert "takes the least" not in home.text


def test_the_home_page_names_one_that_is_lower_beyond_the_gain(tmp_path: Path, plotly_stub: Path) -> None:
    home = site_of(
        tmp_path,
        plotly_stub,
        three(100.0, system="One", meter=board("GPU-1"), device="cuda", threads=None),
        three(200.0, system="Other", meter=board("GPU-2"), device="cuda", threads=None),
    )
    assert "takes the least GPU energy, 10.000 J/token" in home.heading
    assert "2.00 times as much" in home.heading


def test_apples_model_is_ranked_on_one_mac_and_never_over_several(tmp_path: Path, plotly_stub: Path) -> None:
    here = [three(w, system="M1", meter=APPLE, model=f"{m}-model") for m, w in (("A", 100.0), ("B", 50.0))]
    assert "B-model takes the least CPU energy" in site_of(tmp_path / "one", plotly_stub, *here).heading
    there = three(10.0, system="M4", meter=APPLE, model="A-model")
    home = site_of(tmp_path / "two", plotly_stub, *here, there)
    assert "least" not in home.heading
    assert "not ranked because the figures are Apple's own model, which is not for comparing machines" in home.heading
    assert "not ranked: the figures are Apple's own model" in home.text
    one, other = row(100.0, "M1", APPLE), row(900.0, "M4", APPLE)
    assert finding.not_apart(one, other) == finding.APPLE


def test_more_boards_are_told_from_fewer_only_beyond_the_gain(tmp_path: Path, plotly_stub: Path) -> None:
    def boards(n: int) -> MeterInfo:
        more = [msgspec.structs.replace(NVML.channels[0], id=f"gpu:{i}", uuid=f"GPU-{i}") for i in range(n)]
        return msgspec.structs.replace(NVML, channels=tuple(more))

    records = []
    for n, watts in ((1, 100.0), (2, 102.0), (4, 300.0)):
        for run in three(watts, system="One", meter=boards(n), device="cuda", devices=n, threads=None):
            total = msgspec.structs.replace(run.totals["gpu"], channels=tuple(c.id for c in boards(n).channels))
            run.totals = {"gpu": total}
            records.append(run)
    site_of(tmp_path, plotly_stub, records)
    scaling = Html(tmp_path / "s" / "scaling.html")
    assert "lowest mean with 1 device" in scaling.heading
    assert scaling.heading.endswith("2 devices cannot be told from it")
    assert "2 devices cannot be told from it: different devices measured them" in scaling.text
