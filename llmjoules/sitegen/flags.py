"""Flags of records in words: what a reader should know before trusting a figure."""

from __future__ import annotations

from collections.abc import Iterable

from llmjoules.records import physics
from llmjoules.records.record import COMPONENTS, Record
from llmjoules.sitegen import text

# Why a phase has no figure: codes as in docs/record.md.
_WITHOUT_FIGURE = {
    "too_short": "the phase was shorter than the meter's period",
    "unresolved": "the figure could be off by as much as it is",
    "not_covered": "the meter's readings do not reach over the phase",
    "no_readings": "the meter gave no readings",
    "missing": "the meter left out a reading",
    "not_moving": "the counter did not move",
    "counter_reset": "the counter fell, and not because it wraps",
    "gap": "the meter was silent for too long",
    "overlap": "two of the meter's records share a stretch of time",
    "died": "the process ended before the energy was read",
    "in_step": "tokens came in step with a sensor that looks for a part of its period",
}
_OF_CHANNEL = {
    "disagreement": "{} differs from the other reading of the same device by more than both can be off by: "
    "one of the two is wrong",
    "throttled": "{} was held down during the inference, by heat, power or its driver: a cooler one may do better",
    "shared": "Other processes computed on {} during the inference, and their energy is in its figure",
    "in_step_with_sensor": "The sensor of {} looks for a part of its period and tokens came in step with it, so it may "
    "have seen the same moment of each: no uncertainty tells how far off that is",
    "idle_drift": "Idle power of {} was not the same before and after the inference, so its net energy is in doubt",
    "hot_start": "{} was hotter at the start than before the first run: it had not cooled down in the time given",
    "power_limit_changed": "The power limit of {} changed around this run: it is not a repeat of the others",
    "device_not_measured": "The model ran on the {}, which no meter measured: its energy is in no figure here",
    "offloaded": "A part of the model did not fit on its devices and lay on {}, so moving it is part of the figures",
}
# The same in as few words as a list of runs has room for.
_BRIEF = {
    "too_short": "too short",
    "unresolved": "unresolved",
    "not_covered": "not covered",
    "no_readings": "no readings",
    "missing": "reading missing",
    "not_moving": "counter stood still",
    "counter_reset": "counter reset",
    "gap": "gap",
    "overlap": "overlap",
    "died": "died",
    "in_step": "in step with the sensor",
    "disagreement": "meters disagree",
    "throttled": "throttled",
    "shared": "shared with others",
    "in_step_with_sensor": "in step with the sensor",
    "device_not_measured": "not measured",
    "offloaded": "offloaded",
    "idle_drift": "idle power drifted",
    "hot_start": "hot at the start",
    "power_limit_changed": "power limit changed",
    "busy": "busy with others",
    "memory_pressure": "memory short",
    "warm_up_unsettled": "warm-up did not settle",
    "weights_read_in_inference": "weights read in inference",
    "not_as_headed": "not as headed",
    "unexpected_length": "unexpected length",
    "power_above_limit": "power above what it may draw",
    "power_below_idle": "power below idle",
    "phases_not_total": "phases are not the total",
    "parts_above_phase": "parts exceed their phase",
    "per_token_not_joules": "J/token does not fit joules",
    "power_not_per_token": "J/token does not fit power",
    "rate_not_time": "rate does not fit times",
    "rate_above_bandwidth": "rate above memory bandwidth",
    "tokens_above_limit": "more tokens than asked for",
    "tokens_above_generated": "more useful tokens than generated",
    "tokens_outside_inference": "tokens outside the inference",
    "ends_before_it_begins": "ends before it begins",
    "tokens_assumed": "number of tokens assumed",
    "tokens_unknown": "number of tokens unknown",
    "lower_bound": "lower bound",
    "duration_unknown": "duration unknown",
    "includes_sleep": "time includes 2 s of sleep",
    "stretched_interval": "stretched samples",
    "share_incomplete": "share incomplete",
    "share_above_1": "share above 1",
    "sum_column_doubtful": "the source's own sum disagrees",
    "energy_fell": "running total fell",
}
_DEVICES = {"cpu": "CPU", "cuda": "GPU", "mps": "GPU"}
_OF_RUN = {
    "shared:cpu": "Other programs used a considerable part of the CPU's energy during this inference",
    "busy:cpu": "Other programs kept a considerable part of the CPUs busy while idle or inference was measured",
    "memory_pressure": "Programs had to wait for memory right before this run",
    "warm_up_unsettled": "The warm-up ended before its last calls agreed: first runs may still have been warming up",
    "weights_read_in_inference": "The weights were only mapped while loading and there was no warm-up: this inference "
    "also read the model from disk",
    "not_as_headed": "Not the energy of one inference, which its heading leads one to expect: see the "
    "page on the study",
    "unexpected_length": "The answer is longer or shorter than the tokens asked for",
    "power_above_limit": "The energy over the time is more power than such devices may draw: a unit, a time or the "
    "number of devices is wrong",
    "power_below_idle": "The energy over the time is less power than such devices draw when idle: a unit, a time or "
    "the number of devices is wrong, or the energy is of something else",
    "phases_not_total": "The joules of the phase and of the total differ",
    "parts_above_phase": "The parts of the phase have more joules than the whole",
    "per_token_not_joules": "Joules per token times tokens are not the joules that are stated",
    "power_not_per_token": "Joules per token times tokens per second are not the power that is stated",
    "rate_not_time": "Tokens over seconds are not the rate that is stated",
    "rate_above_bandwidth": "At this rate the weights would be read faster than the memory can give them: there were "
    "fewer tokens, or more rows",
    "tokens_above_limit": "There are more output tokens than were asked for",
    "tokens_above_generated": "More tokens are said to be useful than were generated",
    "tokens_outside_inference": "Tokens are said to be ready before the inference begins or after it ends: "
    "the times are of another clock, or of another run",
    "ends_before_it_begins": "A phase ends before it begins: the clock was set back, or the times are mixed up",
    "tokens_assumed": "The source has no number of output tokens: its cap was taken, so joules per token are a lower "
    "bound",
    "tokens_unknown": "The source's number of output tokens cannot be trusted, so there are no joules per token",
    "lower_bound": "The source's figure is a lower bound: see docs/import.md on its format",
    "duration_unknown": "The source does not say how long it took, so there is no power",
    "includes_sleep": "The time includes 2 s of sleep before the work, so the power comes out low",
    "stretched_interval": "Some samples are far longer than asked for, with a power that cannot be",
    "share_incomplete": "Some samples have no share of the process and are left out of it",
    "share_above_1": "In some samples the process's share of all tasks is above 1, which cannot be",
    "sum_column_doubtful": "The source's own sum over devices disagrees with the single ones, which were used",
    "energy_fell": "The source's running total once went down",
}


