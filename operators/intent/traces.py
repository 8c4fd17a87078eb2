"""What a customer leaves behind, week by week: the common ground of all intents.

Pages, searches, calculators, applications, clicks on offers, payments that tell of something, income and savings are counted in
weeks of event time. When a week can no longer change, it is folded into the rates of each trace (exponentially weighted, as if
over the last 20, 60 and 180 days), and the intents look (hook `look`): so they see the same, whatever the order of arrival.
Counts of a week are sums, so interactions need no sorting; transactions count when they mature.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, NamedTuple
from zlib import crc32

import msgspec

from operators.detector import DetectorConfig, Look
from state.business_days import DAY_US, day_of
from state.customer import Customer, Recent
from state.digest import digest64
from state.events import Account, Application, Event, Interaction, Label, Touchpoint
from state.habits import major_units
from state.recurring import Stream
from state.windows import unpack_key

NAME = "traces"
VERSION = 1
SIGNAL = None
TOPICS = frozenset(("in.interactions", "in.accounts", "in.applications", "in.labels", "in.touchpoints"))

WEEK_DAYS: Final = 7
WEEK_US: Final = WEEK_DAYS * DAY_US
TRACES_MAX: Final = 96
"""Beyond it the faintest traces are forgotten."""
ACCOUNTS_MAX: Final = 32
WEEKS_OPEN_MAX: Final = 8
"""Weeks that are being counted: those since the last look of a customer without matured payments."""
HELD_MIN: Final = 0.3
"""Below, the two sums hold the same weeks."""
FAINT: Final = 1e-3
"""A weekly rate below is forgotten."""
FAST_WEEKS: Final = 8.6
"""In the 60 days that fast rates speak of: rate × FAST_WEEKS is about how often it was."""
KINDS: Final = ("current", "savings", "credit_card", "loan", "mortgage", "investment")
WEEKS_FOLDED_MAX: Final = 104
"""After two years of silence nothing is left of a rate."""
INTEREST: Final = {"calculator": "calculators", "abandon": "abandoned"}
"""Which trace of a product an interaction leaves; others are views."""
PACKED: Final = struct.Struct("<Hfff")
_words = re.compile(r"[a-z]+").findall


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config/products.toml."""

    pages: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    account: str = ""
    intent: str = "product"
    """The intent that foresees it."""
    amount_incomes: float = 0.0
    """The usual amount in monthly incomes, if it depends on them."""
    months: int = 0
    rate: float = 0.0
    """Percent a year."""


class Shop(NamedTuple):
    """The traces of purchases in one kind of shop: how many, in how many weeks, for how much."""

    purchases: int
    weeks: int
    amount: int


class Config(DetectorConfig, frozen=True, kw_only=True, dict=True):
    brief_days: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    fast_days: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    slow_days: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    products: dict[str, Product] = {}
    mccs: dict[str, tuple[int, ...]] = {}

    @cached_property
    def shops_of(self) -> dict[int, list[Shop]]:
        """`mccs` by code."""
        shops: dict[int, list[Shop]] = {}
        for name, codes in self.mccs.items():
            shop = Shop(trace(name), trace(name + ".weeks"), trace(name + ".amount"))
            for code in dict.fromkeys(codes):
                shops.setdefault(code, []).append(shop)
        return shops


class Observed(msgspec.Struct, array_like=True):
    """An account, by what is needed to be sure: the day on which it was first seen, its kind."""

    day: int
    kind: int


class State(msgspec.Struct, array_like=True):
    """`bins`: week → trace → count, of weeks that may still change. `packed`: PACKED records of
    (trace, brief, fast, slow)."""

    week: int = 0
    """The week that matured transactions have reached; earlier ones are folded."""
    weeks: int = 0
    """How many are folded."""
    currency: str = ""
    """Amounts in other currencies than the first one seen don't count."""
    bins: dict[int, dict[int, float]] = {}
    packed: bytes = b""
    opened: dict[int, Observed] = {}
    """By the digest of the account's id."""
    evidence: dict[int, tuple[int, str]] = {}
    """Trace → week and id of its newest transaction."""
    last_id: str = ""
    """Of the newest transaction."""


@lru_cache(maxsize=4096)
def trace(name: str) -> int:
    """The number under which a trace is kept.

    >>> trace("mortgage.views") == trace("mortgage.calculators")
    False
    """
    return crc32(name.encode()) & 0xFFFF


ACTIVITY, LOGINS, PURCHASES, SPENT, INCOME, SAVED, SENT, RECEIVED, ADVICE, REFINANCE = map(
    trace, ("activity", "logins", "purchases", "spent", "income", "saved", "sent", "received", "advice", "refinance")
)
CHURNED = trace("churned")


