"""What a user sees in the terminal: progress and notes on stderr, results on stdout, no colour when not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from llmjoules.meters.step_response import milliseconds
from llmjoules.records import stats
from llmjoules.records.cells import Repeat, cells_of, load_of, telling
from llmjoules.records.record import Failed, Run
from llmjoules.records.rounding import in_words
from llmjoules.runner import events
from llmjoules.sitegen import text

if TYPE_CHECKING:
    from llmjoules.meters.doctor_report import ChannelReport, Compared, Report
    from llmjoules.records.importers.importing import Report as ImportReport
    from llmjoules.runner.preview import Preview
    from llmjoules.runner.settings import Plan

UNTOLD_WIDTH = 160  # of a file or a pipe, which has none: wide enough that no row is broken

WORD_WIDTH = 12  # a longer word, such as a path, may be broken


def stdout() -> Console:
    return _console(sys.stdout)


def stderr() -> Console:
    return _console(sys.stderr)


def _console(stream: Any) -> Console:
    return Console(file=stream, width=None if stream.isatty() else UNTOLD_WIDTH, highlight=False, soft_wrap=True)


class Watch:
    """Shows the events of a measurement: a bar where there is a terminal, a line per run where there is none."""

    def __init__(self, total: int, console: Console) -> None:
        self.console = console
        self.progress = _progress(console)
        self.task = self.progress.add_task("starting", total=total)

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            self.console.print(escape(event.text), style="dim")
        elif isinstance(event, events.PhaseBegan):
            self.progress.update(self.task, description=event.name)

    def finished(self, record: Run | Failed) -> None:
        self.progress.advance(self.task)
        self.console.print(escape(_line(record)))


@contextmanager
def watching(plan: Plan, done: int = 0) -> Iterator[Watch]:
    """done: runs of it that are there already."""
    watch = Watch(plan.runs, stderr())
    watch.progress.advance(watch.task, done)
    with watch.progress:
        yield watch


@contextmanager
def building() -> Iterator[Callable[[int, int], None]]:
    """A bar over the pages of a site."""
    with _progress(stderr()) as progress:
        task = progress.add_task("pages", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=2,  # drawing costs energy too, and the machine is being measured
        disable=not console.is_terminal,
    )


def _line(record: Run | Failed) -> str:
    what = f"{_cell(record)}, run {record.repeat + 1}"
    if isinstance(record, Failed):
        return f"{what}: failed in {record.error.phase or 'no phase'}: {record.error.message}"
    parts = [f"{record.tokens.generated} tokens in {stats.inference_s(record) or 0:.2f} s"]
    for component, total in record.totals.items():
        source = "" if total.source == "measured" else f" ({total.source})"
        energy = f"{total.joules:.4g} J" if total.joules is not None else f"no energy ({total.reason})"
        parts.append(f"{component} {energy}{source}")
    return f"{what}: {', '.join(parts)}"


def _cell(record: Run | Failed) -> str:
    return ", ".join(filter(None, (record.model.name, _rung(record))))


def _rung(record: Repeat | Failed) -> str:
    """`2 threads`, `1 device`; empty where it is not known."""
    system = record.system
    number, noun = (system.threads, "thread") if system.threads is not None else (system.devices_visible, "device")
    return f"{number} {noun}{'' if number == 1 else 's'}" if number is not None else ""


def summary(records: Iterable[Run | Failed]) -> Iterator[Table]:
    """The study's table with intervals: one of each model, whose name stands above; a row per rung and component."""
    cells = cells_of(record for record in records if isinstance(record, Run))
    keys = [key for key in telling(cells) if key not in ("threads", "devices")]
    rows: dict[str, list[list[str]]] = {}
    for cell in cells:
        of_title = rows.setdefault(cell.title(keys), [])
        for component in dict.fromkeys(component for run in cell.runs for component in run.totals):
            of_title.append(_row([run for run in cell.runs if component in run.totals], component))
    header = ("Rung", "Energy of", "tokens/s", "J/token", "J", "Implied W", "Runs", "Loads")
    for title, of_title in rows.items():
        yield table(header, of_title, right=range(2, len(header)), title=title)


