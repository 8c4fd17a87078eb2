"""One customer's life while it is being planned: who they are, what they own, and everything that is going to happen.

Plants first turn the dials (town, scale, engagement, pays, bills); behaviours then fill `entries` and `events` from them;
the ledger at last books the entries in order of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from simulation.almanac import DAY_US, SECOND_US, Almanac
from simulation.bank import CATEGORIES, CATEGORY, PER_TOWN, Bank, fragment
from simulation.places import HOME_TOWNS, ONLINE
from simulation.randomness import Draws, Ints, identify
from simulation.settings import WorldSettings

TOPICS = (
    "in.transactions",
    "in.accounts",
    "in.interactions",
    "in.applications",
    "in.labels",
    "in.messages",
    "in.touchpoints",
    "in.consents",
    "in.market",
)
TOPIC = {name: index for index, name in enumerate(TOPICS)}

BOOKED, OPTIONAL, SWEEP, TOP_UP, REPAY, INTEREST, OBSERVE, DRAIN, REMIND, LATE_FEE = range(10)
"""What the ledger does with an entry: book it whatever happens; book it if there is room (an everyday purchase); move what
is left over to savings; fetch help from savings; pay off the card; charge or pay interest; tell `in.accounts` the balance; send a
percentage of the balance (in place of the amount) to another bank; see whether the card's bill, due on the day given in place of
the amount, is still unpaid; charge a fee if it is."""

CURRENT = 0
"""Index of the current account, which everybody has, among a customer's accounts."""


class Entry(NamedTuple):
    """Something the ledger will look at. `amount_minor` is negative for a debit; `what` is a JSON fragment with the fields
    that say who and where; `case` is the index of the planted case it belongs to, or -1."""

    time_us: int
    rule: int
    account: int
    amount_minor: int
    channel: str
    what: str
    case: int = -1


EntryRow = tuple[int, int, int, int, str, str, int]
"""An Entry as everyday purchases, by far the most, are written: the bare tuple costs a fifth."""

Event = tuple[int, int, str]
"""A record: (time_us, index of its topic, JSON object without the closing brace)."""


@dataclass
class Account:
    """A loan, a mortgage and a credit card have a balance of minus what is owed. `rate_bp` a year."""

    kind: str
    account_id: str
    balance_minor: int
    rate_bp: int
    product: str
    overdraft_limit_minor: int = 0
    credit_limit_minor: int = 0
    payment_day: int = 0
    """The day of the month on which a card's bill is due."""
    first_day: int = 0
    last_day: int = 1 << 30


@dataclass
class Case:
    """A planted case or decoy. `label` is what the bank will say about its transactions `label_delay_us` after each."""

    kind: str
    start_us: int
    end_us: int
    detail: dict[str, Any]
    label: str = ""
    label_delay_us: int = 0
    transaction_ids: list[str] = field(default_factory=list)


@dataclass
class Pay:
    """A stream of income. `anchor` is a day of the month (monthly, pension) or the first payday (weekly, biweekly);
    `changes` are (day, percent of the amount from then on), `delays_days` by nominal payday, `pauses` (from, to)."""

    kind: str
    payer: str
    amount_minor: int
    anchor: int
    description: str = "Salary"
    step: int = -1
    first_day: int = 0
    last_day: int = 1 << 30
    changes: list[tuple[int, int]] = field(default_factory=list)
    delays_days: dict[int, int] = field(default_factory=dict)
    pauses: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Bill:
    """A bill that comes every `every` months. `changes` are (day, new amount); `extras_minor` by day are added once."""

    kind: str
    what: str
    amount_minor: int
    day_of_month: int
    channel: str
    account: int = CURRENT
    every: int = 1
    phase: int = 0
    first_day: int = 0
    last_day: int = 1 << 30
    spread_pct: int = 0
    seasonal: bool = False
    into: int = -1
    changes: list[tuple[int, int]] = field(default_factory=list)
    extras_minor: dict[int, int] = field(default_factory=dict)
    case: int = -1
    case_day: int = -1


