"""The learner of one model: learns labelled examples bucket by bucket, champion and shadow side by side, and publishes versions.

Everything of an open bucket is kept until it closes and is then learned in an order that depends on ids alone (backlog.py): the order
of arrival makes no difference.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from operators.knowledge import line_learner
from operators.knowledge.backlog import Backlog, bounded, mixed
from operators.knowledge.facts import Example, ScoreCount
from operators.knowledge.forest import Config as ForestConfig
from operators.knowledge.forest import Forest, grow
from operators.knowledge.line_learner import LineLearner
from operators.knowledge.linear import Linear
from operators.knowledge.prequential import bin_of
from operators.knowledge.schema import Schema
from operators.knowledge.threshold import Budget
from operators.knowledge.versions import CHAMPION, LINEAR, SHADOW, ModelVersion, encode_payload, version_name
from state.windows import DAY_US

VERSION: Final = 1
"""Of what `freeze` writes. It goes up with whatever another release would read wrongly; other features alone are no such thing."""
OPEN_ITEM: Final = "open/"
BACKLOG_ITEM: Final = "backlog"
LINE_ITEM: Final = "line/"
FOREST_ITEM: Final = "forest"
FEATURES_ITEM: Final = "features"
FEATURES_BEFORE: Final = msgspec.msgpack.encode(1)
"""Of a state that does not say with which features it was learned."""
META_ITEM: Final = "meta"


class Config(line_learner.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [learner] of config/detectors.toml."""

    shadow_learning_rate: line_learner.Positive = 0.2
    examples_max: Annotated[int, Meta(ge=1)] = 50_000
    """Of one bucket; beyond it some are left out, by a hash of their ids."""
    payload_bytes_max: Annotated[int, Meta(ge=1024)] = 262_144
    catch_up: Annotated[float, Meta(ge=1.0)] = 1.25
    """At most so many times the frauds of a bucket are learned while some wait."""
    settle_days: Annotated[int, Meta(ge=0, le=366)] = 14
    """After so many days the labels of a day are known."""
    prior_customer_days: line_learner.Positive = 20_000.0
    """What the prior threshold is worth against counted scores."""
    prior_alarms: line_learner.Positive = 100.0
    """What `prior_alarms_false` is worth against alarms that are settled."""
    prior_alarms_false: line_learner.Share = 0.1
    forest: ForestConfig = ForestConfig()


class Prior(msgspec.Struct, frozen=True):
    """What is believed before any label: the model and the alarms."""

    linear: Linear
    threshold: float
    """In log-odds."""
    alerts_per_1000_customers_day: float
    strangeness: bool = True
    """Whether half-space trees are grown."""


