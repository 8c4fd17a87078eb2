"""Lines too long to be records: their beginning is kept and their end looked for, so that memory stays bounded."""

from __future__ import annotations

from typing import BinaryIO, Final

LINE_BYTES_MAX: Final = 4 << 20
"""Without the LF. 64 times the largest record that is looked into; longer lines keep so much of them."""
CHUNK_BYTES: Final = 1 << 20
"""So much of a file is read at a time."""


def skip_line(file: BinaryIO, bytes_max: int | None) -> tuple[int, bool]:
    """How many bytes of a line are left in `file`, its LF included, and whether it has one. Looks no farther than `bytes_max`.
    The file is then anywhere."""
    skipped = 0
    while chunk := file.read(CHUNK_BYTES if bytes_max is None else max(0, min(CHUNK_BYTES, bytes_max - skipped))):
        if b"\n" in chunk:
            return skipped + chunk.index(b"\n") + 1, True
        skipped += len(chunk)
    return skipped, False