class Rates(NamedTuple):
    """How often something happens in a week (amounts: how much in a week), as if over the last 20, 60 and 180 days."""

    brief: float
    fast: float
    slow: float


NO_RATES: Final = Rates(0.0, 0.0, 0.0)


class Week(msgspec.Struct, gc=False):
    """What an intent looks at: a customer at the end of a week."""

    end_us: int
    weeks: int
    """How many weeks of this customer are known, this one included."""
    rates: dict[int, Rates]
    owned: frozenset[str]
    """Kinds of account."""
    own: frozenset[int]
    """Digests of the customer's accounts."""
    streams: list[Stream]
    regular: list[Stream]
    """The mature ones of `streams`, without what moves between the customer's own accounts."""
    evidence: dict[int, tuple[int, str]]
    last_id: str
    currency: str = ""
    """Of all amounts."""
    models: Any = None
    """What intents are judged by (operators/intent/models.py); the customer step adds it."""
    fast_held: float = 1.0
    """How many weeks the `fast` and `slow` rates hold (`weeks_held`)."""
    slow_held: float = 1.0

    @property
    def day(self) -> int:
        """The first day after the week, as a number since 1970-01-01."""
        return day_of(self.end_us)

    def rates_of(self, name: str) -> Rates:
        return self.rates.get(trace(name), NO_RATES)

    def brief(self, name: str) -> float:
        return self.rates.get(trace(name), NO_RATES).brief

    def fast(self, name: str) -> float:
        return self.rates.get(trace(name), NO_RATES).fast

    def slow(self, name: str) -> float:
        return self.rates.get(trace(name), NO_RATES).slow

    def before(self, name: str) -> float:
        """What was usual before the newest two months: of the slow rate, what the fast one does not hold. So a change that lasts does not
        soon become its own measure."""
        rates, fast, slow = self.rates_of(name), self.fast_held, self.slow_held
        if slow - fast < HELD_MIN:
            return rates.slow
        return max(0.0, (rates.slow * slow - rates.fast * fast) / (slow - fast))

    def transactions(self, *names: str) -> tuple[str, ...]:
        """Evidence: the newest transactions of some traces, else the newest of all."""
        known = [self.evidence[number] for name in names if (number := trace(name)) in self.evidence]
        ids = dict.fromkeys(id_ for _, id_ in sorted(known, reverse=True))
        return tuple(ids) or (self.last_id,)


@lru_cache(maxsize=1024)
def weeks_held(mean_days: float, weeks: int) -> float:
    """How many weeks an exponentially weighted sum holds after so many weeks: what a constant rate of one a week has summed up to.

    >>> weeks_held(30.0, 1), round(weeks_held(30.0, 104), 1), round(weeks_held(90.0, 104), 1)
    (1.0, 4.8, 13.4)
    """
    fade = math.exp(-WEEK_DAYS / mean_days)
    return float((1 - fade**weeks) / (1 - fade))


def week_of(time_us: int) -> int:
    """Weeks since 1970-01-01; they begin on a Thursday, which no customer cares about."""
    return time_us // WEEK_US


def on_event(config: Config, state: State, event: Event, customer: Customer) -> None:
    if isinstance(event, Account):
        _observe(state, event)
        return
    week = week_of(event.time_us)
    if week < state.week:
        return
    for number in _traces_of(config, event):
        _count(state, week, number, 1.0)


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> tuple[Look, ...]:
    week = week_of(recent.time_us)
    looks: tuple[Look, ...] = ()
    if week > state.week:
        if state.week:
            looks = (Look(_close(config, state, week, customer), recent.time_us),)
        state.week = week
    _count_payment(config, state, week, recent)
    return looks


def _observe(state: State, event: Account) -> None:
    digest, day = digest64(event.account_id), day_of(event.time_us)
    before = state.opened.get(digest)
    if before is not None:
        before.day = min(before.day, day)
    elif event.kind in KINDS and len(state.opened) < ACCOUNTS_MAX:
        state.opened[digest] = Observed(day, KINDS.index(event.kind))


def _traces_of(config: Config, event: Event) -> Iterator[int]:
    if isinstance(event, Interaction):
        yield ACTIVITY
        if event.kind == "login":
            yield LOGINS
        product = _product_of(config, event.page, event.query)
        if product:
            yield trace(f"{product}.{INTEREST.get(event.kind, 'views')}")
        subject = f"{event.page or ''} {event.query or ''}".casefold()
        if "appointment" in subject or "advice" in subject:
            yield ADVICE
        if "refi" in subject:
            yield REFINANCE
    elif isinstance(event, Application) and event.product in config.products:
        yield trace(f"{event.product}.{event.status}")
    elif isinstance(event, Label) and event.label == "churned":
        yield CHURNED
    elif isinstance(event, Touchpoint) and event.kind in ("click", "conversion") and event.offer in config.products:
        yield trace(f"{event.offer}.views")


