"""Shards are named so that the engine spreads them evenly over its workers: shown by the engine itself."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, TestingSource, cluster_main
from hypothesis import given
from hypothesis import strategies as st

from dataflows.shard_names import COUNTED, EVEN_OVER, SPREAD, shard_names, shard_numbered, worker_hash


def homes(names: list[str], workers: int) -> dict[str, int]:
    """The thread of the worker that each name got."""
    found: dict[str, int] = {}

    class Home(StatefulBatchLogic[str, str, None]):
        def on_batch(self, values: list[str]) -> Any:
            found[values[0]] = threading.get_ident()
            return [], StatefulBatchLogic.RETAIN

        def snapshot(self) -> None:
            return None

    flow = Dataflow("homes")
    keyed = op.input("in", flow, TestingSource([(name, name) for name in names]))
    op.output("out", op.stateful_batch("home", keyed, lambda _: Home()), TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return found


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
def test_the_engine_gives_each_worker_the_same_number_of_shards(workers: int) -> None:
    names = list(shard_names(64, SPREAD))
    shares = Counter(homes(names, workers).values())
    assert len(shares) == workers
    assert max(shares.values()) - min(shares.values()) <= 1


def test_the_hash_is_the_engines() -> None:
    names = ["", "a", "0000", "0000.45", "eight by", "nine byte", "zwölf Zeichen", "x" * 100, *shard_names(40, COUNTED)]
    found = homes(names, 4)
    by_hash = {name: worker_hash(name) % 4 for name in names}
    assert len(set(found.values())) == 4
    assert len({(found[name], by_hash[name]) for name in names}) == 4, "one thread for each remainder"


@given(st.integers(1, 300))
def test_names_are_distinct_and_begin_with_the_shard_s_number(count: int) -> None:
    names = shard_names(count, SPREAD)
    assert len(set(names)) == count
    assert [shard_numbered(name) for name in names] == list(range(count))
    assert [worker_hash(name) % EVEN_OVER for name in names] == [shard % EVEN_OVER for shard in range(count)]


def test_names_of_older_states_only_count() -> None:
    assert shard_names(2, COUNTED) == ("0000", "0001")
