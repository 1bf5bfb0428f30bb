"""CUDA_VISIBLE_DEVICES in all its forms, against a table by hand and against the parser of torch."""

from __future__ import annotations

import os
from itertools import takewhile
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.meters.visible import Gpu, Visible, uuids_of_torch, visible

NAMES = ("GPU-0aaa1111", "GPU-0bbb2222", "GPU-1ccc3333")
ALIKE = [Gpu(uuid, "NVIDIA A100", (f"MIG-{n}f00", f"MIG-{n}f11")) for n, uuid in enumerate(NAMES)]
MIXED = [Gpu(uuid, f"model {n}") for n, uuid in enumerate(NAMES)]


def numbers(value: str | None, gpus: list[Gpu] = ALIKE, **environment: str) -> tuple[int, ...]:
    return shown(value, gpus, **environment).numbers


def shown(value: str | None, gpus: list[Gpu], torch: list[str] | None = None, **environment: str) -> Visible:
    variables = environment if value is None else environment | {"CUDA_VISIBLE_DEVICES": value}
    return visible(gpus, variables, lambda: torch)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (0, 1, 2)),
        ("0,7,0", ()),
        ("GPU-0a,GPU-9,GPU-0a", ()),
        ("GPU-0a,GPU-9,GPU-1", (0,)),
        ("", ()),
        ("0", (0,)),
        ("2,0", (2, 0)),
        (" 1 , 2 ", (1, 2)),
        ("-1", ()),
        ("0,-1,1", (0,)),
        ("0,7,1", (0,)),
        ("1,x,2", (1,)),
        ("1,,2", (1,)),
        ("1gpu,2", (1, 2)),
        ("0,0", ()),
        ("GPU-1ccc3333", (2,)),
        ("GPU-1ccc3333,GPU-0aaa1111", (2, 0)),
        ("GPU-0a", (0,)),
        ("GPU-0", ()),
        ("GPU-1,GPU-0,GPU-0a", (2,)),
        ("GPU-0a,1", (0,)),
        ("1,GPU-0a", (1,)),
        ("GPU-0a,GPU-0aaa1111", ()),
        ("MIG-1f00", (1,)),
        ("MIG-1f00,MIG-1f11", (1,)),
        ("MIG-1f00,MIG-1f00", ()),
        ("MIG-GPU-0bbb2222/3/0", (1,)),
        ("MIG-GPU-0bbb2222/3/0,MIG-GPU-1ccc3333/1/0", (1, 2)),
        ("MIG-GPU-9/3/0", ()),
        ("NoDevFiles", ()),
    ],
)
def test_each_form_of_the_variable_names_its_gpus(value: str | None, expected: tuple[int, ...]) -> None:
    assert numbers(value) == expected
    assert shown(value, ALIKE).note is None


def test_a_number_among_different_models_is_never_guessed() -> None:
    found = shown("0", MIXED)
    assert found.numbers == (0, 1, 2)
    assert found.note is not None
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.note


@pytest.mark.parametrize("value", [None, "", "GPU-0b", "0,1,2", "2,1,0", "-1"])
def test_among_different_models_whatever_does_not_depend_on_the_order_is_resolved(value: str | None) -> None:
    assert shown(value, MIXED).note is None
    assert set(numbers(value, MIXED)) == set(numbers(value, ALIKE))


def test_the_order_of_the_pci_bus_resolves_numbers_among_different_models() -> None:
    assert shown("1", MIXED, CUDA_DEVICE_ORDER="PCI_BUS_ID") == Visible((1,))
    assert shown("1", MIXED, CUDA_DEVICE_ORDER="FASTEST_FIRST").note is not None


def test_a_torch_that_has_started_cuda_tells_which_they_are() -> None:
    assert shown("0", MIXED, torch=["1ccc3333"]) == Visible((2,))  # torch leaves out the "GPU-"
    assert shown("0", MIXED, torch=["GPU-0BBB2222"]) == Visible((1,))
    assert shown("0", MIXED, torch=["something else"]).numbers == (0, 1, 2)


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        (None, None),
        (SimpleNamespace(), None),  # half imported
        (SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False)), None),
        (
            SimpleNamespace(
                cuda=SimpleNamespace(
                    is_initialized=lambda: True,
                    device_count=lambda: 2,
                    get_device_properties=lambda n: SimpleNamespace(uuid=f"uuid {n}"),
                )
            ),
            ["uuid 0", "uuid 1"],
        ),
    ],
    ids=["not imported", "half imported", "not started", "started"],
)
def test_torch_is_asked_only_where_it_has_started_cuda_already(
    torch: object, expected: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    assert uuids_of_torch() == expected


entries = st.one_of(
    st.integers(-2, 5).map(str),
    st.sampled_from([*NAMES, "GPU-0", "GPU-1", "GPU-0a", "GPU-9", "x", "", " 1", "2gpu", "+1", "0x1"]),
)


@given(st.lists(entries, max_size=5).map(",".join))
def test_it_agrees_with_torch(text: str) -> None:
    torch_cuda = pytest.importorskip("torch.cuda", exc_type=ImportError)
    with mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": text}):
        parsed = torch_cuda._parse_visible_devices()
        if parsed and isinstance(parsed[0], str):
            parsed = torch_cuda._transform_uuid_to_ordinals(parsed, list(NAMES))
    assert numbers(text) == tuple(takewhile(lambda number: number < len(NAMES), parsed))


@given(st.text(max_size=40) | st.lists(entries, max_size=5).map(",".join))
def test_any_text_names_distinct_gpus_that_are_there(text: str) -> None:
    for gpus in (ALIKE, MIXED, ALIKE[:1], []):
        found = shown(text, gpus)
        assert set(found.numbers) <= set(range(len(gpus)))
        assert len(set(found.numbers)) == len(found.numbers)
        assert found.note is None or found.numbers == tuple(range(len(gpus)))