def _row(runs: Sequence[Repeat], component: str) -> list[str]:
    figures = (
        stats.tokens_per_s,
        lambda run: stats.joules_per_token(run, component),
        lambda run: stats.joules(run, component),
        lambda run: stats.implied_power_w(run, component),
    )
    speed, per_token, energy, power = (stats.estimate_of(runs, figure) for figure in figures)
    source = runs[0].totals[component].source
    return [
        _rung(runs[0]) or text.DASH,
        component if source == "measured" else f"{component}, {source}",
        _with_interval(speed),
        _with_interval(per_token),
        text.number(energy.mean if energy is not None else None),
        text.number(power.mean if power is not None else None),
        str(len(runs)),
        str(len({load_of(run) for run in runs})),
    ]


def gains(records: Iterable[Run | Failed]) -> list[str]:
    """What no interval holds: by how much a channel may be off in every run alike."""
    lines: dict[str, None] = {}
    for meter in (meter for record in records for meter in record.meters):
        origin = meter.options.get("tdp_origin")
        why = f" ({origin})" if origin else ""
        for channel in meter.channels:
            if channel.gain and "@" not in channel.id:
                lines[f"On top, in every run alike: ± {channel.gain * 100:.3g} % for {channel.id}{why}."] = None
    return list(lines)


def stopped(records: Iterable[Run]) -> list[str]:
    """Of each cell in auto mode, or of two that took turns: how often it was run, and why no more."""
    last: dict[str, str] = {}
    for record in records:
        stopping = record.stopping
        if stopping is UNSET:
            continue
        if stopping.level is UNSET:
            last[record.cell] = f"{_cell(record)}: {stopping.reason}."
        else:
            last[record.study or ""] = f"The two cells: {stopping.reason}."
    return list(last.values())


def planned(preview: Preview) -> Iterator[Any]:
    """What `--dry-run` says."""
    rows = [
        (row.model, row.rung, row.work, f"{row.repeats.start + 1}–{row.repeats.stop}", row.cell, row.state)
        for row in preview.rows
    ]
    yield table(("Model", "Rung", "Work", "Runs", "Cell", ""), rows, right=(3,))
    yield preview.sentence


