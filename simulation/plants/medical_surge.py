"""Medical surges: for some months a customer pays doctors and pharmacies several times as often.

Decoys: one large dental bill; the prescriptions of a whole year bought on one day; a family check-up week.
"""

from __future__ import annotations

from simulation.bank import PER_TOWN
from simulation.life import Life
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

KIND = "medical_surge"
DENTIST = 2
"""Number of a town's medical merchant that is a dentist."""


def tell(life: Life, story: Story, draws: Draws) -> None:
    day = choose_day(life, story, draws, 70, 25)
    if story.variant is None:
        surge(life, draws, day)
        return
    days = {"dental_bill": 1, "yearly_prescriptions": 1, "check_ups": 6}[story.variant]
    case = life.plant(KIND, story.variant, life.time_us(day), life.time_us(day + days), category="medical")
    town = life.town_on(day)
    if story.variant == "dental_bill":
        dentist = life.bank.merchant(town, "medical", DENTIST)
        life.buy(life.time_us(day, draws.between(32_000, 60_000)), dentist, draws.vary(60_000, 45), case=case)
        return
    for visit in range(draws.between(2, 3 + 2 * story.convincing)):
        visited = min(day + visit * (days - 1) // 2, life.days - 1)
        practice = life.bank.merchant(life.town_on(visited), "medical", draws.below(PER_TOWN))
        at_us = life.time_us(visited, draws.between(32_000, 62_000))
        life.buy(at_us, practice, draws.vary(4500, 40), case=case)


def surge(life: Life, draws: Draws, day: int) -> None:
    """60 to 120 days with 1.2 to 2 visits a week, as the dial says."""
    end = min(day + draws.between(60, 120), life.horizon - 1, life.days - 1)
    case = life.plant(KIND, None, life.time_us(day), life.time_us(end), category="medical")
    visit = day
    while visit < end:
        practice = life.bank.merchant(life.town_on(visit), "medical", draws.below(PER_TOWN))
        life.buy(life.time_us(visit, draws.between(30_000, 64_000)), practice, draws.vary(3800, 50), case=case)
        visit += max(1, draws.between(2, 7) * 100 // life.dial.strength_pct)


PLANT = Plant(KIND, every=14, variants=("dental_bill", "yearly_prescriptions", "check_ups"), tell=tell)
