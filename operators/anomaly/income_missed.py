"""Did a salary that always comes fail to come?

looks at   income that came at least four times, or twice in the place of such a one (state/income.py), and the days after its
           next payday
needs      four payments; irregular earners have no payday, and nothing is said about them
says       anomaly.income_missed when the grace has passed, with what was expected and when; one OPEN per stream. CLOSE when money
           comes again. RETRACT if it had been there in time and only its record came late, or if a new payer's takes its place
           within a month: the income has changed hands, none was lost
state      none of its own; one timer
blind to   a first or second salary; one that is late by less than the grace
source     -
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from operators.detector import DetectorConfig, Say, Span, Wake, open_episode
from operators.standing import answered, iso, kind_of, looked_us, matured, money
from state.business_days import DAY_US
from state.customer import Customer, Recent, Said, Timer
from state.events import Event, Transaction
from state.income import NO_INCOME, monthly_minor, own_digests, reliable, usual_minor
from state.recurring import Stream
from state.signals import Reason

NAME = "income_missed"
VERSION = 1
SIGNAL = "anomaly.income_missed"
State = None
TOPICS = frozenset((Transaction.TOPIC,))
LEARNS_WHILE_OPEN = True
NEW_HITS = 2
"""Money that came more often than that was there before, and takes no other's place."""

RESUMED = 1.6
"""A gap of so many periods is a break."""


class Config(DetectorConfig, frozen=True, kw_only=True):
    grace_s: Span = 241_920.0
    arrives_s: Span = 172_800.0
    covered: float = 0.6
    share_min: float = 0.05
    before_days: int = 6
    waits_s: Span = 259_200.0
    replaced_s: Span = 2_678_400.0
    replaced_max: float = 1.5


def on_event(config: Config, state: None, event: Event, customer: Customer) -> Iterator[Say | Wake]:
    assert isinstance(event, Transaction)
    if event.direction != "credit" or event.channel in ("atm", "card_present", "cash"):
        return
    streams = customer.current_streams()
    yield Wake(_next_check_us(config, customer, streams, 0))
    for said in customer.said:
        if said.type == SIGNAL and said.state == "OPEN" and event.time_us <= said.time_us + config.arrives_s * 1e6:
            stream = _by_kind(streams, said.kind)
            if stream is not None and _came(config, stream, streams, own_digests(customer), said.time_us):
                reason = Reason(
                    "CAME_IN_TIME",
                    "transaction_id",
                    event.transaction_id,
                    None,
                    None,
                    "it was paid before this was said",
                )
                yield Say("RETRACT", (reason,), said.kind, score=said.score, transaction_ids=(event.transaction_id,))


def on_timer(config: Config, state: None, timer: Timer, customer: Customer) -> Iterator[Say | Wake]:
    streams = customer.current_streams()
    own = own_digests(customer)
    regular = reliable(streams, own)
    total = sum(monthly_minor(stream) for stream, _ in regular)
    for stream, likely in regular:
        due_day = stream.due_day()
        if due_day is None or _check_us(config, due_day) != timer.due_us:
            continue
        if monthly_minor(stream) >= config.share_min * total and not _covered(config, stream, due_day, streams, own):
            said = open_episode(customer, SIGNAL, kind_of(stream))
            if said is not None and answered(said, stream):
                yield _over(said, stream.last_id, replaced=False)
            yield _missed(config, stream, due_day, likely)
    yield Wake(_next_check_us(config, customer, streams, timer.due_us))


def learn(config: Config, state: None, recent: Recent, customer: Customer) -> Iterator[Say | Wake]:
    """Money that has come for good ends the episode."""
    if not recent.key & 128:
        return
    stream = matured(customer, recent)
    if stream is None or stream.payee in own_digests(customer):
        return
    for said in customer.said:
        if said.type == SIGNAL and said.state == "OPEN" and recent.time_us > said.time_us:
            missed = _by_kind(customer.streams, said.kind)
            again = kind_of(stream) == said.kind
            if again or (missed is not None and recent.amount_minor >= config.covered * usual_minor(missed.amounts)):
                replaced = missed is not None and not again and _replaced(config, missed, stream, recent, said.time_us)
                yield _over(said, recent.transaction_id, replaced)