def _with_interval(estimate: stats.Estimate | None) -> str:
    return text.DASH if estimate is None else in_words(estimate.mean, estimate.half_width)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = (), title: str | None = None
) -> Table:
    """Words take more lines in a narrow terminal and are cut by none; where that is not enough, the terminal's lines
    break: nothing is left out, since a label such as `modelled` is part of its figure.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="")
    made.title = title and escape(title)
    cells = [list(row) for row in rows]
    for number, name in enumerate(header):
        words = [word for row in cells for word in row[number].split()]
        if number in right:
            widest = max((cell_len(row[number]) for row in cells), default=0)
            made.add_column(name, justify="right", no_wrap=True, min_width=max(widest, len(name)))
        else:
            made.add_column(name, overflow="fold", min_width=min(max(map(cell_len, words), default=0), WORD_WIDTH))
    for row in cells:
        made.add_row(*map(escape, row))
    return made


def doctor(report: Report) -> Iterator[Any]:
    """What the doctor has found, in parts for a narrow terminal; docs/doctor.md explains it."""
    installed = [f"{name} {version}" for name, version in report.libraries.items() if version is not None]
    missing = [name for name, version in report.libraries.items() if version is None]
    seen = report.torch.gpus
    answer = f"torch sees {len(seen)} ({report.torch.built_for})" if seen is not None else f"torch: {report.torch.why}"
    yield table(
        ("Libraries", ""),
        [
            ("installed", ", ".join(installed)),
            ("not there", ", ".join(missing) or "–"),
            ("GPUs", f"NVML sees {len(report.gpus_of_nvml)}; {answer}"),
            *((f"load: {kind}", what) for kind, what in report.loads.items()),
        ],
    )
    rows = []
    for meter in report.meters:
        problem = "\n".join(filter(None, (meter.what, meter.why, meter.fix and f"Do: {meter.fix}")))
        found = ", ".join(f"{c.id} ({c.channel.kind}, {c.channel.source})" for c in meter.channels)
        rows.append((meter.name, "yes" if meter.usable else "no", "\n".join(filter(None, (found, problem)))))
    yield table(("Meter", "Usable", "What it measures here, or why it cannot"), rows)
    channels = [channel for meter in report.meters for channel in meter.channels]
    if channels:
        header = ("Channel", "Tick", "5–95 %", "Stated", "Grid", "Step W", "10–90 %", "Lag")
        yield table(header, map(_channel_row, channels), right=range(1, len(header)))
    notes = [(c.id, note) for c in channels for note in filter(None, (c.response_note, *c.notes))]
    if notes:
        yield table(("Notes", ""), notes)
    if report.agreement:
        yield table(
            ("Agreement", "First J", "Second J", "Ratio", "Agree"), map(_compared_row, report.agreement), (1, 2, 3)
        )
    tested = [meter for meter in report.meters if meter.tested]
    if tested:
        costs = [(m.name, _figure(m.read_median_us), _figure(m.read_p99_us), _figure(m.cpu_percent)) for m in tested]
        costs.append(("all of this process", "", "", _figure(report.cpu_percent)))
        yield table(("Cost", "µs a read", "99 %", "% of a core"), costs, right=(1, 2, 3))
    if report.faults:
        yield table(("Left out",), [(str(fault),) for fault in report.faults])
    yield table(("Needs attention" if report.attention else "All is well",), [(line,) for line in report.attention])


def _channel_row(report: ChannelReport) -> Sequence[str]:
    tick, step, unit = report.tick, report.response, report.channel.unit
    fast = tick is not None and tick.as_fast_as_read
    return (
        report.id,
        text.DASH if tick is None else f"{'≤ ' if fast else ''}{milliseconds(tick.median_s)}",
        text.DASH if tick is None or fast else f"{tick.p5_s * 1e3:.3g}–{tick.p95_s * 1e3:.3g}",
        milliseconds(report.channel.period_s) if report.channel.period_s else "never stale",
        text.DASH if report.grid is None else f"{report.grid:g} {unit}" if report.grid else f"< 1 µ{unit}",
        text.DASH if step is None else f"{step.low_w:.3g}→{step.high_w:.3g}",
        text.DASH if step is None else milliseconds(step.rise_s),
        milliseconds(step.lag_s) if step is not None else milliseconds(report.lag.lag_s) if report.lag else text.DASH,
    )


def _compared_row(pair: Compared) -> Sequence[str]:
    which = f"{pair.first}, {pair.second} ({pair.during})"
    figures = [
        text.DASH if joules is None else f"{joules:.4g} ± {uncertainty or 0:.2g}"
        for joules, uncertainty in (
            (pair.first_j, pair.first_uncertainty_j),
            (pair.second_j, pair.second_uncertainty_j),
        )
    ]
    verdict = pair.verdict
    if verdict is None:
        return (which, *figures, text.DASH, pair.reason or "")
    agree = "yes" if verdict.agree else "within gain" if verdict.within_gains else "NO"
    return (which, *figures, f"{verdict.ratio:.3f}", agree)


def _figure(number: float | None) -> str:
    return text.DASH if number is None else f"{number:.3g}"


def importing(report: ImportReport) -> Iterator[str]:
    """What an import has to say, beside its counts: notes, what was not kept, and figures that cannot be right."""
    for note in dict.fromkeys(report.notes):
        yield f"Note: {note}"
    for refused in report.refused:
        yield "Left out: " + refused.replace("\n", " ")
    if report.unmapped:
        listed = "; ".join(f"{what} ({times})" if times > 1 else what for what, times in report.unmapped.items())
        yield f"Not kept: {listed}"
    for doubt in report.doubts.values():
        place = f"{doubt.file}, line {doubt.line}" if doubt.line is not None else doubt.file
        yield f"Doubtful: {doubt.flag} in {doubt.count} records, first {place}: {doubt.example}"
    columns = {name: unit for doubt in report.doubts.values() for name, unit in doubt.columns.items()}
    if columns and report.path is not None:
        read = ", ".join(f"{name} as {unit}" for name, unit in columns.items())
        option = f"--unit '{next(iter(columns))}=UNIT' --by 'YOUR NAME'"
        yield f"Read: {read}. If one holds another unit, delete {report.path} and import again with {option}"