@dataclass
class Person:
    """Lasting traits. Arrays have one value for each spending category."""

    home: int
    income_kind: str
    income_minor: int
    tenure: str
    tight: bool
    budget_pct: int
    floor_minor: int
    credit_pct: int
    logins_weekly_milli: int
    trips_yearly_milli: int
    weekly_milli: Ints
    median_minor: Ints
    hour_s: Ints
    favourites: Ints
    language: str


class Life:
    """Everything about customer `number` of a world. Depends on the seed, the number and the settings, on nobody else."""

    def __init__(self, settings: WorldSettings, bank: Bank, almanac: Almanac, number: int) -> None:
        self.settings, self.bank, self.almanac, self.number = settings, bank, almanac, number
        self.dial, self.days = settings.dial, settings.days
        self.customer_id = "c-" + identify(settings.seed, "customer", number, length=14)
        self.person: Person
        self.accounts: list[Account] = []
        self.cards: dict[int, str] = {}
        self.devices = [self.identify("d-", "device", 0)]
        self.pays: list[Pay] = []
        self.bills: list[Bill] = []
        self.scale_pct: Ints = np.full((len(CATEGORIES), self.days), 100, dtype=np.int64)
        self.engagement_pct: Ints = np.full(self.days, 100, dtype=np.int64)
        self.town: Ints = np.zeros(self.days, dtype=np.int64)
        self.home: Ints = np.zeros(self.days, dtype=np.int64)
        self.entries: list[EntryRow] = []
        self.events: list[Event] = []
        self.cases: list[Case] = []
        self.refusals: list[tuple[str, int]] = []
        """(purpose, time_us from which it is refused)."""
        self.roles: frozenset[str] = frozenset()
        """The kinds of the stories in which the customer plays a part."""
        self.horizon = self.days
        """The day the customer leaves, or the world's end: no story goes beyond it."""
        self.taken: list[tuple[str, int, int]] = []
        """(group, from, to): days that a story of a group has for itself."""
        self._named = 0

    def draws(self, purpose: str) -> Draws:
        return Draws(self.settings.seed, purpose, self.number)

    def identify(self, prefix: str, kind: str, *numbers: int) -> str:
        return prefix + identify(self.settings.seed, kind, self.number, *numbers)

    def time_us(self, day: int, second: int = 0) -> int:
        return self.almanac.time_us(day, second)

    def account(self, kind: str, day: int = 1 << 30) -> int:
        """Index of the first account of this kind that is open by `day`, -1 if there is none."""
        return next(
            (i for i, account in enumerate(self.accounts) if account.kind == kind and account.first_day <= day), -1
        )

    def open_account(self, kind: str, balance_minor: int, rate_bp: int, product: str, **more: int) -> int:
        """Adds an account (limits and days as in Account) and returns its index."""
        account_id = self.identify("a-", "account", len(self.accounts))
        self.accounts.append(Account(kind, account_id, balance_minor, rate_bp, product, **more))
        index = len(self.accounts) - 1
        if kind in ("current", "credit_card"):
            self.cards[index] = self.identify("k-", "card", index)
        return index

    def instrument(self, account: int, online: bool, device: int = 0) -> str:
        """The fragment that names card and, online, device."""
        card = f',"card_id":"{self.cards[account]}"'
        return card + f',"device_id":"{self.devices[device]}"' if online else card

    def buy(
        self, time_us: int, merchant: int, amount_minor: int, *, account: int = CURRENT, case: int = -1, device: int = 0
    ) -> None:
        """A purchase that will be booked whatever the balance; online where the merchant has no place."""
        what = self.bank.fragments[merchant]
        online = merchant >= self.bank.merchant(ONLINE, CATEGORIES[0].name, 0)
        channel = "ecommerce" if online else "card_present"
        what += self.instrument(account, online, device)
        self.entries.append(Entry(time_us, BOOKED, account, -amount_minor, channel, what, case))

    def transfer(
        self,
        time_us: int,
        amount_minor: int,
        counterparty: str,
        description: str,
        *,
        channel: str = "transfer",
        case: int = -1,
    ) -> None:
        """Money to (negative) or from somebody else, by the current account."""
        what = fragment(counterparty=counterparty, description=description)
        self.entries.append(Entry(time_us, BOOKED, CURRENT, amount_minor, channel, what, case))

    def shift(self, time_us: int, source: int, target: int, amount_minor: int, description: str, channel: str) -> None:
        """Money between two of the customer's own accounts."""
        for account, other, sign in ((source, target, -1), (target, source, 1)):
            what = fragment(counterparty=self.accounts[other].account_id, description=description)
            self.entries.append(Entry(time_us, BOOKED, account, sign * amount_minor, channel, what))

    def say(self, time_us: int, topic: str, prefix: str = "", id_field: str = "", **fields: Any) -> None:
        """A record of `topic`; `id_field` gets a fresh id that starts with `prefix`. Beyond the world's end nothing is said."""
        if not self.almanac.start_us <= time_us < self.almanac.start_us + self.days * DAY_US:
            return
        record: dict[str, Any] = {}
        if id_field:
            self._named += 1
            record[id_field] = self.identify(prefix, topic, self._named)
        record["customer_id"] = self.customer_id
        self.events.append((time_us, TOPIC[topic], orjson.dumps(record | fields).decode()[:-1]))

    def text(self, time_us: int) -> str:
        return self.almanac.text(time_us)

    def label(self, time_us: int, label: str, **fields: Any) -> None:
        """What the bank learns about the customer at `time_us`."""
        self.say(time_us, "in.labels", labelled_at=self.text(time_us), label=label, **fields)

    def browse(self, time_us: int, kind: str, subject: str, dwell_s: int) -> None:
        """A look at a page or calculator, or a search, from the customer's own device; the fields are in the order in which
        every interaction has them."""
        what = {"query": subject} if kind == "search" else {"page": subject}
        self.say(
            time_us,
            "in.interactions",
            "i-",
            "interaction_id",
            occurred_at=self.text(time_us),
            kind=kind,
            **what,
            channel="app",
            session_id=self.identify("s-", "session", time_us // (1800 * SECOND_US)),
            device_id=self.devices[0],
            dwell_s=dwell_s,
        )

    def plant(self, kind: str, variant: str | None, start_us: int, end_us: int, **detail: Any) -> int:
        """Records a case, or a decoy where there is a variant, and returns its index."""
        if variant is None:
            self.cases.append(Case(kind, start_us, end_us, detail))
        else:
            self.cases.append(Case("decoy", start_us, end_us, {"for": kind, "variant": variant} | detail))
        return len(self.cases) - 1

    def scale(self, category: str, first_day: int, last_day: int, pct: int) -> None:
        """Multiplies how often the customer buys in a category ("*": in all) on days first_day to last_day - 1."""
        rows = slice(None) if category == "*" else slice(CATEGORY[category], CATEGORY[category] + 1)
        days = slice(max(0, first_day), max(0, last_day))
        self.scale_pct[rows, days] = self.scale_pct[rows, days] * pct // 100

    def town_on(self, day: int) -> int:
        """Where the customer can shop on a day: ONLINE alone while travelling."""
        return int(self.town[day]) if self.scale_pct[0, day] else ONLINE


def home_town(draws: Draws) -> int:
    return draws.below(len(HOME_TOWNS))


def favourite_order(draws: Draws) -> Ints:
    """Each category's merchants in order of preference, shape (categories, PER_TOWN)."""
    keys = draws.words(len(CATEGORIES) * PER_TOWN).reshape(len(CATEGORIES), PER_TOWN)
    order: Ints = np.argsort(keys, axis=1, kind="stable")
    return order
