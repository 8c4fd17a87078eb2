"""Whether a worker lives and is ready, and if not, why."""

from __future__ import annotations

import time

from dataflows.worker import Worker

UNHEARD_S_MAX = 10.0
"""Longer than checkpoints take, in which nobody listens: what was last known of the lag may be old."""


class Health:
    """Answers from what the worker has noted; asks nobody and takes no lock, so that a stuck worker can't hold up the answer."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._settings = worker.settings.metrics

    def not_live(self) -> list[str]:
        """Why the worker should be ended and started again; empty while the loop moves. One that has not begun yet is live."""
        beat_s = self._worker.tally.beat_s
        still_s = 0.0 if beat_s is None else time.monotonic() - beat_s
        if still_s > self._settings.stalled_after_s:
            return [
                f"nothing has moved for {still_s:.0f} s ([metrics] stalled_after_s = {self._settings.stalled_after_s:g})"
            ]
        return []

    def not_ready(self) -> list[str]:
        """Why the worker is not doing its whole work yet, or no more; empty when it is.

        The first commit of a run proves that its source partitions are assigned, all its shards restored and its sinks open.
        """
        reasons = self.not_live()
        if self._worker.stopping.is_set():
            reasons.append("stopping")
        if self._worker.tally.committed_at is None:
            reasons.append(
                "no epoch of this run is committed yet: state is being restored, or other processes are awaited"
            )
        if unknown := self._worker.unknown_ends():
            reasons.append(f"how far {unknown} partitions of the input go is not known: no broker has told yet")
        if (unheard_s := self._worker.unheard_s()) > UNHEARD_S_MAX:
            reasons.append(f"no broker has been heard for {unheard_s:.0f} s: how far behind this is, is not known")
        records, bytes_ = self._worker.lag()
        for behind, unit, most in (
            (sum(records.values()), "records", self._settings.ready_lag_records_max),
            (sum(bytes_.values()), "bytes", self._settings.ready_lag_bytes_max),
        ):
            if behind > most:
                reasons.append(f"{behind:.0f} {unit} behind ([metrics] ready_lag_{unit}_max = {most})")
        return reasons
