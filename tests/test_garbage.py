"""The garbage collector must not stop the stream to look at all profiles, and must still find the cycles that an error leaves."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from dataflows.garbage import YOUNG_MAX, collect_young_only, leave_uncollected


@pytest.fixture
def young_only() -> Iterator[None]:
    before = gc.get_threshold()
    collect_young_only()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("young_only")
def test_a_growing_heap_is_never_looked_at_as_a_whole() -> None:
    young, middle, full = (generation["collections"] for generation in gc.get_stats())
    heap = [[number] for number in range(100 * YOUNG_MAX)]
    after = [generation["collections"] for generation in gc.get_stats()]
    assert len(heap) == 100 * YOUNG_MAX
    assert after[0] > young and after[1] > middle and after[2] == full


@pytest.mark.usefixtures("young_only")
def test_cycles_are_found_while_they_are_young() -> None:
    cycle = weakref.ref(Node())
    heap = [[number] for number in range(2 * YOUNG_MAX)]
    assert len(heap) == 2 * YOUNG_MAX and cycle() is None


@pytest.mark.usefixtures("young_only")
def test_the_end_of_the_process_looks_at_nothing() -> None:
    heap = [[number] for number in range(100)]
    leave_uncollected()
    assert not any(entry is one for one in gc.get_objects() for entry in heap)
