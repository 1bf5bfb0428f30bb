"""Identifiers sort by time; hashes depend on what they should and on nothing else."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.ids import comparability_class, new_id, random_suffix, short_hash
from llmjoules.records.record import Channel, MeterInfo, Model, Workload
from tests.builders import make_run

CROCKFORD = set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")  # no I, L, O, U


def at(monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> str:
    monkeypatch.setattr(time, "time_ns", lambda: milliseconds * 1_000_000)
    return new_id()


def test_an_id_is_26_crockford_characters() -> None:
    for _ in range(100):
        id_ = new_id()
        assert len(id_) == 26
        assert set(id_) <= CROCKFORD


def test_the_time_of_an_id_is_that_of_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1469918176385 ms is "01ARYZ6S41" in the examples of the ULID specification's reference implementation.
    assert at(monkeypatch, 1469918176385).startswith("01ARYZ6S41")
    assert at(monkeypatch, 2**48 - 1).startswith("7ZZZZZZZZZ")  # the largest valid ULID time


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0, 1, 31, 32, 1023, 1024, 10**12, 10**12 + 1, 1767323045000, 2**48 - 1]
    ids = [at(monkeypatch, t) for t in times]
    assert ids == sorted(ids)


def test_ids_made_at_once_differ() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert len({random_suffix() for _ in range(20)}) > 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_a_short_hash_is_sha_256_of_canonical_json(value: Any) -> None:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    plain = json.loads(msgspec.json.encode(value, order="deterministic"))
    assert plain == json.loads(canonical)
    assert len(short_hash(value)) == 12
    if canonical.isascii() and canonical.isprintable():  # beyond that, escapes are a matter of taste
        assert short_hash(value) == hashlib.sha256(canonical.encode()).hexdigest()[:12]


def test_a_short_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert short_hash({"b": 1, "a": 2}) == short_hash({"a": 2, "b": 1})
    assert short_hash([1, 2]) != short_hash([2, 1])


CHANNEL: dict[str, Any] = {"id": "gpu:0", "component": "gpu", "kind": "counter"}
MODEL: dict[str, Any] = {"name": "llama", "dtype": "bfloat16", "weights": "real"}
WORKLOAD: dict[str, Any] = {
    "prompt_tokens": 7, "new_tokens": 200, "stop": "new-tokens", "batch_size": 1, "decoding": "greedy",
    "prompt_sha256": "0",
}  # fmt: skip


def class_of(*, meter: str = "nvml", **changes: dict[str, Any]) -> str:
    return comparability_class(
        [MeterInfo(name=meter, channels=(Channel(**{**CHANNEL, **changes.get("channel", {})}),))],
        Model(**{**MODEL, **changes.get("model", {})}),
        Workload(**{**WORKLOAD, **changes.get("workload", {})}),
    )


def test_the_class_of_published_records_never_changes() -> None:
    canonical = (
        '{"batch_size":1,"decoding":"greedy","dtype":"bfloat16","new_tokens":200,"prompt_tokens":7,'
        '"scope":[["gpu","device","measured"]],"stop":"new-tokens","weights":"real"}'
    )
    assert class_of() == hashlib.sha256(canonical.encode()).hexdigest()[:12] == "298ed7d81d17"


@pytest.mark.parametrize(
    "change",
    [
        {"channel": {"component": "cpu"}},
        {"channel": {"extent": "module"}},
        {"channel": {"source": "modelled"}},
        {"workload": {"prompt_tokens": 8}},
        {"workload": {"new_tokens": 100}},
        {"workload": {"new_tokens": None}},
        {"workload": {"stop": "end-of-sequence"}},
        {"workload": {"batch_size": 2}},
        {"workload": {"decoding": "sampling"}},
        {"model": {"dtype": "float32"}},
        {"model": {"weights": "dummy"}},
    ],
)
def test_what_makes_runs_incomparable_changes_their_class(change: dict[str, Any]) -> None:
    assert class_of(**change) != class_of()


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "phi"}},
        {"model": {"parameters": 3}},
        {"workload": {"prompt_sha256": "1"}},
        {"channel": {"id": "gpu:1"}},
        {"channel": {"gain": 0.1, "period_s": 0.02}},
        {"meter": "zeus"},
    ],
)
def test_what_is_being_compared_is_not_part_of_the_class(change: dict[str, Any]) -> None:
    assert class_of(**change) == class_of()


def test_a_machine_with_eight_of_a_thing_is_in_the_class_of_one_with_one() -> None:
    eight = [MeterInfo(name="nvml", channels=tuple(Channel(**{**CHANNEL, "id": f"gpu:{n}"}) for n in range(8)))]
    assert comparability_class(eight, Model(**MODEL), Workload(**WORKLOAD)) == class_of()


def test_a_further_component_measured_is_another_class() -> None:
    both = [MeterInfo(name="any", channels=(Channel(**CHANNEL), Channel(id="cpu:0", component="cpu", kind="counter")))]
    assert comparability_class(both, Model(**MODEL), Workload(**WORKLOAD)) != class_of()


def test_cells_of_different_settings_differ_and_of_the_same_agree() -> None:
    assert make_run(threads=2).cell == make_run(threads=2).cell
    assert make_run(threads=2).cell != make_run(threads=4).cell
