"""The learner: better than its prior, the same whatever the order of arrival and however often it is frozen, and honest about itself."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import TABLES

from operators.knowledge.building import build_learner
from operators.knowledge.facts import Example, ScoreCount
from operators.knowledge.features import LAYOUT, SCHEMA, VERSION
from operators.knowledge.learner import Learner
from operators.knowledge.prequential import Prequential
from operators.knowledge.versions import CHAMPION, Model, ModelVersion, compile_version
from state.estimators import Drift, sigmoid
from state.windows import DAY_US

AT = {name: at for at, name in enumerate(LAYOUT.names)}
PER_DAY = 250


def learner(**changes: object) -> Learner:
    return build_learner({**TABLES, "learner": {**TABLES["learner"], **changes}}, DAY_US)


def features(rng: random.Random) -> list[float]:
    values = [0.0] * len(LAYOUT.features)
    values[AT["amount"]] = max(0.0, rng.gauss(0.0, 1.0))
    values[AT["amount_log"]] = rng.uniform(1.0, 7.0)
    values[AT["hour_of_day"]] = float(rng.randrange(24))
    values[AT["merchant_streak"]] = float(rng.choice((0, 0, 0, 0, 3)))
    return values


def is_fraud(rng: random.Random, values: list[float], swapped: bool) -> int:
    """Large amounts are, and what a compromised merchant sells; after a swap small amounts are instead."""
    large = values[AT["amount_log"]] > 5.5
    odds = -5.0 + 3.0 * (large is not swapped) + 1.2 * values[AT["merchant_streak"]]
    return int(rng.random() < sigmoid(odds))


def day_of(seed: int, day: int, model: Model, swapped: bool = False) -> list[Example]:
    rng = random.Random(seed * 1000 + day)
    examples = []
    for number in range(PER_DAY):
        values = features(rng)
        packed = LAYOUT.pack(values)
        logit = model.logit(LAYOUT.places(LAYOUT.unpack(packed)))
        label, at_us = is_fraud(rng, values, swapped), day * DAY_US + rng.randrange(DAY_US)
        id_ = f"t-{day}-{number}"
        examples.append(
            Example("transaction", f"c-{number % 50}", id_, at_us, SCHEMA.pack_scores(packed, logit, None), label)
        )
    return examples


def run(subject: Learner, days: Iterable[int], seed: int, swap_day: int = 10_000) -> list[ModelVersion]:
    """Scores each day with the version in force, and gives it to the learner; the champions that it made."""
    model, champions = prior(subject), []
    for day in days:
        for example in day_of(seed, day, model, day >= swap_day):
            subject.add(example)
        champion = subject.close((day + 1) * DAY_US)[0]
        model = compile_version(champion, VERSION, LAYOUT)
        champions.append(champion)
    return champions


def prior(subject: Learner) -> Model:
    return Model("transaction@prior", subject._prior.linear, 0.0, False)


@pytest.mark.parametrize("seed", (1, 2))
def test_what_is_learned_beats_the_prior_on_days_not_seen(seed: int) -> None:
    subject = learner()
    learned = compile_version(run(subject, range(12), seed)[-1], VERSION, LAYOUT)
    figures = []
    for model in (prior(subject), learned):
        seen = Prequential()
        for example in [one for day in (100, 101, 102) for one in day_of(seed, day, model)]:
            values = LAYOUT.unpack(example.features[: LAYOUT.packed_bytes])
            seen.learn(model.logit(LAYOUT.places(values)), example.label, 1.0)
        figures.append(seen)
    before, after = figures
    print(f"seed {seed}: {before.metrics()} then {after.metrics()}")
    assert after.auc() > before.auc() + 0.1
    assert after.average_precision() > before.average_precision() + 0.2
    assert after.log_loss() < before.log_loss()


def test_scores_become_probabilities_and_say_so_only_then() -> None:
    champions = run(learner(calibrated_positives_min=60.0), range(25), 3)
    assert not champions[0].calibrated
    assert champions[-1].calibrated
    assert champions[-1].metrics["calibration_error"] < 0.05


def test_drift_is_noticed_when_fraud_changes_and_only_then() -> None:
    steady = run(learner(), range(26), 4)
    changed = run(learner(), range(26), 4, swap_day=18)
    assert steady[17].metrics["drifts"] == changed[17].metrics["drifts"] == steady[-1].metrics["drifts"]
    assert changed[-1].metrics["drifts"] > steady[-1].metrics["drifts"]
    assert changed[-1].metrics["drifted_us"] >= 18 * DAY_US


@pytest.mark.parametrize("seed", range(3))
def test_drift_fires_on_a_planted_change_and_not_without(seed: int) -> None:
    rng = random.Random(seed)
    drift = Drift.new(0.002)
    assert not any(drift.learn(min(1.0, rng.expovariate(20.0))) for _ in range(5_000))
    thawed = Drift.thaw(drift.freeze(), 0.002)
    worse = [min(1.0, rng.expovariate(8.0)) for _ in range(2_000)]
    alarms = [drift.learn(error) for error in worse]
    assert any(alarms) and [thawed.learn(error) for error in worse] == alarms


@settings(max_examples=5, deadline=None)
@given(shuffling=st.integers(), cuts=st.sets(st.integers(0, 2 * PER_DAY - 1), max_size=5))
def test_neither_order_nor_restarts_change_a_version(shuffling: int, cuts: set[int]) -> None:
    model, rng = prior(learner()), random.Random(shuffling)
    expected, subject, items = learner(), learner(), dict[str, bytes]()
    count = 0
    for day in range(2):
        examples: list[Example | ScoreCount] = [*day_of(5, day, model)]
        examples += [ScoreCount("transaction", shard, day * DAY_US, 50, {-30: 20, 5: 1}) for shard in range(4)]
        for example in examples:
            expected.add(example)
        for example in rng.sample(examples, len(examples)):
            subject.add(example)
            if count in cuts:
                items.update(subject.freeze())
                items = {item: raw for item, raw in items.items() if raw}
                subject = learner()
                subject.thaw(items)
            count += 1
        assert subject.close((day + 1) * DAY_US) == expected.close((day + 1) * DAY_US)


def test_a_bucket_is_bounded_and_what_stays_does_not_depend_on_the_order() -> None:
    examples = day_of(6, 0, prior(learner()))
    versions = []
    for order in (examples, examples[::-1]):
        subject = learner(examples_max=50)
        for example in order:
            subject.add(example)
            assert len(subject._open) < 100
        versions.append(subject.close(DAY_US))
        assert subject.left_out == PER_DAY - 50
    assert versions[0] == versions[1]


def test_examples_of_other_features_are_left_out() -> None:
    subject = learner()
    subject.add(Example("transaction", "c", "t", 0, b"\0" * 8, 1))
    assert subject.left_out == 1 and subject.close(DAY_US) == []


def test_a_version_is_named_after_its_time_and_contents_and_stays_within_its_size() -> None:
    (first, shadow), (second, _) = (learner_after(seed).close(DAY_US) for seed in (7, 8))
    assert first.version.startswith("transaction@1970-01-02T00:00:00Z.") and first.version != second.version
    assert shadow.version.startswith("transaction-shadow@") and shadow.payload != first.payload
    assert (first.role, first.effective_from_us) == (CHAMPION, DAY_US)
    assert max(len(version.payload) for version in (first, shadow)) <= TABLES["learner"]["payload_bytes_max"]


def learner_after(seed: int) -> Learner:
    subject = learner()
    for example in day_of(seed, 0, prior(subject)):
        subject.add(example)
    return subject


@pytest.mark.parametrize("said", (b"", b"\x01"))
def test_what_was_learned_with_other_features_is_left_and_the_counted_alarms_are_kept(said: bytes) -> None:
    subject = learner()
    subject.add(ScoreCount("transaction", 0, 0, 9, {3: 9}))
    run(subject, range(4), 1)
    for example in day_of(1, 4, prior(subject)):
        subject.add(example)
    items = subject.freeze()
    del items["features"]
    later = learner()
    later.thaw({**items, **({"features": said} if said else {})})
    assert later._budget == subject._budget
    gone = {item for item, raw in later.freeze().items() if not raw}
    assert gone == {item for item in items if item.startswith("open/")}
    run(later, range(5, 8), 1)
