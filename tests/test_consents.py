"""Consent: nothing is said without it, what was said is withdrawn when it ends, and the newest decision counts, not the last to come."""

from __future__ import annotations

from typing import Any

import pytest
from probe import probe
from shard_bench import Bench, Said, loud, refrozen
from streams import DAY_US, HOUR_US, NOON_US, transaction

from operators.consent import Consents
from state.consents import Decision
from state.customer import Customer
from state.events import Consent
from state.policy import Policy
from state.settings import ConfigError
from state.times import rfc3339

POLICY = Policy(lateness_us=2 * HOUR_US)


def consent(time_us: int, status: str, purpose: str = "marketing", **changes: Any) -> Consent:
    fields: dict[str, Any] = {"arrival_us": time_us, "partition": 0, "offset": 0, "customer_id": "c-1"}
    return Consent(time_us=time_us, purpose=purpose, status=status, **(fields | changes))


def half(hours: float, name: str) -> Any:
    """A purchase that makes the probe open an episode."""
    return transaction(name, NOON_US + int(hours * HOUR_US), 1_050)


def bench(**table: Any) -> Bench:
    tables = loud()
    tables["probe"] = {**tables.get("probe", {}), "purposes": ["marketing", "profiling"], **table}
    return Bench(tables, POLICY, (probe,))


def steps(said: list[Said]) -> list[tuple[str, str]]:
    return [(body["state"], body["details"].get("kind", "half")) for body in said if body.get("type") == "alert.probe"]


def test_silence_is_consent_and_a_refusal_is_none() -> None:
    assert steps(bench().run([half(0, "t-0")]).said) == [("OPEN", "half")]
    assert steps(bench().run([consent(NOON_US - 1, "revoked"), half(0, "t-0")]).said) == []
    assert steps(bench().run([consent(NOON_US - 1, "revoked", "profiling"), half(0, "t-0")]).said) == []
    assert steps(bench().run([consent(NOON_US - 1, "revoked", "sharing"), half(0, "t-0")]).said) == [("OPEN", "half")]


def test_a_revocation_withdraws_what_is_open_and_nothing_more_is_said() -> None:
    run = bench().run([half(0, "t-0")])
    opened = run.on("signals")[0]
    revoked = consent(NOON_US + HOUR_US, "revoked")
    said = run.apply([revoked])
    assert [(body["state"], body["retracts"]) for body in said] == [("RETRACT", opened["id"])]
    assert said[0]["trigger"] == {"topic": "in.consents", "event_id": revoked.event_id}
    assert said[0]["reasons"][0]["value"] == "marketing"
    run.restart()
    assert steps(run.apply([half(2, "t-1"), half(24, "t-2"), half(240, "t-3")])) == []


def test_a_new_consent_lets_speak_again_but_not_of_the_time_before() -> None:
    run = bench().run([consent(NOON_US, "revoked"), consent(NOON_US + 4 * HOUR_US, "granted")])
    assert steps(run.apply([half(3, "t-0")])) == []
    assert steps(run.apply([half(5, "t-1")])) == [("OPEN", "half")]


def test_a_consent_ends_by_itself() -> None:
    run = bench().run([consent(NOON_US, "granted", expires_us=NOON_US + 10 * HOUR_US), half(1, "t-0")])
    assert steps(run.said) == [("OPEN", "half")]
    said = run.advance(NOON_US + 13 * HOUR_US)
    assert steps(said) == [("RETRACT", "half")]
    assert said[0]["trigger"] == {"timer": "consent.marketing", "due": rfc3339(NOON_US + 10 * HOUR_US)}
    assert steps(run.apply([half(14, "t-1")])) == []


@pytest.mark.parametrize("granted_first", [True, False])
def test_the_newest_decision_counts_in_whatever_order_decisions_come(granted_first: bool) -> None:
    decisions = [consent(NOON_US, "granted"), consent(NOON_US + 60, "revoked")]
    ordered = decisions if granted_first else decisions[::-1]
    assert steps(bench().run([*ordered, half(1, "t-0")]).said) == []


def test_of_two_decisions_at_one_time_the_refusal_counts() -> None:
    for statuses in (("granted", "revoked"), ("revoked", "granted")):
        assert steps(bench().run([*(consent(NOON_US, status) for status in statuses), half(1, "t-0")]).said) == []


def test_health_needs_an_explicit_consent_once_the_customer_is_asked_here() -> None:
    customer = Customer("c-1", DAY_US)
    assert Consents().withheld(customer, ("health",), 5) is None
    assert Consents(without_records=False).withheld(customer, ("health",), 5) == "health"
    customer.consents["marketing"] = Decision(1, True, 1, None)
    assert Consents().withheld(customer, ("health",), 5) == "health"
    assert Consents(explicit=()).withheld(customer, ("health",), 5) is None
    customer.consents["health"] = Decision(2, True, 2, None)
    assert Consents().withheld(customer, ("health",), 5) is None


def test_decisions_are_part_of_the_state() -> None:
    run = bench().run([consent(NOON_US, "granted", expires_us=NOON_US + DAY_US), consent(NOON_US, "revoked", "health")])
    once, again = refrozen(run, "c-1")
    assert once == again
    assert run.shard.customer("c-1").consents["health"] == Decision(NOON_US, False, NOON_US, None)


def test_a_wrong_table_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^\[detectors\.consents\] explicit"):
        bench_with = loud() | {"consents": {"explicit": "health"}}
        Bench(bench_with, POLICY, (probe,))
