"""Will the account fall below zero within two weeks?

looks at   the balance, the recurring payments expected, everyday spending, what lies on other accounts
needs      balances (balance_after or in.accounts), and two months of history
says       alert.overdraft_ahead with the date, the probability, the shortfall, the parts that lead there and the amount that
           prevents it; over when it came, when the danger has passed, withdrawn when money came in that was not expected
state      per account the everyday habit and how wide the forecast's bands must be
blind to   payments that never came before; what is spent in cash elsewhere
source     Gibbs and Candès, Adaptive conformal inference under distribution shift, 2021 (bands)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from operators.cashflow import Z10, Outlook, outlook, span_us
from operators.detector import Answer, DetectorConfig, Say, Wake
from operators.overdraft import Danger, Weights, danger, enough_minor, log_odds_with
from state.business_days import DAY_US, date_of, day_of
from state.cash_habit import CashHabit, Told
from state.customer import OWN_TIMERS_MAX, Customer, Recent, Said, Timer, payment_of
from state.estimators import sigmoid
from state.events import Event, Transaction
from state.money import EXPONENT, format_minor
from state.payee import counterparty_digest
from state.recurring import Flow, Stream, flows, match, with_payment
from state.signals import Reason
from state.windows import overall_key, pack_key, unpack_key

NAME = "overdraft_ahead"
VERSION = 1
SIGNAL = "alert.overdraft_ahead"
TOPICS = frozenset((Transaction.TOPIC,))
ACCOUNTS_MAX = 4
REASONS_MAX = 4
"""Recurring payments that get a reason of their own; the others share one."""
FORECAST_DAYS = (7, 14, 30)
RESERVES = frozenset(("savings",))


class Config(DetectorConfig, frozen=True, kw_only=True):
    weights: Weights
    ease: float = 0.5
    """The danger has passed when the probability falls below this share of the threshold: hysteresis, so that nothing flaps."""
    update_step: float = 0.2
    horizon_days: int = 14
    matured_min: int = 60
    """Transactions learned before anything is said."""
    memory_days: float = 60.0
    weekday_memory: float = 25.0
    busy_share: float = 0.05
    """Share of the last 30 days' outflow from which one movement is worth a look of its own; others share one look a day."""
    band_days: int = 10
    band_miss: float = 0.2
    band_step: float = 0.1


class State(msgspec.Struct, array_like=True, gc=False):
    accounts: dict[str, CashHabit] = {}


def on_event(config: Config, state: State, event: Event, customer: Customer) -> Answer:
    """Opens an episode when an account's first movement of the day, or a large one, shows danger."""
    assert isinstance(event, Transaction)
    account = event.account_id or ""
    habit = state.accounts.get(account)
    if event.status != "posted" or habit is None or customer.matured < config.matured_min:
        return ()
    balance_minor = customer.balance_minor(account)
    if balance_minor is None or balance_minor < 0 or not _worth_a_look(config, event, customer, balance_minor):
        return ()
    if _watched(customer, account) or sum(timer.name == NAME for timer in customer.timers) >= OWN_TIMERS_MAX:
        return ()
    ahead = look_ahead(habit, customer.current_streams(), customer, account, event.currency, balance_minor, event.time_us)
    kind = f"{account}@{date_of(ahead.day).isoformat()}"
    opened = _open(config, ahead, customer, account, kind, event)
    return (opened, Wake((ahead.day + config.horizon_days + 1) * DAY_US, kind)) if opened is not None else ()


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> Answer:
    """Learns the everyday part of the account's movements, and follows its open episodes."""
    if not _liquid(customer, recent.account):
        return ()
    habit = state.accounts.get(recent.account)
    if habit is None:
        if len(state.accounts) >= ACCOUNTS_MAX:
            return ()
        habit = state.accounts[recent.account] = CashHabit()
    day = day_of(recent.time_us)
    _judge_bands(config, habit, day)
    everyday = recent.signed_minor if is_everyday(customer, recent) else 0
    habit.add(day, everyday, config.memory_days, config.weekday_memory)
    if recent.balance_minor is not None:
        habit.balance_minor = recent.balance_minor
        if habit.told is None and habit.days >= config.band_days:
            _tell_bands(config, habit, recent, customer)
    return list(_follow(config, habit, recent, customer))


