"""Episodes: what is open stays known for as long as it is, and nothing is said twice under one id."""

from __future__ import annotations

from probe import SIGNAL, probe
from shard_bench import TABLES, Bench, Said
from streams import DAY_US, NOON_US, account, moved, transaction

from operators.detector import open_episode
from state.policy import Policy

POLICY = Policy(lateness_us=2 * DAY_US)


def bench() -> Bench:
    return Bench(TABLES, POLICY, (probe,))


def of_kind(said: Bench, kind: str) -> list[Said]:
    return [body for body in said.on("signals") if body["episode"].startswith(f"{kind}:")]


def test_an_episode_that_is_open_outlives_the_time_in_which_a_reversal_finds_its_original() -> None:
    at_us = NOON_US + POLICY.retention_us + 5 * DAY_US
    made = bench().run([transaction("t-1", NOON_US, 150), transaction("t-2", at_us, 100), account(at_us + 1)])
    assert [body["state"] for body in of_kind(made, "account")] == ["OPEN"], "something else is remembered"
    assert open_episode(made.shard.customer("c-1"), SIGNAL, "half") is not None
    made.run([transaction(f"t-{day}", at_us + day * DAY_US, 100) for day in range(3, 9)])
    assert [body["state"] for body in of_kind(made, "half")] == ["OPEN", "UPDATE", "CLOSE"]
    assert [body["revision"] for body in of_kind(made, "half")] == [1, 2, 3]


def test_an_episode_that_is_over_is_not_opened_again_by_the_same_cause() -> None:
    pending = transaction("t-1", NOON_US, 150, status="pending")
    others = [transaction(f"t-{day}", NOON_US + day * DAY_US, 100) for day in range(2, 10)]
    made = bench().run([pending, *others])
    before = [body["state"] for body in of_kind(made, "half")]
    assert before == ["OPEN", "UPDATE", "UPDATE", "CLOSE"]
    made.apply([moved(pending, status="posted", arrival_us=others[-1].arrival_us + 1)])
    assert [body["state"] for body in of_kind(made, "half")] == before
    assert len({body["id"] for body in made.on("signals")}) == len(made.on("signals"))
