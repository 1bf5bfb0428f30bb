"""Energy for a model card of the Hugging Face Hub: metadata in YAML and a table in Markdown.

The Hub's metadata has a place for evaluation results (`model-index`: huggingface.co/docs/hub/model-cards), and one for
CO2 (`co2_eq_emissions`), which is left out: a record does not know where its electricity came from.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from llmjoules.records import stats
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Failed, Published, Record
from llmjoules.records.rounding import in_words
from llmjoules.records.stats import Estimate, estimate

_SOURCES = {"measured": "measured", "modelled": "ESTIMATED (a model, not a measurement)", "simulated": "SIMULATED"}
_COMPONENTS = {"gpu": "GPU", "cpu": "CPU", "dram": "DRAM", "ane": "neural engine"}


class _Key(NamedTuple):
    """What the runs of a row have in common, in words. stated: the figure is a mean that its source states."""

    system: str
    units: str
    work: str
    component: str
    source: str
    weights: str
    method: str
    origin: str
    stated: bool
    cell: str


class _Values(NamedTuple):
    """By load."""

    j_per_token: dict[str, list[float]]
    tokens_per_s: dict[str, list[float]]
    gains: set[float | None]
    flags: set[str]


def write_card(records: Iterable[Record], stream: BinaryIO) -> None:
    """One row for each setting and component of the one model in `records`, whose figures alone are kept.

    Raises LlmjoulesError where there are several models, or none with energy.
    """
    models: set[str] = set()
    groups: dict[_Key, _Values] = {}
    for record in records:
        models.add(record.model.name)
        if len(models) > 1:
            raise LlmjoulesError(
                f"A model card is of one model, and here are {' and '.join(sorted(models))}.",
                "The results hold several.",
                "Name it: --model NAME",
            )
        if not isinstance(record, Failed):
            _add(record, groups)
    if not groups:
        raise LlmjoulesError("No energy for a model card.", "No record of these has J/token.", "See llmjoules meters")
    for line in _lines(models.pop(), dict(sorted(groups.items()))):
        stream.write(f"{line}\n".encode("utf-8", "replace"))


def _add(record: Record, groups: dict[_Key, _Values]) -> None:
    components = list(record.totals)
    if isinstance(record, Published) and record.figures is not None:
        components.append(record.figures.component)
    for component in dict.fromkeys(components):
        value = stats.joules_per_token(record, component)
        if value is None:
            continue
        channels = [(m.name, c) for m in record.meters for c in m.channels if c.component == component]
        channels = [(meter, channel) for meter, channel in channels if "@" not in channel.id]  # no second opinions
        total = record.totals.get(component)
        key = _Key(
            system=record.system.name,
            units=_units(record),
            work=_work(record),
            component=component,
            source=total.source if total is not None else next((c.source for _, c in channels), "measured"),
            weights=record.model.weights or "",
            method=", ".join(sorted({f"{meter}, {channel.kind}" for meter, channel in channels})),
            origin=_origin(record),
            stated=total is None or total.joules is None,
            cell=record.cell or record.id,
        )
        group = groups.setdefault(key, _Values({}, {}, set(), set()))
        load = record.load.id if record.load is not None else record.id
        group.j_per_token.setdefault(load, []).append(value)
        speed = stats.tokens_per_s(record)
        if speed is not None:
            group.tokens_per_s.setdefault(load, []).append(speed)
        group.flags.update(record.flags)
        group.gains.update(channel.gain for _, channel in channels)


def _origin(record: Record) -> str:
    """Where published figures are from; repeats of one file share it."""
    if not isinstance(record, Published):
        return ""
    return record.source if record.origin is None else f"{record.origin.tool}, {record.origin.file}"


def _units(record: Record) -> str:
    system = record.system
    if system.accelerators:
        return f"{system.devices_used or len(system.accelerators)} x {system.accelerators[0].name}"
    if system.device == "cpu" and system.threads:
        return "1 thread" if system.threads == 1 else f"{system.threads} threads"
    return f"{system.devices_used} devices" if system.devices_used else ""


def _work(record: Record) -> str:
    work = record.workload
    said = [
        f"{work.prompt_tokens} prompt tokens" if work.prompt_tokens else "",
        f"{work.new_tokens} new tokens" if work.new_tokens else "",
        f"batch {work.batch_size}" if work.batch_size else "",
        work.decoding or "",
        record.model.dtype or "",
    ]
    return ", ".join(filter(None, said))


def _lines(model: str, groups: dict[_Key, _Values]) -> Iterable[str]:
    yield "---"
    yield from _metadata(model, groups)
    yield "---"
    yield ""
    yield "## Energy of inference"
    yield ""
    if any(key.source != "measured" for key in groups):
        yield "Rows that say ESTIMATED or SIMULATED are no measurements and must not be ranked with any."
        yield ""
    yield "| System | Work | Component | J per output token | tokens/s | How | Runs (loads) |"
    yield "|---|---|---|---:|---:|---|---:|"
    for key, values in groups.items():
        energy = estimate(values.j_per_token)
        speed = _interval(estimate(values.tokens_per_s)) if values.tokens_per_s else "–"
        system = ", ".join(filter(None, (key.system, key.units)))
        count = "a stated mean" if key.stated else f"{energy.runs} ({energy.loads})"
        cells = [system, key.work, _component(key), _interval(energy), speed, _how(key, values), count]
        yield f"| {' | '.join(_markdown(cell) for cell in cells)} |"
    yield ""
    yield (
        "Energy of the named component alone, over the whole inference (prefill and decode), divided by the output "
        "tokens computed. ± is the 95 % interval of the mean: over loads (fresh processes) where there are two or "
        "more, else over the runs of one process; one run has none. The gain is what the channel itself may be off "
        "by in every run alike, and comes on top. Components are different quantities: never add them up or compare "
        "one with another. No CO2 is given: where the electricity came from is not in the records."
    )
    yield ""
    yield "Made by llmjoules: `llmjoules export RESULTS --format model-card`."


def _metadata(model: str, groups: dict[_Key, _Values]) -> Iterable[str]:
    """The Hub takes results without their labels, so only measured energy of real weights stands here."""
    fit = {
        key: values
        for key, values in groups.items()
        if key.source == "measured" and key.weights != "dummy" and not any(map(_disputed, values.flags))
    }
    yield "tags:"
    yield "- energy"
    yield "- llmjoules"
    if not fit:
        yield "# No model-index: none of the figures below is measured energy of an inference with real weights."
        return
    yield "model-index:"
    yield f"- name: {_yaml(model)}"
    yield "  results:"
    for key, values in fit.items():
        energy = estimate(values.j_per_token)
        where = ", ".join(filter(None, (key.system, key.units)))
        yield "  - task:"
        yield "      type: text-generation"
        yield "    dataset:"
        yield "      type: llmjoules-workload"
        yield f"      name: {_yaml(key.work or 'not stated')}"
        yield "    metrics:"
        yield "    - type: energy_per_output_token_joules"
        yield f"      value: {energy.mean!r}"
        yield f"      name: {_yaml(f'{_component(key)} energy per output token, in joules, on {where}')}"
        yield "      args:"
        yield f"        component: {_yaml(key.component)}"
        yield f"        system: {_yaml(where)}"
        yield f"        method: {_yaml(_how(key, values))}"
        yield f"        interval_95_half_width: {'null' if energy.half_width is None else repr(energy.half_width)}"
        yield f"        interval_over: {_yaml(energy.basis)}"
        yield f"        runs: {energy.runs}"
        yield f"        loads: {energy.loads}"


def _disputed(flag: str) -> bool:
    """The figure is not that of the inference, as the record itself says."""
    return flag.partition(":")[0] == "not_as_headed"


def _component(key: _Key) -> str:
    return _COMPONENTS.get(key.component, key.component)


def _how(key: _Key, values: _Values) -> str:
    gains = values.gains
    known = max((gain for gain in gains if gain is not None), default=None)
    said = [
        _SOURCES.get(key.source, key.source),
        key.method,
        "gain not known" if known is None or None in gains else f"gain ± {known * 100:.3g} %",
        "dummy weights" if key.weights == "dummy" else "",
        f"published: {key.origin}" if key.origin else "",
        f"flags: {', '.join(sorted(values.flags))}" if values.flags else "",
    ]
    return "; ".join(filter(None, said))


def _interval(value: Estimate) -> str:
    return in_words(value.mean, value.half_width)


def _plain(text: str) -> str:
    """On one line, without characters that hide, or that neither YAML nor a page can hold."""
    line = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" else c for c in line)


def _yaml(text: str) -> str:
    """A JSON string of printable characters is a YAML string."""
    return json.dumps(_plain(text), ensure_ascii=False)


def _markdown(text: str) -> str:
    """As plain text: nothing in a name becomes a tag, a link, a mark or the end of a cell."""
    entities = _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#!|~$])", r"\\\1", entities)
