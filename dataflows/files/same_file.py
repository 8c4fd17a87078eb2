"""Whether a file is still the one that a position was noted of: what lies just before the position tells."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

TAIL_BYTES = 1024
"""Several records: ids and times in them are no other file's."""


def tail_of(path: Path, position: int) -> str:
    """A digest of what lies before `position` in a file; empty for nothing, and where it can't be read, which who reads on will say.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "0.jsonl"
    ...     _ = path.write_bytes(b"abcd")
    ...     tail_of(path, 0), tail_of(path, 2), tail_of(path, 5)
    ('', '0e52b5f187de1088', '')
    """
    if position == 0:
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, position - TAIL_BYTES))
            tail = file.read(min(position, TAIL_BYTES))
    except OSError:
        return ""
    return blake2b(tail, digest_size=8).hexdigest() if len(tail) == min(position, TAIL_BYTES) else ""
