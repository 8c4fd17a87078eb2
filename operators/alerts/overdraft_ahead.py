"""Will the account fall below zero within two weeks?

looks at   the balance, the recurring payments expected, everyday movements, what lies on savings accounts; and what came of
           earlier alerts, of all customers (operators/alerts/overdraft_outcomes.py)
needs      balances (balance_after or in.accounts), and two months of history
says       alert.overdraft_ahead with the date, the probability, the shortfall, what leads there and the amount that prevents
           it; closed when it has come, when the danger has passed or the two weeks are over; withdrawn when money came in that
           was not expected
state      for each account the everyday habit and how wide the forecast's bands must be (state/cash_habit.py); beside it, alerts
           that wait for what comes of them
blind to   payments that never came before; accounts at other banks
source     Gibbs and Candès, Adaptive conformal inference under distribution shift, 2021 (bands); Platt, Probabilistic outputs for
           support vector machines, 1999 (calibration)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import msgspec

from operators.alerts import overdraft_outcomes
from operators.alerts import overdraft_words as words
from operators.cashflow import Z10, Outlook, outlook, span_us
from operators.detector import Answer, DetectorConfig, Lesson, Say, Wake
from operators.forecasts import of_account, of_customer
from operators.knowledge.versions import Model
from operators.overdraft import Circumstances, covering_minor, danger, enough_minor, first_below, log_odds
from state.business_days import DAY_US, day_of
from state.cash_habit import CashHabit, Memory, Told
from state.customer import Customer, Recent, Said, Timer, payment_of
from state.estimators import sigmoid
from state.events import Event, Transaction
from state.income import NO_INCOME, own_digests
from state.money import EXPONENT
from state.recurring import Stream, flows, match
from state.windows import overall_key, pack_key, unpack_key
from state.worth import minor_of

NAME = "overdraft_ahead"
VERSION = 1
SIGNAL = "alert.overdraft_ahead"
TOPICS = frozenset((Transaction.TOPIC,))
ACCOUNTS_MAX = 4
RESERVES = frozenset(("savings",))


class Config(DetectorConfig, frozen=True, kw_only=True):
    weights: Mapping[str, float] = {}
    ease: float = 0.5
    update_step: float = 0.2
    covered_sds: float = 1.645
    ahead_days: int = 8
    horizon_days: int = 14
    matured_min: int = 60
    memory_days: float = 60.0
    weekday_memory: float = 25.0
    phase_prior: float = 30.0
    phase_memory: float = 100.0
    busy_share: float = 0.05
    band_days: int = 14
    band_miss: float = 0.2
    band_step: float = 0.07
    band_from_days: int = 100
    turnover_min: float = 100.0
    card_memory: float = 0.3


class Calibrated(Config, frozen=True, kw_only=True):
    """The configuration in force: what outcomes have taught is multiplied into `weights` and `score_base`."""

    line: overdraft_outcomes.Line


def in_force(config: Config, model: Model | None) -> Calibrated:
    line = overdraft_outcomes.line_of(config, model)
    weights, base = overdraft_outcomes.calibrated(line, config.weights, config.score_base)
    fields = {name: getattr(config, name) for name in config.__struct_fields__}
    return Calibrated(**fields | {"weights": weights, "score_base": base}, line=line)


class State(msgspec.Struct, array_like=True, gc=False):
    accounts: dict[str, CashHabit] = {}
    card_shares: dict[str, float] = {}
    """Of what is owed on a credit card, the share that its owner usually pays."""


def on_event(config: Calibrated, state: State, event: Event, customer: Customer) -> Answer:
    """Opens an episode when an account's first movement of a day, or a large one, shows danger."""
    assert isinstance(event, Transaction)
    account, balance_minor = event.account_id or "", customer.balance_minor(event.account_id or "")
    if event.status != "posted" or balance_minor is None or not worth_a_look(config, event, customer, balance_minor):
        return ()
    if _watched(customer, account):
        return ()
    ahead = look_ahead(state, customer, account, event.currency, event.time_us)
    if ahead is None or _probability(config, ahead, customer) < config.threshold:
        return ()
    kind = words.kind_of(account, ahead.day)
    said = _say("OPEN", config, state, ahead, customer, kind, (event.transaction_id,), event.time_us)
    return said, Wake(_expiry_us(config, event.time_us), account)


