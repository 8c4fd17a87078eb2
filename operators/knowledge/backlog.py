"""Which examples are learned when: frauds come early, what nobody disputed comes when the horizon is over. Whoever learned each at
once would begin with days of nothing but fraud, and call everything fraud.

Nothing is learned before both kinds have come. Frauds younger than what is known to be none then wait for it. The wait of later ones
shrinks until they are learned at once: each bucket catches up a little, so that frauds never seem much more frequent than they are.
"""

from __future__ import annotations

import math

import msgspec

from operators.knowledge.facts import Example
from state.digest import digest64


class Backlog(msgspec.Struct, array_like=True):
    """Bounded by `examples_max` of `release`."""

    kept: list[Example] = []
    begun: bool = False
    decided_us: int = 0
    """What was no fraud is known up to about then: half of the newest bucket's is older."""

    def release(self, came: list[Example], catch_up: float, examples_max: int) -> list[Example]:
        """What is to be learned now, mixed, of what came in a bucket and what was kept. `catch_up` ≥ 1: at most so many times the
        frauds that came are learned, beside those that are old enough."""
        kept = [*self.kept, *came]
        negatives = [example for example in kept if not example.label]
        frauds = sorted((example for example in kept if example.label), key=_by_time)
        self.begun = self.begun or bool(negatives and frauds)
        if not self.begun:
            self.kept = bounded(kept, examples_max)
            return []
        if negatives:
            self.decided_us = max(self.decided_us, _middle_us(negatives))
        decided = sum(example.time_us <= self.decided_us for example in frauds)
        allowed = math.ceil(catch_up * sum(example.label for example in came))
        released = max(decided, allowed)
        self.kept = bounded(frauds[released:], examples_max)
        # In order of time frauds, being the younger ones, would all be learned last, and the model of every bucket's end believe them.
        return sorted(negatives + frauds[:released], key=mixed)


def bounded(examples: list[Example], examples_max: int) -> list[Example]:
    """Which examples stay depends on their ids alone, not on the order in which they came."""
    return examples if len(examples) <= examples_max else sorted(examples, key=mixed)[:examples_max]


def _by_time(example: Example) -> tuple[int, str, str]:
    return example.time_us, example.customer_id, example.transaction_id


def mixed(example: Example) -> tuple[int, int]:
    return digest64(f"{example.customer_id}\0{example.transaction_id}"), example.time_us


def _middle_us(examples: list[Example]) -> int:
    """The time before or at which half of the weight lies."""
    half = sum(example.weight for example in examples) / 2
    passed = 0.0
    for example in sorted(examples, key=_by_time):
        passed += example.weight
        if passed >= half:
            return example.time_us
    raise AssertionError("weights are positive")
