"""Alerts of overdrafts teach how likely the next ones are: each waits for what comes of it; a line is learned, so reasons stay exact."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_bench import TABLES, Bench, refrozen
from streams import DAY_US, NOON_US, transaction

from operators.across import Across
from operators.alerts import overdraft_ahead
from operators.alerts.overdraft_outcomes import ASKED_MAX, MODEL, NAME, SCHEMA, Line, ask, calibrated, line_of, resolve
from operators.catalogue import read_configs
from operators.knowledge.board import Board
from operators.knowledge.building import build_overdraft_learner
from operators.knowledge.facts import Example
from operators.knowledge.learners import Learners
from operators.knowledge.versions import CHAMPION, ModelVersion
from state.customer import Customer
from state.estimators import sigmoid
from state.events import Event
from state.settings import KnowledgeSettings
from state.shard import Policy

POLICY = Policy(lateness_us=2 * DAY_US)
DETECTORS: Any = (overdraft_ahead,)
CONFIG = read_configs(TABLES)[2][overdraft_ahead.NAME]
IDENTITY = Line("v", 1.0, 0.0)
HORIZON_US = 14 * DAY_US


def movement(name: str, day: float, amount_minor: int, balance_minor: int, **fields: Any) -> Event:
    fields = {"account_id": "a-1", "balance_after_minor": balance_minor} | fields
    return transaction(name, NOON_US + int(day * DAY_US), amount_minor, **fields)


def poor_tenant(comes: bool) -> list[Event]:
    """Three months with enough for the rent, then one without; `comes`: the rent leaves all the same."""
    events = []
    for day in range(1, 100):
        events.append(movement(f"shop-{day}", day, 1_000, 300_000 if day < 93 else 30_000))
        if day % 30 == 8:
            rent = {"channel": "standing_order", "counterparty": "Landlord", "merchant_id": None}
            if day < 90 or comes:
                left_minor = 300_000 if day < 90 else -60_000
                events.append(movement(f"rent-{day}", day + 0.1, 90_000, left_minor, **rent))
        if day % 30 == 24:
            pay = {"channel": "transfer", "counterparty": "Works", "direction": "credit", "merchant_id": None}
            events.append(movement(f"pay-{day}", day + 0.1, 150_000, 300_000, **pay))
    events += [movement(f"later-{day}", day, 1_000, -61_000 if comes else 29_000) for day in (100, 105, 110, 115, 120)]
    return sorted(events, key=lambda event: event.time_us)


def learned(bench: Bench) -> list[Example]:
    return [one for one in bench.learned if isinstance(one, Example) and one.model == MODEL]


@pytest.mark.parametrize("comes", [True, False])
def test_an_alert_is_an_example_of_what_came_of_it_as_it_was_said(comes: bool) -> None:
    bench = Bench(TABLES, POLICY, DETECTORS).run(poor_tenant(comes))
    opened = next(body for body in bench.on("signals") if body["state"] == "OPEN")
    example = learned(bench)[0]
    assert opened["model"] == f"{MODEL}@prior" and example.label == comes
    seen = SCHEMA.unpack(example.features)
    assert sigmoid(seen.champion) == pytest.approx(opened["score"], abs=1e-3) and seen.values == (seen.champion,)
    assert len({one.transaction_id for one in learned(bench)}) == len(learned(bench))


def test_what_waits_survives_a_restart_at_any_event() -> None:
    straight, restarted = Bench(TABLES, POLICY, DETECTORS), Bench(TABLES, POLICY, DETECTORS)
    for event in poor_tenant(comes=False):
        straight.apply([event])
        restarted.apply([event])
        restarted.restart()
        assert refrozen(restarted, "c-1")[0] == refrozen(restarted, "c-1")[1]
    assert straight.learned == restarted.learned and learned(straight)


def test_nothing_waits_where_nothing_was_said() -> None:
    bench = Bench(TABLES, POLICY, DETECTORS).run(poor_tenant(comes=True)[:90])
    assert NAME not in bench.shard.customer("c-1").states


@given(days=st.lists(st.integers(0, 20), max_size=12), below=st.integers(0, 40))
def test_each_alert_is_told_once_when_it_came_true_or_its_time_is_over(days: list[int], below: int) -> None:
    customer = Customer("c-1", 0)
    for day in sorted(days):
        ask(customer, "a-1", IDENTITY, day * DAY_US, 0.8)
    asked = sorted(set(days))[:ASKED_MAX]
    early = list(resolve(customer, "a-1", HORIZON_US, below * DAY_US, below=True))
    assert [one.time_us // DAY_US for one in early] == asked
    assert [one.came for one in early] == [below <= day + 14 for day in asked]
    assert list(resolve(customer, "a-1", HORIZON_US, 99 * DAY_US, below=False)) == []


@given(st.floats(0.5, 2.0), st.floats(-1.0, 1.0), st.floats(0.01, 0.99))
def test_what_was_learned_is_taken_back_before_it_is_learned_from(slope: float, offset: float, score: float) -> None:
    customer, line = Customer("c-1", 0), Line("v", slope, offset)
    ask(customer, "a-1", line, 0, score)
    (asked,) = customer.states[NAME].waiting["a-1"]
    assert sigmoid(slope * asked.raw + offset) == pytest.approx(score)
    weights, base = calibrated(line, {"margin": -0.5}, 1.25)
    assert base + weights["margin"] == pytest.approx(slope * (1.25 - 0.5) + offset)


# ---- the learner


def month_of_examples(month: int, bias: float, count: int = 60) -> list[Example]:
    """A bank where overdrafts are likelier by `bias` log-odds than the prior says."""
    rng, found = random.Random(f"7 {month}"), []
    for number in range(count):
        odds = rng.uniform(0.8, 2.5)
        label = int(rng.random() < sigmoid(odds + bias))
        packed = SCHEMA.pack_scores(SCHEMA.layout.pack((odds,)), odds, None)
        found.append(Example(MODEL, f"c-{number}", f"a-1:{month}", month * 30 * DAY_US + number, packed, label))
    return found


def run(learners: Learners, bias: float, order: int = 0, freeze: bool = False) -> list[ModelVersion]:
    versions: list[ModelVersion] = []
    kept: dict[str, bytes] = {}
    for month in range(700, 712):
        examples = month_of_examples(month, bias)
        if order:
            random.Random(order).shuffle(examples)
        for example in examples:
            learners.add(example)
        if freeze:
            kept = {name: raw for name, raw in (kept | learners.freeze()).items() if raw}
            learners = build_overdraft_learner(TABLES, DAY_US)
            learners.thaw(kept)
        versions += learners.close((month + 1) * 30 * DAY_US)
    return versions


@pytest.mark.parametrize("bias", [-0.8, 0.0, 0.8])
def test_the_line_finds_how_likely_overdrafts_are_at_this_bank(bias: float) -> None:
    board = Board()
    versions = [one for one in run(build_overdraft_learner(TABLES, DAY_US), bias) if one.role == CHAMPION]
    board.apply_versions([versions[-1]])
    line = line_of(CONFIG, board.champion(MODEL))
    gaps = [sigmoid(line.slope * odds + line.offset) - sigmoid(odds + bias) for odds in (1.0, 1.6, 2.2)]
    print("bias", bias, "line", line, "gaps", gaps)
    assert line.version == versions[-1].version and max(map(abs, gaps)) < 0.05


def test_versions_are_the_same_in_any_order_and_however_often_the_learner_is_frozen() -> None:
    plainly = run(build_overdraft_learner(TABLES, DAY_US), 0.5)
    assert plainly == run(build_overdraft_learner(TABLES, DAY_US), 0.5, order=3, freeze=True)


def test_one_outcome_moves_next_to_nothing() -> None:
    learners = build_overdraft_learner(TABLES, DAY_US)
    for example in month_of_examples(700, 0.0, 3):
        learners.add(example)
    board = Board()
    board.apply_versions([one for one in learners.close(701 * 30 * DAY_US) if one.role == CHAMPION])
    line = line_of(CONFIG, board.champion(MODEL))
    assert abs(sigmoid(line.slope * 1.5 + line.offset) - sigmoid(1.5)) < 0.03


def test_a_version_comes_into_force_at_once_with_exact_reasons_and_goes_with_its_pin() -> None:
    board = Board()
    version = next(one for one in run(build_overdraft_learner(TABLES, DAY_US), 0.8)[::-1] if one.role == CHAMPION)
    bench = Bench(TABLES, POLICY, DETECTORS, across=Across(KnowledgeSettings(), board))
    board.pin(version)
    bench.run(poor_tenant(comes=True))
    board.unpin(MODEL)
    plain = Bench(TABLES, POLICY, DETECTORS).run(poor_tenant(comes=True))
    opened, before = (next(b for b in of.on("signals") if b["state"] == "OPEN") for of in (bench, plain))
    assert opened["model"] == version.version and opened["score"] > before["score"]
    total = opened["score_base"] + math.fsum(reason["contribution"] for reason in opened["reasons"])
    assert abs(sigmoid(total) - opened["score"]) <= 1e-9
    line = line_of(CONFIG, board.champion(MODEL))
    assert line == Line(f"{MODEL}@prior", 1.0, 0.0)
