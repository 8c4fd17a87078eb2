"""Account takeovers: within a day or two a stranger buys from a new device in shops that the customer never used.

Decoys: holiday trips (real ones, with purchases made on a new device), sales days (a burst of online shopping), a new phone.
The bank learns of fraud 3 to 10 days later; of some decoys it asks the customer, who says that all is well.
"""

from __future__ import annotations

from simulation.bank import CATEGORIES, PER_TOWN
from simulation.life import CURRENT, Life
from simulation.places import FIRST_FAR, ONLINE, TOWNS
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws
from simulation.trips import free_for_travel, go_away, other_town

KIND = "takeover"
PRIZES = ("electronics", "clothing", "online", "travel", "household")
HOUR_US = 3_600_000_000


def tell(life: Life, story: Story, draws: Draws) -> None:
    day = choose_day(life, story, draws, 45, 14)
    if story.variant == "holiday_trip":
        day = holiday(life, story, draws, day)
    new_device = story.variant != "sales_day" or story.convincing
    if new_device:
        life.devices.append(life.identify("d-", "device", len(life.devices)))
    device = len(life.devices) - 1
    if story.variant == "sales_day":
        near = [sale for sale in life.almanac.sales if abs(sale - day) < 60 and sale < life.horizon - 3]
        day = draws.pick(near) if near else day
    hours = draws.between(3, 30)
    case = life.plant(KIND, story.variant, life.time_us(day), life.time_us(day) + hours * HOUR_US)
    planted = life.cases[case]
    planted.label_delay_us = draws.between(3 * 24, 10 * 24) * HOUR_US
    if story.variant is None:
        planted.label = "fraud"
        count = draws.between(5, 11) * life.dial.strength_pct // 100
        size_pct = 260 * life.dial.strength_pct // 100
    else:
        planted.label = "not_fraud" if draws.chance(30) else ""
        count = draws.between(3, 6) if story.convincing else draws.between(2, 3)
        size_pct = 140 if story.convincing else 100
    start = draws.between(2 * 3600, 23 * 3600) if story.variant is None else draws.between(8 * 3600, 20 * 3600)
    burst(life, draws, case, day, start, hours, max(3 if story.variant is None else 2, count), size_pct, device)


def burst(
    life: Life, draws: Draws, case: int, day: int, start_s: int, hours: int, count: int, size_pct: int, device: int
) -> None:
    """`count` online purchases within `hours`; the case's times become those of the first and the last."""
    card = life.account("credit_card", day - 1)
    account = card if card >= 0 and draws.chance(40) else CURRENT
    seconds = sorted(draws.below(hours * 3600) for _ in range(count))
    planted, total_minor = life.cases[case], 0
    for second in seconds:
        category = draws.pick(PRIZES)
        median_minor = next(c.median_minor for c in CATEGORIES if c.name == category)
        merchant = life.bank.merchant(ONLINE, category, draws.below(PER_TOWN))
        amount_minor = draws.vary(median_minor * size_pct // 100, 60)
        at_us = life.time_us(day, start_s + second)
        life.buy(at_us, merchant, amount_minor, account=account, case=case, device=device)
        total_minor += amount_minor
    planted.start_us = life.time_us(day, start_s + seconds[0])
    planted.end_us = life.time_us(day, start_s + seconds[-1])
    if planted.label == "fraud" and account == CURRENT:
        refund_us = planted.end_us + planted.label_delay_us + draws.between(20, 70) * HOUR_US
        life.transfer(refund_us, total_minor, "Disputes", "Dispute refund", channel="internal")


def holiday(life: Life, story: Story, draws: Draws, day: int) -> int:
    """Goes on a real trip, if the days are free, and returns a day in the midst of it."""
    home = int(life.home[day])
    town = other_town(life, draws, day, len(TOWNS), FIRST_FAR if story.convincing else 20)
    nights = draws.between(7, 12)
    first = min(day, life.days - nights - 5)
    if town != home and free_for_travel(life, first, first + nights):
        go_away(life, draws, town, first, nights)
        return first + draws.between(1, nights - 2)
    return day


PLANT = Plant(KIND, every=14, variants=("holiday_trip", "sales_day", "new_device"), tell=tell)
