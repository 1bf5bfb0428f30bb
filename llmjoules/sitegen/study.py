"""The page on the study that this project grew from: Table 1 beside what its author's files give, claim by claim.

There is one where the rows of its table, or records read from its files, are among the results. Every figure on it is
worked out here from what was printed (hotcarbon24/table1.toml) and from what the files give (hotcarbon24/derived.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from llmjoules.records import stats
from llmjoules.records.record import COMPONENTS, Published, Record, Run
from llmjoules.sitegen.extra import ExtraPage, Results, fragment
from llmjoules.sitegen.hookspecs import hookimpl
from llmjoules.sitegen.hotcarbon24 import claims
from llmjoules.sitegen.hotcarbon24.derived import Derived, Figures, derived
from llmjoules.sitegen.hotcarbon24.table import STUDY, Printed, printed, tokens
from llmjoules.sitegen.text import DASH, count, digits, listed, number, plus_minus, shown

OURS = "paper"  # what `llmjoules measure --study paper` calls its runs, before their key
PATH = "study.html"
NAMES = ("-cuda-", "-mps.csv")  # parts of the names of the author's files


class Line(NamedTuple):
    """A printed row beside the files. way: what the table's rule gives; inference: one inference, with its interval."""

    row: Printed
    way: str
    way_speed: str
    inference: str
    half: str
    sd: str
    runs: str
    per_token: str
    ratio: str


class Bar(NamedTuple):
    """One GPU count of Llama-2, in pixels of the chart. idle: of the other boards; rest: what is above."""

    gpus: int
    y: int
    idle: float
    rest: float
    printed: float
    label: str


class Ladder(NamedTuple):
    model: str
    gpus: int
    seconds: str
    joules: str
    boards_w: str
    all_idle: str
    others_idle: str
    rise: str


class Ours(NamedTuple):
    model: str
    system: str
    units: str
    component: str
    label: str
    per_token: str
    half: str
    speed: str
    runs: str


@hookimpl
def llmjoules_site_pages(results: Results) -> list[ExtraPage]:
    files = {row.file for row in printed()}
    if not any(_of_study(record, files) for record in results.records(STUDY, *NAMES)):
        return []
    ours = (record for record in results.records(f'"{OURS}@') if (record.study or "").startswith(f"{OURS}@"))
    return [page(ours)]


def _of_study(record: Record, files: set[str]) -> bool:
    """A row of its table, or read from one of its author's files."""
    if not isinstance(record, Published):
        return False
    return record.study == STUDY or (record.origin is not None and record.origin.file in files)


def page(ours: Iterable[Record] = ()) -> ExtraPage:
    """ours: runs of the study's plan on other machines, shown beside it and never set against it."""
    figures = derived()
    files = {row.file: row for row in figures.rows}
    rows = printed()
    body = fragment(
        "llmjoules",
        "study.html",
        counts=_counts(rows, files),
        tokens=tokens(),
        missing=len(files) < len(rows),
        boards=[_line(row, files.get(row.file)) for row in rows if row.gpus],
        rails=[_line(row, files.get(row.file)) for row in rows if not row.gpus],
        first=_first(files),
        power=[_power(row, figures) for row in rows if row.gpus],
        rails_power=[(row, number(row.implied_w), files.get(row.file)) for row in rows if not row.gpus],
        idle=figures.idle,
        flagged=_flagged(rows, figures),
        speeds=_speeds(rows),
        ladder=(ladder := list(_ladder(files, figures))),
        widest=max((step for step in ladder if step.model == "Llama-2"), key=lambda step: step.gpus),
        bars=list(_bars(files, figures)),
        share=_share(files, figures),
        claims=claims.claims(rows, files),
        ours=list(_ours(ours)),
        number=number,
    )  # fmt: skip
    return ExtraPage(PATH, "Study", _title(files), body)


def _title(files: Mapping[str, Derived]) -> str:
    one = files["llama2-7b-cuda-1.csv"]
    row = next(row for row in printed() if row.file == one.file)
    return (
        f"One inference of Llama-2 on one A100 took {digits(one.inference_j, 1)} J; the study’s table prints "
        f"{digits(row.joules, 1)} J"
    )


