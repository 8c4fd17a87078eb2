"""What the engine's threads keep from one call to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main

from dataflows.engine_thread import keep_thread_state

CALLS = 20


def calls_remembered(prepare: Callable[[], None]) -> int:
    """How many calls of one step a thread-local of the engine's thread has counted at most."""
    seen, heard = threading.local(), list[int]()

    def count(item: int) -> int:
        prepare()
        seen.calls = getattr(seen, "calls", 0) + 1
        return int(seen.calls)

    flow = Dataflow("threads")
    items = op.input("items", flow, TestingSource(range(CALLS), batch_size=1))
    op.output("heard", op.map("count", items, count), TestingSink(heard))
    cluster_main(flow, [], 0, worker_count_per_proc=2)
    assert len(heard) == CALLS
    return max(heard)


@pytest.mark.parametrize(
    ("prepare", "remembered"), [(lambda: None, 1), (keep_thread_state, CALLS)], ids=["as the engine has it", "kept"]
)
def test_a_thread_state_that_is_kept_lasts_from_call_to_call(prepare: Callable[[], None], remembered: int) -> None:
    assert calls_remembered(prepare) == remembered
