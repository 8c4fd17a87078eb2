"""The market's rates on their way to the customers whom they concern: the holders of a loan.

Each source partition reads every rate and numbers those that are news. Its holders hear of them one after the other, a few at a time,
so that a rate does not stop the stream; a holder who has an event or a timer before its turn comes hears of them first. So what a
customer hears, and between which of its own events, does not depend on how quickly the others are visited.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from state.customer import Customer
from state.events import MarketRate
from state.store import Store

SERIES_MAX = 4096
"""Series of market rates that are told apart."""
PENDING_MAX = 64
"""When more rates of a source partition are pending, all of its holders are visited at once."""
VISITS_MIN = 1
VISITS_IDLE_MAX = 8
"""Holders visited after a batch without events."""
PAGE_CUSTOMERS = 256
"""Holders read from the store's index at a time."""


def visits_due(events: int) -> int:
    """How many holders are visited after a batch of so many events. A visit costs as much as two events (it reads and writes a profile
    that is seldom in memory), so an eighth of them keeps a stream under load at most of its speed; more while nothing else is to be done,
    but a tick comes to all shards of a process at once."""
    return VISITS_MIN + events // 8 if events else VISITS_IDLE_MAX


class Rates(msgspec.Struct, array_like=True):
    """The rates of one source partition. A checkpoint holds it as it is."""

    newest_us: dict[str, int]
    """By series, when its newest rate was observed."""
    number: int = 0
    """How many rates were news."""
    pending: list[MarketRate] = []
    """The newest of them, which not all holders have heard of; the last one has the number `number`."""
    goal: int = 0
    """The number up to which the present round of visits tells."""
    visited: str = ""
    """The last customer visited in this round; empty before the first."""

    def read(self, rate: MarketRate) -> bool:
        """Takes a rate in. False if it is no news: observed before the newest of its series."""
        series = f"{rate.series}\0{rate.product or ''}\0{rate.currency or ''}"
        known = series in self.newest_us
        if rate.time_us <= self.newest_us.get(series, -1) or (not known and len(self.newest_us) >= SERIES_MAX):
            return False
        self.newest_us[series] = rate.time_us
        self.number += 1
        self.pending.append(rate)
        return True


class Market:
    """The rates of all source partitions of a shard, and whose turn it is to hear of them."""

    def __init__(self, store: Store, partitions: dict[int, Rates]) -> None:
        self.partitions = partitions
        self.waiting = any(rates.pending for rates in partitions.values())
        """Whether somebody has yet to hear of a rate."""
        self._store = store
        self._pages: dict[int, list[str]] = {}

    def read(self, rate: MarketRate, partition: int) -> None:
        """A rate as one of the source partitions has read it."""
        rates = self.partitions.get(partition)
        if rates is None:
            rates = self.partitions[partition] = Rates({})
        if rates.read(rate):
            self.waiting = True

    def number(self, partition: int) -> int:
        """How many rates of a source partition were news."""
        rates = self.partitions.get(partition)
        return 0 if rates is None else rates.number

    def pending(self, partition: int) -> int:
        """How many of them some holders have yet to hear."""
        rates = self.partitions.get(partition)
        return 0 if rates is None else len(rates.pending)

    def unheard(self, customer: Customer) -> list[tuple[int, MarketRate]]:
        """(number, rate) of what is pending in the customer's partition and news to the customer."""
        rates = self.partitions.get(customer.partition)
        if rates is None:
            return []
        numbered = enumerate(rates.pending, rates.number - len(rates.pending) + 1)
        heard = customer.rates_heard or 0
        return [(number, rate) for number, rate in numbered if number > heard]

    def turns(self, partition: int, count_max: int) -> Iterator[str]:
        """The next holders to hear of what is pending, `count_max` at most; the caller tells each of them before it asks for the next."""
        rates = self.partitions.get(partition)
        if rates is None or not rates.pending:
            return
        if not rates.visited:
            rates.goal = rates.number
        page = self._pages.pop(partition, None) or self._store.holders(partition, rates.visited, PAGE_CUSTOMERS)
        for customer_id in page[:count_max]:
            yield customer_id
            rates.visited = customer_id
        following = page[count_max:] or self._store.holders(partition, rates.visited, PAGE_CUSTOMERS)
        if following:
            self._pages[partition] = following
        else:  # all have heard up to the goal
            rates.visited = ""
            rates.pending = rates.pending[len(rates.pending) - (rates.number - rates.goal) :]
            self.waiting = any(rates.pending for rates in self.partitions.values())
