"""Dead letters on the terminal, and as JSON."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from typing import Any

from rich.table import Table

from dataflows.commands.letters import Letter
from dataflows.commands.terminal import console, harmless, plain, shortened
from operators.decode import CODES

ORIGINAL_CHARACTERS_MAX = 240

Counts = Counter[tuple[str, str, bool]]
"""How many letters there are by (topic, code, sent again)."""


def print_letters(counts: Counts, first: list[tuple[Letter, bool]]) -> None:
    """The counts, then the letters given, each with a shortened view of its original in which nothing acts on the terminal."""
    screen = console()
    total = sum(counts.values())
    screen.print(plain(f"dead letters: {total:,}", "bold"))
    if not total:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("topic", "code", "letters", "sent again", "meaning"):
        table.add_column(name, justify="right" if name in ("letters", "sent again") else "left", overflow="fold")
    for topic, code in sorted({(topic, code) for topic, code, _ in counts}):
        sent, waiting = counts[topic, code, True], counts[topic, code, False]
        meaning = plain(CODES.get(code, ""), "dim")
        table.add_row(plain(topic), plain(code), plain(f"{sent + waiting:,}"), plain(f"{sent:,}"), meaning)
    screen.print(table)
    for letter, sent in first:
        screen.print()
        note = "  (sent again)" if sent else ""
        screen.print(plain(f"{letter.position}  {letter.code} at {letter.path}: {letter.message}{note}", "bold"))
        screen.print(plain(f"    {view(letter.original)}"))
    if len(first) < total:
        screen.print()
        screen.print(
            plain(f"{total - len(first):,} more; --limit N shows more of them, --topic and --code choose", "dim")
        )


def view(original: bytes) -> str:
    r"""The beginning of a record for people: bytes that are no UTF-8, and all that a terminal would obey, as escapes.

    >>> print(view(b'{"a": "\xff\x1b[2J"}'))
    {"a": "\xff\x1b[2J"}
    """
    beginning = original[: 4 * ORIGINAL_CHARACTERS_MAX].decode("utf-8", "backslashreplace")
    shown = shortened(harmless(beginning), ORIGINAL_CHARACTERS_MAX)
    return f"{shown} ({len(original):,} bytes)" if shown.endswith("…") else shown


def as_json(letter: Letter, sent: bool) -> dict[str, Any]:
    """A letter in the form of its line in a file, and whether it was sent again."""
    body: dict[str, Any] = {
        "code": letter.code,
        "path": letter.path,
        "message": letter.message,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "arrived_at": letter.arrived_at,
    }
    if letter.original_bytes:
        body["original_bytes"] = letter.original_bytes
    try:
        body["original"] = letter.original.decode()
    except UnicodeDecodeError:
        body["original_base64"] = b64encode(letter.original).decode()
    return body | {"redriven": sent}
