"""A record is read back as it was written, and the published schema says the same as the code."""

from __future__ import annotations

import json
import string
from functools import cache
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llmjoules.records import record as r
from llmjoules.records.record import SCHEMA, Failed, Figures, Published, Record, Run, decode, encode, json_schema
from tests.builders import make_run

number = st.floats(allow_nan=False, allow_infinity=False)
not_negative = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
count = st.integers(0, 2**53)
name = st.text(min_size=1, max_size=20)
optional_name = st.none() | name
choice = lambda kind: st.sampled_from(get_args(kind))  # noqa: E731
few = lambda values: st.lists(values, max_size=3).map(tuple)  # noqa: E731

channels = st.builds(
    r.Channel,
    id=name,
    component=choice(r.Component),
    kind=choice(r.ChannelKind),
    unit=st.sampled_from("JW"),
    extent=choice(r.Extent),
    source=choice(r.Source),
    period_s=not_negative,
    resolution=not_negative,
    gain=st.none() | not_negative,
    wraps_at_j=st.none() | st.floats(min_value=1e-9, max_value=1e12),
    contains=few(name),
    uuid=optional_name,
    pci=optional_name,
    note=optional_name,
)
options = st.dictionaries(
    name, st.none() | st.booleans() | count | number | name | st.lists(number, max_size=3), max_size=3
)
meters = st.builds(r.MeterInfo, name=name, channels=few(channels), options=options)
energies = st.builds(
    r.Energy,
    channel=name,
    joules=st.none() | not_negative,
    uncertainty_j=st.none() | not_negative,
    method=optional_name,
    reason=optional_name,
)
parts = st.builds(
    r.Part,
    name=st.sampled_from(["prefill", "decode", "detokenize"]),
    start_s=number,
    end_s=number,
    energy=few(energies),
)
phases = st.builds(
    r.Phase, name=choice(r.PhaseName), start_s=number, end_s=number, energy=few(energies), parts=few(parts)
)
tokens = st.builds(r.Tokens, prompt=count, generated=count, useful=count, times_s=few(number))
models = st.builds(
    r.Model,
    name=name,
    architecture=optional_name,
    parameters=st.none() | count,
    dtype=optional_name,
    weights=st.sampled_from([None, "real", "dummy"]),
    weights_mapped=st.none() | st.booleans(),
)
systems = st.builds(
    r.System,
    name=name,
    memory_bytes=st.none() | count,
    accelerators=few(st.builds(r.Accelerator, name=name, power_limit_w=st.none() | not_negative)),
    device_map=st.none() | st.dictionaries(name, name, max_size=3),
    threads=st.none() | count,
)
workloads = st.builds(
    r.Workload,
    prompt_tokens=st.none() | count,
    batch_size=st.none() | count,
    stop=st.sampled_from([None, "new-tokens", "end-of-sequence"]),
)
totals = st.dictionaries(
    name,
    st.builds(
        r.Total, joules=st.none() | not_negative, source=choice(r.Source), channels=few(name), reason=optional_name
    ),
    max_size=2,
)
traces = st.builds(
    r.Trace,
    edges_s=few(number),
    channels=st.dictionaries(name, st.builds(r.TraceLine, *[few(st.none() | number) for _ in range(3)]), max_size=2),
)
base: dict[str, Any] = {
    "id": name,
    "schema": st.just(SCHEMA),
    "started_at": optional_name,
    "model": models,
    "system": systems,
    "workload": workloads,
    "meters": few(meters),
    "totals": totals,
    "flags": few(name),
}
executed: dict[str, Any] = {
    **base,
    "study": optional_name,
    "cell": st.text(max_size=12),
    "class_": st.text(max_size=12),
    "repeat": count,
    "load": st.builds(r.Load, id=name, first=st.booleans()),
    "clock": st.builds(r.Clock, unix_s=number, monotonic_s=number),
    "software": st.dictionaries(name, optional_name, max_size=3),
    "phases": few(phases),
    "trace": st.just(msgspec.UNSET) | traces.map(lambda trace: msgspec.Raw(msgspec.json.encode(trace))),
    "command": optional_name,
}
records = st.one_of(
    st.builds(Run, **executed, tokens=tokens),
    st.builds(
        Failed, **executed, error=st.builds(r.Error, phase=optional_name, message=st.text()), tokens=st.none() | tokens
    ),
    st.builds(Published, **base, source=name, tokens=st.none() | tokens, phases=few(phases)),
)


