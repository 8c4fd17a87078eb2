"""Which truth answers which signal, and when an alarm counts as a hit: the table `HITS`.

docs/scorecard.md gives the reason of each window. A window is reckoned from the case's own times:

    opens  = start - before
    closes = base + after        base: the start, or the end where the rule says so and the case has one

"lead" rules anticipate: the window is half open, an alarm at or after the base is too late, and lead = base - alarm.
"delay" rules detect: delay = alarm - start, and an alarm after the window but before the case's end is late, not false.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class Case(NamedTuple):
    """One line of truth. Times are UTC microseconds; `detail` is what the truth's author wrote, possibly empty."""

    kind: str
    customer_id: str
    start_us: int
    end_us: int | None
    detail: dict[str, object]


class Rule(NamedTuple):
    """How one kind of truth answers one signal type. `value` is what the alarm's detail should say of such a case (see
    `STATES`); `excuses` marks a kind that makes the alarm true without being what the type is for: no false alarm, but
    no case of its own. With `named`, an alarm that a transaction of the case's detail.transaction_ids triggered hits it
    whenever it comes."""

    kind: str
    measure: Literal["lead", "delay"]
    before_us: int
    after_us: int
    base: Literal["start", "end"] = "start"
    value: str | None = None
    excuses: bool = False
    named: bool = False

    def base_us(self, case: Case) -> int:
        return case.start_us if self.base == "start" or case.end_us is None else max(case.start_us, case.end_us)

    def window_us(self, case: Case) -> tuple[int, int]:
        """First and last microsecond at which an alarm hits."""
        half_open = 1 if self.measure == "lead" else 0
        return case.start_us - self.before_us, self.base_us(case) + self.after_us - half_open

    def pardoned_until_us(self, case: Case) -> int:
        """Until when an alarm is at worst late: a detection stays true while its case lasts, an anticipation
        doesn't."""
        closes_us = self.window_us(case)[1]
        return closes_us if self.measure == "lead" else max(closes_us, case.end_us or 0)


def ahead(kind: str, days: int, base: Literal["start", "end"] = "start", excuses: bool = False) -> Rule:
    """An anticipation: from `days` before the start up to the base."""
    return Rule(kind, "lead", days * DAY_US, 0, base, None, excuses)


def found(
    kind: str,
    days: int,
    base: Literal["start", "end"] = "start",
    value: str | None = None,
    excuses: bool = False,
    early_days: int = 0,
    named: bool = False,
) -> Rule:
    """A detection: from the start (or `early_days` before) until `days` after the base."""
    return Rule(kind, "delay", early_days * DAY_US, days * DAY_US, base, value, excuses, named)


FRAUD = (
    found("takeover", 2, base="end", named=True),
    found("compromised_merchant", 3, named=True),
    found("fraud", 2, base="end", named=True),
    found("impossible_travel", 2, excuses=True, named=True),
)

HITS: dict[str, tuple[Rule, ...]] = {
    "anomaly.transaction": FRAUD,
    "anomaly.velocity": (
        found("takeover", 2, base="end"),
        found("velocity", 2, base="end"),
        found("fraud", 2, base="end", excuses=True),
        found("compromised_merchant", 3, excuses=True),
    ),
    "anomaly.geo": (
        found("impossible_travel", 2, value="impossible"),
        found("trip", 14, value="trip"),
        found("relocation", 60, value="relocation"),
        found("takeover", 2, base="end", excuses=True),
    ),
    "anomaly.category_surge": (found("medical_surge", 60), found("category_surge", 60)),
    "anomaly.income_missed": (found("income_missed", 10), found("income_drop", 45, excuses=True)),
    "anomaly.income_drop": (found("income_drop", 45), found("income_missed", 45, excuses=True)),
    "intent.home_purchase": (ahead("home_purchase", 180, base="end"),),
    "intent.churn": (ahead("churn", 120, base="end"),),
    "intent.product": (
        ahead("product", 120, base="end"),
        ahead("home_purchase", 180, base="end", excuses=True),
    ),
    "intent.life_event": (found("life_event", 90, early_days=60),),
    "intent.refinance": (found("refinance", 30),),
    "alert.overdraft_ahead": (ahead("overdraft", 14),),
    "alert.price_rise": (found("price_rise", 45), found("bill_changed", 45, excuses=True)),
    "alert.bill_changed": (found("bill_changed", 45), found("price_rise", 45, excuses=True)),
    "alert.duplicate_charge": (found("duplicate_charge", 5, named=True),),
    "alert.new_subscription": (found("new_subscription", 65),),
    "alert.fee": (found("fee", 3, named=True),),
    "alert.bill_due": (ahead("bill_due", 10),),
    "alert.rate_change": (found("rate_change", 3), found("refinance", 30, excuses=True)),
}

FLOORS = ("null", "random")
"""Last part of the names of detectors that look at nothing; they are scored against fraud, the rarest and hardest
truth."""

NULL_TYPE = "anomaly.null"
"""Always shown, even if no such detector ran: what silence earns."""

ALIASES = {
    "lost_job": "income_missed",
    "mortgage": "home_purchase",
    "overdraft_ahead": "overdraft",
    "burst": "velocity",
}
"""Other names of a kind, as somebody else's truth may spell it."""

PURPOSES: dict[str, tuple[str, ...]] = {
    "intent": ("marketing", "profiling"),
    "anomaly.category_surge": ("health",),
}
"""What a type, or all types of a family, may be said for: of customers who refuse it nothing can be said, nor be asked for."""

STATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "anomaly.geo": ("kind", ()),
    "anomaly.category_surge": ("category", ("category",)),
    "intent.product": ("product", ("product",)),
    "intent.life_event": ("kind", ("kind", "event", "life_event", "type")),
}
"""What a type's alarm says in its `details`, and under which names the truth's `detail` may give the right answer."""

EFFECTS: dict[str, tuple[str, tuple[str, ...]]] = {"intent.refinance": ("saving_per_month", ("saving_per_month",))}
"""As STATES, where what is said is an amount: it is right to the cent or wrong, and no class of its own."""

DATES: dict[str, tuple[str, ...]] = {
    "alert.overdraft_ahead": ("date",),
    "intent.product": ("expected_on",),
    "alert.bill_due": ("date", "due", "expected_on"),
}
"""Under which names a type's alarm says in its `details` when the thing will happen."""


def rules_of(signal_type: str) -> tuple[Rule, ...]:
    """The rules of a signal type; those of fraud for a floor; none for a type that the table doesn't know."""
    if is_floor(signal_type):
        return FRAUD
    return HITS.get(signal_type, ())


def purposes_of(signal_type: str) -> tuple[str, ...]:
    """
    >>> purposes_of("intent.churn"), purposes_of("anomaly.geo")
    (('marketing', 'profiling'), ())
    """
    return PURPOSES.get(signal_type) or PURPOSES.get(signal_type.partition(".")[0], ())


def is_floor(signal_type: str) -> bool:
    """
    >>> is_floor("anomaly.random"), is_floor("anomaly.geo")
    (True, False)
    """
    return signal_type.rpartition(".")[2] in FLOORS


def known_kinds() -> frozenset[str]:
    return frozenset(rule.kind for rules in HITS.values() for rule in rules)


def expected_value(signal_type: str, rule: Rule, case: Case) -> str | None:
    """What an alarm of this type should say of this case; None if the truth doesn't tell."""
    if rule.value is not None:
        return rule.value
    for name in (STATES.get(signal_type) or EFFECTS.get(signal_type) or ("", ()))[1]:
        value = case.detail.get(name)
        if isinstance(value, str):
            return value
    return None
