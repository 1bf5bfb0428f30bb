"""Totals per component: nothing is added up twice, and a part is never shown as the whole."""

from __future__ import annotations

from typing import Any

import pytest

from llmjoules.records.record import Channel, Energy, MeterInfo
from llmjoules.runner.totals import totals


def meter(name: str, *channels: tuple[str, str, dict[str, Any]]) -> MeterInfo:
    made = tuple(Channel(id=name, component=component, kind="counter", **more) for name, component, more in channels)
    return MeterInfo(name=name, channels=made)


def energies(**joules: float | None) -> list[Energy]:
    return [
        Energy(
            channel=key.replace("_", ":"), joules=value, uncertainty_j=None if value is None else 0.5, reason="gap: …"
        )
        for key, value in joules.items()
    ]


def test_packages_add_up_and_memory_stays_apart() -> None:
    rapl = meter("rapl", ("cpu:0", "cpu", {}), ("cpu:1", "cpu", {}), ("dram:0", "dram", {}))
    found = totals([rapl], energies(cpu_0=10.0, cpu_1=20.0, dram_0=5.0))
    assert {name: total.joules for name, total in found.items()} == {"cpu": 30.0, "dram": 5.0}
    assert found["cpu"].uncertainty_j == 1.0
    assert found["cpu"].channels == ("cpu:0", "cpu:1")


def test_what_contains_the_others_is_a_component_of_its_own() -> None:
    rapl = meter("rapl", ("cpu:0", "cpu", {}), ("host", "host", {"contains": ("cpu:0",)}))
    found = totals([rapl], energies(cpu_0=10.0, host=45.0))
    assert {name: total.joules for name, total in found.items()} == {"cpu": 10.0, "host": 45.0}


def test_a_channel_inside_another_of_its_component_is_not_added() -> None:
    found = totals(
        [meter("m", ("cpu:0", "cpu", {"contains": ("cpu:core",)}), ("cpu:core", "cpu", {}))],
        [
            Energy(channel="cpu:0", joules=10.0, uncertainty_j=0.1),
            Energy(channel="cpu:core", joules=7.0, uncertainty_j=0.1),
        ],
    )
    assert found["cpu"].joules == 10.0


def test_a_second_meters_opinion_of_the_same_device_is_not_added() -> None:
    both = [meter("nvml", ("gpu:0", "gpu", {})), meter("pyjoules", ("gpu:0@pyjoules", "gpu", {}))]
    readings = [
        Energy(channel="gpu:0", joules=100.0, uncertainty_j=1.0),
        Energy(channel="gpu:0@pyjoules", joules=96.0, uncertainty_j=9.0),
    ]
    assert totals(both, readings)["gpu"].joules == 100.0


def test_one_missing_channel_makes_the_total_null_with_its_reason() -> None:
    rapl = meter("rapl", ("cpu:0", "cpu", {}), ("cpu:1", "cpu", {}))
    total = totals([rapl], energies(cpu_0=10.0, cpu_1=None))["cpu"]
    assert total.joules is None
    assert total.reason.startswith("gap: ")


@pytest.mark.parametrize(
    ("second", "said"), [("measured", "measured"), ("modelled", "modelled"), ("simulated", "simulated")]
)
def test_a_total_is_only_as_good_as_its_worst_channel(second: str, said: str) -> None:
    mixed = meter("m", ("cpu:0", "cpu", {}), ("cpu:1", "cpu", {"source": second}))
    assert totals([mixed], energies(cpu_0=1.0, cpu_1=1.0))["cpu"].source == said
