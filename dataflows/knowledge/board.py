"""What is in force in this process: the shelves of all knowledge keys, read as far as the bucket in hand allows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

from dataflows.knowledge.pins import Pins, model_versions, pins_path, read_pins
from dataflows.knowledge.shelf import (
    base_path,
    increment_path,
    listing,
    read_versions,
    shelf_folder,
)
from operators.knowledge.board import Board
from operators.knowledge.buckets import NONE_CLOSED, Versions
from operators.knowledge.facts import MODEL_PREFIX
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import ModelVersion, PayloadError

TRIES = 5
"""How often files are looked for anew that were folded into a base between the look and the reading."""


class BoardReader:
    """Keeps `board` at the end of the bucket before the one in hand. One for each process."""

    def __init__(self, state_dir: Path, keys: list[str], bucket_us: int, *, live: bool = False) -> None:
        """`live`: pins are looked for at every tick, not only when a bucket begins."""
        self.board = Board()
        self._state_dir = state_dir
        self._live = live
        self._pins: Pins = {}
        self._pins_read_ns = 0
        self._folders = {key: shelf_folder(state_dir, key) for key in keys}
        self._bucket_us = bucket_us
        self._bucket = NONE_CLOSED
        self._read_until = dict.fromkeys(keys, NONE_CLOSED)
        self.is_complete = True
        """Whether all keys had closed the bucket before the one in hand when it was looked for."""

    def require(self, clock_us: int, *, tick: bool = False) -> None:
        """Before a record that arrives at `clock_us` is scored. Where a partition did not wait (live streams), what was missing is
        looked for again at each tick."""
        bucket = clock_us // self._bucket_us
        if bucket <= self._bucket and not tick:
            return
        if self._folders and (bucket > self._bucket or self._live):
            self._apply_pins()
        if bucket <= self._bucket and self.is_complete:
            return
        self._bucket = max(self._bucket, bucket)
        missing = [key for key in self._folders if not self._read(key, self._bucket - 1)]
        self.is_complete = not missing

    def _read(self, key: str, until: int) -> bool:
        """Puts on the board what came into force at the ends of buckets up to `until`. Whether the last of them was there."""
        for _ in range(TRIES - 1):
            try:
                return self._try_read(key, until)
            except FileNotFoundError:
                continue
        return self._try_read(key, until)

    def _try_read(self, key: str, until: int) -> bool:
        folder, found = self._folders[key], listing(self._folders[key])
        paths = [(bucket, base_path(folder, bucket)) for bucket in found.bases[-1:]]
        paths += [(bucket, increment_path(folder, bucket)) for bucket in found.increments if bucket <= until]
        for bucket, path in paths:
            if bucket > self._read_until[key]:
                put_up(self.board, key, read_versions(key, path))
                self._read_until[key] = bucket
        return self._read_until[key] >= until

    def _apply_pins(self) -> None:
        """Puts pinned versions in force and unpins the others, if the file of pins has changed."""
        try:
            changed_ns = pins_path(self._state_dir).stat().st_mtime_ns
        except FileNotFoundError:
            changed_ns = 0
        if changed_ns == self._pins_read_ns:
            return
        self._pins_read_ns, before, self._pins = changed_ns, self._pins, read_pins(self._state_dir)
        for name in before.keys() | self._pins.keys():
            kept = {version.version: version for version in model_versions(self._state_dir, name)}
            for role in before.get(name, {}).keys() | self._pins.get(name, {}).keys():
                version = kept.get(self._pins.get(name, {}).get(role, ""))
                if version is not None:
                    self.board.pin(version, role)
                else:
                    self.board.unpin(name, role)


def put_up(board: Board, key: str, versions: Versions) -> None:
    """Applies what came into force. A version of other features, as an older release has left it, is no model for this one: what
    was in force before stays so until this release has learned its own."""
    if key.startswith(MODEL_PREFIX):
        for version in cast(list[ModelVersion], versions):
            with suppress(PayloadError):
                board.apply_versions([version])
    else:
        board.apply_rows(cast(list[MerchantRow], versions))
