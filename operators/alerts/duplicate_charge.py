"""Was the same charge taken twice?

looks at   another payment of the same amount to the same merchant within `within_s`, both not reversed; small and round amounts, which
           coincide by chance, count for less; so do fares and snacks, which people buy for two
needs      a merchant or payee
says       alert.duplicate_charge with the amount; adds "duplicate_charge" to anomaly.transaction
state      none of its own (the profile's recent payments)
blind to   a second charge under another name or for another amount
source     card scheme rules on duplicate processing (reason codes 12.6.1 and 4834)
"""

from __future__ import annotations

from operators.detector import DetectorConfig, Finding, Span
from operators.view import View
from operators.wording import counted
from state.events import Transaction
from state.money import EXPONENT, format_minor
from state.signals import Reason
from state.worth import minor_of

NAME = "duplicate_charge"
VERSION = 1
SIGNAL = "alert.duplicate_charge"
State = None
CHANNELS = frozenset(("card_present", "ecommerce", "direct_debit"))


class Config(DetectorConfig, frozen=True, kw_only=True):
    within_s: Span = 1800.0
    amount_min: float = 2.0
    contribution: float = 5.0
    round_discount: float = 2.3
    small_below: float = 12.0
    small_discount: float = 1.0
    unknown_min: float = 5.0
    for_two: tuple[str, ...] = ()
    for_two_discount: float = 2.5


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    if not view.merchant or transaction.channel not in CHANNELS or transaction.direction == "credit":
        return None
    within_us = int(config.within_s * 1e6)
    earliest_us, latest_us = view.time_us - within_us, view.time_us + within_us
    for recent in reversed(view.customer.recent):
        if recent.time_us < earliest_us:
            return None
        if (
            recent.merchant == view.merchant
            and recent.amount_minor == transaction.amount_minor
            and recent.key == view.key
            and recent.learned
            and recent.time_us <= latest_us  # later only if this record comes late
        ):
            break
    else:
        return None
    shared = transaction.mcc is None or transaction.mcc in config.for_two
    least = config.unknown_min if shared else config.amount_min
    if transaction.amount_minor < minor_of(least, transaction.currency):
        return None
    amount = format_minor(transaction.amount_minor, transaction.currency)
    gap_s = abs(view.time_us - recent.time_us) / 1e6
    reason = Reason(
        code="CHARGED_TWICE",
        feature="gap_s",
        value=gap_s,
        baseline=config.within_s,
        contribution=_strength(config, transaction),
        text=f"{amount} {transaction.currency} was charged twice by the same merchant, {counted(gap_s, 'second')} apart",
    )
    return Finding(
        (reason,),
        details={"amount": amount, "currency": transaction.currency},
        transaction_ids=(recent.transaction_id,),
    )


def _strength(config: Config, transaction: Transaction) -> float:
    strength = config.contribution
    tenth = 10 ** max(0, EXPONENT[transaction.currency] - 1)
    if transaction.amount_minor % max(10, tenth) == 0:
        strength -= config.round_discount
    if transaction.amount_minor < minor_of(config.small_below, transaction.currency):
        strength -= config.small_discount
    if transaction.mcc in config.for_two:
        strength -= config.for_two_discount
    return strength
