"""Streams of events for the laws: ordinary lives from a seed, hostile values, and hypothesis strategies over both."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from state.events import Account, Application, Event, Interaction, Label, MarketRate, Transaction

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
NOON_US = 1_741_089_600_000_000
"""2025-03-04T12:00:00Z."""
YEAR_1970_US = 0
YEAR_2200_US = 7_258_118_400_000_000 - SECOND_US

PLACES = ((50.08, 14.44, "CZ"), (48.86, 2.35, "FR"), (40.71, -74.01, "US"), (-33.87, 151.21, "AU"), (90.0, 180.0, "NO"))
MCCS = ("5411", "5812", "8011", "4111", None)
CHANNELS = ("card_present", "ecommerce", "atm", "transfer", "direct_debit", "fee", "other")


def transaction(transaction_id: str, time_us: int, amount_minor: int = 1_000, **changes: Any) -> Transaction:
    """A purchase in a shop, arriving when it happens, unless told otherwise."""
    fields: dict[str, Any] = {
        "customer_id": "c-1",
        "transaction_id": transaction_id,
        "time_us": time_us,
        "arrival_us": time_us,
        "partition": 0,
        "offset": 0,
        "amount_minor": amount_minor,
        "currency": "EUR",
        "direction": "debit",
        "channel": "card_present",
        "merchant_id": "m-1",
        "mcc": "5411",
    }
    return Transaction(**(fields | changes))


def account(time_us: int, balance_minor: int = 100_000, **changes: Any) -> Account:
    fields: dict[str, Any] = {
        "customer_id": "c-1",
        "account_id": "a-1",
        "time_us": time_us,
        "arrival_us": time_us,
        "partition": 0,
        "offset": 0,
        "kind": "current",
        "currency": "EUR",
        "balance_minor": balance_minor,
    }
    return Account(**(fields | changes))


def label(time_us: int, of: str, **changes: Any) -> Label:
    fields: dict[str, Any] = {
        "customer_id": "c-1",
        "time_us": time_us,
        "arrival_us": time_us,
        "partition": 0,
        "offset": 0,
        "label": "fraud",
        "transaction_id": of,
    }
    return Label(**(fields | changes))


def rate(time_us: int, value: float = 3.0, **changes: Any) -> MarketRate:
    """What a mortgage costs on the market."""
    fields: dict[str, Any] = {
        "time_us": time_us,
        "arrival_us": time_us,
        "partition": 0,
        "offset": 0,
        "rate_id": f"r-{time_us}",
        "series": "mortgage_20y",
        "value": value,
        "product": "mortgage",
        "currency": "EUR",
    }
    return MarketRate(**(fields | changes))


def moved(event: Event, **changes: Any) -> Any:
    """The same event with other fields."""
    return msgspec.structs.replace(event, **changes)


def delayed(event: Event, delay_us: int) -> Any:
    return moved(event, arrival_us=event.time_us + delay_us)


def by_arrival(events: Iterable[Event]) -> list[Any]:
    """In the order of arrival; equal arrivals keep their order."""
    return sorted(events, key=lambda event: event.arrival_us)


def shuffled(events: Sequence[Event], seed: int, delay_us_max: int) -> list[Any]:
    """The events in an order of arrival in which none is more than `delay_us_max` behind the newest before it."""
    random_ = random.Random(f"shuffle/{seed}")
    return by_arrival([delayed(event, random_.randrange(delay_us_max)) for event in events])


def end_of(events: Sequence[Event]) -> int:
    return max(event.time_us for event in events)


def numbered(events: Iterable[Event]) -> list[Any]:
    return [moved(event, offset=offset) for offset, event in enumerate(events)]


def purchase(random_: random.Random, transaction_id: str, time_us: int, customer_id: str = "c-1") -> Transaction:
    """One purchase out of a small life: few shops, few places, mostly everyday amounts, so that everything happens soon."""
    home = random_.random() < 0.85
    lat, lon, country = PLACES[0] if home else random_.choice(PLACES)
    large = random_.random() < 0.06
    with_place = random_.random() < 0.7
    return transaction(
        transaction_id,
        time_us,
        random_.randrange(1, 200) * 50 * (100 if large else 1),
        customer_id=customer_id,
        merchant_id=f"m-{random_.randrange(6 if home else 40)}" if random_.random() < 0.9 else None,
        mcc=random_.choice(MCCS),
        channel=random_.choice(CHANNELS[:3] if random_.random() < 0.8 else CHANNELS),
        direction="credit" if random_.random() < 0.08 else "debit",
        country=country,
        lat=lat if with_place else None,
        lon=lon if with_place else None,
        account_id="a-1",
        balance_after_minor=time_us // 977 % 100_000 - 20_000,  # now and then below zero
    )


def ordinary_life(seed: int, count: int, customer_id: str = "c-1", start_us: int = NOON_US) -> list[Transaction]:
    """`count` purchases in time order, all at different times, with bursts and repeated charges among them."""
    random_ = random.Random(f"{seed}/{customer_id}")
    events: list[Transaction] = []
    time_us = start_us
    while len(events) < count:
        burst = random_.random() < 0.05
        time_us += random_.randrange(1, 3 * MINUTE_US if burst else 16 * HOUR_US)
        events.append(purchase(random_, f"t-{len(events)}", time_us, customer_id))
        draw = random_.random()
        if draw < 0.06:
            time_us += random_.randrange(1, 20 * MINUTE_US)
            events.append(moved(events[-1], transaction_id=f"t-{len(events)}", time_us=time_us, arrival_us=time_us))
        elif draw < 0.1:
            for _ in range(random_.randrange(3, 9)):
                time_us += random_.randrange(1, 4 * MINUTE_US)
                events.append(purchase(random_, f"t-{len(events)}", time_us, customer_id))
    return events[:count]


def full_life(seed: int, count: int, lateness_us: int, customer_id: str = "c-1") -> list[Event]:
    """An ordinary life in which some transactions are pending first, some are reversed or refunded (once, within the allowed
    lateness), and accounts and labels come between. In time order; every event at a time of its own."""
    random_ = random.Random(f"full/{seed}/{customer_id}")
    events: list[Event] = []
    for event in ordinary_life(seed, count, customer_id):
        draw = random_.random()
        later = [event.time_us + random_.randrange(1, lateness_us // 2) * 7 for _ in range(2)]
        first_us, second_us = sorted(event.time_us + (time_us - event.time_us) // 8 for time_us in later)
        posted = event
        if draw < 0.15:
            amount_minor = max(1, event.amount_minor + random_.randrange(-20, 20))
            events.append(moved(event, status="pending"))
            posted = moved(event, amount_minor=amount_minor, time_us=first_us, arrival_us=first_us)
        events.append(posted)
        back = random_.random()
        if back < 0.12:
            own = back < 0.06
            amount_minor = posted.amount_minor if back < 0.08 or back > 0.11 else posted.amount_minor // 3
            events.append(
                moved(
                    posted,
                    transaction_id=event.transaction_id if own else f"r-{event.transaction_id}",
                    original_transaction_id=None if own else event.transaction_id,
                    status="reversed",
                    amount_minor=amount_minor,
                    time_us=second_us + 1,
                    arrival_us=second_us + 1,
                    direction=posted.direction if own else ("credit" if posted.direction == "debit" else "debit"),
                )
            )
        if draw > 0.9:
            events.append(account(event.time_us + 2, event.amount_minor, customer_id=customer_id))
        elif draw > 0.84:
            events.append(label(event.time_us + 3, event.transaction_id, customer_id=customer_id))
    return sorted(events, key=lambda event: (event.time_us, event.event_id))


def others(time_us: int, customer_id: str = "c-1") -> list[Event]:
    """One event of each remaining topic that a customer has and that the engine only keeps count of."""
    where = {
        "customer_id": customer_id,
        "time_us": time_us,
        "arrival_us": time_us,
        "partition": 0,
        "offset": 0,
    }
    return [
        Interaction(interaction_id=f"i-{time_us}", kind="search", **where),
        Application(application_id=f"p-{time_us}", product="mortgage", status="started", **where),
    ]


def household(seed: int, weeks: int = 20, customer_id: str = "c-1") -> list[Any]:
    """Standing payments: wages every Friday that drop, stop and come again, a weekly plan whose price rises or has a surcharge, a
    weekly contract that begins late, fees, quarterly insurance, and purchases between. In time order, each at a time of its own."""
    random_ = random.Random(f"household/{seed}/{customer_id}")
    drop, stop = random_.randrange(5, 8), random_.randrange(9, 13)
    surcharge, rise, start = random_.randrange(4, 7), random_.randrange(8, 12), random_.randrange(10, 14)
    events: list[Transaction] = []

    def pay(name: str, day: int, amount_minor: int, channel: str, payee: str, **more: Any) -> None:
        time_us = NOON_US + day * DAY_US + (sum(name.encode()) % 700 + len(events) % 60) * MINUTE_US
        fields = {
            "customer_id": customer_id,
            "merchant_id": None,
            "counterparty": payee,
            "channel": channel,
            "mcc": None,
        }
        events.append(transaction(f"{name}-{day}", time_us, amount_minor, **(fields | more)))

    for week in range(weeks):
        day = 7 * week
        if week not in (stop, stop + 1):
            pay("wage", day, 60_000 if week < drop else 40_000, "transfer", "Alander Works", direction="credit")
        price_minor = 1_300 if week >= rise else 1_000
        pay("plan", day + 1, price_minor + (500 if week == surcharge else 0), "direct_debit", "Corlia Mobile")
        if week >= start:
            pay("film", day + 2, 1_299, "direct_debit", "Ulgano Stream")
        if random_.random() < 0.1:
            pay("fee", day + 3, random_.randrange(100, 900), "fee", "Bank")
        if week % 13 == 0:
            pay("safe", day + 4, 9_600, "direct_debit", "Verova Insurance")
        if random_.random() < 0.7:
            pay(
                "shop",
                day + 5,
                random_.randrange(100, 9_000),
                "card_present",
                "Al Market",
                merchant_id="m-1",
                mcc="5411",
            )
    return sorted(events, key=lambda event: (event.time_us, event.event_id))


def wishes(weeks: int = 30, customer_id: str = "c-1") -> list[Any]:
    """What intents live on: a search for a home and a loan, a ring and a venue, from the middle on silence (no logins, no
    wages, few groceries), and a mortgage at more than the market's rate. In time order."""
    events: list[Event] = []
    middle = 7 * weeks // 2

    def visit(day: int, name: str, **more: Any) -> None:
        fields = {"customer_id": customer_id, "partition": 0, "offset": 0}
        time_us = NOON_US + day * DAY_US + HOUR_US
        events.append(
            Interaction(interaction_id=f"{name}-{day}", time_us=time_us, arrival_us=time_us, **(fields | more))
        )

    for day in range(7 * weeks):
        if day % (3 if day < middle else 9) == 0:
            events.append(transaction(f"food-{day}", NOON_US + day * DAY_US, customer_id=customer_id))
        if day < middle:
            visit(day, "login", kind="login")
        if middle - 40 < day < middle:
            visit(day, "home", kind="page", page="mortgage/rates")
            visit(day, "sum", kind="calculator", page="mortgage/calculator")
            visit(day, "car", kind="page", page="loan/rates")
            visit(day, "price", kind="calculator", page="loan/calculator")
        if day % 7 == 0 and day < middle:
            paid = {"direction": "credit", "channel": "transfer", "counterparty": "Alander Works", "merchant_id": None}
            events.append(transaction(f"wage-{day}", NOON_US + day * DAY_US + MINUTE_US, 60_000, mcc=None, **paid))
    for number, mcc in enumerate(("5944", "7299")):
        time_us = NOON_US + (middle - 40 + 20 * number) * DAY_US + 2 * MINUTE_US
        events.append(transaction(f"party-{number}", time_us, 160_000, mcc=mcc, merchant_id=f"party-{number}"))
    held = {"account_id": "home", "kind": "mortgage", "interest_rate": 5.5, "customer_id": customer_id}
    events.append(account(NOON_US + (middle + 30) * DAY_US + 1, -10_000_000, **held))
    events.append(rate(NOON_US + (middle + 31) * DAY_US))
    return sorted(events, key=lambda event: (event.time_us, event.event_id))


