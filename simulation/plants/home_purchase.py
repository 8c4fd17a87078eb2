"""Home buyers: months of looking, calculating and saving, advice, an application, a mortgage.

Decoys: browsers (look and calculate, then lose interest), refinancers (have a mortgage, compare rates), people who save for
a car (the same thrift and a loan calculator, a large payment to a dealer at the end).
"""

from __future__ import annotations

from simulation.bills import repayment
from simulation.ledger import money
from simulation.life import CURRENT, Life
from simulation.plants.application import apply, complete
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

KIND = "home_purchase"
PAGES = {
    None: ("mortgage/rates", "mortgage/guide", "mortgage/first-home", "property/search"),
    "browser": ("mortgage/rates", "mortgage/guide", "mortgage/first-home", "property/search"),
    "refinancer": ("mortgage/rates", "mortgage/refinance", "mortgage/rates", "mortgage/guide"),
    "car_saver": ("loan/car", "loan/rates", "savings/goal", "loan/guide"),
}
SEARCHES = {None: "first home mortgage", "browser": "house prices", "refinancer": "refix rate", "car_saver": "car loan"}


def tell(life: Life, story: Story, draws: Draws) -> None:
    """The outcome's day is the case's start and end; `signs_from` in its detail says when it began to show."""
    outcome = choose_day(life, story, draws, 150, 12)
    began = max(5, outcome - draws.between(100, 150))
    variant = story.variant
    fades = variant == "browser" and not story.convincing
    look_around(life, story, draws, began, outcome if not fades else began + (outcome - began) // 2)
    if variant in (None, "car_saver") or (variant == "browser" and story.convincing):
        save_up(life, story, draws, began, outcome)
    if variant is None:
        buy_home(life, draws, began, outcome)
        return
    if variant == "car_saver" and outcome + 2 < life.horizon:
        dealer = life.bank.biller("garage", draws.below(6))
        price_minor = life.person.income_minor * draws.between(60, 130) // 100
        pay_large(life, draws, outcome, price_minor)
        life.buy(life.time_us(outcome + 1, draws.between(36_000, 60_000)), dealer, price_minor)
    life.plant(KIND, variant, life.time_us(outcome), life.time_us(outcome), signs_from=life.almanac.iso[began])


def look_around(life: Life, story: Story, draws: Draws, first: int, last: int) -> None:
    """Pages, searches and calculators, more and more often towards the end; half-hearted decoys look less."""
    eager_pct = life.dial.strength_pct if story.variant is None or story.convincing else 45
    day, step = first, 12
    while day < last - 5:
        second = draws.between(60_000, 78_000)
        for _ in range(1 + draws.below(1 + 4 * eager_pct // 100)):
            page = draws.pick(PAGES[story.variant])
            kind = "calculator" if draws.chance(30) else "search" if draws.chance(15) else "page"
            subject = SEARCHES[story.variant] if kind == "search" else page
            life.browse(life.time_us(day, second), kind, subject, draws.between(15, 240))
            second += draws.between(30, 300)
        step = max(3, step - 1)
        day += max(1, draws.between(1, step) * 100 // max(50, eager_pct))


def save_up(life: Life, story: Story, draws: Draws, first: int, last: int) -> None:
    """Less spent, more put away month by month."""
    strength = life.dial.strength_pct if story.variant is None else 80
    for category in ("restaurants", "clothing", "entertainment", "electronics", "travel"):
        life.scale(category, first, last, 100 - min(60, 35 * strength // 100))
    savings = life.account("savings", 0)
    if savings < 0:
        return
    monthly_minor = life.person.income_minor * draws.between(8, 15) // 100 * strength // 100 // 1000 * 1000
    for day in life.almanac.month_days(draws.between(2, 8)):
        if first <= day < last and monthly_minor:
            at_us = life.time_us(day, draws.between(40_000, 70_000))
            life.shift(at_us, CURRENT, savings, monthly_minor, "To savings", "internal")


def pay_large(life: Life, draws: Draws, day: int, amount_minor: int) -> None:
    """Brings what a large payment needs to the current account: own savings, the rest from the family."""
    savings = life.account("savings", 0)
    if savings >= 0:
        own_minor = min(amount_minor, max(0, life.accounts[savings].balance_minor) * 8 // 10)
        if own_minor:
            at_us = life.time_us(day, draws.between(24_000, 32_000))
            life.shift(at_us, savings, CURRENT, own_minor, "From savings", "internal")
            amount_minor -= own_minor
    if amount_minor > 0:
        life.transfer(life.time_us(day, 33_000 + draws.below(600)), amount_minor, "Family", "For the big day")


def buy_home(life: Life, draws: Draws, began: int, outcome: int) -> None:
    """Advice five weeks ahead, the application, its approval, a deposit; then rent gives way to a mortgage."""
    advice = max(began, outcome - draws.between(30, 45))
    life.browse(life.time_us(advice, draws.between(36_000, 60_000)), "click", "mortgage/advice-appointment", 60)
    amount_minor = life.person.income_minor * draws.between(40, 65) // 100_000 * 100_000
    steps = (("started", 21), ("submitted", 18), ("approved", 6), ("completed", 0))
    dated = tuple((status, max(began, outcome - ahead)) for status, ahead in steps)
    done_us = apply(life, draws, "mortgage", amount_minor, dated)
    complete(life, "mortgage", done_us)
    mortgage = life.open_account("mortgage", -amount_minor, 340, "Home Loan", first_day=outcome)
    life.bills.append(repayment(life, mortgage, amount_minor // 190, draws, first_day=outcome + 20))
    for bill in life.bills:
        if bill.kind == "rent":
            bill.last_day = outcome + 35
    deposit_minor = life.person.income_minor * draws.between(100, 250) // 100
    pay_large(life, draws, outcome + 1, deposit_minor)
    life.transfer(
        life.time_us(outcome + 1, draws.between(40_000, 60_000)), -deposit_minor, "Notary escrow", "Purchase deposit"
    )
    life.scale("household", outcome + 5, outcome + 90, 250)
    detail = {"signs_from": life.almanac.iso[began], "product": "mortgage", "amount": money(amount_minor)}
    life.plant(KIND, None, done_us, done_us, **detail)


PLANT = Plant(
    KIND,
    every=14,
    variants=("browser", "refinancer", "car_saver"),
    tell=tell,
    demands=frozenset({"renter", "employed", "savings"}),
    of_variant={
        "browser": frozenset({"savings"}),
        "refinancer": frozenset({"mortgage"}),
        "car_saver": frozenset({"savings"}),
    },
)
