"""The scaling page: curves by devices, threads and batch, their sweet spots, and what empty devices take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import pytest

from llmjoules.records.ids import comparability_class
from llmjoules.records.record import Record, Run, Total
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.scaling import curves
from llmjoules.sitegen.sweetspot import sweet_spot
from tests.builders import NVML
from tests.sitegen.html import Html
from tests.sitegen.inputs import estimated, measured, rows_from, runs, write


@pytest.fixture
def scaling(tmp_path: Path, plotly_stub: Path) -> Callable[[Iterable[Record]], Html]:
    def build(records: Iterable[Record]) -> Html:
        build_site([write(tmp_path / "in" / "r.jsonl", records)], tmp_path / "site", plotly_js=plotly_stub)
        return Html(tmp_path / "site" / "scaling.html")

    return build


def plots(page: Html) -> list[dict[str, Any]]:
    return [json.loads(script) for script in page.scripts if script]


def ground(page: Html) -> list[list[float | None]]:
    """Heights of the pale strokes of the energy chart."""
    return [trace["y"] for trace in plots(page)[0]["data"] if trace.get("hoverinfo") == "skip"]


def test_the_sweet_spot_of_a_measured_curve_is_named_with_its_probability(scaling) -> None:
    # 4 ± 0.25, 3 ± 0.25, 6 ± 0.25 J/token (t(2) * 0.1 / sqrt(3) = 0.248) with 1, 2, 4 threads: 10 and 30 errors apart.
    page = scaling(measured())
    assert (
        "the sweet spot is 2 threads, 3.00 ± 0.25 J/token, the lowest with a probability of above 99.9" in page.heading
    )
    assert ground(page) == [[None, 3.0, None]]
    for cell in ("P(lowest)", "Against the lowest", "sweet spot", "higher", "below 0.1 %"):
        assert cell in page.text


def test_of_equal_rungs_none_is_named_and_all_lie_on_pale_ground(scaling) -> None:
    watts = [38.0, 39.0, 40.0, 41.0, 42.0]
    page = scaling([run for threads in (1, 2, 4) for run in runs(watts, threads=threads)])
    assert "lowest mean with 1 thread" in page.heading
    assert "with a probability of 33 %; 2 threads and 4 threads cannot be told from it" in page.text
    assert "sweet spot" not in page.text
    assert ground(page) == [[4.0, 4.0, 4.0]]


def test_a_curve_of_one_process_each_names_no_sweet_spot(scaling) -> None:
    records = [
        msgspec.structs.replace(run, load=msgspec.structs.replace(run.load, id="the-only-one"))
        for threads, watts in ((1, 40.0), (2, 20.0))
        for run in runs([watts - 1, watts, watts + 1], threads=threads)
    ]
    page = scaling(records)
    assert "one process says nothing of others, so no best is named" in page.text
    assert "sweet spot" not in page.text


def test_estimated_joules_have_no_probability_and_no_pale_ground(scaling) -> None:
    page = scaling(estimated())
    assert ground(page) == []
    assert "no best is named" in page.text
    assert "sweet spot" not in page.text


def test_what_other_boards_may_be_off_by_stands_in_the_way_of_a_sweet_spot(scaling) -> None:
    def on(devices: int, watts: float, uuid: str) -> list[Run]:
        channel = msgspec.structs.replace(NVML.channels[0], uuid=uuid)
        meter = msgspec.structs.replace(NVML, channels=(channel,))
        return runs([watts - 0.1, watts, watts + 0.1], device="cuda", threads=None, devices=devices, meter=meter)

    near = scaling(on(1, 40.0, "GPU-a") + on(2, 42.0, "GPU-b"))  # 5 % apart, each board ± 5 %
    assert "2 devices cannot be told from it: different devices measured them" in near.text
    assert "sweet spot" not in near.text
    assert "sweet spot is 1 device" in scaling(on(1, 40.0, "GPU-a") + on(2, 60.0, "GPU-b")).heading


def batches(sizes: dict[int, float]) -> list[Run]:
    """J/token by batch: 2 s and 20 tokens a row."""
    found = []
    for size, j_per_token in sizes.items():
        watts = j_per_token * 20 * size / 2
        for run in runs([watts * 0.99, watts, watts * 1.01], name=f"b{size}"):
            run.workload = msgspec.structs.replace(run.workload, batch_size=size, prompt_sha256=f"{size:064d}")
            run.tokens = msgspec.structs.replace(run.tokens, generated=20 * size, useful=20 * size)
            run.class_, run.cell = comparability_class(run.meters, run.model, run.workload), f"cell-{size}"
            found.append(run)
    return found


def test_a_batch_has_its_curve_though_each_batch_is_a_class_of_its_own(scaling) -> None:
    page = scaling(batches({1: 4.0, 4: 2.0, 16: 1.0}))
    assert "the sweet spot is batch 16" in page.heading
    energy, speed = plots(page)
    assert energy["layout"]["xaxis"]["ticktext"] == ["batch 1", "4", "16"]
    assert energy["data"][-1]["y"] == [4.0, 2.0, 1.0]
    assert speed["data"][-1]["y"] == [10.0, 40.0, 160.0]
    assert "From the smallest to the largest batch, speed becomes 16.0 times as high" in page.text
    assert "1 thread batch 1 4.00" in page.text


def test_figures_in_doubt_stand_on_no_curve(scaling) -> None:
    records = measured()
    for run in records:
        if run.system.threads == 2:
            run.flags = ("power_below_idle:cpu",)
    page = scaling(records)
    assert plots(page)[0]["data"][-1]["x"] == [1, 4]
    assert "On no curve: one setting whose figures are in doubt" in page.text


def test_rows_of_other_devices_or_meters_stand_on_other_curves_of_a_batch() -> None:
    other = [msgspec.structs.replace(run, id=f"{run.id}x") for run in batches({1: 4.0, 4: 2.0})]
    for run in other:
        run.system = msgspec.structs.replace(run.system, threads=2)
    found = curves(rows_from(batches({1: 4.0, 4: 2.0}) + other), "batch")
    assert sorted((curve.rows[0].threads, len(curve.rows)) for curve in found) == [(1, 2), (2, 2)]
    assert len({curve.name for curve in found}) == 2


def test_the_share_of_devices_that_hold_nothing_is_drawn_and_said(scaling) -> None:
    def on(devices: int, unused_j: float | None) -> list[Run]:
        found = runs(device="cuda", threads=None, devices=devices, meter=NVML)
        for run in found:
            total = Total(joules=80.0, uncertainty_j=1.0, source="measured", channels=("gpu:0",))
            if unused_j is not None:
                total = msgspec.structs.replace(total, unused_j=unused_j, unused=("gpu:7",))
            run.totals = {"gpu": total}
        return found

    page = scaling([*on(1, None), *on(4, 0.0), *on(8, 10.0)])
    assert plots(page)[2]["data"][-1]["x"] == [4, 8]
    assert plots(page)[2]["data"][-1]["y"] == [0.0, 12.5]  # 10 of 80 J
    assert "At most 12 % of the joules go into devices that hold nothing" in page.text
    assert len(plots(scaling(on(1, None) + on(4, None)))) == 2


def test_many_repeats_are_folded_and_the_probability_stays_that_of_the_normal_distribution() -> None:
    """Of two means of n values with spread s, d apart: P(the lower is lowest) is Φ(d / (s √(2/n))), here Φ(1)."""
    n, generator = 20_000, np.random.default_rng(3)
    noise = [generator.standard_normal(n) for _ in range(2)]
    one, other = ((values - values.mean()) / values.std() for values in noise)
    spot = sweet_spot([{"load": list(one)}, {"load": list(other + (2 / n) ** 0.5)}])
    assert spot.p_best is not None
    assert spot.p_best[0] == pytest.approx(NormalDist().cdf(1), abs=0.04)


def test_a_curve_of_dummy_weights_says_so() -> None:
    records = [run for n in (1, 2) for run in runs(threads=n, model="org/M")]
    for run in records:
        run.model = msgspec.structs.replace(run.model, weights="dummy")
    assert [curve.name for curve in curves(rows_from(records), "threads")] == ["M · dummy weights"]


def test_the_title_says_where_most_curves_have_their_lowest_mean(scaling) -> None:
    page = scaling(measured(model="A-model") + measured(model="B-model", name="b"))
    where = "Both measured curves have their lowest mean J/token between the fewest threads and the most"
    assert page.heading == f"{where}; on each it can be told from every other setting"
    few = [run for model in "AB" for n in (1, 2) for run in runs([30.0 * n] * 3, threads=n, model=model, name=model)]
    assert "lowest mean J/token with the fewest threads" in scaling(few).heading
