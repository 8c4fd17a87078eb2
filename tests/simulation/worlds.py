"""Small worlds for tests, and readers that know nothing of how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from simulation.runs import Message, messages
from simulation.settings import CLEAN, WorldSettings
from simulation.world import World

SEED = 20_240_607
SMALL = WorldSettings(customers=40, days=120, seed=SEED)
SMALL_CLEAN = WorldSettings(customers=40, days=120, seed=SEED, dirt=CLEAN)
TIME_FIELD = {
    "in.transactions": "booked_at",
    "in.accounts": "observed_at",
    "in.interactions": "occurred_at",
    "in.applications": "applied_at",
    "in.labels": "labelled_at",
    "in.messages": "sent_at",
    "in.touchpoints": "occurred_at",
    "in.consents": "decided_at",
    "in.market": "observed_at",
}


def make(settings: WorldSettings, chunk: int = 0, processes: int = 1) -> tuple[tuple[Message, ...], tuple[bytes, ...]]:
    """All messages and lines of truth of a world."""
    with TemporaryDirectory() as folder:
        world = World(settings, Path(folder), chunk)
        world.live(processes)
        return tuple(messages(world.lines())), tuple(world.truth())


@cache
def world(settings: WorldSettings) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    """Messages and truth of a world, made once in a session."""
    print(f"world of seed {settings.seed}: {settings}")
    sent, truth = make(settings)
    return sent, tuple(map(orjson.loads, truth))


def records(settings: WorldSettings, topic: str) -> Iterator[dict[str, Any]]:
    """The parsed records of a topic, in order of arrival; the world must have no malformed ones."""
    assert settings.dirt.malformed == 0
    return (orjson.loads(message.value) for message in world(settings)[0] if message.topic == topic)


def with_dirt(**rates: float) -> WorldSettings:
    """The small world with these rates of dirt and no other dirt."""
    return replace(SMALL_CLEAN, dirt=replace(CLEAN, **rates))
