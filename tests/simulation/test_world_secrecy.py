"""Nothing but behaviour tells a plant from ordinary life."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from worlds import SEED, SMALL_CLEAN, records, world

from simulation.randomness import Draws
from simulation.settings import WorldSettings

LONG = replace(SMALL_CLEAN, customers=120, days=240)
PLANTED = ("takeover", "compromised_merchant", "impossible_travel", "duplicate_charge", "medical_surge")


def metadata(record: dict[str, Any], rank: float) -> list[float]:
    """What a record says besides its behaviour: digits of its id, seconds, cents, order and number of fields."""
    digits = [int(character, 16) / 15 for character in record["transaction_id"][2:18]]
    names = list(record)
    seconds = int(record["booked_at"][17:19]) / 59
    cents = int(record["amount"][-2:]) / 99
    order = [
        names.index(name) / 20
        for name in ("transaction_id", "amount", "channel", "merchant_id", "card_id", "balance_after")
    ]
    return [*digits, *order, len(names) / 20, seconds, cents, float(cents == 0), rank]


def samples(settings: WorldSettings, channel: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]:
    """Metadata of a channel's purchases, whether they are planted, and whose they are. `rank` is the place of the id in
    the order of ids."""
    planted = {
        t for case in world(settings)[1] if case["kind"] in PLANTED for t in case["detail"].get("transaction_ids", ())
    }
    rows = [r for r in records(settings, "in.transactions") if r["channel"] == channel and "card_id" in r]
    order = {t: i / len(rows) for i, t in enumerate(sorted(r["transaction_id"] for r in rows))}
    features = np.array([metadata(r, order[r["transaction_id"]]) for r in rows])
    return features, np.array([r["transaction_id"] in planted for r in rows]), [r["customer_id"] for r in rows]


def auc(scores: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives - 1) / 2) / (positives * (len(truth) - positives)))


def learned_auc(features: np.ndarray[Any, Any], truth: np.ndarray[Any, Any], customers: list[str]) -> float:
    """Ridge discriminant on one half of the customers, AUC on the other."""
    half = np.array([int(customer[-1], 16) % 2 == 0 for customer in customers])
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    x, y = scaled[half], truth[half]
    weights = np.linalg.solve(x.T @ x / len(x) + 0.05 * np.eye(x.shape[1]), x[y].mean(axis=0) - x[~y].mean(axis=0))
    return auc(scaled[~half] @ weights, truth[~half])


def test_a_classifier_on_metadata_alone_stays_near_chance() -> None:
    for channel in ("ecommerce", "card_present"):
        features, truth, customers = samples(LONG, channel)
        assert truth.sum() >= 40
        found = learned_auc(features, truth, customers)
        print(f"{channel}: {truth.sum()} planted of {len(truth)}, AUC {found:.3f}")
        assert 0.4 < found < 0.6


def test_ids_of_customers_do_not_tell_whom_a_story_strikes() -> None:
    struck = {case["customer_id"] for case in world(LONG)[1] if case["kind"] in PLANTED}
    ids = sorted({message.key.decode() for message in world(LONG)[0] if message.topic == "in.consents"})
    digits = np.array([[int(character, 16) for character in customer[2:10]] for customer in ids], dtype=float)
    truth = np.array([customer in struck for customer in ids])
    assert 20 < truth.sum() < 100
    found = learned_auc(digits, truth, [customer[::-1] + customer[9] for customer in ids])
    print(f"{truth.sum()} of {len(truth)} customers struck, AUC {found:.3f}")
    assert 0.3 < found < 0.7


def test_that_classifier_finds_a_leak_where_there_is_one() -> None:
    features, truth, customers = samples(LONG, "ecommerce")
    noise = Draws(SEED, "leak").uniforms(len(truth))
    leaky = np.where(truth & (noise < 0.9), 1.0, features[:, -2])
    assert learned_auc(np.column_stack([features[:, :-2], leaky]), truth, customers) > 0.65


def test_all_records_of_a_topic_have_their_fields_in_one_order() -> None:
    after: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for message in world(LONG)[0]:
        names = list(orjson.loads(message.value))
        for index, name in enumerate(names):
            after[message.topic][name].update(names[index + 1 :])
    for topic, followers in after.items():
        assert not [(a, b) for a in followers for b in followers[a] if a in followers.get(b, ())], topic


def test_events_speak_of_nothing_that_only_the_truth_knows() -> None:
    words = (b"decoy", b"plant", b"truth", b"takeover", b"surge", b"compromis", b"imposs", b"fraudul", b"variant")
    for message in world(LONG)[0]:
        assert not [word for word in words if word in message.value.lower()], message.value


def test_ids_do_not_follow_the_order_of_customers_or_of_time() -> None:
    in_time = sorted(records(SMALL_CLEAN, "in.transactions"), key=lambda record: record["booked_at"])
    numbers = np.array([int(record["transaction_id"][2:10], 16) for record in in_time], dtype=float)
    assert abs(float(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1])) < 0.03
    customers = [int(c["customer_id"][2:10], 16) for c in world(LONG)[1]]
    assert customers != sorted(customers)
