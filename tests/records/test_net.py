"""Net energy: hand-worked, and as a difference that may be negative."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmjoules.records.net import drifts, net
from llmjoules.records.record import Energy, Phase, Run, Total
from tests.builders import make_run


def with_idles(inference_j: float, *idles: tuple[str, float], doubt_j: float | None = 0.0, **more: Any) -> Run:
    """An inference of 10 s, and idles of 2 s at so many watts."""
    energies = {name: (watts * 2, 2.0) for name, watts in idles}
    phases, at_s = [], 0.0
    for name, (joules, seconds) in (*energies.items(), ("inference", (inference_j, 10.0))):
        energy = Energy(channel="cpu:0", joules=joules, uncertainty_j=doubt_j)
        phases.append(Phase(name=name, start_s=at_s, end_s=at_s + seconds, energy=(energy,)))
        at_s += seconds
    total = Total(joules=inference_j, uncertainty_j=3.0, source="measured", channels=("cpu:0",))
    return msgspec.structs.replace(make_run(**more), phases=tuple(phases), totals={"cpu": total})


def test_idle_power_is_subtracted_for_as_long_as_the_inference_lasted() -> None:
    found = net(with_idles(500.0, ("idle", 10.0), doubt_j=0.8), "cpu")
    assert found.joules == pytest.approx(500 - 10 * 10)
    assert found.uncertainty_j == pytest.approx(5.0)  # 3 J of the inference, 0.4 W of the idle over 10 s
    assert (found.idles, found.idle_w) == (("idle",), pytest.approx(10))


def test_two_idles_that_differ_widen_it_by_half_their_difference() -> None:
    run = with_idles(500.0, ("idle", 10.0), ("idle-after", 16.0))
    found = net(run, "cpu")
    assert found.joules == pytest.approx(500 - 13 * 10)
    assert found.uncertainty_j == pytest.approx((3.0**2 + 30.0**2) ** 0.5)
    assert drifts(run) == ["cpu"]


def test_the_idle_of_a_bare_process_is_not_that_of_a_loaded_model() -> None:
    found = net(with_idles(500.0, ("idle", 10.0), ("idle-loaded", 30.0), ("idle-after", 30.0)), "cpu")
    assert (found.idles, found.joules) == (("idle-loaded", "idle-after"), pytest.approx(200.0))


@pytest.mark.parametrize(
    ("after_w", "doubt_j", "expected"),
    [(10.5, 0.0, []), (12.5, 0.0, ["cpu"]), (12.5, 3.0, [])],  # below what matters; apart; within what both can be off
)
def test_idles_drift_where_they_differ_by_more_than_they_can_be_off_by(
    after_w: float, doubt_j: float, expected: list[str]
) -> None:
    assert drifts(with_idles(500.0, ("idle", 10.0), ("idle-after", after_w), doubt_j=doubt_j)) == expected


def test_an_error_that_is_not_known_leaves_that_of_net_unknown_too() -> None:
    run = with_idles(500.0, ("idle", 10.0), ("idle-after", 16.0), doubt_j=None)
    assert (net(run, "cpu").joules, net(run, "cpu").uncertainty_j) == (pytest.approx(370.0), None)
    assert drifts(run) == []  # nobody knows whether they differ
    sure = with_idles(500.0, ("idle", 10.0), ("idle-after", 16.0))
    total = msgspec.structs.replace(sure.totals["cpu"], uncertainty_j=None)
    assert net(msgspec.structs.replace(sure, totals={"cpu": total}), "cpu").uncertainty_j is None


def test_what_is_missing_is_null_with_a_reason() -> None:
    assert net(with_idles(500.0), "cpu").reason.startswith("no_idle: ")
    assert net(with_idles(500.0, ("idle", 10.0)), "gpu").reason.startswith("missing: ")
    lost = Total(joules=None, source="measured", channels=("cpu:0",), reason="gap: no reading for 3 s")
    run = msgspec.structs.replace(with_idles(500.0, ("idle", 10.0)), totals={"cpu": lost})
    assert (net(run, "cpu").joules, net(run, "cpu").reason) == (None, "gap: no reading for 3 s")


@given(inference_j=st.floats(1, 1e6), before_w=st.floats(0, 1e3), after_w=st.floats(0, 1e3), doubt_j=st.floats(0, 100))
def test_net_stays_within_what_either_idle_alone_would_give(
    inference_j: float, before_w: float, after_w: float, doubt_j: float
) -> None:
    found = net(with_idles(inference_j, ("idle", before_w), ("idle-after", after_w), doubt_j=doubt_j), "cpu")
    alone = [inference_j - watts * 10 for watts in (before_w, after_w)]
    assert min(alone) - 1e-6 <= found.joules <= max(alone) + 1e-6
    assert all(abs(found.joules - one) <= found.uncertainty_j + 1e-6 for one in alone)
