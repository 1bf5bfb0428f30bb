"""Older records come up to date one version at a time."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llmjoules.records.record import SCHEMA, SCHEMA_VERSION, encode
from llmjoules.records.upgrade import STEPS, UnknownVersion, decode_any_version, upgrade
from tests.builders import make_run


def step(number: int) -> Any:
    def apply(record: dict[str, Any]) -> dict[str, Any]:
        assert record["schema"] == f"llmjoules/{number}", "each step sees the version that it is for"
        return {**record, "steps": [*record.get("steps", []), number]}

    return apply


STEPS_TO_5 = {number: step(number) for number in (1, 2, 3, 4)}


@pytest.mark.parametrize("start", [1, 2, 3, 4, 5])
def test_each_version_takes_every_later_step_once_and_in_order(start: int) -> None:
    result = upgrade({"schema": f"llmjoules/{start}", "id": "1"}, STEPS_TO_5, target=5)
    assert result.get("steps", []) == list(range(start, 5))
    assert result["schema"] == "llmjoules/5"
    assert result["id"] == "1"


def test_an_upgrade_leaves_the_given_record_as_it_was() -> None:
    old = {"schema": "llmjoules/1"}
    upgrade(old, STEPS_TO_5, target=5)
    assert old == {"schema": "llmjoules/1"}


def test_a_missing_step_names_the_version_that_cannot_go_on() -> None:
    with pytest.raises(UnknownVersion, match="llmjoules/3 is older than this release can upgrade"):
        upgrade({"schema": "llmjoules/1"}, {1: step(1), 2: step(2), 4: step(4)}, target=5)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"schema": "llmjoules/2"}, "llmjoules/2 is newer than this release reads; upgrade llmjoules"),
        ({"schema": "llmjoules/0"}, "llmjoules/0 is older than this release can upgrade"),
        ({}, "no schema is named"),
        ({"schema": None}, "schema is None, not llmjoules/1"),
        ({"schema": 1}, "schema is 1, not llmjoules/1"),
        ({"schema": "llmjoules/"}, "schema is 'llmjoules/', not llmjoules/1"),
        ({"schema": "llmjoules/-1"}, "not llmjoules/1"),
        ({"schema": "llmjoules/1.0"}, "not llmjoules/1"),
        ({"schema": "llmjoules/1\n"}, "not llmjoules/1"),
        ({"schema": "llmjoules/\u0661"}, "not llmjoules/1"),  # an Arabic-Indic one
        ({"schema": "zeus/1"}, "schema is 'zeus/1', not llmjoules/1"),
        ({"schema": "llmjoules/" + "9" * 5000}, "not llmjoules/1"),
    ],
)
def test_a_version_that_cannot_be_read_is_refused_in_plain_words(record: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownVersion) as refusal:
        upgrade(record)
    assert why in str(refusal.value)


def test_there_is_a_step_from_every_older_version_to_this_one() -> None:
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))
    assert f"llmjoules/{SCHEMA_VERSION}" == SCHEMA


def test_a_record_of_this_version_is_read_as_it_is() -> None:
    run = make_run()
    assert decode_any_version(encode(run)) == run


@pytest.mark.parametrize("value", [[], 1, "llmjoules/1", None])
def test_a_line_that_holds_no_object_is_not_a_record(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="a record is a JSON object"):
        decode_any_version(json.dumps(value).encode())