# ---- hostile values

HUGE_MINOR = 10**19 - 1
"""15 digits and 4 decimals: more than a signed 64-bit integer holds."""
NAMES = (
    "m",
    "m" * 128,
    "Žluťoučký kůň",
    "店" * 128,
    "\u202etxet",
    "🦄" * 64,
    "Robert'); DROP TABLE--",
    "null",
    "\ufeff",
)
CURRENCIES = ("EUR", "JPY", "KWD", "CLF", "USD", "UYW", "XAF", "GBP")


def hostile_life(seed: int, count: int, customer_id: str = "c-1") -> list[Event]:
    """Everything that the contract allows and nobody wants: huge and zero amounts, all currencies, equal times, leaps between
    1970 and 2200, thousands of merchants in an hour, poles and antimeridian, duplicates, reversals of nothing."""
    random_ = random.Random(f"hostile/{seed}/{customer_id}")
    events: list[Event] = []
    time_us = YEAR_1970_US
    for number in range(count):
        if random_.random() < 0.3:
            time_us += random_.choice((0, 1, SECOND_US, MINUTE_US, HOUR_US, -HOUR_US, -DAY_US, DAY_US))
        if random_.random() < 8 / count:
            time_us += random_.randrange(20 * 365) * DAY_US
        time_us = min(max(time_us, YEAR_1970_US), YEAR_2200_US)
        events.append(hostile_event(random_, number, time_us, customer_id))
        if random_.random() < 0.05:
            events.append(random_.choice(events[-50:]))
    return events[:count]


