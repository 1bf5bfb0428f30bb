"""Which setting is shown of a model on a system, and which places a row may have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.ids import comparability_class
from llmjoules.records.record import Channel, Figures, MeterInfo, Published, Run, System
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import finding, home
from llmjoules.sitegen.aggregate import Row
from llmjoules.sitegen.build import build_site
from llmjoules.sitegen.config import Limits
from llmjoules.sitegen.finding import home_title, why_unranked
from llmjoules.sitegen.ranks import best_rows, front, ranks, shared_work
from tests.builders import ESTIMATE, NVML, make_run
from tests.sitegen.html import Html
from tests.sitegen.inputs import estimated, rows_from, runs, write

ROW = rows_from(runs(device="cuda", threads=None, meter=NVML))[0]


def row(key: str, mean: float, half: float | None, board: str = "a", gain: float | None = 0.05, **more: Any) -> Row:
    figure = Estimate(mean=mean, half_width=half, basis="loads", runs=3, loads=3)
    instruments = ((ROW.instruments[0][0]._replace(uuid=board),),)
    return msgspec.structs.replace(ROW, key=key, j_per_token=figure, gain=gain, instruments=instruments, **more)


def places(rows: Sequence[Row]) -> list[str]:
    found = ranks(rows)
    return [str(found[one.link_key]) if one.link_key in found else "" for one in rows]


def test_rows_whose_intervals_overlap_share_their_places() -> None:
    """1 ± 0.1 and 1.15 ± 0.1 overlap, 3 ± 0.1 is above both; 3.05 without an interval may be anywhere."""
    three = [row("1", 1.0, 0.1), row("2", 1.15, 0.1), row("3", 3.0, 0.1)]
    assert places(three) == ["1–2", "1–2", "3"]
    assert places([*three, row("4", 3.05, None)]) == ["1–3", "1–3", "3–4", "1–4"]


def test_gain_widens_a_place_only_between_different_boards() -> None:
    """1 and 1.05 are 5 % apart: less than two gains of 5 %."""
    assert places([row("1", 1.0, 0.001), row("2", 1.05, 0.001)]) == ["1", "2"]
    assert places([row("1", 1.0, 0.001), row("2", 1.05, 0.001, board="b")]) == ["1–2", "1–2"]
    assert places([row("1", 1.0, 0.001, gain=None), row("2", 9.0, 0.001, board="b")]) == ["1–2", "1–2"]


def test_only_rows_that_did_the_same_work_have_places() -> None:
    rows = [row("1", 1.0, 0.1), row("2", 2.0, 0.1, class_="other"), row("3", 3.0, 0.1)]
    assert places(rows) == ["1", "", "2"]
    [section] = finding.sections(rows)
    assert [one.key for one in section.rows] == ["1", "3", "2"]
    assert section.ranked
    assert "ranked only where scope and work are the same" in section.note
    assert places([msgspec.structs.replace(one, source="modelled") for one in rows]) == ["", "", ""]
    assert places([msgspec.structs.replace(one, published=True) for one in rows]) == ["", "", ""]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 12),
            st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.5])),
            st.sampled_from("abc"),
            st.sampled_from([None, 0.0, 0.1]),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_places_are_what_asking_of_every_pair_gives(
    given_rows: list[tuple[int, float | None, str, float | None]],
) -> None:
    rows = [row(f"{n}", float(mean), half, board, gain) for n, (mean, half, board, gain) in enumerate(given_rows)]
    expected = []
    for one in rows:
        clear = [other for other in rows if other is not one and finding.not_apart(one, other) is None]
        lower = sum(mean_of(other) < mean_of(one) for other in clear)
        first, last = 1 + lower, len(rows) - (len(clear) - lower)
        expected.append(f"{first}–{last}" if first < last else f"{first}")
    assert places(rows) == expected


def mean_of(one: Row) -> float:
    assert one.j_per_token is not None
    return one.j_per_token.mean


def test_the_best_is_the_lowest_within_the_limits_for_each_model_and_system() -> None:
    """One and two threads: 4 J/token at 40 W, 3 J/token at 30 W; on the other system 20 tokens/s at 5 J/token."""
    records = [
        *(run for threads, watts in ((1, 40.0), (2, 30.0)) for run in runs([watts, watts], threads=threads)),
        make_run(system="Other", inference_s=1.0, inference_w=100.0, id="fast"),
        make_run(system="Other", inference_s=2.0, inference_w=30.0, id="slow", threads=2),
    ]  # fmt: skip
    rows = rows_from(records)

    def chosen(**limits: float) -> dict[str, tuple[str, int | None]]:
        return {one.system: (f"{mean_of(one):.2f}", one.threads) for one in best_rows(rows, Limits(**limits), {})}

    assert chosen() == {"Test CPU, 2 CPUs": ("3.00", 2), "Other": ("3.00", 2)}
    assert chosen(tokens_per_s=15) == {"Other": ("5.00", 1)}
    assert chosen(power_w=30) == {"Test CPU, 2 CPUs": ("3.00", 2), "Other": ("3.00", 2)}
    assert chosen(power_w=29) == {}


def test_a_figure_that_cannot_be_right_is_no_best_and_has_no_rank(tmp_path: Path, plotly_stub: Path) -> None:
    """A unit of a thousandth makes 0.003 J/token, below what such a board draws when idle; 4 J/token can be."""
    slip = runs([0.03] * 3, threads=2, flags=("power_below_idle:cpu",))
    once = runs([60.0] * 3, threads=4, name="c")
    once[0].flags = ("power_above_limit:cpu", "throttled:cpu:0")
    rows = rows_from([*runs(), *slip, *once])
    assert [one.doubtful for one in sorted(rows, key=mean_of)] == [True, False, True], (
        "one run of three spoils the mean"
    )
    assert [mean_of(one) for one in best_rows(rows, Limits(), {})] == [4.0]
    assert [mean_of(one) for one in best_rows(rows, Limits(power_w=1), {})] == [pytest.approx(0.003)]
    assert ranks(rows) == {}, "two of the three are in doubt"
    page = site_of(tmp_path, plotly_stub, *runs(), *slip, *once)
    assert [float(one["data-token"]) for one in settings(page)] == [4.0]
    group = Html(next((tmp_path / "site" / "models").glob("dummy*.html")))
    assert "power below idle: CPU" in group.text
    assert "power above what it may draw: CPU" in group.text
    assert "1 flag" in group.text
    assert sum("data-doubt" in one for one in settings(group)) == 2


def test_the_work_to_show_is_the_one_that_most_did() -> None:
    """A: 4 J/token of the work that B did too, 1 of another; the least of each alone could not be compared."""
    short = runs([10.0] * 3, model="A", name="short")
    for run in short:
        run.workload = msgspec.structs.replace(run.workload, new_tokens=8)
        run.class_ = comparability_class(run.meters, run.model, run.workload)
    rows = rows_from([*runs(model="A"), *short, *runs([30.0] * 3, model="B", name="b")])
    best = best_rows(rows, Limits(), shared_work(rows))
    assert sorted((one.model, mean_of(one)) for one in best) == [("A", 4.0), ("B", 3.0)]
    assert home_title(best, rows).startswith(
        "B takes the least CPU energy, 3.000 J/token; next is A at 1.33 times as much"
    )


def test_where_the_best_did_other_work_the_title_is_of_those_that_did_the_same() -> None:
    """A is lowest with a batch of 8, B with one: with a batch of 8 A has 1, B 3 J/token."""

    def on(model: str, batch: int, j_per_token: float) -> list[Run]:
        found = runs([j_per_token * 10 * batch] * 3, model=model, name=f"{model}{batch}")
        for run in found:
            run.workload = msgspec.structs.replace(run.workload, batch_size=batch)
            run.tokens = msgspec.structs.replace(run.tokens, generated=20 * batch, useful=20 * batch)
            run.class_, run.cell = comparability_class(run.meters, run.model, run.workload), f"b{batch}"
        return found

    rows = rows_from([*on("A", 1, 4.0), *on("A", 8, 1.0), *on("B", 1, 2.0), *on("B", 8, 3.0)])
    best = best_rows(rows, Limits(), shared_work(rows))
    assert sorted((one.model, mean_of(one)) for one in best) == [("A", 1.0), ("B", 2.0)]
    assert why_unranked(best) == "the batch differs"
    title = home_title(best, rows)
    assert title.startswith(
        "A takes the least CPU energy, 1.000 J/token; next is B at 3.00 times as much, of those with"
    )
    assert title.endswith(", of those with batch 8")


def test_joules_that_were_not_measured_choose_no_setting(tmp_path: Path, plotly_stub: Path) -> None:
    """Two threads: as fast at half of the energy, by an estimate; four: twice as fast, and twice the energy."""
    quick = [
        make_run(meter=ESTIMATE, threads=4, inference_s=1.0, inference_w=160.0, id=f"q{i}", load=f"q{i}")
        for i in (1, 2)
    ]
    slow = [run for run in estimated() if run.model.name == "A-model"]
    for run in quick:
        run.model = slow[0].model
    page = site_of(tmp_path, plotly_stub, *slow, *quick)
    assert [float(one["data-token"]) for one in settings(page)] == [8.0]
    assert "One row per model and system: its fastest setting." in page.text


def test_real_and_dummy_weights_are_not_one_model(tmp_path: Path, plotly_stub: Path) -> None:
    dummy = runs([10.0] * 3, name="d")
    for run in dummy:
        run.model = msgspec.structs.replace(run.model, weights="real")
        run.class_ = comparability_class(run.meters, run.model, run.workload)
    page = site_of(tmp_path, plotly_stub, *runs(), *dummy)
    assert sorted(float(one["data-token"]) for one in settings(page)) == [1.0, 4.0]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_whatever_the_limits_the_best_is_among_the_front(drawn: list[tuple[int, ...]], least: int, most: int) -> None:
    def figure(mean: float) -> Estimate:
        return Estimate(mean=mean, half_width=None, basis="one run", runs=1, loads=1)

    rows = [
        msgspec.structs.replace(row(f"{n}", token, None), tokens_per_s=figure(speed), power_w=figure(power))
        for n, (token, speed, power) in enumerate(drawn)
    ]
    limits = Limits(tokens_per_s=least, power_w=most)
    among_all, among_front = best_rows(rows, limits, {}), best_rows(front(rows, {}), limits, {})
    assert [mean_of(one) for one in among_all] == [mean_of(one) for one in among_front]


def test_rows_that_no_limits_make_the_best_have_no_room_where_there_are_too_many(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1, 2, 3 and 4 threads at 40, 30, 50 and 60 W: all as fast, so that two threads are best whatever is asked."""
    monkeypatch.setattr(home, "MOST_ROWS", 2)
    rungs = ((1, 40.0), (2, 30.0), (3, 50.0), (4, 60.0))
    page = site_of(tmp_path, plotly_stub, *(run for n, watts in rungs for run in runs([watts], threads=n)))
    assert [one["data-token"] for one in settings(page)] == ["3.0"]
    assert "1 of 2 rows" in page.text
    assert "2 more settings on the pages of models and systems alone: no limits would make one of these" in page.text


