"""Signals as they stand in a run: read back, and held against what their own parts add up to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dataflows.commands.run_folder import Line, read_topic
from state.settings import ConfigError
from state.times import parse_rfc3339

SUM_ERROR_MAX = 1e-9
"""Law 6: inverse_link(base + Σ contribution) equals the score to this."""

LINKS = ("logit", "identity")


class ReadReason(msgspec.Struct, frozen=True):
    """A reason as it was written."""

    code: str
    feature: str = ""
    value: Any = None
    baseline: Any = None
    contribution: float | None = None
    text: str = ""


class ReadSignal(msgspec.Struct, frozen=True):
    """A signal as it was written (CONTRACTS, section 2). Fields that later versions add are ignored."""

    id: str
    type: str
    customer_id: str
    event_time: str
    state: str
    episode: str
    revision: int
    score: float
    score_link: str
    retracts: str | None = None
    score_base: float | None = None
    calibrated: bool = False
    confidence: str = ""
    severity: str = ""
    sensitive: bool = False
    details: dict[str, Any] = {}
    reasons: tuple[ReadReason, ...] = ()
    evidence: dict[str, Any] = {}
    counterfactual: dict[str, Any] | None = None
    forecast: dict[str, Any] | None = None
    inputs: dict[str, Any] = {}
    detector: str = ""
    model: str | None = None
    config: str = ""
    valid_until: str | None = None
    trigger: dict[str, Any] = {}

    @property
    def thread(self) -> tuple[str, str, str]:
        """What all revisions of an episode have in common."""
        return self.type, self.customer_id, self.episode

    def rebuilt_score(self) -> float | None:
        """inverse_link(score_base + Σ contribution); None where the score has no link or a part is missing."""
        parts = [reason.contribution for reason in self.reasons]
        numbers = [part for part in parts if part is not None]
        if self.score_link not in LINKS or self.score_base is None or len(numbers) < len(parts):
            return None
        total = self.score_base + math.fsum(numbers)
        # The logistic function in the form that cannot overflow.
        return total if self.score_link == "identity" else 0.5 * (1.0 + math.tanh(0.5 * total))

    def adds_up(self) -> bool | None:
        """Whether the parts make the score; None where there is no link, so that nothing is claimed."""
        if self.score_link not in LINKS:
            return None
        rebuilt = self.rebuilt_score()
        return rebuilt is not None and abs(rebuilt - self.score) <= SUM_ERROR_MAX


class Found(NamedTuple):
    """A signal, and the line that holds it."""

    signal: ReadSignal
    line: Line
    topic: str


_decode = msgspec.json.Decoder(ReadSignal).decode


def read_signal(value: bytes) -> ReadSignal:
    """One signal as it was written. Raises ValueError for anything else, a time that is none or a score that is no share included."""
    signal = _decode(value)
    try:
        parse_rfc3339(signal.event_time)
    except OverflowError as error:
        raise ValueError(f"event_time: {error}") from error
    if not 0 <= signal.score <= 1:
        raise ValueError("score: is not between 0 and 1")
    return signal


def read_signals(run: Path, topic: str) -> Iterator[Found]:
    """The signals of one topic of a run. Raises ConfigError, naming file and line, for a line that is none."""
    for line in read_topic(run, topic):
        try:
            signal = read_signal(line.value)
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            raise ConfigError(
                f"{line.place}: not a signal ({error}); RUN must be an output folder of segone"
            ) from error
        yield Found(signal, line, topic)
