"""The lock of a state folder: who is told what when it can't be had."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from state.store_error import StoreError
from state.store_lock import FolderLock


def test_a_file_system_without_locks_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"cannot be locked \(No locks available\)"):
        FolderLock(tmp_path)
