"""The one error of the state store, and the two places where it is made from what the operating system said."""

from __future__ import annotations

import errno
from pathlib import Path

_OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OUT_OF_MEANS = {
    errno.EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE) to five for each shard of a process and 200",
    errno.ENFILE: "raise the machine's limit of open files (fs.file-max)",
    errno.ENOMEM: "give the worker more memory or address space (ulimit -v)",
}
"""What the process or the machine has too little of, and what to do: no fault of any file."""


class StoreError(Exception):
    """The state store cannot go on. The message says what happened, where (file and offset) and what to do."""


def unwritten(path: Path, error: OSError) -> StoreError:
    """The error for a write to `path` that failed. Whatever was put stays in memory and in the log as far as it got."""
    if error.errno in _OUT_OF_SPACE:
        return StoreError(
            f"{path}: no space left ({error.strerror}). Nothing that was committed is lost: free space and go on, "
            "or restart the worker"
        )
    return StoreError(f"{path}: cannot be written ({error.strerror}). See to the disk, then restart the worker")


def unopened(path: Path, error: OSError) -> StoreError:
    """The error for a file or folder that could not be opened or created."""
    if error.errno in OUT_OF_MEANS:
        remedy = OUT_OF_MEANS[error.errno]
        return StoreError(
            f"{path}: cannot be opened ({error.strerror}). Nothing is damaged: {remedy}, then start again"
        )
    return StoreError(
        f"{path}: cannot be opened for writing ({error.strerror}). "
        "Give the worker's user read and write permission to the state folder and all in it, or choose another folder"
    )


def newer(path: Path, found: int, known: int) -> StoreError:
    """The error for a file whose format is of a later version than this program reads."""
    return StoreError(
        f"{path}: written by a newer version of segone (format {found}; this one reads {known}). "
        "Run that newer version again; an older one cannot read its state"
    )


def damaged(path: Path, offset: int, finding: str) -> StoreError:
    """The error for bytes that are not what was written; `offset` in bytes from the start of the file."""
    return StoreError(
        f"{path} at byte {offset}: damaged ({finding}). See `segone state verify`; restore the state folder together "
        "with the recovery folder from a backup, or delete both and replay the input"
    )
