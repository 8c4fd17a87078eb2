"""The policy of a shard: what defines the contents of profiles, and how much of them is kept in memory."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec

from state.windows import LENGTHS_US

TIMER_SPREAD_US: Final = 600_000_000
"""Timers of one moment, as midnight is one for many customers, fire within ten minutes instead of all at once."""


class Policy(msgspec.Struct, frozen=True):
    """The settings of a shard in its own units; what they mean stands beside them in config/default.toml. `fading_factor` in (0, 1] is
    the weight of the newest amount in a customer's habits."""

    lateness_us: int = 172_800_000_000
    reorder_wait_us: int = 0
    duplicate_horizon_us: int = 2_592_000_000_000
    fading_factor: float = 0.04
    hot_customers_max: int = 4096
    dirty_customers_max: int = 1024
    """Changed customers kept unfrozen between checkpoints."""
    timer_spread_us: int = 0

    @property
    def retention_us(self) -> int:
        """How long a transaction stays in the ring: late events look back a whole longest window, too."""
        return max(LENGTHS_US[-1], self.duplicate_horizon_us) + self.lateness_us

    @property
    def seen_us(self) -> int:
        """How long the ids of other topics are remembered: while they can still be applied, whatever the horizon."""
        return max(self.duplicate_horizon_us, self.lateness_us)

    @property
    def timer_delay_us(self) -> int:
        """How far the arrival clock must be past a timer's due time before it fires by itself. Where events are held back for
        sorting, those up to there come a wait late and are held for another; later ones fire it before they are applied."""
        return self.lateness_us + 2 * self.reorder_wait_us

    def fires_us(self, due_us: int, customer_id: str) -> int:
        """When the arrival clock fires a customer's timer by itself: each customer has its own moment within the spread."""
        spread_us = crc32(customer_id.encode()) % self.timer_spread_us if self.timer_spread_us else 0
        return due_us + self.timer_delay_us + spread_us