@cache
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(json_schema())
    return Draft202012Validator(json_schema())


def as_json(record: Record) -> dict[str, Any]:
    return json.loads(encode(record))


@given(records)
@settings(max_examples=200)
def test_what_is_encoded_decodes_to_the_same_record_and_keeps_the_schema(record: Record) -> None:
    line = encode(record)
    again = decode(line)
    assert again == record
    assert type(again) is type(record)
    assert encode(again) == line
    assert b"\n" not in line
    validator().validate(json.loads(line))


def test_every_kind_of_the_contract_is_one_line_that_names_its_kind_and_schema() -> None:
    run = make_run()
    fields = {key: getattr(run, key) for key in Run.__struct_fields__ if key != "tokens"}
    failed = Failed(**fields, error=r.Error(phase="model", message="out of memory"))
    published = Published(id="1", schema=SCHEMA, model=run.model, system=run.system, source="doi:10.1000/1")
    for record, kind in ((run, "run"), (failed, "failed"), (published, "published")):
        validator().validate(as_json(record))
        assert decode(encode(record)) == record
        assert (as_json(record)["kind"], as_json(record)["schema"]) == (kind, "llmjoules/1")


def test_the_keys_of_a_run_are_those_of_the_contract() -> None:
    run = as_json(make_run())
    assert set(run) >= {
        "schema", "kind", "id", "study", "cell", "class", "repeat", "load", "started_at", "clock", "model", "workload",
        "system", "software", "meters", "phases", "totals", "tokens", "trace", "flags",
    }  # fmt: skip
    assert set(run["load"]) == {"id", "first"}
    assert set(run["clock"]) == {"unix_s", "monotonic_s"}
    assert set(run["model"]) >= {"name", "architecture", "parameters", "dtype", "weights", "revision"}
    assert set(run["workload"]) >= {"prompt_tokens", "new_tokens", "batch_size", "prompt_sha256", "decoding"}
    assert set(run["system"]) >= {
        "name", "cpu", "memory_bytes", "os", "accelerators", "devices_visible", "devices_used", "strategy", "threads",
    }  # fmt: skip
    assert set(run["tokens"]) == {"prompt", "generated", "useful", "times_s"}
    channel = run["meters"][0]["channels"][0]
    assert set(channel) >= {
        "id", "component", "extent", "kind", "source", "period_s", "resolution", "gain", "contains",
    }  # fmt: skip
    inference = run["phases"][-1]
    assert set(inference) >= {"name", "start_s", "end_s", "energy", "parts"}
    assert [part["name"] for part in inference["parts"]] == ["prefill", "decode"]
    assert set(inference["energy"][0]) == {"channel", "joules", "uncertainty_j", "method"}


def test_energy_that_is_missing_is_null_with_its_reason_and_never_left_out() -> None:
    missing = r.Energy(channel="gpu:0", joules=None, reason="too_short: 3 ms of a 100 ms tick")
    assert json.loads(msgspec.json.encode(missing)) == {
        "channel": "gpu:0",
        "joules": None,
        "reason": "too_short: 3 ms of a 100 ms tick",
    }
    with pytest.raises(TypeError):
        r.Energy(channel="gpu:0")  # type: ignore[call-arg]


def changed(*path: Any, to: Any = None, drop: bool = False) -> dict[str, Any]:
    line = as_json(make_run())
    *way, last = path
    place: Any = line
    for step in way:
        place = place[step]
    if drop:
        del place[last]
    else:
        place[last] = to
    return line


