"""Can these figures be true? Checks of a record against itself and against what its devices can draw.

Pure: nothing is corrected, and a finding says only what does not agree. Importers and `measure` store the codes as
flags; a page can ask again for sentences and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from llmjoules.records import stats
from llmjoules.records.devices import Device, device_named
from llmjoules.records.record import Failed, Phase, Published, Record, Total

SENSOR = 0.10  # a board's own sensor is off by 10 % at worst
AGREE = 0.01  # figures of one source that shall be the same but for rounding
SHORTEST_S = 0.5  # below it a counter that is renewed every 100 ms is too coarse to judge power
LEAST_BYTES = 1.0  # of a weight whose type is not named
SPARSE = re.compile(r"moe|mixture|mixtral|\d+x\d+b|-a\d+b", re.IGNORECASE)  # a token needs few of their weights
BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.0, "fp8": 1.0}
CODES = frozenset(
    (
        "power_above_limit", "power_below_idle", "phases_not_total", "parts_above_phase", "per_token_not_joules",
        "power_not_per_token", "rate_not_time", "rate_above_bandwidth", "tokens_above_limit", "tokens_above_generated",
        "tokens_outside_inference", "ends_before_it_begins",
    )
)  # fmt: skip
# What a wrong heading is wrong by, and the unit that was meant for the one that stands there.
SLIPS = {1e3: "a thousand times more", 1e-3: "a thousandth", 1e6: "a million times more", 1e-6: "a millionth"}


class Finding(Struct, frozen=True, kw_only=True):
    """code: what kind of contradiction; about: a component, phase or other part of the record; empty for all of it.

    numbers: what was compared, in J, W, s or tokens as their names say.
    """

    code: str
    about: str
    sentence: str
    numbers: dict[str, float]

    @property
    def flag(self) -> str:
        return f"{self.code}:{self.about}" if self.about else self.code


def findings(record: Record) -> tuple[Finding, ...]:
    """Everything in this record that cannot be, or that cannot be together."""
    return tuple(_all(record))


def flagged(record: Record) -> tuple[str, ...]:
    """The record's flags, with those of its findings added."""
    return tuple(dict.fromkeys((*record.flags, *(finding.flag for finding in findings(record)))))


def _all(record: Record) -> Iterator[Finding]:
    stretch = _stretch(record)
    for component, total in record.totals.items():
        yield from _power(record, stretch, component, total)
        yield from _sums(stretch, component, total)
    stated = record.figures.component if isinstance(record, Published) and record.figures is not None else None
    if stated is not None and stated not in record.totals:
        channels = tuple(c.id for meter in record.meters for c in meter.channels if c.component == stated)
        yield from _power(record, stretch, stated, Total(joules=None, source="measured", channels=channels))
    yield from _stated(record)
    yield from _tokens(record)
    yield from _times(record)


def _stretch(record: Record) -> Phase | None:
    """What the totals are over."""
    phase = stats.inference(record)
    if phase is None and isinstance(record, Published):
        phase = next((phase for phase in record.phases if phase.name == "job" and phase.duration_s > 0), None)
    return phase


def _power(record: Record, phase: Phase | None, component: str, total: Total) -> Iterator[Finding]:
    if total.joules is None or phase is None:
        power_w = stats.implied_power_w(record, component)
    else:
        power_w = total.joules / phase.duration_s if phase.duration_s >= SHORTEST_S else None
    if power_w is None:
        return
    slack_w = (total.uncertainty_j or 0.0) / phase.duration_s if phase is not None and phase.duration_s > 0 else 0.0
    devices = record.system.devices_used or len(total.channels) or 1
    known = _device(record) if component == "gpu" else None
    limit_w, idle_w = _limit_w(record, known, devices, component), _idle_w(record, known, devices, component, total)
    if limit_w is not None and power_w > limit_w * (1 + SENSOR) + slack_w:
        yield Finding(
            code="power_above_limit",
            about=component,
            sentence=f"{_plain(power_w)} W is above the {_plain(limit_w)} W that {_these(devices)} may draw"
            + _slip(power_w, idle_w, limit_w),
            numbers={"power_w": power_w, "limit_w": limit_w, "devices": devices},
        )
    elif idle_w is not None and power_w < idle_w * (1 - SENSOR) - slack_w:
        yield Finding(
            code="power_below_idle",
            about=component,
            sentence=f"{_plain(power_w)} W is below the {_plain(idle_w)} W that {_these(devices)} would draw when idle"
            + _slip(power_w, idle_w, limit_w),
            numbers={"power_w": power_w, "idle_w": idle_w, "devices": devices},
        )


