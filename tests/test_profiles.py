"""The topic `profiles`: what a record says, when one is written, and of whom there may be none."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_bench import TABLES, Bench, refrozen
from streams import DAY_US, HOUR_US, NOON_US, account, full_life, label, transaction
from test_consents import consent

from dataflows.files.sink import as_line
from operators.encode import encode
from operators.profiles import Publishing, profile_of, publishing_of
from state.categories import GROUPS
from state.money import EXPONENT
from state.policy import Policy
from state.profile import ProfileWithdrawn
from state.settings import ConfigError, ProfilesSettings, Settings
from state.step import Emission
from state.times import rfc3339
from state.windows import COUNTED, LENGTHS_US, WINDOWS, unpack_key

POLICY = Policy(lateness_us=2 * HOUR_US)
DAY_S = 86_400.0


def publishing(**changes: Any) -> Publishing:
    settings = Settings(profiles=ProfilesSettings(**{"min_interval_s": DAY_S, "max_delay_s": 3 * DAY_S} | changes))
    shard = {"allowed_lateness_s": POLICY.lateness_us / 1e6}
    found = publishing_of(_with(settings, detectors=TABLES, shard=_with(settings.shard, **shard)))
    assert found is not None
    return found


def _with(struct: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(struct, **changes)


def bench(**changes: Any) -> Bench:
    return Bench(TABLES, POLICY, publishing=publishing(**changes))


def at(hours: float, name: str, **changes: Any) -> Any:
    return transaction(name, NOON_US + int(hours * HOUR_US), 1_050, **changes)


def records(run: Bench) -> list[dict[str, Any]]:
    return run.on("profiles")


def test_the_first_event_writes_one_and_the_next_comes_an_interval_later() -> None:
    run = bench().run([at(0, "t-0"), at(1, "t-1"), at(23.9, "t-2"), at(24, "t-3"), at(25, "t-4")])
    assert [(r["revision"], r["event_time"]) for r in records(run)] == [
        (1, rfc3339(NOON_US)),
        (2, rfc3339(NOON_US + DAY_US)),
    ]


def test_what_changed_is_told_when_the_delay_is_over_though_nothing_comes() -> None:
    run = bench().run([at(0, "t-0"), at(1, "t-1")])
    run.restart()
    run.advance(NOON_US + 3 * DAY_US)
    assert len(records(run)) == 1
    run.advance(NOON_US + 3 * DAY_US + 1)
    assert [r["event_time"] for r in records(run)][1:] == [rfc3339(NOON_US + HOUR_US)]
    run.advance(NOON_US + 30 * DAY_US)
    assert len(records(run)) == 2, "nothing has changed since"


def test_at_the_end_of_bounded_input_all_that_changed_is_told_once() -> None:
    run = bench().run([at(0, "t-0"), at(1, "t-1"), at(2, "u-0", customer_id="c-2")])
    run.finish()
    run.finish()
    assert [(r["customer_id"], r["revision"]) for r in records(run)] == [("c-1", 1), ("c-2", 1), ("c-1", 2)]


def test_a_duplicate_changes_nothing() -> None:
    run = bench(min_interval_s=0.0).run([at(0, "t-0"), at(0, "t-0")])
    run.finish()
    assert len(records(run)) == 1


def test_who_refuses_profiling_has_no_profile() -> None:
    run = bench(min_interval_s=0.0).run(
        [consent(NOON_US - HOUR_US, "revoked", "profiling"), at(0, "t-0"), at(48, "t-1")]
    )
    run.finish()
    assert records(run) == []


def test_a_refusal_withdraws_the_record_and_a_new_consent_brings_one_back_at_once() -> None:
    run = bench().run([at(0, "t-0"), at(1, "t-1")])
    run.apply([consent(NOON_US + 2 * HOUR_US, "revoked", "profiling")])
    assert records(run)[1:] == [{"customer_id": "c-1", "deleted": True}]
    run.apply([at(3, "t-2"), at(30, "t-3")])
    run.advance(NOON_US + 30 * DAY_US)
    assert len(records(run)) == 2
    run.apply([consent(NOON_US + 31 * DAY_US, "granted", "profiling")])
    assert [r["revision"] for r in records(run)[2:]] == [3]


def test_a_consent_that_ends_by_itself_withdraws_the_record() -> None:
    ends_us = NOON_US + 5 * DAY_US
    run = bench().run([consent(NOON_US, "granted", "profiling", expires_us=ends_us), at(1, "t-0")])
    run.restart()
    run.advance(ends_us + POLICY.lateness_us + 1)
    assert records(run)[-1] == {"customer_id": "c-1", "deleted": True}, "though no event is as new"
    run.restart()
    told = len(records(run))
    run.apply([transaction("t-1", ends_us - HOUR_US, arrival_us=ends_us + DAY_US), at(6 * 24, "t-2")])
    assert len(records(run)) == told, "nor does one of before bring it back"


def test_consent_to_health_acts_at_once_whatever_the_interval() -> None:
    def shows(record: dict[str, Any]) -> bool:
        return any(row["category"] == "medical" for row in record["activity"])

    ends_us = NOON_US + 9 * HOUR_US
    run = bench().run([at(0, "t-0", mcc="8011"), consent(NOON_US + HOUR_US, "granted", "health"), at(2, "t-1")])
    assert [shows(record) for record in records(run)] == [True]
    run.apply([consent(NOON_US + 3 * HOUR_US, "revoked", "health")])
    run.apply([consent(NOON_US + 4 * HOUR_US, "granted", "health", expires_us=ends_us)])
    run.restart()
    run.advance(ends_us + POLICY.lateness_us + 1)
    assert [shows(record) for record in records(run)] == [True, False, True, False]
    assert [record["revision"] for record in records(run)] == [1, 2, 3, 4]


@pytest.mark.parametrize("status", ["revoked", "granted"])
def test_without_consent_to_health_medical_spending_is_among_the_other(status: str) -> None:
    run = bench(min_interval_s=0.0).run(
        [consent(NOON_US - HOUR_US, status, "health"), at(0, "t-0", mcc="8011"), at(1, "t-1", mcc="5999")]
    )
    debits = {row["category"]: row["windows"]["24h"] for row in records(run)[-1]["activity"]}
    assert debits["all"] == {"count": 2, "amount": "21.00"}
    if status == "revoked":
        assert "medical" not in debits
    else:
        assert debits["medical"] == {"count": 1, "amount": "10.50"}


def test_what_is_hidden_cannot_be_found_by_subtracting() -> None:
    run = bench(min_interval_s=0.0).run(
        [
            consent(NOON_US - HOUR_US, "revoked", "health"),
            *(at(n, f"t-{n}", mcc=m) for n, m in enumerate(("8011", "5411"))),
        ]
    )
    rows = {row["category"]: row["windows"]["24h"]["count"] for row in records(run)[-1]["activity"]}
    assert rows == {"groceries": 1, "other": 1, "all": 2}


def test_a_record_names_accounts_streams_and_what_is_usual() -> None:
    rent = {
        "channel": "standing_order",
        "counterparty": "Landlord",
        "mcc": None,
        "merchant_id": None,
        "account_id": "a-1",
    }
    events = [account(NOON_US - DAY_US, 500_000, overdraft_limit_minor=10_000)]
    events += [transaction(f"r-{n}", NOON_US + 28 * n * DAY_US, 90_000, **rent) for n in range(5)]
    run = bench(min_interval_s=0.0).run(events)
    newest = records(run)[-1]
    assert [(a["account_id"], a["balance"], a["overdraft_limit"]) for a in newest["accounts"]] == [
        ("a-1", "500.00", "100.00")
    ]
    (stream,) = newest["recurring"]
    assert (stream["stream"], stream["amount"], stream["status"], stream["direction"]) == (
        "Landlord",
        "900.00",
        "MATURE",
        "debit",
    )
    assert stream["next_on"] > stream["last_on"] == newest["event_time"][:10]
    assert newest["transactions_learned"] == 4
    usual = {row["category"]: row for row in newest["activity"]}["all"]
    assert usual["learned"] == 4
    assert usual["usual"] == pytest.approx(900.0)


@pytest.mark.parametrize("seed", range(12))
def test_windows_equal_those_counted_by_hand(seed: int) -> None:
    run = bench(min_interval_s=0.0).run(full_life(seed, 60, 3 * DAY_US, "c-1"))
    run.finish()
    newest, ring = records(run)[-1], run.shard.customer("c-1").ring
    counted: dict[tuple[str, str, str, str], list[int]] = {}
    for time_us, minor, key, flags in zip(ring.times, ring.amounts, ring.keys, ring.flags, strict=True):
        currency, credit, group = unpack_key(key)
        for (name, _), length_us in zip(WINDOWS, LENGTHS_US, strict=True):
            if flags & COUNTED and time_us > ring.anchor_us - length_us:
                for category in (GROUPS[group], "all"):
                    row = counted.setdefault((currency, ("debit", "credit")[credit], category, name), [0, 0])
                    row[0] += 1
                    row[1] += minor
    told = {
        (row["currency"], row["direction"], row["category"], name): [
            window["count"],
            round(float(window["amount"]) * 10 ** EXPONENT[row["currency"]]),
        ]
        for row in newest["activity"]
        for name, window in row["windows"].items()
    }
    assert told == counted


@given(seed=st.integers(0, 10_000), cuts=st.integers(0, 5))
def test_batches_and_restarts_change_nothing(seed: int, cuts: int) -> None:
    """Law 5, law 7: any split of the events, and a checkpoint and a restart between any two batches."""
    events = sorted(full_life(seed, 40, 6 * DAY_US, "c-1"), key=lambda event: event.arrival_us)
    whole = bench().run(events)
    whole.finish()
    assert records(whole), "otherwise nothing is shown"
    parts, random_ = bench(), random.Random(seed)
    at_ = 0
    while at_ < len(events):
        size = random_.randrange(1, 15)
        parts.apply(events[at_ : at_ + size])
        at_ += size
        if random_.randrange(6) < cuts:
            parts.restart()
    parts.finish()
    assert records(parts) == records(whole)
    once, again = refrozen(parts, "c-1")
    assert once == again


def test_what_others_hold_does_not_change_with_the_customer() -> None:
    run = bench(min_interval_s=0.0).run([at(0, "t-0"), label(NOON_US, "t-0")])
    customer = run.shard.customer("c-1")
    profile = profile_of(customer)
    before = orjson.loads(orjson.dumps(msgspec.to_builtins(profile)))
    run.run(at(24 * n, f"t-{n}", country="FR", device_id=f"d-{n}") for n in range(1, 9))
    assert (
        orjson.loads(orjson.dumps(msgspec.to_builtins(profile))) == before != msgspec.to_builtins(profile_of(customer))
    )


def test_an_error_in_it_is_reported_and_the_event_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.profiles.profile_of", lambda *_: 1 / 0)
    run = bench().run([at(0, "t-0")])
    (error,) = run.on("detector_errors")
    assert (error["detector"], error["error"], error["event_id"]) == ("profiles", "ZeroDivisionError", "t-0")
    assert run.shard.counters.applied == 1
    assert run.step.detector_errors == {"profiles": 1}


def test_a_tombstone_has_the_key_alone() -> None:
    output = encode(Emission(ProfileWithdrawn("c-1", 3), None))
    assert (output.topic, output.key, output.value) == ("profiles", b"c-1", None)
    assert orjson.loads(as_line(output)) == {"customer_id": "c-1", "deleted": True}


def test_switched_off_there_are_none_and_an_unknown_category_is_refused() -> None:
    assert publishing_of(Settings(profiles=ProfilesSettings(enabled=False))) is None
    with pytest.raises(ConfigError, match=r"\[profiles\] sensitive_categories: there is no category 'medicine'"):
        publishing(sensitive_categories=("medicine",))
