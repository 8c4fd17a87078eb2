"""The customer's profile for others: what the topic `profiles` is told, and when.

A record is written with the first event that comes `min_interval_s` or later after the record before; what changes in between is told
with the next one, and at the latest `max_delay_s` after the record before, or at the end of bounded input. Both count on the arrival
clock, so a replay writes the same records. Who may not be profiled (docs/consent.md) has none: a record that was written is withdrawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from operators.catalogue import read_consents
from operators.consent import SENSITIVE, Consents
from operators.detector import confidence
from state.business_days import date_of, day_of
from state.categories import GROUPS
from state.customer import Account, Customer, Timer
from state.events import Event
from state.money import format_minor
from state.profile import (
    AccountState,
    Activity,
    ConsentState,
    Direction,
    Profile,
    ProfileWithdrawn,
    RecurringStream,
    StreamStatus,
    WindowTotals,
)
from state.recurring import Status
from state.settings import ConfigError, Settings
from state.step import Emission
from state.times import rfc3339
from state.windows import ALL_GROUPS, WINDOWS, Totals, pack_key, unpack_key

NAME: Final = "profiles"
VERSION: Final = 1
ALL: Final = "all"
SLOTS: Final = tuple((name, 2 * w) for w, (name, _) in enumerate(WINDOWS))
"""Where a window's count is in its totals; the sum follows."""
NOTHING: Final[Totals] = [0] * (2 * len(WINDOWS))
NEVER: Final = (0, 0.0)
OTHER: Final = GROUPS.index("other")
STATUSES: Final[tuple[StreamStatus, ...]] = ("EARLY", "MATURE", "ENDED")
"""By Status."""
DIRECTIONS: Final[tuple[Direction, Direction]] = ("debit", "credit")


class State(msgspec.Struct, array_like=True, gc=False):
    """What was written of a customer."""

    revision: int = 0
    """Of the newest record."""
    written_us: int = 0
    """When it was due: as far as the customer's arrival clock was then."""
    withdrawn: bool = True
    """Whether there is no record to be read: none was written yet, or it was withdrawn."""
    hides: bool = False
    """Whether the newest record hides what needs consent to health."""
    ended_us: int = 0
    """When the newest consent ended by itself that did: consent is asked for as of then, though no event is as new."""


