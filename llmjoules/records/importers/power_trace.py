"""Power over time, of a whole job: the trapezoid between samples as they pass, and the longest gap."""

from __future__ import annotations

from llmjoules.records.record import Energy


class Trapezoid:
    """Energy of one channel from samples of its power, in the order of their times."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.joules = self.longest_s = 0.0
        self.samples = 0
        self.sum_w = 0.0
        self.first_s: float | None = None
        self.last_s = self.last_w = 0.0

    def add(self, at_s: float, power_w: float) -> bool:
        """False for a sample that is not later than the one before: it is left out."""
        if self.first_s is None:
            self.first_s = at_s
        elif at_s <= self.last_s:
            return False
        else:
            step_s = at_s - self.last_s
            self.joules += step_s * (power_w + self.last_w) / 2
            self.longest_s = max(self.longest_s, step_s)
        self.samples += 1
        self.sum_w += power_w
        self.last_s, self.last_w = at_s, power_w
        return True

    def energy(self) -> Energy:
        if self.samples < 2:
            return Energy(channel=self.channel, joules=None, reason="no_readings: one sample is no stretch of time")
        return Energy(
            channel=self.channel,
            joules=self.joules,
            method=f"trapezoid over {self.samples} samples of power",
            largest_gap_s=self.longest_s,
        )
