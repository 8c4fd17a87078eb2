"""What a shard counts: how its records ended. Law 11 says that they add up."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct):
    """How the records of this shard ended since the state began, and what was unusual on the way."""

    received: int = 0
    applied: int = 0
    duplicate: int = 0
    late: int = 0
    held: int = 0
    """Held back for sorting: received, and not yet ended."""
    disordered_arrivals: int = 0
    customers: int = 0

    @property
    def difference(self) -> int:
        """Law 11 within the shard: records received that have not ended and are not held. Never anything but 0."""
        return self.received - self.applied - self.duplicate - self.late - self.held


class Ended(msgspec.Struct):
    """How the records of one topic have ended here since the process started."""

    applied: int = 0
    duplicate: int = 0
    late: int = 0
