"""Does a regular income pay clearly less than before?

looks at   each payment of an income that came at least four times, against the middle one of its earlier payments
needs      four payments of about the same amount
says       anomaly.income_drop at once if the drop is large, at the second low payment in a row if it is moderate; one OPEN per stream,
           CLOSE when the old amount is back or the new one has become the usual one
state      none of its own
blind to   slow decline; less hours of somebody paid by the hour, within their usual spread
source     -
"""

from __future__ import annotations

from collections.abc import Iterator

from operators.detector import Answer, DetectorConfig, Say, open_episode
from operators.standing import continued, kind_of, matured, money
from state.customer import Customer, Recent
from state.events import Event, Transaction
from state.income import NO_INCOME, own_digests, usual_minor
from state.recurring import STEADY, Stream
from state.signals import Reason

NAME = "income_drop"
VERSION = 1
SIGNAL = "anomaly.income_drop"
State = None
TOPICS = frozenset((Transaction.TOPIC,))
LEARNS_WHILE_OPEN = True
KNOWN_MIN = 3
"""Payments before the low ones that show what is usual."""


class Config(DetectorConfig, frozen=True, kw_only=True):
    drop_large: float = 0.24
    drop_moderate: float = 0.12


def on_event(config: Config, state: None, event: Event, customer: Customer) -> Answer:
    assert isinstance(event, Transaction)
    if event.direction != "credit" or event.channel in NO_INCOME:
        return ()
    stream = continued(customer, event)
    if stream is None or not stream.mature or stream.payee in own_digests(customer):
        return ()
    low = _low_payments(config, stream)
    if low is None:
        return ()
    usual = usual_minor(stream.amounts[:-low])
    old, new = money(usual, stream), money(stream.amounts[-1], stream)
    share = 1.0 - stream.amounts[-1] / usual
    reason = Reason(
        code="INCOME_LOWER",
        feature="amount",
        value=new,
        baseline=old,
        contribution=None,
        text=f"{stream.name} paid {new} {stream.currency}, {share:.0%} less than the usual {old}",
    )
    said = Say(
        "OPEN",
        (reason,),
        kind_of(stream),
        score=min(1.0, 0.5 + share),
        transaction_ids=(event.transaction_id,),
        details={"stream": stream.name, "old": old, "new": new, "currency": stream.currency},
    )
    return (said,)


def learn(config: Config, state: None, recent: Recent, customer: Customer) -> Iterator[Say]:
    if not recent.key & 128:
        return
    stream = matured(customer, recent)
    if stream is None:
        return
    said = open_episode(customer, SIGNAL, kind_of(stream))
    if said is None or recent.time_us <= said.time_us:
        return
    before = stream.amounts[:-1]
    restored = stream.amounts[-1] >= max(before) / STEADY and max(before) > STEADY * min(before)
    settled = max(stream.amounts) <= STEADY * min(stream.amounts)
    if restored or settled:
        code, text = (
            ("AMOUNT_BACK", "the old amount is back") if restored else ("NEW_USUAL", "it has become the usual amount")
        )
        reason = Reason(code, "amount", money(recent.amount_minor, stream), None, None, text)
        yield Say("CLOSE", (reason,), said.kind, score=said.score, transaction_ids=(recent.transaction_id,))


def _low_payments(config: Config, stream: Stream) -> int | None:
    """How many of the newest payments are low enough to speak: 1 or 2, or None. A moderate drop must exceed by so much what hours
    worked make of the amount anyway."""
    amounts = stream.amounts
    for low, drop in ((1, config.drop_large), (2, config.drop_moderate)):
        before = amounts[:-low]
        if len(before) < KNOWN_MIN or max(before[-KNOWN_MIN:]) > STEADY * min(before[-KNOWN_MIN:]):
            continue
        usual = usual_minor(before)
        known = before[-KNOWN_MIN:]
        spread = (max(known) - min(known)) / usual if low > 1 else 0.0
        if max(amounts[-low:]) <= (1.0 - drop - spread) * usual:
            return low
    return None
