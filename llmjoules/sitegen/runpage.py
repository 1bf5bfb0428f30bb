"""Everything that the page of one run says and that its record alone decides: for the template and for run.js alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from llmjoules.records.record import Failed, Record, Run, encode
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import finding, flags, powerfig, runview, text
from llmjoules.sitegen.aggregate import Row
from llmjoules.sitegen.inputs import record_at
from llmjoules.sitegen.render import Look, Renderer
from llmjoules.sitegen.trace import Lines, trace_of
from llmjoules.sitegen.views import Badge, anchor, group_page, run_badges, when


class RunView(Struct, frozen=True):
    """Words and rounded figures; paths are from the root of the site.

    nth: `Run 3`, to which a page adds of how many. plot: see powerfig; None where there is no trace, which no_trace
    explains. legend: class, name and length of each band under the trace. tokens: says how fast they came, where the
    plot holds their times.
    """

    title: str
    nth: str
    about: tuple[str, ...]
    model: str
    model_page: str
    system: str
    system_page: str
    badges: list[Badge]
    error: str | None
    flags: list[str]
    cards: list[runview.Card]
    plot: dict[str, Any] | None
    caption: str
    no_trace: str | None
    legend: list[tuple[str, str, str]]
    tokens: str | None
    phases: runview.PhaseTable
    evidence: list[runview.Fact]
    facts: list[runview.Fact]
    states: list[runview.StateRow]
    channels: list[tuple[str, ...]]
    options: list[runview.Fact]
    command: str | None
    raw: str


class Beside(Struct, frozen=True):
    """What a run's page says of the other runs of its setting. means: in words, by the key that a card names."""

    of: int
    setting: str
    means: dict[str, str]


def run_view(record: Record, trace: Lines | None, no_trace: str | None, file: str, line: int) -> RunView:
    executed = record if isinstance(record, Run | Failed) else None
    return RunView(
        title=finding.run_title(record),
        nth=f"Run {record.repeat + 1}" if isinstance(record, Run | Failed) else text.shown(f"From {record.source}", 80),
        about=_about(record),
        model=text.shown(record.model.name),
        model_page=group_page("models", record.model.name),
        system=text.shown(record.system.name, 40),
        system_page=group_page("systems", record.system.name),
        badges=run_badges(record),
        error=text.shown(record.error.message, 2000) if isinstance(record, Failed) else None,
        flags=flags.explained(record),
        cards=runview.cards(record),
        plot=powerfig.power_plot(record, trace) if trace is not None else None,
        caption=powerfig.area_sentence(record, trace) if trace is not None else "",
        no_trace=no_trace,
        legend=[
            (f"p-{band.name.replace('+', '-')}", band.name.replace("+", " + "), text.seconds(band.end_s - band.start_s))
            for band in powerfig.bands(record.phases)
        ],
        tokens=powerfig.token_sentence(record) if trace is not None else None,
        phases=runview.phase_table(record),
        evidence=runview.evidence(record, file, line),
        facts=[*runview.facts_of_model(record), *runview.facts_of_system(record), *runview.facts_of_work(record)],
        states=runview.state_rows(record),
        channels=runview.channel_rows(record),
        options=runview.options(record),
        command=executed.command if executed is not None else None,
        raw=runview.raw_json(record),
    )


def beside(rows: list[Row]) -> Beside:
    """rows: of one setting, its components."""
    means = {"speed": _mean(rows[0].tokens_per_s, "tokens/s")}
    for row in rows:
        unit = text.unit_for([row.j_per_token.mean if row.j_per_token else None])
        means[row.component] = _mean(row.j_per_token, f"{unit.prefix}J/token", unit.factor)
    of = 0 if rows[0].published else rows[0].runs
    return Beside(of, f"{group_page('models', rows[0].model)}#{anchor(rows[0])}", {k: v for k, v in means.items() if v})


def _mean(estimate: Estimate | None, unit: str, factor: float = 1.0) -> str:
    if estimate is None or estimate.runs < 2:
        return ""
    shown = text.plus_minus(estimate.mean, estimate.half_width, factor)
    return f"all {estimate.runs} runs: {shown.mean}{f' ± {shown.half}' if shown.half else ''} {unit}"


def _about(record: Record) -> tuple[str, ...]:
    words = [record.model.dtype or "", f"batch {record.workload.batch_size}" if record.workload.batch_size else ""]
    words += [record.workload.decoding or "", when(record) if record.started_at else ""]
    return tuple(text.shown(word, 80) for word in words if word)


class RunPage(Struct, frozen=True):
    """A page to make: where its record is read, what stands beside it, and which name it gets."""

    page: str
    file: str
    name: str
    line: int
    offset: int
    length: int
    beside: Beside | None


def write_run_pages(look: Look, pages: Sequence[RunPage], site: Path) -> list[str]:
    """Make pages and the records beside them below `site`; the paths of all these files."""
    renderer = Renderer(look)
    (site / "runs").mkdir(parents=True, exist_ok=True)
    made = []
    for page in pages:
        record = record_at(page.file, page.offset, page.length)
        trace, no_trace = trace_of(record)
        html = renderer.render(
            "run.html",
            f"runs/{page.page}.html",
            view=(view := run_view(record, trace, no_trace, page.name, page.line)),
            title=view.title,
            table=powerfig.power_table(record, trace) if trace is not None else None,
            token_table=powerfig.token_table(record) if view.tokens else None,
            beside=page.beside,
            json_name=f"{page.page}.json",
        )
        made += [f"runs/{page.page}.html", f"runs/{page.page}.json"]
        (site / made[-2]).write_bytes(html.encode("utf-8", "replace"))
        (site / made[-1]).write_bytes(encode(record) + b"\n")
    return made
