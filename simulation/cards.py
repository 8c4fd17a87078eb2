"""A credit card's bill, drawn by the bank or paid by hand, and what the bank charges: for its services, and for a bill paid late.

Who pays by hand pays long before the bill is due, or at the last moment; of the latter, some forget it now and then. A bill that is unpaid
six days before it is due is a case of bill_due: a reminder helps. What is owed depends on balances, so the ledger works it out.
"""

from __future__ import annotations

from simulation.bank import fragment
from simulation.ledger import money
from simulation.life import BOOKED, CURRENT, LATE_FEE, REMIND, REPAY, Entry, Life
from simulation.randomness import Draws

BY_HAND_PCT = 40
EARLY_PCT = 50
FORGOTTEN_PCT = 12
BY_HAND_DAY_MIN = 13
"""Early payers pay after the statement of the month's first day, and well before a reminder."""
EARLY_DAYS = (9, 11)
REMINDED_DAYS = 6
SERVICES = (("Replacement card", 1500), ("Paper statement", 350), ("Express transfer", 900), ("Cash abroad", 590))
SERVICES_YEARLY_MILLI = 700


def settle_card(life: Life) -> None:
    """Schedules the payments of the card's bill, and the bank's looks at whether it is paid."""
    card = life.account("credit_card")
    if card < 0:
        return
    draws = life.draws("card bill")
    account, by_hand, early = life.accounts[card], draws.chance(BY_HAND_PCT), draws.chance(EARLY_PCT)
    account.payment_day = draws.between(BY_HAND_DAY_MIN, 26) if by_hand else draws.between(5, 25)
    for due in life.almanac.month_days(account.payment_day):
        if due <= account.first_day:
            continue
        if not by_hand:
            pay(life, draws, card, due, "direct_debit")
            continue
        life.entries.append(Entry(life.time_us(due - REMINDED_DAYS), REMIND, card, due, "", ""))
        if early:
            pay(life, draws, card, due - draws.between(*EARLY_DAYS), "transfer")
        elif draws.chance(FORGOTTEN_PCT):
            fee_minor = draws.pick((1200, 1500, 2000))
            at_us = life.time_us(due + 1, 4 * 3600 + draws.below(1200))
            what = fragment(description="Late payment fee")
            life.entries.append(Entry(at_us, LATE_FEE, card, -fee_minor, "fee", what))
            pay(life, draws, card, due + draws.between(3, 8), "transfer")
        else:
            pay(life, draws, card, due - draws.between(1, 2), "transfer")


def pay(life: Life, draws: Draws, card: int, day: int, channel: str) -> None:
    life.entries.append(Entry(life.time_us(day, 5 * 3600 + draws.below(1200)), REPAY, card, 0, channel, ""))


def charge_services(life: Life) -> None:
    """What the bank charges now and then: each a case of a fee."""
    draws = life.draws("services")
    for day in range(life.days):
        if draws.below(365_000) >= SERVICES_YEARLY_MILLI or not life.almanac.open[day]:
            continue
        service, typical_minor = draws.pick(SERVICES)
        amount_minor, at_us = draws.vary(typical_minor, 20) // 10 * 10, life.time_us(day, 4 * 3600 + draws.below(1200))
        case = life.plant("fee", None, at_us, at_us, amount=money(amount_minor), what=service)
        what = fragment(description=service)
        life.entries.append(Entry(at_us, BOOKED, CURRENT, -amount_minor, "fee", what, case))
