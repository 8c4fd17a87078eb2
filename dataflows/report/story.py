"""One customer's story as JSON for the page: transactions in columns, the usual band, balances, what is expected, signals.

Times are milliseconds since 1970 (UTC), as browsers count; amounts and balances are decimal text, exact in any currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from dataflows.commands.signal_reader import ReadSignal
from dataflows.report.outlook import outlook
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.report.rehearsal import Band, Recurring
from state.categories import GROUPS, group_of
from state.events import Account, Event, Transaction
from state.money import format_minor

Json = dict[str, Any]

TRANSACTIONS_MAX = 20_000
"""Of one customer, the newest: a page must stay quick. What is left out is said on it."""
SIGNALS_MAX = 2_000
BAND_STEP_US = 3 * 86_400_000_000
"""One point of the band in three days is as fine as a screen shows half a year."""
STATUS_ORDER = {"pending": 0, "posted": 1, "reversed": 2}


def story(
    customer_id: str,
    events: Sequence[Event] | None,
    signals: Iterable[ReadSignal],
    scores: dict[str, float],
    bands: Sequence[Band],
    recurring: Sequence[Recurring],
    profile: Json | None,
    pseudonyms: Pseudonyms,
) -> Json:
    """`events` None: the log was not found, only the signals' own evidence is told. `scores` are by transaction id."""
    transactions = final_transactions(events or ())
    names = names_of(customer_id, events, recurring) if events is not None else None
    own = list(signals)
    expected = outlook(own, profile, recurring)
    # What a signal calls a stream may be anybody's name; streams that the profile has learned are named in `names`.
    stated = {each["name"]: "counterparty" for each in expected["streams"] if not each["about"]}
    masked = [pseudonyms.mask(msgspec.to_builtins(signal), names) for signal in own[-SIGNALS_MAX:]]
    notes = []
    if events is None:
        notes.append("The events of this run were not found: this page is drawn from the signals' evidence alone.")
    if len(transactions) > TRANSACTIONS_MAX:
        notes.append(f"Only the newest {TRANSACTIONS_MAX:,} of {len(transactions):,} transactions are drawn.")
    if len(own) > SIGNALS_MAX:
        notes.append(f"Only the newest {SIGNALS_MAX:,} of {len(own):,} signals are shown.")
    return {
        "key": pseudonyms.customer(customer_id),
        "transactions": _columns(transactions[-TRANSACTIONS_MAX:], scores, pseudonyms),
        "usual": usual_bands(bands),
        "balances": _balances(transactions, events or (), pseudonyms),
        "outlook": pseudonyms.mask(expected, {**(names or {}), **stated}),
        "signals": masked,
        "notes": notes,
    }


def final_transactions(events: Iterable[Event]) -> list[Transaction]:
    """Each transaction once, as it is finally known, in event-time order: later statuses win, a full reversal by another
    transaction marks the original reversed."""
    known: dict[str, Transaction] = {}
    for event in events:
        if not isinstance(event, Transaction):
            continue
        before = known.get(event.transaction_id)
        if before is None:
            known[event.transaction_id] = event
        elif STATUS_ORDER[event.status] > STATUS_ORDER[before.status]:
            if event.status == "reversed":
                known[event.transaction_id] = msgspec.structs.replace(before, status="reversed")
            else:
                known[event.transaction_id] = event
    for event in list(known.values()):
        original = known.get(event.original_transaction_id or "")
        if event.status == "reversed" and original is not None and event.amount_minor == original.amount_minor:
            known[original.transaction_id] = msgspec.structs.replace(original, status="reversed")
    return sorted(known.values(), key=lambda each: (each.time_us, each.transaction_id))


