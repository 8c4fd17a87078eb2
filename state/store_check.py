"""Looking into a shard's folder from outside the engine: what it holds, whether it is sound, and making it smaller.

All three take the folder's lock, so the worker that owns the shard must be stopped. None needs a token, so what lies in
the log beyond the last checkpoint counts as unfinished, not as damage.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from state.redo_log import (
    SEGMENT_HEADER_BYTES,
    UNFINISHED,
    checkpoint_identity,
    find_segments,
    read_segment,
    segment_path,
    sync_folder,
)
from state.store import no_crash, shard_folder
from state.store_error import StoreError, unwritten
from state.store_lock import FolderLock
from state.store_position import BEGINNING
from state.store_record import CHECKPOINT, NO_TIMER, holder_of, timer_of
from state.store_table import COPY_NAME, FILE_NAME, MAP_BYTES_MAX, Table


class ShardReport(NamedTuple):
    """What a shard's folder holds. `checkpoint`: the number of the newest one in the table, `log_checkpoint` in the log;
    `unfinished_bytes`: what lies in the log beyond its newest checkpoint; `findings`: the damages, empty if sound."""

    shard: int
    customers: int
    timers: int
    value_bytes: int
    table_bytes: int
    log_segments: int
    log_bytes: int
    log_records: int
    checkpoint: int
    log_checkpoint: int
    unfinished_bytes: int
    findings: tuple[str, ...]


def inspect_shard(directory: Path, shard: int) -> ShardReport:
    """Sizes and positions; reads the log, but no customer. Raises StoreError if the folder can't be read."""
    return _report(directory, shard, every_customer=False)


def verify_shard(directory: Path, shard: int) -> ShardReport:
    """Reads every byte that counts: each record's checksum, each timer, the log's chain of segments. Damages become
    findings; StoreError only if the folder is in use or can't be opened at all."""
    return _report(directory, shard, every_customer=True)


def compact_shard(directory: Path, shard: int) -> tuple[int, int]:
    """Rewrites the table without free pages; returns its bytes before and after. A crash leaves the old one or the new
    one, never half of one. Raises StoreError if there is no space for the copy; the old table stays then."""
    folder = _existing(directory, shard)
    lock = FolderLock(folder)
    copy = folder / COPY_NAME
    try:
        copy.unlink(missing_ok=True)
        table = Table(folder, shard, True, MAP_BYTES_MAX, no_crash)
        before = table.size_bytes()
        try:
            table.copy_compacted(copy)
        finally:
            table.close()
        sync_folder(folder)
        copy.replace(folder / FILE_NAME)
        sync_folder(folder)
        return before, (folder / FILE_NAME).stat().st_blocks * 512
    except OSError as error:
        raise unwritten(copy, error) from error
    finally:
        copy.unlink(missing_ok=True)
        lock.close()


def _report(directory: Path, shard: int, every_customer: bool) -> ShardReport:
    folder = _existing(directory, shard)
    lock = FolderLock(folder)
    try:
        table = Table(folder, shard, False, MAP_BYTES_MAX, no_crash)
        try:
            return _read(folder, shard, table, every_customer)
        finally:
            table.close()
    finally:
        lock.close()


def _read(folder: Path, shard: int, table: Table, every_customer: bool) -> ShardReport:
    findings: list[str] = []
    value_bytes = _walk_table(table, findings) if every_customer else 0
    applied = BEGINNING
    try:
        applied, _ = table.applied()
        table.branch()
    except StoreError as error:
        findings.append(str(error))
    sizes = find_segments(folder)
    records = log_checkpoint = unfinished = 0
    missing = [number for number in range(min(sizes, default=1), max(sizes, default=0)) if number not in sizes]
    findings += [f"{segment_path(folder, number)}: missing between its neighbours" for number in missing]
    # The worker reads the log from where the table ends; the segment of that end may be gone if the end is its own.
    if sizes and min(sizes) > applied.segment + 1:
        findings.append(
            f"{table.path}: holds nothing of the checkpoints between {segment_path(folder, applied.segment).name} and "
            f"{segment_path(folder, min(sizes)).name}, where the log begins. Restore the state folder together with the recovery "
            "folder from a backup, or delete both and replay the input"
        )
    for number in sorted(sizes):
        if sizes[number] < SEGMENT_HEADER_BYTES and number == max(sizes):
            unfinished += sizes[number]
            continue
        try:
            for offset, kind, _, record in read_segment(
                segment_path(folder, number), shard, SEGMENT_HEADER_BYTES, None
            ):
                if kind == UNFINISHED:
                    unfinished += sizes[number] - offset
                    continue
                records += 1
                unfinished += len(record)
                if kind == CHECKPOINT:
                    log_checkpoint, _ = checkpoint_identity(record)
                    unfinished = 0
        except StoreError as error:
            findings.append(str(error))
    return ShardReport(
        shard, table.count(), table.timer_count(), value_bytes, table.size_bytes(), len(sizes), sum(sizes.values()),
        records, applied.number, log_checkpoint, unfinished, tuple(findings),
    )  # fmt: skip


def _walk_table(table: Table, findings: list[str]) -> int:
    """Checks all customers and that the indexes have what their records say and nothing else; returns the bytes of all records."""
    value_bytes = 0
    timers: set[tuple[int, str]] = set()
    holders: set[tuple[int, str]] = set()
    try:
        for customer_id, record in table.records():
            value_bytes += len(record)
            if timer_of(record) != NO_TIMER:
                timers.add((timer_of(record), customer_id))
            partition = holder_of(record)
            if partition is not None:
                holders.add((partition, customer_id))
        indexes = {
            "timers": timers ^ set(table.timers_between(-1, 2**63 - 1)),
            "holders": holders ^ table.all_holders(),
        }
        stray = table.stray_tails()
    except StoreError as error:
        findings.append(str(error))
        return value_bytes
    findings += [
        f"{table.path}: the index of {name} differs from the records in {len(differing)} entries. Restore the "
        "state folder together with the recovery folder from a backup, or delete both and replay the input"
        for name, differing in indexes.items()
        if differing
    ]
    if stray:
        findings.append(
            f"{table.path}: {stray} tails belong to no record. Restore the state folder together with the recovery folder from a "
            "backup, or delete both and replay the input"
        )
    return value_bytes


def _existing(directory: Path, shard: int) -> Path:
    folder = shard_folder(directory, shard)
    if not (folder / FILE_NAME).is_file():
        raise StoreError(f"{folder}: no store of a shard is here ({FILE_NAME} is missing). See that the path is right")
    return folder
