"""`llmjoules doctor`: watch every meter here for some seconds, idle and under load, and say what is to be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec

from llmjoules.meters import guard, libraries, stretches
from llmjoules.meters import step_response as arithmetic
from llmjoules.meters.choice import probe
from llmjoules.meters.doctor_report import ChannelReport, Compared, Lag, MeterReport, Report
from llmjoules.meters.polling import Poller
from llmjoules.meters.registry import Registry
from llmjoules.meters.step_response import LATE_S, Line, milliseconds, upwards
from llmjoules.meters.stretches import Loads, Measured, Watched
from llmjoules.meters.types import Meter, Unavailable
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Channel

Lines = Mapping[str, tuple[Channel, Line]]  # of all meters, by the id in a record
Probed = tuple[Meter, tuple[Channel, ...]]
SHORTEST_S, LONGEST_S = 1.0, 60.0


def examine(
    meters: Sequence[str] = ("auto",),
    *,
    plugins: Sequence[Path] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seconds: float = 3.0,
    load: Literal["auto", "none"] = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Takes about three times `seconds`. meters: `auto` for every registered one, or names.

    Raises LlmjoulesError for a name, an option or a plug-in file that does not exist; what a meter does is reported.
    """
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise LlmjoulesError(f"Cannot watch for {seconds:g} s.", "", f"Take {SHORTEST_S:g} to {LONGEST_S:g} seconds.")
    options, named = options or {}, list(meters) != ["auto"]
    progress("Looking for meters")
    registry = Registry(plugins)
    names = list(dict.fromkeys(meters)) if named else list(registry.entries)
    looked = [_look(registry, name, options.get(name), named=named) for name in names]
    probed = [found for _, found in looked if found is not None]
    gpus, torch = _gpus(progress)
    with ExitStack() as stack:
        progress("Preparing a load")
        loads = stretches.prepare({c.component for _, channels in probed for c in channels}, load, stack)
        progress(f"1/3 Reading as fast as is sensible, with a step of load in the middle: {seconds:g} s")
        watched = stretches.watch(probed, loads, seconds if probed else 0.0)
        progress(f"2/3 Measuring as usual, idle, and then 3/3 under load: {2 * seconds:g} s")
        measured = stretches.measure(watched.answering(), plugins, options, loads, seconds)
    lines = {
        ids[channel.id]: (channel, _line(poller, channel))
        for name, poller in watched.pollers.items()
        if (ids := _ids(name, poller, measured))
        for channel in poller.channels.values()
    }
    reports = tuple(_meter_report(report, watched, measured, loads, lines) for report, _ in looked)
    compared = tuple(_compare(measured))
    attention = tuple(_attention(reports, compared, gpus, torch, named=named))
    return Report(
        ok=not attention,
        seconds=seconds,
        libraries=libraries.versions(),
        gpus_of_nvml=gpus,
        torch=torch,
        loads=loads.described,
        meters=reports,
        agreement=compared,
        cpu_percent=measured.cpu_percent,
        faults=tuple(dict.fromkeys([*registry.faults, *watched.faults, *measured.faults])),
        attention=attention,
    )


def _look(
    registry: Registry, name: str, options: Mapping[str, Any] | None, *, named: bool
) -> tuple[MeterReport, Probed | None]:
    """A meter that is only simulated is tested where it is named: it tells nothing of this machine."""
    entry = registry.entries.get(name)
    summary, origin = (entry.meter.summary, entry.origin) if entry is not None else ("", "")
    report = MeterReport(name=name, origin=origin, summary=summary, usable=False)
    replaced = msgspec.structs.replace
    try:
        meter = registry.make(name, options)
        channels = probe(meter)
    except Unavailable as error:
        return replaced(report, what=error.what, why=error.why, fix=error.fix), None
    except guard.PluginFault as error:
        return replaced(report, what=f"{error.fault.why}.", fix="Leave it out, or mend the plug-in."), None
    if not named and all(channel.source == "simulated" for channel in channels):
        why = "It is simulated, and tells nothing of this machine."
        return replaced(report, usable=True, what="Not tested.", why=why, fix=f"Name it: --meter {name}"), None
    return replaced(report, usable=True, tested=True), (meter, channels)


def _gpus(progress: Callable[[str], None]) -> tuple[tuple[str, ...], libraries.Torch]:
    gpus = libraries.gpus_of_nvml()
    if not gpus:
        return gpus, libraries.Torch(None, why="not asked: NVML sees no GPU")
    progress("Asking torch for its GPUs")
    return gpus, libraries.ask_torch()


# ---- what the readings of one meter tell ----


def _meter_report(report: MeterReport, watched: Watched, measured: Measured, loads: Loads, lines: Lines) -> MeterReport:
    poller = watched.pollers.get(report.name)
    if poller is None:
        return report
    ids = _ids(report.name, poller, measured)
    latencies_us = [latency * 1e6 for latency in poller.latencies_s]
    return msgspec.structs.replace(
        report,
        channels=tuple(
            _channel_report(poller, channel, lines, watched, loads, ids[name])
            for name, channel in poller.channels.items()
        ),
        what=poller.problem and f"A reading failed: {poller.problem}.",
        read_median_us=arithmetic.quantile(latencies_us, 0.5) if latencies_us else None,
        read_p99_us=arithmetic.quantile(latencies_us, 0.99) if latencies_us else None,
        cpu_percent=measured.cpu_percent_of.get(report.name),
    )


def _ids(meter: str, poller: Poller, measured: Measured) -> dict[str, str]:
    """By a meter's own id, that in a record, where no two meters share one: both list channels in the same order."""
    recorded = [channel.id for name, channel in measured.channels if name == meter]
    return dict(zip(poller.channels, recorded or [f"{own}@{meter}" for own in poller.channels], strict=True))


