"""The shelf: files through which a knowledge key tells every process what is in force.

    <state>/knowledge/<key>/shelf/announced.json             which buckets are closed, and whom this incarnation has heard
                                  0000017744.versions        what came into force at the end of bucket 17744
                                  0000017740.base            all that was in force at the end of bucket 17740

Files appear whole (written beside their place, then renamed) and never change. One key writes its folder, all processes read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from operators.knowledge.buckets import NONE_CLOSED, Versions
from operators.knowledge.facts import MODEL_PREFIX
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import ModelVersion
from state.redo_log import sync_folder
from state.store import no_crash
from state.store_error import StoreError, unopened, unwritten

INCREMENTS_MAX = 32
"""After so many files a new base is written."""

Fold = Callable[[Versions], Versions]
"""Out of all versions in the order in which they came, those that are still needed."""

_rows = msgspec.msgpack.Decoder(list[MerchantRow])
_models = msgspec.msgpack.Decoder(list[ModelVersion])
_encoder = msgspec.msgpack.Encoder()


class Announcement(msgspec.Struct):
    """Written by a key. `nonces`: the source partitions' starts that it has heard of in its present life."""

    closed: int
    nonces: list[int]


class Listing(NamedTuple):
    """The buckets that a shelf has files of: bases and increments, oldest first."""

    bases: list[int]
    increments: list[int]


def shelf_folder(state_dir: Path, key: str) -> Path:
    return state_dir / "knowledge" / key / "shelf"


def decode(key: str, data: bytes) -> Versions:
    return _models.decode(data) if key.startswith(MODEL_PREFIX) else _rows.decode(data)


def listing(folder: Path) -> Listing:
    """What is there now; nothing if the folder is not."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return Listing([], [])
    bases = sorted(int(name[:10]) for name in names if name.endswith(".base"))
    return Listing(bases, sorted(int(name[:10]) for name in names if name.endswith(".versions")))


def base_path(folder: Path, bucket: int) -> Path:
    return folder / f"{bucket:010d}.base"


def increment_path(folder: Path, bucket: int) -> Path:
    return folder / f"{bucket:010d}.versions"


def read_announcement(folder: Path) -> Announcement | None:
    """None while the key has announced nothing. Raises StoreError for a damaged file."""
    path = folder / "announced.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Announcement)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unopened(path, error) from error
    except ValueError as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise StoreError(
            f"{path}: is damaged ({error}). Stop the workers and remove it: the next start writes it anew"
        ) from error


class Shelf:
    """The writing side of one key's folder. `sync`: files are on the disk when they are announced."""

    def __init__(
        self, state_dir: Path, key: str, *, sync: bool = False, crash_point: Callable[[str], None] = no_crash
    ) -> None:
        self.folder = shelf_folder(state_dir, key)
        self._key = key
        self._sync = sync
        self._crash_point = crash_point
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unopened(self.folder, error) from error

    def cut(self, closed: int) -> None:
        """Removes what came into force after bucket `closed`: an earlier life of this key went further than the engine committed.

        Raises StoreError if the end of `closed` itself is not there: without it, older versions would score in silence."""
        found = listing(self.folder)
        if closed != NONE_CLOSED and closed not in (*found.bases, *found.increments):
            raise StoreError(
                f"{increment_path(self.folder, closed)}: is gone, and the state holds what was learned after it. Restore the state folder "
                "together with the recovery folder from a backup, or delete both and replay the input"
            )
        try:
            (self.folder / "announced.json").unlink(missing_ok=True)
            for draft in self.folder.glob("*.new"):
                draft.unlink()
            for bucket in found.increments:
                if bucket > closed:
                    increment_path(self.folder, bucket).unlink()
            for bucket in found.bases:
                if bucket > closed:
                    base_path(self.folder, bucket).unlink()
        except OSError as error:
            raise unopened(self.folder, error) from error
        self._crash_point("shelf.cut")

    def put(self, bucket: int, versions: Versions) -> None:
        self._write(increment_path(self.folder, bucket), _encoder.encode(versions))
        self._crash_point("shelf.written")

    def announce(self, closed: int, nonces: list[int]) -> None:
        self._crash_point("shelf.before_announcement")
        self._write(self.folder / "announced.json", msgspec.json.encode(Announcement(closed, nonces)))
        self._crash_point("shelf.announced")

    def compact(self, proven: int, fold: Fold) -> None:
        """Makes one base of all that came into force up to bucket `proven`, when there are many files. No process will ever
        resume before it, since the engine has committed that the bucket is closed."""
        bases, increments = listing(self.folder)
        covered = [bucket for bucket in increments if bucket <= proven]
        if len(covered) < INCREMENTS_MAX:
            return
        until = covered[-1]
        paths = [base_path(self.folder, bucket) for bucket in bases[-1:]]
        paths += [increment_path(self.folder, bucket) for bucket in covered if not bases or bucket > bases[-1]]
        versions = [version for path in paths for version in read_versions(self._key, path)]
        self._write(base_path(self.folder, until), _encoder.encode(fold(versions)))
        self._crash_point("shelf.compacted")
        try:
            for bucket in bases:
                # A crash right here leaves the increments: then the next base may get the name of one that is there.
                if bucket != until:
                    base_path(self.folder, bucket).unlink()
            for bucket in covered:
                increment_path(self.folder, bucket).unlink()
        except OSError as error:
            raise unopened(self.folder, error) from error

    def _write(self, path: Path, data: bytes) -> None:
        draft = path.with_suffix(path.suffix + ".new")
        try:
            with draft.open("wb") as file:
                file.write(data)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
            self._crash_point("shelf.before_rename")
            draft.replace(path)
            if self._sync:
                sync_folder(self.folder)
        except OSError as error:
            raise unwritten(path, error) from error


def read_versions(key: str, path: Path) -> Versions:
    """Raises FileNotFoundError if the file was folded into a base meanwhile; StoreError if it is damaged."""
    try:
        return decode(key, path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unopened(path, error) from error
    except ValueError as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise StoreError(
            f"{path}: is damaged ({error}). Restore the state folder together with the recovery folder from a backup, "
            "or delete both and replay the input"
        ) from error


def closed_for(folders: list[Path], nonce: int) -> int | None:
    """The newest bucket that all keys have closed (NONE_CLOSED: none yet); None until all of them have heard of the start `nonce`."""
    closed: int | None = None
    for folder in folders:
        announcement = read_announcement(folder)
        if announcement is None or nonce not in announcement.nonces:
            return None
        closed = announcement.closed if closed is None else min(closed, announcement.closed)
    return NONE_CLOSED if closed is None else closed
