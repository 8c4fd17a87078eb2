"""The knowledge step without an engine, for a replay: one process reads everything in the order of arrival, and what is learned of a
bucket is on the board when the first record of a later one comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataflows.knowledge.board import put_up
from dataflows.knowledge.machines import knowledge_keys, make_machine
from operators.across import MODEL
from operators.encode import encode_version
from operators.knowledge.board import Board
from operators.knowledge.buckets import FOREVER_US, NONE_CLOSED, Buckets
from operators.knowledge.facts import Example, MerchantFact, ScoreCount, merchants_key, model_key
from state.records import Output, Record
from state.settings import Settings


class OfflineKnowledge:
    """Where nothing is learned across customers, all records are of one bucket."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self._board = board
        self._merchant_keys = settings.knowledge.merchant_keys
        self._bucket_us = settings.knowledge.bucket_us if settings.knowledge.enabled else FOREVER_US
        self._bucket = NONE_CLOSED
        self._keys = {
            key: Buckets(make_machine(settings, key), settings.knowledge.bucket_us) for key in knowledge_keys(settings)
        }

    def by_bucket(self, records: list[Record]) -> Iterator[tuple[int | None, list[Record]]]:
        """The records in groups of one bucket each. With each group that begins a new one the time at which that begins: before the
        group is applied, `close` has to be called."""
        begin = 0
        begins_us: int | None = None
        for at, record in enumerate(records):
            bucket = record.arrival_us // self._bucket_us
            if bucket > self._bucket:
                if at > begin:
                    yield begins_us, records[begin:at]
                begin, begins_us, self._bucket = at, bucket * self._bucket_us, bucket
        if begin < len(records):
            yield begins_us, records[begin:]

    def learn(self, item: Any) -> None:
        """Takes up what the shard said; only facts, examples and counts are for us."""
        if isinstance(item, MerchantFact):
            self._keys[merchants_key(item.merchant_id, self._merchant_keys)].feed(item)
        elif isinstance(item, Example | ScoreCount):
            self._keys[model_key(item.model)].feed(item)

    def close(self, begins_us: int, customers: Mapping[int, int]) -> Iterable[Output]:
        """Closes all buckets before the one that begins then, and puts up what came of them. `customers`: known to each shard."""
        for shard, count in customers.items() if self._keys else ():
            self._keys[model_key(MODEL)].feed(ScoreCount(MODEL, shard, begins_us, count, {}))
        for key, buckets in self._keys.items():
            for _, versions in buckets.close_until(begins_us // self._bucket_us - 1):
                put_up(self._board, key, versions)
                yield from map(encode_version, buckets.news(versions))
