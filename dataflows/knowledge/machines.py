"""The knowledge keys and what each of them runs: parts of the merchant table, the learner of transactions, those of the intents, that of
overdrafts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from operators.knowledge import learner, merchant_table
from operators.knowledge.buckets import Machine
from operators.knowledge.building import (
    build_intent_learners,
    build_learner,
    build_merchant_table,
    build_overdraft_learner,
)
from operators.knowledge.facts import INTENTS, OVERDRAFT, TRANSACTION, model_key
from state.frozen import FrozenError
from state.settings import ConfigError, Settings

MACHINE_VERSIONS: Final = {"learner": learner.VERSION, "merchant table": merchant_table.VERSION}
"""What this release writes of each machine's state."""


def require_readable(machine: str, version: int) -> None:
    """Raises FrozenError for the state of a machine that this release can't read."""
    ours = MACHINE_VERSIONS.get(machine)
    if ours is not None and version != ours:
        raise FrozenError(
            f"the state of the {machine} was written by its version {version}, this release has version {ours} and no way from "
            "the one to the other: start the release that wrote it, or replay the input into an empty state folder"
        )


def knowledge_keys(settings: Settings) -> list[str]:
    """merchants-0 …, model-transaction, model-intents and model-overdraft_ahead; none where nothing is learned across customers."""
    if not settings.knowledge.enabled:
        return []
    merchants = (f"merchants-{part}" for part in range(settings.knowledge.merchant_keys))
    return [*merchants, *map(model_key, (TRANSACTION, INTENTS, OVERDRAFT))]


def make_machine(settings: Settings, key: str) -> Machine:
    """Raises ConfigError for a wrong table of its configuration."""
    bucket_us = settings.knowledge.bucket_us
    if key == model_key(TRANSACTION):
        return build_learner(settings.detectors, bucket_us)
    if key == model_key(INTENTS):
        return build_intent_learners(settings.detectors, bucket_us)
    if key == model_key(OVERDRAFT):
        return build_overdraft_learner(settings.detectors, bucket_us)
    return build_merchant_table(key, settings.detectors, bucket_us)


def prepare_knowledge(state_dir: Path, settings: Settings) -> None:
    """Notes what is fixed when the first bucket is learned, or checks that the settings still say so. Raises ConfigError."""
    if not settings.knowledge.enabled:
        return
    note = state_dir / "knowledge" / "segone.json"
    fixed = {"bucket_s": settings.knowledge.bucket_s, "merchant_keys": settings.knowledge.merchant_keys}
    try:
        if note.exists():
            known = msgspec.json.decode(note.read_bytes(), type=dict[str, int])
            for name, value in fixed.items():
                if known.get(name) != value:
                    raise ConfigError(
                        f"{note}: {name} is {known.get(name)}, [knowledge] {name} says {value}; it is fixed when the state is "
                        "made: set it back, or begin with a new state folder ([state] dir)"
                    )
            return
        if any(note.parent.glob("*/shards")):
            raise ConfigError(
                f"{note}: is gone, and {note.parent} holds what was learned; restore the state folder from a copy"
            )
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}.new")
        draft.write_bytes(msgspec.json.encode(fixed))
        draft.replace(note)
    except OSError as error:
        raise ConfigError(
            f"{note.parent}: can't be used ({error.strerror}); check [state] dir and its permissions"
        ) from error
    except ValueError as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise ConfigError(f"{note}: is damaged ({error}); restore the state folder from a copy") from error
