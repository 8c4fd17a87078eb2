"""Has a fixed bill become dearer for good?

looks at   the newest payments of a bill or subscription: two at the same new price after at least two at the same old one
needs      four payments; prices that were fixed
says       alert.price_rise at the second payment at the new price, so that a single surcharge is none; CLOSE when the new price has
           stood for as long as the profile remembers
state      none of its own
blind to   bills whose amount follows consumption
source     -
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from operators.detector import Answer, DetectorConfig, Say, open_episode
from operators.standing import bill_of, kind_of, matured, money
from state.customer import Customer, Recent
from state.events import Event, Transaction
from state.recurring import Stream
from state.signals import Reason

NAME = "price_rise"
VERSION = 1
SIGNAL = "alert.price_rise"
State = None
TOPICS = frozenset((Transaction.TOPIC,))
LEARNS_WHILE_OPEN = True


class Config(DetectorConfig, frozen=True, kw_only=True):
    rise_min: float = 0.02
    settled_hits: int = 5


def on_event(config: Config, state: None, event: Event, customer: Customer) -> Answer:
    assert isinstance(event, Transaction)
    stream = bill_of(customer, event)
    if stream is None or not _risen(config, stream) or _still_charged(stream, customer.current_streams()):
        return ()
    old, new = money(stream.amounts[-3], stream), money(stream.amounts[-1], stream)
    share = stream.amounts[-1] / stream.amounts[-3] - 1.0
    reason = Reason(
        code="PRICE_HIGHER",
        feature="amount",
        value=new,
        baseline=old,
        contribution=None,
        text=f"{stream.name} charged {new} {stream.currency} twice in a row, {share:.0%} more than the {old} before",
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
    newest = stream.amounts[-config.settled_hits :]
    if stream.amounts[-1] < stream.amounts[-2] or min(newest) == max(newest):
        reason = Reason(
            "NEW_USUAL", "amount", money(recent.amount_minor, stream), None, None, "the price is no news any more"
        )
        yield Say("CLOSE", (reason,), said.kind, score=said.score, transaction_ids=(recent.transaction_id,))


def _risen(config: Config, stream: Stream) -> bool:
    if not stream.mature or len(stream.amounts) < 4:
        return False
    older, old, first, second = stream.amounts[-4:]
    return older == old and first == second >= (1.0 + config.rise_min) * old


def _still_charged(stream: Stream, streams: Sequence[Stream]) -> bool:
    """Whether the old price was charged after the new one, as a contract of its own: then it is the new price that belongs to another
    contract, of nearly the same day."""
    old_minor, new_from = stream.amounts[-3], stream.days[-2]
    return any(
        other.id != stream.id
        and other.payee == stream.payee
        and other.key == stream.key
        and other.days[0] >= new_from
        and other.amounts[-1] == old_minor
        for other in streams
    )
