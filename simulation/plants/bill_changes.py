"""Price rises: a subscription or contract costs more from one bill on.

Decoys: a heating season, a surcharge on one bill, a second contract of the same kind.
"""

from __future__ import annotations

from simulation.bills import contract, due_days, subscription
from simulation.ledger import money
from simulation.life import Bill, Life
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

KIND = "price_rise"
FIXED = ("telecom", "internet", "streaming", "music", "gym", "software", "news")


def tell(life: Life, story: Story, draws: Draws) -> None:
    day = choose_day(life, story, draws, 110, 40)
    wanted = ("energy",) if story.variant == "heating_season" else FIXED
    bill = draws.pick([bill for bill in life.bills if bill.kind in wanted and bill.first_day == 0])
    due = next((due for due in due_days(life, bill) if due >= day), None)
    if due is None:
        return
    if story.variant is None:
        pct = draws.between(9, 22) * life.dial.strength_pct // 100
        new_minor = bill.amount_minor + max(50, bill.amount_minor * pct // 100 // 10 * 10)
        detail = {"stream": bill.kind, "old": money(bill.amount_minor), "new": money(new_minor)}
        bill.changes.append((due, new_minor))
        bill.case, bill.case_day = life.plant(KIND, None, life.time_us(due), life.time_us(due), **detail), due
        return
    bill.case_day = due
    bill.case = life.plant(KIND, story.variant, life.time_us(due), life.time_us(due), stream=bill.kind)
    if story.variant == "one_surcharge":
        bill.extras_minor[due] = bill.amount_minor * draws.between(8, 30 + 30 * story.convincing) // 100
    elif story.variant == "second_contract":
        life.bills.append(second(life, bill, draws, due))


def second(life: Life, bill: Bill, draws: Draws, day: int) -> Bill:
    """Another contract of the same kind, somewhat dearer."""
    price_minor = bill.amount_minor * draws.between(105, 140) // 100
    make = subscription if bill.channel == "ecommerce" else contract
    return make(life, bill.kind, price_minor, draws, first_day=day)


PLANT = Plant(KIND, every=10, variants=("heating_season", "one_surcharge", "second_contract"), tell=tell)
