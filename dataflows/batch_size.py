"""How many records a source partition hands on at a time: few where each is much work, many where it is little.

The engine comes back to a source, takes a snapshot, commits and sees a stop only between rounds: while everything waits in the input,
a round of thousands of records would take seconds, and each of these as long.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

ROUND_S: Final = 0.2
"""What a round is to take at most: a fifth of the usual interval between checkpoints."""
FIRST_RECORDS: Final = 128
LEAST_RECORDS: Final = 16


class BatchSize:
    """One source partition's size of batches. `records` is as many as the next batch may have."""

    def __init__(self, records_max: int) -> None:
        self.records = min(records_max, FIRST_RECORDS)
        self._records_max = records_max
        self._handed_s: float | None = None

    def asked(self, now_s: float | None = None) -> None:
        """The engine asks again: it has dealt with the batch before. `now_s` is of the monotonic clock."""
        if self._handed_s is None:
            return
        round_s = (monotonic() if now_s is None else now_s) - self._handed_s
        self._handed_s = None
        if round_s > ROUND_S:
            self.records = min(self._records_max, max(LEAST_RECORDS, self.records // 2))
        elif round_s < ROUND_S / 2:
            self.records = min(self._records_max, self.records * 2)

    def handed(self, count: int, now_s: float | None = None) -> None:
        """So many records were handed on. Only a full batch tells something about rounds."""
        if count >= self.records:
            self._handed_s = monotonic() if now_s is None else now_s
