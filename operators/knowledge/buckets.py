"""What one knowledge key learns, bucket by bucket of arrival time: the same in the engine, in a replay and in tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from operators.knowledge.merchant_row import POPULATION, MerchantRow
from operators.knowledge.versions import ModelVersion

Versions = Sequence[MerchantRow | ModelVersion]

NONE_CLOSED: Final = -1
FOREVER_US: Final = 1 << 62


class Machine(Protocol):
    """A merchant table or a learner. The order in which the items of a bucket come does not matter."""

    def add(self, item: Any) -> None: ...
    def close(self, bucket_end_us: int) -> Any: ...
    def freeze(self) -> dict[str, bytes]: ...
    def thaw(self, items: dict[str, bytes]) -> None: ...


class Buckets:
    """A machine and which of its buckets are over. Bucket n holds what arrived in [n, n + 1) × `bucket_us`.

    `closed` is the newest bucket that is over (NONE_CLOSED before the first). What is fed belongs to the bucket after it.
    """

    def __init__(self, machine: Machine, bucket_us: int) -> None:
        self.machine = machine
        self.closed = NONE_CLOSED
        self.fed = False
        """Whether anything has come since the newest close."""
        self.suspects: set[str] = set()
        """Merchants that the topic `merchants` has been told of."""
        self._bucket_us = bucket_us

    def feed(self, item: Any) -> None:
        self.machine.add(item)
        self.fed = True

    def close_until(self, bucket: int) -> Iterator[tuple[int, Versions]]:
        """Closes what is over up to and including `bucket`: (bucket, what is in force from its end on).

        A long silence is not closed bucket by bucket: the one with the items, and the last one, whose end is then the present.
        """
        over = {bucket}
        if self.fed and self.closed != NONE_CLOSED:
            over.add(self.closed + 1)
        for number in sorted(over):
            if number > self.closed:
                yield number, self.machine.close((number + 1) * self._bucket_us)
                self.closed = number
                self.fed = False

    def news(self, versions: Versions) -> list[MerchantRow | ModelVersion]:
        """What is told outside: models, populations, and merchants while fraud is known of them (and once more when it no longer is).
        Everybody's quiet business is on the shelf only: it changes with every bucket, and signals name the values that they used."""
        told: list[MerchantRow | ModelVersion] = []
        for version in versions:
            if isinstance(version, MerchantRow) and version.scope != POPULATION:
                suspect = bool(version.frauds_30d or version.streak)
                if not suspect and version.merchant_id not in self.suspects:
                    continue
                (self.suspects.add if suspect else self.suspects.discard)(version.merchant_id)
            told.append(version)
        return told


class Horizons:
    """How far every shard has heard every source partition to be: a bucket is over when all of them are beyond it.

    A partition that is at its end, or idle on a live stream, has the horizon FOREVER_US.

    >>> horizons = Horizons(expected=2)
    >>> horizons.hear(0, 0, 100); horizons.reached_us
    >>> horizons.hear(1, 0, 200); horizons.reached_us
    100
    >>> horizons.hear(0, 0, FOREVER_US); horizons.reached_us
    200
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._horizons_us: dict[tuple[int, int], int] = {}
        self._counts: dict[int, int] = {}

    def hear(self, shard: int, partition: int, horizon_us: int) -> None:
        counts = self._counts
        before_us = self._horizons_us.get((shard, partition))
        if before_us is not None:
            counts[before_us] -= 1
            if not counts[before_us]:
                del counts[before_us]
        self._horizons_us[shard, partition] = horizon_us
        counts[horizon_us] = counts.get(horizon_us, 0) + 1

    @property
    def reached_us(self) -> int | None:
        """Up to where all are; None if some have not spoken yet, or if nobody has anything more."""
        if len(self._horizons_us) < self._expected:
            return None
        reached_us = min(self._counts)
        return None if reached_us == FOREVER_US else reached_us