def hostile_event(random_: random.Random, number: int, time_us: int, customer_id: str = "c-1") -> Event:
    if random_.random() < 0.03:
        return account(
            time_us, random_.choice((-HUGE_MINOR, HUGE_MINOR, 0)), account_id=f"a-{number}", customer_id=customer_id
        )
    if random_.random() < 0.03:
        return label(time_us, f"t-{random_.randrange(number + 1)}", customer_id=customer_id)
    with_place = random_.random() < 0.7
    status = random_.choice(("pending", "posted", "posted", "posted", "posted", "reversed"))
    return transaction(
        f"t-{number}" if random_.random() < 0.9 else f"{random_.choice(NAMES[:4])}"[:100] + str(number),
        time_us,
        random_.choice((0, 1, random_.randrange(10**4), random_.randrange(10**9), HUGE_MINOR)),
        customer_id=customer_id,
        currency=random_.choice(CURRENCIES),
        direction=random_.choice(("debit", "debit", "credit")),
        status=status,
        original_transaction_id=(
            f"t-{random_.randrange(number + 50)}" if status == "reversed" and random_.random() < 0.7 else None
        ),
        channel=random_.choice(CHANNELS),
        merchant_id=random_.choice((None, f"m-{random_.randrange(100_000)}", "m-1")),
        merchant_name=random_.choice((None, *NAMES)),
        mcc=random_.choice((None, "0000", "9999", "5411", f"{random_.randrange(10_000):04d}")),
        country=random_.choice((None, "CZ", "FR", "AQ", "ZW", "US", "JP")),
        lat=random_.choice((90.0, -90.0, 0.0, 50.1)) if with_place else None,
        lon=random_.choice((180.0, -180.0, 0.0, 14.4)) if with_place else None,
    )


