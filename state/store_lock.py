"""One process per shard folder."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from state.store_error import StoreError, unopened, unwritten


class FolderLock:
    """An exclusive lock on a folder, held until close() or the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreError if another process holds the lock (its pid is named) or the folder can't be written."""
        path = folder / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unopened(path, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._fd, 256, 0).decode("utf-8", "replace") or "unknown"
            os.close(self._fd)
            raise StoreError(
                f"{folder}: in use by process {owner}. Stop that process first; two workers must not share a shard"
            ) from error
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise unwritten(path, error) from error

    def close(self) -> None:
        """Gives the folder up."""
        os.close(self._fd)