def _channel_report(
    poller: Poller, channel: Channel, lines: Lines, watched: Watched, loads: Loads, known_as: str
) -> ChannelReport:
    readings = poller.total(channel) if channel.unit == "J" else poller.readings(channel.id)
    interval = channel.kind == "interval"
    tick = arithmetic.tick(readings, gauge=channel.unit == "W", read_every_s=0.0 if interval else None)
    resolution = arithmetic.resolution(readings.values)
    response, note = None, None
    if loads.has(channel.component):
        response = arithmetic.step_response(lines[known_as][1], watched.on_s, watched.off_s)
        note = None if response is not None else "the load's step does not show"
    else:
        note = loads.why_not(channel.component)
    lag = _lag(channel, known_as, lines) if response is None else None
    notes = [arithmetic.tick_note(tick, channel), arithmetic.grid_note(resolution, channel)]
    believe_above_s = None
    if response is not None and response.lag_s >= LATE_S:
        believe_above_s = upwards(response.believe_above_s)
        notes.append(f"shows 90 % of a step only after {milliseconds(response.lag_s)}")
    elif lag is not None and lag.lag_s >= LATE_S / 2:  # a mean of the last second is half a second late
        believe_above_s = upwards(2 * lag.lag_s)
        notes.append(f"is {milliseconds(lag.lag_s)} behind {lag.behind}")
    if believe_above_s is not None:
        notes.append(f"windows below {believe_above_s:g} s are not to be believed on this channel")
    if not readings.t_s:
        notes.append(f"gave no reading: {poller.problem or 'none came in time; give it more --seconds'}")
    return ChannelReport(
        id=known_as,
        channel=channel,
        readings=len(readings.t_s),
        tick=tick,
        smallest_step=resolution and resolution.smallest_step,
        grid=resolution and resolution.grid,
        response=response,
        response_note=note,
        lag=lag,
        believe_above_s=believe_above_s,
        notes=tuple(note for note in notes if note is not None),
    )


def _line(poller: Poller, channel: Channel) -> Line:
    if channel.unit == "W":
        return arithmetic.power_line(poller.readings(channel.id), gauge=True)
    return arithmetic.power_line(poller.total(channel), gauge=False, exact=channel.kind == "interval")


def _lag(channel: Channel, known_as: str, lines: Lines) -> Lag | None:
    """Against the other channels of the same device, of any meter: whatever it was that made their power change."""
    found = []
    for name, (other, line) in lines.items():
        if name != known_as and _device(other) == _device(channel):
            behind = arithmetic.lag_behind(lines[known_as][1], line)
            if behind is not None:
                found.append(Lag(behind=name, lag_s=behind[0], correlation=behind[1]))
    return max(found, key=lambda lag: lag.lag_s, default=None)


# ---- what they tell of each other ----


def _device(channel: Channel) -> tuple[str, str, str]:
    """Channels with the same device, component and extent measure the same thing."""
    return channel.uuid or channel.id.partition("@")[0], channel.component, channel.extent


def _compare(measured: Measured) -> Iterator[Compared]:
    for during, energies in measured.energies.items():
        pairs = combinations(zip(measured.channels, energies, strict=True), 2)
        for ((_, one), first), ((_, two), second) in pairs:
            if _device(one) != _device(two):
                continue
            verdict = reason = None
            if first.joules is not None and second.joules is not None:
                verdict = arithmetic.agreement(
                    (first.joules, first.uncertainty_j or 0.0, one.gain or 0.0),
                    (second.joules, second.uncertainty_j or 0.0, two.gain or 0.0),
                    same_source=one.source == two.source,
                )
            else:
                silent = first if first.joules is None else second
                reason = f"{silent.channel}: {silent.reason}"
            yield Compared(
                during=during,
                first=first.channel,
                second=second.channel,
                first_j=first.joules,
                second_j=second.joules,
                first_uncertainty_j=first.uncertainty_j,
                second_uncertainty_j=second.uncertainty_j,
                verdict=verdict,
                reason=reason,
                measured="model" not in (one.kind, two.kind),
            )


def _attention(
    reports: Sequence[MeterReport],
    compared: Sequence[Compared],
    gpus: tuple[str, ...],
    torch: libraries.Torch,
    *,
    named: bool,
) -> Iterator[str]:
    """Why all is not well: nothing measures, or something contradicts what is stated."""
    tested = [channel for report in reports for channel in report.channels]
    if not any(channel.readings and channel.channel.kind != "model" for channel in tested):
        modelled = any(channel.readings for channel in tested)
        yield "No meter can measure here" + ("; energy would be modelled, not measured." if modelled else ".")
    for report in reports:
        if named and not report.usable:
            yield " ".join(filter(None, (f"{report.name}:", report.what, report.why, report.fix)))
    missed, old = libraries.torch_misses_gpus(gpus, torch), libraries.old_pynvml()
    yield from (f"{sentence}." for sentence in (missed, old) if sentence is not None)
    for channel in tested:
        if channel.believe_above_s is not None and channel.believe_above_s > 1.5 * channel.channel.period_s:
            yield f"{channel.id} {', '.join(channel.notes[-2:])}."
    for pair in compared:
        verdict = pair.verdict
        if verdict is not None and pair.measured and not verdict.within_gains:
            yield (
                f"{pair.first} and {pair.second} contradict each other ({pair.during}): "
                f"{pair.first_j:.4g} J and {pair.second_j:.4g} J, {verdict.allowed_j:.3g} J apart at most."
            )
