"""Recurring streams of a customer, in and out: salaries, bills, subscriptions, plans.

A stream is a series of payments with one payee. It is learned as payments mature, like any habit; `Customer.current_streams` adds
the recent ones, so that a payment satisfies an expectation at once. Amounts are minor units, days are numbers since 1970-01-01.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple, get_args

import msgspec

from state.business_days import DAY_US, day_of, is_weekend
from state.events import Channel
from state.payee import FIRM, Payee, counterparty_digest
from state.rhythm import FOUR_WEEKLY, MONTHLY, Rhythm, fit
from state.windows import unpack_key

CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
STREAMS_MAX: Final = 48
PER_PAYEE_MAX: Final = 4
KEPT: Final = 6
"""Payments of a stream that are remembered."""
HITS_MATURE: Final = 3
HITS_VARIABLE: Final = 5
"""Without a contract's channel, amounts that vary need so many payments to show that they are one thing."""
STEADY: Final = 1.12
"""Amounts within this factor are the same price, hours worked or exchange rates considered."""
ALIKE: Final = 1.35
"""Two payments at one payee with amounts further apart are taken for different things, without a contract's reference."""
CHANGED: Final = 2.5
"""On the day when a stream is due, even so large a change of its amount leaves it the same stream."""
ENDED_AFTER: Final = 2
"""Occurrences missed in a row, after which a stream has ended."""
UNPROVEN_DAYS: Final = 70
"""How long a payee without a contract's channel has time to come back: two months and some days."""
UNPROVEN_FIRM_DAYS: Final = 400
ENDED_DAYS: Final = 150
"""How long a stream that has ended is remembered: with its missed payments, a monthly one for eight months, as pay after parental leave."""
BOOKED_BY_BANKS: Final = frozenset(map(CHANNELS.index, ("transfer", "direct_debit", "standing_order", "other")))
"""By channel code."""
FIRM_CODES: Final = frozenset(map(CHANNELS.index, FIRM))
WEEKEND_SHARE_MIN: Final = 0.1
"""Two days in seven are a weekend: whose payments are booked there half as often as by chance or more often, gives no way."""
WEEKDAYS_KNOWN: Final = 10
"""So many payments, none of them on a weekend, are chance at a bank that books on weekends in one customer of thirty."""
COUNTER_MIN: Final = 2
FLOWS_MAX: Final = 64
"""Payments of one stream in one forecast."""
GRACE_DAYS: Final = 3
"""An expected payment that doesn't come is still expected for so long beyond its tolerance."""


class Status(IntEnum):
    EARLY = 0
    MATURE = 1
    ENDED = 2


class Payment(NamedTuple):
    """One transaction as a stream sees it. `key` holds currency and direction."""

    day: int
    amount_minor: int
    key: int
    payee: Payee
    account: str
    """The customer's own account; empty if unknown."""
    channel: str
    digest: int
    transaction_id: str


