"""What goes wrong between a bank and its engine: charges made in error and reversed, duplicates, delays, broken records.

Dirt only ever adds: take away the charges in error with their reversals, the second copies and the broken records, and
sort by event time, and the clean world remains, byte for byte but for `arrived_at`.
"""

from __future__ import annotations

from itertools import islice

import orjson

from simulation.almanac import DAY_US, SECOND_US
from simulation.ledger import CURRENCY, Booking, BookingRow, money, transaction_head
from simulation.life import CURRENT, TOPIC, Event, Life
from simulation.randomness import Draws, Ints
from simulation.runs import run_line

TRANSACTIONS = TOPIC["in.transactions"]
DELAY_US_MAX = 47 * 3600 * SECOND_US
"""Below the 48 h by which an event may be late, so that nothing delayed here is too late."""

PARTS = 1 << 31
GAP_US_MIN = 240 * SECOND_US
NEAR_US_MAX = 6 * 3600 * SECOND_US
VOID_US_MAX = 40 * 3600 * SECOND_US

TIME_FIELDS = {
    "in.transactions": "booked_at",
    "in.accounts": "observed_at",
    "in.interactions": "occurred_at",
    "in.applications": "applied_at",
    "in.labels": "labelled_at",
    "in.messages": "sent_at",
    "in.touchpoints": "occurred_at",
    "in.consents": "decided_at",
}


def share(rate: float) -> int:
    return round(rate * PARTS)


