"""Books a customer's planned entries in order of time: balances to the cent, declined purchases, transfers whose amount
depends on a balance, overdrafts as they arise, and the JSON of every transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from simulation.almanac import CLOCK, DAY_US, SECOND_US
from simulation.bank import fragment
from simulation.life import (
    BOOKED,
    CURRENT,
    DRAIN,
    INTEREST,
    LATE_FEE,
    OBSERVE,
    OPTIONAL,
    REMIND,
    REPAY,
    SWEEP,
    TOP_UP,
    TOPIC,
    Account,
    Entry,
    EntryRow,
    Life,
)

CURRENCY = "EUR"
KEEP_PCT = 60
"""Share of a month's income that stays on the current account when the rest is swept to savings."""

HELP_BELOW_MINOR = 10_000
HELP_UP_TO_MINOR = 30_000
MINIMUM_PAYMENT_MINOR = 3000
CENTS = tuple(f".{minor:02d}" for minor in range(100))


class Booking(NamedTuple):
    """A booked transaction, for those who add dirt or check the books. `amount_minor` is negative for a debit."""

    time_us: int
    account: int
    amount_minor: int
    channel: str
    what: str
    balance_minor: int
    case: int


BookingRow = tuple[int, int, int, str, str, int, int]
"""A Booking as the ledger writes it."""


def money(minor: int) -> str:
    """
    >>> money(-1205)
    '-12.05'
    """
    return f"-{-minor // 100}.{-minor % 100:02d}" if minor < 0 else f"{minor // 100}.{minor % 100:02d}"


