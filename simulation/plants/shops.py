"""What goes wrong in shops: compromised terminals and double charges.

Compromised merchants: in each town and each half of the period one shop's terminal is skimmed for 28 days; victims find
payments there that they never made, and the bank learns it 3 to 10 days later. Decoys: first purchases in a shop new to the
customer, a payment disputed in error, a busy week in one shop.
Duplicate charges: the same amount twice in the same shop within an hour. Decoys: the same coffee again hours later, the same
basket at a later date, two different amounts within minutes.
"""

from __future__ import annotations

from simulation.almanac import SECOND_US
from simulation.bank import CATEGORIES, PER_TOWN
from simulation.ledger import money
from simulation.life import Life
from simulation.places import ONLINE
from simulation.plants.story import Plant, Story, choose_day
from simulation.randomness import Draws

HOUR_US = 3600 * SECOND_US
WINDOW_DAYS = 28


def shop_price(life: Life, draws: Draws, merchant: int) -> int:
    """An amount as it is usual for the customer in this kind of shop, in minor units."""
    category = merchant // PER_TOWN % len(CATEGORIES)
    return max(100, draws.vary(int(life.person.median_minor[category]), 40))


def tell_compromised(life: Life, story: Story, draws: Draws) -> None:
    merchant, first = life.bank.compromised(int(life.person.home))[story.half]
    if story.variant is not None:
        first = choose_day(life, story, draws, 30, 40)
        kind = draws.pick(("restaurants", "groceries", "clothing", "fuel", "electronics"))
        merchant = life.bank.merchant(int(life.town[first]), kind, draws.below(PER_TOWN))
    last = min(first + WINDOW_DAYS, life.horizon) - 1
    days = [day for day in range(first, last) if life.town_on(day) == merchant_town(merchant)]
    if not days:
        return
    wanted = max(1, draws.between(1, 4) * life.dial.strength_pct // 100)
    chosen = sorted(draws.some(days, wanted if story.variant != "busy_merchant" else 4))
    detail = {"merchant_id": life.bank.merchant_ids[merchant]}
    case = life.plant(
        "compromised_merchant", story.variant, life.time_us(chosen[0]), life.time_us(chosen[-1] + 1), **detail
    )
    planted = life.cases[case]
    planted.label = {None: "fraud", "disputed": "not_fraud"}.get(story.variant, "")
    planted.label_delay_us = draws.between(3 * 24, 10 * 24) * HOUR_US
    for day in chosen:
        at_us = life.time_us(day, draws.between(9 * 3600, 21 * 3600))
        life.buy(at_us, merchant, shop_price(life, draws, merchant) * 13 // 10, case=case)
    planted.start_us = life.time_us(chosen[0])


def merchant_town(merchant: int) -> int:
    """The town of a merchant that has one."""
    return merchant // (PER_TOWN * len(CATEGORIES))


def tell_duplicate(life: Life, story: Story, draws: Draws) -> None:
    day = choose_day(life, story, draws, 25, 8)
    start_s, gap_s = draws.between(9 * 3600, 16 * 3600), draws.between(40, 1500 * 100 // life.dial.strength_pct)
    if story.variant == "same_coffee":
        gap_s = draws.between(3 * 3600, 6 * 3600)
    elif story.variant == "same_basket":
        gap_s = draws.between(3, 7) * 86_400 + draws.between(0, 3600)
    town = life.town_on(day)
    if life.town_on(day + (start_s + gap_s) // 86_400) != town:
        town = ONLINE
    kinds = ("coffee",) if story.variant == "same_coffee" else ("groceries", "restaurants", "clothing", "household")
    merchant = life.bank.merchant(town, draws.pick(kinds), draws.below(PER_TOWN))
    amount_minor = second_minor = shop_price(life, draws, merchant)
    if story.variant == "two_baskets":
        second_minor = amount_minor * draws.between(30, 85) // 100
    at_us = life.time_us(day, start_s)
    again_us = at_us + gap_s * SECOND_US
    end_us = again_us if story.variant is None else again_us + HOUR_US
    detail = {"amount": money(amount_minor), "merchant_id": life.bank.merchant_ids[merchant]}
    case = life.plant("duplicate_charge", story.variant, again_us, end_us, **detail)
    life.buy(at_us, merchant, amount_minor, case=case)
    life.buy(again_us, merchant, second_minor, case=case)


COMPROMISED = Plant("compromised_merchant", 10, ("new_merchant", "disputed", "busy_merchant"), tell_compromised)
DUPLICATE = Plant("duplicate_charge", 10, ("same_coffee", "same_basket", "two_baskets"), tell_duplicate)
