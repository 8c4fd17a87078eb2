"""Leavers: the app is opened less, the salary goes elsewhere, cards rest, the balance is drained, the account is closed.

Decoys: weeks of seasonal silence, somebody who only stops using the app, a large transfer to another bank by somebody who stays.
"""

from __future__ import annotations

from simulation.income import due_day
from simulation.life import CURRENT, DRAIN, OBSERVE, Entry, Life
from simulation.plants.employment import is_expected, lose_pay, next_payday
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

KIND = "churn"
LEAD_DAYS, SIGNS_DAYS, TAIL_DAYS = 235, 115, 3
"""Leavers stay at least LEAD_DAYS, as far as the period allows; the leaving shows for up to SIGNS_DAYS."""

ELSEWHERE = "Own account at another bank"


def tell(life: Life, story: Story, draws: Draws) -> None:
    """A decoy; the real leavers' stories begin with `leave`, when all others are told."""
    day = choose_day(life, story, draws, 60, TAIL_DAYS)
    began = max(3, day - draws.between(20, 35 + 15 * story.convincing))
    life.plant(KIND, story.variant, life.time_us(day), life.time_us(day), signs_from=life.almanac.iso[began])
    if story.variant == "seasonal_silence":
        life.scale("*", began, day, 15)
        life.engagement_pct[began:day] //= 6
    elif story.variant == "app_silence":
        life.engagement_pct[began:] //= 5 if story.convincing else 3
    else:
        drain(life, draws, day, 70 if story.convincing else 45)


def drain(life: Life, draws: Draws, day: int, pct: int) -> None:
    """Sends `pct` percent of the current balance to the customer's account elsewhere."""
    at_us = life.time_us(day, draws.between(30_000, 75_000))
    life.entries.append(Entry(at_us, DRAIN, CURRENT, pct, "transfer", ELSEWHERE))


def leave(life: Life, draws: Draws, day: int) -> None:
    """The stages of leaving, `day` being the last."""
    strength = life.dial.strength_pct
    began, moved, drained = (
        day - draws.between(95, SIGNS_DAYS),
        day - draws.between(55, 80),
        day - draws.between(12, 25),
    )
    began, moved, drained = max(3, began), max(4, moved), max(5, drained)
    life.engagement_pct[began:] = life.engagement_pct[began:] * max(10, 60 - 30 * strength // 100) // 100
    life.engagement_pct[drained:] //= 3
    life.engagement_pct[day + 1 :] = 0
    life.scale("*", moved, drained, max(15, 85 - 35 * strength // 100))
    life.scale("*", drained, life.days, 10)
    for pay in life.pays:
        if pay.last_day >= moved and pay.first_day < moved:
            nominal = next_payday(life, pay, moved) if pay.kind != "freelance" else None
            if nominal is not None and due_day(life, pay, nominal) < day and is_expected(life, pay, nominal):
                lose_pay(life, pay, nominal, day, "salary_moved")
        pay.last_day = min(pay.last_day, moved - 1)
    for bill in life.bills:
        bill.last_day = min(bill.last_day, moved + draws.between(0, drained - moved) if drained > moved else moved)
    savings = life.account("savings")
    if savings >= 0:
        life.entries.append(
            Entry(life.time_us(drained, draws.between(26_000, 29_000)), DRAIN, savings, 100, "transfer", ELSEWHERE)
        )
    drain(life, draws, drained, 80)
    drain(life, draws, max(drained, day - draws.between(2, 6)), 90)
    drain(life, draws, day, 100)
    closing_us = life.time_us(day, draws.between(76_000, 82_000))
    for index, account in enumerate(life.accounts):
        account.last_day = day
        life.entries.append(Entry(closing_us + index * 1_000_000, OBSERVE, index, 0, "", ""))
    life.label(closing_us + 3_600_000_000, "churned", occurred_at=life.text(closing_us))
    iso = life.almanac.iso
    stages = {"signs_from": iso[began], "salary_moved": iso[moved], "balance_drained": iso[drained]}
    life.plant(KIND, None, closing_us, closing_us, **stages)
    life.horizon = day + 1


PLANT = Plant(KIND, every=24, variants=("seasonal_silence", "app_silence", "second_bank"), tell=tell)
