"""The fused score with a board: exact reasons, what was scored is what is kept, parts can be switched off, pins hold."""

from __future__ import annotations

import random

import orjson
import pytest
from shard_bench import CONFIG, TABLES
from streams import NOON_US, transaction

from operators.across import Across
from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep
from operators.encode import encode, is_written
from operators.knowledge.board import Board
from operators.knowledge.calibration import Line
from operators.knowledge.facts import Example
from operators.knowledge.features import LAYOUT, PARTS, SCHEMA, STRANGE, STRANGENESS, VERSION
from operators.knowledge.forest import Config as ForestConfig
from operators.knowledge.forest import Forest, grow
from operators.knowledge.linear import Linear
from operators.knowledge.memory import Memory
from operators.knowledge.merchant_row import MERCHANT, MerchantRow
from operators.knowledge.versions import CHAMPION, LINEAR, SHADOW, ModelVersion, PayloadError, encode_payload
from state.estimators import sigmoid
from state.events import Transaction
from state.memory_store import MemoryStore
from state.policy import Policy
from state.settings import ConfigError, KnowledgeSettings
from state.shard import Shard
from state.windows import DAY_US, HOUR_US

ROW = MerchantRow(
    "shop", NOON_US, MERCHANT, 9, 40, 90, 5, 30, 80, 4, 9, 9, 0.7, 0.3, 0.1, 0.004, 6, NOON_US - 9 * DAY_US, NOON_US
)


def forest(seed: int) -> Forest:
    """Of payments of a world of its own: what is usual there hardly matters, only that something is strange."""
    rng = random.Random(seed)
    rows = [[rng.expovariate(1.0) for _ in LAYOUT.features] for _ in range(200)]
    grown = grow(rows, STRANGE, ForestConfig(trees=5, height=3, window=200))
    assert grown is not None
    return grown


def version(seed: int, name: str = "transaction@a", role: str = CHAMPION, features: int = VERSION) -> ModelVersion:
    """A model that nobody learned: any weights must be explained exactly."""
    rng = random.Random(seed)
    model = Linear(LAYOUT, -3.0, [rng.gauss(0.0, 0.7) for _ in range(LAYOUT.width)])
    payload = encode_payload(features, model, Line(1.3, -0.2), forest(seed))
    return ModelVersion("transaction", name, NOON_US, role, LINEAR, payload, {}, -1.0, True)


def events(seed: int) -> list[Transaction]:
    rng = random.Random(seed)
    result, at_us = [], NOON_US
    for number in range(150):
        at_us += rng.randrange(1, 9 * HOUR_US)
        result.append(
            transaction(
                f"t-{number}",
                at_us,
                rng.choice((1_000, 2_500, 90_000)),
                direction=rng.choice(("debit", "debit", "debit", "credit")),
                merchant_id=rng.choice(("shop", "mill", None)),
                channel=rng.choice(("card_present", "ecommerce")),
                mcc=rng.choice(("5411", None)),
            )
        )
    return result


def run(board: Board, stream: list[Transaction], tables: object = TABLES) -> tuple[list[dict], list[fused.Verdict]]:
    step = CustomerStep(tables, CONFIG, CATALOGUE, Across(KnowledgeSettings(), board))  # type: ignore[arg-type]
    verdicts: list[fused.Verdict] = []
    judge = step._fusion.judge

    def spy(*arguments: object) -> fused.Verdict:
        verdicts.append(judge(*arguments))  # type: ignore[arg-type]
        return verdicts[-1]

    step._fusion.judge = spy  # type: ignore[method-assign]
    shard = Shard(0, step, Policy(), MemoryStore())
    emissions = [emission for event in stream for emission in shard.apply([event], 0) if is_written(emission)]
    emissions = [emission for emission in emissions if not isinstance(emission.body, Example)]
    said = [orjson.loads(encode(emission).value) for emission in emissions]
    assert not step.detector_errors
    return said, verdicts