def learn(config: Calibrated, state: State, recent: Recent, customer: Customer) -> Answer:
    """Learns the everyday part of an account's movements, and follows its open episodes."""
    if not _is_current(customer, recent.account):
        _learn_card(config, state, recent, customer)
        return ()
    habit = state.accounts.get(recent.account)
    if habit is None:
        if len(state.accounts) >= ACCOUNTS_MAX:
            state.accounts = {held: one for held, one in state.accounts.items() if _is_current(customer, held)}
        if len(state.accounts) >= ACCOUNTS_MAX:
            return ()
        habit = state.accounts[recent.account] = CashHabit()
    day = day_of(recent.time_us)
    if habit.told is not None and day > habit.told.day and habit.balance_minor is not None:
        habit.judge(habit.balance_minor, Z10, config.band_miss, config.band_step)
    memory = Memory(config.memory_days, config.weekday_memory, config.phase_prior, config.phase_memory)
    if recent.payee is None:
        habit.add(day, recent.signed_minor, memory)
    else:
        stream, own = _stream_of(customer, recent), own_digests(customer)
        habit.add(day, recent.signed_minor if stream is None and recent.payee.digest not in own else 0, memory)
        if stream is not None and _is_income(stream, own):
            habit.paid(recent.signed_minor, _largest_income_minor(customer, stream, own))
    if recent.balance_minor is not None:
        habit.balance_minor = recent.balance_minor
        if habit.told is None and habit.days >= config.band_from_days:
            habit.told = _told(config, state, recent, customer)
    lessons: tuple[Lesson, ...] = ()
    if overdraft_outcomes.NAME in customer.states:
        below, horizon_us = (recent.balance_minor or 0) < 0, config.horizon_days * DAY_US
        lessons = tuple(overdraft_outcomes.resolve(customer, recent.account, horizon_us, recent.time_us, below))
    episodes = _open_episodes(customer, recent.account)
    for said in episodes:
        if said.transaction_id == recent.transaction_id:
            overdraft_outcomes.ask(customer, recent.account, config.line, said.time_us, said.score)
    if not episodes:
        return lessons
    return *lessons, *_follow(config, state, recent, customer, episodes)


def on_timer(config: Config, state: State, timer: Timer, customer: Customer) -> Answer:
    """The two weeks are over. Each account has one timer: an episode opened later than the one that it was set for moves it."""
    answers: list[Say | Wake] = []
    for said in _open_episodes(customer, timer.episode):
        expiry_us = _expiry_us(config, said.time_us)
        answers.append(
            words.passed(said, timer.due_us) if expiry_us <= timer.due_us else Wake(expiry_us, timer.episode)
        )
    return answers


def look_ahead(state: State, customer: Customer, account: str, currency: str, time_us: int) -> Outlook | None:
    """The forecast of one account as of `time_us`; None if its balance or its habit is unknown, or if it is below zero already."""
    habit, balance_minor = state.accounts.get(account), customer.balance_minor(account)
    if habit is None or balance_minor is None or balance_minor < 0:
        return None
    streams = customer.current_streams()
    return of_account(habit, state.card_shares, customer, streams, account, currency, balance_minor, time_us)


