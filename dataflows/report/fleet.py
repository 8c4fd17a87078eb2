"""All customers at a glance: signals over time by type, score distributions, which detectors are loud.

What is kept is bounded, whatever comes: counts by type and day, histograms, a few of the strongest.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from dataflows.commands.explanation import because
from dataflows.commands.signal_reader import ReadSignal
from dataflows.report.distinct import Distinct
from dataflows.report.pseudonyms import Pseudonyms
from state.times import parse_rfc3339

Json = dict[str, Any]

TYPES_MAX = 200
"""Signal types and detectors; others are counted as `other`."""
DAYS_MAX = 1_100
"""Three years; the days before the newest of them are added to the first."""
BINS = 20
STRONGEST_MAX = 50
DAY_MS = 86_400_000
OTHER = "other"


class Strong(NamedTuple):
    """An OPEN, ordered by score; `id` breaks ties so that the page is the same from the same run."""

    score: float
    id: str
    signal: ReadSignal


class Tally:
    """Of one signal type or detector."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.severities: Counter[str] = Counter()
        self.bins = [0] * BINS
        self.days: Counter[int] = Counter()
        self.customers = Distinct()
        self.errors = 0

    def add(self, signal: ReadSignal, day: int) -> None:
        self.states[signal.state] += 1
        if signal.state != "OPEN":
            return
        self.severities[signal.severity] += 1
        self.bins[bin_of(signal.score)] += 1
        self.days[day] += 1
        if len(self.days) > DAYS_MAX:
            oldest, older = sorted(self.days)[:2]
            self.days[older] += self.days.pop(oldest)
        self.customers.add(signal.customer_id)


class Fleet:
    """Counts of signals, scores and detector errors, added one by one."""

    def __init__(self) -> None:
        self.types: dict[str, Tally] = {}
        self.detectors: dict[str, Tally] = {}
        self.signals = 0
        self.scored = 0
        self.score_bins = [0] * BINS
        self.customers = Distinct()
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self._strongest: list[Strong] = []

    def add(self, signal: ReadSignal) -> None:
        time_ms = parse_rfc3339(signal.event_time) // 1000
        self.signals += 1
        self.customers.add(signal.customer_id)
        self._see(time_ms)
        self._tally(self.types, signal.type).add(signal, time_ms // DAY_MS)
        self._tally(self.detectors, signal.detector or OTHER).add(signal, time_ms // DAY_MS)
        if signal.state == "OPEN":
            entry = Strong(signal.score, signal.id, signal)
            push = heapq.heappush if len(self._strongest) < STRONGEST_MAX else heapq.heappushpop
            push(self._strongest, entry)
        elif signal.state == "RETRACT":
            # What was taken back is no longer among the strongest.
            self._strongest = [each for each in self._strongest if each.id != signal.retracts]
            heapq.heapify(self._strongest)

    def add_score(self, customer_id: str, event_time: str, score: float) -> None:
        self.scored += 1
        self.score_bins[bin_of(score)] += 1
        self._see(parse_rfc3339(event_time) // 1000)
        self.customers.add(customer_id)

    def add_error(self, detector: str) -> None:
        self._tally(self.detectors, detector).errors += 1

    def strongest(self) -> list[ReadSignal]:
        return [each.signal for each in sorted(self._strongest, key=lambda each: (-each.score, each.id))]

    def document(self, pseudonyms: Pseudonyms, names: Mapping[str, Mapping[str, str]]) -> Json:
        """The fleet as JSON for the page. `names` are those that the texts about a customer may hold, as far as they are known."""
        return {
            "signals": self.signals,
            "scored": self.scored,
            "customers": self.customers.count(),
            "first": self.first_ms,
            "last": self.last_ms,
            "scores": self.score_bins,
            "types": [{"name": name, **_told(tally)} for name, tally in sorted(self.types.items())],
            "detectors": [
                {"name": name, **_told(tally), "days": []}
                for name, tally in sorted(self.detectors.items(), key=lambda pair: (-pair[1].states["OPEN"], pair[0]))
            ],
            "strongest": [brief(signal, pseudonyms, names.get(signal.customer_id)) for signal in self.strongest()],
        }

    def _tally(self, tallies: dict[str, Tally], name: str) -> Tally:
        if name not in tallies and len(tallies) >= TYPES_MAX:
            name = OTHER
        return tallies.setdefault(name, Tally())

    def _see(self, time_ms: int) -> None:
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)


def brief(signal: ReadSignal, pseudonyms: Pseudonyms, names: Mapping[str, str] | None) -> Json:
    """A signal in one line of a list."""
    masked = msgspec.convert(pseudonyms.mask(msgspec.to_builtins(signal), names), ReadSignal)
    return {
        "id": signal.id,
        "customer": pseudonyms.customer(signal.customer_id),
        "time": parse_rfc3339(signal.event_time) // 1000,
        "type": signal.type,
        "state": signal.state,
        "score": signal.score,
        "severity": signal.severity,
        "sensitive": signal.sensitive,
        "text": because(masked),
    }


def bin_of(score: float) -> int:
    """Which of BINS equal parts of [0, 1] a score is in; what lies outside counts at the end.

    >>> bin_of(0.0), bin_of(0.05), bin_of(1.0)
    (0, 1, 19)
    """
    return min(BINS - 1, max(0, int(score * BINS)))


def _told(tally: Tally) -> Json:
    return {
        "states": dict(tally.states),
        "severities": dict(tally.severities),
        "bins": tally.bins,
        "days": sorted(tally.days.items()),
        "customers": tally.customers.count(),
        "errors": tally.errors,
    }