def on_timer(config: Config, state: State, timer: Timer, customer: Customer) -> Answer:
    """The two weeks are over."""
    text = "the two weeks are over, and the account did not fall below zero"
    for said in customer.said:
        if said.type == SIGNAL and said.kind == timer.episode and said.state == "OPEN":
            yield _end("CLOSE", said, Reason("PASSED", "balance", None, None, None, text), 0.0, (said.transaction_id,))


def look_ahead(
    habit: CashHabit,
    streams: list[Stream],
    customer: Customer,
    account: str,
    currency: str,
    balance_minor: int,
    time_us: int,
) -> Outlook:
    """The forecast of one account, as of `time_us`."""
    expected = [f for f in flows(streams, *span_us(time_us)) if f.account == account and f.currency == currency]
    return outlook(balance_minor, expected, habit, time_us, currency)


def turnover_minor(ahead: Outlook) -> float:
    """What is expected to leave the account in the days ahead: the measure of what is much. At least a hundred major units."""
    leaving = sum(flow.probability * flow.amount_minor for flow in ahead.flows if flow.amount_minor < 0)
    return max(-leaving - min(0.0, ahead.everyday[-1]), 100.0 * 10.0 ** EXPONENT[ahead.currency])


def reserve_minor(customer: Customer, currency: str) -> int:
    """What lies on savings accounts: in need, people fetch it from there."""
    total_minor = 0
    for account_id, account in customer.accounts.items():
        if account.kind in RESERVES and account.currency == currency and account.status == "open":
            total_minor += customer.balance_minor(account_id) or 0
    return total_minor


def is_everyday(customer: Customer, recent: Recent) -> bool:
    """Whether a movement belongs to no recurring stream and isn't between the customer's own accounts."""
    if recent.payee is None:
        return True
    if any(recent.payee.digest == counterparty_digest(account_id) for account_id in customer.accounts):
        return False
    index = match(customer.streams, payment_of(recent))
    return index < 0 or customer.streams[index].rhythm is None


def _liquid(customer: Customer, account: str) -> bool:
    """Whether overdrafts are a matter of this account: a current account, or one of which only the balance is known."""
    known = customer.accounts.get(account)
    return account in customer.balances if known is None else known.kind == "current" and known.status == "open"


def _worth_a_look(config: Config, event: Transaction, customer: Customer, balance_minor: int) -> bool:
    key = overall_key(pack_key(event.currency, False, 0))
    totals = customer.ring.get(key)
    outflow_minor = totals[-1] if totals is not None else 0
    if balance_minor > outflow_minor:
        return False
    if event.amount_minor >= config.busy_share * outflow_minor:
        return True
    today, account = day_of(event.time_us), event.account_id or ""
    for recent in reversed(customer.recent):
        if recent.transaction_id != event.transaction_id and recent.account == account:
            return day_of(recent.time_us) != today
    return True


def _watched(customer: Customer, account: str) -> bool:
    """Whether an open episode still waits for its overdraft; one that has just come is closed when that is certain (`learn`)."""
    return any(not _came(said, customer.recent, account) for said in _open_episodes(customer, account))


def _open_episodes(customer: Customer, account: str) -> list[Said]:
    return [
        said
        for said in customer.said
        if said.type == SIGNAL and said.state == "OPEN" and said.kind.rpartition("@")[0] == account
    ]


def _came(said: Said, recents: list[Recent], account: str) -> bool:
    return any(
        recent.account == account
        and recent.time_us > said.time_us
        and recent.learned
        and recent.balance_minor is not None
        and recent.balance_minor < 0
        for recent in recents
    )


def _judge_bands(config: Config, habit: CashHabit, day: int) -> None:
    told = habit.told
    if told is not None and day > told.day and habit.balance_minor is not None:
        habit.judge(habit.balance_minor, Z10, config.band_miss, config.band_step)