REQUIRED = [
    "kind", "schema", "id", "cell", "class", "repeat", "load", "clock", "model", "system", "phases", "tokens",
]  # fmt: skip
BROKEN = [
    *[pytest.param(changed(key, drop=True), id=f"no {key}") for key in REQUIRED],
    *[
        pytest.param(changed(*path, to=to), id=f"{path[-1]} {to!r}")
        for path, to in [
            (("phases", 0, "energy", 0, "joules"), -0.001),
            (("phases", 0, "energy", 0, "joules"), "1.0"),
            (("phases", 0, "energy", 0, "uncertainty_j"), -1),
            (("totals", "cpu", "joules"), -5),
            (("totals", "cpu", "source"), "guessed"),
            (("tokens", "generated"), -1),
            (("tokens", "generated"), 1.5),
            (("kind",), "walk"),
            (("kind",), "published"),  # has no source
            (("kind",), "failed"),  # has no error
            (("schema",), "llmjoules/2"),
            (("id",), ""),
            (("phases", 0, "name"), "thinking"),
            (("phases", 0, "start_s"), None),
            (("phases",), {}),
            (("meters", 0, "channels", 0, "component"), "tpu"),
            (("meters", 0, "channels", 0, "gain"), -0.1),
            (("meters", 0, "channels", 0, "wraps_at_j"), 0),
            (("load",), None),
            (("flags",), "too_short"),
        ]
    ],
    pytest.param(changed("phases", 0, "energy", 0, "joules", drop=True), id="energy without joules"),
    pytest.param([], id="an array"),
    pytest.param("run", id="a string"),
]


@pytest.mark.parametrize("line", BROKEN)
def test_schema_and_reader_both_refuse_a_broken_record(line: Any) -> None:
    assert not validator().is_valid(line)
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(line).encode())


@pytest.mark.parametrize("key", sorted({*Figures.__struct_fields__} - {"component", "itl_s", "net_j"}))
def test_gross_figures_are_never_negative_and_net_ones_may_be(key: str) -> None:
    run = make_run()
    figures = Figures(component="gpu", j_per_token=5.0, net_j={"gpu": -3.0})
    stated = Published(id="1", schema=SCHEMA, model=run.model, system=run.system, source="Table 2", figures=figures)
    line = json.loads(encode(stated))
    assert validator().is_valid(line)
    assert decode(encode(stated)) == stated
    line["figures"][key] = -5
    assert not validator().is_valid(line)
    with pytest.raises(msgspec.ValidationError, match=">= 0"):
        decode(json.dumps(line).encode())


@pytest.mark.parametrize("key", ["joules_total", "x-lab", string.ascii_letters])
def test_keys_that_this_release_does_not_know_are_no_error(key: str) -> None:
    line = changed(key, to={"anything": [1, None]})
    validator().validate(line)
    assert decode(json.dumps(line).encode()).id == line["id"]


def test_a_run_gives_its_phases_by_name_and_its_trace_when_asked() -> None:
    run = make_run(inference_s=2.0, inference_w=40.0)
    inference = run.phase("inference")
    assert inference is not None
    assert inference.duration_s == pytest.approx(2.0)
    assert run.phase("warm-up") is None

    trace = decode(encode(run)).decoded_trace()  # type: ignore[union-attr]
    widths = [b - a for a, b in zip(trace.edges_s, trace.edges_s[1:], strict=False)]
    area = sum(width * power for width, power in zip(widths, trace.channels["cpu:0"].mean_w, strict=True))
    # idle 1 s x 10 W, import 2 x 30, tokenizer 0.1 x 20, model 0.4 x 25, pipeline 0.05 x 15, inference 2 x 40
    assert area == pytest.approx(10 + 60 + 2 + 10 + 0.75 + 80)
    assert make_run(trace=msgspec.UNSET).decoded_trace() is None


def test_a_trace_that_is_none_is_found_when_it_is_asked_for() -> None:
    run = decode(json.dumps(changed("trace", to={"edges_s": "all of them"})).encode())
    assert isinstance(run, Run)  # lists of records never decode traces, so reading does not notice
    with pytest.raises(msgspec.ValidationError):
        run.decoded_trace()