def add_reversals(life: Life, bookings: list[BookingRow]) -> None:
    """For a share of the transactions, a charge in error and its full reversal: either booked and taken back under an id
    of its own before the account moves again, or only authorised and voided under the same id."""
    rate = share(life.settings.dirt.reversals)
    if not rate or not bookings:
        return
    draws = life.draws("reversals")
    struck = ((draws.words(len(bookings)) >> 32) < rate).nonzero()[0].tolist()
    ids = iter(draws.hex_ids(2 * len(struck), 24))
    heads = [transaction_head(life, account) for account in life.accounts]
    for index in struck:
        first, second = f"t-{next(ids)}", f"t-{next(ids)}"
        model = earlier_purchase(bookings, index, draws)
        if model is None:
            continue
        booking, amount_minor = Booking(*bookings[index]), max(100, draws.vary(-model.amount_minor, 25))
        gap_us = quiet_us(life, bookings, index) if model.account == booking.account else 0
        covered = booking.account != CURRENT or booking.balance_minor >= amount_minor
        if gap_us >= GAP_US_MIN and covered and draws.chance(50):
            charged_us = booking.time_us + gap_us // 4 // SECOND_US * SECOND_US
            reversed_us = booking.time_us + gap_us // 2 // SECOND_US * SECOND_US
            write(life, heads, model, first, charged_us, amount_minor, "posted", booking.balance_minor - amount_minor)
            write(life, heads, model, second, reversed_us, amount_minor, "reversed", booking.balance_minor, first)
        else:
            charged_us = booking.time_us + draws.between(30, 3600) * SECOND_US
            voided_us = charged_us + draws.between(60, VOID_US_MAX // SECOND_US) * SECOND_US
            write(life, heads, model, first, charged_us, amount_minor, "pending", None)
            write(life, heads, model, first, voided_us, amount_minor, "reversed", None)


def earlier_purchase(bookings: list[BookingRow], index: int, draws: Draws) -> Booking | None:
    """An everyday purchase that the customer made before, as the model of one made in error: online, or in a shop within
    the hours before, so that the error doesn't put the customer into another town."""
    for _ in range(8):
        booking = Booking(*bookings[draws.below(index + 1)])
        if booking.case < 0 and booking.amount_minor < 0 and booking.channel == "ecommerce":
            return booking
        booking = Booking(*bookings[max(0, index - draws.below(4))])
        near = bookings[index][0] - booking.time_us <= NEAR_US_MAX
        if booking.case < 0 and booking.amount_minor < 0 and booking.channel == "card_present" and near:
            return booking
    return None


def quiet_us(life: Life, bookings: list[BookingRow], index: int) -> int:
    """How long the booking's account neither moves nor is observed afterwards, reckoned to the end of its day at most."""
    booking = Booking(*bookings[index])
    since_start_us = booking.time_us - life.almanac.start_us
    ends_us = booking.time_us - since_start_us % DAY_US + DAY_US
    for later_us, account, *_ in islice(bookings, index + 1, None):
        if later_us >= ends_us:
            break
        if account == booking.account:
            return later_us - booking.time_us
    return ends_us - booking.time_us


def write(
    life: Life, heads: list[str], model: Booking, transaction_id: str, time_us: int, amount_minor: int, status: str,
    balance_minor: int | None, original: str = "",
) -> None:  # fmt: skip
    """A transaction like `model` under its own id; a reversal of `original` goes the other way."""
    if time_us >= life.time_us(min(life.days, life.horizon)):
        return
    balance = "" if balance_minor is None else f',"balance_after":"{money(balance_minor)}"'
    reversal = f',"original_transaction_id":"{original}"' if original else ""
    body = (
        f'{{"transaction_id":"{transaction_id}",{heads[model.account]}"booked_at":"{life.text(time_us)}",'
        f'"amount":"{money(amount_minor)}","direction":"{"credit" if original else "debit"}","status":"{status}",'
        f'"channel":"{model.channel}"{model.what}{balance}{reversal}'
    )
    life.events.append((time_us, TRANSACTIONS, body))


def arrive(life: Life) -> list[bytes]:
    """The life's records as they reach the engine, as lines of a run (see `run_line`), in no particular order."""
    dirt, events, customer_id = life.settings.dirt, life.events, life.customer_id
    lines = [f"{time_us:016d}{topic}{customer_id}\t{body}}}\n".encode() for time_us, topic, body in events]
    if not (dirt.disorder or dirt.duplicates or dirt.malformed):
        return lines
    draws = life.draws("dirt")
    lots: Ints = (draws.words(3 * len(events)) >> 32).reshape(3, len(events))
    late_us: dict[int, int] = {}
    for index in (lots[0] < share(dirt.disorder)).nonzero()[0].tolist():
        late_us[index] = delay_us(draws)
        lines[index] = deliver(life, events[index], late_us[index])
    for index in (lots[1] < share(dirt.duplicates)).nonzero()[0].tolist():
        first_us = late_us.get(index, 0)
        again_us = min(DELAY_US_MAX, first_us + delay_us(draws) // (1 if dirt.disorder else 48))
        lines.append(deliver(life, events[index], max(again_us, first_us)))
    for index in (lots[2] < share(dirt.malformed)).nonzero()[0].tolist():
        time_us, topic, body = events[index]
        arrival_us = time_us + late_us.get(index, 0)
        lines.append(run_line(arrival_us, topic, customer_id, spoil(life, draws, arrival_us, topic, body)))
    return lines


def delay_us(draws: Draws) -> int:
    """Most delays are short: whole seconds, the square of an even spread up to the limit."""
    root = draws.between(100, 1 << 15)
    return max(1, (DELAY_US_MAX // SECOND_US) * root * root >> 30) * SECOND_US


def deliver(life: Life, event: Event, late_us: int) -> bytes:
    """The record with its own time of arrival; only where that isn't the event's time does a record carry it."""
    time_us, topic, body = event
    value = f'{body},"arrived_at":"{life.text(time_us + late_us)}"}}' if late_us else body + "}"
    return run_line(time_us + late_us, topic, life.customer_id, value)


def spoil(life: Life, draws: Draws, arrival_us: int, topic: int, body: str) -> str:
    """A broken copy of a record, sent with it: cut off, or with a value that no bank means."""
    value = f'{body},"arrived_at":"{life.text(arrival_us)}"}}'
    record = orjson.loads(value)
    time_field = next(field for field in TIME_FIELDS.values() if field in record)
    way = draws.below(6)
    if way == 0:
        return value[: draws.between(10, len(value) - 2)]
    if way == 1:
        return value[:-1] + ',"note":"\udcff\udcfe"}'
    if way == 2:
        del record[time_field]
    elif way == 3:
        record[time_field] = record[time_field].rstrip("Z")
    elif way == 4:
        record["customer_id"] = " " + record["customer_id"]
    elif topic == TRANSACTIONS:
        record |= draws.pick(
            ({"amount": "-" + record["amount"]}, {"amount": record["amount"] + "9"}, {"currency": CURRENCY[:2]})
        )
    else:
        record[time_field] = 20_240_101
    return orjson.dumps(record).decode()