def _tell_bands(config: Config, habit: CashHabit, recent: Recent, customer: Customer) -> None:
    """Forecasts from what has matured, to see later how wrong it was."""
    streams = customer.streams if recent.payee is None else with_payment(customer.streams, payment_of(recent))
    assert recent.balance_minor is not None
    currency = unpack_key(recent.key)[0]
    ahead = look_ahead(habit, streams, customer, recent.account, currency, recent.balance_minor, recent.time_us)
    index = config.band_days
    habit.told = Told(ahead.day + index, ahead.means[index], ahead.sds[index])


def _follow(config: Config, habit: CashHabit, recent: Recent, customer: Customer) -> Iterator[Say]:
    """What a matured movement means for the open episodes of its account. Not sooner: a movement may be reversed, and what ended
    an episode can't be unsaid."""
    for said in _open_episodes(customer, recent.account):
        if recent.time_us <= said.time_us:
            continue
        ids = (recent.transaction_id, said.transaction_id)
        if recent.balance_minor is not None and recent.balance_minor < 0:
            reason = Reason("CAME", "balance", _money(recent.balance_minor, recent), None, None, "the account fell below zero")
            yield _end("CLOSE", said, reason, 1.0, ids)
            continue
        balance_minor = customer.balance_minor(recent.account)
        if balance_minor is None or balance_minor < 0:
            continue
        currency = unpack_key(recent.key)[0]
        ahead = look_ahead(
            habit, customer.current_streams(), customer, recent.account, currency, balance_minor, customer.newest_us
        )
        score = _probability(config, ahead, customer, 0.0)
        if score >= config.ease * config.threshold:
            if abs(score - said.score) >= config.update_step:
                yield _say("UPDATE", config, ahead, customer, said.kind, ids)
            continue
        without = balance_minor < recent.signed_minor or (
            _probability(config, ahead, customer, -recent.signed_minor) >= config.ease * config.threshold
        )
        if recent.signed_minor > 0 and without and not _expected(customer, recent):
            text = f"{_money(recent.signed_minor, recent)} {currency} came in that was not expected"
            yield _end("RETRACT", said, Reason("MONEY_CAME", "probability", score, said.score, None, text), score, ids)
        else:
            text = "the account will probably stay above zero"
            yield _end("CLOSE", said, Reason("EASED", "probability", score, said.score, None, text), score, ids)


def _expected(customer: Customer, recent: Recent) -> bool:
    if recent.payee is None:
        return False
    index = match(customer.streams, payment_of(recent))
    return index >= 0 and customer.streams[index].rhythm is not None


def _end(state: Any, said: Said, reason: Reason, score: float, transaction_ids: tuple[str, ...]) -> Say:
    details = {"account_id": said.kind.rpartition("@")[0] or None}
    return Say(state, (reason,), said.kind, score, transaction_ids, details, severity="LOW", calibrated=True)


def _probability(config: Config, ahead: Outlook, customer: Customer, more_minor: float) -> float:
    reserve = float(reserve_minor(customer, ahead.currency))
    odds = log_odds_with(config.weights, ahead, config.horizon_days, turnover_minor(ahead), reserve, more_minor)
    return sigmoid(config.score_base + odds)


def _open(config: Config, ahead: Outlook, customer: Customer, account: str, kind: str, event: Transaction) -> Say | None:
    if _probability(config, ahead, customer, 0.0) < config.threshold:
        return None
    return _say("OPEN", config, ahead, customer, kind, (event.transaction_id,))


