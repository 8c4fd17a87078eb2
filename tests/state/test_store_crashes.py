"""A store that is killed between any two of its steps comes back exactly as a checkpoint left it.

The oracle is a dictionary copied at every checkpoint. The engine may resume at any checkpoint from the last one that it
is known to have committed; it may also offer one that it wrote but never committed (an abandoned one).
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from state.store import DiskStore
from state.store_check import verify_shard


class SimulatedCrash(BaseException):
    """Stands for the end of the process; a BaseException, so that no handler of the store softens it."""


class CrashAfter:
    """Raises when the store has passed its next `steps` crash points."""

    def __init__(self) -> None:
        self.steps: int | None = None
        self.name = ""

    def __call__(self, name: str) -> None:
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                self.name = name
                raise SimulatedCrash(name)


Customers = dict[str, tuple[bytes, int | None, int | None]]
"""Value, timer and, of a holder, its partition."""


class Taken(NamedTuple):
    """What the oracle knows of a checkpoint."""

    token: bytes | None
    meta: bytes | None
    customers: Customers


BEGINNING = Taken(None, None, {})


@dataclass
class Bench:
    """A store, its oracle, and the engine's memory of checkpoints."""

    directory: Path
    durability: str
    crash: CrashAfter = field(default_factory=CrashAfter)
    customers: Customers = field(default_factory=dict)
    resumable: list[Taken] = field(default_factory=lambda: [BEGINNING])  # the last proven first
    abandoned: bytes | None = None  # a token that the engine may offer although it never committed it
    number: int = 0
    clock_us: int = 0

    def start(self, taken: Taken, token: bytes | None) -> None:
        """Opens and restores; a crash on the way leaves everything as it was."""
        self.store = DiskStore.open(
            self.directory, 7, self.durability, map_bytes_max=1 << 24, segment_bytes=600, crash_point=self.crash
        )
        assert self.store.restore(token) == taken.meta
        self.customers = dict(taken.customers)
        self.clock_us //= 2
        self.compare()

    def compare(self) -> None:
        """The store holds what the oracle holds: values, timers, holders, names, and nothing else."""
        assert sorted(self.store.customers()) == sorted(self.customers)
        for customer_id, (value, *_) in self.customers.items():
            assert self.store.get(customer_id) == value
        self.compare_timers(self.clock_us)
        for partition in range(3):
            self.compare_holders(partition, 2)
        assert self.store.sizes().customers == len(self.customers)
        assert self.store.get("nobody") is None

    def compare_timers(self, clock_us: int) -> None:
        """The store knows the timers up to a time; the time only rises while a store is open."""
        self.clock_us = max(self.clock_us, clock_us)
        timers = ((timer_us, name) for name, (_, timer_us, _) in self.customers.items() if timer_us is not None)
        assert self.store.timers_until(self.clock_us) == sorted(pair for pair in timers if pair[0] <= self.clock_us)

    def compare_holders(self, partition: int, count_max: int) -> None:
        """All holders of a partition come, page by page, each once."""
        found: list[str] = []
        while page := self.store.holders(partition, found[-1] if found else "", count_max):
            assert len(page) <= count_max
            found += page
        holders = sorted(name for name, (*_, holder_in) in self.customers.items() if holder_in == partition)
        assert sorted(found) == holders

    def put(self, customer: int, size: int, timer_us: int | None, holder_in: int | None = None) -> None:
        name = f"c-{customer}" if customer else "ž" * 250  # one whose id is too long for a key
        self.number += 1
        value = (b"%d." % self.number) * size
        self.customers[name] = (value, timer_us, holder_in)
        self.store.put(name, value, timer_us, holder_in)

    def checkpoint(self) -> None:
        self.number += 1
        meta = b"meta %d" % self.number
        token = self.store.checkpoint(meta)
        self.resumable.append(Taken(token, meta, dict(self.customers)))

    def proven(self) -> None:
        del self.resumable[:-1]
        if self.resumable[0] is not BEGINNING:
            self.abandoned = None
        self.store.proven()

    def crash_and_resume(self, back: int, offer_abandoned: bool, steps: int | None) -> None:
        """The process dies; the engine resumes `back` checkpoints before the newest if it may."""
        self.store.close()
        if offer_abandoned and self.abandoned:
            at, token = self.resumable[0], self.abandoned
            event("resumed with an abandoned token")
        else:
            position = max(0, len(self.resumable) - 1 - back)
            at = self.resumable[position]
            token = at.token
            if position + 1 < len(self.resumable):
                self.abandoned = self.resumable[position + 1].token
            elif position > 0:
                self.abandoned = None
        self.resumable = [at]
        self.crash.steps = steps
        try:
            self.start(at, token)
        except SimulatedCrash:
            event(f"crashed while restoring at {self.crash.name}")
            self.store.close()
            self.crash.steps = None
            self.start(at, token)
        self.crash.steps = None