class Ledger:
    """Books one life. Afterwards `bookings` are in order of time and `life.events` holds their records."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.balances_minor = [account.balance_minor for account in life.accounts]
        self.bookings: list[BookingRow] = []
        self.declined = 0
        self._opened_on = [opened_on(life, index) for index in range(len(life.accounts))]
        self._floors_minor = [-account.credit_limit_minor for account in life.accounts]
        self._floors_minor[CURRENT] = life.person.floor_minor
        self._heads = [transaction_head(life, account) for account in life.accounts]
        self._unpaid_minor: dict[int, int] = {}
        """By credit card: what is still to be paid at least of the bill told last."""
        self._below_since_us: int | None = None
        self._lowest_minor = 0

    def book(self) -> None:
        """Books all entries. The loop is written out because it runs for every transaction of the bank."""
        life = self.life
        iso, start_us = life.almanac.iso, life.almanac.start_us
        entries = life.entries
        entries.sort()
        end_us = life.time_us(life.horizon)
        ids = life.draws("transaction ids").hex_ids(most_bookings(entries), 24)
        used, last_us = 0, 0
        balances, bookings, events = self.balances_minor, self.bookings, life.events
        heads, floors_minor, topic = self._heads, self._floors_minor, TOPIC["in.transactions"]
        for planned in entries:
            if planned[0] >= end_us:
                break
            for time_us, rule, account, amount_minor, channel, what, case in (
                (planned,) if planned[1] <= OPTIONAL else self._decide(Entry(*planned))
            ):
                balance_minor = balances[account] + amount_minor
                if rule == OPTIONAL and balance_minor < floors_minor[account]:
                    self.declined += 1
                    continue
                last_us = booked_us = time_us if time_us > last_us else last_us + SECOND_US
                balances[account] = balance_minor
                transaction_id = ids[used]
                used += 1
                day, within_us = divmod(booked_us - start_us, DAY_US)
                balance = (
                    f"{balance_minor // 100}{CENTS[balance_minor % 100]}"
                    if balance_minor >= 0
                    else money(balance_minor)
                )
                if amount_minor < 0:
                    way, size_minor = "debit", -amount_minor
                else:
                    way, size_minor = "credit", amount_minor
                body = (
                    f'{{"transaction_id":"t-{transaction_id}",{heads[account]}"booked_at":"{iso[day]}{CLOCK[within_us // SECOND_US]}",'
                    f'"amount":"{size_minor // 100}{CENTS[size_minor % 100]}","direction":"{way}","status":"posted",'
                    f'"channel":"{channel}"{what},"balance_after":"{balance}"'
                )
                events.append((booked_us, topic, body))
                bookings.append((booked_us, account, amount_minor, channel, what, balance_minor, case))
                if account == CURRENT and (balance_minor < 0 or self._below_since_us is not None):
                    self._watch(booked_us, balance_minor)
                if case >= 0:
                    self._remember(case, booked_us, "t-" + transaction_id, what)
        if self._below_since_us is not None:
            self._end_overdraft(end_us)

    def _decide(self, entry: Entry) -> list[Entry]:
        """The bookings, if any, that an entry comes to whose amount depends on balances."""
        balance_minor, target_minor = self.balances_minor[CURRENT], self.balances_minor[entry.account]
        income_minor = self.life.person.income_minor
        if entry.rule == OBSERVE:
            self._observe(entry)
            return []
        if entry.rule == INTEREST:
            return self._charge_interest(entry)
        if entry.rule == SWEEP:
            spare_minor = (balance_minor - income_minor * KEEP_PCT // 100) // 10_000 * 10_000
            return self._move(entry, spare_minor, "To savings") if spare_minor > 0 else []
        if entry.rule == TOP_UP:
            if balance_minor >= HELP_BELOW_MINOR or target_minor < 5000:
                return []
            return self._move(
                entry, -min(target_minor, -(balance_minor - HELP_UP_TO_MINOR) // 5000 * 5000), "From savings"
            )
        if entry.rule == DRAIN:
            drained_minor = target_minor * entry.amount_minor // 100
            what = fragment(counterparty=entry.what, description="Transfer")
            return [entry._replace(rule=BOOKED, amount_minor=-drained_minor, what=what)] if drained_minor > 0 else []
        if entry.rule in (REMIND, LATE_FEE):
            return self._dun(entry)
        assert entry.rule == REPAY
        owed_minor = -target_minor
        if self.life.person.tight:
            owed_minor = min(owed_minor, max(MINIMUM_PAYMENT_MINOR, owed_minor // 4))
        self._unpaid_minor[entry.account] = self._unpaid_minor.get(entry.account, 0) - max(0, owed_minor)
        return self._move(entry, owed_minor, "Card bill") if owed_minor > 0 else []

    def _move(self, entry: Entry, amount_minor: int, description: str) -> list[Entry]:
        """From the current account to the entry's account, or back where the amount is negative."""
        sides = ((CURRENT, entry.account, -amount_minor), (entry.account, CURRENT, amount_minor))
        return [
            Entry(
                entry.time_us + step * SECOND_US,
                BOOKED,
                account,
                minor,
                entry.channel,
                fragment(counterparty=self.life.accounts[other].account_id, description=description),
            )
            for step, (account, other, minor) in enumerate(sorted(sides, key=lambda side: side[2]))
        ]

    def _dun(self, entry: Entry) -> list[Entry]:
        """A card's bill that is still unpaid is a case of bill_due; one that is paid too late costs a fee."""
        life, unpaid_minor = self.life, self._unpaid_minor.get(entry.account, 0)
        if unpaid_minor <= 0:
            return []
        account_id = life.accounts[entry.account].account_id
        if entry.rule == REMIND:
            due_us = life.time_us(entry.amount_minor)
            life.plant(
                "bill_due", None, due_us, due_us, stream="card", account_id=account_id, amount=money(unpaid_minor)
            )
            return []
        detail = {"account_id": account_id, "amount": money(-entry.amount_minor), "what": "Late payment"}
        case = life.plant("fee", None, entry.time_us, entry.time_us, **detail)
        return [entry._replace(rule=BOOKED, case=case)]

    def _charge_interest(self, entry: Entry) -> list[Entry]:
        account, balance_minor = self.life.accounts[entry.account], self.balances_minor[entry.account]
        if account.kind == "current" and balance_minor >= 0:
            return []
        interest_minor = abs(balance_minor) * account.rate_bp // 120_000 * (-1 if balance_minor < 0 else 1)
        what = fragment(description=f"Interest {account.product}")
        return [entry._replace(amount_minor=interest_minor, what=what, rule=BOOKED)] if interest_minor else []

    def _observe(self, entry: Entry) -> None:
        """Tells in.accounts what an account looks like now."""
        life, account, balance_minor = self.life, self.life.accounts[entry.account], self.balances_minor[entry.account]
        day = (entry.time_us - life.almanac.start_us) // DAY_US
        more: dict[str, Any] = {"interest_rate": account.rate_bp / 100}
        if account.kind == "current":
            more["overdraft_limit"] = money(account.overdraft_limit_minor)
        if account.kind == "credit_card":
            owed_minor = max(0, -balance_minor)
            more["credit_limit"] = money(account.credit_limit_minor)
            minimum_minor = min(owed_minor, max(MINIMUM_PAYMENT_MINOR, owed_minor // 20))
            self._unpaid_minor[entry.account] = minimum_minor
            more["minimum_payment"] = money(minimum_minor)
            due_days = life.almanac.month_days(account.payment_day) if account.payment_day else []
            due = next((due for due in due_days if due > day), None)
            if due is not None:
                more["payment_due"] = life.text(life.time_us(due))
        at = life.text(entry.time_us)
        record: dict[str, Any] = {"account_id": account.account_id, "customer_id": life.customer_id, "observed_at": at}
        record |= {"kind": account.kind, "currency": CURRENCY, "balance": money(balance_minor)} | more
        record |= {"product": account.product, "opened_on": self._opened_on[entry.account]}
        record["status"] = "closed" if day >= account.last_day else "open"
        life.events.append((entry.time_us, TOPIC["in.accounts"], orjson.dumps(record).decode()[:-1]))

    def _watch(self, time_us: int, balance_minor: int) -> None:
        """Follows the current account below zero and back."""
        if self._below_since_us is None:
            self._below_since_us, self._lowest_minor = time_us, balance_minor
        elif balance_minor >= 0:
            self._end_overdraft(time_us)
        else:
            self._lowest_minor = min(self._lowest_minor, balance_minor)

    def _end_overdraft(self, time_us: int) -> None:
        assert self._below_since_us is not None
        account_id = self.life.accounts[CURRENT].account_id
        detail = {"account_id": account_id, "lowest": money(self._lowest_minor)}
        self.life.plant("overdraft", None, self._below_since_us, time_us, **detail)
        self._below_since_us = None

    def _remember(self, index: int, time_us: int, transaction_id: str, what: str) -> None:
        """Notes a planted case's transaction and, later in the life, what the bank learns about it."""
        case = self.life.cases[index]
        case.transaction_ids.append(transaction_id)
        if case.label:
            merchant_id = orjson.loads("{" + what[1:] + "}").get("merchant_id")
            more = {"merchant_id": merchant_id} if merchant_id else {}
            occurred_at = self.life.text(time_us)
            at_us = time_us + case.label_delay_us
            self.life.label(at_us, case.label, transaction_id=transaction_id, occurred_at=occurred_at, **more)

    def adds_up(self) -> bool:
        """Whether, account by account, every booking's balance is the one before plus its amount."""
        balances = [account.balance_minor for account in self.life.accounts]
        for _, account, amount_minor, _, _, balance_minor, _ in self.bookings:
            balances[account] += amount_minor
            if balances[account] != balance_minor:
                return False
        return balances == self.balances_minor


def transaction_head(life: Life, account: Account) -> str:
    """The fields that all transactions of an account share."""
    return f'"customer_id":"{life.customer_id}","account_id":"{account.account_id}","currency":"{CURRENCY}",'


def most_bookings(entries: list[EntryRow]) -> int:
    """The largest number of bookings that entries can come to."""
    return sum(2 if entry[1] > OPTIONAL else 1 for entry in entries)


def opened_on(life: Life, index: int) -> str:
    """The date on which an account was opened, as a moment: older accounts go back up to fifteen years."""
    day = life.accounts[index].first_day
    if not day:
        day = -30 - int(life.identify("", "opened", index)[:8], 16) % 5000
    return life.text(life.time_us(day))
