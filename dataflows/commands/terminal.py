"""What may reach a terminal: text out of data with everything taken out that a terminal would obey."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from state.printable import harmless as harmless

COLUMNS_PIPED = 140
"""Width where nobody looks at a window: exact numbers stay on one line."""


def shortened(text: str, characters_max: int) -> str:
    """The beginning of `text`, with … for what was left out.

    >>> shortened("a long line", 7), shortened("short", 7)
    ('a long…', 'short')
    """
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def plain(text: object, style: str = "") -> Text:
    """A cell or line of rich's that is shown as it is: no markup is read in it, no escape gets through."""
    return Text(harmless(text), style=style)


def console() -> Console:
    """Standard output. Colours only on a terminal; nothing in the text is taken for markup."""
    width = None if sys.stdout.isatty() else COLUMNS_PIPED
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
