"""Text out of data for people: a terminal obeys escape sequences, a reader is misled by marks that turn the direction of writing."""

from __future__ import annotations


def harmless(text: object) -> str:
    r"""`text` with each control, format, private or unassigned character written as an escape.

    Ids, names and descriptions come from outside: an escape sequence in a merchant's name must not move the cursor, and a
    mark that turns the direction of writing must not make a sentence read otherwise than it is.

    >>> print(harmless("ok\x1b[31m"), harmless("a\u202eb"), harmless("Žižkov 7"))
    ok\x1b[31m a\u202eb Žižkov 7
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
