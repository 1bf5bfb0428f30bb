"""When a counter that is renewed at a steady beat is renewed: learned from its own readings, so that few will do.

A renewal lies between the last reading that shows the old total and the first that shows the new one. A line through
the middles of such brackets, by least squares, gives the beat, and how far they lie from it gives what a date taken
from it can be off by. A counter whose beat is not steady is never known, and goes on being read densely.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import floor, inf, sqrt
from typing import NamedTuple

SHARP = 0.25  # brackets up to this part of a period teach the beat
FEWEST, MOST = 8, 64  # brackets behind a line
GOOD = 0.07  # the beat is known while its dates are good to this part of a period: as good as reading ten times in one
LEARN_AGAIN_S = 5.0  # a beat may slip: every so often it is looked at
STILL_S = 2.0  # a total that has not moved for so long has no beat to be learned
SURELY = 3.0  # half-widths by which a renewal must be missed before the beat counts as lost
MARGIN = 1.6  # on the half-width of a date, since jitter is judged from few


class _Line(NamedTuple):
    first_s: float
    period_s: float
    mean: float  # of the numbers of the renewals behind it
    spread: float  # sum of their squared distances from it
    renewals: int
    variance_s2: float  # of the brackets' middles around it
    jitter_s2: float  # what of that the width of the brackets does not explain


class Ticks:
    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._seen: deque[tuple[int, float, float]] = deque(maxlen=MOST)  # number, middle, half-width
        self._line: _Line | None = None
        self._moved_s = -inf

    def moved(self, low_s: float, high_s: float) -> None:
        """A renewal fell between these two instants."""
        self._moved_s = high_s
        if high_s - low_s > SHARP * self.period_s:
            return
        middle_s, number = (low_s + high_s) / 2, 0
        if self._seen:
            number, before_s, _ = self._seen[-1]
            step = round((middle_s - before_s) / self._beat_s)
            if step < 1:
                self.lose()
                return
            number += step
        self._seen.append((number, middle_s, (high_s - low_s) / 2))
        self._line = self._fit()

    def lose(self) -> None:
        """What was learned does not hold (any more)."""
        self._seen.clear()
        self._line = None

    def stood_still(self, earlier_s: float, t_s: float) -> None:
        """Two readings were alike: if a renewal surely lay between them, the beat is lost."""
        if self._moved_s == -inf:
            self._moved_s = t_s
        if (found := self._last_before(earlier_s, t_s)) is not None:
            more_s = (SURELY - 1) * (found[1] - found[0]) / 2
            if found[0] - more_s > earlier_s and found[1] + more_s < t_s:
                self.lose()

    def dated(self, earlier_s: float, t_s: float) -> tuple[float, float] | None:
        """Between which instants the renewal fell that a reading at `t_s` shows and that at `earlier_s` did not.

        None where the beat is not known, or does not agree.
        """
        found = self._last_before(earlier_s, t_s)
        if found is None or self._line is None or found[1] > earlier_s:
            return found
        away_s = abs(self._nearest((earlier_s + t_s) / 2) - (earlier_s + t_s) / 2) - (t_s - earlier_s) / 2
        if away_s > SURELY * self._error_s(t_s):
            self.lose()
        return None

    def next_after(self, t_s: float) -> float | None:
        """The next renewal; None where the beat is not known."""
        line = self._line
        if line is None or not self.known(t_s):
            return None
        return line.first_s + line.period_s * (floor((t_s - line.first_s) / line.period_s) + 1)

    def known(self, t_s: float) -> bool:
        return self._line is not None and self._error_s(t_s) <= GOOD * self.period_s

    def wants_dense(self, t_s: float) -> bool:
        """Would more readings teach something?"""
        if self._moved_s > -inf and t_s - self._moved_s > STILL_S:
            return False
        return not self.known(t_s) or t_s - self._seen[-1][1] > LEARN_AGAIN_S

    @property
    def _beat_s(self) -> float:
        return self._line.period_s if self._line is not None else self.period_s

    def _last_before(self, earlier_s: float, t_s: float) -> tuple[float, float] | None:
        """Bounds of the last renewal before a reading; wide where it lies so near that it may be the one before."""
        line = self._line
        if line is None or not self.known(t_s):
            return None
        error_s = self._error_s(t_s)
        last_s = line.first_s + line.period_s * floor((t_s + error_s - line.first_s) / line.period_s)
        if last_s + error_s <= t_s:
            return last_s - error_s, last_s + error_s
        return max(last_s - line.period_s - error_s, earlier_s), t_s

    def _nearest(self, t_s: float) -> float:
        assert self._line is not None
        first_s, period_s = self._line.first_s, self._line.period_s
        return first_s + period_s * round((t_s - first_s) / period_s)

    def _error_s(self, t_s: float) -> float:
        """Half-width of a date, as of a uniform distribution."""
        line = self._line
        assert line is not None
        away = (t_s - line.first_s) / line.period_s - line.mean
        of_line_s2 = line.variance_s2 * (1 / line.renewals + away * away / line.spread)
        return MARGIN * sqrt(3 * (line.jitter_s2 + of_line_s2))

    def _fit(self) -> _Line | None:
        count = len(self._seen)
        if count < FEWEST:
            return None
        mean = sum(k for k, _, _ in self._seen) / count
        mean_s = sum(t for _, t, _ in self._seen) / count
        spread = sum((k - mean) ** 2 for k, _, _ in self._seen)
        period_s = sum((k - mean) * (t - mean_s) for k, t, _ in self._seen) / spread
        first_s = mean_s - period_s * mean
        left_s2 = sum((t - first_s - period_s * k) ** 2 for k, t, _ in self._seen) / (count - 2)
        width_s2 = sum(half * half for _, _, half in self._seen) / count / 3
        jitter_s2 = max(left_s2 - width_s2, 0.0)
        return _Line(first_s, period_s, mean, spread, count, max(left_s2, width_s2), jitter_s2)


def next_reading_s(beats: Sequence[Ticks], read_s: float, dense_s: float) -> float:
    """When to read next after `read_s`: at `dense_s` while anything is to be learned, else about once in a period."""
    if any(ticks.wants_dense(read_s) for ticks in beats):
        return dense_s
    about_s = read_s + min(ticks.period_s for ticks in beats)
    next_s = [at_s for ticks in beats if (at_s := ticks.next_after(read_s)) is not None]
    return max(_quiet_moment(next_s, about_s - read_s, about_s), dense_s) if next_s else about_s


def _quiet_moment(next_s: Sequence[float], period_s: float, about_s: float) -> float:
    """An instant near `about_s`, as far as can be from all renewals, which come again every `period_s`."""
    phases = sorted((t - about_s) % period_s for t in next_s)
    gaps = [(b - a, a) for a, b in zip(phases, [*phases[1:], phases[0] + period_s], strict=True)]
    widest, start = max(gaps)
    offset_s = (start + widest / 2) % period_s
    return about_s + (offset_s - period_s if offset_s > period_s / 2 else offset_s)
