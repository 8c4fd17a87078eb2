"""What `segone simulate` says at its end: how large the world is, what is planted in it, whether its books add up."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

UNBALANCED = "customers whose books don't add up"


def print_summary(console: Console, tally: Counter[str], topics: Counter[str], seconds: float) -> None:
    """`seconds`: how long the making took, all processes together."""
    table = Table(title="Records by topic", title_justify="left")
    table.add_column("topic")
    table.add_column("records", justify="right")
    for topic, count in topics.items():
        table.add_row(topic, f"{count:,}")
    console.print(table)
    console.print(plants_table(tally))
    console.print(
        f"{tally['customers']:,} customers, {tally['accounts']:,} accounts, {tally['transactions']:,} booked transactions, "
        f"{tally['declined purchases']:,} declined purchases"
    )
    console.print(f"{tally['case overdraft']:,} overdraft episodes, {tally['case trip']:,} trips arose by themselves")
    wrong = tally[UNBALANCED]
    console.print(
        f"Balances: {tally['customers'] - wrong:,} of {tally['customers']:,} customers' books add up to the cent"
        + ("" if not wrong else f"; {wrong:,} DON'T")
    )
    console.print(f"{seconds:.1f} s, {tally['transactions'] / max(seconds, 0.001):,.0f} transactions/s")


def plants_table(tally: Counter[str]) -> Table:
    """Cases and decoys of each kind."""
    table = Table(title="Plants and decoys", title_justify="left")
    for name in ("kind", "cases", "decoys"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    table.add_column("decoys by variant")
    decoys: dict[str, dict[str, int]] = {}
    for name, count in tally.items():
        if name.startswith("decoy "):
            _, kind, variant = name.split(" ")
            decoys.setdefault(kind, {})[variant] = count
    kinds = {name.removeprefix("case ") for name in tally if name.startswith("case ")} | decoys.keys()
    for kind in sorted(kinds):
        variants = decoys.get(kind, {})
        parts = ", ".join(f"{variant} {count:,}" for variant, count in sorted(variants.items()))
        table.add_row(kind, f"{tally['case ' + kind]:,}", f"{sum(variants.values()):,}", parts)
    return table