def _say(
    state: Any, config: Config, ahead: Outlook, customer: Customer, kind: str, transaction_ids: tuple[str, ...]
) -> Say:
    turnover, reserve = turnover_minor(ahead), float(reserve_minor(customer, ahead.currency))
    found = danger(config.weights, ahead, config.horizon_days, turnover, reserve)
    account = kind.rpartition("@")[0]
    known = customer.accounts.get(account)
    limit_minor = known.overdraft_limit_minor if known is not None else None
    low, middle, high = (round(max(0.0, -ahead.quantile(found.days, z))) for z in (Z10, 0.0, -Z10))
    details: dict[str, Any] = {
        "account_id": account or None,
        "date": date_of(ahead.day + found.days).isoformat(),
        "shortfall": _text(middle, ahead),
        "currency": ahead.currency,
    }
    if limit_minor is not None:
        details["overdraft_limit"] = _text(limit_minor, ahead)
    enough = enough_minor(
        config.weights,
        config.score_base,
        ahead,
        config.horizon_days,
        turnover,
        reserve,
        config.ease * config.threshold,
        10 ** EXPONENT[ahead.currency],
    )
    shortfall = {"p10": _text(low, ahead), "p50": _text(middle, ahead), "p90": _text(high, ahead)}
    return Say(
        state,
        tuple(_reasons(ahead, found, turnover, reserve)),
        kind,
        None,
        transaction_ids,
        details,
        counterfactual=None
        if enough is None
        else {"action": "add_money", "amount": _text(enough, ahead), "currency": ahead.currency, "by": details["date"]},
        forecast={"account_id": account or None, "currency": ahead.currency, "shortfall": shortfall, "balance": _bands(ahead)},
        valid_until_us=(ahead.day + config.horizon_days + 1) * DAY_US,
        severity="HIGH" if limit_minor is not None and high > limit_minor else "MEDIUM",
        calibrated=True,
    )


def _bands(ahead: Outlook) -> list[dict[str, str]]:
    return [
        {
            "date": date_of(ahead.day + days).isoformat(),
            "p10": _text(round(ahead.quantile(days, -Z10)), ahead),
            "p50": _text(round(ahead.means[days]), ahead),
            "p90": _text(round(ahead.quantile(days, Z10)), ahead),
        }
        for days in FORECAST_DAYS
    ]


def _reasons(ahead: Outlook, found: Danger, turnover: float, reserve: float) -> Iterator[Reason]:
    """What leads to the lowest point, with exact contributions; then the next income after it, which comes too late."""
    usual = _text(round(turnover), ahead)
    now = _text(ahead.balance_minor, ahead)
    yield Reason("BALANCE", "balance", now, usual, found.balance, f"{now} {ahead.currency} are on the account")
    by_size = sorted(found.flows, key=lambda part: -abs(part[1]))
    for flow, part in by_size[:REASONS_MAX]:
        code, verb = ("BILL_AHEAD", "leaves") if flow.amount_minor < 0 else ("INCOME_AHEAD", "is expected")
        yield _payment(ahead, flow, code, verb, part)
    others = by_size[REASONS_MAX:]
    if others:
        total = _text(round(sum(flow.probability * flow.amount_minor for flow, _ in others)), ahead)
        text = f"{len(others)} smaller recurring payments until then: {total} {ahead.currency}"
        yield Reason("OTHER_PAYMENTS", "payments", total, usual, sum(part for _, part in others), text)
    spent = _text(round(ahead.everyday[found.days]), ahead)
    text = f"everyday movements of about {spent} {ahead.currency} in {found.days} days"
    yield Reason("EVERYDAY", "everyday", spent, usual, found.everyday, text)
    if reserve > 0.0:
        kept = _text(round(reserve), ahead)
        yield Reason("RESERVE", "savings", kept, usual, found.reserve, f"{kept} {ahead.currency} are on savings accounts")
    for flow in ahead.flows:
        if flow.amount_minor > 0 and ahead.index_of(flow) > found.days:
            yield _payment(ahead, flow, "INCOME_LATER", "is expected only", 0.0)
            return


def _payment(ahead: Outlook, flow: Flow, code: str, verb: str, contribution: float) -> Reason:
    on = date_of(ahead.day + ahead.index_of(flow)).isoformat()
    amount = _text(round(abs(flow.amount_minor)), ahead)
    return Reason(code, "payment", amount, on, contribution, f"{flow.name}: {amount} {ahead.currency} {verb} on {on}")


def _text(minor: int, ahead: Outlook) -> str:
    return format_minor(minor, ahead.currency)


def _money(minor: int, recent: Recent) -> str:
    return format_minor(minor, unpack_key(recent.key)[0])
