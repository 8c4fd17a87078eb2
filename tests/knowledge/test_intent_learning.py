"""Intents learn: a week waits as it was seen until its outcome is known, is an example once, and the version learned from it judges."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import TABLES, Bench, refrozen
from streams import DAY_US, HOUR_US, NOON_US, transaction

from dataflows.cli import main
from dataflows.knowledge.pins import model_versions, models_in, read_pins, those_kept
from dataflows.knowledge.shelf import Shelf
from operators.across import Across
from operators.catalogue import CATALOGUE, read_configs
from operators.detector import Outlook
from operators.intent import churn, home_purchase, life_event, product, traces
from operators.intent.frame import Feature
from operators.intent.outlooks import KNOWN_MAX, WAITING_MAX, Config, Outlooks, Span, State, span_of
from operators.intent.regular import income_of, succession
from operators.knowledge.board import Board
from operators.knowledge.building import build_intent_learners, intent_priors
from operators.knowledge.facts import Example
from operators.knowledge.learners import Learners
from operators.knowledge.schema import Schema, plain
from operators.knowledge.schemas import compiled, schema_of
from operators.knowledge.versions import CHAMPION, ModelVersion
from state.customer import Customer
from state.events import Application, Consent, Event, Interaction, Label
from state.settings import KnowledgeSettings
from state.shard import Policy
from state.signals import Signal
from state.step import Emission

POLICY = Policy(lateness_us=2 * DAY_US)
INTENTS: Any = (traces, home_purchase, churn, life_event, product)
PRIORS = intent_priors(CATALOGUE, read_configs(TABLES)[2])
WEEK_US = traces.WEEK_US
AT_ONCE = {**TABLES, "intent_learner": {**TABLES["intent_learner"], "proof_sds": 0.0}}
"""What was learned is in force without proof."""
SCHEMA = plain(1, "views", "growth")
SPAN = Span(10 * WEEK_US, 0, 11 * WEEK_US, 1.0)


def test_the_schema_of_every_intents_model_is_found_by_the_models_name() -> None:
    """An example or a version of a model that nobody knows would end the worker, or never be in force."""
    assert PRIORS
    assert {name: schema_of(name) for name in PRIORS} == {name: schema for name, (schema, _) in PRIORS.items()}


def seen_at(week: int, champion: float = 0.0, schema: Schema = SCHEMA) -> Outlook:
    packed = schema.pack_scores(schema.layout.pack((float(week % 7), 0.5)), champion, None)
    return Outlook("model", week * WEEK_US, packed, "model")


def waited(config: Config, span: Span = SPAN) -> tuple[Outlooks, Customer, State, list[Emission]]:
    return Outlooks(config, {"model": (SCHEMA, span)}), Customer("c-1", 0), State(), []


def examples(out: list[Emission]) -> list[Example]:
    return [emission.body for emission in out]


def test_an_outcome_makes_positives_of_the_weeks_that_it_covers_and_of_no_other() -> None:
    awaited, customer, state, out = waited(Config())
    for week in range(100, 110):
        awaited.looked(customer, state, seen_at(week), out)
    awaited.became(customer, state, "model", 112 * WEEK_US + 1, out)
    found = examples(out)
    assert [one.time_us // WEEK_US for one in found] == list(range(103, 110))
    assert {(one.label, one.weight, one.model) for one in found} == {(1, 1.0, "model")}
    assert [one.features for one in found] == [seen_at(week).packed for week in range(103, 110)]


def test_an_outcome_that_is_told_several_times_counts_once() -> None:
    awaited, customer, state, out = waited(Config())
    for week in range(100, 105):
        awaited.looked(customer, state, seen_at(week), out)
    for later_us in (0, HOUR_US, 2 * HOUR_US):
        awaited.became(customer, state, "model", 106 * WEEK_US + later_us, out)
    assert len(examples(out)) == 5


def test_a_week_looked_at_after_its_outcome_became_known_is_a_positive_at_once() -> None:
    awaited, customer, state, out = waited(Config())
    awaited.became(customer, state, "model", 106 * WEEK_US, out)
    awaited.looked(customer, state, seen_at(105), out)
    awaited.looked(customer, state, seen_at(106), out)
    assert [(one.label, one.time_us // WEEK_US) for one in examples(out)] == [(1, 105)]


def test_without_outcome_a_week_is_a_negative_when_its_time_is_over_and_not_before() -> None:
    awaited, customer, state, out = waited(Config())
    awaited.looked(customer, state, seen_at(100), out)
    awaited.looked(customer, state, seen_at(110), out)
    assert out == []
    awaited.looked(customer, state, seen_at(111), out)
    assert [(one.label, one.weight, one.time_us // WEEK_US) for one in examples(out)] == [(0, 1.0, 100)]


def test_of_low_scores_a_share_is_learned_with_the_weight_of_all() -> None:
    awaited, _, _, out = waited(Config(negative_share=0.25))
    for number in range(400):
        customer, state = Customer(f"c-{number}", 0), State()
        awaited.looked(customer, state, seen_at(100, -6.0), out)
        awaited.looked(customer, state, seen_at(120, -6.0), out)
    found = examples(out)
    assert {one.weight for one in found} == {4.0}
    assert sum(one.weight for one in found) == pytest.approx(400, rel=0.25)


@given(share=st.floats(0.2, 0.95), logit=st.floats(-5.0, 5.0))
def test_where_not_all_outcomes_are_told_of_a_week_counts_as_both_and_once_in_sum(share: float, logit: float) -> None:
    awaited, customer, state, out = waited(Config(negative_share=1.0), SPAN._replace(told_share=share))
    awaited.looked(customer, state, seen_at(100, logit), out)
    awaited.looked(customer, state, seen_at(120, -9.0), out)
    weights = {one.label: one.weight for one in examples(out)}
    assert sum(weights.values()) == pytest.approx(1.0, abs=0.011)
    logit = SCHEMA.unpack(seen_at(100, logit).packed).champion
    score = 1 / (1 + math.exp(-logit))
    happened = (1 - share) * score / (1 - share * score)  # Bayes: it happened, and nobody told
    assert weights.get(1, 0.0) == pytest.approx(happened, abs=0.011)


@given(weeks=st.lists(st.integers(0, 400), min_size=1, max_size=150, unique=True), told=st.integers(0, 400))
def test_every_week_is_an_example_once_at_most_and_what_waits_is_bounded(weeks: list[int], told: int) -> None:
    awaited, customer, state, out = waited(Config(negative_share=1.0))
    for week in sorted(weeks):
        awaited.looked(customer, state, seen_at(week), out)
        if week % 9 == told % 9:
            awaited.became(customer, state, "model", (week + told % 5) * WEEK_US, out)
    found = [(one.time_us, one.transaction_id) for one in examples(out)]
    assert len(found) == len(set(found))
    stride = 2 + SCHEMA.packed_bytes
    assert len(state.waiting["model"]) <= WAITING_MAX * stride
    assert len(found) + len(state.waiting["model"]) // stride <= len(weeks)
    assert all(len(known) <= KNOWN_MAX for known in state.known_us.values())


# ---- through the customer step


def event_of(topic: type[Event], time_us: int, **fields: Any) -> Any:
    return topic(customer_id="c-1", time_us=time_us, arrival_us=time_us, partition=0, offset=0, **fields)


def buyer() -> list[Any]:
    """Groceries for 200 days; looks at homes from day 60 on, buys on day 100."""
    events: list[Any] = [transaction(f"t-{day}", NOON_US + day * DAY_US) for day in range(0, 200, 2)]
    for day in range(60, 98):
        time_us = NOON_US + day * DAY_US + HOUR_US
        for kind in ("page", "calculator") if day % 2 else ("page",):
            id_ = f"{kind}-{day}"
            events.append(event_of(Interaction, time_us, interaction_id=id_, kind=kind, page="mortgage/rates"))
    done_us = NOON_US + 100 * DAY_US
    events.append(event_of(Application, done_us, application_id="f-1", product="mortgage", status="completed"))
    events.append(event_of(Label, done_us + HOUR_US, label="product_taken", product="mortgage", occurred_us=done_us))
    return sorted(events, key=lambda event: event.time_us)


def learned(bench: Bench, model: str) -> list[Example]:
    return [one for one in bench.learned if isinstance(one, Example) and one.model == model]


def test_a_buyers_weeks_are_learned_as_they_were_seen_and_signals_name_the_prior() -> None:
    bench = Bench(TABLES, POLICY, INTENTS).run(buyer())
    found = learned(bench, home_purchase.NAME)
    positives = [one for one in found if one.label]
    weeks = [one.time_us // WEEK_US for one in positives]
    assert weeks == sorted(set(weeks)) and len(weeks) >= 5
    assert all(one.time_us <= NOON_US + 100 * DAY_US for one in positives)
    views = [home_purchase.SCHEMA.unpack(one.features).values[0] for one in positives]
    assert 0.0 < views[0] < views[-1] - 0.5, "features of the past are those of the past"
    assert all(one.time_us > NOON_US + 100 * DAY_US for one in found if not one.label)
    opened = next(body for body in bench.on("signals.intent") if body["type"] == "intent.home_purchase")
    assert opened["model"] == "home_purchase@prior"
    assert refrozen(bench, "c-1")[0] == refrozen(bench, "c-1")[1]


def test_what_waits_survives_a_restart_at_any_event() -> None:
    straight, restarted = Bench(TABLES, POLICY, INTENTS), Bench(TABLES, POLICY, INTENTS)
    for event in buyer():
        straight.apply([event])
        restarted.apply([event])
        restarted.restart()
    assert straight.learned == restarted.learned and learned(straight, home_purchase.NAME)


def test_nothing_is_learned_from_who_refuses_profiling() -> None:
    refusal = event_of(Consent, NOON_US, purpose="profiling", status="revoked")
    bench = Bench(TABLES, POLICY, INTENTS).run([refusal, *buyer()])
    assert [one for one in bench.learned if isinstance(one, Example) and one.model != "transaction"] == []


def test_switched_off_nothing_is_learned_and_the_same_is_said() -> None:
    tables = {**TABLES, "intent_learner": {**TABLES["intent_learner"], "enabled": False}}
    bench = Bench(tables, POLICY, INTENTS).run(buyer())
    assert [one for one in bench.learned if isinstance(one, Example) and one.model != "transaction"] == []
    assert bench.on("signals") == Bench(TABLES, POLICY, INTENTS).run(buyer()).on("signals")


def test_features_come_in_the_order_of_their_schema() -> None:
    """Otherwise a weight would be learned for another feature."""
    found: dict[str, list[Feature]] = {}

    class Watcher:
        NAME, VERSION, SIGNAL, State = "watcher", 1, None, None
        Config = home_purchase.Config

        @staticmethod
        def look(config: Any, state: Any, week: Any, customer: Any) -> None:
            configs = read_configs(TABLES)[2]
            found["home_purchase"] = home_purchase.features_of(configs["home_purchase"], week)
            found["churn"] = churn.features_of(week, income_of(week))
            found["life_event"] = life_event.features_of(configs["life_event"], week, succession(week))
            interests = product.interests_of(configs["product"], week)
            found["product"] = product.features_of(configs["product"], week, interests, "loan")

    Bench(TABLES, POLICY, (traces, Watcher)).run(buyer())  # type: ignore[arg-type]
    for name, features in found.items():
        names = tuple(feature.name for feature in features)
        assert names == PRIORS[name if name in PRIORS else "life_event.child"][0].layout.names


# ---- the learners


def week_of_examples(seed: int, week: int, customers: int = 60) -> list[Example]:
    """Who leaves has stopped to get a salary there, and nothing else; the prior believes otherwise."""
    schema, prior = PRIORS[churn.NAME]
    rng, found = random.Random(f"{seed} {week}"), []
    for number in range(customers):
        values = [rng.gauss(0.0, 0.7) for _ in schema.layout.names]
        values[schema.layout.names.index("income_gone")] = gone = float(rng.random() < 0.15)
        label = int(rng.random() < (0.8 if gone else 0.01))
        packed = schema.layout.pack(values)
        logit = prior.logit(schema.layout.places(schema.layout.unpack(packed)))
        name, time_us = f"churn:{week}", week * WEEK_US
        found.append(Example(churn.NAME, f"c-{number}", name, time_us, schema.pack_scores(packed, logit, None), label))
    return found


def run(learners: Learners, weeks: range, order: int | None = None, freeze: bool = False) -> list[ModelVersion]:
    versions = learners.close(weeks.start * WEEK_US)  # rounds are whole from here on
    kept: dict[str, bytes] = {}
    for week in weeks:
        found = week_of_examples(5, week)
        if order is not None:
            random.Random(order).shuffle(found)
        for day in range(7):
            for one in found[day::7]:
                learners.add(one)
            if freeze and day in (2, 6):
                kept = {name: raw for name, raw in (kept | learners.freeze()).items() if raw}
                learners = build_intent_learners(TABLES, DAY_US)
                learners.thaw(kept)
            versions += learners.close((week * 7 + day + 1) * DAY_US)
    return versions


def test_a_version_is_published_a_week_and_fits_the_world_better_than_the_prior() -> None:
    versions = run(build_intent_learners(TABLES, DAY_US), range(2900, 2930))
    champions = [one for one in versions if one.role == CHAMPION and one.name == churn.NAME]
    assert {one.name for one in versions} == {churn.NAME}
    assert len(champions) >= 25
    board = Board()
    board.apply_versions([champions[-1]])
    schema, prior = PRIORS[churn.NAME]
    model = board.champion(churn.NAME)
    assert model is not None

    def loss(scorer: Any) -> float:
        total = 0.0
        for one in week_of_examples(6, 2940, 1000):
            logit = scorer.logit(schema.layout.places(schema.unpack(one.features).values))
            total += math.log1p(math.exp(-logit if one.label else logit))
        return total

    print("log loss of 1,000: prior", loss(prior), "learned", loss(model))
    assert loss(model) < 0.8 * loss(prior)


@settings(max_examples=2, deadline=None)
@given(order=st.integers(0, 1000))
def test_versions_are_the_same_in_any_order_and_however_often_the_learners_are_frozen(order: int) -> None:
    weeks = range(2900, 2902)
    plainly = run(build_intent_learners(TABLES, DAY_US), weeks)
    assert plainly == run(build_intent_learners(TABLES, DAY_US), weeks, order, freeze=True)


def test_what_was_learned_scores_only_once_it_is_proven_better_than_the_prior_and_the_shadow_shows_it_before() -> None:
    learners = build_intent_learners(TABLES, DAY_US)
    schema, prior = PRIORS[churn.NAME]
    values = [0.0] * (len(schema.layout.names) - 1) + [3.0]
    packed = schema.layout.pack(values)
    places = schema.layout.places(schema.layout.unpack(packed))
    believed = prior.logit(places)
    said: list[list[float]] = []
    for number in range(30):
        for one in range(20):
            example = schema.pack_scores(packed, believed, believed)
            learners.add(Example(churn.NAME, f"c-{number}-{one}", "x", number * DAY_US, example, int(one % 2)))
        versions = learners.close((7 * number + 14) * DAY_US)
        said.append([compiled(version).logit(places) for version in versions])
    assert said[0][0] == pytest.approx(believed), "one round proves nothing"
    assert said[0][1] > believed
    assert said[-1][0] > believed + 1.0, "every other one left, and the prior was sure that nobody does"
    again = build_intent_learners(TABLES, DAY_US)
    again.thaw({item: raw for item, raw in learners.freeze().items() if raw})
    for one in (learners, again):
        one.add(Example(churn.NAME, "c-x", "x", 300 * DAY_US, schema.pack_scores(packed, believed, believed), 0))
    assert learners.close(400 * DAY_US) == again.close(400 * DAY_US), "what is proven stays so through a restart"


def test_a_learned_version_judges_with_exact_reasons_and_its_name_is_on_the_signal() -> None:
    board = Board()
    learners = build_intent_learners(AT_ONCE, DAY_US)
    schema, prior = PRIORS[home_purchase.NAME]
    for number in range(80):
        packed = schema.layout.pack([1.0 + number % 3, 0.5, 0.4, 0, 0, 0, 0, 0, 1.0])
        seen = schema.pack_scores(packed, prior.logit(schema.layout.places(schema.layout.unpack(packed))), None)
        learners.add(Example(home_purchase.NAME, f"c-{number}", "x", number, seen, number % 2))
    version = next(one for one in learners.close(14 * DAY_US) if one.role == CHAMPION)
    board.apply_versions([version])
    across = Across(KnowledgeSettings(), board)
    bench = Bench(TABLES, POLICY, INTENTS, across=across).run(buyer())
    signals = [body for body in bench.on("signals.intent") if body["type"] == "intent.home_purchase"]
    assert signals and {body["model"] for body in signals} == {version.version}
    for body in signals:
        logit = body["score_base"] + sum(reason["contribution"] for reason in body["reasons"])
        assert abs(1 / (1 + math.exp(-logit)) - body["score"]) <= 1e-9
    assert not signals[0]["calibrated"], "eighty examples don't make probabilities"


def test_versions_of_intents_are_listed_pinned_and_rolled_back_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = run(build_intent_learners(TABLES, DAY_US), range(2900, 2904))
    shelf = Shelf(tmp_path, "model-intents")
    for at, version in enumerate(versions):
        shelf.put(at, [version])
    champions = [one for one in versions if one.role == CHAMPION]
    assert models_in(tmp_path) == [churn.NAME] and model_versions(tmp_path, churn.NAME) == versions
    assert main(["model", "list", str(tmp_path), "--model", churn.NAME]) == 0
    assert main(["model", "rollback", str(tmp_path), "--model", churn.NAME]) == 0
    assert read_pins(tmp_path) == {churn.NAME: {CHAMPION: champions[-2].version}}
    assert main(["model", "pin", str(tmp_path), champions[0].version]) == 0
    assert read_pins(tmp_path) == {churn.NAME: {CHAMPION: champions[0].version}}
    other = msgspec.structs.replace(champions[0], name="product", version="product@x")
    kept = those_kept([*versions, other], 1, read_pins(tmp_path))
    assert [one.version for one in kept if one.role == CHAMPION] == [
        champions[0].version,
        champions[-1].version,
        "product@x",
    ]
    capsys.readouterr()


def test_an_outcome_covers_the_weeks_of_its_table() -> None:
    config = read_configs(TABLES)[2]["life_event"]
    span = span_of(config)
    assert span.covers(0, int(config.horizon_days * DAY_US)) and not span.covers(
        0, int(config.horizon_days * DAY_US) + 1
    )
    assert span.covers(int(config.after_days * DAY_US) - 1, 0) and not span.covers(int(config.after_days * DAY_US), 0)
    assert span.wait_us > span.before_us


def test_a_signals_model_is_part_of_what_is_written() -> None:
    assert "model" in {field.name for field in msgspec.structs.fields(Signal)}
