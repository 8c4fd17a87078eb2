"""What somebody can ask of a world: its size, its dirt, its difficulty."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from typing import NamedTuple

from state.settings import ConfigError

VERSION = 6
"""Raised whenever the same settings would give other bytes."""


class Difficulty(NamedTuple):
    """How clearly plants stand out. docs/simulation.md says in words what each number changes."""

    decoys: int
    """Decoys per planted case, at least 3."""
    strength_pct: int
    """Size of a plant's effect: 100 = as in the default world."""
    noise_pct: int
    """Spread of everyday amounts: 100 = as in the default world."""
    payday_jitter_days: int
    """Largest random shift of an employer's payday, besides weekends and holidays."""
    mimicry_pct: int
    """Share of decoys that go through all the motions of the real thing."""


DIFFICULTIES = {
    "easy": Difficulty(decoys=3, strength_pct=150, noise_pct=70, payday_jitter_days=0, mimicry_pct=15),
    "default": Difficulty(decoys=3, strength_pct=100, noise_pct=100, payday_jitter_days=0, mimicry_pct=35),
    "hard": Difficulty(decoys=4, strength_pct=65, noise_pct=135, payday_jitter_days=1, mimicry_pct=60),
}


@dataclass(frozen=True)
class Dirt:
    """Shares of records, 0 to 1: delayed by up to 48 h, delivered twice, charged in error and reversed, also sent broken."""

    disorder: float = 0.05
    duplicates: float = 0.05
    reversals: float = 0.03
    malformed: float = 0.01


CLEAN = Dirt(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class WorldSettings:
    """One world. Everything in it follows from these values; customer k's life doesn't depend on `customers`.

    Raises ConfigError for values that make no world.
    """

    customers: int = 2000
    days: int = 540
    seed: int = 1
    difficulty: str = "default"
    partitions: int = 4
    start: date = date(2024, 1, 1)
    dirt: Dirt = field(default_factory=Dirt)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("customers", 1, 100_000_000),
            ("days", 1, 3660),
            ("seed", 0, 2**63 - 1),
            ("partitions", 1, 100),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"--{name}: {value} is not possible; give a number from {low} to {high}")
        if self.difficulty not in DIFFICULTIES:
            raise ConfigError(f"--difficulty: there is no {self.difficulty!r}; choose one of {', '.join(DIFFICULTIES)}")
        if not 1990 <= self.start.year <= 2150:
            raise ConfigError(f"--start: {self.start} is not possible; choose a date from 1990 to 2150")
        for rate in fields(self.dirt):
            share = getattr(self.dirt, rate.name)
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"--{rate.name}: {share} is not a share; give a number from 0 to 1")

    @property
    def dial(self) -> Difficulty:
        return DIFFICULTIES[self.difficulty]
