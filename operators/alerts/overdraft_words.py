"""What alert.overdraft_ahead says: details, reasons, bands, and how its episodes end. Amounts are decimal text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from operators.cashflow import Z10, Outlook
from operators.detector import Say
from operators.overdraft import Circumstances, Danger, days_below, first_below
from operators.wording import counted
from state.business_days import date_of, day_of
from state.customer import Recent, Said
from state.money import format_minor
from state.recurring import Flow
from state.signals import Reason
from state.windows import unpack_key

REASONS_MAX = 4
"""Recurring payments that get a reason of their own; the others share one."""
FORECAST_DAYS = (7, 14, 30)

Step = Literal["OPEN", "UPDATE"]


def kind_of(account: str, day: int) -> str:
    """An account may have a new episode before the last one is closed for certain: the day tells them apart."""
    return f"{account}@{_iso(day)}"


def account_of(kind: str) -> str:
    """
    >>> account_of("a@b@2025-01-31")
    'a@b'
    """
    return kind.rpartition("@")[0]


def statement(
    state: Step,
    kind: str,
    transaction_ids: tuple[str, ...],
    ahead: Outlook,
    whole: Outlook | None,
    found: Danger,
    about: Circumstances,
    enough_minor: int | None,
    needed_in_days: int,
    limit_minor: int | None,
    valid_until_us: int,
) -> Say:
    """The danger as it looks now. `enough_minor`, if it comes before the day in `needed_in_days` days, withdraws it; `limit_minor` is
    how far the account may be overdrawn; `whole` is the forecast of all money at hand, if that is on several accounts."""
    account = account_of(kind)
    # Below zero it is from the first such day on, which is often days before the lowest point.
    falls_in_days = first_below(ahead, about.days) or found.days
    point, sd = ahead.lows[found.days], ahead.sds[found.days]
    low, middle, high = (round(max(0.0, -(point + z * sd))) for z in (Z10, 0.0, -Z10))
    details: dict[str, Any] = {
        "account_id": account,
        "date": _iso(ahead.day + falls_in_days),
        "shortfall": _text(middle, ahead),
        "currency": ahead.currency,
    }
    if limit_minor is not None:
        details["overdraft_limit"] = _text(limit_minor, ahead)
    prevented: dict[str, Any] | None = None
    if enough_minor is not None:
        amount = _text(enough_minor, ahead)
        prevented = {
            "action": "add_money",
            "account_id": account,
            "amount": amount,
            "currency": ahead.currency,
            "by": _iso(ahead.day + needed_in_days - 1),  # banks collect in the small hours
        }
    return Say(
        state,
        tuple(_reasons(ahead, found, about)),
        kind,
        None,
        transaction_ids,
        details,
        counterfactual=prevented,
        forecast={
            "account_id": account,
            "currency": ahead.currency,
            "shortfall": {"p10": _text(low, ahead), "p50": _text(middle, ahead), "p90": _text(high, ahead)},
            "balance": [_band(ahead, days) for days in FORECAST_DAYS],
            "customer": None if whole is None else [_band(whole, days) for days in FORECAST_DAYS],
        },
        valid_until_us=valid_until_us,
        severity="HIGH" if limit_minor is not None and high > limit_minor else "MEDIUM",
        calibrated=True,
    )


def came(said: Said, recent: Recent) -> Say:
    """The account has fallen below zero."""
    currency = unpack_key(recent.key)[0]
    assert recent.balance_minor is not None
    shortfall = format_minor(-recent.balance_minor, currency)
    reason = Reason("CAME", "balance", f"-{shortfall}", None, None, "the account has fallen below zero")
    return _end("CLOSE", said, reason, 1.0, _ids(said, recent), recent.time_us, shortfall)


def eased(said: Said, recent: Recent, ahead: Outlook, score: float) -> Say:
    """The danger has passed by itself."""
    reason = Reason("EASED", "probability", score, said.score, None, "the account will probably stay above zero")
    return _end("CLOSE", said, reason, score, _ids(said, recent), recent.time_us, _text(0, ahead))


def withdrawn(said: Said, recent: Recent, ahead: Outlook, score: float) -> Say:
    """Money came in that the forecast could not know of: what was said no longer holds."""
    text = f"{_text(recent.amount_minor, ahead)} {ahead.currency} came in that was not expected"
    reason = Reason("MONEY_CAME", "probability", score, said.score, None, text)
    return _end("RETRACT", said, reason, score, _ids(said, recent), recent.time_us, _text(0, ahead))


def passed(said: Said, due_us: int) -> Say:
    """The time is over for which the alert was given."""
    text = "the account did not fall below zero in the time foreseen"
    reason = Reason("PASSED", "probability", 0.0, said.score, None, text)
    return _end("CLOSE", said, reason, 0.0, (said.transaction_id,), due_us, "0")


def _end(
    state: Literal["CLOSE", "RETRACT"],
    said: Said,
    reason: Reason,
    score: float,
    transaction_ids: tuple[str, ...],
    time_us: int,
    shortfall: str,
) -> Say:
    details = {
        "account_id": account_of(said.kind),
        "date": _iso(day_of(time_us)),
        "shortfall": shortfall,
    }
    return Say(state, (reason,), said.kind, score, transaction_ids, details, severity="LOW", calibrated=True)


def _ids(said: Said, recent: Recent) -> tuple[str, ...]:
    return recent.transaction_id, said.transaction_id


def _band(ahead: Outlook, days: int) -> dict[str, str]:
    low, middle, high = (round(ahead.quantile(days, z)) for z in (-Z10, 0.0, Z10))
    return {
        "date": _iso(ahead.day + days),
        "p10": _text(low, ahead),
        "p50": _text(middle, ahead),
        "p90": _text(high, ahead),
    }


def _reasons(ahead: Outlook, found: Danger, about: Circumstances) -> Iterator[Reason]:
    """What leads to the lowest point, with exact contributions; then the next income after it, which comes too late."""
    usual = _text(round(about.turnover_minor), ahead)
    now = _text(ahead.balance_minor, ahead)
    yield Reason("BALANCE", "balance", now, usual, found.balance, f"{now} {ahead.currency} are on the account")
    by_size = sorted(found.flows, key=lambda part: -abs(part[1]))
    for flow, contribution in by_size[:REASONS_MAX]:
        if flow.amount_minor < 0:
            yield _payment(ahead, flow, "BILL_AHEAD", "leaves", contribution)
        else:
            yield _payment(ahead, flow, "INCOME_AHEAD", "is expected", contribution)
    others = by_size[REASONS_MAX:]
    if others:
        total = _text(round(sum(flow.probability * flow.amount_minor for flow, _ in others)), ahead)
        words = counted(
            len(others),
            "smaller recurring payment until then comes to",
            "smaller recurring payments until then come to",
        )
        text = f"{words} {total} {ahead.currency}"
        yield Reason("OTHER_PAYMENTS", "payments", total, usual, sum(part for _, part in others), text)
    spent = _text(round(ahead.everyday[found.days]), ahead)
    text = f"everyday movements, with what is put aside or fetched, come to about {spent} {ahead.currency} until then"
    yield Reason("EVERYDAY", "everyday", spent, usual, found.everyday, text)
    days = days_below(ahead, about.days)
    if days:
        text = f"on {days} of the coming {about.days} days less than nothing is expected"
        yield Reason("DAYS_BELOW", "days", days, 0, found.below, text)
    if about.reserve_minor > 0.0:
        kept = _text(round(about.reserve_minor), ahead)
        yield Reason(
            "RESERVE", "savings", kept, usual, found.reserve, f"{kept} {ahead.currency} are on savings accounts"
        )
    for flow in ahead.flows:
        if flow.amount_minor > 0 and ahead.index_of(flow) >= found.days:
            yield _payment(ahead, flow, "INCOME_LATER", "is expected only", 0.0)
            return


def _payment(ahead: Outlook, flow: Flow, code: str, verb: str, contribution: float) -> Reason:
    on = _iso(ahead.day + ahead.index_of(flow))
    amount = _text(round(abs(flow.amount_minor)), ahead)
    # What is due or overdue the forecast counts as tomorrow's, but nobody expects a missed salary just then.
    overdue = f"is due and has not {'left' if flow.amount_minor < 0 else 'come'} yet"
    when = f"{verb} on {on}" if day_of(flow.due_us) > ahead.day else overdue
    return Reason(code, "payment", amount, on, contribution, f"{flow.name}: {amount} {ahead.currency} {when}")


def _iso(day: int) -> str:
    return date_of(day).isoformat()


def _text(minor: int, ahead: Outlook) -> str:
    return format_minor(minor, ahead.currency)