class Learner:
    """Bounded: at most twice `examples_max` examples of the open bucket, `examples_max` that wait, the payments of one window, and the
    fixed size of its lines and its forest."""

    def __init__(self, name: str, schema: Schema, config: Config, prior: Prior, bucket_us: int) -> None:
        self.name = name
        self._schema = schema
        self.left_out = 0
        """Examples beyond `examples_max`."""
        self._config = config
        self._prior = prior
        self._bucket_us = bucket_us
        # The shadow shows what was learned, proven or not.
        shadow = msgspec.structs.replace(config, learning_rate=config.shadow_learning_rate, proof_sds=0.0)
        self._lines = {
            CHAMPION: LineLearner(name, config, _labelled(schema, prior.linear)),
            SHADOW: LineLearner(f"{name}-shadow", shadow, _labelled(schema, prior.linear)),
        }
        self._budget = Budget()
        self._backlog = Backlog()
        self._window: list[bytes] = []
        """Payments that were no fraud, packed, for the next forest."""
        self._forest: Forest | None = None
        self._open: list[Example] = []
        self._frozen_chunks = 0
        self._frozen_examples = 0
        self._rewrite = False
        self._lines_dirty = False
        self._threshold = prior.threshold

    def add(self, item: Example | ScoreCount) -> None:
        """Keeps an item of the open bucket. The order does not matter."""
        if isinstance(item, ScoreCount):
            self._budget.count(item)
            return
        if len(item.features) != self._schema.packed_bytes:
            self.left_out += 1  # scored by a release with other features: there is nothing to learn from them
            return
        self._open.append(item)
        if len(self._open) >= 2 * self._config.examples_max:
            self._prune()

    def close(self, bucket_end_us: int) -> list[ModelVersion]:
        """Learns the bucket; the new versions, champion first, or none if nothing has changed."""
        self._prune()
        self._take_out_frauds(self._open)
        examples = self._backlog.release(self._open, self._config.catch_up, self._config.examples_max)
        for example in examples:
            seen = self._schema.unpack(example.features)
            columns = self._schema.layout.columns(seen.values)
            for role, line in self._lines.items():
                line.learn(columns, example.label, example.weight, seen.given(role), example.time_us)
        settled_us = bucket_end_us - self._config.settle_days * DAY_US
        self._budget.settle(settled_us, self._config.half_life_days, self._threshold)
        for line in self._lines.values():
            line.pass_time(self._bucket_us)
        grown = self._prior.strangeness and self._grow(self._open)
        self._open = []
        self._rewrite = self._lines_dirty = True
        threshold = self._budget.threshold(
            self._prior.alerts_per_1000_customers_day,
            self._prior.threshold,
            self._config.prior_customer_days,
            self._budget.false_share(self._config.prior_alarms_false, self._config.prior_alarms),
        )
        if not examples and not grown and threshold == self._threshold:
            return []
        self._threshold = threshold
        return [self._version(role, bucket_end_us, threshold) for role in (CHAMPION, SHADOW)]

    def freeze(self) -> dict[str, bytes]:
        """What changed since the last `freeze`, by item; empty bytes for an item that is gone."""
        items: dict[str, bytes] = {}
        if self._rewrite:
            items.update({f"{OPEN_ITEM}{chunk}": b"" for chunk in range(self._frozen_chunks)})
            self._frozen_chunks = self._frozen_examples = 0
            self._rewrite = False
        if len(self._open) > self._frozen_examples:
            items[f"{OPEN_ITEM}{self._frozen_chunks}"] = msgspec.msgpack.encode(self._open[self._frozen_examples :])
            self._frozen_chunks += 1
            self._frozen_examples = len(self._open)
        if self._lines_dirty:
            items.update({LINE_ITEM + role: line.freeze() for role, line in self._lines.items()})
            items[BACKLOG_ITEM] = msgspec.msgpack.encode(self._backlog)
            items[FOREST_ITEM] = msgspec.msgpack.encode([self._window, self._forest])
            self._lines_dirty = False
        items[META_ITEM] = msgspec.msgpack.encode([self._budget, self.left_out, self._threshold])
        items[FEATURES_ITEM] = msgspec.msgpack.encode(self._schema.version)
        return items

    def thaw(self, items: dict[str, bytes]) -> None:
        """The state of all items ever frozen and not gone since. What a release with other features has learned is not understood: then
        only the alarms that were counted are kept, and learning begins anew."""
        meta: Any = msgspec.msgpack.decode(items[META_ITEM], type=tuple[Budget, int, float])
        self._budget, self.left_out, self._threshold = meta
        chunks = [item for item, raw in items.items() if item.startswith(OPEN_ITEM) and raw]
        if msgspec.msgpack.decode(items.get(FEATURES_ITEM, FEATURES_BEFORE)) != self._schema.version:
            self._frozen_chunks, self._frozen_examples = len(chunks), 0
            self._rewrite = self._lines_dirty = True
            return
        self._open = []
        for item in sorted(chunks, key=lambda item: int(item[len(OPEN_ITEM) :])):
            self._open += msgspec.msgpack.decode(items[item], type=list[Example])
        self._frozen_chunks, self._frozen_examples = len(chunks), len(self._open)
        self._rewrite = self._lines_dirty = False
        for role, line in self._lines.items():
            if LINE_ITEM + role in items:
                line.thaw(items[LINE_ITEM + role])
        if FOREST_ITEM in items:
            window: Any = msgspec.msgpack.decode(items[FOREST_ITEM], type=tuple[list[bytes], Forest | None])
            self._window, self._forest = window
        if BACKLOG_ITEM in items:
            self._backlog = msgspec.msgpack.decode(items[BACKLOG_ITEM], type=Backlog)

    def _prune(self) -> None:
        excess = len(self._open) - self._config.examples_max
        if excess > 0:
            self._open = bounded(self._open, self._config.examples_max)
            self.left_out += excess
            self._rewrite = True

    def _take_out_frauds(self, examples: list[Example]) -> None:
        """A customer's day of fraud was counted once, at its highest score."""
        highest: dict[tuple[str, int], float] = {}
        for example in examples:
            if example.label:
                logit = self._schema.unpack(example.features).champion
                day = (example.customer_id, example.time_us // DAY_US)
                highest[day] = max(logit, highest.get(day, logit))
        for day in sorted(highest):
            self._budget.take_out(day[1] * DAY_US, bin_of(highest[day]), self._threshold)

    def _grow(self, examples: list[Example]) -> bool:
        """Whether there is a new forest: the window is full with what came in this bucket. Frauds don't belong in it, but nobody need know
        of any: a bank without labels has its forest, too."""
        length = self._config.forest.window
        came = sorted((example for example in examples if not example.label), key=mixed)[-length:]
        self._window += [example.features for example in came]
        if len(self._window) < length:
            return False
        rows = [self._schema.unpack(packed).values for packed in self._window[-length:]]
        self._window = []
        forest = grow(rows, self._schema.strange, self._config.forest)
        if forest is None:
            return False
        self._forest = forest
        return True

    def _version(self, role: str, bucket_end_us: int, threshold: float) -> ModelVersion:
        line = self._lines[role]
        linear, calibration = line.published
        if not self._backlog.begun:
            linear = self._prior.linear
        payload = encode_payload(self._schema.version, linear, calibration, self._forest)
        assert len(payload) <= self._config.payload_bytes_max, "a version is larger than learner.payload_bytes_max"
        said = msgspec.msgpack.encode([threshold, line.calibrated])
        return ModelVersion(
            name=self.name,
            version=version_name(line.name, bucket_end_us, payload, said),
            effective_from_us=bucket_end_us,
            role=role,
            kind=LINEAR,
            payload=payload,
            metrics=line.metrics(),
            threshold=threshold,
            calibrated=line.calibrated,
        )


def _labelled(schema: Schema, prior: Linear) -> Linear:
    """Where learning begins. Strangeness stands for what no label has told yet: of fraud itself it knows nothing, and with its prior weight
    beside the first labels more is lost than won (docs/bench-fraud.md)."""
    layout = schema.layout
    if not schema.strangeness:
        return prior
    at = layout.names.index(schema.strangeness)
    start, end = layout.starts[at], layout.starts[at] + layout.features[at].width
    weights = [0.0 if start <= column < end else weight for column, weight in enumerate(prior.weights)]
    return Linear(layout, prior.base, weights)
