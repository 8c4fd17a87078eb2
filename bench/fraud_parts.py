"""What each part of anomaly.transaction adds: one replay is recorded, and the model learns again over it without the part.

What is recorded: the features of each payment as they were scored, and which payment was learned in which bucket with which outcome. For
each part that is off its features are zero for every payment, the learner begins from the prior anew, and what follows from
earlier scores (the customer's suspicion, half-space trees) is made anew, too: scores are those of a replay with the part switched off
([transaction.parts]). With nothing off they are the replay's own, except that strangeness is that of features rounded to half floats.
"""

from __future__ import annotations

import math
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np
from fraud_engine import Replayed
from fraud_payments import Payments
from rich.progress import track

from dataflows.commands.replay import Replay
from dataflows.history.ordered import open_history
from operators.anomaly import transaction
from operators.catalogue import CATALOGUE
from operators.knowledge import features
from operators.knowledge.building import build_learner
from operators.knowledge.facts import Example
from operators.knowledge.learner import Learner
from operators.knowledge.memory import Memory
from operators.knowledge.schemas import compiled
from operators.knowledge.versions import Model
from state.digest import digest64
from state.estimators import sigmoid
from state.settings import Settings
from state.settings_reading import load_settings

PARTS: Mapping[str, Collection[str]] = {
    **features.PARTS,
    "learning": frozenset((*features.MERCHANT, "customer_fraud_age_d", features.STRANGENESS)),
}
"""The features of each part; without learning the prior scores, and nothing is known across customers."""
_STRANGENESS = features.LAYOUT.names.index(features.STRANGENESS)
_HEAT_DAY, _HEAT_WEEK = (features.LAYOUT.names.index(name) for name in ("heat_day", "heat_week"))


class Judged(NamedTuple):
    """A payment as it was scored."""

    customer_id: str
    transaction_id: str
    time_us: int
    digest: int
    packed: bytes
    score: float


class Recording(msgspec.Struct):
    """Payments, examples and ends of buckets (microseconds) in the order in which they came."""

    settings: Settings
    log: list[Judged | Example | int] = []

    @property
    def judged(self) -> list[Judged]:
        return [entry for entry in self.log if isinstance(entry, Judged)]


def record(data: Path, mapping: Path, to_us: int) -> Recording:
    """Replays what arrived before `to_us`. Detectors that add nothing to the score are switched off."""
    off = {detector.NAME: {"enabled": False} for detector in CATALOGUE if detector.NAME not in features.OWN}
    recording = Recording(load_settings(None, {}, {"detectors": off}))
    with ExitStack() as patches, tempfile.TemporaryDirectory(prefix="segone-fraud-") as name:
        for owner, method, note in (
            (transaction.Fusion, "judge", _note_payment),
            (Learner, "add", _note_example),
            (Learner, "close", _note_end),
        ):
            patches.enter_context(patch.object(owner, method, note(recording.log, getattr(owner, method))))
        replay = Replay(recording.settings, Path(name))
        try:
            with open_history(data, mapping, None, to_us) as history:
                replay.run(history, threading.Event(), mapped=True)
        finally:
            replay.close()
    return recording


def _note_payment(log: list[Any], judge: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: Any, payment: Any, digest: int, *rest: Any) -> Any:
        verdict = judge(self, payment, digest, *rest)
        if verdict.packed:
            id_ = (payment.customer_id, payment.transaction_id)
            log.append(Judged(*id_, payment.time_us, digest, verdict.packed, verdict.score))
        return verdict

    return noted


def _note_example(log: list[Any], add: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: Any, item: Any) -> Any:
        if isinstance(item, Example) and item.model == transaction.NAME:
            log.append(item)
        return add(self, item)

    return noted


def _note_end(log: list[Any], close: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: Any, bucket_end_us: int) -> Any:
        if self.name == transaction.NAME:
            log.append(bucket_end_us)
        return close(self, bucket_end_us)

    return noted


def replayed(recording: Recording, payments: Payments, to_us: int, part: str | None) -> Replayed:
    """The scores without a part, or with all of them."""
    rows = recording.judged
    scores = [row.score for row in rows] if part is None else rescored(recording, part)
    of_payment = {(row.customer_id, row.transaction_id): score for row, score in zip(rows, scores, strict=True)}
    found = np.array([of_payment.get(id_, -1.0) for id_ in payments.ids])
    unscored = int(((found < 0.0) & (payments.time_us < to_us)).sum())
    return Replayed(found, unscored, None, None)


def rescored(recording: Recording, part: str | None) -> list[float]:
    """A score for each payment, in the order of the recording, learned without the part."""
    tables = dict(recording.settings.detectors)
    if part in features.PARTS:
        parts = {**tables[transaction.NAME].get("parts", {}), part: False}
        tables[transaction.NAME] = {**tables[transaction.NAME], "parts": parts}
    config = msgspec.convert(tables[transaction.NAME], transaction.Config)
    learner = build_learner(tables, recording.settings.knowledge.bucket_us)
    relearning = _Relearning(transaction.prior_model(config), PARTS[part] if part else ())
    wanted = {_key(entry) for entry in recording.log if isinstance(entry, Example)}
    scores = []
    for entry in track(recording.log, description=f"without {part}" if part else "again", update_period=1.0):
        if isinstance(entry, Judged):
            score, packed = relearning.score(entry)
            scores.append(score)
            if (entry.customer_id, entry.digest) in wanted:
                relearning.waiting[entry.customer_id, entry.digest] = packed
        elif part == "learning":
            continue
        elif isinstance(entry, Example):
            learner.add(msgspec.structs.replace(entry, features=relearning.waiting.pop(_key(entry))))
        elif versions := learner.close(entry):
            relearning.model = compiled(versions[0])
    return scores


class _Relearning:
    """Scores like the fused detector, with what the model made of this customer's earlier payments."""

    def __init__(self, model: Model, off: Collection[str]) -> None:
        self.model = model
        self.waiting: dict[tuple[str, int], bytes] = {}
        self._off = [at for at, name in enumerate(features.LAYOUT.names) if name in off]
        self._memories: dict[str, Memory] = defaultdict(Memory)

    def score(self, payment: Judged) -> tuple[float, bytes]:
        memory = self._memories[payment.customer_id]
        values = list(features.SCHEMA.unpack(payment.packed).values)
        heat_day, heat_week = memory.heat(payment.time_us)
        values[_HEAT_DAY] = math.log(heat_day + features.HEAT_FLOOR)
        values[_HEAT_WEEK] = math.log(heat_week + features.HEAT_FLOOR)
        for at in self._off:
            values[at] = 0.0
        if _STRANGENESS not in self._off:
            strangeness = self.model.strangeness
            values[_STRANGENESS] = strangeness.of(values[:_STRANGENESS]) if strangeness is not None else 0.0
        packed = features.LAYOUT.pack(values)
        logit = self.model.logit(features.LAYOUT.places(features.LAYOUT.unpack(packed)))
        score = sigmoid(logit)
        memory.scored(payment.time_us, payment.digest, score)
        return score, features.SCHEMA.pack_scores(packed, logit, None)


def _key(example: Example) -> tuple[str, int]:
    """Customer and digest of its payment: what nobody labelled is named by the digest."""
    name = example.transaction_id
    return example.customer_id, int(name[1:], 16) if name.startswith("#") else digest64(name)
