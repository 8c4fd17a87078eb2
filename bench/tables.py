"""Where tables of figures are printed: never narrower than they are, since a figure that is cut short says nothing."""

from __future__ import annotations

from rich.console import Console

WIDTH_MIN = 140
"""Of the widest table. A narrower terminal wraps its lines, a file or a pipe has no width of its own."""


def wide() -> Console:
    """Standard output."""
    console = Console()
    console.width = max(console.width, WIDTH_MIN)
    return console
