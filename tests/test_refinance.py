"""A rate of the market reaches every holder of a loan for whom it pays off, and nobody else; once, whatever is restarted."""

from __future__ import annotations

import random
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import streams
from shard_bench import TABLES, Bench, Said
from streams import DAY_US, NOON_US, account, moved, transaction

from dataflows.batches import RecordBatch
from dataflows.quarantine import Quarantine
from dataflows.route import Accounting, Router, ShardBatch
from operators.decode import Decoder
from operators.intent import refinance
from state.amortisation import annuity, pay_off
from state.events import Consent, MarketRate
from state.policy import Policy
from state.records import Record

POLICY = Policy(lateness_us=2 * DAY_US)
OWED_MINOR = 20_000_000


def rate(day: float, value: float, **changes: Any) -> MarketRate:
    return streams.rate(NOON_US + int(day * DAY_US), value, **({"rate_id": f"r-{day}-{value}"} | changes))


def mortgage(day: int = 0, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "account_id": "l-1",
        "kind": "mortgage",
        "interest_rate": 5.0,
        "minimum_payment_minor": 150_000,
        "balance_minor": -OWED_MINOR,
    }
    return account(NOON_US + day * DAY_US, **(fields | changes))


def purchase(day: int = 0, customer_id: str = "c-1") -> Any:
    return transaction(f"t-{day}", NOON_US + day * DAY_US + 1, customer_id=customer_id)


def bench() -> Bench:
    return Bench(TABLES, POLICY, (refinance,))


def steps(of: Bench) -> list[str]:
    return [body["state"] for body in of.on("signals")]


def test_the_saving_is_exact_to_the_cent() -> None:
    made = bench()
    made.run([mortgage(), purchase(), rate(3, 3.0)])
    (body,) = made.on("signals")
    details = body["details"]
    months, owed = 0, OWED_MINOR
    while owed > 0:  # how long 1,500.00 a month take at 5 %
        owed += round(owed * Fraction(5, 1200))
        owed -= owed if owed <= 151_500 else 150_000
        months += 1
    exact = OWED_MINOR * Fraction(3, 1200) / (1 - (1 + Fraction(3, 1200)) ** -months)
    saving_minor = 150_000 - round(exact)
    cost_minor = OWED_MINOR // 100 + 50_000
    assert details["months"] == months
    assert details["payment"] == "1500.00" and details["payment_offered"] == f"{round(exact) / 100:.2f}"
    assert details["saving_per_month"] == f"{saving_minor / 100:.2f}"
    assert details["cost"] == f"{cost_minor / 100:.2f}"
    assert details["break_even_months"] == ceil(Fraction(cost_minor, saving_minor))
    now, then = pay_off(OWED_MINOR, 5.0, 150_000), annuity(OWED_MINOR, 3.0, months)
    assert now is not None
    assert details["saving_of_interest"] == f"{(now.interest_minor - then.interest_minor) / 100:.2f}"
    assert body["trigger"] == {"topic": "in.market", "event_id": "r-3-3.0"}
    assert body["score"] == 1 - details["break_even_months"] / months
    assert (body["score_link"], body["evidence"]["transaction_ids"]) == ("none", ["t-0"])


def test_what_is_paid_each_month_is_read_out_of_the_payments_into_the_loan() -> None:
    into = {"direction": "debit", "channel": "direct_debit", "counterparty": "l-1", "merchant_id": None, "mcc": None}
    paid = [transaction(f"p-{n}", NOON_US + 30 * n * DAY_US, 140_000, **into) for n in range(6)]
    made = bench()
    made.run([mortgage(minimum_payment_minor=None), *paid, mortgage(151, minimum_payment_minor=None), rate(152, 2.5)])
    (body,) = made.on("signals")
    assert float(body["details"]["payment"]) == pytest.approx(1400, rel=0.03)
    assert body["evidence"]["transaction_ids"] == ["p-5"]


