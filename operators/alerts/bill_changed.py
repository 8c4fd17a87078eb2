"""Is a fixed bill not what it always was?

looks at   each payment of a bill or subscription whose last three payments had the same price
needs      three equal payments
says       alert.bill_changed at the first different one; CLOSE when the next payment is known
state      none of its own
blind to   bills whose amount follows consumption
source     -
"""

from __future__ import annotations

from collections.abc import Iterator

from operators.detector import Answer, DetectorConfig, Say, open_episode
from operators.standing import bill_of, kind_of, matured, money
from state.customer import Customer, Recent
from state.events import Event, Transaction
from state.recurring import Stream
from state.signals import Reason

NAME = "bill_changed"
VERSION = 1
SIGNAL = "alert.bill_changed"
State = None
TOPICS = frozenset((Transaction.TOPIC,))
LEARNS_WHILE_OPEN = True
KNOWN = 3
"""Equal payments that show a fixed price."""
PRICES_MAX = 2
"""Among the remembered payments: the price, and one that it had before. With more, equal ones were chance."""


class Config(DetectorConfig, frozen=True, kw_only=True):
    change_min: float = 0.03


def on_event(config: Config, state: None, event: Event, customer: Customer) -> Answer:
    assert isinstance(event, Transaction)
    stream = bill_of(customer, event)
    if stream is None or not _changed(config, stream):
        return ()
    old, new = money(stream.amounts[-2], stream), money(stream.amounts[-1], stream)
    change = stream.amounts[-1] / stream.amounts[-2] - 1.0
    reason = Reason(
        code="AMOUNT_DIFFERENT",
        feature="amount",
        value=new,
        baseline=old,
        contribution=None,
        text=f"{stream.name} charged {new} {stream.currency} ({change:+.0%}); the last {KNOWN} times it was {old}",
    )
    said = Say(
        "OPEN",
        (reason,),
        kind_of(stream),
        score=stream.probability(),
        transaction_ids=(event.transaction_id,),
        details={"stream": stream.name, "old": old, "new": new, "currency": stream.currency},
    )
    return (said,)


def learn(config: Config, state: None, recent: Recent, customer: Customer) -> Iterator[Say]:
    stream = matured(customer, recent)
    said = open_episode(customer, SIGNAL, kind_of(stream)) if stream is not None else None
    if stream is None or said is None or recent.time_us <= said.time_us:
        return
    back = len(stream.amounts) > 2 and stream.amounts[-1] == stream.amounts[-3]
    code, text = ("AMOUNT_BACK", "the old amount is back") if back else ("NEXT_KNOWN", "the next bill has come")
    reason = Reason(code, "amount", money(recent.amount_minor, stream), None, None, text)
    yield Say("CLOSE", (reason,), said.kind, score=said.score, transaction_ids=(recent.transaction_id,))


def _changed(config: Config, stream: Stream) -> bool:
    if not stream.mature or len(stream.amounts) <= KNOWN:
        return False
    *_, last, new = stream.amounts
    known = stream.amounts[-KNOWN - 1 : -1]
    if len(set(stream.amounts[:-1])) > PRICES_MAX:
        return False
    return min(known) == max(known) and abs(new - last) >= config.change_min * last