def usual_bands(bands: Sequence[Band]) -> list[Json]:
    """The usual band of spending by currency and group, the group with most purchases first: points [time, low, usual, high]."""
    found: dict[tuple[str, str], list[Band]] = {}
    for band in bands:
        if not band.credit:
            found.setdefault((band.currency, band.group), []).append(band)
    return [
        {"currency": currency, "group": group, "points": _thinned(sorted(of_group, key=lambda band: band.time_us))}
        for (currency, group), of_group in sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]


def _thinned(bands: list[Band]) -> list[list[float]]:
    kept: dict[int, Band] = {band.time_us // BAND_STEP_US: band for band in bands}
    points = [bands[0], *kept.values()]
    return [[band.time_us // 1000, band.low, band.usual, band.high] for band in points]


def names_of(customer_id: str, events: Iterable[Event], recurring: Iterable[Recurring]) -> dict[str, str]:
    """Names that texts may hold, and the field that each is of. A stream is named after a shop, which is shown, or after whatever
    else its payments have in common: the other side, a description, an account."""
    shops = {event.merchant_name for event in events if isinstance(event, Transaction)}
    names = {each.name: "counterparty" for each in recurring if each.name not in shops} | {customer_id: "customer_id"}
    for event in events:
        if isinstance(event, Transaction) and event.counterparty:
            names[event.counterparty] = "counterparty"
    return names


def _columns(transactions: Sequence[Transaction], scores: dict[str, float], pseudonyms: Pseudonyms) -> Json:
    """A list for each field: a third of the bytes that a list of objects would take. Texts are numbers into `texts`."""
    texts: dict[str, int] = {}

    def text(value: str | None) -> int | None:
        return None if value is None else texts.setdefault(value, len(texts))

    of = pseudonyms.of
    return {
        "id": [of("transaction_id", each.transaction_id) for each in transactions],
        "time": [each.time_us // 1000 for each in transactions],
        "amount": [format_minor(each.amount_minor, each.currency) for each in transactions],
        "currency": [text(each.currency) for each in transactions],
        "credit": [int(each.direction == "credit") for each in transactions],
        "group": [text(GROUPS[group_of(each.mcc, each.channel)]) for each in transactions],
        "channel": [text(each.channel) for each in transactions],
        "status": [text(each.status) for each in transactions],
        "country": [text(each.country) for each in transactions],
        "place": [text(_place(each, pseudonyms)) for each in transactions],
        "note": [text(each.description if pseudonyms.revealing else None) for each in transactions],
        "score": [scores.get(each.transaction_id) for each in transactions],
        "texts": list(texts),
    }


def _place(transaction: Transaction, pseudonyms: Pseudonyms) -> str | None:
    """Whom the money went to or came from. A shop's name is shown; the other side of a transfer may be a person."""
    if transaction.merchant_name:
        return transaction.merchant_name
    if transaction.counterparty:
        return pseudonyms.of("counterparty", transaction.counterparty)
    return transaction.merchant_id


def _balances(transactions: Sequence[Transaction], events: Iterable[Event], pseudonyms: Pseudonyms) -> list[Json]:
    """The balance of each account over time, as transactions and observations state it; the busiest account first."""
    found: dict[str, dict[int, str]] = {}
    about: dict[str, tuple[str, str]] = {}
    for each in transactions:
        if each.account_id is not None and each.balance_after_minor is not None:
            found.setdefault(each.account_id, {})[each.time_us] = format_minor(each.balance_after_minor, each.currency)
            about.setdefault(each.account_id, (each.currency, "account"))
    for event in events:
        if isinstance(event, Account):
            balance = format_minor(event.balance_minor, event.currency)
            found.setdefault(event.account_id, {}).setdefault(event.time_us, balance)
            about[event.account_id] = (event.currency, event.kind)
    return [
        {
            "account": pseudonyms.of("account_id", account),
            "kind": about[account][1],
            "currency": about[account][0],
            "points": [[time_us // 1000, balance] for time_us, balance in sorted(points.items())][-TRANSACTIONS_MAX:],
        }
        for account, points in sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]
