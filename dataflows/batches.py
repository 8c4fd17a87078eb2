"""What travels between the steps of the flow: batches, so that the engine's cost per item is paid once for many records."""

from __future__ import annotations

from typing import NamedTuple

from operators.knowledge.facts import Example, MerchantFact, ScoreCount
from state.records import Output, Record

KnowledgeItem = MerchantFact | Example | ScoreCount


class RecordBatch(NamedTuple):
    """Records of one source partition in the order in which they are to be applied.

    `source` is the partition's name ("0", "1", …); `clock_us` the partition's arrival clock (the newest arrival so far, 0 if none);
    `caught_up` tells that nothing more was waiting; `tick` marks the first batch of a new epoch, sent even when it has no records.
    `horizon_us` and `nonce` are the knowledge step's (dataflows/knowledge/pacing.py): no later record of this partition belongs to a
    bucket that ends at or before the horizon; the nonce names this start of the partition.
    """

    source: str
    records: list[Record]
    clock_us: int
    caught_up: bool
    tick: bool
    horizon_us: int = 0
    nonce: int = 0


class KnowledgeBatch(NamedTuple):
    """What one shard has for one knowledge key: items to learn, then perhaps how far a source partition is (`nonce` 0: no news).

    `proof` as in OutputBatch.
    """

    key: str
    shard: int
    partition: int
    items: list[KnowledgeItem]
    horizon_us: int
    nonce: int
    proof: bool


class OutputBatch(NamedTuple):
    """Outputs for one sink partition. `proof` tells that a source item caused them, not a timer: seen after a snapshot it
    proves that the engine has committed the epoch of that snapshot."""

    outputs: list[Output]
    proof: bool
