"""Has the bank charged a fee that the customer need not expect?

looks at   debits of the channel "fee"
needs      nothing
says       alert.fee, one OPEN per fee; nothing for one that comes regularly at its usual price (a monthly account fee)
state      none of its own
blind to   fees hidden in other amounts
source     -
"""

from __future__ import annotations

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.business_days import day_of
from state.digest import digest64
from state.events import Transaction
from state.money import format_minor
from state.payee import payee_of
from state.recurring import Payment, match
from state.signals import Reason
from state.windows import overall_key

NAME = "fee"
VERSION = 1
SIGNAL = "alert.fee"
State = None


class Config(DetectorConfig, frozen=True, kw_only=True):
    contribution: float = 4.0


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    if transaction.channel != "fee" or transaction.direction == "credit" or not transaction.amount_minor:
        return None
    if _expected(transaction, view):
        return None
    amount = format_minor(transaction.amount_minor, transaction.currency)
    why = (transaction.description or "").strip() or "no reason given"
    reason = Reason(
        code="FEE_CHARGED",
        feature="amount",
        value=amount,
        baseline=0,
        contribution=config.contribution,
        text=f"a fee of {amount} {transaction.currency} was charged: {why}",
    )
    details = {"amount": amount, "currency": transaction.currency}
    return Finding((reason,), details=details, kind=transaction.transaction_id, suspicious=False)


def _expected(transaction: Transaction, view: View) -> bool:
    payee = payee_of(transaction)
    if payee is None:
        return False
    payment = Payment(
        day_of(view.time_us),
        transaction.amount_minor,
        overall_key(view.key),
        payee,
        transaction.account_id or "",
        transaction.channel,
        digest64(transaction.transaction_id),
        transaction.transaction_id,
    )
    streams = view.customer.current_streams(view.time_us)
    found = match(streams, payment)
    return found >= 0 and streams[found].mature and streams[found].amounts[-1] == transaction.amount_minor