TIME_US_MAX = 40 * 3_600_000_000
PUTS = st.tuples(
    st.just("put"),
    st.integers(0, 9),
    st.integers(1, 60),
    st.none() | st.integers(0, TIME_US_MAX),
    st.none() | st.integers(0, 2),
)
STEPS = st.one_of(
    PUTS,
    PUTS,
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("proven")),
    st.tuples(st.just("compare_timers"), st.integers(0, TIME_US_MAX)),
    st.tuples(st.just("compare_holders"), st.integers(0, 2), st.integers(1, 5)),
    st.tuples(st.just("write_behind"), st.integers(0, 6)),
    st.tuples(st.just("die"), st.integers(0, 2), st.booleans(), st.none() | st.integers(0, 8)),
    st.tuples(st.just("die during the next steps"), st.integers(0, 8)),
)


@settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["process", "power"]), st.lists(STEPS, min_size=5, max_size=60))
def test_every_crash_leaves_exactly_the_checkpoint_that_the_engine_resumes_at(durability, steps):
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), durability)
        bench.start(BEGINNING, None)
        for name, *arguments in steps:
            if name == "die during the next steps":
                bench.crash.steps = arguments[0]
                continue
            try:
                if name == "die":
                    bench.crash_and_resume(*arguments)
                elif name == "write_behind":
                    bench.store.write_behind(*arguments)
                else:
                    getattr(bench, name)(*arguments)
            except SimulatedCrash:
                event(f"crashed at {bench.crash.name}")
                bench.crash.steps = None
                bench.crash_and_resume(0, False, None)
        bench.compare()
        bench.compare_timers(TIME_US_MAX)
        bench.crash_and_resume(0, False, None)
        bench.store.close()
        assert verify_shard(Path(folder), 7).findings == ()


def test_every_crash_point_is_reached_and_survived():
    """Walks one scripted life of a store again and again, dying one step later each time, until it ends alive."""
    passed: set[str] = set()
    steps = 0
    while True:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), "power")
            bench.start(BEGINNING, None)
            bench.crash.steps = steps
            try:
                for _ in range(3):
                    for customer in range(6):
                        bench.put(customer, 60, 1000 + bench.number)
                    bench.checkpoint()
                    bench.proven()
                    bench.store.write_behind(4)
                bench.store.write_behind(100)
                bench.store.close()
                break
            except SimulatedCrash:
                passed.add(bench.crash.name)
                bench.crash_and_resume(0, False, None)
                bench.store.close()
        steps += 1
    assert passed == {
        "log.segment_created", "log.segment_begun", "log.before_write", "log.piece_written", "log.before_fsync",
        "log.fsynced", "log.checkpoint_written", "log.before_unlink", "log.unlinked",
        "table.before_commit", "table.committed",
    }  # fmt: skip


def test_what_was_put_after_the_token_is_gone_and_what_was_before_is_there(tmp_path):
    with contextlib.closing(DiskStore.open(tmp_path, 0)) as store:
        store.restore(None)
        store.put("c-1", b"one", 5)
        token = store.checkpoint(b"first")
        store.put("c-1", b"two", None)
        store.put("c-2", b"new", 9)
        store.checkpoint(b"second")
    with contextlib.closing(DiskStore.open(tmp_path, 0)) as store:
        assert store.restore(token) == b"first"
        assert (store.get("c-1"), store.get("c-2"), store.timers_until(10)) == (b"one", None, [(5, "c-1")])