def site_of(tmp_path: Path, plotly: Path, *records: Any, toml: str = "") -> Html:
    write(tmp_path / "in" / "r.jsonl", records)
    (tmp_path / "in" / "site.toml").write_text(toml)
    build_site([tmp_path / "in"], tmp_path / "site", plotly_js=plotly)
    return Html(tmp_path / "site" / "index.html")


def settings(page: Html) -> list[dict[str, str]]:
    return [attributes for tag, attributes in page.tags if tag == "tr" and attributes.get("class") == "first"]


def test_the_home_page_has_the_best_settings_alone_by_the_limits_of_its_owner(
    tmp_path: Path, plotly_stub: Path
) -> None:
    rungs = ((1, 40.0), (2, 30.0), (4, 60.0))
    records = [run for threads, watts in rungs for run in runs([watts, watts], threads=threads)]
    page = site_of(tmp_path, plotly_stub, *records)
    assert [one["data-token"] for one in settings(page)] == ["3.0"]
    assert "1 of 3 rows" in page.text
    assert "hidden" not in settings(page)[0]
    page = site_of(tmp_path, plotly_stub, *records, toml="[limits]\npower_w = 20")
    assert settings(page) == []
    assert page.heading == "No setting keeps the limits of this site: at most 20 W"
    page = site_of(tmp_path, plotly_stub, *records, toml="[limits]\ntokens_per_s = 5")
    assert "the lowest J/token among those of at least 5 tokens/s." in page.text
    assert (tmp_path / "site" / "data" / "home.js").is_file()


