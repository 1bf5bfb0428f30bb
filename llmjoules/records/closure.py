"""Do replayed phases add up to the inference? The replays' prefill and decode against the energy of the whole.

Replays are of the model's forward pass in a steady state, so what is left is the work around it (tokenizer, `generate`,
text) and what a phase costs more or less after another one than after itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import hypot

from msgspec import UNSET, Struct

from llmjoules.records import stats
from llmjoules.records.record import Replay, Run


class Closure(Struct, frozen=True, kw_only=True):
    """Of one component. ratio: replayed over measured, with its 95 % half-width; None says why in `reason`.

    prefill_j: of one prefill; decode_j: of all decode steps, by straight lines between the contexts that were replayed.
    """

    ratio: float | None
    uncertainty: float | None = None
    prefill_j: float | None = None
    decode_j: float | None = None
    measured_j: float | None = None
    reason: str | None = None


def closure(run: Run, component: str) -> Closure:
    """Replayed prefill and decode of a run, held against its measured inference."""
    replays = () if run.replays is UNSET else run.replays
    if not replays:
        return Closure(ratio=None, reason="no_replay: nothing was replayed (--replay)")
    missing = next((replay.reason for replay in replays if replay.reason is not None), None)
    if missing is not None:
        return Closure(ratio=None, reason=missing)
    total = run.totals.get(component)
    if total is None or not total.joules:
        return Closure(ratio=None, reason=(total.reason if total else None) or f"missing: no energy of {component}")
    energies = {replay: _energy(replay, total.channels) for replay in replays}
    if any(energy is None for energy in energies.values()):
        reason = next(
            (e.reason for replay in replays for e in replay.energy if e.reason and e.channel in total.channels), None
        )
        return Closure(ratio=None, reason=reason or "missing: a replay has no figure")
    known = {replay: energy for replay, energy in energies.items() if energy is not None}
    decodes = sorted(
        (replay for replay in replays if replay.name == "decode"), key=lambda replay: replay.context_tokens or 0
    )
    prefill = next((replay for replay in replays if replay.name == "prefill"), None)
    steps = max(0, len(run.tokens.times_s) - 1)
    if prefill is None or (steps and not decodes):
        return Closure(ratio=None, reason="missing: a prefill or a decode step was not replayed")
    first = prefill.context_tokens or 0
    weights = step_weights([replay.context_tokens or 0 for replay in decodes], range(first, first + steps))
    prefill_j, prefill_doubt_j = known[prefill]
    pairs = list(zip(weights, (known[replay] for replay in decodes), strict=True))
    decode_j = sum(weight * joules for weight, (joules, _) in pairs)
    doubt_j = hypot(prefill_doubt_j, *(weight * doubt for weight, (_, doubt) in pairs))
    ratio = (prefill_j + decode_j) / total.joules
    return Closure(
        ratio=ratio,
        uncertainty=hypot(doubt_j, ratio * (total.uncertainty_j or 0.0)) / total.joules,
        prefill_j=prefill_j,
        decode_j=decode_j,
        measured_j=total.joules,
    )


def step_weights(known: Sequence[int], contexts: Sequence[int]) -> list[float]:
    """How much each of the known contexts counts in a sum over all contexts, with straight lines between them.

    Outside of what is known, the nearest one counts. The weights add up to the number of contexts.
    """
    weights = [0.0] * len(known)
    for context in contexts:
        after = bisect_right(known, context)
        if after in (0, len(known)):
            weights[min(after, len(known) - 1)] += 1.0
            continue
        share = (context - known[after - 1]) / (known[after] - known[after - 1])
        weights[after - 1] += 1.0 - share
        weights[after] += share
    return weights


def _energy(replay: Replay, channels: Sequence[str]) -> tuple[float, float] | None:
    joules = stats.joules_of(replay.energy, channels)
    if joules is None:
        return None
    return joules, sum(energy.uncertainty_j or 0.0 for energy in replay.energy if energy.channel in channels)