def _product_of(config: Config, page: str | None, query: str | None) -> str:
    head = (page or "").partition("/")[0]
    words = set(_words(query.casefold())) if query else set()
    for name, product in config.products.items():
        if (head and head in product.pages) or not words.isdisjoint(product.words):
            return name
    return ""


def _count_payment(config: Config, state: State, week: int, recent: Recent) -> None:
    currency, credit, _ = unpack_key(recent.key)
    state.last_id = recent.transaction_id
    state.currency = state.currency or currency
    amount = major_units(recent.amount_minor, currency) if currency == state.currency else 0.0
    if recent.channel in ("internal", "standing_order", "interest"):
        account = state.opened.get(digest64(recent.account))
        if (
            credit
            and account is not None
            and account.day <= day_of(recent.time_us)
            and KINDS[account.kind] == "savings"
        ):
            _count(state, week, SAVED, amount)
        return
    counts = _counts(state, week)
    if credit:
        counts[INCOME] = counts.get(INCOME, 0.0) + amount
        if recent.channel == "transfer":
            counts[RECEIVED] = counts.get(RECEIVED, 0.0) + 1.0
        return
    if recent.channel in ("transfer", "other"):
        counts[SENT] = counts.get(SENT, 0.0) + amount
        state.evidence[SENT] = (week, recent.transaction_id)
        return
    counts[PURCHASES] = counts.get(PURCHASES, 0.0) + 1.0
    counts[SPENT] = counts.get(SPENT, 0.0) + amount
    for shop in config.shops_of.get(recent.mcc, ()):
        if shop.purchases not in counts:
            counts[shop.weeks] = counts.get(shop.weeks, 0.0) + 1.0
        counts[shop.purchases] = counts.get(shop.purchases, 0.0) + 1.0
        counts[shop.amount] = counts.get(shop.amount, 0.0) + amount
        state.evidence[shop.purchases] = (week, recent.transaction_id)


def _count(state: State, week: int, number: int, amount: float) -> None:
    counts = _counts(state, week)
    counts[number] = counts.get(number, 0.0) + amount


def _counts(state: State, week: int) -> dict[int, float]:
    """Trace → count in a week that may still change; of too many weeks in the oldest that is counted."""
    counts = state.bins.get(week)
    if counts is None:
        counts = state.bins.setdefault(week if len(state.bins) < WEEKS_OPEN_MAX else min(state.bins), {})
    return counts


def _fold(config: Config, state: State, week: int) -> dict[int, Rates]:
    """Adds all weeks before `week` to the sums of each trace, and gives them as weekly rates."""
    sums = {number: (brief, fast, slow) for number, brief, fast, slow in PACKED.iter_unpack(state.packed)}
    ages_days = config.brief_days, config.fast_days, config.slow_days
    brief_fade, fast_fade, slow_fade = [math.exp(-WEEK_DAYS / days) for days in ages_days]
    for past in range(max(state.week, week - WEEKS_FOLDED_MAX), week):
        state.weeks += 1
        sums = {
            number: (brief_fade * brief, fast_fade * fast, slow_fade * slow)
            for number, (brief, fast, slow) in sums.items()
        }
        for number, more in state.bins.get(past, {}).items():
            brief, fast, slow = sums.get(number, NO_RATES)
            sums[number] = brief + more, fast + more, slow + more
    kept = sorted([number for number in sums if sums[number][2] > FAINT])
    if len(kept) > TRACES_MAX:
        kept = sorted(sorted(kept, key=lambda n: (-sums[n][2], n))[:TRACES_MAX])
    state.packed = b"".join([PACKED.pack(number, *sums[number]) for number in kept])
    brief_full, fast_full, slow_full = [weeks_held(days, state.weeks) for days in ages_days]
    rates = {}
    for number in kept:
        brief, fast, slow = sums[number]
        rates[number] = Rates(brief / brief_full, fast / fast_full, slow / slow_full)
    return rates


def _close(config: Config, state: State, week: int, customer: Customer) -> Week:
    """Folds all weeks before `week` and says what there is to see at their end."""
    rates = _fold(config, state, week)
    for past in [past for past in state.bins if past < week]:
        del state.bins[past]
    day = day_of(week * WEEK_US)
    known = {digest: KINDS[seen.kind] for digest, seen in state.opened.items() if seen.day < day}
    kinds, own = frozenset(known.values()), frozenset(known)
    return Week(
        week * WEEK_US,
        state.weeks,
        rates,
        kinds,
        own,
        customer.streams,
        [stream for stream in customer.streams if stream.mature and stream.payee not in own],
        state.evidence,
        state.last_id,
        state.currency,
        fast_held=weeks_held(config.fast_days, state.weeks),
        slow_held=weeks_held(config.slow_days, state.weeks),
    )
