"""Who is struck by what: the roles that customers play in planted stories, and when.

Customers stand in units (a kind's own size and offset, so that units of different kinds don't line up). The last customer of
a unit is the case; `decoys` others, drawn by the seed, play one decoy each. So every world, however small, has at least
three decoys for each case, and nobody's role depends on how many customers there are. Customer numbers leave no trace in
events: ids are keyed hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from simulation.life import Life
from simulation.randomness import Draws
from simulation.settings import WorldSettings

NO_DEMANDS: frozenset[str] = frozenset()


class Story(NamedTuple):
    """A part to play: the case itself (`variant` None) or a decoy. `half` 0 or 1: in which half of the period it should be."""

    kind: str
    variant: str | None
    half: int
    convincing: bool
    """Whether a decoy goes through all the motions of the real thing."""


class Plant(NamedTuple):
    """A kind of story. One case and several decoys among every `every` customers; `demands` are traits that every player
    of the story needs, `of_variant` those of particular decoys."""

    kind: str
    every: int
    variants: tuple[str, ...]
    tell: Callable[[Life, Story, Draws], None]
    more_decoys: int = 0
    """Beyond the dial's, where other stories bring about cases of this kind too."""
    demands: frozenset[str] = NO_DEMANDS
    of_variant: dict[str, frozenset[str]] = {}

    def needs(self, story: Story) -> frozenset[str]:
        return self.of_variant.get(story.variant or "", self.demands)


@cache
def unit_offset(seed: int, kind: str, every: int) -> int:
    """How far the units of a kind are shifted."""
    return Draws(seed, "unit " + kind).below(every)


@lru_cache(maxsize=256)
def unit_players(seed: int, kind: str, unit: int, places: int, count: int) -> list[int]:
    """The places in a unit whose customers play decoys."""
    return Draws(seed, "role " + kind, unit).some(range(places), count)


def role(settings: WorldSettings, plant: Plant, number: int) -> Story | None:
    """The part that customer `number` plays in stories of this kind, if any."""
    offset = unit_offset(settings.seed, plant.kind, plant.every)
    unit, place = divmod(number + offset, plant.every)
    players = unit_players(settings.seed, plant.kind, unit, plant.every - 1, settings.dial.decoys + plant.more_decoys)
    half = (unit + 1) % 2
    if place == plant.every - 1:
        complete = unit > 0 or offset == 0
        return Story(plant.kind, None, half, True) if complete else None
    if place not in players:
        return None
    turn = players.index(place)
    variant = plant.variants[(unit + turn) % len(plant.variants)]
    convincing = Draws(settings.seed, "convincing " + plant.kind, number).chance(settings.dial.mimicry_pct)
    return Story(plant.kind, variant, half if turn % 2 == 0 else 1 - half, convincing)


def choose_day(life: Life, story: Story, draws: Draws, lead_days: int, tail_days: int) -> int:
    """A day in the story's half with `lead_days` before it and `tail_days` after it, as far as the period allows."""
    last = max(1, min(life.horizon, life.days) - tail_days - 1)
    first = min(lead_days, life.days * 45 // 100, last)
    middle = life.days // 2
    if story.half and last > middle:
        return draws.between(max(first, middle), last)
    return draws.between(first, max(first, min(last, middle - 1)))


def choose_free_day(
    life: Life, story: Story, draws: Draws, group: str, lead_days: int, tail_days: int, before: int, after: int
) -> int:
    """Like choose_day, but with `before` and `after` days that no other story of `group` has taken, if there are such. Doesn't
    take them."""
    day = choose_day(life, story, draws, lead_days, tail_days)
    for _ in range(30):
        if not any(name == group and first < day + after and last > day - before for name, first, last in life.taken):
            break
        day = choose_day(life, story, draws, lead_days, tail_days)
    return day
