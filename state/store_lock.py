"""One process per shard folder, and one cluster per state folder."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from state.store_error import StoreError, unopened, unwritten

RETRY_S = 0.02


class FolderLock:
    """An exclusive lock on a folder, held until close() or the end of the process, however it ends.

    A child process that is given the descriptor (`fileno`) holds it too, until it ends.
    """

    def __init__(self, folder: Path, patience_s: float = 0.0) -> None:
        """Waits up to `patience_s`, since a process that was killed needs a moment to be gone.

        Raises StoreError if another process holds the lock (its pid is named), if the folder can't be written, or if its file system
        has no locks.
        """
        path = folder / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unopened(path, error) from error
        try:
            self._lock(patience_s)
        except BlockingIOError as error:
            owner = os.pread(self._fd, 256, 0).decode("utf-8", "replace") or "unknown"
            os.close(self._fd)
            raise StoreError(
                f"{folder}: in use by process {owner}. Stop that process first; two workers must not share their state"
            ) from error
        except OSError as error:
            os.close(self._fd)
            raise StoreError(
                f"{folder}: cannot be locked ({error.strerror}). The state folder needs a file system with locks (flock): choose one "
                "on a disk of this machine"
            ) from error
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise unwritten(path, error) from error

    def fileno(self) -> int:
        """The descriptor that holds the lock."""
        return self._fd

    def _lock(self, patience_s: float) -> None:
        give_up_s = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= give_up_s:
                    raise
                time.sleep(RETRY_S)

    def close(self) -> None:
        """Gives the folder up."""
        os.close(self._fd)