def _counts(rows: Sequence[Printed], files: Mapping[str, Derived]) -> tuple[str, str, str, str]:
    """Rows in all and recomputed, in words; the most that an energy and a rate are off by."""
    known = [(row, files[row.file]) for row in rows if row.file in files]
    joules = max(abs(found.table_joules - row.joules) for row, found in known)
    rate = max(abs(found.table_tokens_per_s - row.tokens_per_s) for row, found in known)
    recomputed = "all of them" if len(known) == len(rows) else count(len(known), "row")
    return count(len(rows), "row"), recomputed, digits(joules, 4), digits(rate, 4)


def _line(row: Printed, found: Derived | None) -> Line:
    if found is None:
        return Line(row, DASH, DASH, DASH, "", DASH, DASH, DASH, DASH)
    half = stats.t_975(found.runs - 1) * found.inference_sd_j / sqrt(found.runs)
    mean = plus_minus(found.inference_j, half)
    return Line(
        row=row,
        way=digits(found.table_joules, 3),
        way_speed=digits(found.table_tokens_per_s, 3),
        inference=mean.mean,
        half=mean.half,
        sd=number(found.inference_sd_j),
        runs=str(found.runs),
        per_token=number(found.inference_j / tokens(), 4),
        ratio=number(row.joules / found.inference_j),
    )


def _first(files: Mapping[str, Derived]) -> dict[str, str]:
    """The arithmetic of one row of either kind, with its figures."""
    one, laptop = files["llama2-7b-cuda-1.csv"], files["llama2-mps.csv"]
    terms = list(one.phase_j.values())
    return {
        "labels": listed(one.phase_j),
        "sum": " + ".join(digits(term, 3) for term in terms),
        "count": str(len(terms)),
        "mean": digits(sum(terms) / len(terms), 3),
        "runs": str(one.runs),
        "laptop_runs": str(laptop.runs),
        "laptop_one": digits(laptop.inference_j, 3),
        "laptop_all": digits(laptop.runs * laptop.inference_j, 3),
    }


def _power(row: Printed, figures: Figures) -> tuple[Printed, str, str, bool]:
    return row, number(row.implied_w), number(row.implied_w / row.gpus), _below(row, figures)


def _below(row: Printed, figures: Figures) -> bool:
    return figures.idle is not None and row.implied_w / row.gpus < figures.idle.lowest_w


def _flagged(rows: Iterable[Printed], figures: Figures) -> tuple[int, int]:
    """Rows of several boards whose implied power lies below what they draw idle, and all of them."""
    several = [row for row in rows if row.gpus > 1]
    return sum(_below(row, figures) for row in several), len(several)


def _speeds(rows: Iterable[Printed]) -> list[tuple[str, list[tuple[str, str]]]]:
    """By model: the printed rate at each count of boards, and what it is of the rate before."""
    found: dict[str, list[Printed]] = {}
    for row in rows:
        if row.gpus:
            found.setdefault(row.model, []).append(row)
    return [
        (
            model,
            [
                (digits(row.tokens_per_s, 3), f"× {row.tokens_per_s / before.tokens_per_s:.2f}" if before else "")
                for row, before in zip(several, [None, *several], strict=False)
            ],
        )
        for model, several in found.items()
    ]


def _ladders(files: Mapping[str, Derived]) -> dict[str, list[tuple[int, Derived]]]:
    """By model, the counts of boards whose file is known; of models whose one board is."""
    found: dict[str, list[tuple[int, Derived]]] = {}
    for row in printed():
        if row.gpus and row.file in files:
            found.setdefault(row.model, []).append((row.gpus, files[row.file]))
    return {model: steps for model, steps in found.items() if steps[0][0] == 1}


def _share(files: Mapping[str, Derived], figures: Figures) -> tuple[str, str]:
    """Of the rise over one board, the least and the most that boards beyond the first take while idle, in percent."""
    shares = [
        part
        for (_, one), *more in _ladders(files).values()
        for gpus, found in more
        for part in _of_rise(one, gpus, found, figures)
    ]
    return number(min(shares) * 100, 2), number(max(shares) * 100, 2)


