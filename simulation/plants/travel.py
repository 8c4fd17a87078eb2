"""Impossible travel: a copied card is used far away an hour or two after its owner paid at home.

Decoys: a purchase at a foreign web shop minutes after one at home, a real journey to a far country, a day trip to another town.
"""

from __future__ import annotations

from simulation.almanac import SECOND_US
from simulation.bank import PER_TOWN
from simulation.life import Life
from simulation.places import FIRST_FAR, HOME_TOWNS, ONLINE, TOWNS
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws
from simulation.trips import free_for_travel, go_away, other_town

KIND = "impossible_travel"
HOUR_US = 3600 * SECOND_US


def tell(life: Life, story: Story, draws: Draws) -> None:
    nights = draws.between(8, 14) if story.variant == "long_haul" else 1
    day = choose_day(life, story, draws, 30, nights + 6)
    for _ in range(30):
        if free_for_travel(life, day, day + nights):
            break
        day = choose_day(life, story, draws, 30, nights + 6)
    else:
        return
    if story.variant == "long_haul":
        go_away(life, draws, other_town(life, draws, day, len(TOWNS), FIRST_FAR), day, nights)
        life.plant(KIND, story.variant, life.time_us(day), life.time_us(day + nights + 1))
        return
    life.taken.append(("place", day - 1, day + 2))
    home, morning_us = int(life.home[day]), life.time_us(day, draws.between(8 * 3600, 14 * 3600))
    life.buy(morning_us, shop(life, draws, home), draws.vary(2600, 45))
    if story.variant is None:
        clone(life, draws, morning_us)
    elif story.variant == "foreign_web_shop":
        at_us = morning_us + draws.between(300, 5000) * SECOND_US
        case = life.plant(KIND, story.variant, at_us, at_us)
        life.buy(at_us, life.bank.merchant(ONLINE, "clothing", draws.below(PER_TOWN)), draws.vary(4500, 40), case=case)
    else:
        life.scale("*", day, day + 1, 0)
        at_us = morning_us + draws.between(6 * 3600, 8 * 3600) * SECOND_US
        case = life.plant(KIND, story.variant, at_us, at_us)
        life.buy(at_us, shop(life, draws, nearest_town(home)), draws.vary(3500, 40), case=case)


def clone(life: Life, draws: Draws, morning_us: int) -> None:
    """One to three payments with the copied card in a far town, known as fraud some days later."""
    town = draws.between(FIRST_FAR, len(TOWNS) - 1)
    at_us = morning_us + draws.between(40 * 60, 170 * 60 * 100 // life.dial.strength_pct) * SECOND_US
    detail = {"city": TOWNS[town].name, "country": TOWNS[town].country}
    case = life.plant(KIND, None, at_us, at_us, **detail)
    planted = life.cases[case]
    planted.label, planted.label_delay_us = "fraud", draws.between(3 * 24, 10 * 24) * HOUR_US
    for _ in range(draws.between(1, 3)):
        life.buy(at_us, shop(life, draws, town), draws.vary(7500, 50), case=case)
        planted.end_us = at_us
        at_us += draws.between(300, 2400) * SECOND_US


def shop(life: Life, draws: Draws, town: int) -> int:
    return life.bank.merchant(town, draws.pick(("groceries", "clothing", "electronics")), draws.below(PER_TOWN))


def nearest_town(home: int) -> int:
    """The home town nearest to `home`, roughly: on a flat map."""
    here = TOWNS[home]
    others = [index for index in range(len(HOME_TOWNS)) if index != home]
    return min(others, key=lambda index: abs(TOWNS[index].lat - here.lat) + abs(TOWNS[index].lon - here.lon) * 0.65)


PLANT = Plant(KIND, every=16, variants=("foreign_web_shop", "long_haul", "day_trip"), tell=tell)