def circumstances(config: Config, ahead: Outlook, customer: Customer) -> Circumstances:
    leaving = sum(flow.probability * flow.amount_minor for flow in ahead.flows if flow.amount_minor < 0)
    turnover_minor = max(-leaving - min(0.0, ahead.usual_minor), minor_of(config.turnover_min, ahead.currency))
    reserve_minor = sum(
        customer.balance_minor(account_id) or 0
        for account_id, account in customer.accounts.items()
        if account.kind in RESERVES and account.currency == ahead.currency and account.status == "open"
    )
    return Circumstances(turnover_minor, float(reserve_minor), config.ahead_days)


def _learn_card(config: Config, state: State, recent: Recent, customer: Customer) -> None:
    """The payment of a card's bill, seen from the card: which share of what was owed."""
    known = customer.accounts.get(recent.account)
    if known is None or known.kind != "credit_card" or recent.balance_minor is None or recent.payee is None:
        return
    owed_minor = recent.signed_minor - recent.balance_minor
    if recent.signed_minor <= 0 or owed_minor <= 0:
        return
    before = state.card_shares.get(recent.account)
    share = min(1.0, recent.signed_minor / owed_minor)
    if before is None and len(state.card_shares) >= ACCOUNTS_MAX:
        state.card_shares = {card: one for card, one in state.card_shares.items() if _is_open(customer, card)}
    if before is None and len(state.card_shares) >= ACCOUNTS_MAX:
        return
    state.card_shares[recent.account] = share if before is None else before + config.card_memory * (share - before)


def _told(config: Config, state: State, recent: Recent, customer: Customer) -> Told:
    """A forecast out of what has matured, to see later how wrong it was."""
    assert recent.balance_minor is not None
    streams = customer.streams if recent.payee is None else customer.streams_with(customer.streams, recent)
    own = [stream for stream in streams if stream.rhythm is not None and stream.account == recent.account]
    expected = [flow for flow in flows(own, *span_us(recent.time_us)) if flow.channel != "internal"]
    habit, currency = state.accounts[recent.account], unpack_key(recent.key)[0]
    ahead = outlook(recent.balance_minor, expected, habit, recent.time_us, currency)
    index = config.band_days
    return Told(ahead.day + index, ahead.means[index], ahead.sds[index])


def _follow(
    config: Calibrated, state: State, recent: Recent, customer: Customer, episodes: list[Said]
) -> Iterator[Say]:
    """What a matured movement means for the open episodes of its account. Not sooner: it might have been reversed, and what ended
    an episode can't be unsaid."""
    for said in episodes:
        if recent.time_us <= said.time_us:
            continue
        if recent.balance_minor is not None and recent.balance_minor < 0:
            yield words.came(said, recent)
            continue
        ahead = look_ahead(state, customer, recent.account, unpack_key(recent.key)[0], customer.newest_us)
        if ahead is None:
            continue
        score, edge = _probability(config, ahead, customer), config.ease * config.threshold
        if score >= edge:
            if abs(score - said.score) >= config.update_step:
                ids = (recent.transaction_id, said.transaction_id)
                yield _say("UPDATE", config, state, ahead, customer, said.kind, ids, customer.newest_us)
        elif _unexpected(customer, recent) and (
            ahead.balance_minor < recent.amount_minor
            or _probability(config, ahead, customer, -recent.amount_minor) >= edge
        ):
            yield words.withdrawn(said, recent, ahead, score)
        else:
            yield words.eased(said, recent, ahead, score)


def _say(
    step: words.Step,
    config: Calibrated,
    state: State,
    ahead: Outlook,
    customer: Customer,
    kind: str,
    ids: tuple[str, ...],
    time_us: int,
) -> Say:
    about = circumstances(config, ahead, customer)
    found = danger(config.weights, ahead, about)
    unit, edge = 10 ** EXPONENT[ahead.currency], config.ease * config.threshold
    enough = enough_minor(config.weights, config.score_base, ahead, about, edge, unit)
    if enough is not None:
        covering = covering_minor(ahead, config.horizon_days, config.covered_sds)
        enough = max(enough, math.ceil(covering / unit) * unit)
    needed_in_days = first_below(ahead, config.horizon_days, config.covered_sds) or found.days
    known = customer.accounts.get(words.account_of(kind))
    limit_minor = known.overdraft_limit_minor if known is not None else None
    valid_until_us = (ahead.day + config.horizon_days + 1) * DAY_US
    whole = of_customer(state.accounts, state.card_shares, customer, ahead.currency, time_us)
    said = words.statement(
        step, kind, ids, ahead, whole, found, about, enough, needed_in_days, limit_minor, valid_until_us
    )
    return msgspec.structs.replace(said, score_base=config.score_base, model=config.line.version)


