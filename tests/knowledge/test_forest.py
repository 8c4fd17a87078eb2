"""Half-space trees: the fast form is River's own, strange is what is rare, and a bank without labels has them, too."""

from __future__ import annotations

import math
import random
from array import array

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import anomaly
from shard_bench import TABLES
from test_learning import AT, day_of, learner, prior

from operators.anomaly import transaction as fused
from operators.knowledge.building import build_learner
from operators.knowledge.facts import Example
from operators.knowledge.features import LAYOUT, SCHEMA, STRANGE, STRANGENESS, VERSION
from operators.knowledge.forest import Config, Forest, Strangeness, grow, strangeness_of
from operators.knowledge.versions import Payload, compile_version
from state.estimators import grow_half_spaces
from state.windows import DAY_US

SMALL = Config(trees=5, height=4, window=200)


def window(seed: int, length: int = 200) -> list[list[float]]:
    """Everyday life: two numbers that go together, one that is nearly always zero, and one that never changes."""
    rng = random.Random(seed)
    rows = []
    for _ in range(length):
        amount = rng.gauss(3.0, 1.0)
        rows.append([amount, amount + rng.gauss(0.0, 0.2), 2.0 if rng.random() < 0.05 else 0.0, 1.0])
    return rows


def grown(seed: int) -> Forest:
    forest = grow(window(seed), range(4), SMALL)
    assert forest is not None
    return forest


def walked(forest: Forest, row: list[float]) -> int:
    """How common a row is, tree by tree, split by split."""
    thresholds = array("d", forest.thresholds)
    leaves, total = 2**forest.height, 0
    for tree in range(len(forest.levels) // leaves):
        split = 0
        while split < leaves - 1:
            at = tree * (leaves - 1) + split
            split = 2 * split + 1 + (row[forest.features[at]] >= thresholds[at])
        total += forest.levels[tree * leaves + split - (leaves - 1)]
    return total


FOREST = grown(1)
finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=4, max_size=4))
def test_bits_find_the_leaves_that_walking_finds(row: list[float]) -> None:
    assert Strangeness(FOREST).common(row) == walked(FOREST, row)


def test_values_on_a_threshold_go_where_river_sends_them() -> None:
    for number, threshold in enumerate(array("d", FOREST.thresholds)):
        row = [0.5] * 4
        row[FOREST.features[number]] = threshold
        assert Strangeness(FOREST).common(row) == walked(FOREST, row)


@pytest.mark.parametrize("seed", (3, 4))
def test_masses_are_those_that_river_scores_with(seed: int) -> None:
    rng = random.Random(seed)
    rows = [{0: rng.random(), 3: rng.random() ** 4} for _ in range(150)]
    river = anomaly.HalfSpaceTrees(n_trees=7, height=5, window_size=len(rows), seed=seed)
    for row in rows:
        river.learn_one(row)
    trees = grow_half_spaces(rows, 7, 5, seed)
    for row in [*rows[:40], {0: 5.0, 3: -5.0}]:
        mass = 0.0
        for tree in trees:
            split = 0
            while split < 31:
                split = 2 * split + 1 + (row[tree.features[split]] >= tree.thresholds[split])
            mass += tree.masses[split - 31]
        assert river.score_one(row) == pytest.approx(1.0 - mass / (7 * 150 * 63), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_strange_is_what_is_rare_and_the_share_is_what_it_says(seed: int) -> None:
    print(f"seed {seed}")
    strangeness = Strangeness(grown(seed))
    seen = sorted(strangeness.of(row) for row in window(seed))
    for share in (0.5, 0.2, 0.05):
        among = sum(each >= -math.log(share) for each in seen) / len(seen)
        assert among <= share * math.exp(0.25), "never said to be stranger than it is; a step is a quarter"
        assert among > share / 3.0 or share == 0.05, "where rows are alike, few are told to be strange"
    usual, apart, alone = [3.0, 3.0, 0.0, 1.0], [4.8, 1.2, 2.0, 1.0], [30.0, 30.0, 2.0, 1.0]
    assert strangeness.of(usual) < 1.5 < strangeness.of(apart)
    assert strangeness.of(alone) > 1.5


def test_nothing_is_grown_where_all_payments_are_alike() -> None:
    assert grow([[1.0, 0.0]] * 100, [0, 1], SMALL) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_same_window_gives_the_same_forest_and_bytes_bring_it_back(seed: int) -> None:
    forest = grown(seed)
    assert forest == grown(seed)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(forest), type=Forest)
    row = window(seed + 1, 1)[0]
    assert Strangeness(again).of(row) == Strangeness(forest).of(row)


