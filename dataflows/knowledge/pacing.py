"""The pace of a source partition: it hands on no record of a bucket before all knowledge keys have closed the one before.

So whoever scores a record finds exactly those versions in force that were learned from earlier buckets, in any number of processes,
however fast each partition is read, and again after a crash.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from dataflows.knowledge.shelf import closed_for
from operators.knowledge.buckets import FOREVER_US

POLL_S = 0.001


class Pacemaker:
    """Makes the pace of each source partition of a process, with the arguments of `Pace`, and adds up how often patience ended."""

    def __init__(self, shelves: list[Path], bucket_us: int, patience_s: float | None) -> None:
        self._arguments = (shelves, bucket_us, patience_s)
        self._paces: list[Pace] = []

    def __call__(self) -> Pace:
        pace = Pace(*self._arguments)
        self._paces.append(pace)
        return pace

    @property
    def unpaced(self) -> int:
        return sum(pace.unpaced for pace in list(self._paces))


class Pace:
    """Of one source partition. Records that arrived before `until_us` may be handed on."""

    def __init__(self, shelves: list[Path], bucket_us: int, patience_s: float | None) -> None:
        """`shelves`: one folder for each knowledge key; none of them: there is nothing to wait for. `patience_s`: how long to wait
        while no bucket gets closed (live streams); None for ever (bounded ones)."""
        self.until_us = 0 if shelves else FOREVER_US
        self.nonce = secrets.randbits(62) + 1 if shelves else 0
        """Names this start of the partition: keys that announce it have cut their shelves to what the engine committed."""
        self.unpaced = 0
        """How often patience came to its end."""
        self.resting = False
        """At the end of the input, or idle: nobody need wait for this partition."""
        self._shelves = shelves
        self._bucket_us = bucket_us
        self._patience_s = patience_s
        self._boundary_us = 0
        self._told_us = -1
        self._closed: int | None = None
        self._waiting_since_s = time.monotonic()

    @classmethod
    def free(cls) -> Pace:
        """Where nothing is learned across customers, there is nothing to wait for."""
        return cls([], 1, None)

    @property
    def horizon_us(self) -> int:
        """No later record belongs to a bucket that ends at or before it."""
        return FOREVER_US if self.resting and self._shelves else self._boundary_us

    @property
    def news(self) -> bool:
        """Whether the horizon has changed since it was told: then every shard must hear of it."""
        return bool(self._shelves) and self.horizon_us != self._told_us

    def told(self) -> None:
        self._told_us = self.horizon_us

    def met(self) -> bool:
        """Whether all keys have heard of this start, so that nothing on their shelves is of an earlier life."""
        return not self._shelves or self._closed is not None or self._look() is not None

    def approach(self, arrival_us: int) -> bool:
        """The next record arrived at `arrival_us`, not before `until_us`. True if it may be handed on now."""
        bucket = arrival_us // self._bucket_us
        self.resting = False
        if bucket * self._bucket_us > self._boundary_us:
            self._boundary_us = bucket * self._bucket_us
            self._waiting_since_s = time.monotonic()
        if self.news or not self._may_enter(bucket):
            return False
        self.until_us = (bucket + 1) * self._bucket_us
        return True

    def _may_enter(self, bucket: int) -> bool:
        closed = self._look()
        if closed is None:
            return False
        if closed >= bucket - 1:
            return True
        if self._patience_s is None or time.monotonic() - self._waiting_since_s < self._patience_s:
            return False
        self.unpaced += 1
        return True

    def _look(self) -> int | None:
        closed = closed_for(self._shelves, self.nonce)
        if closed != self._closed:
            self._closed, self._waiting_since_s = closed, time.monotonic()  # they get on
        return closed
