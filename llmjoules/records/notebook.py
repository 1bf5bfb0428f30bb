"""How energies and records show in a notebook: a table and a small chart, as HTML without scripts or style sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from llmjoules.records import stats
from llmjoules.records.record import Energy, Failed, Published, Record, Run
from llmjoules.records.rounding import in_words

LABELS = {"modelled": "estimated: a model, not a measurement", "simulated": "simulated: no device was read"}
BAR = 320.0  # pixels of the longest
ROW = 22
LEFT = 150
LONGEST = 60  # characters of a name


class Bar(NamedTuple):
    """joules: None draws nothing but the name. half: of the whisker, the uncertainty of the method."""

    name: str
    joules: float | None
    half: float | None


def energies_html(name: str, energies: Sequence[Energy], seconds: float | None = None) -> str:
    """A window, or one energy: a row for each channel. Channels may contain each other, so nothing is added up."""
    rows = [
        (e.channel, _joules(e), _watts(e.joules, seconds), e.method or "", "" if e.reason is None else e.reason)
        for e in energies
    ]
    heading = f"{name}, {_number(seconds)} s" if seconds is not None else name
    bars = [Bar(e.channel, e.joules, e.uncertainty_j) for e in energies]
    return _block(heading, (), bars, ("channel", "J", "W", "method", "why there is none"), rows)


def record_html(record: Record) -> str:
    """What ran where, labelled as what it is; then each phase and part by channel, and the totals."""
    notes = [_kind(record)]
    if record.model.weights == "dummy":
        notes.append("dummy weights")
    sources = {total.source for total in record.totals.values()}
    sources |= {channel.source for meter in record.meters for channel in meter.channels}
    notes += [LABELS[source] for source in ("modelled", "simulated") if source in sources]
    speed = stats.tokens_per_s(record)
    notes += [f"{_number(speed)} tokens/s"] if speed is not None else []
    rows = [
        (name, _number(seconds), e.channel, _joules(e), _watts(e.joules, seconds), e.reason or "")
        for name, seconds, e in _stretches(record)
    ]
    for component, total in record.totals.items():
        per_token = stats.joules_per_token(record, component)
        said = f"{_number(per_token)} J per output token" if per_token is not None else total.reason or ""
        figure = in_words(total.joules, total.uncertainty_j)
        rows.append((f"{component}, inference", _number(stats.inference_s(record)), "+".join(total.channels), figure,
                     _watts(total.joules, stats.inference_s(record)), said))  # fmt: skip
    if isinstance(record, Published) and record.figures is not None:
        figures = record.figures
        said = f"{_number(figures.j_per_token)} J per output token, as stated" if figures.j_per_token else "as stated"
        rows.append((f"{figures.component}, stated mean", "", "", _number(figures.j_per_request),
                     _number(stats.implied_power_w(record, figures.component)), said))  # fmt: skip
    heading = f"{_cut(record.model.name)} on {_cut(record.system.name)}"
    return _block(heading, notes, _bars(record), ("phase", "s", "channel", "J", "W", ""), rows)


def _kind(record: Record) -> str:
    if isinstance(record, Failed):
        return f"failed: {record.error.message[:200]}"
    return "finished run" if isinstance(record, Run) else f"published: {record.source[:200]}"


def _stretches(record: Record) -> Iterable[tuple[str, float, Energy]]:
    for phase in record.phases:
        for energy in phase.energy:
            yield phase.name, phase.duration_s, energy
        for part in phase.parts:
            for energy in part.energy:
                yield f"– {part.name}", part.end_s - part.start_s, energy


def _bars(record: Record) -> list[Bar]:
    """Phases by the first channel of the first total, or the first channel there is: one channel, so they compare."""
    first = next((total.channels[0] for total in record.totals.values() if total.channels), None)
    channel = first or next((energy.channel for phase in record.phases for energy in phase.energy), None)
    return [
        Bar(f"{phase.name} {channel}", energy.joules, energy.uncertainty_j)
        for phase in record.phases
        for energy in phase.energy
        if energy.channel == channel
    ]


def _block(
    heading: str, notes: Iterable[str], bars: Sequence[Bar], names: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    said = f"<br>{escape('; '.join(notes))}" if notes else ""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div><p><strong>{escape(heading)}</strong>{said}</p>{_chart(bars)}{table}</div>"


def _chart(bars: Sequence[Bar]) -> str:
    longest = max((bar.joules + (bar.half or 0.0) for bar in bars if bar.joules is not None), default=0.0)
    if not longest:
        return ""
    scale = BAR / longest
    drawn = []
    for place, bar in enumerate(bars):
        y = place * ROW
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(_cut(bar.name, 22))}</text>')
        if bar.joules is None:
            drawn.append(f'<text x="{LEFT}" y="{y + 15}">–</text>')
            continue
        end = LEFT + bar.joules * scale
        drawn.append(f'<rect x="{LEFT}" y="{y + 4}" width="{bar.joules * scale:.1f}" height="14" fill="#0072b2"/>')
        half = (bar.half or 0.0) * scale
        if half >= 0.5:
            low = max(end - half, LEFT)
            drawn.append(f'<path d="M{low:.1f} {y + 11}H{end + half:.1f}" stroke="currentColor" stroke-width="2"/>')
        drawn.append(f'<text x="{end + half + 6:.1f}" y="{y + 15}">{_number(bar.joules)} J</text>')
    size = f'width="{LEFT + BAR + 90:.0f}" height="{len(bars) * ROW}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Energy in joules" '
        f'font-size="12" font-family="sans-serif" fill="currentColor">{"".join(drawn)}</svg>'
    )


def _joules(energy: Energy) -> str:
    return in_words(energy.joules, energy.uncertainty_j)


def _watts(joules: float | None, seconds: float | None) -> str:
    return _number(joules / seconds) if joules is not None and seconds else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _cut(text: str, limit: int = LONGEST) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
