"""Everyday spending: how often, where, at which hour and for how much, for each category and customer.

All purchases of a life are drawn at once as arrays; a plant acts on them through `life.scale_pct` and `life.town` only.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from simulation.almanac import DAY_US, SECOND_US
from simulation.bank import CATEGORIES, CATEGORY, PER_TOWN
from simulation.bills import monthly_cost_minor
from simulation.life import CURRENT, OPTIONAL, Life
from simulation.places import ONLINE
from simulation.randomness import ONE, Draws, Floats, Ints

SLOTS = 2
"""Most purchases of one category a day."""

CHANNEL_SHIFT_DAY = 365
"""From here on shops lose a part of their customers to the web."""

CHANNEL_SHIFT_PCT = 20
EXPLORE_PCT = 12
"""Purchases at a merchant that isn't one of the customer's own."""

RANKS: Ints = np.array([0] * 8 + [1] * 5 + [2] * 3, dtype=np.int64)
"""Which of the favourite merchants, 16 equally likely values."""

SPREAD_PCT = tuple(category.spread_pct for category in CATEGORIES)
WEEKEND_PCT: Ints = np.array([category.weekend_pct for category in CATEGORIES], dtype=np.int64)
ABROAD_PCT: Ints = np.array([category.abroad_pct for category in CATEGORIES], dtype=np.int64)
HOUR_SPREAD_S: Ints = np.array([category.hour_spread_min * 60 for category in CATEGORIES], dtype=np.int64)
ONLINE_PCT: Ints = np.array([category.online_pct for category in CATEGORIES], dtype=np.int64)
SEASONLESS = [CATEGORY[name] for name in ("medical", "transport", "fuel", "cash")]


def fit_budget(life: Life) -> None:
    """Scales the customer's amounts so that everyday spending uses the intended share of what income leaves after bills."""
    person = life.person
    usual_minor = int((person.weekly_milli * person.median_minor).sum()) * 435 // 100_000 * 112 // 100
    free_minor = max(person.income_minor // 8, person.income_minor - monthly_cost_minor(life))
    wanted_minor = free_minor * person.budget_pct // 100
    factor = min(3 * ONE, max(ONE // 3, wanted_minor * ONE // max(1, usual_minor)))
    person.median_minor = person.median_minor * factor // ONE


def daily_rates(life: Life) -> Floats:
    """The chance of a purchase for each category and day in each slot, shape (categories, days)."""
    days = life.days
    weekend = np.where(life.almanac.weekday[:days] >= 5, 1, 0)
    weekday_pct = np.where(weekend[None, :] == 1, WEEKEND_PCT[:, None], 100)
    season_pct = np.repeat(life.almanac.season_pct[None, :days], len(CATEGORIES), axis=0)
    season_pct[SEASONLESS, :] = 100
    away = life.town != life.home
    place_pct = np.where(away[None, :], ABROAD_PCT[:, None], 100)
    pct = weekday_pct * season_pct * life.scale_pct * place_pct
    rates: Floats = life.person.weekly_milli[:, None] * pct / (7 * SLOTS * 1000 * 100.0**4)
    return rates


def spend(life: Life) -> None:
    """Adds all everyday purchases of the life."""
    draws = life.draws("habits")
    rates = daily_rates(life)
    lots = draws.uniforms(rates.size * SLOTS).reshape(SLOTS, *rates.shape)
    _, categories, days = np.nonzero(lots < rates[None, :, :])
    if not len(days):
        return
    merchants, online = choose_merchants(life, draws, categories, days)
    times_us = life.almanac.start_us + days * DAY_US + seconds_of_day(life, draws, categories, days) * SECOND_US
    amounts_minor = choose_amounts(life, draws, categories, days)
    credit = life.account("credit_card")
    by_credit = draws.words(len(days)) % 100 < (life.person.credit_pct if credit >= 0 else 0)
    open_from = life.accounts[credit].first_day + 1 if credit > CURRENT and life.accounts[credit].first_day else 0
    accounts = np.where(by_credit & (categories != CATEGORY["cash"]) & (days >= open_from), credit, CURRENT)
    instruments = {
        (account, web): life.instrument(account, web) for account in {CURRENT, credit} - {-1} for web in (False, True)
    }
    fragments = life.bank.fragments
    account_list, online_list = accounts.tolist(), online.tolist()
    channels = [
        "ecommerce" if web else "atm" if category == CATEGORY["cash"] else "card_present"
        for web, category in zip(online_list, categories.tolist(), strict=True)
    ]
    whats = [
        fragments[merchant] + instruments[account, web]
        for merchant, account, web in zip(merchants.tolist(), account_list, online_list, strict=True)
    ]
    columns = (
        times_us.tolist(),
        repeat(OPTIONAL),
        account_list,
        (-amounts_minor).tolist(),
        channels,
        whats,
        repeat(-1),
    )
    life.entries.extend(zip(*columns, strict=False))


def choose_merchants(life: Life, draws: Draws, categories: Ints, days: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """A merchant index for each purchase, and whether it is online."""
    count = len(days)
    words = draws.words(count)
    shifted = np.where((days >= CHANNEL_SHIFT_DAY) & (ONLINE_PCT[categories] >= 20), CHANNEL_SHIFT_PCT, 0)
    online = (words >> 40) % 100 < ONLINE_PCT[categories] + shifted
    town = np.where(online, ONLINE, life.town[days])
    explored = (words >> 32) % 100 < EXPLORE_PCT
    numbers = life.person.favourites[categories, RANKS[(words >> 8) & 15]]
    numbers = np.where(explored, (words >> 16) % PER_TOWN, numbers)
    merchants: Ints = (town * len(CATEGORIES) + categories) * PER_TOWN + numbers
    return merchants, online


def seconds_of_day(life: Life, draws: Draws, categories: Ints, days: Ints) -> Ints:
    """Around the customer's own hour, two hours later at the weekend, between 6:30 and 22:45."""
    offsets = draws.normals(len(days)) * HOUR_SPREAD_S[categories] // 1000
    late = np.where(life.almanac.weekday[days] >= 5, 7200, 0)
    seconds = life.person.hour_s[categories] + offsets + late + draws.words(len(days)) % 60
    return np.clip(seconds, 23_400 + draws.words(len(days)) % 1800, 81_900 - draws.words(len(days)) % 1800)


def choose_amounts(life: Life, draws: Draws, categories: Ints, days: Ints) -> Ints:
    """Minor units: own median x prices of the day x log-normal noise; cash in tens, transport at the same fare all year."""
    amounts = life.person.median_minor[categories] * life.bank.prices[categories, days] // 1000
    noise = np.empty(len(days), dtype=np.int64)
    for index, spread_pct in enumerate(SPREAD_PCT):
        chosen = categories == index
        noise[chosen] = draws.factors(spread_pct * life.dial.noise_pct // 100, int(chosen.sum()))
    amounts = np.maximum(amounts * noise // ONE, 50)
    cash = categories == CATEGORY["cash"]
    amounts = np.where(cash, np.maximum(amounts // 1000, 1) * 1000, amounts)
    fares = np.maximum(life.person.median_minor[CATEGORY["transport"]] // 10 * 10, 100)
    with_fares: Ints = np.where(categories == CATEGORY["transport"], fares + days // 365 * 10, amounts)
    return with_fares