def in_words(flag: str) -> str:
    """A sentence without its full stop; a flag that we do not know stands for itself."""
    if flag in _OF_RUN:
        return _OF_RUN[flag]
    code, _, where = flag.partition(":")
    where = text.shown(where, 60)
    if code in _OF_RUN:
        return _OF_RUN[code]
    if where and code in _WITHOUT_FIGURE:
        return f"A channel has no energy of {where.replace('+', ' + ')}: {_WITHOUT_FIGURE[code]}"
    if where and code in _OF_CHANNEL:
        place = where.replace("+", " and ") if code == "offloaded" else where
        return _OF_CHANNEL[code].format(_DEVICES.get(place, place))
    return f"{text.shown(flag, 80)}: a flag that this version of llmjoules has no words for"


def is_finding(flag: str) -> bool:
    """Was it raised by a physics check, which has figures to show?"""
    return flag.partition(":")[0] in physics.CODES


def explained(record: Record) -> list[str]:
    """A sentence for each flag, without its full stop; of a physics check what it found, and what that means."""
    found = figures_of(record)
    every = dict.fromkeys((*record.flags, *found))
    return [f"{found[flag]}. {in_words(flag)}" if flag in found else in_words(flag) for flag in every]


def figures_of(record: Record) -> dict[str, str]:
    """By flag, what the physics checks find in this record: the figure, and the limit that it is held against."""
    found = physics.findings(record)
    return {finding.flag: text.sentence(f"{_about(finding)}{finding.sentence}") for finding in found}


def _about(finding: physics.Finding) -> str:
    return f"{text.component_name(finding.about)}: " if finding.about in COMPONENTS else ""


def _place(where: str) -> str:
    return _DEVICES.get(where) or text.COMPONENTS.get(where) or text.shown(where, 40)


def in_brief(flags: Iterable[str]) -> str:
    """`too short: tokenizer, pipeline; shared with others: CPU`, in the order of the record."""
    places: dict[str, list[str]] = {}
    for flag in flags:
        code, _, where = flag.partition(":")
        words = _BRIEF.get(code, text.shown(code, 40))
        places.setdefault(words, []).extend([_place(where).replace("+", " + ")] * bool(where))
    return "; ".join(f"{words}: {', '.join(dict.fromkeys(at))}" if at else words for words, at in places.items())
