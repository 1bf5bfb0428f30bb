"""Net energy: that of the inference less what the machine takes when it stands still, by the idle of the same run.

Runs are ranked by gross energy. Net depends on what one calls idle: on the founding study's ladder 8 GPUs use 7.2 times
the energy of one gross, and 1.1 or 2.3 times net by choice of idle. So a net figure names its idle, and it may be
negative.
"""

from __future__ import annotations

from math import hypot
from typing import NamedTuple

from msgspec import Struct

from llmjoules.records import stats
from llmjoules.records.record import Phase, Record, Total

MATTERS = 0.02  # of the inference's energy: idles that move it by less agree


class Net(Struct, frozen=True, kw_only=True):
    """Of one component. joules: None says why in `reason`; the channels' gain comes on top, as it does of gross.

    uncertainty_j: 95 % half-width of the methods' errors, and of what idle power may have done between the two idles;
    None where one of these errors is not known.
    idle_w: mean power of the idles named in `idles`; those of phases, in their order.
    """

    joules: float | None
    uncertainty_j: float | None = None
    idle_w: float | None = None
    idle_uncertainty_w: float | None = None
    idles: tuple[str, ...] = ()
    reason: str | None = None


class _Idle(NamedTuple):
    name: str
    power_w: float
    uncertainty_w: float | None


def net(record: Record, component: str) -> Net:
    """The inference's energy less mean idle power times its duration.

    With an idle before and one after, the mean of both; half their difference over the whole inference is added to the
    uncertainty, since nobody knows when one became the other.
    """
    total, phase = record.totals.get(component), stats.inference(record)
    if total is None or total.joules is None:
        return Net(joules=None, reason=(total.reason if total else None) or f"missing: no energy of {component}")
    if phase is None:
        return Net(joules=None, reason="missing: no inference with a length")
    idles = _idles(record, total)
    if not idles:
        return Net(joules=None, reason="no_idle: no idle phase beside the inference has a figure")
    seconds = phase.duration_s
    idle_w = sum(idle.power_w for idle in idles) / len(idles)
    drift_w = abs(idles[0].power_w - idles[-1].power_w) / 2
    doubts_w = [idle.uncertainty_w / len(idles) for idle in idles if idle.uncertainty_w is not None]
    idle_u_w = hypot(*doubts_w, drift_w) if len(doubts_w) == len(idles) else None
    known = total.uncertainty_j is not None and idle_u_w is not None
    return Net(
        joules=total.joules - idle_w * seconds,
        uncertainty_j=hypot(total.uncertainty_j or 0.0, (idle_u_w or 0.0) * seconds) if known else None,
        idle_w=idle_w,
        idle_uncertainty_w=idle_u_w,
        idles=tuple(idle.name for idle in idles),
    )


def drifts(record: Record) -> list[str]:
    """Components whose idles before and after differ by more than both can be off by, and so that net is in doubt."""
    found, phase = [], stats.inference(record)
    for component, total in record.totals.items():
        idles = _idles(record, total)
        if phase is None or not total.joules or len(idles) < 2:
            continue
        first, last = idles
        if first.uncertainty_w is None or last.uncertainty_w is None:
            continue
        apart_w = abs(first.power_w - last.power_w)
        matters_w = 2 * MATTERS * total.joules / phase.duration_s  # half of the difference is what net is off by
        if apart_w > max(first.uncertainty_w + last.uncertainty_w, matters_w):
            found.append(component)
    return found


def idle_phases(record: Record) -> list[Phase]:
    """The last idle before the inference and the one after it.

    With the model loaded, save in the first run of a process of older versions, which only measured the bare process.
    """
    names = [phase.name for phase in record.phases]
    before = "idle-loaded" if "idle-loaded" in names else "idle"
    return [phase for phase in record.phases if phase.name in (before, "idle-after") and phase.duration_s > 0]


def _idles(record: Record, total: Total) -> list[_Idle]:
    found = []
    for phase in idle_phases(record):
        joules = stats.joules_of(phase.energy, total.channels)
        if joules is not None:
            doubts_j = [energy.uncertainty_j for energy in phase.energy if energy.channel in total.channels]
            known_j = [doubt for doubt in doubts_j if doubt is not None]
            doubt_w = sum(known_j) / phase.duration_s if len(known_j) == len(doubts_j) else None
            found.append(_Idle(phase.name, joules / phase.duration_s, doubt_w))
    return found
