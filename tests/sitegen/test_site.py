"""What the pages of a site say, with expected numbers worked out by hand."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
from itertools import accumulate, pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.record import Figures, Part, Published, Run, Total, Trace, TraceLine
from llmjoules.sitegen import flags, runview
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.trace import areas, lines_of, packed
from tests.builders import ESTIMATE, NVML, RAPL, energy, make_run
from tests.sitegen.html import Html, page_of, pages
from tests.sitegen.inputs import (
    REASON,
    estimated,
    failed,
    rows_from,
    runs,
    second_meters,
    without_energy,
    write,
)

RECORD_PAGE = (Path(__file__).parents[2] / "docs" / "record.md").read_text("utf-8")
REASONS_DOCUMENTED, FLAGS_DOCUMENTED = RECORD_PAGE.partition("## Reasons")[2].split("## Flags")
REASONS_DOCUMENTED = "\n".join(line.split("|")[1] for line in REASONS_DOCUMENTED.splitlines() if line.startswith("| `"))


@pytest.fixture
def build(tmp_path: Path, plotly_stub: Path):
    """Builds a site of the given records and returns its folder."""

    def build_records(records) -> Path:
        file = write(tmp_path / "results" / "r.jsonl", records)
        build_site([file], tmp_path / "site", plotly_js=plotly_stub)
        return tmp_path / "site"

    return build_records


def names_in_order(page: Html) -> list[str]:
    """The models of a table of rows, as they stand below each other."""
    return re.findall(r'href="[^"]*models/([a-z]+)-model', page.path.read_text("utf-8"))[0::2]


def test_a_mean_stands_with_its_interval_over_loads(build) -> None:
    # Loads at 38, 40, 42 W for 2 s: 76, 80, 84 J for 20 tokens. Mean 4 J/token, sd 0.2, t(2) = 4.3027:
    # 4.3027 * 0.2 / sqrt(3) = 0.4968. Per run 80 J, sd 4: 9.94.
    home = Html(build(runs()) / "index.html")
    assert "4.00 ± 0.50" in home.text
    assert "80.0 ± 9.9" in home.text
    assert "4.00 J/token of CPU energy" in home.heading


def test_one_run_has_no_interval_and_says_so(build) -> None:
    site = build(runs([40.0]))
    assert "4.00 ±" not in Html(site / "index.html").text
    assert "one run, so there is no interval" in page_of(site, "models", "llama-tiny").text


def test_estimated_energy_is_labelled_and_nothing_is_ranked(build) -> None:
    site = build(estimated())
    home = Html(site / "index.html")
    assert home.heading == "Two models on one system: energy is estimated, so nothing is ranked"
    assert names_in_order(home) == ["a", "b"]  # B costs half as much and stays below
    assert home.text.count("estimated") >= 3
    scaling = Html(site / "scaling.html")
    assert scaling.text.count("no best setting is named") >= 2
    assert "lowest mean" not in scaling.text
    assert all("(estimated)" in page.heading for page in pages(site / "models") if page.path.name != "index.html")


def test_what_an_estimate_may_be_off_by_stands_in_its_heading(build) -> None:
    guess = msgspec.structs.replace(
        ESTIMATE,
        channels=(msgspec.structs.replace(ESTIMATE.channels[0], gain=1.2),),
        options={"tdp_origin": "a guess of 4 W per thread: this CPU is not known"},
    )
    site = build([run for threads in (1, 2) for run in runs(meter=guess, threads=threads)])
    for page in (Html(site / "index.html"), page_of(site, "models", "J/token"), Html(site / "scaling.html")):
        assert "± 120 % gain (TDP guessed)" in page.text
    known = Html(build(runs(meter=ESTIMATE)) / "index.html").text
    assert "± 50 % gain not ranked" in known
    assert "guessed" not in known


def test_a_measured_figure_comes_before_an_estimate_of_the_same_run(build) -> None:
    wall = msgspec.structs.replace(RAPL.channels[0], id="wall", component="wall")
    run = make_run(id="both", meter=ESTIMATE, meters=(ESTIMATE, msgspec.structs.replace(RAPL, channels=(wall,))))
    run.totals = {**run.totals, "wall": Total(joules=120.0, source="measured", channels=("wall",))}
    site = build([run])
    assert "6.00 J/token of wall energy" in Html(site / "index.html").heading
    assert "120 J of wall energy" in page_of(site, "runs", "20 tokens").heading


def test_simulated_energy_is_not_called_estimated(build) -> None:
    channel = msgspec.structs.replace(ESTIMATE.channels[0], source="simulated", kind="counter")
    site = build(runs(meter=msgspec.structs.replace(ESTIMATE, name="mock", channels=(channel,))))
    assert "energy is simulated, so nothing is ranked" in Html(site / "index.html").heading
    assert "estimated" not in Html(site / "index.html").text


def test_measured_rows_with_the_same_work_are_ranked(build) -> None:
    # B at 20 W takes 2 J/token, A at 40 W takes 4: intervals of ± 0.25 leave a gap.
    records = runs([39, 40, 41], model="A-model") + runs([19, 20, 21], model="B-model")
    home = Html(build(records) / "index.html")
    assert home.heading == "B-model takes the least CPU energy, 2.00 J/token; next is A-model at 2.00 times as much"
    assert names_in_order(home) == ["b", "a"]


def test_rows_whose_intervals_overlap_have_no_winner(build) -> None:
    records = runs([30, 40, 50], model="A-model") + runs([29, 39, 49], model="B-model")
    heading = Html(build(records) / "index.html").heading
    assert "B-model has the lowest mean, 3.9 J/token" in heading
    assert "A-model cannot be told from it: the intervals overlap" in heading


def test_rows_with_different_work_are_not_ranked(build) -> None:
    # 40 W for 2 s over 40 tokens are 2 J/token, over 20 tokens 4: B is lower, and stays second.
    records = runs(model="A-model") + runs(model="B-model", new_tokens=40)
    home = Html(build(records) / "index.html")
    assert "least" not in home.heading
    assert "not ranked" in home.text
    assert names_in_order(home) == ["a", "b"]


def test_real_and_dummy_weights_are_not_ranked_together(build) -> None:
    home = Html(build(runs(model="A-model") + runs([20.0] * 3, model="dummy:model")) / "index.html")
    assert "not ranked" in home.text
    assert "dummy weights" in home.text


def test_components_stand_apart(build) -> None:
    records = runs(model="A-model") + runs(model="B-model", meter=NVML, device="cuda", threads=None)
    home = Html(build(records) / "index.html")
    assert "Measured GPU energy" in home.text
    assert "Measured CPU energy" in home.text
    assert "least" not in home.heading


def test_an_interval_wider_than_its_mean_ends_at_zero_and_is_cut_at_the_top(build) -> None:
    # 1, 4, 7 J/token in three loads: ± 4.3027 * 3 / sqrt(3) = 7.45, more than the mean of 4.
    records = [r for n in (1, 2) for r in runs([10.0, 40.0, 70.0], threads=n)]
    scaling = Html(build(records) / "scaling.html")
    plot = json.loads(next(script for script in scaling.scripts if "J/token" in script))
    bars = plot["data"][-1]["error_y"]
    assert bars["array"] == [7.4524, 7.4524]
    assert bars["arrayminus"] == [4.0, 4.0]
    assert plot["layout"]["yaxis"]["range"] == [0, 10.8]  # 2.5 times the largest mean, and a little room
    assert "cut at its edge" in scaling.text


def test_scaling_says_what_cannot_be_told_apart(build) -> None:
    records = [r for n, w in ((1, 40.0), (2, 39.0)) for r in runs([w - 5, w, w + 5], threads=n)]
    assert "1 thread cannot be told from it" in Html(build(records) / "scaling.html").text


def test_energy_that_is_missing_shows_its_reason_and_never_a_zero(build) -> None:
    site = build([without_energy()])
    home, run = Html(site / "index.html"), page_of(site, "runs", "no energy")
    assert REASON in home.text
    assert "no energy could be measured" in home.heading
    assert REASON in run.text
    for page in (home, run):
        assert not re.search(r"(?<![\d.])0 J", page.text)
    assert REASON in Html(site / "health.html").text


def test_a_failed_run_has_its_page_and_is_counted(build) -> None:
    site = build([*runs(), failed()])
    assert "1 failed" in Html(site / "index.html").text
    page = page_of(site, "runs", "failed in phase model")
    assert "OutOfMemoryError" in page.text
    assert "60.00 J" in page.text or "60.00" in page.text  # the import phase: 30 W for 2 s
    assert "OutOfMemoryError" in Html(site / "health.html").text


def test_a_site_of_failed_runs_alone_can_be_built(build) -> None:
    site = build([failed()])
    assert Html(site / "index.html").heading == "No run has finished yet"
    assert "OutOfMemoryError" in page_of(site, "models", "no energy per token").text


def test_published_figures_are_marked_and_not_mixed_with_runs(full_site: Path) -> None:
    home = Html(full_site / "index.html").text
    assert "Published chip energy from papers and other tools, not ranked, as their work may differ" in home
    assert "2.01" in home[home.index("Published chip energy") :]  # 201 J over 100 tokens
    assert "A paper, table 2" in page_of(full_site, "runs", "(published)").text


def test_bad_lines_are_listed_with_file_line_and_reason(full_site: Path) -> None:
    health = Html(full_site / "health.html")
    assert "other.jsonl 5" in health.text
    assert health.heading == "One line skipped and one run failed; one run carries a flag"
    assert "1 line skipped" in Html(full_site / "index.html").text


def test_the_area_under_the_trace_is_the_energy_of_the_record(full_site: Path) -> None:
    run = page_of(full_site, "runs", "C-model on Test CPU, 2 CPUs, 4 threads: 118 J")
    # 59 W for 2 s
    assert "The area under the CPU line over the inference is 118.0 J; the record says 118.0 J." in run.text
    shown = [
        (float(a), float(b))
        for page in pages(full_site / "runs")
        for a, b in re.findall(r"over the inference is ([\d.]+) J; the record says ([\d.]+) J", page.text)
    ]
    assert len(shown) == 28
    assert all(abs(a - b) <= 0.001 * b for a, b in shown)


def test_the_drawn_line_has_that_area_too(full_site: Path) -> None:
    """From the numbers in the page, unpacked as power.js does: steps of y from each x to the next."""
    run = page_of(full_site, "runs", "C-model on Test CPU, 2 CPUs, 4 threads: 118 J")
    plot = json.loads(next(script for script in run.scripts if '"bands"' in script))
    edges_s, [watts] = unpacked(plot)
    bands = {band["text"]: band for band in plot["bands"]}
    assert drawn_j(edges_s, watts, bands["prefill"]["x0"], bands["decode"]["x1"]) == pytest.approx(118.0, rel=1e-3)


def unpacked(plot):
    """Edges in s and the mean of each line in W, by hand: 16 bits of the largest power, 65535 for what is not known."""
    edges = [plot["edges"]["from_s"]]
    for width in plot["edges"]["widths"]:
        one, count = width if isinstance(width, list) else (width, 1)
        for _ in range(count):
            edges.append(edges[-1] + one * plot["edges"]["step_s"])
    lines = []
    for line in plot["lines"]:
        if isinstance(line["mean"], list):
            lines.append(line["mean"])
            continue
        raw = struct.unpack(f"<{len(edges) - 1}H", base64.b64decode(line["mean"]))
        lines.append([None if value == 65535 else value * line["top_w"] / 65534 for value in raw])
    return edges, lines


def drawn_j(edges_s, watts, start, end):
    return sum(
        w * (min(b, end) - max(a, start))
        for a, b, w in zip(edges_s, edges_s[1:], watts, strict=False)
        if b > start and a < end
    )


@given(st.data())
def test_however_a_trace_looks_its_drawn_line_has_its_area(data) -> None:
    """Power over five decades, buckets from 10 µs to half a minute, and a spike that sets the scale of the chart."""
    decades = st.floats(-2, 3).map(lambda power: 10.0**power)
    watts = data.draw(st.lists(decades, min_size=3, max_size=40))
    widths = data.draw(st.lists(st.floats(-5, 1.5).map(lambda p: 10.0**p), min_size=len(watts), max_size=len(watts)))
    edges = [0.0, *accumulate(widths)]
    first = data.draw(st.integers(0, len(watts) - 1))
    last = data.draw(st.integers(first + 1, len(watts)))
    columns = (*watts, 1e5), (*watts, 1e5), (*watts, 1e5)
    trace, _ = lines_of(Trace(edges_s=(*edges, edges[-1] + 1.0), channels={"cpu:0": TraceLine(*columns)}))
    span = (edges[first], edges[last])
    drawn_s, [drawn] = unpacked(json.loads(json.dumps(packed(trace, ["cpu:0"], [span], True))))
    energy_j = sum(w * width for w, width in list(zip(watts, widths, strict=True))[first:last])
    assert drawn_j(drawn_s, drawn, *span) == pytest.approx(energy_j, rel=1e-3, abs=3e-7)


def test_the_headline_of_data_health_does_not_hide_flags(build) -> None:
    health = Html(build([make_run(id="a", flags=("throttled:cpu:0",)), make_run(id="b", repeat=1)]) / "health.html")
    assert health.heading == "Every line was read and no run failed; one run carries a flag"
    assert "Energy of an inference that could not be measured None." in health.text


def test_parts_add_up_where_only_detokenize_has_no_figure(build) -> None:
    # 40 W for 2 s, 8 J of it in prefill and 72 J in decode.
    run = make_run(id="short")
    *before, inference = run.phases
    end = Part(
        name="detokenize", start_s=inference.end_s, end_s=inference.end_s, energy=(energy("cpu:0", None, REASON),)
    )
    run.phases = (*before, msgspec.structs.replace(inference, parts=(*inference.parts, end)))
    text = page_of(build([run]), "runs", "80.0 J").text
    assert "prefill + decode = 80.00 J, inference 80.00 J ✓ within the uncertainties (detokenize has no" in text
    assert f"cpu:0, detokenize: {REASON}" in text


def test_reasons_of_readings_beside_the_totals_stand_apart(build) -> None:
    run = second_meters()
    import_ = run.phases[0]
    without = (*import_.energy[:-1], energy("cpu:0@process", None, REASON))
    run.phases = (msgspec.structs.replace(import_, energy=without), *run.phases[1:])
    page = page_of(build([run]), "runs", "F-model")
    assert f"Where the readings beside the totals have no figure cpu:0@process, {import_.name}: {REASON}" in page.text
    assert page.text.count(REASON) == 2  # there, and in the record itself


def test_a_trace_that_disagrees_with_its_record_is_reported(build) -> None:
    run = make_run(id="wrong")
    trace = run.decoded_trace()
    assert trace is not None
    line = trace.channels["cpu:0"]
    half = msgspec.structs.replace(line, mean_w=tuple(w * 1.01 for w in line.mean_w if w is not None))
    run.trace = msgspec.Raw(msgspec.json.encode(Trace(edges_s=trace.edges_s, channels={"cpu:0": half})))
    site = build([run])
    assert "These do not agree." in page_of(site, "runs", "80.0 J").text
    assert "the area under the CPU trace is not the energy of the record" in Html(site / "health.html").text


@pytest.mark.parametrize(
    "trace", ['{"edges_s": [0], "channels": {}}', '{"edges_s": "x"}', "[1]", '{"edges_s":[1,0],"channels":{}}']
)
def test_a_trace_that_cannot_be_drawn_costs_only_the_chart(build, trace: str) -> None:
    page = page_of(build([make_run(trace=msgspec.Raw(trace.encode()))]), "runs", "80.0 J")
    assert "data-chart" not in page.path.read_text()
    assert "trace" in page.text


def test_holes_in_a_trace_have_no_area() -> None:
    run = make_run()
    trace = run.decoded_trace()
    assert trace is not None
    line = trace.channels["cpu:0"]
    holed = msgspec.structs.replace(line, mean_w=(*line.mean_w[:-1], None))
    lines, _ = lines_of(Trace(edges_s=trace.edges_s, channels={"cpu:0": holed}))
    assert lines is not None
    (area,) = areas(run, lines)
    assert area.area_j is None


def test_a_run_page_shows_phases_parts_and_their_sum(build) -> None:
    page = page_of(build([make_run(id="one")]), "runs", "80.0 J of CPU energy for 20 tokens")
    assert "import 2.00 s 60.00 ± 0.61 30.0" in page.text  # 30 W for 2 s
    assert "prefill 200 ms 8.000 ± 0.090 40.0" in page.text  # a tenth of 2 s at 40 W
    assert "prefill + decode = 80.00 J, inference 80.00 J ✓" in page.text
    assert "r.jsonl, line 1" in page.text
    assert "llmjoules measure --model dummy:llama-tiny" in page.text


def test_second_readings_and_shares_stand_beside_the_totals_and_are_added_to_nothing(full_site: Path) -> None:
    # 100 W for 2 s: 200 J; the second reading says 10 % more, the CPU half, this process's share of it a quarter.
    page = page_of(full_site, "runs", "F-model")
    assert "GPU, J W CPU, J W cpu:0@process, J W gpu:0@power, J W" in page.text
    assert "inference 2.00 s 200.0 ± 2.0 100 100.0 ± 1.0 50.0 50.00 ± 0.51 25.0 220.0 ± 2.2 110" in page.text
    assert "gpu:0@power: a second reading of the same GPU, not added to the first." in page.text
    assert "cpu:0@process: this process's share of the CPU energy, a model; part of the figure" in page.text
    assert "Longest gap gpu:0@power 210 ms" in page.text
    assert "200 J of GPU energy for 20 tokens" in page.heading
    assert "gpu:0@power" not in Html(full_site / "index.html").text


def test_the_state_of_a_device_is_that_of_the_inference(full_site: Path) -> None:
    page = page_of(full_site, "runs", "F-model")
    assert "gpu:0 Temperature, °C 50 60 50 to 64.5" in page.text  # 30 °C was before it
    assert "gpu:0 Power limit, W 700 700 700" in page.text
    assert "gpu:0 Held down by nothing nothing power cap" in page.text
    assert "gpu:0 nvml GPU device counter measured 100 ms 0.00100 J 25 % ± 5.0 %" in page.text


def test_flags_are_sentences_on_the_run_and_on_the_health_page(full_site: Path) -> None:
    for page in (page_of(full_site, "runs", "F-model"), Html(full_site / "health.html")):
        assert "gpu:0@power differs from the other reading of the same device by more than both can be off" in page.text
        assert "gpu:0 was held down during the inference" in page.text
        assert "A channel has no energy of decode: tokens came in step with a sensor that looks for a part" in page.text
        assert "from_the_future:x: a flag that this version of llmjoules has no words for" in page.text


@pytest.mark.parametrize("flag", re.findall(r"`([a-z_]+(?::[a-z:@0-9]+)?)`", FLAGS_DOCUMENTED))
def test_every_documented_flag_has_words(flag: str) -> None:
    assert "no words" not in flags.in_words(flag)


@pytest.mark.parametrize("code", re.findall(r"`([a-z_]+)`", REASONS_DOCUMENTED))
def test_every_documented_reason_has_words(code: str) -> None:
    assert flags.in_words(f"{code}:inference").startswith("A channel has no energy of inference: ")


def test_what_others_took_of_the_cpu_has_words(build) -> None:
    flagged = make_run(id="a", flags=("too_short:tokenizer", "shared:cpu", "too_short:model+pipeline"))
    site = build([flagged])
    assert "Other programs used a considerable part of the CPU's energy" in page_of(site, "runs", "80.0 J").text
    notes = page_of(site, "models", "J/token").text
    assert "too short: tokenizer, model + pipeline; shared with others: CPU" in notes


def test_names_may_break_at_their_signs_and_nowhere_else(build) -> None:
    source = (build(runs(model="dummy:smol-<b>_360m")) / "index.html").read_text("utf-8")
    assert ">dummy:<wbr>smol-<wbr>&lt;b&gt;_<wbr>360m</a>" in source


def test_loads_are_counted_within_each_setting(build) -> None:
    site = build([run for threads in (1, 2) for run in runs(threads=threads)])
    for page in (page_of(site, "models", "J/token"), Html(site / "runs" / "index.html")):
        assert [page.text.count(f"load {n} ") for n in (1, 2, 3, 4)] == [2, 2, 2, 0]
        assert "load-0" not in page.text


def test_rows_that_differ_in_their_meters_alone_name_them(build) -> None:
    other = msgspec.structs.replace(RAPL, name="powercap")
    records = runs(name="a", meter=RAPL, cell="one") + runs(name="b", meter=other, cell="two")
    site = build(records)
    rows = page_of(site, "models", "J/token").text
    assert "meters powercap" in rows
    assert "meters rapl" in rows
    assert "cell" not in rows
    assert re.search("meters (powercap|rapl)", Html(site / "index.html").text), "which of them the home page shows"


def test_a_failed_run_shows_each_channel_by_itself(build) -> None:
    record = failed()
    assert not record.totals
    page = page_of(build([record]), "runs", "failed in phase model")
    assert "cpu:0, J W" in page.text
    assert "import 2.00 s 60.00 ± 0.61 30.0" in page.text


def test_an_uncertainty_that_nobody_stated_is_said_to_be_unknown() -> None:
    """Never ± 0.0: prefill keeps the half that is stated, decode and the total have none."""
    run = make_run(id="no-half")
    inference = run.phases[-1]
    first, second = inference.parts
    silent = msgspec.structs.replace(second, energy=(msgspec.structs.replace(second.energy[0], uncertainty_j=None),))
    run.phases = (*run.phases[:-1], msgspec.structs.replace(inference, parts=(first, silent)))
    run.totals = {"cpu": msgspec.structs.replace(run.totals["cpu"], uncertainty_j=None)}
    table = runview.phase_table(run)
    halves = {row.name: row.cells[0].half for row in table.rows}
    assert halves["prefill"]
    assert halves["decode"] == ""
    assert any("its size is not known" in note for note in table.notes)
    energy_card = runview.cards(run)[0]
    assert energy_card.half == ""
    assert energy_card.notes[0] == "± not known: the record does not state it"
    assert energy_card.notes[-1].endswith("60.0 J, ± not known"), "80 J less 10 W of idle for 2 s"
    assert not any("not known" in note for card in runview.cards(make_run()) for note in card.notes)


@pytest.mark.parametrize(
    ("phases", "request_j", "label"),
    [(("inference",), None, "CPU energy, inference"), (("job",), None, "CPU energy, job"),
     ((), 80.0, "CPU energy, request"), ((), None, "CPU energy")],
)  # fmt: skip
def test_a_card_names_what_its_joules_are_of(phases, request_j, label) -> None:
    run = make_run()
    found = tuple(msgspec.structs.replace(run.phases[-1], name=name, parts=()) for name in phases)
    figures = Figures(component="cpu", j_per_request=request_j) if request_j else None
    record = Published(
        id="p", schema=run.schema, model=run.model, system=run.system, meters=run.meters, totals=run.totals,
        source="A paper", phases=found, figures=figures,
    )  # fmt: skip
    cards = {card.label: card for card in runview.cards(record)}
    assert next(iter(cards)) == label
    assert cards["Throughput"].notes == (
        "the number of tokens is not known" if "inference" in phases else runview.NO_TIME,
    )
    assert cards["Implied CPU power"].value == ("40.0" if "inference" in phases else "–")
    assert all(card.notes for card in cards.values() if card.value == "–"), "a dash says why"


def test_a_phase_of_which_one_device_has_no_figure_has_no_mean() -> None:
    second = msgspec.structs.replace(NVML.channels[0], id="gpu:1")
    run = make_run(meter=msgspec.structs.replace(NVML, channels=(NVML.channels[0], second)))
    total = msgspec.structs.replace(run.totals["gpu"], channels=("gpu:0", "gpu:1"))
    run.totals = {"gpu": total}

    def also(stretch, joules):
        return msgspec.structs.replace(stretch, energy=(*stretch.energy, energy("gpu:1", joules)))

    # import: both; tokenizer: the second has a reason; model and the rest: it is not even named.
    values = {"import": 5.0, "tokenizer": None}
    run.phases = tuple(also(p, values[p.name]) if p.name in values else p for p in run.phases)
    (row,) = rows_from([run])
    assert row.phase_j == {"import": 65.0}  # 30 W for 2 s and 5 J


def test_the_gain_of_a_channel_is_shown_apart_from_the_interval(build) -> None:
    site = build(runs(meter=ESTIMATE))
    page = page_of(site, "runs", "76.0 J")
    assert "± 0.76 J and ± 50 % gain of the channel" in page.text
    assert 'class="gain"' in (site / "index.html").read_text("utf-8")


def test_the_record_is_there_to_download_as_it_was(full_site: Path) -> None:
    page = page_of(full_site, "runs", "C-model on Test CPU, 2 CPUs, 4 threads: 118 J")
    (name,) = [a["href"] for tag, a in page.tags if tag == "a" and "download" in a]
    record = msgspec.json.decode((page.path.parent / name).read_bytes(), type=Run, strict=False)
    assert record.totals["cpu"].joules == 118.0
    assert record.decoded_trace() is not None


def test_every_link_leads_to_a_file_of_the_site_and_every_anchor_exists(full_site: Path) -> None:
    ids = {page.path: set(page.attributes("id")) for page in pages(full_site)}
    seen = 0
    for page in pages(full_site):
        for link in page.attributes("href") + page.attributes("src") + page.attributes("data-plotly"):
            parts = urlsplit(link)
            assert not parts.scheme, (page.path, link)
            assert not parts.netloc, (page.path, link)
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert target.is_relative_to(full_site.resolve()), link
            assert target.is_file(), (page.path, link)
            assert not parts.fragment or parts.fragment in ids[full_site / target.relative_to(full_site.resolve())], (
                link
            )
            seen += 1
    assert seen > 500


def test_every_row_of_the_home_page_links_its_j_per_token_to_evidence(full_site: Path) -> None:
    source = (full_site / "index.html").read_text("utf-8")
    rows = source.count('<tr class="first"')
    assert rows == source.count('<td class="n loud"><a href="models/') == 2 + 1 + 1 + 1 + 1 + 1


def test_nothing_is_asked_of_another_site(full_site: Path) -> None:
    for file in full_site.rglob("*"):
        if file.suffix in {".html", ".js", ".css"}:
            found = re.findall(
                r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"^\s*//.*$", "", file.read_text("utf-8"), flags=re.M)
            )
            assert not found, (file, found)


def test_no_page_holds_a_script_or_a_style_of_its_own(full_site: Path) -> None:
    for page in pages(full_site):
        assert [a["http-equiv"] for tag, a in page.tags if "http-equiv" in a] == ["Content-Security-Policy"]
        for tag, attributes in page.tags:
            assert tag != "style"
            assert "style" not in attributes, page.path
            assert not [name for name in attributes if name.startswith("on")], page.path
            assert tag != "script" or "src" in attributes or attributes.get("type") == "application/json"


def test_ids_are_unique_and_headings_come_in_order(full_site: Path) -> None:
    for page in pages(full_site):
        ids = page.attributes("id")
        assert len(ids) == len(set(ids)), page.path
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1, page.path
        assert levels.count(1) == 1, page.path
        assert all(b <= a + 1 for a, b in pairwise(levels)), (page.path, levels)


def test_every_cell_of_a_head_says_what_it_heads_and_every_table_has_one(full_site: Path) -> None:
    for page in pages(full_site):
        tags = [tag for tag, _ in page.tags]
        assert tags.count("table") == tags.count("thead"), page.path
        for tag, attributes in page.tags:
            assert tag != "th" or attributes.get("scope") in ("col", "row", "rowgroup"), page.path


def test_everything_that_is_drawn_is_named_in_words_or_hidden_from_those_who_hear(full_site: Path) -> None:
    for page in pages(full_site):
        ids = set(page.attributes("id"))
        for tag, attributes in page.tags:
            if tag == "svg":
                assert attributes.get("aria-hidden") == "true", page.path
            if tag == "figure":
                assert attributes["aria-labelledby"] in ids, page.path
            if "data-chart" in attributes:
                assert attributes["aria-describedby"] in ids, page.path
                assert attributes["data-chart"] in ids, page.path
            if attributes.get("role") == "region":
                assert attributes["aria-label"], page.path
            if tag == "img":
                assert attributes["alt"], page.path
        figures = [tag for tag, _ in page.tags if tag in ("figure", "figcaption")]
        assert figures == ["figure", "figcaption"] * (len(figures) // 2), page.path


def test_no_page_prints_nan_or_a_python_value(full_site: Path) -> None:
    for page in pages(full_site):
        assert not re.search(r"\b(nan|NaN|inf|None(?![.:])|True|False|Infinity)\b", page.text), page.path


def test_addresses_stand_in_pages_only_with_a_base_url(tmp_path: Path, plotly_stub: Path) -> None:
    file = write(tmp_path / "r.jsonl", runs())
    build_site([file], tmp_path / "site", base_url="https://example.org/joules/", plotly_js=plotly_stub)
    home = Html(tmp_path / "site" / "index.html")
    assert "https://example.org/joules/" in home.attributes("href")
    sitemap = (tmp_path / "site" / "sitemap.xml").read_text()
    assert "<loc>https://example.org/joules/methods.html</loc>" in sitemap


def test_building_loads_neither_plotly_nor_what_measures(tmp_path: Path, plotly_stub: Path) -> None:
    file = write(tmp_path / "r.jsonl", runs())
    code = (
        "import sys; from llmjoules.sitegen.build import build_site; "
        f"build_site([{str(file)!r}], {str(tmp_path / 'site')!r}, plotly_js={str(plotly_stub)!r}); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'plotly')"
        " or m.startswith(('llmjoules.meters', 'llmjoules.runner'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
