"""What really came back again and again, and what happened to it: the truth about standing payments.

`streams` lists every recurring series with its payments. `money_cases` are cases in the form of truth.jsonl that no story planted:
they follow from how lives run. Both go to files of their own, so that truth.jsonl stays what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import orjson

from simulation.almanac import DAY_US
from simulation.bank import fragment
from simulation.bills import ACCOUNT_FEE, due_days
from simulation.ledger import Booking, BookingRow, money
from simulation.life import Bill, Case, Life

PLANS = ("Savings plan", "Fund plan", "Payment received")
BY_BALANCE = ("To savings", "From savings", "Card bill", "Interest")
"""Descriptions of movements that depend on a balance: they come in a rhythm, but not always, nor with an amount of their own."""
CADENCES = {1: "monthly", 3: "quarterly", 6: "half-yearly", 12: "yearly"}
PAY_CADENCES = {
    "monthly": "monthly",
    "pension": "monthly",
    "benefit": "monthly",
    "weekly": "weekly",
    "biweekly": "biweekly",
}
NEW_CHANNELS = frozenset(("ecommerce", "direct_debit"))
"""Somebody else draws the money: news for the customer. A standing order of one's own is none."""
PAYMENTS_MIN = 2
KNOWN_AFTER = 3
"""So many payments of a bill show that it will come again."""

Key = tuple[int, int, str]


class Series(NamedTuple):
    """One recurring series; `stream` is what kind it is, `optional` if its payments depend on balances."""

    stream: str
    cadence: str
    payments: list[Booking]
    optional: bool = False
    bill: Bill | None = None


def streams(life: Life, bookings: list[BookingRow]) -> list[Series]:
    """Every series of at least PAYMENTS_MIN payments. Irregular earnings are none."""
    by_key: dict[Key, list[Booking]] = defaultdict(list)
    for row in bookings:
        booking = Booking(*row)
        by_key[booking.account, 1 if booking.amount_minor > 0 else -1, booking.what].append(booking)
    found = [*_bills(life, by_key), *_pays(life, by_key)]
    for (_, _, what), payments in by_key.items():
        described = orjson.loads("{" + what[1:] + "}").get("description", "") if what else ""
        if described in PLANS:
            found.append(Series(described, "monthly", payments))
        elif described.startswith(BY_BALANCE):
            found.append(Series(described, "", payments, optional=True))
    return [series for series in found if len(series.payments) >= PAYMENTS_MIN or series.optional]


def _bills(life: Life, by_key: dict[Key, list[Booking]]) -> Iterator[Series]:
    """Two contracts may look the same: each payment belongs to the one that was due."""
    for bill in life.bills:
        due = set(due_days(life, bill))
        rest: list[Booking] = []
        payments: list[Booking] = []
        key = bill.account, -1, bill.what
        for booking in by_key.get(key, ()):
            day = (booking.time_us - life.almanac.start_us) // DAY_US
            (payments if day in due else rest).append(booking)
            due.discard(day)
        by_key[key] = rest
        yield Series(bill.kind, CADENCES[bill.every], payments, bill=bill)


def _pays(life: Life, by_key: dict[Key, list[Booking]]) -> Iterator[Series]:
    for pay in life.pays:
        if pay.kind in PAY_CADENCES:
            what = fragment(counterparty=pay.payer, description=pay.description)
            yield Series("income", PAY_CADENCES[pay.kind], by_key.pop((0, 1, what), []))


def stream_line(life: Life, series: Series) -> bytes:
    """One line of streams.jsonl: {"customer_id","stream","account_id","direction","cadence","optional","payments":[[time, amount], …]}."""
    first = series.payments[0]
    body = {
        "customer_id": life.customer_id,
        "stream": series.stream,
        "account_id": life.accounts[first.account].account_id,
        "direction": "credit" if first.amount_minor > 0 else "debit",
        "cadence": series.cadence,
        "optional": series.optional,
        "payments": [[life.text(booking.time_us), money(abs(booking.amount_minor))] for booking in series.payments],
    }
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def money_cases(life: Life, found: list[Series]) -> Iterator[Case]:
    """bill_changed: a surcharge on one bill. new_subscription: the first payment of a monthly contract that began after the world did.
    bill_due: each payment of a bill that comes less often than monthly and that the customer must have known before. The account's
    own fee, which comes every month, is a decoy of a fee."""
    for series in found:
        bill, payments = series.bill, series.payments
        if bill is None:
            continue
        detail = {"stream": series.stream}
        if bill.kind == ACCOUNT_FEE:
            for booking in payments[KNOWN_AFTER:]:
                yield Case("decoy", booking.time_us, booking.time_us, {"for": "fee", "variant": ACCOUNT_FEE})
        for day in bill.extras_minor:
            for before, booking in pairwise(payments):
                if (booking.time_us - life.almanac.start_us) // DAY_US == day:
                    amounts = {"old": money(-before.amount_minor), "new": money(-booking.amount_minor)}
                    yield Case("bill_changed", booking.time_us, booking.time_us, detail | amounts)
        if bill.first_day > 0 and bill.channel in NEW_CHANNELS and bill.into < 0 and bill.every == 1:
            yield Case("new_subscription", payments[0].time_us, payments[0].time_us, dict(detail))
        if bill.every > 1 and bill.into < 0:
            for booking in payments[KNOWN_AFTER:]:
                yield Case(
                    "bill_due", booking.time_us, booking.time_us, detail | {"amount": money(-booking.amount_minor)}
                )
