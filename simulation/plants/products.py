"""Products taken: some weeks of interest, an application, the product itself with its payments.

Decoys: researchers (look and go away), people whose application is declined, people who abandon a calculator.
"""

from __future__ import annotations

from typing import NamedTuple

from simulation.bills import contract, repayment
from simulation.ledger import money
from simulation.life import CURRENT, Life
from simulation.plants.application import apply, complete
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

KIND = "product"


class Terms(NamedTuple):
    amount_minor: int
    months: int
    rate_bp: int


def tell(life: Life, story: Story, draws: Draws) -> None:
    """The outcome's day is the case's start and end."""
    outcome = choose_day(life, story, draws, 65, 10)
    began = max(2, outcome - draws.between(20, 60))
    owned = {account.kind for account in life.accounts}
    choices = [product for product in ("loan", "credit_card", "savings", "investment") if product not in owned]
    product = draws.pick([*choices, "insurance"])
    look_into(life, story, draws, product, began, outcome)
    terms = choose_terms(life, draws, product)
    detail = {"product": product, "signs_from": life.almanac.iso[began]}
    if story.variant is None:
        done_us = apply(life, draws, product, terms.amount_minor, steps(outcome, "approved", "completed"))
        take(life, draws, product, terms, outcome)
        complete(life, product, done_us)
        written = {"amount": money(terms.amount_minor), "months": terms.months, "rate": terms.rate_bp / 100}
        life.plant(KIND, None, done_us, done_us, taken_on=life.almanac.iso[outcome], terms=written, **detail)
        return
    if story.variant == "declined":
        apply(life, draws, product, terms.amount_minor, steps(outcome, "declined"))
    elif story.variant == "abandoned":
        life.browse(life.time_us(outcome, 70_000), "calculator", f"{product}/calculator", draws.between(60, 300))
        life.browse(life.time_us(outcome, 70_400), "abandon", f"{product}/apply", draws.between(5, 60))
    life.plant(KIND, story.variant, life.time_us(outcome), life.time_us(outcome), **detail)


def steps(outcome: int, *last: str) -> tuple[tuple[str, int], ...]:
    """The statuses of an application that is decided on the outcome's day, a day apart, with their days."""
    statuses = ("started", "submitted", *last)
    return tuple((status, outcome - len(statuses) + 1 + number) for number, status in enumerate(statuses))


def look_into(life: Life, story: Story, draws: Draws, product: str, first: int, last: int) -> None:
    """Visits to the product's pages; a case's become more frequent towards the end, an idle reader's don't."""
    keen = story.variant is None or story.convincing
    visits = draws.between(6, 12) * (life.dial.strength_pct if keen else 50) // 100
    for visit in range(visits):
        reach = last - first - 1
        day = first + (reach * visit // visits if keen else draws.below(max(1, reach)))
        second = draws.between(58_000, 80_000)
        kind = "calculator" if draws.chance(35 if keen else 15) else "page"
        page = f"{product}/{draws.pick(('overview', 'rates', 'terms', 'compare'))}"
        life.browse(life.time_us(day, second), kind, page, draws.between(10, 200))


def choose_terms(life: Life, draws: Draws, product: str) -> Terms:
    income_minor = life.person.income_minor
    if product == "loan":
        return Terms(
            income_minor * draws.between(2, 7) // 100_000 * 100_000,
            draws.pick((24, 36, 48, 60)),
            draws.between(550, 900),
        )
    if product == "credit_card":
        return Terms(draws.between(10, 50) * 10_000, 0, draws.between(1400, 1900))
    if product == "insurance":
        return Terms(draws.vary(1900, 40), 12, 0)
    return Terms(income_minor * draws.between(4, 12) // 100 // 500 * 500, 0, 220 if product == "savings" else 0)


def take(life: Life, draws: Draws, product: str, terms: Terms, day: int) -> None:
    """The product in use from the next day on."""
    if product == "insurance":
        life.bills.append(contract(life, "insurance", terms.amount_minor, draws, first_day=day + 5))
    elif product == "credit_card":
        life.open_account("credit_card", 0, 0, "Classic Card", credit_limit_minor=terms.amount_minor, first_day=day)
    elif product == "loan":
        loan = life.open_account("loan", 0, terms.rate_bp, "Personal Loan", first_day=day)
        life.shift(
            life.time_us(day, draws.between(44_000, 60_000)),
            loan,
            CURRENT,
            terms.amount_minor,
            "Loan payout",
            "internal",
        )
        interest_minor = terms.amount_minor * terms.rate_bp * terms.months // 240_000
        monthly_minor = (terms.amount_minor + interest_minor) // terms.months
        life.bills.append(repayment(life, loan, monthly_minor, draws, first_day=day + 20))
        spend_day = min(day + draws.between(1, 9), life.horizon - 1)
        life.buy(
            life.time_us(spend_day, draws.between(36_000, 66_000)),
            life.bank.biller("garage", draws.below(6)),
            terms.amount_minor * 8 // 10,
        )
    else:
        name = "Saver" if product == "savings" else "Fund Plan"
        account = life.open_account(product, 0, terms.rate_bp, name, first_day=day)
        for due in life.almanac.month_days(draws.between(2, 12)):
            if due > day:
                life.shift(
                    life.time_us(due, 14_400 + draws.below(1200)),
                    CURRENT,
                    account,
                    terms.amount_minor,
                    f"{name} plan",
                    "standing_order",
                )


PLANT = Plant(KIND, every=12, variants=("researcher", "declined", "abandoned"), tell=tell)