class Publishing:
    """Decides when a customer's profile is written, and writes it. Keeps nothing between events."""

    def __init__(self, settings: Settings, consents: Consents) -> None:
        """Raises ConfigError for a category that there is not."""
        profiles = settings.profiles
        for category in profiles.sensitive_categories:
            if category not in GROUPS:
                raise ConfigError(
                    f"[profiles] sensitive_categories: there is no category {category!r}; use some of {', '.join(GROUPS)}"
                )
        self._min_interval_us = int(profiles.min_interval_s * 1e6)
        # A timer fires when the clock is past its due time by the allowed lateness.
        lateness_us = int(settings.shard.allowed_lateness_s * 1e6)
        self._max_delay_us = max(lateness_us, int(profiles.max_delay_s * 1e6))
        self._due_us = self._max_delay_us - lateness_us
        self._purposes = profiles.purposes
        self._sensitive = frozenset(profiles.sensitive_categories)
        self._consents = consents

    def changed(self, customer: Customer, event: Event, out: list[Emission]) -> None:
        """The customer's profile has changed by `event`, which came when it did: the customer's clock may be further, if the event was
        held back."""
        state: State | None = customer.states.get(NAME)
        if state is None:
            state = customer.states[NAME] = State()
        if self._withheld(customer, state, self._purposes):
            self._withdraw(customer, state, event, out)
        elif self._hides(customer, state) != state.hides and not state.withdrawn:
            self._write(customer, state, event, out)
        elif state.withdrawn or event.arrival_us >= state.written_us + self._min_interval_us:
            state.written_us = max(state.written_us, event.arrival_us)
            self._write(customer, state, event, out)
        elif not is_waiting(customer):
            customer.timers.append(Timer(state.written_us + self._due_us, NAME, ""))

    def come_due(self, customer: Customer, event: Event | None, out: list[Emission]) -> None:
        """The longest delay is over."""
        state: State = customer.states[NAME]
        # Not the customer's clock: who looks because of the next event has moved that already.
        state.written_us += self._max_delay_us
        self._write(customer, state, event, out)

    def finish(self, customer: Customer, event: Event | None, out: list[Emission]) -> None:
        """Bounded input has ended."""
        state: State = customer.states[NAME]
        state.written_us = customer.arrival_us
        self._write(customer, state, event, out)

    def expired(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        """A consent has ended by itself."""
        state: State | None = customer.states.get(NAME)
        if state is not None:
            state.ended_us = max(state.ended_us, timer.due_us)
            if not state.withdrawn and (
                self._withheld(customer, state, self._purposes) or self._hides(customer, state) != state.hides
            ):
                self._write(customer, state, None, out)

    def _withheld(self, customer: Customer, state: State, purposes: tuple[str, ...]) -> bool:
        now_us = max(customer.newest_us, state.ended_us)
        return self._consents.withheld(customer, purposes, now_us) is not None

    def _hides(self, customer: Customer, state: State) -> bool:
        return bool(self._sensitive) and self._withheld(customer, state, (SENSITIVE,))

    def _write(self, customer: Customer, state: State, event: Event | None, out: list[Emission]) -> None:
        if self._withheld(customer, state, self._purposes):
            self._withdraw(customer, state, event, out)
            return
        _told(customer, state, withdrawn=False)
        state.hides = self._hides(customer, state)
        hidden = self._sensitive if state.hides else frozenset[str]()
        out.append(Emission(profile_of(customer, state.revision, hidden), event))

    def _withdraw(self, customer: Customer, state: State, event: Event | None, out: list[Emission]) -> None:
        if not state.withdrawn:
            _told(customer, state, withdrawn=True)
            out.append(Emission(ProfileWithdrawn(customer.customer_id, state.revision), event))


def _told(customer: Customer, state: State, *, withdrawn: bool) -> None:
    state.revision += 1
    state.withdrawn = withdrawn
    if is_waiting(customer):
        customer.timers = [timer for timer in customer.timers if timer.name != NAME]


def is_waiting(customer: Customer) -> bool:
    """Whether something has changed since the newest record."""
    return any(timer.name == NAME for timer in customer.timers)


def profile_of(customer: Customer, revision: int = 0, hidden: frozenset[str] = frozenset()) -> Profile:
    """The profile as it is now, without the categories in `hidden`. Nothing of it changes with the customer."""
    newest_us = customer.newest_us
    return Profile(
        customer_id=customer.customer_id,
        revision=revision,
        event_time=rfc3339(newest_us),
        windows_end=rfc3339(customer.ring.anchor_us) if customer.ring.anchor_us else None,
        confidence=confidence(customer.matured),
        transactions_learned=customer.matured,
        activity=_activity(customer, hidden),
        recurring=_recurring(customer, day_of(newest_us)),
        accounts=[_account(customer, id_, account) for id_, account in sorted(customer.accounts.items())],
        consents=[
            ConsentState(
                purpose,
                "granted" if decision.granted else "revoked",
                rfc3339(decision.decided_us),
                None if decision.expires_us is None else rfc3339(decision.expires_us),
            )
            for purpose, decision in sorted(customer.consents.items())
        ],
        labels=dict(sorted(customer.labels.items())),
        countries=list(customer.countries),
        merchants_known=len(customer.merchants),
        devices_known=len(customer.devices),
        hours=list(customer.hours),
    )


def _activity(customer: Customer, hidden: frozenset[str]) -> list[Activity]:
    totals = _folded(customer.ring.totals, hidden) if hidden else customer.ring.totals
    habits = {key: (n, mean) for key, n, mean in customer.amounts.means()}
    found = []
    for key in sorted({*totals, *habits}):
        currency, credit, group = unpack_key(key)
        category = ALL if group == ALL_GROUPS else GROUPS[group]
        if category in hidden:
            continue
        windows = {}
        own = totals.get(key, NOTHING)
        for name, slot in SLOTS:
            if own[slot]:
                windows[name] = WindowTotals(own[slot], format_minor(own[slot + 1], currency))
        learned, mean = habits.get(key, NEVER)
        usual = math.expm1(mean) if learned else None
        found.append(Activity(currency, DIRECTIONS[credit], category, windows, learned, usual))
    return found


def _folded(by_key: Mapping[int, Totals], hidden: frozenset[str]) -> dict[int, Totals]:
    """The totals with what is hidden among the other: left out, it could be found by subtracting the rest from all."""
    folded: dict[int, Totals] = {}
    for key, totals in by_key.items():
        currency, credit, group = unpack_key(key)
        shown = pack_key(currency, credit, OTHER) if group != ALL_GROUPS and GROUPS[group] in hidden else key
        before = folded.get(shown)
        folded[shown] = totals if before is None else [a + b for a, b in zip(before, totals, strict=True)]
    return folded


def _recurring(customer: Customer, today: int) -> list[RecurringStream]:
    found = []
    for stream in customer.current_streams():
        if stream.rhythm is None:
            continue
        currency, credit, _ = unpack_key(stream.key)
        status = stream.status(today)
        due_day = None if status is Status.ENDED else stream.due_day()
        found.append(
            RecurringStream(
                stream.name,
                STATUSES[status],
                DIRECTIONS[credit],
                currency,
                format_minor(round(stream.usual_minor()[0]), currency),
                stream.rhythm.name,
                stream.channel,
                stream.account or None,
                stream.hits,
                _date(stream.days[-1]),
                None if due_day is None else _date(due_day),
                stream.last_id,
            )
        )
    return found


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    return date_of(day).isoformat()


def _account(customer: Customer, account_id: str, account: Account) -> AccountState:
    currency, minor = account.currency, customer.balance_minor(account_id)

    def money(amount_minor: int | None) -> str | None:
        return None if amount_minor is None else format_minor(amount_minor, currency)

    return AccountState(
        account_id=account_id,
        kind=account.kind,
        currency=currency,
        status=account.status,
        observed_at=rfc3339(account.observed_us),
        balance=format_minor(account.balance_minor if minor is None else minor, currency),
        overdraft_limit=money(account.overdraft_limit_minor),
        credit_limit=money(account.credit_limit_minor),
        interest_rate=account.interest_rate,
        minimum_payment=money(account.payment_minor),
        payment_due=None if account.due_us is None else rfc3339(account.due_us),
    )


def publishing_of(settings: Settings) -> Publishing | None:
    """What writes profiles; None where that is switched off. Raises ConfigError."""
    return Publishing(settings, read_consents(settings.detectors)) if settings.profiles.enabled else None
