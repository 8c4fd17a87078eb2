"""What a person sees when a store cannot go on, and that nothing committed is lost by it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from state import redo_log, store_position, store_table
from state.memory_store import MemoryStore
from state.store import DiskStore, shard_folder
from state.store_check import compact_shard, inspect_shard, verify_shard
from state.store_error import StoreError

SHARD = 3


def filled(directory: Path, customers: int = 50, moved: int = 0, **options) -> bytes:
    """A closed store with a proven checkpoint of which `moved` customers are in the table; returns the token."""
    with closing(DiskStore.open(directory, SHARD, **options)) as store:
        store.restore(None)
        for number in range(customers):
            store.put(f"c-{number:03d}", b"profile %d " % number * 40, number)
        token = store.checkpoint(b"clock")
        store.proven()
        store.write_behind(moved)
    return token


def segment(directory: Path) -> Path:
    return sorted(shard_folder(directory, SHARD).glob("redo-*.log"))[-1]


def table_file(directory: Path) -> Path:
    return shard_folder(directory, SHARD) / store_table.FILE_NAME


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def restore_error(directory: Path, token: bytes | None) -> str:
    with pytest.raises(StoreError) as caught, closing(DiskStore.open(directory, SHARD)) as store:
        store.restore(token)
    return str(caught.value)


def test_a_checkpoint_from_before_the_one_last_resumed_at_can_still_be_resumed_at(tmp_path):
    """Both are of one timeline, which the first resume gave up from its own checkpoint on: what came before stays as it was."""
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        store.put("c", b"one", None)
        one = store.checkpoint(b"first")
        store.proven()
        store.put("c", b"two", None)
        two = store.checkpoint(b"second")
    for token, value, meta in ((two, b"two", b"second"), (one, b"one", b"first"), (two, b"one", b"first")):
        with closing(DiskStore.open(tmp_path, SHARD)) as store:
            assert store.restore(token) == meta  # at last the second one is what the engine never committed
            assert store.get("c") == value


def test_a_damaged_log_record_is_named_with_file_and_offset_and_verify_finds_it(tmp_path):
    token = filled(tmp_path)
    assert verify_shard(tmp_path, SHARD).findings == ()
    flip(segment(tmp_path), 500)
    message = restore_error(tmp_path, token)
    assert str(segment(tmp_path)) in message and "at byte " in message and "backup" in message
    (finding,) = verify_shard(tmp_path, SHARD).findings
    assert finding == message


@pytest.mark.parametrize("offset", range(0, 4000, 37))
def test_no_flipped_bit_before_the_token_goes_unseen(tmp_path, offset):
    token = filled(tmp_path, customers=12)
    flip(segment(tmp_path), offset)
    restore_error(tmp_path, token)


def test_a_torn_tail_beyond_the_token_is_no_damage(tmp_path):
    token = filled(tmp_path)
    with segment(tmp_path).open("ab") as file:
        file.write(b"\x99" * 77)
    report = verify_shard(tmp_path, SHARD)
    assert (report.findings, report.unfinished_bytes) == ((), 77)
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        assert store.restore(token) == b"clock"
        assert len(list(store.customers())) == 50


@pytest.mark.parametrize("name", ["redo-copy.log", "redo-1.log", "redo-0000000001 (copy).log"])
def test_a_copy_of_a_segment_under_another_name_is_no_segment(tmp_path, name):
    token = filled(tmp_path)
    segment(tmp_path).with_name(name).write_bytes(segment(tmp_path).read_bytes() + b"more")
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        assert store.restore(token) == b"clock"
    assert verify_shard(tmp_path, SHARD).findings == ()


def test_a_damaged_table_record_is_refused_when_read_and_found_by_verify(tmp_path):
    token = filled(tmp_path, moved=50)
    path = table_file(tmp_path)
    flip(path, path.read_bytes().index(b"profile 7 profile 7 ") + 30)
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        assert store.get("c-008") is not None
        with pytest.raises(
            StoreError, match=r"customers\.mdb: the record with key digest .* is damaged \(crc32 differs\)"
        ):
            store.get("c-007")
    assert len(verify_shard(tmp_path, SHARD).findings) == 1


def test_a_table_that_lost_its_end_is_damage_and_does_not_kill_the_process(tmp_path):
    filled(tmp_path, customers=2000, moved=2000)
    os.truncate(table_file(tmp_path), 40_960)
    script = (
        "import sys; from pathlib import Path; from state.store_check import verify_shard;"
        "sys.exit(10 + bool(verify_shard(Path(sys.argv[1]), 3).findings))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode == 1 and "StoreError" in done.stderr) or done.returncode == 11, done.stderr


def test_a_table_full_of_rubbish_is_refused(tmp_path):
    filled(tmp_path)
    table_file(tmp_path).write_bytes(b"rubbish!" * 4096)
    with pytest.raises(StoreError, match=r"customers\.mdb: cannot be used"):
        DiskStore.open(tmp_path, SHARD)


@pytest.mark.parametrize("module", [redo_log, store_table, store_position])
def test_a_newer_version_is_refused_with_what_to_do(tmp_path, monkeypatch, module):
    monkeypatch.setattr(module, "FORMAT_VERSION", module.FORMAT_VERSION + 1)
    token = filled(tmp_path)
    monkeypatch.undo()
    assert "written by a newer version of segone" in restore_error(tmp_path, token)


def test_a_table_of_format_1_is_written_on_with_an_index_of_holders(tmp_path):
    token = filled(tmp_path, moved=50)
    with lmdb.open(str(table_file(tmp_path)), subdir=False, lock=False, max_dbs=5) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"holders", txn))
        txn.put(b"format", struct.pack("<HI", 1, SHARD), db=env.open_db(b"about", txn))
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        assert store.restore(token) == b"clock"
        assert (store.get("c-007"), store.holders(0, "", 9)) == (b"profile 7 " * 40, [])
        store.put("c-007", b"holder", None, 0)
        store.checkpoint(b"clock")
        store.proven()
        store.write_behind(10)
        assert (store.get("c-007"), store.holders(0, "", 9)) == (b"holder", ["c-007"])
    assert verify_shard(tmp_path, SHARD).findings == ()


def test_verify_finds_an_index_that_differs_from_the_records(tmp_path):
    filled(tmp_path, moved=50)
    with lmdb.open(str(table_file(tmp_path)), subdir=False, lock=False, max_dbs=5) as env, env.begin(write=True) as txn:
        txn.put(b"\0\0\0\1c-001", b"c-001", db=env.open_db(b"holders", txn))
    (finding,) = verify_shard(tmp_path, SHARD).findings
    assert "the index of holders differs from the records in 1 entries" in finding


def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path; from state.store import DiskStore\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "DiskStore.open(Path(sys.argv[1]), 3)"
    )
    tmp_path.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert f"StoreError: {tmp_path}" in done.stderr and "Permission denied" in done.stderr


@pytest.mark.parametrize("room", range(3))
def test_too_many_open_files_are_no_damage(tmp_path, room):
    with closing(DiskStore.open(tmp_path, 0)) as store:
        store.restore(None)
        token = store.checkpoint(b"meta")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"Too many open files.*Nothing is damaged.*ulimit -n"):
            DiskStore.open(tmp_path, 0).restore(token)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with closing(DiskStore.open(tmp_path, 0)) as store:
        assert store.restore(token) == b"meta"


def test_no_memory_for_the_table_is_no_damage(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise lmdb.Error("customers.new: Cannot allocate memory")

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(StoreError, match=r"Cannot allocate memory.*Nothing is damaged"):
        DiskStore.open(tmp_path, 0)


def test_a_second_process_is_told_who_has_the_folder(tmp_path):
    with (
        closing(DiskStore.open(tmp_path, SHARD)),
        pytest.raises(StoreError, match=rf"in use by process {os.getpid()} on "),
    ):
        DiskStore.open(tmp_path, SHARD)
    DiskStore.open(tmp_path, SHARD).close()


def test_a_full_disk_under_the_log_stops_the_checkpoint_and_loses_nothing(tmp_path, monkeypatch):
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        store.put("c-0", b"before", None)
        first = store.checkpoint(b"1")
        store.proven()
        store.put("c-1", b"x" * 5000, None)
        room = [1000]

        def pwrite(fd: int, data: memoryview, offset: int) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, room[0] = min(len(data), room[0]), room[0] - min(len(data), room[0])
            return os_pwrite(fd, data[:taken], offset)

        os_pwrite = os.pwrite
        monkeypatch.setattr(redo_log.os, "pwrite", pwrite)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"redo-0000000001\.log: no space left .* free space"):
                store.checkpoint(b"2")
        monkeypatch.setattr(redo_log.os, "pwrite", os_pwrite)
        assert store.get("c-1") == b"x" * 5000
        second = store.checkpoint(b"3")
    for token, meta, value in ((second, b"3", b"x" * 5000), (first, b"1", None)):
        with closing(DiskStore.open(tmp_path, SHARD)) as store:
            assert (store.restore(token), store.get("c-0"), store.get("c-1")) == (meta, b"before", value)


def test_a_full_disk_under_the_table_loses_nothing(tmp_path):
    token = filled(tmp_path, customers=300)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        resource.setrlimit(resource.RLIMIT_FSIZE, (table_file(tmp_path).stat().st_size + 8192, before[1]))
        try:
            with pytest.raises(StoreError, match=r"customers\.mdb: cannot be written, no space left"):
                store.write_behind(1000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert store.get("c-299") == b"profile 299 " * 40
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        assert store.restore(token) == b"clock"
        assert store.write_behind(1000) == 0
        assert len(list(store.customers())) == 300
    assert verify_shard(tmp_path, SHARD).findings == ()


def test_the_table_grows_up_to_its_limit_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(store_table, "MAP_BYTES_FIRST", 64 * 1024)
    with closing(DiskStore.open(tmp_path, SHARD, map_bytes_max=1024 * 1024)) as store:
        store.restore(None)
        for number in range(600):
            store.put(f"c-{number}", b"p" * 3000, number)
        token = store.checkpoint(b"clock")
        store.proven()
        with pytest.raises(StoreError, match=r"full at its limit of 1048576 bytes \(map_bytes_max\)"):
            while store.write_behind(50):
                pass
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        assert store.write_behind(1000) == 0
        assert store.sizes().customers == 600


def test_a_lost_recovery_folder_is_refused_instead_of_wiping_the_profiles(tmp_path):
    filled(tmp_path)
    assert "Beginning from nothing would wipe them" in restore_error(tmp_path, None)
    assert inspect_shard(tmp_path, SHARD).log_checkpoint == 1


def test_a_lost_or_older_state_folder_is_refused(tmp_path):
    token = filled(tmp_path / "a")
    assert "this segment is missing" in restore_error(tmp_path / "b", token)
    other = filled(tmp_path / "c")
    assert other != token
    assert "another checkpoint stands in its place" in restore_error(tmp_path / "c", token)
    assert verify_shard(tmp_path / "c", SHARD).log_checkpoint == 1


def test_tokens_of_other_shards_and_rubbish_are_refused(tmp_path):
    token = filled(tmp_path)
    with pytest.raises(StoreError, match="token is of shard 3"):
        store_position.decode_token(token, 4)
    assert "is damaged" in restore_error(tmp_path, token[:-1] + b"?")
    assert "something else" in restore_error(tmp_path, b"pickle")


def test_compaction_keeps_every_customer_and_gives_space_back(tmp_path):
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(None)
        for number in range(3000):
            store.put(f"c-{number}", b"p" * 3000, number)
        store.checkpoint(b"1")
        store.proven()
        store.write_behind(3000)
        for number in range(3000):
            store.put(f"c-{number}", b"p" * 100, number)
        token = store.checkpoint(b"2")
        store.proven()
        store.write_behind(3000)
    before, after = compact_shard(tmp_path, SHARD)
    assert after < before / 10
    assert verify_shard(tmp_path, SHARD).findings == ()
    with closing(DiskStore.open(tmp_path, SHARD)) as store:
        store.restore(token)
        assert len(store.timers_until(3000)) == 3000 == len(list(store.customers()))


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_timers_are_those_of_a_dictionary_however_many_there_are(tmp_path, kind):
    store = MemoryStore() if kind == "memory" else DiskStore.open(tmp_path, SHARD)
    hour_us = 3_600_000_000
    with closing(store):
        store.restore(None)
        timers: dict[str, int] = {}
        for turn in range(12):
            for number in range(500):
                customer = f"c-{(number * 7 + turn * 13) % 1500}"
                timers[customer] = (number * 37 + turn * 11) % 24 * hour_us
                store.put(customer, b"value", timers[customer])
            store.checkpoint(b"")
            store.proven()
            store.write_behind(300 + turn * 100)
            clock_us = turn * hour_us
            expected = sorted((time_us, customer) for customer, time_us in timers.items() if time_us <= clock_us)
            assert store.timers_until(clock_us) == expected
    if kind == "disk":
        assert verify_shard(tmp_path, SHARD).findings == ()


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_holders_come_page_by_page_while_they_move_to_the_table(tmp_path, kind):
    store = MemoryStore() if kind == "memory" else DiskStore.open(tmp_path, SHARD)
    with closing(store):
        store.restore(None)
        holder_in: dict[str, int | None] = {}
        for turn in range(12):
            for number in range(60):
                customer = f"c-{(number * 7 + turn * 13) % 150}"
                holder_in[customer] = (None, 0, 0, 1)[(number + turn) % 4]
                store.put(customer, b"value", None, holder_in[customer])
            store.checkpoint(b"")
            store.proven()
            store.write_behind(10 + turn)
            for partition, count_max in ((0, 7), (1, 1), (2, 5)):
                found: list[str] = []
                while page := store.holders(partition, found[-1] if found else "", count_max):
                    found += page
                assert found == sorted(customer for customer, where in holder_in.items() if where == partition)
    if kind == "disk":
        assert verify_shard(tmp_path, SHARD).findings == ()


def test_a_memory_store_cannot_pretend_to_be_restored():
    with pytest.raises(StoreError, match="cannot be restored"):
        MemoryStore().restore(b"token")


def test_with_power_durability_the_log_is_on_the_disk_before_the_token_exists(tmp_path, monkeypatch):
    synced: list[int] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(redo_log.os, "fdatasync", lambda fd: (synced.append(os.fstat(fd).st_size), fdatasync(fd)))
    token = filled(tmp_path, durability="power")
    offset = store_position.decode_token(token, SHARD).offset
    assert synced == [offset] == [struct.unpack_from("<Q", token, 18)[0]]


def test_after_a_failed_fsync_nothing_more_is_promised(tmp_path, monkeypatch):
    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with closing(DiskStore.open(tmp_path, SHARD, "power")) as store:
        store.restore(None)
        monkeypatch.setattr(redo_log.os, "fdatasync", fails)
        with pytest.raises(StoreError, match="Input/output error"):
            store.checkpoint(b"1")
        monkeypatch.undo()
        with pytest.raises(StoreError, match="Input/output error"):
            store.checkpoint(b"2")
