"""Who a customer is: home, work, accounts, cards, habits. Stories may demand a trait (a buyer rents, somebody who loses a
job has one)."""

from __future__ import annotations

import numpy as np

from simulation.bank import CATEGORIES, invented_name
from simulation.life import Life, Pay, Person, favourite_order, home_town
from simulation.randomness import ONE, Draws

INCOME_KINDS = (("monthly", 38), ("biweekly", 10), ("weekly", 7), ("freelance", 24), ("pension", 21))
JOB_KINDS = (("monthly", 68), ("biweekly", 18), ("weekly", 14))
"""Stories about pay make some more people employees."""

EMPLOYED = ("monthly", "biweekly", "weekly")
COMPANY_WORDS = ("Works", "Systems", "Logistics", "Partners", "Clinic Group", "Foods", "Industries", "Services")


def choose_weighted(draws: Draws, choices: tuple[tuple[str, int], ...]) -> str:
    """One of (value, percent) pairs; percents add up to 100."""
    point = draws.below(100)
    for value, pct in choices:
        point -= pct
        if point < 0:
            return value
    return choices[-1][0]


def employer(draws: Draws) -> str:
    return f"{invented_name(draws)} {draws.pick(COMPANY_WORDS)}"


def new_pay(draws: Draws, kind: str, monthly_minor: int, first_day: int = 0) -> Pay:
    """A stream of income of `kind` worth about `monthly_minor` a month."""
    if kind == "pension":
        return Pay(kind, "State Pension Office", monthly_minor, draws.pick((1, 5, 10, 15)), "Pension", 1, first_day)
    if kind == "freelance":
        return Pay(kind, "", monthly_minor, 0, "Invoice", 1, first_day)
    if kind == "monthly":
        return Pay(
            kind,
            employer(draws),
            monthly_minor,
            draws.pick((1, 5, 10, 15, 20, 25, 25, 27, 28, 28)),
            first_day=first_day,
        )
    gap_days = 7 if kind == "weekly" else 14
    anchor = first_day + draws.below(gap_days)
    return Pay(kind, employer(draws), monthly_minor * 12 * gap_days // 365, anchor, "Wages", first_day=first_day)


def become_person(life: Life, demands: frozenset[str]) -> None:
    """Fills in `life.person`, the accounts and the first stream of income. `demands`: employed, renter, mortgage, savings."""
    draws = life.draws("person")
    kind = choose_weighted(draws, INCOME_KINDS)
    if "employed" in demands and kind not in EMPLOYED:
        kind = choose_weighted(draws, JOB_KINDS)
    income_minor = draws.vary(250_000 if kind != "pension" else 160_000, 35)
    tenure = choose_weighted(draws, (("rent", 55), ("mortgage", 30), ("own", 15)))
    if "renter" in demands:
        tenure = "rent"
    if "mortgage" in demands:
        tenure = "mortgage"
    tight = draws.chance(22)
    count = len(CATEGORIES)
    average = np.array([category.weekly_milli for category in CATEGORIES], dtype=np.int64)
    medians = np.array([category.median_minor for category in CATEGORIES], dtype=np.int64)
    hours = np.array([category.hour for category in CATEGORIES], dtype=np.int64)
    life.person = Person(
        home=home_town(draws),
        income_kind=kind,
        income_minor=income_minor,
        tenure=tenure,
        tight=tight,
        budget_pct=draws.between(92, 103) if tight else draws.between(45, 80),
        floor_minor=-draws.between(3, 12) * 10_000 if tight else draws.between(2, 30) * 1000,
        credit_pct=draws.between(20, 70),
        logins_weekly_milli=draws.vary(1300, 55),
        trips_yearly_milli=draws.vary(1300, 60) if not tight else 500,
        weekly_milli=average * draws.factors(40, count) // ONE,
        median_minor=medians * draws.factors(25, count) // ONE,
        hour_s=hours * 3600 + draws.normals(count) * 4,
        favourites=favourite_order(draws),
        language=draws.pick(("en", "de", "fr")),
    )
    life.town[:] = life.home[:] = life.person.home
    open_accounts(life, draws, demands)
    if draws.chance(40):
        life.devices.append(life.identify("d-", "device", 1))
    life.pays.append(new_pay(draws, kind, income_minor))


def open_accounts(life: Life, draws: Draws, demands: frozenset[str]) -> None:
    """The accounts that a customer brings along; products taken later open further ones."""
    person = life.person
    share_pct = draws.between(8, 35) if person.tight else draws.between(40, 150)
    limit_minor = -person.floor_minor if person.tight else draws.pick((0, 50_000, 100_000))
    life.open_account(
        "current", person.income_minor * share_pct // 100, 1150, "Everyday", overdraft_limit_minor=max(0, limit_minor)
    )
    if "savings" in demands or draws.chance(35 if person.tight else 80):
        saved = person.income_minor * (draws.below(60) if person.tight else draws.between(50, 700)) // 100
        life.open_account("savings", saved, 150, "Saver")
    if draws.chance(45):
        limit_minor = draws.between(10, 40) * 10_000
        life.open_account("credit_card", 0, 0, "Classic Card", credit_limit_minor=limit_minor)
    if person.tenure == "mortgage":
        life.open_account("mortgage", -person.income_minor * draws.between(35, 60), 310, "Home Loan")
    if draws.chance(10):
        life.open_account("loan", -person.income_minor * draws.between(2, 6), 640, "Personal Loan")
    if not person.tight and draws.chance(20):
        life.open_account("investment", person.income_minor * draws.between(1, 12), 0, "Fund Plan")
