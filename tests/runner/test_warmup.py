"""When a warm-up has warmed up, and what stands of it in the record."""

from __future__ import annotations

import pytest

from llmjoules.runner.warmup import AGREE, MOST_CALLS, MOST_S, Spread, spread_of, why_ended
from tests.runner.conftest import Measured, held
from tests.runner.test_measure import script_of


def test_calls_are_compared_by_the_component_that_used_most() -> None:
    energies = [{"gpu": (joules, 1.0), "dram": (dram, 0.01)} for joules, dram in ((100, 9), (104, 5), (102, 7))]
    assert spread_of(energies, [1, 2, 3]) == Spread(pytest.approx(4 / 102), "energy", "gpu")


@pytest.mark.parametrize("second", [(None, None), (104.0, 9.0), (104.0, None), (0.0, 0.0)])
def test_they_are_compared_by_time_where_an_energy_is_not_known_well_enough(
    second: tuple[float | None, float | None],
) -> None:
    energies = [{"gpu": (100.0, 1.0)}, {"gpu": second}, {"gpu": (102.0, 1.0)}]
    assert spread_of(energies, [1.0, 1.2, 0.8]) == Spread(pytest.approx(0.4), "time")
    assert spread_of([{}, {}, {}], [1.0, 1.0, 1.0]) == Spread(0.0, "time")


def test_it_ends_when_calls_agree_or_patience_does() -> None:
    agreed, apart = Spread(AGREE, "time"), Spread(2 * AGREE, "time")
    assert why_ended(4, 1.0, agreed) == "settled"
    assert why_ended(4, 1.0, apart) is None
    assert why_ended(2, 1.0, None) is None
    assert why_ended(MOST_CALLS, 1.0, apart) == "most_calls"
    assert why_ended(3, MOST_S, None) == "most_time"


def test_every_call_of_the_warm_up_stands_in_the_first_run(three_runs: Measured) -> None:
    run, *later = three_runs.records
    found, phase = run.warm_up, run.phase("warm-up")
    assert found.rule == "auto"
    assert 4 <= len(found.calls) <= MOST_CALLS
    assert found.ended in (("settled",) if found.spread <= found.limit else ("most_calls", "most_time"))
    assert ("warm_up_unsettled" in run.flags) == (found.ended != "settled")
    assert not any(hasattr(other.warm_up, "calls") for other in later)
    edges = [phase.start_s, *(edge for call in found.calls for edge in (call.start_s, call.end_s)), phase.end_s]
    assert edges == sorted(edges)
    first, *others = found.calls
    assert [part.name for part in first.parts] == ["prefill", "decode", "detokenize"]
    assert not any(call.parts for call in others)
    script, zero_s = script_of(run, "gpu:0"), run.clock.monotonic_s
    known = [call for call in found.calls if call.energy[0].joules is not None]
    truths_j = [script.energy_j(zero_s + call.start_s, zero_s + call.end_s) for call in known]
    assert held([call.energy[0] for call in known], truths_j)
