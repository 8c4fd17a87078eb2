"""What one process counts for its metrics and its health: plain numbers, written by the thread that does the work.

The scrape's thread reads them (dataflows/metrics/collector.py), so counting costs the stream an addition and no lock. A scrape
in the middle of a batch sees some of its numbers and not yet others: they agree again a moment later.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from state.events import TOPICS, Event
from state.signals import Signal
from state.step import Emission

AGE_S: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 2_592_000.0)
"""From a card payment told at once to one that a merchant hands in a month later."""
LATENCY_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)
PAUSE_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Histogram:
    """Counts of values up to and including each bound, and of those beyond the last; and their sum.

    >>> histogram = Histogram((1.0, 10.0))
    >>> for value in (0.5, 1.0, 7.0, 99.0):
    ...     histogram.observe(value)
    >>> histogram.counts, histogram.sum
    ([2, 1, 1], 107.5)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        """Adds what another one with the same bounds has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus's buckets: for each bound, how many values are not beyond it."""
        counts = list(accumulate(self.counts))
        return [(str(bound), float(n)) for bound, n in zip((*self.bounds, "+Inf"), counts, strict=True)]


class Tally:
    """One process's numbers since it started. Moments are seconds: `…_at` of the wall clock, `beat_s` of the monotonic one."""

    def __init__(self) -> None:
        self.signals: Counter[tuple[str, str]] = Counter()
        """By type and state."""
        self.event_age = {topic: Histogram(AGE_S) for topic in TOPICS}
        """From the event's own time to when a shard took it up."""
        self.latency = Histogram(LATENCY_S)
        """From a record's arrival in the log to when a shard had dealt with it."""
        self.checkpoint = Histogram(PAUSE_S)
        """For each epoch, how long the snapshots of this process's shards took together."""
        self.pause = Histogram(PAUSE_S)
        """For each epoch and source partition, how long nothing was read: snapshots, the sinks' flush and the engine's commit."""
        self.conservation: dict[int, int] = {}
        """By shard, how many records did not add up at its last checkpoint; a checkpoint that finds any is refused."""
        self.beat_s: float | None = None
        """When the loop last moved."""
        self.committed_at: float | None = None
        """When the engine was last seen to have committed an epoch of this run."""
        self.commits = 0
        self._snapshots_s = 0.0

    def beat(self) -> None:
        self.beat_s = time.monotonic()

    def took(self, events: Sequence[Event]) -> None:
        """A shard has dealt with these events just now."""
        now_us = time.time_ns() // 1000
        ages = self.event_age
        latency = self.latency
        for event in events:
            ages[event.TOPIC].observe(max(0.0, (now_us - event.time_us) / 1e6))
            latency.observe(max(0.0, (now_us - event.arrival_us) / 1e6))

    def said(self, emissions: Iterable[Emission]) -> None:
        """A shard has said this; after a crash some of it is said again, and the sink skips it."""
        for emission in emissions:
            if isinstance(emission.body, Signal):
                self.signals[emission.body.type, emission.body.state] += 1

    def snapshot_took(self, duration_s: float) -> None:
        self._snapshots_s += duration_s

    def committed(self) -> None:
        """An epoch of this run is known to be committed. Each source partition and each shard may say so; the first one counts."""
        if self._snapshots_s:
            self.checkpoint.observe(self._snapshots_s)
            self._snapshots_s = 0.0
            self.commits += 1
        self.committed_at = time.time()