def _probability(config: Config, ahead: Outlook, customer: Customer, more_minor: int = 0) -> float:
    about = circumstances(config, ahead, customer)
    return sigmoid(config.score_base + log_odds(config.weights, ahead, about, float(more_minor)))


def _is_current(customer: Customer, account: str) -> bool:
    """Whether overdrafts are a matter of this account: a current account, or one of which nothing but the balance is known."""
    known = customer.accounts.get(account)
    return account in customer.balances if known is None else known.kind == "current" and known.status == "open"


def _is_open(customer: Customer, account: str) -> bool:
    known = customer.accounts.get(account)
    return known is not None and known.status == "open"


def _stream_of(customer: Customer, recent: Recent) -> Stream | None:
    """The recurring stream that a movement belongs to."""
    index = -1 if recent.payee is None else match(customer.streams, payment_of(recent))
    return customer.streams[index] if index >= 0 and customer.streams[index].rhythm is not None else None


def _is_income(stream: Stream, own: set[int]) -> bool:
    return stream.credit and stream.channel not in NO_INCOME and stream.payee not in own


def _largest_income_minor(customer: Customer, stream: Stream, own: set[int]) -> float:
    """What the largest regular income of the stream's account and currency usually is."""
    return max(
        other.usual_minor()[0]
        for other in customer.streams
        if other.rhythm is not None
        and (other.account, other.currency) == (stream.account, stream.currency)
        and _is_income(other, own)
    )


def _unexpected(customer: Customer, recent: Recent) -> bool:
    return recent.signed_minor > 0 and _stream_of(customer, recent) is None


def worth_a_look(config: Config, event: Transaction, customer: Customer, balance_minor: int) -> bool:
    """One look a day, or at a large movement; none at somebody who has more than leaves in a month."""
    if customer.matured < config.matured_min or balance_minor < 0:
        return False
    totals = customer.ring.get(overall_key(pack_key(event.currency, False, 0)))
    outflow_minor = totals[-1] if totals is not None else 0
    if balance_minor > outflow_minor:
        return False
    if event.amount_minor >= config.busy_share * outflow_minor:
        return True
    account, today = event.account_id or "", day_of(event.time_us)
    for recent in reversed(customer.recent):
        if recent.account == account and recent.learned and recent.transaction_id != event.transaction_id:
            return day_of(recent.time_us) != today
    return True


def _watched(customer: Customer, account: str) -> bool:
    """Whether an open episode still waits for its overdraft: one that has come is closed when that is certain (`learn`)."""
    return any(not _came(said, customer.recent, account) for said in _open_episodes(customer, account))


def _came(said: Said, recents: list[Recent], account: str) -> bool:
    return any(
        recent.account == account
        and recent.time_us > said.time_us
        and recent.learned
        and (recent.balance_minor or 0) < 0
        for recent in recents
    )


def _expiry_us(config: Config, time_us: int) -> int:
    """Until when an episode opened at `time_us` is waited for."""
    return (day_of(time_us) + config.horizon_days + 1) * DAY_US


def _open_episodes(customer: Customer, account: str) -> list[Said]:
    return [
        said
        for said in customer.said
        if said.type == SIGNAL and said.state == "OPEN" and words.account_of(said.kind) == account
    ]
