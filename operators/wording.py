"""Numbers in sentences: what reasons' texts share."""

from __future__ import annotations


def counted(number: float, one: str, many: str = "") -> str:
    """So many things, as a whole number; `many` if that is not `one` with an "s".

    >>> counted(1.2, "payment"), counted(0, "payment"), counted(3, "payment that was late", "payments that were late")
    ('1 payment', '0 payments', '3 payments that were late')
    """
    rounded = f"{number:.0f}"
    return f"{rounded} {one}" if rounded == "1" else f"{rounded} {many or one + 's'}"