def test_a_forest_is_made_ready_once_however_often_its_bytes_come_and_another_one_anew() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(FOREST), type=Forest)
    assert again is not FOREST and strangeness_of(again) is strangeness_of(FOREST)
    assert strangeness_of(grown(2)) is not strangeness_of(FOREST)


def unlabelled(seed: int, day: int, subject: object) -> list[Example]:
    model = prior(subject)  # type: ignore[arg-type]
    return [msgspec.structs.replace(example, label=0) for example in day_of(seed, day, model)]


def test_a_bank_without_labels_has_a_forest_and_its_prior_weights() -> None:
    subject = learner(forest={"window": 600})
    versions = []
    for day in range(4):
        for example in unlabelled(1, day, subject):
            subject.add(example)
        versions.append(subject.close((day + 1) * DAY_US))
    assert [len(made) for made in versions] == [0, 0, 2, 0], "250 payments a day fill a window of 600 on the third"
    champion = compile_version(versions[2][0], VERSION, LAYOUT)
    assert champion.linear.weights == prior(subject).linear.weights
    assert champion.strangeness is not None
    large = [0.0] * len(LAYOUT.features)
    large[AT["amount"]] = 20.0
    assert champion.strangeness.of(large) > 3.0 > champion.strangeness.of([0.0] * len(LAYOUT.features))


def test_a_restart_amid_a_window_changes_nothing() -> None:
    published = []
    for restarts in (False, True):
        subject, made = learner(forest={"window": 600}), []
        for day in range(6):
            for example in unlabelled(2, day, subject):
                subject.add(example)
            made += subject.close((day + 1) * DAY_US)
            if restarts:
                kept = subject.freeze()
                subject = learner(forest={"window": 600})
                subject.thaw(kept)
        published.append([version.version for version in made])
    assert published[0] == published[1] and published[0]


def test_switched_off_no_trees_are_grown_and_none_are_looked_at() -> None:
    off = {**TABLES["transaction"], "parts": {"unsupervised": False}}
    tables = {**TABLES, "transaction": off, "learner": {**TABLES["learner"], "forest": {"window": 100}}}
    subject = build_learner(tables, DAY_US)
    for example in day_of(1, 0, prior(subject)):
        subject.add(example)
    for version in subject.close(DAY_US):
        assert msgspec.msgpack.decode(version.payload, type=Payload).forest is None
    assert STRANGENESS in LAYOUT.names and AT[STRANGENESS] not in STRANGE
    assert fused.Config().parts == {}


def test_frauds_are_not_in_the_window() -> None:
    subject = learner(forest={"window": 100})
    for example in day_of(5, 0, prior(subject)):
        subject.add(msgspec.structs.replace(example, label=1))
    assert subject.close(DAY_US) == [], "nothing but frauds: neither learned nor grown"


def test_what_was_scored_is_kept_with_its_strangeness() -> None:
    values = [0.0] * len(LAYOUT.features)
    values[AT[STRANGENESS]] = 5.25
    assert SCHEMA.unpack(SCHEMA.pack_scores(LAYOUT.pack(values), -3.0, None)).values[-1] == 5.25
