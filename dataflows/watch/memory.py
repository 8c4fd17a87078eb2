"""What the live page remembers: counts of everything, and the newest signals and profiles up to a limit of number and bytes.

One thread adds, others ask; every method may be called from any thread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from threading import Lock
from typing import Any

import msgspec
import orjson

from dataflows.commands.signal_reader import ReadSignal, read_signal
from dataflows.report.fleet import Fleet, brief
from dataflows.report.pseudonyms import Pseudonyms
from operators.encode import SIGNAL_TOPICS
from state.settings import WatchSettings

Json = dict[str, Any]
Message = tuple[str, bytes]
"""A topic's name without prefix, and the value of one of its messages."""

PROFILES, ERRORS = "profiles", "detector_errors"
TOPICS = (*SIGNAL_TOPICS, PROFILES, ERRORS)
NEWEST = 50
"""How many of the newest signals the page lists."""


class _Error(msgspec.Struct, gc=False):
    detector: str


class _Profile(msgspec.Struct, gc=False):
    customer_id: str
    deleted: bool = False


class Memory:
    """`version` changes with every addition: who has shown that version has nothing new to show."""

    def __init__(self, settings: WatchSettings, pseudonyms: Pseudonyms) -> None:
        self._settings = settings
        self._pseudonyms = pseudonyms
        self._lock = Lock()
        self._decode = msgspec.json.Decoder(ReadSignal).decode
        self._forget()
        self.version = 0

    def _forget(self) -> None:
        self._fleet = Fleet()
        self._signals: deque[tuple[str, bytes]] = deque()
        self._signal_bytes = 0
        self._profiles: OrderedDict[str, bytes] = OrderedDict()
        self._profile_bytes = 0
        self.forgotten = 0
        """Signals that had to make room: counted, but their stories can't be told any more."""
        self.unreadable = 0

    def add(self, messages: Iterable[Message]) -> None:
        """A message that is not what its topic promises is counted and left out: this page must outlive it."""
        with self._lock:
            for topic, value in messages:
                try:
                    self._add_one(topic, value)
                except (msgspec.DecodeError, ValueError):
                    self.unreadable += 1
                self.version += 1

    def begin_anew(self) -> None:
        """The log was replaced by another run's."""
        with self._lock:
            self._forget()
            self.version += 1

    def news(self) -> tuple[int, Json]:
        """The version, and what the page of all customers shows."""
        with self._lock:
            newest = [self._decode(raw) for _, raw in list(self._signals)[: -NEWEST - 1 : -1]]
            return self.version, {
                "fleet": self._fleet.document(self._pseudonyms, {}),
                "newest": [brief(signal, self._pseudonyms, None) for signal in newest],
                "notes": self._notes(),
            }

    def customer_behind(self, key: str) -> str | None:
        """Whose pseudonym this is, among the customers of the signals that are remembered."""
        with self._lock:
            return next((name for name, _ in self._signals if self._pseudonyms.customer(name) == key), None)

    def signals_of(self, customer_id: str) -> list[ReadSignal]:
        """In order of event time."""
        with self._lock:
            found = [self._decode(raw) for name, raw in self._signals if name == customer_id]
        return sorted(found, key=lambda signal: (signal.event_time, signal.thread, signal.revision))

    def profile_of(self, customer_id: str) -> Json | None:
        with self._lock:
            raw = self._profiles.get(customer_id)
        profile = orjson.loads(raw) if raw is not None else None
        return profile if isinstance(profile, dict) else None

    def _add_one(self, topic: str, value: bytes) -> None:
        if topic == PROFILES:
            self._add_profile(value)
        elif topic == ERRORS:
            self._fleet.add_error(msgspec.json.decode(value, type=_Error).detector)
        else:
            signal = read_signal(value)
            self._fleet.add(signal)
            self._signals.append((signal.customer_id, value))
            self._signal_bytes += len(value)
            while len(self._signals) > self._settings.signals_max or self._signal_bytes > self._settings.bytes_max:
                self._signal_bytes -= len(self._signals.popleft()[1])
                self.forgotten += 1

    def _add_profile(self, value: bytes) -> None:
        profile = msgspec.json.decode(value, type=_Profile)
        customer_id = profile.customer_id
        self._profile_bytes -= len(self._profiles.pop(customer_id, b""))
        if profile.deleted:
            return
        self._profiles[customer_id] = value
        self._profile_bytes += len(value)
        while len(self._profiles) > self._settings.profiles_max or self._profile_bytes > self._settings.bytes_max:
            self._profile_bytes -= len(self._profiles.popitem(last=False)[1])

    def _notes(self) -> list[str]:
        notes = []
        if self.forgotten:
            notes.append(
                f"All signals are counted, but stories are told from the newest {len(self._signals):,}: "
                f"{self.forgotten:,} older ones have left memory ([watch] signals_max, bytes_max)."
            )
        if self.unreadable:
            notes.append(f"{self.unreadable:,} messages could not be read and were left out.")
        return notes
