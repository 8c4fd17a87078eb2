"""A customer's own past for the terminal: the transactions behind the evidence, and spending week by week as a line of blocks."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dataflows.report.events import EventSource, read_events
from dataflows.report.story import final_transactions
from operators.decode import DecodeLimits
from state.events import Transaction
from state.money import format_minor

WEEK_US = 7 * 86_400_000_000
WEEKS = 26
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.:-=+*#"
"""For terminals that have no blocks."""


class Spending(NamedTuple):
    """What left the accounts in each of the weeks that end with `until_us`, oldest first, in minor units of `currency`."""

    currency: str
    weeks_minor: list[int]


class Past:
    """A customer's transactions as they finally are, in event-time order."""

    def __init__(self, transactions: Sequence[Transaction]) -> None:
        self.transactions = transactions
        self.by_id = {each.transaction_id: each for each in transactions}

    def spending(self, until_us: int) -> Spending | None:
        """In the currency that most debits until then are in; None if there are none."""
        debits = [
            each
            for each in self.transactions
            if each.direction == "debit" and each.status != "reversed" and each.time_us <= until_us
        ]
        if not debits:
            return None
        currency = Counter(each.currency for each in debits).most_common(1)[0][0]
        weeks = min(WEEKS, (until_us - debits[0].time_us) // WEEK_US + 1)
        sums = [0] * weeks
        for each in debits:
            age = (until_us - each.time_us) // WEEK_US
            if each.currency == currency and age < weeks:
                sums[weeks - 1 - age] += each.amount_minor
        return Spending(currency, sums)


def read_past(source: EventSource | None, customer_id: str, limits: DecodeLimits) -> Past | None:
    """None where the events of the run can't be found."""
    if source is None:
        return None
    return Past(final_transactions(read_events(source, [customer_id], limits)[customer_id]))


def sparkline(values: Sequence[int], blocks: str = BLOCKS) -> str:
    """A block for each value, its height the share of the largest.

    >>> sparkline([0, 1, 4, 8]), sparkline([0, 0], ASCII_BLOCKS), sparkline([])
    ('▁▁▄█', '__', '')
    """
    most = max(values, default=0)
    return "".join(blocks[max(0, -(-len(blocks) * value // most) - 1) if most else 0] for value in values)


def blocks_of_terminal() -> str:
    """The blocks that standard output can write."""
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_BLOCKS
    return BLOCKS


def describe(spending: Spending) -> str:
    """The line of blocks with its scale."""
    most = format_minor(max(spending.weeks_minor), spending.currency)
    line = sparkline(spending.weeks_minor, blocks_of_terminal())
    return (
        f"{line}  spending of {len(spending.weeks_minor)} weeks until then, at most {most} {spending.currency} a week"
    )
