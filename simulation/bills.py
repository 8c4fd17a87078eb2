"""Rent or mortgage, utilities, insurance, subscriptions: what comes back every month."""

from __future__ import annotations

from simulation.almanac import SEASON_PCT
from simulation.bank import BILLERS_PER_KIND, fragment, invented_name
from simulation.life import BOOKED, CURRENT, Bill, Entry, Life
from simulation.person import choose_weighted
from simulation.randomness import Draws

UTILITIES = (("energy", 8500, 10, True), ("water", 2600, 3, False), ("internet", 3490, 0, False))
SUBSCRIPTIONS = (
    ("streaming", 1399, 70),
    ("music", 1099, 50),
    ("gym", 3490, 35),
    ("software", 999, 30),
    ("news", 1490, 20),
)
ACCOUNT_FEE = "account_fee"
ACCOUNT_FEE_PCT = 35
HEATING_PCT = tuple(200 - pct for pct in SEASON_PCT)
CARD_BILLS = frozenset(kind for kind, _, _ in SUBSCRIPTIONS)


def biller_what(life: Life, kind: str, draws: Draws, account: int = CURRENT) -> str:
    """The fragment of one of the billers of `kind`: by card for subscriptions, else by direct debit with a description."""
    merchant = life.bank.biller(kind, draws.below(BILLERS_PER_KIND))
    if kind in CARD_BILLS:
        return life.bank.fragments[merchant] + life.instrument(account, online=True)
    return life.bank.by_contract(merchant, f"Contract {draws.between(100_000, 999_999)}")


def housing(life: Life, draws: Draws, first_day: int = 0) -> Bill:
    """Rent to a landlord, by standing order."""
    what = fragment(counterparty=f"{invented_name(draws)} Housing", description="Rent")
    rent_minor = life.person.income_minor * draws.between(24, 36) // 100 // 500 * 500
    return Bill("rent", what, rent_minor, draws.pick((1, 1, 2, 3, 5)), "standing_order", first_day=first_day)


def repayment(life: Life, account: int, amount_minor: int, draws: Draws, first_day: int = 0) -> Bill:
    """The monthly payment into a loan or mortgage."""
    target = life.accounts[account]
    what = fragment(counterparty=target.account_id, description=f"{target.product} payment")
    day_of_month = draws.pick((1, 3, 5, 15, 28))
    return Bill(target.kind, what, amount_minor, day_of_month, "direct_debit", first_day=first_day, into=account)


def take_on_bills(life: Life) -> None:
    """The bills of an ordinary household, before any story changes them."""
    draws = life.draws("bills")
    if life.person.tenure == "rent":
        life.bills.append(housing(life, draws))
    for kind, divisor in (("mortgage", 170), ("loan", 40)):
        account = life.account(kind)
        if account >= 0:
            life.bills.append(repayment(life, account, -life.accounts[account].balance_minor // divisor, draws))
    for kind, typical_minor, spread_pct, seasonal in UTILITIES:
        amount_minor = draws.vary(typical_minor, 25)
        what = biller_what(life, kind, draws)
        day = draws.between(3, 26)
        life.bills.append(Bill(kind, what, amount_minor, day, "direct_debit", spread_pct=spread_pct, seasonal=seasonal))
    life.bills.append(contract(life, "telecom", draws.vary(2290, 30), draws))
    every = int(choose_weighted(draws, (("1", 40), ("3", 40), ("12", 20))))
    insurance = contract(life, "insurance", draws.vary(3200, 30) * every, draws)
    insurance.every, insurance.phase = every, draws.below(every)
    life.bills.append(insurance)
    for kind, price_minor, share_pct in SUBSCRIPTIONS:
        if draws.chance(share_pct):
            life.bills.append(subscription(life, kind, price_minor, draws))
    if draws.chance(ACCOUNT_FEE_PCT):
        what = fragment(description="Account fee")
        life.bills.append(Bill(ACCOUNT_FEE, what, draws.between(29, 69) * 10, draws.pick((1, 28)), "fee"))


def contract(life: Life, kind: str, amount_minor: int, draws: Draws, first_day: int = 0) -> Bill:
    """A fixed amount by direct debit."""
    what = biller_what(life, kind, draws)
    return Bill(kind, what, amount_minor, draws.between(2, 27), "direct_debit", first_day=first_day)


def subscription(life: Life, kind: str, price_minor: int, draws: Draws, first_day: int = 0) -> Bill:
    """A fixed price by card; some plans cost more."""
    price_minor += draws.pick((0, 0, 200, 400))
    what = biller_what(life, kind, draws)
    return Bill(kind, what, price_minor, draws.between(1, 28), "ecommerce", first_day=first_day)


def due_days(life: Life, bill: Bill) -> list[int]:
    """The days on which a bill is booked: cards know no weekend, everything else the next business day."""
    days = life.almanac.month_days(bill.day_of_month, bill.every, bill.phase)
    if bill.channel != "ecommerce":
        days = [life.almanac.business_day(day, 1) for day in days]
    return [day for day in days if bill.first_day <= day <= min(bill.last_day, life.days - 1)]


def pay_bills(life: Life) -> None:
    """Books every bill on every day on which it is due."""
    draws = life.draws("pay bills")
    for bill in life.bills:
        second = draws.between(1 * 3600, 6 * 3600)
        for day in due_days(life, bill):
            amount_minor = bill.amount_minor
            for changed_on, new_minor in bill.changes:
                amount_minor = new_minor if day >= changed_on else amount_minor
            if bill.seasonal:
                amount_minor = amount_minor * HEATING_PCT[life.almanac.month[day] - 1] // 100
            if bill.spread_pct:
                amount_minor = draws.vary(amount_minor, bill.spread_pct)
            amount_minor += bill.extras_minor.get(day, 0)
            at_us = life.time_us(day, second + draws.below(1800))
            case = bill.case if day == bill.case_day else -1
            life.entries.append(Entry(at_us, BOOKED, bill.account, -amount_minor, bill.channel, bill.what, case))
            if bill.into >= 0:
                what = fragment(counterparty=life.accounts[CURRENT].account_id, description="Payment received")
                life.entries.append(Entry(at_us + 1_000_000, BOOKED, bill.into, amount_minor, "internal", what))


def monthly_cost_minor(life: Life) -> int:
    """What the bills of the first day cost in an average month."""
    return sum(bill.amount_minor // bill.every for bill in life.bills if bill.first_day == 0)
