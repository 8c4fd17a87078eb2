"""The note beside a file of the embedded log: `<partition>.committed` holds how many bytes of `<partition>.jsonl` readers may trust."""

from __future__ import annotations

from pathlib import Path

from state.whole_numbers import whole_number


class DamagedNoteError(ValueError):
    """A note that holds no length. What that means, and what is to be done, the caller knows."""


def note_of(path: Path) -> Path:
    """
    >>> note_of(Path("in.labels/0.jsonl")).as_posix()
    'in.labels/0.committed'
    """
    return path.with_suffix(".committed")


def committed_length(path: Path) -> int | None:
    """How many bytes of a file are noted as committed; None where nothing is noted. Raises DamagedNoteError."""
    try:
        text = note_of(path).read_text("ascii", errors="replace").strip()
    except (FileNotFoundError, IsADirectoryError):
        return None
    length = whole_number(text)
    if length is None:
        raise DamagedNoteError(text[:40])
    return length
