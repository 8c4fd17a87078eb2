"""What a run said: its output folders in the form of an embedded log.

Signals and scores are streamed: only alarms (OPENs that nothing retracts) and each customer's first score stay in
memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import orjson

from simulation.scorecard_rules import DATES, EFFECTS, STATES
from simulation.scorecard_truth import parse_time, time_us_of
from state.committed import DamagedNoteError, committed_length, note_of
from state.settings import ConfigError

RUN_NOTE = "run.json"
"""What every run leaves in its output folder, even one that had nothing to say."""


class Alarm(msgspec.Struct, frozen=True, gc=False):
    """An OPEN that was not retracted. `event_id` is the event that triggered it ("" for a timer); `value` and `date_us`
    are what its details say, where the scorecard compares that with the truth; `probability` is None unless
    calibrated."""

    customer_id: str
    time_us: int
    event_id: str
    probability: float | None = None
    value: str | None = None
    date_us: int | None = None


@dataclass
class Run:
    """A run's alarms by signal type and customer, and when each customer was first scored (empty without a `scores`
    topic)."""

    alarms: dict[str, dict[str, list[Alarm]]]
    first_us: dict[str, int]
    last_us: int | None
    notes: list[str] = field(default_factory=list)


class _Trigger(msgspec.Struct, gc=False):
    event_id: str | None = None


class _Signal(msgspec.Struct, gc=False):
    type: str
    customer_id: str
    event_time: datetime
    state: str
    id: str = ""
    retracts: str | None = None
    score: float | None = None
    calibrated: bool = False
    details: msgspec.Raw = msgspec.Raw(b"null")
    trigger: _Trigger | None = None


class _Retraction(msgspec.Struct, gc=False):
    state: str
    retracts: str | None = None


class _Score(msgspec.Struct, gc=False):
    customer_id: str
    event_time: datetime


_T = TypeVar("_T")


def read_run(folder: Path) -> Run:
    """Reads every `signals.*` topic and `scores`. Raises ConfigError if the folder isn't a run's output or a line isn't
    a signal."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. RUN is the output folder of segone run or segone replay")
    topics = sorted(path for path in folder.glob("signals.*") if path.is_dir())
    scores = folder / "scores"
    if not topics and not scores.is_dir() and not (folder / RUN_NOTE).is_file():
        raise ConfigError(
            f"{folder}: neither signals.* nor scores in it. RUN is the output folder of segone run or segone replay, "
            "which holds one folder a topic"
        )
    run = Run({}, {}, None)
    # Lengths are read once: what a worker adds while we read belongs to the next scorecard.
    files = [(path, _committed_bytes(path)) for topic in topics for path in sorted(topic.glob("*.jsonl"))]
    retracted = _retracted(files, run.notes)
    ids: dict[str, str] = {}
    for signal in _signals(files, run.notes):
        if signal.state == "OPEN" and signal.id not in retracted:
            of_type = run.alarms.setdefault(signal.type, {})
            customer_id = ids.setdefault(signal.customer_id, signal.customer_id)
            of_type.setdefault(customer_id, []).append(_alarm(signal, customer_id))
    _read_scores(scores, ids, run)
    run.notes[:] = dict.fromkeys(run.notes)
    return run


def _retracted(files: list[tuple[Path, int | None]], notes: list[str]) -> frozenset[str]:
    lines = (place for path, size in files for place in _lines(path, size, notes) if b'"RETRACT"' in place[1])
    found = _decoded(lines, _Retraction, "a signal")
    return frozenset(signal.retracts for signal in found if signal.state == "RETRACT" and signal.retracts)


def _signals(files: list[tuple[Path, int | None]], notes: list[str]) -> Iterator[_Signal]:
    return _decoded((place for path, size in files for place in _lines(path, size, notes)), _Signal, "a signal")


def _alarm(signal: _Signal, customer_id: str) -> Alarm:
    stated = STATES.get(signal.type) or EFFECTS.get(signal.type)
    dates = DATES.get(signal.type, ())
    value = date_us = None
    if stated or dates:
        try:
            details = orjson.loads(bytes(signal.details))
        except ValueError as error:
            raise ConfigError(
                f"signal {signal.id}: its details cannot be read: {error}. RUN must be an output folder of the engine"
            ) from error
        if isinstance(details, dict):
            said = details.get(stated[0]) if stated else None
            value = said if isinstance(said, str) else None
            date_us = next((us for name in dates if (us := _date_us(details.get(name))) is not None), None)
    calibrated = signal.calibrated and signal.score is not None and math.isfinite(signal.score)
    return Alarm(
        customer_id=customer_id,
        time_us=time_us_of(signal.event_time),
        event_id=(signal.trigger.event_id or "") if signal.trigger else "",
        probability=signal.score if calibrated else None,
        value=value,
        date_us=date_us,
    )


def _date_us(text: object) -> int | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def _read_scores(folder: Path, ids: dict[str, str], run: Run) -> None:
    first: dict[str, datetime] = {}
    last: datetime | None = None
    files = [(path, _committed_bytes(path)) for path in sorted(folder.glob("*.jsonl"))]
    lines = (place for path, size in files for place in _lines(path, size, run.notes))
    for score in _decoded(lines, _Score, "a score"):
        when = score.event_time if score.event_time.tzinfo else score.event_time.replace(tzinfo=UTC)
        known = first.get(score.customer_id)
        if known is None or when < known:
            first[ids.setdefault(score.customer_id, score.customer_id)] = when
        if last is None or when > last:
            last = when
    run.first_us = {customer_id: time_us_of(when) for customer_id, when in first.items()}
    run.last_us = None if last is None else time_us_of(last)


def _decoded(lines: Iterator[tuple[str, bytes]], shape: type[_T], what: str) -> Iterator[_T]:
    decode = msgspec.json.Decoder(shape).decode
    for place, line in lines:
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{place}: not {what}: {error}. RUN must be an output folder of the engine") from error


def _lines(path: Path, committed_bytes: int | None, notes: list[str]) -> Iterator[tuple[str, bytes]]:
    """The complete, committed lines of a partition with their places (file:line). A last line without a line feed that
    no committed length vouches for is a crash's torn end."""
    read_bytes = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            read_bytes += len(line)
            if committed_bytes is not None and read_bytes > committed_bytes:
                return
            if committed_bytes is None and not line.endswith(b"\n") and not _is_json(line):
                notes.append(f"{path}: its last line is torn and was left out")
                return
            if line.strip():
                yield f"{path}:{number}", line


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True


def _committed_bytes(partition: Path) -> int | None:
    try:
        return committed_length(partition)
    except DamagedNoteError as error:
        raise ConfigError(
            f"{note_of(partition)}: expected the committed length in bytes, found {str(error)!r}"
        ) from error
