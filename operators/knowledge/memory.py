"""What the fused score remembers of one customer: how suspicious the last days were, and which frauds are known.

It follows the scores as they were given: unlike habits it depends on the order of arrival.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from operators.knowledge.prequential import bin_of
from state.windows import DAY_US

HOT_MAX: Final = 32
HOT_SCORE_MIN: Final = 0.002
"""Everyday scores lie below: they would add up to nothing but the number of payments."""
HOT_US: Final = 14 * DAY_US
"""A score's share of the week's heat is then an eighth of itself."""
HOT_KEPT_US: Final = 2 * HOT_US
"""So long it is kept: a transaction that is up to two weeks late finds the heat of its own time."""


class Hot(NamedTuple):
    """A score that was not of everyday life."""

    time_us: int
    digest: int
    score: float


class Memory(msgspec.Struct, array_like=True):
    hot: list[Hot] = []
    """The newest, in the order in which they were scored."""
    fraud_us: int = 0
    """When the newest fraud was that is known of."""
    day: int = 0
    """The newest day with a score, and the bin of its highest one."""
    day_bin: int = 0

    def heat(self, time_us: int) -> tuple[float, float]:
        """Σ of earlier scores, fading with a mean life of a day and of a week."""
        day = week = 0.0
        exp, oldest_us = math.exp, time_us - HOT_US
        for at_us, _, score in self.hot:
            if oldest_us < at_us <= time_us:
                days = (time_us - at_us) / DAY_US
                day += score * exp(-days)
                week += score * exp(-days / 7.0)
        return day, week

    def scored(self, time_us: int, digest: int, score: float) -> None:
        """A transaction was scored."""
        if score >= HOT_SCORE_MIN:
            self.hot.append(Hot(time_us, digest, score))
            while len(self.hot) > HOT_MAX or self.hot[0].time_us < time_us - HOT_KEPT_US:
                del self.hot[0]

    def reverse(self, digest: int) -> None:
        """A transaction was reversed: its score does not count any more."""
        self.hot = [hot for hot in self.hot if hot.digest != digest]

    def tell_fraud(self, time_us: int) -> None:
        """A transaction of this customer at `time_us` turned out to be fraud."""
        self.fraud_us = max(self.fraud_us, time_us)

    def rise(self, time_us: int, logit: float) -> dict[int, int]:
        """How this score changes the count of customers by the highest score of their day (facts.ScoreCount.rises)."""
        day, number = time_us // DAY_US, bin_of(logit)
        if day > self.day:
            self.day, self.day_bin = day, number
            return {number: 1}
        if day == self.day and number > self.day_bin:
            before, self.day_bin = self.day_bin, number
            return {before: -1, number: 1}
        return {}