def test_a_page_with_every_row_needs_no_more_of_them(tmp_path: Path, plotly_stub: Path) -> None:
    assert "1 row" in site_of(tmp_path, plotly_stub, *runs()).text
    assert not (tmp_path / "site" / "data" / "home.js").exists()


def test_a_rank_is_among_all_of_the_best_where_the_page_has_not_all(
    tmp_path: Path, plotly_stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight models with 1 to 8 W, each beyond the interval of the others, a short page shows the lowest five."""
    monkeypatch.setattr(home, "HOME_ROWS", 1)
    records = [run for watts in range(1, 9) for run in runs([watts, watts, watts], model=f"M{watts}")]
    page = site_of(tmp_path, plotly_stub, *records)
    assert [float(one["data-token"]) for one in settings(page)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [f"rank {n} of 8" in page.text for n in range(1, 9)] == [True] * 5 + [False] * 3
    assert "5 of 8 rows" in page.text
    assert "3 more rows where a filter or limit is set" in page.text


def test_net_energy_stands_beside_gross_and_names_no_order(tmp_path: Path, plotly_stub: Path) -> None:
    """40 W for 2 s over 20 tokens is 4 J/token; less 10 W of idle it is 3. Loads of 38, 40 and 42 W: ± 0.50 both."""
    page = site_of(tmp_path, plotly_stub, *runs())
    assert "4.00 ± 0.50" in page.text
    assert "net 3.00 ± 0.50 J/token" in page.text
    assert "Net: less the idle power of the same run; ranks are by gross energy." in page.text


def figures_alone(**more: Any) -> Published:
    channel = Channel(id="gpu:0", component="gpu", kind="interval", source="modelled")
    run = make_run(id="figures-alone")
    return Published(
        id="figures-alone", schema=run.schema, model=run.model, system=System(name="Mac", device="mps", devices_used=1),
        meters=(MeterInfo(name="powermetrics", channels=(channel,)),), source="A paper, table 1", cell="one",
        figures=Figures(component="gpu", j_per_token=5.25, j_per_request=1050.0, tokens_per_s=4.0, **more),
    )  # fmt: skip


def test_figures_without_totals_stand_where_others_do(tmp_path: Path, plotly_stub: Path) -> None:
    page = site_of(tmp_path, plotly_stub, figures_alone(net_j={"gpu": 0.0}))
    assert "Published GPU energy (estimated)" in page.text
    assert "5.25" in page.text
    assert "1050" in page.text
    assert "21.0" in page.text, "implied W: 5.25 J/token at 4 tokens/s"
    assert "No energy" not in page.text
    run_page = next((tmp_path / "site" / "runs").glob("dummy*.html"))
    assert "5.25 J/token of GPU energy (estimated) (published)" in Html(run_page).heading
    assert "5.25" in Html(tmp_path / "site" / "runs" / "index.html").text
    rows = json.loads((tmp_path / "site" / "data" / "settings.js").read_text().removeprefix("LJ.rows(")[:-3])
    assert rows[0]["token"]["mean"] == 5.25
    assert (rows[0]["source"], rows[0]["published"]) == ("estimated", True)


def test_a_request_of_a_source_is_no_run_of_a_batch(tmp_path: Path, plotly_stub: Path) -> None:
    """A stated mean of 1050 J is of one request, whatever the batch; of 80 J of a batch of 8 a request has a part."""
    record = figures_alone()
    record = msgspec.structs.replace(record, workload=msgspec.structs.replace(record.workload, batch_size=8))
    eight = make_run(id="eight")
    eight.workload = msgspec.structs.replace(eight.workload, batch_size=8)
    found = {
        one["data-find"].split()[1]: one["data-request"]
        for one in settings(site_of(tmp_path, plotly_stub, record, eight))
    }
    assert float(found["Mac"]) == 1050.0
    assert float(found["Test"]) == 10.0


def test_published_repeats_are_counted_and_single_figures_are_not(tmp_path: Path, plotly_stub: Path) -> None:
    repeats = [
        msgspec.structs.replace(figures_alone(), id=f"r{n}", cell="many", system=System(name="Box")) for n in range(3)
    ]
    source = site_of(tmp_path, plotly_stub, figures_alone(), *repeats).path.read_text()
    counts = re.findall(r'<td class="n">([^<]*)(?: <span class="pm">/ ([^<]*)</span>)?</td>\n</tr>', source)
    assert sorted(counts) == [("3", "–"), ("–", "")]


@pytest.mark.parametrize("works", [1, 3])
def test_the_title_names_the_lowest_of_those_with_the_same_work(works: int) -> None:
    rows = [row("1", 5.0, 0.1, class_="same"), row("2", 9.0, 0.1, class_="same", model="B")]
    rows += [row(f"x{n}", 1.0, 0.1, class_=f"other {n}", model=f"X{n}") for n in range(works - 1)]
    title = finding.home_title(rows)
    assert "takes the least GPU energy, 5.00 J/token" in title
    assert title.startswith("Of 2 rows with the same work, ") == (works > 1)