# ---- hypothesis

GAPS_US = st.one_of(
    st.integers(0, 30 * SECOND_US), st.integers(MINUTE_US, 2 * HOUR_US), st.integers(2 * HOUR_US, 40 * DAY_US)
)


@st.composite
def histories(draw: st.DrawFn, count_max: int = 40) -> list[Transaction]:
    """Short lives in time order whose gaps, amounts, shops and places hypothesis chooses and shrinks."""
    gaps_us = draw(st.lists(GAPS_US, min_size=3, max_size=count_max))
    events: list[Transaction] = []
    time_us = NOON_US
    for number, gap_us in enumerate(gaps_us):
        time_us += gap_us
        if events and draw(st.integers(0, 3)) == 0:
            events.append(moved(events[-1], transaction_id=f"t-{number}", time_us=time_us, arrival_us=time_us))
            continue
        lat, lon, country = draw(st.sampled_from(PLACES))
        events.append(
            transaction(
                f"t-{number}",
                time_us,
                draw(st.sampled_from((0, 500, 1_000, 1_000, 1_500, 90_000, 10_000_000))),
                merchant_id=draw(st.sampled_from(("m-1", "m-1", "m-2", None))),
                mcc=draw(st.sampled_from(MCCS)),
                channel=draw(st.sampled_from(("card_present", "card_present", "ecommerce", "transfer"))),
                direction=draw(st.sampled_from(("debit", "debit", "debit", "credit"))),
                country=country,
                lat=lat,
                lon=lon,
                account_id="a-1",
                balance_after_minor=draw(st.sampled_from((None, -500, 500, 50_000))),
            )
        )
    return events