class Stream(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Payments with one payee that may belong together. `days` and `amounts` are the newest, oldest first."""

    id: int
    """Digest of its first transaction."""
    payee: int
    reference: int
    key: int
    name: str
    account: str
    channel_code: int
    """Index into CHANNELS."""
    days: tuple[int, ...]
    amounts: tuple[int, ...]
    hits: int
    last_id: str
    rhythm: Rhythm | None = None
    mature: bool = False
    referred: int = 1
    """How many payments in a row had this reference."""

    @property
    def currency(self) -> str:
        return unpack_key(self.key)[0]

    @property
    def credit(self) -> bool:
        return bool(self.key & 128)

    @property
    def channel(self) -> str:
        return CHANNELS[self.channel_code]

    @property
    def firm(self) -> bool:
        return self.channel_code in FIRM_CODES

    @property
    def last_day(self) -> int:
        return self.days[-1]

    def due_day(self, after: int = 0) -> int | None:
        """The day of the next payment (or of one `after` it); None without a rhythm."""
        if self.rhythm is None:
            return None
        slot, *due_days = coming(self.rhythm, self.days[-1], self.key)
        return due_days[after] if after < len(due_days) else self.rhythm.day(slot + 1 + after, self.currency)

    def missed(self, day: int) -> int:
        """How many payments should have come before `day` and didn't, up to ENDED_AFTER."""
        if self.rhythm is None:
            return 0
        late = day - self.rhythm.tolerance_days - GRACE_DAYS
        _, first, second = coming(self.rhythm, self.days[-1], self.key)
        return (first < late) + (second < late)

    def status(self, day: int) -> Status:
        """What the stream is worth on a day."""
        if not self.mature:
            return Status.EARLY
        return Status.ENDED if self.missed(day) >= ENDED_AFTER else Status.MATURE

    @property
    def steady(self) -> bool:
        """Whether the amount is fixed, apart from small differences."""
        newest = self.amounts[-4:]
        return max(newest) <= STEADY * min(newest)

    def usual_minor(self) -> tuple[float, float]:
        """What the next payment is expected to be, and its standard deviation: a price that stands, or an average of the newest."""
        amounts = self.amounts
        last = float(amounts[-1])
        if len(amounts) == 1 or amounts[-1] == amounts[-2]:
            return last, 0.01 * last
        if amounts[-2] == amounts[0] and len(amounts) > 2:
            return last, 0.05 * last  # a fixed price that has just changed
        weights = [0.5 ** (len(amounts) - i) for i in range(len(amounts))]
        mean = sum([w * a for w, a in zip(weights, amounts, strict=True)]) / sum(weights)
        variance = sum([w * (a - mean) ** 2 for w, a in zip(weights, amounts, strict=True)]) / sum(weights)
        return mean, max(math.sqrt(variance * 4 / 3), 0.02 * mean)

    def probability(self) -> float:
        """How likely the next payment is to come: the share of slots paid lately (Laplace's rule, so never 1), halved while the
        stream is unproven."""
        assert self.rhythm is not None
        days = self.days
        last, *_ = coming(self.rhythm, days[-1], self.key)
        span = last - self.rhythm.slot_near(days[0], self.currency)
        forgotten = self.hits - len(days)
        paid = (min(self.hits, len(days)) + forgotten + 1) / (span + 1 + forgotten + 1.1)
        return min(1.0, paid) if self.mature else 0.5 * min(1.0, paid)

    def on_time(self, day: int) -> bool:
        """Whether a payment on a day is one that was due after the last payment's."""
        rhythm, currency = self.rhythm, self.currency
        if rhythm is None:
            return False
        slot = rhythm.slot_near(day, currency)
        is_next = slot > rhythm.slot_near(self.last_day, currency)
        return is_next and rhythm.misses_days(slot, day, currency) <= rhythm.tolerance_days

    def with_payment(self, payment: Payment, others: Sequence[Stream], weekends: bool) -> Stream:
        """The stream after one more payment; `others` and `weekends` are those of `with_payment` below."""
        days = (*self.days, payment.day)[-KEPT:]
        amounts = (*self.amounts, payment.amount_minor)[-KEPT:]
        hits = self.hits + 1
        rhythm = _rhythm(self, days, amounts, hits, others, weekends)
        grown = msgspec.structs.replace(
            self,
            days=days,
            amounts=amounts,
            hits=hits,
            rhythm=rhythm,
            last_id=payment.transaction_id,
            reference=payment.payee.reference,
            referred=self.referred + 1 if payment.payee.reference == self.reference else 1,
        )
        if self.mature or rhythm is None or hits < HITS_MATURE:
            return grown
        alike = grown.firm or grown.steady or hits >= HITS_VARIABLE
        return msgspec.structs.replace(grown, mature=True) if alike else grown


@lru_cache(maxsize=65_536)
def coming(rhythm: Rhythm, last_day: int, key: int) -> tuple[int, int, int]:
    """The slot that a stream was last paid in, and the days of the next ENDED_AFTER slots."""
    currency = unpack_key(key)[0]
    slot = rhythm.slot_near(last_day, currency)
    return slot, rhythm.day(slot + 1, currency), rhythm.day(slot + 2, currency)


def _rhythm(
    stream: Stream,
    days: tuple[int, ...],
    amounts: tuple[int, ...],
    hits: int,
    others: Sequence[Stream],
    weekends: bool,
) -> Rhythm | None:
    old, currency = stream.rhythm, stream.currency
    if (
        old is not None
        and old.day(old.slot_near(days[-1], currency), currency) == days[-1] != days[-2]
        and not (old.cadence == MONTHLY and _four_weeks_apart(days))
    ):
        return old
    if len(set(days)) < len(days):
        return old
    if not stream.firm and not stream.mature and max(amounts) > ALIKE * min(amounts):
        return None
    if hits == 2 and max(amounts) > STEADY * min(amounts) and not stream.firm:
        return None
    steps = _steps(stream, others, weekends)
    found = fit(days, currency, steps, skips_max=1 if hits > HITS_MATURE + 1 else 0, old=old)
    if found is not None and old is not None and {found.cadence, old.cadence} == {MONTHLY, FOUR_WEEKLY}:
        return found  # These two part within three payments: what fits all that are remembered is right.
    if found is None and stream.mature:
        found = fit(days[-HITS_MATURE:], currency, steps) or old
    if found is not None and old is not None and stream.mature and found.cadence != old.cadence:
        on_its_day = old.day(old.slot_near(days[-2], currency), currency) == days[-2]
        return old if on_its_day else found  # One payment out of time makes no other cadence.
    return found


def _four_weeks_apart(days: Sequence[int]) -> bool:
    """Whether the newest three payments came exactly four weeks apart, as those of a month do by chance alone."""
    return len(days) > 2 and days[-1] - days[-2] == days[-2] - days[-3] == 28


def _steps(stream: Stream, others: Sequence[Stream], weekends: bool) -> tuple[int, ...]:
    """How a payment gives way to a holiday: cards know none; employers pay before it, other banks collect after it. A bank that
    books transfers on weekends, as all of a customer's streams together show, makes nobody give way. What moves between the
    customer's own accounts shows nothing about others: a bank's own books know no weekend. While the streams show little, a counter
    that serves on weekends speaks for them."""
    if stream.channel == "ecommerce":
        return (0,)
    own = {counterparty_digest(account) for account in {other.account for other in others} if account}
    inside = stream.payee in own
    closed = [
        is_weekend(day, other.currency)
        for other in others
        if other.channel_code in BOOKED_BY_BANKS and other.hits > 1 and (other.payee in own) == inside
        for day in other.days
    ]
    if WEEKEND_SHARE_MIN * len(closed) < sum(closed) or (weekends and len(closed) < WEEKDAYS_KNOWN):
        return (0, 1, -1)
    return (-1, 1, 0) if stream.credit else (1, -1, 0)


def match(streams: Sequence[Stream], payment: Payment) -> int:
    """The index of the stream that a payment belongs to, or −1."""
    best, best_cost = -1, math.inf
    payee, key = payment.payee.digest, payment.key
    for index, stream in enumerate(streams):
        if stream.payee == payee and stream.key == key:
            cost = _cost(stream, payment)
            if cost is not None and cost <= best_cost:
                best, best_cost = index, cost
    return best


def _cost(stream: Stream, payment: Payment) -> float | None:
    """How badly a payment fits a stream of its payee; None if not at all."""
    if stream.account != payment.account and stream.account and payment.account:
        return None
    a, b = payment.amount_minor, stream.amounts[-1]
    factor = max(a, b, 1) / max(1, min(a, b))
    references = payment.payee.reference, stream.reference
    same = references[0] == references[1] != 0
    other = not same and all(references)
    if other and stream.referred > 1:
        return None  # Its contract has a number of its own.
    on_time = stream.on_time(payment.day)
    if same and stream.firm:
        limit = math.inf
    elif on_time:
        limit = ALIKE if other else CHANGED
    elif stream.rhythm is None:
        limit = STEADY if other else CHANGED if stream.firm else ALIKE
    else:
        # Neither on time nor by contract: a payment that is late, if it is the same.
        early = payment.day < (stream.due_day() or payment.day) - stream.rhythm.tolerance_days
        limit = 0.0 if early and stream.mature else STEADY
    if factor > limit:
        return None
    return math.log(factor) + (0.0 if on_time or stream.rhythm is None else 0.5) + (0.0 if same else 0.2)


def open_on_weekends(counter: tuple[int, int]) -> bool:
    """Whether a bank's counter, used so often and so often of that on a weekend, shows that its weekends are working days.

    >>> open_on_weekends((18, 4)), open_on_weekends((18, 1))
    (True, False)
    """
    times, on_weekends = counter
    return on_weekends >= max(COUNTER_MIN, WEEKEND_SHARE_MIN * times)


def with_payment(streams: Sequence[Stream], payment: Payment, weekends: bool = False) -> list[Stream]:
    """The streams after one more payment: least recently paid first, and bounded. `weekends`: the bank's counter is open then."""
    found = match(streams, payment)
    if found >= 0:
        grown = streams[found].with_payment(payment, streams, weekends)
        return [*streams[:found], *streams[found + 1 :], grown]
    payee, day = payment.payee, payment.day
    fresh = Stream(
        payment.digest,
        payee.digest,
        payee.reference,
        payment.key,
        payee.name,
        payment.account,
        CHANNELS.index(payment.channel),
        (day,),
        (payment.amount_minor,),
        1,
        payment.transaction_id,
    )
    # Nothing is forgotten before UNPROVEN_DAYS: most streams need no closer look.
    kept = [s for s in streams if day <= s.days[-1] + UNPROVEN_DAYS or day <= _forgotten_on(s)]
    rivals = [stream for stream in kept if stream.payee == payee.digest and stream.key == payment.key]
    if len(rivals) >= PER_PAYEE_MAX:
        kept.remove(min(rivals, key=_forgotten_on))
    elif len(kept) >= STREAMS_MAX:
        kept.remove(min(kept, key=_forgotten_on))
    return [*kept, fresh]


def _forgotten_on(stream: Stream) -> int:
    """Until when a stream is remembered without a further payment."""
    if stream.mature and stream.rhythm is not None:
        return stream.last_day + int((ENDED_AFTER + 1) * stream.rhythm.period_days) + ENDED_DAYS
    return stream.last_day + (UNPROVEN_FIRM_DAYS if stream.firm else UNPROVEN_DAYS)


class Flow(NamedTuple):
    """A payment that is expected. `amount_minor` (negative for money that leaves) has the standard deviation `sd_minor`."""

    due_us: int
    amount_minor: float
    sd_minor: float
    currency: str
    account: str
    """Empty if unknown."""
    stream: int
    name: str
    probability: float
    channel: str


def flows(streams: Iterable[Stream], from_us: int, to_us: int) -> list[Flow]:
    """What is expected of the streams in [from_us, to_us), in order of time. What should have come already and may still come is
    expected at `from_us`; every payment at noon of its day."""
    found: list[Flow] = []
    from_day = day_of(from_us)
    for stream in streams:
        rhythm = stream.rhythm
        if rhythm is None:
            continue
        missed = stream.missed(from_day)
        if missed >= (ENDED_AFTER if stream.mature else 1):
            continue
        last, *due_days = coming(rhythm, stream.days[-1], stream.key)
        if due_days[missed] * DAY_US + DAY_US // 2 >= to_us:
            continue
        currency, credit, _ = unpack_key(stream.key)
        mean_minor, sd_minor = stream.usual_minor()
        amount_minor = mean_minor if credit else -mean_minor
        likely = stream.probability()
        account, id_, name, channel = stream.account, stream.id, stream.name, stream.channel
        for slot in range(last + 1 + missed, last + 1 + missed + FLOWS_MAX):
            due_us = max(from_us, rhythm.day(slot, currency) * DAY_US + DAY_US // 2)
            if due_us >= to_us:
                break
            found.append(Flow(due_us, amount_minor, sd_minor, currency, account, id_, name, likely, channel))
    found.sort(key=lambda flow: (flow.due_us, flow.stream))
    return found