def _device(record: Record) -> Device | None:
    found = record.system.accelerators
    return device_named(found[0].name) if found else None


def _limit_w(record: Record, known: Device | None, devices: int, component: str) -> float | None:
    limits = [accelerator.power_limit_w for accelerator in record.system.accelerators]
    if component == "gpu" and limits and all(limits) and len(limits) >= devices:
        return sum(sorted((limit or 0.0 for limit in limits), reverse=True)[:devices])
    return known.limit_w * devices if known is not None and known.limit_w is not None else None


def _idle_w(record: Record, known: Device | None, devices: int, component: str, total: Total) -> float | None:
    """As measured in this very run, else what is known of such devices."""
    idle = next((phase for phase in record.phases if phase.name == "idle" and phase.duration_s >= SHORTEST_S), None)
    measured = stats.joules_of(idle.energy, total.channels) if idle is not None else None
    if idle is not None and measured is not None:
        # what idles right after work is warm: half of it is a bound that no working device goes below
        return measured / idle.duration_s / 2
    return known.idle_w * devices if component == "gpu" and known is not None and known.idle_w is not None else None


def _these(devices: int) -> str:
    return "such a device" if devices == 1 else f"{devices} such devices"


def _slip(power_w: float, idle_w: float | None, limit_w: float | None) -> str:
    """Would another unit make it possible?"""
    if limit_w is None:
        return ""
    for factor, words in SLIPS.items():
        if (idle_w or limit_w / 100) * (1 - SENSOR) <= power_w * factor <= limit_w * (1 + SENSOR):
            return f"; {words}, {_plain(power_w * factor)} W, would be possible: another unit may be meant"
    return ""


def _sums(phase: Phase | None, component: str, total: Total) -> Iterator[Finding]:
    if phase is None or total.joules is None:
        return
    added = stats.joules_of(phase.energy, total.channels)
    if added is not None and _apart(added, total.joules, 1e-6, total.uncertainty_j):
        yield Finding(
            code="phases_not_total",
            about=component,
            sentence=f"the {phase.name} phase has {added:.6g} J, the total {total.joules:.6g} J",
            numbers={"phase_j": added, "total_j": total.joules},
        )
    if not phase.parts:
        return
    parts = [stats.joules_of(part.energy, total.channels) for part in phase.parts]
    known = [part for part in parts if part is not None]
    doubt_j = (total.uncertainty_j or 0.0) + sum(
        energy.uncertainty_j or 0.0
        for part in phase.parts
        for energy in part.energy
        if energy.channel in total.channels
    )
    if sum(known) > total.joules * (1 + AGREE) + doubt_j:
        yield Finding(
            code="parts_above_phase",
            about=component,
            sentence=f"the parts of {phase.name} add up to {sum(known):.6g} J, more than its {total.joules:.6g} J",
            numbers={"parts_j": sum(known), "total_j": total.joules},
        )


