"""Whole numbers in names and notes that anybody may have written: digits alone, and not more of them than the numbers that they stand for
can have. Python refuses to read thousands of digits."""

from __future__ import annotations

from typing import Final

DIGITS_MAX: Final = 18
"""So many fit into 64 bits, where offsets, lengths and partition numbers have to."""


def whole_number(text: str) -> int | None:
    """The number that a text is, from 0 on; None if it is none.

    >>> whole_number("1024"), whole_number("-1"), whole_number("٣"), whole_number("9" * 5000)
    (1024, None, None, None)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None