@pytest.mark.parametrize(
    ("currency", "amount_minor", "told"),
    [("EUR", 262_27, "262.27 EUR"), ("JPY", 5_001, "5001 JPY"), ("KWD", 99_995, "99.995 KWD")],
)
def test_amounts_are_told_as_they_were_booked(currency: str, amount_minor: int, told: str) -> None:
    board = Board()
    everything = encode_payload(VERSION, Linear(LAYOUT, 0.0, [0.5] * LAYOUT.width), Line(1.0, 0.0), forest(1))
    board.apply_versions(
        [ModelVersion("transaction", "transaction@a", NOON_US, CHAMPION, LINEAR, everything, {}, 0.0, True)]
    )
    days = [NOON_US + day * DAY_US for day in range(40)]
    stream = [transaction(f"t-{at_us}", at_us, amount_minor // 40, currency=currency) for at_us in days]
    stream.append(transaction("large", NOON_US + 60 * DAY_US, amount_minor, currency=currency))
    reasons = [
        (reason["feature"], reason["text"])
        for body in run(board, stream)[0]
        if body.get("type") == fused.SIGNAL and body["trigger"].get("event_id") == "large"
        for reason in body["reasons"]
    ]
    amounts = [text for feature, text in reasons if "amount of" in text]
    assert len(amounts) > 1 and all(text.startswith(f"an amount of {told}, among") for text in amounts)
    assert [text for feature, text in reasons if feature == "amount_z" and text.startswith(f"{told} is ")]
    none = {text for feature, text in reasons if feature in ("max_48h", "max_7d", "mean_7d")}
    assert none == {"no payment in the 48 hours before", "no payment in the 7 days before"}


@pytest.mark.parametrize("seed", range(4))
def test_reasons_add_up_through_calibration_crosses_and_merchants(seed: int) -> None:
    board = Board()
    board.apply_rows([ROW])
    board.apply_versions([version(seed), version(seed + 50, "transaction-shadow@a", SHADOW)])
    said, verdicts = run(board, events(seed))
    opened = [body for body in said if body.get("type") == fused.SIGNAL and body["state"] == "OPEN"]
    assert opened, "these weights speak"
    strange = [reason for body in opened for reason in body["reasons"] if reason["feature"] == STRANGENESS]
    assert {reason["value"] > 0.0 for reason in strange} == {"is as strange" in reason["text"] for reason in strange}
    assert any(reason["value"] > 0.0 for reason in strange)
    scores = {body["transaction_id"]: body for body in said if "transaction_id" in body}
    for body in opened:
        total = body["score_base"] + sum(reason["contribution"] for reason in body["reasons"])
        assert abs(sigmoid(total) - body["score"]) <= 1e-9
        score = scores[body["trigger"]["event_id"]]
        assert abs(score["score"] - body["score"]) <= 1e-12
        assert body["model"] == score["model"] == "transaction@a" and body["calibrated"]
        assert all(reason["text"] and reason["code"] for reason in body["reasons"])
    shops = {event.transaction_id: event.merchant_id for event in events(seed)}
    for body in opened:
        rate = body["inputs"].get("merchant_fraud_rate_30d")
        assert rate == (0.1 if shops[body["trigger"]["event_id"]] == "shop" else None)
    champion = board.champion("transaction")
    assert champion is not None
    for verdict in verdicts:
        assert (verdict.packed == b"") == (verdict.model == fused.PRIOR)
        if verdict.packed:
            seen = SCHEMA.unpack(verdict.packed)
            assert champion.logit(LAYOUT.places(seen.values)) == verdict.logit, "what is kept is what was scored"
            assert seen.champion == pytest.approx(verdict.logit, rel=2e-3, abs=1e-3) and seen.shadow is not None


def test_the_shadow_never_changes_what_is_said() -> None:
    said = []
    for shadow in (None, version(9, "transaction-shadow@a", SHADOW)):
        board = Board()
        board.apply_versions([version(1), *([shadow] if shadow else [])])
        said.append(run(board, events(1))[0])
    assert said[0] == said[1]


def test_a_merchant_with_frauds_raises_the_score_before_any_label_is_learned() -> None:
    known = Board()
    known.apply_rows([ROW])
    (_, without), (_, given) = run(Board(), events(2)), run(known, events(2))
    pairs = [
        (a.logit, b.logit)
        for a, b, event in zip(without, given, events(2), strict=True)
        if b.packed and event.merchant_id == "shop"
    ]
    assert pairs and all(b > a + 3.0 for a, b in pairs)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_that_is_switched_off_is_zero(part: str) -> None:
    board = Board()
    board.apply_rows([ROW])
    board.apply_versions([version(3)])
    places = [at for at, feature in enumerate(LAYOUT.features) if feature.name in PARTS[part]]
    seen = []
    for on in (True, False):
        tables = {**TABLES, "transaction": {**TABLES["transaction"], "parts": {part: on}}}
        _, verdicts = run(board, events(3), tables)
        kept = [SCHEMA.unpack(verdict.packed).values for verdict in verdicts if verdict.packed]
        assert any(any(values) for values in kept)
        seen.append(any(values[at] for values in kept for at in places))
    assert seen == [True, False]


def test_unknown_weights_and_parts_are_told() -> None:
    for wrong in ({"weights": {"amuont": 1.0}}, {"parts": {"own ": True}}):
        with pytest.raises(ConfigError, match=r"^\[detectors\.transaction\.(weights|parts)\] (amuont|own )"):
            fused.prior_model(fused.Config(**wrong))  # type: ignore[arg-type]


def test_a_pin_holds_until_it_is_taken_out_and_a_bad_version_is_refused() -> None:
    board = Board()
    old, new, newest = (version(seed, f"transaction@{seed}") for seed in (1, 2, 3))
    board.apply_versions([old, new])
    board.pin(old)
    board.apply_versions([newest])
    pinned = board.champion("transaction")
    board.unpin("transaction")
    free = board.champion("transaction")
    assert pinned is not None and free is not None
    assert (pinned.version, free.version) == ("transaction@1", "transaction@3")
    with pytest.raises(PayloadError, match="features"):
        board.apply_versions([version(4, features=VERSION + 1)])


def test_an_empty_row_takes_a_merchant_off_the_board() -> None:
    board = Board()
    board.apply_rows([ROW])
    assert board.merchant("shop") == ROW and board.merchant(None) is None
    board.apply_rows([MerchantRow("shop", NOON_US, MERCHANT, *[0] * 9, 0.1, 0.1, 0.1, 0.1, 0, 0, 0, True)])
    assert board.merchant("shop") is None


def test_reversed_transactions_leave_no_heat_and_the_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(100):
        memory.scored(NOON_US + number, number + 1, 0.5)
    assert len(memory.hot) == 32
    before = memory.heat(NOON_US + HOUR_US)
    memory.reverse(100)
    after = memory.heat(NOON_US + HOUR_US)
    assert before[0] - after[0] == pytest.approx(0.5, rel=0.1) and before[1] > before[0] > after[0]
    assert memory.heat(NOON_US - 1) == (0.0, 0.0), "nothing of the future"


def test_a_customers_day_is_counted_once_at_its_highest_score() -> None:
    memory, bins = Memory(), dict[int, int]()
    for at_us, logit in ((NOON_US, -3.0), (NOON_US + 1, -5.0), (NOON_US + 2, 1.0), (NOON_US + DAY_US, -4.0)):
        for number, rises in memory.rise(at_us, logit).items():
            bins[number] = bins.get(number, 0) + rises
    assert {number: count for number, count in bins.items() if count} == {10: 1, -40: 1}