def _over(said: Said, transaction_id: str, replaced: bool) -> Say:
    step: Literal["RETRACT", "CLOSE"] = "RETRACT" if replaced else "CLOSE"
    code, text = (
        ("INCOME_REPLACED", "income of a new payer has taken its place")
        if replaced
        else ("INCOME_AGAIN", "income has come again")
    )
    reason = Reason(code, "transaction_id", transaction_id, None, None, text)
    return Say(step, (reason,), said.kind, score=said.score, transaction_ids=(transaction_id,))


def _replaced(config: Config, missed: Stream, stream: Stream, recent: Recent, said_us: int) -> bool:
    """Whether money that has come is the first of a new payer's, soon enough and about as much as a wage."""
    wage_minor = max(usual_minor(missed.amounts), monthly_minor(missed))
    return (
        stream.hits == 1
        and stream.payee != missed.payee
        and recent.channel not in NO_INCOME
        and recent.time_us <= said_us + config.replaced_s * 1e6
        and recent.amount_minor <= config.replaced_max * wage_minor
    )


def _missed(config: Config, stream: Stream, due_day: int, likely: float) -> Say:
    usual = usual_minor(stream.amounts)
    amount = money(usual, stream)
    assert stream.rhythm is not None
    reason = Reason(
        code="INCOME_MISSED",
        feature="days_since_payday",
        value=config.grace_s / 86_400,
        baseline=0.0,
        contribution=None,
        text=f"{amount} {stream.currency} from {stream.name} came {stream.hits} times, {stream.rhythm.name}; "
        f"the payment of {iso(due_day)} did not come",
    )
    return Say(
        "OPEN",
        (reason,),
        kind_of(stream),
        score=likely,
        transaction_ids=(stream.last_id,),
        details={"stream": stream.name, "expected_on": iso(due_day), "amount": amount, "currency": stream.currency},
        valid_until_us=_check_us(config, due_day) + int(stream.rhythm.period_days * DAY_US),
        severity="HIGH",
    )


def _covered(config: Config, missed: Stream, due_day: int, streams: list[Stream], own: set[int]) -> bool:
    """Whether other money took the salary's place: a new employer, a benefit, or the same payer in another form. What the bank itself
    pays, as the refund of a fraud, does not."""
    others = [
        stream
        for stream in streams
        if stream.credit
        and stream.channel not in NO_INCOME
        and stream.key == missed.key
        and stream.id != missed.id
        and stream.payee not in own
        and stream.last_day >= due_day - config.before_days
        and (stream.payee == missed.payee or stream.hits <= NEW_HITS or _resumed(stream))
    ]
    return sum(stream.amounts[-1] for stream in others) >= config.covered * usual_minor(missed.amounts)


def _resumed(stream: Stream) -> bool:
    """Whether the newest payment came after a break: a salary after parental leave."""
    return stream.rhythm is not None and stream.days[-1] - stream.days[-2] > RESUMED * stream.rhythm.period_days


def _came(config: Config, stream: Stream, streams: list[Stream], own: set[int], said_us: int) -> bool:
    """Whether what was missed when an alarm was given is there now."""
    due_day = (said_us - int(config.grace_s * 1e6)) // DAY_US
    return stream.last_day >= due_day - config.before_days or _covered(config, stream, due_day, streams, own)


def _check_us(config: Config, due_day: int) -> int:
    return due_day * DAY_US + int(config.grace_s * 1e6)


def _next_check_us(config: Config, customer: Customer, streams: list[Stream], after_us: int) -> int | None:
    """When the next income must have come; None if none is expected. `after_us`: what has been looked at already."""
    own = own_digests(customer)
    checks = [
        check
        for stream, _ in reliable(streams, own)
        if (due_day := stream.due_day()) is not None
        and (check := _check_us(config, due_day)) > looked_us(customer, SIGNAL, stream)
    ]
    return min(
        (check for check in checks if check > max(after_us, customer.newest_us - int(config.waits_s * 1e6))),
        default=None,
    )


def _by_kind(streams: list[Stream], kind: str) -> Stream | None:
    return next((stream for stream in streams if kind_of(stream) == kind), None)
