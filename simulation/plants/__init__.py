"""The planted stories, one file a kind or a pair of kinds. A new one is a file and a line in PLANTS."""

from __future__ import annotations

from simulation.life import Life
from simulation.plants import (
    bill_changes,
    churn,
    employment,
    home_purchase,
    life_events,
    medical_surge,
    products,
    shops,
    takeover,
    travel,
)
from simulation.plants.story import Plant, Story, choose_day, role
from simulation.settings import WorldSettings

PLANTS: tuple[Plant, ...] = (
    travel.PLANT,
    takeover.PLANT,
    life_events.PLANT,
    home_purchase.PLANT,
    employment.MISSED,
    employment.DROP,
    medical_surge.PLANT,
    shops.COMPROMISED,
    shops.DUPLICATE,
    bill_changes.PLANT,
    products.PLANT,
)
"""Those that send customers away come first, so that the others know where somebody is. Leavers aren't among them: they
are told last, because they put an end to everything."""

DAYS_MIN = 60
"""Shorter worlds have no room for stories."""

ALONE = (frozenset({"income_missed", "income_drop"}), frozenset({"home_purchase", "product"}))
"""Kinds that would blur each other in one life: only one of them is told."""


def cast(settings: WorldSettings, number: int) -> list[tuple[Plant, Story]]:
    """The parts that customer `number` plays. A decoy is never dropped, so that there are always enough of them."""
    if settings.days < DAYS_MIN:
        return []
    parts = [(plant, story) for plant in (*PLANTS, churn.PLANT) if (story := role(settings, plant, number))]
    leaver = any(story.kind == churn.KIND and story.variant is None for _, story in parts)
    cases: set[str] = set()
    kept = []
    for plant, story in parts:
        if story.variant is None and story.kind != churn.KIND:
            rivals = set().union(*(group for group in ALONE if story.kind in group)) - {story.kind}
            if leaver or rivals & cases:
                continue
            cases.add(story.kind)
        kept.append((plant, story))
    return kept


def demands(parts: list[tuple[Plant, Story]]) -> frozenset[str]:
    """The traits that a customer needs for all these parts."""
    return frozenset().union(*(plant.needs(story) for plant, story in parts))


def tell_stories(life: Life, parts: list[tuple[Plant, Story]]) -> None:
    """Lets every story turn the customer's dials; a leaver's other stories are over before the leaving shows."""
    life.roles = frozenset(story.kind for _, story in parts)
    leaving = next((story for _, story in parts if story.kind == churn.KIND and story.variant is None), None)
    last_day = 0
    if leaving is not None:
        last_day = choose_day(life, leaving, life.draws("leaving"), churn.LEAD_DAYS, churn.TAIL_DAYS)
        life.horizon = max(20, last_day - churn.SIGNS_DAYS)
    for plant, story in parts:
        if story is not leaving:
            plant.tell(life, story, life.draws("story " + story.kind))
    if leaving is not None:
        churn.leave(life, life.draws("story " + churn.KIND), last_day)
