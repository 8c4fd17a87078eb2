"""What travels between the steps of the flow: batches, so that the engine's cost per item is paid once for many records."""

from __future__ import annotations

from typing import NamedTuple

from state.records import Output, Record


class RecordBatch(NamedTuple):
    """Records of one source partition in the order in which they are to be applied.

    `source` is the partition's name ("0", "1", …); `clock_us` the partition's arrival clock (the newest arrival so far, 0 if none);
    `caught_up` tells that nothing more was waiting; `tick` marks the first batch of a new epoch, sent even when it has no records.
    """

    source: str
    records: list[Record]
    clock_us: int
    caught_up: bool
    tick: bool


class OutputBatch(NamedTuple):
    """Outputs for one sink partition. `proof` tells that a source item caused them, not a timer: seen after a snapshot it
    proves that the engine has committed the epoch of that snapshot."""

    outputs: list[Output]
    proof: bool