@pytest.mark.parametrize("seed", range(3))
def test_exactly_those_for_whom_it_pays_off_hear_of_it(seed: int) -> None:
    print("seed", seed)
    random_ = random.Random(f"borrowers/{seed}")
    made, config = bench(), TABLES["refinance"]
    expected = set()
    for number in range(150):
        name = f"c-{number}"
        kind = random_.choice(("mortgage", "loan", "current"))
        currency = random_.choice(("EUR", "EUR", "CZK"))
        owed_minor, percent = random_.randrange(1_000_00, 300_000_00), random_.choice((2.5, 3.2, 4.0, 6.0, None))
        payment_minor = owed_minor // random_.randrange(24, 300)
        status = random_.choice(("open", "open", "closed"))
        held = {"kind": kind, "currency": currency, "interest_rate": percent, "status": status, "customer_id": name}
        made.apply([mortgage(balance_minor=-owed_minor, minimum_payment_minor=payment_minor, **held)])
        made.apply([purchase(0, name)])
        if (kind, currency, status) != ("mortgage", "EUR", "open") or percent is None:
            continue
        now = pay_off(owed_minor, percent, payment_minor)
        if now is None:
            continue
        saving_minor = payment_minor - annuity(owed_minor, 3.0, now.months).payment_minor
        cost_minor = round(owed_minor * 1.0 / 100) + 50_000
        worth = 1 - ceil(cost_minor / saving_minor) / now.months if saving_minor > 0 else 0
        if saving_minor >= config["saving_min"] * 100 and worth >= config["threshold"]:
            expected.add(name)
    made.apply([rate(3, 3.0)])
    made.finish()
    assert {body["customer_id"] for body in made.on("signals")} == expected
    assert len(expected) >= 3


def test_an_episode_follows_the_market_and_ends_when_it_turns_or_the_loan_is_paid_back() -> None:
    made = bench()
    made.run([mortgage(), purchase(), rate(3, 3.0), rate(10, 3.01), rate(17, 2.0), rate(24, 4.9), rate(31, 2.9)])
    assert steps(made) == ["OPEN", "UPDATE", "CLOSE", "OPEN"]
    made.run([mortgage(32, status="closed")])
    assert steps(made)[4:] == ["CLOSE"]
    assert made.on("signals")[-1]["reasons"][0]["code"] == "LOAN_ENDED"


def test_an_observation_before_the_newest_of_its_series_is_no_news_and_restarts_change_nothing() -> None:
    events = [
        mortgage(),
        purchase(),
        rate(10, 4.9),
        rate(3, 3.0),
        rate(11, 3.0),
        rate(11, 3.0),
        rate(12, 2.0, series="x"),
    ]
    straight, restarted = bench(), bench()
    for event in events:
        straight.apply([event])
        restarted.apply([event])
        restarted.restart()
    assert restarted.said == straight.said
    assert [body["event_time"][:10] for body in straight.on("signals")] == ["2025-03-15", "2025-03-16"]


def test_a_rate_reaches_the_holders_of_the_source_partition_that_read_it() -> None:
    made = bench()
    made.apply([mortgage(), purchase()], partition=1)
    made.apply([rate(3, 3.0)], partition=0)
    assert steps(made) == []
    made.apply([rate(3, 3.0)], partition=1)
    assert steps(made) == ["OPEN"]
    made.apply([moved(purchase(1), transaction_id="t-x")], partition=2)
    made.apply([rate(10, 1.0)], partition=2)
    assert steps(made) == ["OPEN", "UPDATE"]


def test_who_refuses_offers_hears_of_none() -> None:
    given = {"customer_id": "c-1", "arrival_us": NOON_US, "time_us": NOON_US, "partition": 0, "offset": 0}
    made = bench()
    made.run([Consent(purpose="marketing", status="revoked", **given), mortgage(), purchase(), rate(3, 3.0)])
    assert steps(made) == []


def test_rates_go_to_every_shard_from_every_partition_and_are_counted_once(tmp_path: Path) -> None:
    accounting = Accounting()
    router = Router(Decoder(), ["0000", "0001", "0002"], 1, accounting, Quarantine(tmp_path))
    body = b'{"rate_id":"r","observed_at":"2025-03-04T12:00:00Z","series":"s","value":3.0}'
    records = [Record("in.market", 0, 0, NOON_US, None, body), Record("in.market", 0, 1, NOON_US, None, b"{")]
    heard: list[tuple[int, int]] = []
    letters = 0
    for source in ("0", "1"):
        for _, item in router([RecordBatch(source, records, NOON_US, True, False)]):
            if isinstance(item, ShardBatch):
                heard.append((item.partition, item.shard))
                assert (len(item.events), item.broadcast, item.routed) == (1, 1, 0)
            else:
                letters += len(item.outputs)
    assert sorted(heard) == [(partition, shard) for partition in range(2) for shard in range(3)]
    assert (accounting.read, accounting.broadcast, letters) == ({"in.market": 2}, 1, 1)
    assert accounting.difference == 0


def test_signals_say_nothing_that_is_not_in_their_schema() -> None:
    made = bench()
    made.run([mortgage(), purchase(), rate(3, 3.0)])
    body: Said = made.on("signals")[0]
    assert {reason["contribution"] for reason in body["reasons"]} == {None}
    assert all(reason["baseline"] is not None for reason in body["reasons"])
