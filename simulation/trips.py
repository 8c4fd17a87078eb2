"""Leaving town: holidays near and far, weekends, and moving house.

A day of travel passes without purchases in shops, so that nobody who really travels looks like two people.
"""

from __future__ import annotations

import numpy as np

from simulation.bank import PER_TOWN
from simulation.life import Life
from simulation.places import FIRST_FAR, HOME_TOWNS, ONLINE, TOWNS
from simulation.randomness import Draws

TRAVEL_GAP_DAYS = 2
DAYS_MIN = 30
"""Nobody travels in a world shorter than this."""


def free_for_travel(life: Life, first_day: int, last_day: int) -> bool:
    """Whether the customer is at home from a little before first_day to a little after last_day, and the world lasts."""
    if first_day < TRAVEL_GAP_DAYS or last_day > min(life.horizon, life.days) - TRAVEL_GAP_DAYS - 1:
        return False
    around = life.town[first_day - TRAVEL_GAP_DAYS : last_day + TRAVEL_GAP_DAYS]
    busy = any(
        group == "place" and first < last_day + TRAVEL_GAP_DAYS and last > first_day - TRAVEL_GAP_DAYS
        for group, first, last in life.taken
    )
    return not busy and bool((around == around[0]).all())


def travel(life: Life, draws: Draws, town: int, first_day: int, nights: int, case: int = -1) -> None:
    """Puts the customer into `town` from first_day; books the journey weeks before, the hotel and a meal there."""
    last_day = first_day + nights
    life.town[first_day : last_day + 1] = town
    life.taken.append(("place", first_day, last_day + 1))
    for day in (first_day, last_day):
        life.scale("*", day, day + 1, 0)
    far_pct = 350 if town >= FIRST_FAR else 100
    booked_on = max(0, first_day - draws.between(14, 70))
    journey = life.bank.merchant(ONLINE, "travel", draws.below(PER_TOWN))
    life.buy(life.time_us(booked_on, draws.between(65_000, 80_000)), journey, draws.vary(9000 * far_pct // 100, 35))
    hotel = life.bank.merchant(town, "travel", draws.below(PER_TOWN))
    life.buy(
        life.time_us(first_day + 1, draws.between(30_000, 36_000)), hotel, nights * draws.vary(6500, 30), case=case
    )
    for day in range(first_day + 1, last_day):
        meal = life.bank.merchant(town, "restaurants", draws.below(PER_TOWN))
        life.buy(life.time_us(day, draws.between(43_000, 50_000)), meal, draws.vary(2600, 35), case=case)


def holiday_nights(life: Life, town: int, draws: Draws) -> int:
    """How long a trip to `town` lasts."""
    if town >= FIRST_FAR:
        return draws.between(8, 18)
    abroad = TOWNS[town].country != TOWNS[int(life.home[0])].country
    return draws.between(4, 12) if abroad else draws.between(2, 4)


def other_town(life: Life, draws: Draws, day: int, limit: int, first: int = 0) -> int:
    """A town other than that day's home among those from `first` up to (without) `limit`."""
    town = draws.between(first, limit - 1)
    while town == life.home[day]:
        town = draws.between(first, limit - 1)
    return town


def take_trips(life: Life) -> None:
    """The ordinary trips of a life, each of them a case of kind "trip"."""
    draws = life.draws("trips")
    wanted = life.person.trips_yearly_milli * life.days // 365
    count = wanted // 1000 + (draws.below(1000) < wanted % 1000)
    for _ in range(count if life.days >= DAYS_MIN else 0):
        first_day = draws.between(10, life.days - 4)
        far = draws.chance(15)
        limit, first = (len(TOWNS), FIRST_FAR) if far else (FIRST_FAR, 0)
        town = other_town(life, draws, first_day, limit, first)
        nights = holiday_nights(life, town, draws)
        if free_for_travel(life, first_day, first_day + nights):
            go_away(life, draws, town, first_day, nights)


def go_away(life: Life, draws: Draws, town: int, first_day: int, nights: int) -> int:
    """A trip with its truth; returns the case."""
    place = TOWNS[town]
    start_us, end_us = life.time_us(first_day), life.time_us(first_day + nights + 1)
    case = life.plant("trip", None, start_us, end_us, city=place.name, country=place.country)
    travel(life, draws, town, first_day, nights, case)
    return case


def relocate(life: Life, draws: Draws, day: int) -> int:
    """Moves the customer to another home town for good; returns the new town."""
    town = other_town(life, draws, day, len(HOME_TOWNS))
    life.town[day:] = np.where(life.town[day:] == life.home[day:], town, life.town[day:])
    life.home[day:] = town
    life.taken.append(("place", day - 3, day + 4))
    life.scale("*", day, day + 1, 0)
    place = TOWNS[town]
    life.plant("relocation", None, life.time_us(day), life.time_us(day), city=place.name, country=place.country)
    return town