def _stated(record: Record) -> Iterator[Finding]:
    """Means that a source states, against each other and against its counts."""
    figures = record.figures if isinstance(record, Published) else None
    if figures is None:
        return
    about = figures.component
    if figures.j_per_token is not None and figures.j_per_request is not None and figures.output_tokens:
        product = figures.j_per_token * figures.output_tokens
        if _apart(product, figures.j_per_request, AGREE):
            yield Finding(
                code="per_token_not_joules",
                about=about,
                sentence=f"{figures.j_per_token:.4g} J/token times {figures.output_tokens:.4g} tokens is {product:.4g} "
                f"J, stated are {figures.j_per_request:.4g} J per request",
                numbers={"product_j": product, "stated_j": figures.j_per_request},
            )
    total, tokens = record.totals.get(about), stats.generated_tokens(record)
    if figures.j_per_token is not None and total is not None and total.joules is not None and tokens:
        product = figures.j_per_token * tokens
        if _apart(product, total.joules, AGREE):
            yield Finding(
                code="per_token_not_joules",
                about=about,
                sentence=f"{figures.j_per_token:.4g} J/token times {tokens} tokens is {product:.4g} J, the total "
                f"{total.joules:.4g} J",
                numbers={"product_j": product, "stated_j": total.joules},
            )
    if figures.power_w is not None and figures.j_per_token is not None and figures.tokens_per_s is not None:
        product = figures.j_per_token * figures.tokens_per_s
        if _apart(product, figures.power_w, AGREE):
            yield Finding(
                code="power_not_per_token",
                about=about,
                sentence=f"J/token times tokens/s is {product:.4g} W, stated are {figures.power_w:.4g} W",
                numbers={"product_w": product, "stated_w": figures.power_w},
            )
    seconds = stats.inference_s(record)
    if (
        figures.tokens_per_s is not None
        and tokens
        and seconds
        and _apart(figures.tokens_per_s, tokens / seconds, AGREE)
    ):
        yield Finding(
            code="rate_not_time",
            about="",
            sentence=f"{tokens} tokens in {seconds:.4g} s are {tokens / seconds:.4g} tokens/s, stated are "
            f"{figures.tokens_per_s:.4g}",
            numbers={"counted_per_s": tokens / seconds, "stated_per_s": figures.tokens_per_s},
        )


def _tokens(record: Record) -> Iterator[Finding]:
    work, tokens = record.workload, record.tokens
    if tokens is not None and work.new_tokens and work.batch_size:
        most = work.new_tokens * work.batch_size
        if tokens.generated > most:
            yield Finding(
                code="tokens_above_limit",
                about="",
                sentence=f"{tokens.generated} output tokens are more than the {most} asked for",
                numbers={"generated_tokens": tokens.generated, "limit_tokens": most},
            )
    if tokens is not None and tokens.useful > tokens.generated:
        yield Finding(
            code="tokens_above_generated",
            about="",
            sentence=f"{tokens.useful} useful tokens are more than the {tokens.generated} generated",
            numbers={"useful_tokens": tokens.useful, "generated_tokens": tokens.generated},
        )
    yield from _bandwidth(record)


def _bandwidth(record: Record) -> Iterator[Finding]:
    """Each token of a single row needs every weight once, so memory bandwidth bounds the rate."""
    device, model = _device(record), record.model
    if isinstance(record, Failed) or record.workload.batch_size != 1 or not model.parameters:
        return
    if device is None or device.bandwidth_b_per_s is None or SPARSE.search(f"{model.name} {model.architecture}"):
        return
    rate, bytes_each = stats.tokens_per_s(record), BYTES.get(model.dtype or "", LEAST_BYTES)
    if rate is None:
        return
    most = device.bandwidth_b_per_s * (record.system.devices_used or 1) / (model.parameters * bytes_each)
    if rate > most * (1 + SENSOR):
        yield Finding(
            code="rate_above_bandwidth",
            about="",
            sentence=f"{rate:.4g} tokens/s of a single row would read the weights faster than the memory can give them "
            f"(at most {most:.3g} tokens/s): the number of tokens is too high, or it was not a single row",
            numbers={"rate_per_s": rate, "most_per_s": most},
        )


def _times(record: Record) -> Iterator[Finding]:
    for phase in record.phases:
        if phase.end_s < phase.start_s:
            yield Finding(
                code="ends_before_it_begins",
                about=phase.name,
                sentence=f"{phase.name} ends {phase.start_s - phase.end_s:.4g} s before it begins",
                numbers={"start_s": phase.start_s, "end_s": phase.end_s},
            )
    times = record.tokens.times_s if record.tokens is not None else ()
    inference = stats.inference(record) if times else None
    if inference is not None and not inference.start_s <= min(times) <= max(times) <= inference.end_s:
        yield Finding(
            code="tokens_outside_inference",
            about="",
            sentence="tokens are said to be ready before the inference begins or after it ends",
            numbers={"first_s": min(times), "last_s": max(times)},
        )


def _plain(value: float) -> str:
    """Four digits, and no exponent where there need be none."""
    return f"{value:.0f}" if 9999.5 <= abs(value) < 1e9 else f"{value:.4g}"


def _apart(a: float, b: float, relative: float, absolute: float | None = None) -> bool:
    return abs(a - b) > relative * max(abs(a), abs(b)) + (absolute or 0.0)
