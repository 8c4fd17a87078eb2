"""Life events: a child, a move, a new job, retirement, a marriage, studies. Each leaves several small traces.

Decoys leave one of the traces without the event: a baby gift, new furniture, somebody else's wedding, a single course, a
bonus. The bank hears of most events two to eight weeks later.
"""

from __future__ import annotations

from dataclasses import replace

from simulation.bank import PER_TOWN
from simulation.bills import contract, housing
from simulation.life import Life
from simulation.person import employer, new_pay
from simulation.places import ONLINE
from simulation.plants.employment import choose_payday
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws
from simulation.trips import free_for_travel, relocate

KIND = "life_event"
DAY_US = 86_400_000_000
WORKING = ("job", "retirement")
PRIVATE = ("child", "move", "marriage", "education")


def tell(life: Life, story: Story, draws: Draws) -> None:
    if story.variant is not None:
        leave_one_trace(life, story, draws)
        return
    tells = {"child": child, "move": move, "marriage": marriage, "education": education}
    busy = life.roles & {"income_missed", "income_drop", "churn"}
    kind = draws.pick(PRIVATE if busy else PRIVATE + WORKING)
    if kind == "move" and "home_purchase" in life.roles:
        kind = "child"
    if kind in WORKING:
        found = choose_payday(life, story, draws)
        if found is None:
            return
        pay, day = found
        pay.last_day = day - 1
        if kind == "job":
            raised_minor = pay.amount_minor * draws.between(110, 128) // 100
            new = replace(pay, payer=employer(draws), amount_minor=raised_minor, first_day=day, last_day=1 << 30)
            life.pays.append(new)
        else:
            pension_minor = life.person.income_minor * draws.between(55, 70) // 100
            life.pays.append(new_pay(draws, "pension", pension_minor, first_day=day))
            spend_around(life, draws, "travel", day + 10, day + 60, 2)
    else:
        day = choose_day(life, story, draws, 70, 40)
        if kind == "move" and not free_for_travel(life, day - 3, day + 3):
            kind = "education"
        tells[kind](life, draws, day)
    life.plant(KIND, None, life.time_us(day), life.time_us(day), event=kind)
    if draws.chance(70):
        at_us = life.time_us(day + draws.between(14, 56), draws.between(32_000, 60_000))
        life.label(at_us, "life_event", kind=kind, occurred_at=life.text(life.time_us(day)))


def spend_around(
    life: Life, draws: Draws, category: str, first: int, last: int, count: int, size_pct: int = 100
) -> None:
    """`count` purchases in a category between two days, online or in the town of the day."""
    strength = max(1, count * life.dial.strength_pct // 100)
    for _ in range(strength):
        day = draws.between(max(0, first), last)
        if 0 <= day < min(life.days, life.horizon):
            town = ONLINE if draws.chance(35) else life.town_on(day)
            merchant = life.bank.merchant(town, category, draws.below(PER_TOWN))
            typical_minor = {"baby": 3600, "education": 6500, "travel": 14_000, "household": 9000}.get(category, 4000)
            at_us = life.time_us(day, draws.between(34_000, 72_000))
            life.buy(at_us, merchant, draws.vary(typical_minor * size_pct // 100, 45))


def pay_once(life: Life, draws: Draws, kind: str, day: int, amount_minor: int) -> None:
    """A single bill of a biller of `kind`."""
    if 0 <= day < min(life.days, life.horizon):
        life.buy(life.time_us(day, draws.between(34_000, 66_000)), life.bank.biller(kind, draws.below(6)), amount_minor)


def child(life: Life, draws: Draws, day: int) -> None:
    spend_around(life, draws, "baby", day - 60, day, 5)
    spend_around(life, draws, "baby", day, day + 150, 24)
    spend_around(life, draws, "medical", day - 60, day + 30, 3)
    life.scale("restaurants", day, life.days, 65)
    life.scale("entertainment", day, life.days, 55)
    benefit = new_pay(draws, "pension", 25_500, first_day=day + 20)
    life.pays.append(replace(benefit, kind="benefit", payer="Family Benefits Agency", description="Child benefit"))
    life.bills.append(
        contract(life, "childcare", draws.vary(26_000, 25), draws, first_day=day + draws.between(100, 200))
    )


def move(life: Life, draws: Draws, day: int) -> None:
    relocate(life, draws, day)
    pay_once(life, draws, "moving", day - 1, draws.vary(95_000, 35))
    spend_around(life, draws, "household", day, day + 40, 7)
    for bill in list(life.bills):
        if bill.kind in ("rent", "energy", "internet") and bill.last_day > day:
            bill.last_day = day + draws.between(5, 25)
            if bill.kind == "rent":
                life.bills.append(housing(life, draws, first_day=day))
            else:
                life.bills.append(contract(life, bill.kind, draws.vary(bill.amount_minor, 20), draws, first_day=day))


def marriage(life: Life, draws: Draws, day: int) -> None:
    pay_once(life, draws, "jeweller", day - draws.between(40, 65), draws.vary(140_000, 40))
    pay_once(life, draws, "venue", day - draws.between(20, 40), draws.vary(180_000, 40))
    spend_around(life, draws, "clothing", day - 45, day, 4, size_pct=220)
    for _ in range(draws.between(3, 7)):
        gift_us = life.time_us(day + draws.between(0, 8), draws.between(30_000, 70_000))
        life.transfer(gift_us, draws.between(5, 40) * 1000, "Family", "With our best wishes")
    spend_around(life, draws, "travel", day + 5, day + 30, 2, size_pct=300)


def education(life: Life, draws: Draws, day: int) -> None:
    fee = contract(life, "university", draws.vary(62_000, 30), draws, first_day=day - 5)
    fee.every, fee.phase = 6, draws.below(6)
    life.bills.append(fee)
    pay_once(life, draws, "university", day, draws.vary(62_000, 30))
    spend_around(life, draws, "education", day - 15, day + 60, 8)
    spend_around(life, draws, "education", day + 60, day + 240, 7)


def leave_one_trace(life: Life, story: Story, draws: Draws) -> None:
    day = choose_day(life, story, draws, 50, 15)
    life.plant(KIND, story.variant, life.time_us(day), life.time_us(day))
    count = 2 + 2 * story.convincing
    if story.variant == "baby_gift":
        spend_around(life, draws, "baby", day, day + 10, count)
    elif story.variant == "new_furniture":
        spend_around(life, draws, "household", day, day + 14, count, size_pct=250)
    elif story.variant == "wedding_guest":
        spend_around(life, draws, "clothing", day - 14, day, count, size_pct=180)
        pay_once(life, draws, "jeweller", day, draws.vary(9000, 40))
    elif story.variant == "single_course":
        spend_around(life, draws, "education", day, day + 10, count - 1, size_pct=200)
    else:
        bonus_minor = life.person.income_minor * draws.between(20, 60) // 100
        life.transfer(
            life.time_us(day, draws.between(15_000, 36_000)), bonus_minor, life.pays[0].payer or "Client", "Bonus"
        )


PLANT = Plant(
    KIND,
    every=12,
    variants=("baby_gift", "new_furniture", "wedding_guest", "single_course", "bonus"),
    tell=tell,
    demands=frozenset({"employed"}),
    of_variant={
        variant: frozenset() for variant in ("baby_gift", "new_furniture", "wedding_guest", "single_course", "bonus")
    },
)
