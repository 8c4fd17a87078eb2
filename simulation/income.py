"""Income: five rhythms, business-day shifts, raises, year-end bonuses, and whatever stories did to them."""

from __future__ import annotations

from simulation.life import Life, Pay
from simulation.person import employer
from simulation.randomness import Draws

HOURS_SPREAD_PCT = 3
"""Weekly wages follow the hours worked."""


def paydays(life: Life, pay: Pay) -> list[int]:
    """Nominal paydays of a regular stream, before any shift, in order."""
    if pay.kind in ("monthly", "pension", "benefit"):
        days = life.almanac.month_days(pay.anchor)
    else:
        days = list(range(pay.anchor, life.days, 7 if pay.kind == "weekly" else 14))
    paused = [range(first, last) for first, last in pay.pauses]
    return [day for day in days if pay.first_day <= day <= pay.last_day and not any(day in pause for pause in paused)]


def due_day(life: Life, pay: Pay, nominal: int) -> int:
    """The day on which a nominal payday's money is due: business day, plus a planted delay."""
    day = life.almanac.business_day(nominal, pay.step)
    return life.almanac.business_day(day + pay.delays_days.get(nominal, 0), 1)


def earn(life: Life) -> None:
    """Books every stream of income."""
    draws = life.draws("income")
    for pay in life.pays:
        if pay.kind == "freelance":
            invoice(life, pay, draws)
        else:
            pay_regularly(life, pay, draws)


def pay_regularly(life: Life, pay: Pay, draws: Draws) -> None:
    second = draws.between(3 * 3600, 9 * 3600)
    raise_month, raise_pct = draws.between(1, 12), draws.between(1, 4)
    bonus = pay.kind == "monthly" and draws.chance(25)
    amount_minor, raised_on = pay.amount_minor, pay.first_day - 200
    for nominal in paydays(life, pay):
        day = due_day(life, pay, nominal)
        if pay.kind != "pension" and life.dial.payday_jitter_days:
            day += draws.below(life.dial.payday_jitter_days + 1)
        if life.almanac.month[nominal] == raise_month and nominal >= raised_on + 300:
            amount_minor += amount_minor * raise_pct // 100
            raised_on = nominal
        pct = 100
        for changed_on, changed_pct in pay.changes:
            pct = changed_pct if day >= changed_on else pct
        if day < life.days:
            at_us = life.time_us(day, second + draws.below(900))
            paid_minor = amount_minor * pct // 100
            if pay.kind == "weekly":
                paid_minor = draws.vary(paid_minor, HOURS_SPREAD_PCT)
            life.transfer(at_us, paid_minor, pay.payer, pay.description)
            if bonus and life.almanac.month[nominal] == 12 and pct == 100:
                life.transfer(at_us + 1_000_000, amount_minor // 2, pay.payer, "Year-end bonus")


def invoice(life: Life, pay: Pay, draws: Draws) -> None:
    """A freelancer's clients pay when they please: one to four invoices a month, lumpy."""
    clients = [employer(draws) for _ in range(draws.between(3, 7))]
    for first in range(0, life.days, 30):
        count = draws.between(1, 4)
        for _ in range(count):
            day = life.almanac.business_day(first + draws.below(30), 1)
            if pay.first_day <= day <= min(pay.last_day, life.days - 1):
                amount_minor = draws.vary(pay.amount_minor * 10 // 25, 45) // 500 * 500
                second = draws.between(6 * 3600, 18 * 3600)
                life.transfer(life.time_us(day, second), amount_minor, draws.pick(clients), pay.description)
