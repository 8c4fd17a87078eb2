"""One knowledge key: its machine, made durable as a shard is, and its shelf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from dataflows.batches import KnowledgeBatch
from dataflows.knowledge.shelf import Fold, Shelf
from operators.encode import encode_version
from operators.knowledge.buckets import NONE_CLOSED, Buckets, Horizons, Machine, Versions
from operators.knowledge.merchant_row import MerchantRow
from state.records import Output
from state.store import Store

_meta = msgspec.msgpack.Decoder(tuple[int, bool, set[str]])


class KnowledgeKey:
    """Learns what shards send, closes buckets when all of them are through, and puts what came of it on the shelf.

    Restored by a token, it begins exactly where the engine resumes: what an earlier life put on the shelf after that is removed.
    """

    def __init__(
        self,
        machine: Machine,
        store: Store,
        shelf: Shelf,
        bucket_us: int,
        heard_from: int,
        fold: Callable[[], Fold],
    ) -> None:
        """`heard_from`: shards × source partitions, each of which has to be through a bucket. `fold`: how old versions are let go
        at the moment of asking (pins may have changed)."""
        self.buckets = Buckets(machine, bucket_us)
        self._store = store
        self._shelf = shelf
        self._bucket_us = bucket_us
        self._horizons = Horizons(heard_from)
        self._fold = fold
        self._nonces: list[int] = []
        self._is_news = False
        self._checkpointed: int | None = None

    def restore(self, token: bytes | None) -> None:
        meta = self._store.restore(token)
        if meta is not None:
            self.buckets.closed, self.buckets.fed, self.buckets.suspects = _meta.decode(meta)
            items = ((name, self._store.get(name)) for name in self._store.customers())
            self.buckets.machine.thaw({name: value for name, value in items if value})
        self._shelf.cut(self.buckets.closed)

    def take(self, batch: KnowledgeBatch) -> list[Output]:
        """Learns a batch; returns the versions of the buckets that it completes."""
        for item in batch.items:
            self.buckets.feed(item)
        if not batch.nonce:
            return []
        if batch.nonce not in self._nonces:
            self._nonces.append(batch.nonce)
            self._is_news = True
        self._horizons.hear(batch.shard, batch.partition, batch.horizon_us)
        reached_us = self._horizons.reached_us
        if reached_us is None or reached_us // self._bucket_us - 1 <= self.buckets.closed:
            return []
        outputs: list[Output] = []
        for bucket, versions in self.buckets.close_until(reached_us // self._bucket_us - 1):
            self._shelf.put(bucket, versions)
            outputs += map(encode_version, self.buckets.news(versions))
        self._is_news = True
        return outputs

    def announce(self) -> None:
        """Tells the source partitions what has changed since the last time."""
        if self._is_news:
            self._is_news = False
            self._shelf.announce(self.buckets.closed, self._nonces)

    def checkpoint(self) -> bytes:
        for name, value in self.buckets.machine.freeze().items():
            self._store.put(name, value, None)
        self._checkpointed = self.buckets.closed
        meta = (self.buckets.closed, self.buckets.fed, sorted(self.buckets.suspects))
        return self._store.checkpoint(msgspec.msgpack.encode(meta))

    def proven(self) -> None:
        """The engine has committed the newest checkpoint."""
        self._store.proven()
        if self._checkpointed is not None and self._checkpointed != NONE_CLOSED:
            self._shelf.compact(self._checkpointed, self._fold())

    def write_behind(self, budget: int) -> None:
        self._store.write_behind(budget)

    def close(self) -> None:
        self._store.close()


def newest_of_each(versions: Versions) -> Versions:
    """Of merchants, the newest row of each."""
    rows = cast(Sequence[MerchantRow], versions)
    return list({(row.scope, row.merchant_id): row for row in rows}.values())