def _of_rise(one: Derived, gpus: int, found: Derived, figures: Figures) -> tuple[float, float]:
    assert figures.idle is not None
    rise_j = found.inference_j - one.inference_j
    low, high = (
        (gpus - 1) * watts * found.inference_s / rise_j for watts in (figures.idle.lowest_w, figures.idle.median_w)
    )
    return low, high


def _ladder(files: Mapping[str, Derived], figures: Figures) -> Iterator[Ladder]:
    for model, steps in _ladders(files).items():
        yield from _steps(model, steps, figures)


def _steps(model: str, steps: Sequence[tuple[int, Derived]], figures: Figures) -> Iterator[Ladder]:
    assert figures.idle is not None
    one = steps[0][1]
    for gpus, found in steps:
        low, high = (
            gpus * watts * found.inference_s / found.inference_j
            for watts in (figures.idle.lowest_w, figures.idle.median_w)
        )
        others = [(gpus - 1) * watts * found.inference_s for watts in (figures.idle.lowest_w, figures.idle.median_w)]
        rise = _of_rise(one, gpus, found, figures) if gpus > 1 else None
        least, most = min(found.board_w), max(found.board_w)
        yield Ladder(
            model=model,
            gpus=gpus,
            seconds=number(found.inference_s),
            joules=digits(found.inference_j, 1),
            boards_w=number(least) if gpus == 1 else f"{number(least)} to {number(most)}",
            all_idle=f"{low * 100:.0f} to {high * 100:.0f} %",
            others_idle=f"{digits(others[0], 0)} to {digits(others[1], 0)}" if gpus > 1 else DASH,
            rise=f"{rise[0] * 100:.0f} to {rise[1] * 100:.0f} %" if rise else DASH,
        )


def _bars(files: Mapping[str, Derived], figures: Figures) -> Iterator[Bar]:
    assert figures.idle is not None
    found = _ladders(files)["Llama-2"]
    scale = 270 / max(row.inference_j for _, row in found)
    prints = {row.file: row.joules for row in printed()}
    for place, (gpus, row) in enumerate(found):
        others_j = (gpus - 1) * figures.idle.lowest_w * row.inference_s
        yield Bar(
            gpus=gpus,
            y=8 + place * 34,
            idle=round(others_j * scale, 1),
            rest=round((row.inference_j - others_j) * scale, 1),
            printed=round(prints[row.file] * scale, 1),
            label=f"{digits(row.inference_j, 0)} J",
        )


def _ours(records: Iterable[Record]) -> Iterator[Ours]:
    """Runs of the same plan, a row for each setting, labelled as what they are."""
    cells: dict[tuple[str, str, str], list[Run]] = {}
    for record in records:
        if isinstance(record, Run):
            cells.setdefault((record.model.name, record.system.name, record.cell), []).append(record)
    for (model, system, _), runs in sorted(cells.items()):
        component = next((name for name in COMPONENTS if any(name in run.totals for run in runs)), "")
        energy = stats.estimate_of(runs, lambda run, component=component: stats.joules_per_token(run, component))  # type: ignore[misc]
        speed = stats.estimate_of(runs, stats.tokens_per_s)
        first = runs[0]
        source = first.totals[component].source if component in first.totals else ""
        mean = plus_minus(energy.mean, energy.half_width) if energy else plus_minus(None, None)
        labels = ["dummy weights"] if first.model.weights == "dummy" else []
        labels += (
            [{"modelled": "estimated", "simulated": "simulated"}[source]] if source in ("modelled", "simulated") else []
        )
        where = first.system
        units = (
            count(where.threads or 1, "thread", spell=False)
            if where.device == "cpu"
            else count(where.devices_used or 1, "device", spell=False)
        )
        yield Ours(
            shown(model), shown(system), units, component.upper(), ", ".join(labels), mean.mean, mean.half,
            number(speed.mean if speed else None), str(len(runs)),
        )  # fmt: skip
