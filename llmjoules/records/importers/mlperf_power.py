"""MLPerf's power-meter log `spl.txt`: the whole system at the wall, once a second, as key–value pairs.

The scored window is from power_begin to power_end of the load generator's `mlperf_log_detail.txt`; that file and
`mlperf_log_summary.txt` are read where they lie beside the log. By MLPerf's rule the energy is the mean of the samples
in the window times its length. The mark in each line covers the idle ends too, and its label has another clock zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmjoules.records.importers.building import Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.power_trace import Trapezoid
from llmjoules.records.importers.reading import TO_WATTS, Energies, NotANumber, SourceFile, not_later, number
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Figures, MeterInfo, Phase, Workload

TOOL = "MLPerf power log"
WALL = Channel(id="wall", component="wall", kind="power", unit="W", period_s=1.0, resolution=0.1)
TRAPEZOID = msgspec.structs.replace(
    WALL,
    id="wall@trapezoid",
    note="the same samples by another rule: up to a second at each end of the window is missing",
)
TIME = "%m-%d-%Y %H:%M:%S.%f"
NAMED = re.compile(r"(.+?)-(.+)-(offline|server|singlestream|multistream|interactive)-run_\d+-spl", re.IGNORECASE)
COMMA = re.compile(r",(?:Watts|Volts|Amps|PF),[-\d]+,\d")
OFF_BY_W = 0.15  # rounding of three channels against their sum


class MlperfOptions(Options, frozen=True, kw_only=True):
    """begin, end: of the scored window, as the log writes times, where no detail log lies beside it."""

    begin: str | None = None
    end: str | None = None


class MlperfPower(Importer):
    name = "mlperf-power"
    summary = "MLPerf's power-meter logs (spl.txt)"
    Options = MlperfOptions

    def matches(self, file: SourceFile) -> bool:
        first = "".join(file.lines_at_head(1))
        return re.match(r"Time,\d\d-\d\d-\d{4} [\d:.]+,Watts,", first) is not None

    def read(self, file: SourceFile, options: MlperfOptions, units: Units) -> Iterator[Item]:
        energies = Energies(units)
        factor = energies.factor("Watts", "W", TO_WATTS)
        window = _window(file, options)
        whole, inside, marks, off, channels = Trapezoid("wall"), Trapezoid(TRAPEZOID.id), set(), 0, 0
        begins = 0
        for line, text in file.lines():
            if not text.strip():
                continue
            try:
                at_s, power_w, parts_w, mark = _parse(text)
            except NotANumber as error:
                yield Bad(line, str(error))
                continue
            if not whole.add(at_s, power_w * factor):
                yield not_later(line, "Time")
                continue
            begins = begins or line
            marks.add(mark)
            channels = max(channels, len(parts_w))
            off += bool(parts_w) and abs(sum(parts_w) - power_w) > OFF_BY_W
            if window is not None and window[0] <= at_s <= window[1]:
                inside.add(at_s, power_w * factor)
        if whole.samples < 2:
            yield Note("the log has fewer than two samples: there is no energy in it")
            return
        if off:
            yield Note(f"in {off} samples the channels do not add up to the total: the total was used")
        yield Unmapped("Volts, Amps, PF: means over the channels")
        yield from [Unmapped("watts of single channels, parts of the total", channels)] if channels else []
        yield Note(
            f"marked {', '.join(sorted(marks))[:80]}: from idle to idle, and in another clock zone than the rows"
        )
        yield from _record(file, options, energies, whole, window if inside.samples else None, inside, begins)


def _parse(text: str) -> tuple[float, float, list[float], str]:
    """Time, total watts, watts of each channel, mark. Raises NotANumber."""
    fields = text.split(",")
    if len(fields) < 4 or fields[0] != "Time" or fields[2] != "Watts":
        raise NotANumber("not of the form Time,…,Watts,…: was the line cut, or is it of another log?")
    try:
        at_s = datetime.strptime(fields[1], TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise NotANumber(f"column Time: {fields[1][:40]!r} is no time like 07-17-2024 07:02:47.866") from None
    if COMMA.search(text):
        raise NotANumber("a number has a decimal comma, which here parts fields; write a point")
    parts = [_watts(fields[at + 2]) for at in range(4, len(fields) - 2) if re.fullmatch(r"Ch\d+", fields[at])]
    if "Mark" in fields[-1:] or (len(fields) > 4 and "Mark" not in fields):
        raise NotANumber("the line was cut before its mark")
    return at_s, _watts(fields[3]), parts, fields[fields.index("Mark") + 1] if "Mark" in fields else ""


def _watts(text: str) -> float:
    try:
        return number(text)
    except NotANumber as error:
        raise NotANumber(f"column Watts: {error}") from None


def _window(file: SourceFile, options: MlperfOptions) -> tuple[float, float] | None:
    begin, end = options.begin, options.end
    if not (begin and end):
        text = _beside(file, "mlperf_log_detail.txt")
        found = dict(re.findall(r'"key": "(power_begin|power_end)", "value": "([^"]+)"', text))
        begin, end = found.get("power_begin"), found.get("power_end")
    if not (begin and end):
        return None
    try:
        first, last = (datetime.strptime(text, TIME).replace(tzinfo=UTC).timestamp() for text in (begin, end))
    except ValueError:
        return None
    return (first, last) if last > first else None


def _beside(file: SourceFile, name: str) -> str:
    prefix = re.sub(r"spl\.txt(\.gz)?$", "", file.name)
    try:
        return file.path.with_name(f"{prefix}{name}").read_text("utf-8", "replace")
    except OSError:
        return ""


def _record(
    file: SourceFile, options: MlperfOptions, energies: Energies, whole: Trapezoid,
    window: tuple[float, float] | None, inside: Trapezoid, begins: int,
) -> Iterator[Item]:  # fmt: skip
    publisher, zero_s = Publisher(file, TOOL, options), whole.first_s or 0.0
    named = NAMED.fullmatch(file.stem)
    system, model = (named[1], named[2]) if named else _from_folders(file)
    phases = [Phase(name="job", start_s=0.0, end_s=whole.last_s - zero_s, energy=(whole.energy(),))]
    summary = _summary(_beside(file, "mlperf_log_summary.txt"))
    figures, flags = None, []
    if window is not None:
        mean_w, seconds = inside.sum_w / inside.samples, window[1] - window[0]
        method = f"mean of {inside.samples} samples times the scored window"
        phases.append(
            Phase(
                name="inference",
                start_s=window[0] - zero_s,
                end_s=window[1] - zero_s,
                energy=(joules("wall", mean_w * seconds, method=method), inside.energy()),
            )
        )
        samples, tokens = summary.get("Samples per second"), summary.get("Tokens per second")
        inferred = summary.get("Tokens per second (inferred)")
        rate = tokens or inferred
        flags += ["tokens_assumed"] if inferred and not tokens else []
        figures = Figures(
            component="wall",
            power_w=mean_w,
            requests_per_s=samples,
            j_per_request=mean_w / samples if samples else None,
            tokens_per_s=rate,
            j_per_token=mean_w / rate if rate else None,
        )
    else:
        yield Note(
            "the scored window is not known: put mlperf_log_detail.txt beside the log, or say --set begin=… end=…; "
            "until then the energy is from mark to mark, idle ends included"
        )
    yield publisher.record(
        line=begins,
        model=publisher.model(model),
        system=publisher.system(system, None, None, device="cuda"),
        workload=Workload(),
        meters=(MeterInfo(name="ptdaemon", channels=(WALL, TRAPEZOID) if window is not None else (WALL,)),),
        phases=tuple(phases),
        figures=figures,
        flags=flags,
        units=energies.stated,
        corrections=energies.corrections,
        setting=file.stem,
    )


def _from_folders(file: SourceFile) -> tuple[str | None, str | None]:
    """`…/results/<system>/<model>/<scenario>/performance/run_1/spl.txt`."""
    parts = file.path.parts
    if "performance" in parts:
        at = len(parts) - 1 - parts[::-1].index("performance")
        if at >= 3:
            return parts[at - 3], parts[at - 2]
    return None, None


def _summary(text: str) -> dict[str, float]:
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        try:
            found[key.strip()] = number(value) if colon else None
        except NotANumber:
            continue
    return {key: value for key, value in found.items() if value is not None}


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [MlperfPower()]
