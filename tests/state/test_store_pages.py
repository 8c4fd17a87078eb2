"""Records that lie in two pieces are the same as records in one: for every length, whatever was there before, and when damaged."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import store_table
from state.store import DiskStore, shard_folder
from state.store_check import compact_shard, verify_shard
from state.store_error import StoreError
from state.store_pages import RecordPages
from state.store_record import HEAD_BYTES

SHARD = 3
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NAME = "c-07"
RECORD_BYTES = HEAD_BYTES + len(NAME)


def table_file(directory: Path) -> Path:
    return shard_folder(directory, SHARD) / store_table.FILE_NAME


def move(store: DiskStore) -> bytes:
    """Everything that was put goes to the table; returns the token."""
    token = store.checkpoint(b"clock")
    store.proven()
    while store.write_behind(1000):
        pass
    return token


def sizes_near_limits() -> list[int]:
    """Lengths of values whose records end just before, at and after whole pages, and a tail or two beyond them."""
    steps = (-3, -2, -1, 0, 1, 2, 3)
    tail = (PAGE_BYTES - 16) // 3 - 11 - len(NAME)  # the longest one
    ends = [PAGE_BYTES // 2]
    ends += [PAGE_BYTES * pages - 16 + more for pages in (1, 2, 3) for more in (0, tail, PAGE_BYTES * 9 // 16)]
    return [end - over - RECORD_BYTES + step for end in ends for over in (0, 16) for step in steps]


def pieces(directory: Path) -> tuple[set[bytes], set[bytes]]:
    """The keys of heads and of tails."""
    with open_table(directory) as env, env.begin() as txn:
        found = []
        for name in (b"customers", b"tails"):
            with txn.cursor(env.open_db(name, txn, create=False)) as cursor:
                found.append(set(cursor.iternext(values=False)))
    return found[0], found[1]


def open_table(directory: Path) -> lmdb.Environment:
    return lmdb.open(str(table_file(directory)), subdir=False, lock=False, max_dbs=5)


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Path]:
    """A closed store of three customers whose records have one tail, and one whose record has two."""
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for number in range(3):
            store.put(f"c-{number}", b"head" * (PAGE_BYTES // 4) + b"tail-%d" % number, None)
        store.put("c-3", bytes(3 * PAGE_BYTES // 2), None)
        move(store)
    heads = {b"c-0", b"c-1", b"c-2", b"c-3"}
    assert pieces(tmp_path) == (heads, heads | {b"c-3\0"})
    yield tmp_path


def test_every_length_near_a_limit_comes_back_after_every_other(tmp_path):
    """Each customer goes through the lengths in an order of its own; a dictionary knows what must be there."""
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    lengths = sizes_near_limits()
    orders = {f"c-{number:02d}": rng.sample([*lengths, 0, 0, 0, 10, 100_000], len(lengths) + 5) for number in range(12)}
    expected: dict[str, bytes] = {}
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for turn in range(len(lengths) + 5):
            for name in rng.sample(sorted(orders), 7):
                value = expected[name] = rng.randbytes(orders[name][turn])
                store.put(name, value, turn if value and turn % 2 else None, 0 if value and turn % 3 else None)
            token = move(store)
            assert {name: store.get(name) or b"" for name in expected} == expected
    assert verify_shard(tmp_path, SHARD).findings == ()
    compact_shard(tmp_path, SHARD)
    assert verify_shard(tmp_path, SHARD).findings == ()
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        assert {name: store.get(name) or b"" for name in expected} == expected
        assert store.sizes().customers == sum(map(bool, expected.values()))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5 * PAGE_BYTES), st.integers(1, 416), st.sampled_from([4096, 16384]))
def test_a_head_fills_its_pages_and_three_tails_fit_in_one(record_bytes, key_bytes, page_bytes):
    cuts = RecordPages(None, None, page_bytes).cuts(b"k" * key_bytes, record_bytes)
    assert cuts[-1] == record_bytes and len(cuts) <= 3
    for begin, end in pairwise(cuts):
        assert (cuts[0] + 16) % page_bytes == 0
        assert begin < end and 3 * (end - begin + key_bytes + 1 + 10) <= page_bytes - 16


def test_lmdb_gives_no_tail_pages_of_its_own(tmp_path):
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for number, length in enumerate(sizes_near_limits()):
            store.put(f"{number:04d}", bytes(length), None)
        move(store)
    with open_table(tmp_path) as env, env.begin() as txn:
        found = txn.stat(env.open_db(b"tails", txn, create=False))
    assert found["entries"] > 20
    assert found["overflow_pages"] == 0


def test_records_take_a_sixth_more_than_their_bytes_at_most(tmp_path):
    """As many that fill half of their last page as not; in whole pages they would take a quarter more."""
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for number in range(3000):
            store.put(f"c-{number:05d}", bytes(3 * PAGE_BYTES // 2 + number % 1000 * PAGE_BYTES // 1000), None)
        token = move(store)
    compact_shard(tmp_path, SHARD)
    value_bytes = verify_shard(tmp_path, SHARD).value_bytes
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        assert store.sizes().table_bytes < 7 / 6 * value_bytes


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("key", [b"c-1", b"c-3", b"c-3\0"])
def test_damage_in_a_tail_is_refused_when_read_and_found_by_verify(split, key, damage):
    with open_table(split) as env, env.begin(write=True) as txn:
        tails = env.open_db(b"tails", txn, create=False)
        tail = txn.get(key, db=tails)
        if damage == "gone":
            txn.delete(key, db=tails)
        else:
            txn.put(key, tail[:-1] + (b"" if damage == "cut" else b"?"), db=tails)
    (finding,) = verify_shard(split, SHARD).findings
    assert "customers.mdb: the record with key digest" in finding and "is damaged" in finding
    with closing(DiskStore.open(split, SHARD)) as store:
        assert store._table.get("c-0") is not None
        with pytest.raises(StoreError, match="is damaged"):
            store._table.get(key[:3].decode())


def test_verify_finds_tails_that_belong_to_nobody(split):
    with open_table(split) as env, env.begin(write=True) as txn:
        tails = env.open_db(b"tails", txn, create=False)
        for key in (b"nobody", b"nobody\0", b"c-1\0"):
            txn.put(key, b"tail", db=tails)
    (finding,) = verify_shard(split, SHARD).findings
    assert "3 tails belong to no record" in finding


def test_a_table_of_format_2_is_read_and_written_on(tmp_path):
    """Its records are whole, whatever their length; one that is written anew gets a tail."""
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for number in range(5):
            store.put(f"c-{number}", b"old" * PAGE_BYTES, number)
        token = move(store)
    with open_table(tmp_path) as env, env.begin(write=True) as txn:
        customers, tails = env.open_db(b"customers", txn), env.open_db(b"tails", txn)
        for number in range(5):
            key = b"c-%d" % number
            found = [txn.get(key, b"", db=tails), txn.get(key + b"\0", b"", db=tails)]
            txn.put(key, txn.get(key, db=customers) + b"".join(found), db=customers)
        txn.drop(tails)
        txn.put(b"format", struct.pack("<HI", 2, SHARD), db=env.open_db(b"about", txn))
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        assert store.restore(token) == b"clock"
        assert [store.get(f"c-{number}") for number in range(5)] == [b"old" * PAGE_BYTES] * 5
        assert [name for _, name in store.timers_until(9)] == [f"c-{number}" for number in range(5)]
        store.put("c-1", b"new" * PAGE_BYTES, None)
        store.put("c-2", b"", None)
        move(store)
        found = [store.get(f"c-{number}") for number in range(5)]
        assert found == [b"old" * PAGE_BYTES, b"new" * PAGE_BYTES, None, *[b"old" * PAGE_BYTES] * 2]
    assert verify_shard(tmp_path, SHARD).findings == ()
    heads, tails = pieces(tmp_path)
    assert len(heads) == 4 and tails <= {b"c-1", b"c-1\0"}
