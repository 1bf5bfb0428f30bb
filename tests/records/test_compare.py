"""Which cells are compared, what is refused, and when a check fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from llmjoules.records.cells import Cell, Selection, cells_of, differences, pair
from llmjoules.records.compare import Comparison, check, compare
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Accelerator, Channel, DeviceState, MeterInfo, Published, Run, Stopping, encode
from tests.builders import ESTIMATE, NVML, RAPL, make_run

MOCK = MeterInfo(name="mock", channels=(Channel(id="cpu:0", component="cpu", kind="counter", source="simulated"),))
SHARE = MeterInfo(name="rapl", channels=(Channel(id="cpu:0", component="cpu", kind="counter", extent="process-share"),))


def runs(
    watts: float = 40.0,
    *,
    loads: int = 4,
    day: int = 1,
    hours: tuple[int, ...] = (),
    dtype: str = "float32",
    **more: Any,
) -> list[Run]:
    """One run in each load, 1 % apart, an hour after the other."""
    found = []
    for load in range(loads):
        run = make_run(
            load=f"{dtype}-{day}-{load}",
            inference_w=watts * (1 + 0.01 * (-1) ** load),
            started_at=f"2026-01-{day:02}T{(hours or range(24))[load]:02}:00:00.000Z",
            **more,
        )
        found.append(replace(run, model=replace(run.model, dtype=dtype), cell=f"{dtype}{run.cell}"))
    return found


def cells(*groups: list[Run]) -> list[Cell]:
    return cells_of(run for group in groups for run in group)


def one(a: list[Run], b: list[Run], **more: bool) -> Comparison:
    [found], alone = compare(cells(a), cells(b), **more)
    assert not alone
    return found


def test_what_differs_comes_first_by_name() -> None:
    found = one(runs(), runs(30.0, day=2, dtype="bfloat16", software={"torch": "2.14.0"}))
    assert found.differing["dtype"] == ("float32", "bfloat16")
    assert found.differing["torch"] == ("2.13.0", "2.14.0")
    assert "threads" not in found.differing
    assert found.compared[0].verdict == "cheaper"
    assert found.compared[0].difference.percent == pytest.approx(-25.0)
    assert [row.figure for row in found.compared] == ["whole", "prefill", "decode"]


def test_power_limits_that_differ_are_told_and_software_that_is_absent_is_not() -> None:
    boards = (Accelerator(name="A board", power_limit_w=300.0), Accelerator(name="A board", power_limit_w=300.0))
    lower = (*boards[:1], Accelerator(name="A board", power_limit_w=250.5))
    sides = [
        [replace(run, system=replace(run.system, accelerators=on), software={"driver": driver}) for run in side]
        for side, on, driver in ((runs(), boards, None), (runs(day=2), lower, "550"))
    ]
    found = one(*sides)
    assert found.differing["power limit"] == ("300 W", "250.5 W + 300 W")
    assert found.differing["driver"] == ("not said", "550")


def test_prefill_is_per_prompt_token_and_decode_per_decoded_one() -> None:
    # 40 W for 2 s, a tenth of it prefill of 7 tokens, the rest decode of 19 of 20 tokens.
    found = {row.figure: row.difference.a for row in one(runs(), runs(day=2)).compared}
    assert found == pytest.approx({"whole": 80 / 20, "prefill": 8 / 7, "decode": 72 / 19})


def test_meter_options_that_differ_are_told() -> None:
    other = MeterInfo(name="estimate", channels=ESTIMATE.channels, options={"tdp_w": 95.0})
    found = one(runs(meter=ESTIMATE), runs(day=2, meter=other))
    assert found.differing["estimate.tdp_w"] == ("65.0", "95.0")


@pytest.mark.parametrize(
    ("meter_a", "meter_b", "device", "said"),
    [
        (RAPL, ESTIMATE, "cpu", "measured.*modelled"),
        (MOCK, RAPL, "cpu", "simulated.*measured"),
        (SHARE, RAPL, "cpu", "process-share"),
        (RAPL, NVML, "cuda", "A alone has cpu.*B alone has gpu"),
    ],
)
def test_unlike_figures_are_not_compared_unless_anyway(
    meter_a: MeterInfo, meter_b: MeterInfo, device: str, said: str
) -> None:
    a, b = runs(meter=meter_a), runs(30.0, day=2, meter=meter_b, device=device)
    with pytest.raises(LlmjoulesError, match="cannot be compared") as refused:
        compare(cells(a), cells(b))
    assert refused.match(f"(?s){said}.*--anyway")
    assert one(a, b, anyway=True).compared[0].verdict == "cheaper"


def test_runs_are_not_compared_with_themselves() -> None:
    same = runs()
    with pytest.raises(LlmjoulesError, match="partly the same runs"):
        compare(cells(same), cells(same))


def test_cells_are_paired_by_all_settings_but_those_in_which_the_sides_differ() -> None:
    a = cells(runs(threads=1), runs(threads=2, day=2))
    b = cells(*(runs(threads=threads, dtype="bfloat16", day=3 + threads) for threads in (2, 1, 4)))
    pairs, alone = pair(a, b)
    assert [(x.settings["threads"], y.settings["threads"]) for x, y in pairs] == [("1", "1"), ("2", "2")]
    assert alone == ["B: dummy:llama-tiny, threads 4"]


def test_a_pair_that_is_not_clear_has_to_be_chosen() -> None:
    a = cells(runs(threads=1), runs(threads=2, day=2))
    b = cells(runs(threads=4, day=3), runs(threads=8, day=4))
    with pytest.raises(LlmjoulesError, match="2 cells of A fit 2 of B") as unclear:
        pair(a, b)
    assert unclear.match(r"threads=1\|2")


def test_a_cell_without_a_partner_is_named() -> None:
    a = cells(runs(threads=1), runs(threads=2, new_tokens=40))
    b = cells(runs(threads=1, day=2), runs(threads=1, new_tokens=40, day=2), runs(threads=2, day=2))
    pairs, alone = pair(a, b)
    assert len(pairs) == 1
    assert [title[:2] for title in alone] == ["A:", "B:", "B:"]


@pytest.mark.parametrize(
    ("hours_a", "hours_b", "paired"),
    [
        ((0, 3, 4, 7), (1, 2, 5, 6), True),  # ABBA ABBA
        ((0, 2, 4, 6), (1, 3, 5, 7), True),  # ABAB
        ((0, 1, 2, 3), (4, 5, 6, 7), False),
        ((0, 1, 4, 5), (2, 3, 6, 7), False),
    ],
)
def test_sides_that_took_turns_are_paired(hours_a: tuple[int, ...], hours_b: tuple[int, ...], paired: bool) -> None:
    found = one(runs(hours=hours_a), runs(hours=hours_b, dtype="bfloat16"))
    assert {row.difference.paired for row in found.compared} == {paired}


def ended(found: list[Run], reason: str, **more: Any) -> list[Run]:
    """The same runs, the last of which says how their repeats ended."""
    said = Stopping(
        stop=not reason.startswith("open"),
        reason=reason,
        rule="",
        precision=0.02,
        component="cpu",
        half_width=0.02,
        mean=4.0,
        basis="loads",
        runs=len(found),
        loads=len(found),
        **more,
    )
    return [*found[:-1], replace(found[-1], stopping=said)]


def test_sides_that_ended_since_they_looked_alike_have_wider_intervals() -> None:
    plain = one(runs(), runs(30.0, day=2)).compared[0]
    precise = "precise: ± 1.9 % over 4 loads"
    both = one(ended(runs(), precise), ended(runs(30.0, day=2), precise)).compared[0]
    assert (both.widened, plain.widened) == ((1.15, 1.15), (1.0, 1.0))
    assert both.difference.joules.value == plain.difference.joules.value
    assert both.difference.joules.half_width == pytest.approx(1.15 * plain.difference.joules.half_width)
    assert both.difference.power.half_width == pytest.approx(1.15 * plain.difference.power.half_width)
    most = ended(runs(), "most: ± 4 % over 30 loads")
    assert one(most, ended(runs(30.0, day=2), precise)).compared[0].widened == (1.0, 1.15)


def test_cells_in_turns_are_judged_by_their_last_look_over_whole_pairs() -> None:
    """Difference −1 J, of pairs −1 ± 0.01 alternately; t(3) at a level of 1 % is 5.8409: ± 5.8409·0.011547/2."""
    a = [replace(run, repeat=n, study="s@1") for n, run in enumerate(runs())]
    b = [replace(run, repeat=n, study="s@1") for n, run in enumerate(runs(30.0, loads=5, day=2, dtype="bfloat16"))]
    found = one(ended(a, "different: …", level=0.01), ended(b, "open: …", level=0.001)).compared[0]
    assert (found.loads, found.difference.paired, found.difference.alpha) == ((4, 4), True, 0.01)
    assert found.difference.joules.value == pytest.approx(-1.0)
    assert found.difference.joules.half_width == pytest.approx(5.8409 * 0.0115470 / 2, rel=1e-4)
    other = [replace(run, study="s@2") for run in ended(b, "open: …", level=0.001)]
    assert one(ended(a, "different: …", level=0.01), other).compared[0].difference.alpha == 0.05


def test_the_gain_cancels_on_one_device_only() -> None:
    board = replace(NVML.channels[0], uuid="GPU-5678", gain=0.1)
    other = MeterInfo(name="nvml", channels=(board,))
    same = one(runs(meter=NVML, device="cuda"), runs(day=2, meter=NVML, device="cuda"))
    assert [(gain.same, gain.a, gain.b) for gain in same.gains.values()] == [("device", 0.05, 0.05)]
    apart = one(runs(meter=NVML, device="cuda"), runs(day=2, meter=other, device="cuda"))
    assert [(gain.same, gain.a, gain.b) for gain in apart.gains.values()] == [("no", 0.05, 0.1)]
    assert [gain.same for gain in one(runs(), runs(day=2)).gains.values()] == ["system"]


def test_the_basis_of_the_interval_is_told() -> None:
    single = [replace(run, load=replace(run.load, id="one")) for run in runs()]
    assert one(single, runs(day=2)).compared[0].basis == "runs"
    assert one(runs(), runs(day=2)).compared[0].basis == "loads"
    alone = one(runs(loads=1), runs(day=2)).compared[0]
    assert (alone.basis, alone.verdict) == ("one run", "unknown")


def test_published_figures_without_a_load_are_neither_runs_nor_loads() -> None:
    figures = [
        Published(
            id=run.id, schema=run.schema, model=run.model, system=run.system, workload=run.workload, meters=run.meters,
            totals=run.totals, tokens=run.tokens, phases=run.phases, source="A table", flags=("no_uncertainty:cpu",),
        )
        for run in runs(30.0, loads=3)
    ]  # fmt: skip
    [found], _ = compare(cells(runs(day=2)), cells_of(figures))
    whole = found.compared[0]
    assert (whole.runs, whole.loads, whole.figures) == ((4, 0), (4, 0), (0, 3))
    assert found.flags == ("B: no_uncertainty:cpu in 3 of 3 published figures",)
    assert (whole.basis, whole.verdict) == ("loads", "cheaper")
    [found], _ = compare(cells(runs(day=2)), cells_of(figures[:1]))
    assert check([found], 0.03)[0].reason == "one published figure on a side: no interval"


def test_flags_of_runs_and_drift_of_repeats_are_told() -> None:
    drifting = [
        replace(run, totals={"cpu": replace(run.totals["cpu"], joules=80.0 + 2 * k + 0.1 * (k % 2))})
        for k, run in enumerate(runs(loads=8, day=2))
    ]
    flagged = [
        replace(run, flags=("shared:cpu", "too_short:tokenizer")) if run.load.id.endswith("1") else run
        for run in runs()
    ]
    found = one(flagged, drifting)
    assert found.flags == ("A: shared:cpu in 1 of 4 runs", "B: trend:cpu", "B: autocorrelated:cpu")


def test_names_from_records_cannot_steer_the_terminal() -> None:
    hostile = runs(model="\x1b[2Jgone", software={"torch": "\x1b]0;x\x07"}, day=2)
    found = one(runs(), hostile)
    assert "\x1b" not in str(found.differing) + found.b
    with pytest.raises(LlmjoulesError) as refused:
        pair(cells(hostile, runs(day=3)), cells(runs(threads=4, day=4), runs(threads=8, day=5)))
    assert "\x1b" not in str(refused.value)


def check_of(a: list[Run], b: list[Run], max_rise: float = 0.03) -> list[tuple[str, str]]:
    return [(row.outcome, row.reason) for row in check(compare(cells(a), cells(b))[0], max_rise)]


def test_a_check_fails_on_a_rise_that_is_significant_and_above_the_limit() -> None:
    assert check_of(runs(), runs(44.0, day=2))[0][0] == "rise"  # 10 ± 1.6 %
    assert check_of(runs(), runs(44.0, day=2), 0.12) == [("fine", "not above 12 %")]
    assert check_of(runs(), runs(36.0, day=2))[0][0] == "fine"
    assert check_of(runs(loads=2), runs(42.0, loads=2, day=2)) == [("fine", "above 3 %, but not significant")]
    assert check_of(runs(loads=1), runs(44.0, day=2))[0][0] == "unknown"


def started_at(celsius: float, found: list[Run]) -> list[Run]:
    states = {"cpu:0": (DeviceState(at_s=1.0, temperature_c=celsius), DeviceState(at_s=2.0, temperature_c=99.0))}
    return [replace(run, states=states) for run in found]


def test_a_check_does_not_judge_another_thermal_state() -> None:
    cool = started_at(40.0, runs())
    assert check_of(cool, started_at(50.0, runs(44.0, day=2))) == [
        ("not judged", "cpu:0 started 10 °C warmer than the baseline")
    ]
    assert check_of(cool, started_at(44.0, runs(44.0, day=2)))[0][0] == "rise"
    assert check_of(cool, runs(44.0, day=2))[0][0] == "rise"  # not recorded: judged, and said


def test_many_cells_together_give_no_more_false_alarms_than_one() -> None:
    """Twenty cells, nothing risen, limit 0 %: at most 2.5 % of checks fail, and two standard errors of 400."""
    rng = np.random.default_rng(1)

    def side(day: int) -> list[Cell]:
        made = [Cell(cell.settings, cell.name, ()) for cell in template]
        return [
            Cell(cell.settings, cell.name, tuple(runs_with(rng, day * 100 + number)))
            for number, cell in enumerate(made)
        ]

    prototype = make_run(first=False)

    def runs_with(rng: np.random.Generator, number: int) -> list[Run]:
        total = prototype.totals["cpu"]
        return [
            replace(
                prototype,
                id=f"{number}-{load}",
                load=replace(prototype.load, id=f"{number}-{load}"),
                totals={"cpu": replace(total, joules=80 * (1 + rng.normal(0, 0.03)))},
            )
            for load in range(3)
        ]

    template = cells_of(
        [replace(prototype, id=f"t{n}", system=replace(prototype.system, threads=n)) for n in range(20)]
    )
    failed = sum(any(row.outcome == "rise" for row in check(compare(side(1), side(2))[0], 0.0)) for _ in range(100))
    assert failed / 100 <= 0.025 + 2 * (0.025 * 0.975 / 100) ** 0.5


def written(folder: Path, found: list[Run]) -> Path:
    file = folder / "results.jsonl"
    file.write_bytes(b"".join(encode(run) + b"\n" for run in found))
    return file


SAID = (
    "model, weights, dtype, batch, prompt, new-tokens, decoding, stop, text, system, device, devices, strategy, threads"
)


def test_cells_are_chosen_by_settings_model_or_cell(tmp_path: Path) -> None:
    file = written(
        tmp_path, [*runs(threads=1), *runs(threads=2, day=2), *runs(threads=2, day=3, dtype="bfloat16", model="M/x")]
    )

    def chosen(rest: str) -> list[tuple[str | None, str | None]]:
        found = Selection.parse(f"{file}{rest}").cells(lambda bad: None)
        return [(cell.settings["threads"], cell.settings["dtype"]) for cell in found]

    assert chosen("") == [("1", "float32"), ("2", "float32"), ("2", "bfloat16")]
    assert chosen("#threads=2,dtype=float32") == [("2", "float32")]
    assert chosen("#M/x") == [("2", "bfloat16")]
    assert chosen("#cell=bfloat") == [("2", "bfloat16")]
    for rest, hint in (
        ("#thread=2", "nearest is threads"),
        ("#dtype=bfloat61", "nearest is bfloat16"),
        ("#cell=x", "has cell x"),
        ("#study=x", "None of its runs says study"),
    ):
        with pytest.raises(LlmjoulesError) as wrong:
            chosen(rest)
        lines = str(wrong.value).splitlines()
        assert [line.partition(":")[0] for line in lines[1:]] == ["Why", "Do"]
        assert hint in str(wrong.value)
    assert lines[-1] == f"Do:  Choose by what they say: {SAID}, meters."


def test_a_file_may_have_a_number_sign_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "run#2").mkdir()
    file = written(tmp_path / "run#2", runs())
    assert len(Selection.parse(str(file)).cells(lambda bad: None)) == 1
    assert Selection.parse(f"{file}#threads=1").wanted == {"threads": "1"}


def test_settings_that_a_record_does_not_have_are_said_to_be_unknown() -> None:
    bare = [replace(run, system=replace(run.system, threads=None)) for run in runs(day=2)]
    assert differences(cells(runs())[0], cells(bare)[0])["threads"] == ("1", "not said")
