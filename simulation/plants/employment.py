"""Lost jobs and cut pay.

A lost job: one payday the salary doesn't come, nor for months after (kind income_missed, at the payday). Decoys: a new
employer who pays on about the same day, a late payroll, parental leave with a benefit instead of the salary.
Cut pay: from one payday on the same employer pays clearly less (kind income_drop). Decoys: one short month of unpaid
leave, a temporary supplement that ends, a new tax class.
"""

from __future__ import annotations

from dataclasses import replace

from simulation.income import due_day, paydays
from simulation.ledger import money
from simulation.life import Life, Pay
from simulation.person import employer
from simulation.plants.story import Plant, Story, choose_free_day
from simulation.randomness import Draws

GROUP = "pay"
EMPLOYED = frozenset({"employed"})
GRACE_DAYS = 4
"""Late payrolls and new employers pay within so many days of the usual payday."""
KNOWN_PAYDAYS = 3
CYCLE_DAYS = 35
"""No regular pay comes less often."""


def next_payday(life: Life, pay: Pay, day: int) -> int | None:
    """The first nominal payday of a stream from `day` on."""
    return next(
        (nominal for nominal in paydays(life, pay) if nominal >= day and due_day(life, pay, nominal) < life.days), None
    )


def is_expected(life: Life, pay: Pay, nominal: int) -> bool:
    """Whether anybody could expect the payment of a nominal payday: some came before, and the last not long ago. What would have come
    again after months of parental leave is missed by nobody."""
    before = [day for day in paydays(life, pay) if day < nominal]
    return len(before) >= KNOWN_PAYDAYS and nominal - before[-1] <= CYCLE_DAYS


def choose_payday(life: Life, story: Story, draws: Draws) -> tuple[Pay, int] | None:
    """A regular stream of income and one of its paydays, at the story's time if the customer has such a stream by then,
    else at another time; None for somebody who never has one."""
    for _ in range(20):
        day = choose_free_day(life, story, draws, GROUP, 125, 45, before=50, after=50)
        for pay in reversed(life.pays):
            nominal = next_payday(life, pay, day) if pay.kind != "freelance" else None
            if nominal is not None and nominal <= day + 32:
                life.taken.append((GROUP, day - 50, day + 50))
                return pay, nominal
    for pay in life.pays:
        days = paydays(life, pay) if pay.kind != "freelance" else []
        if len(days) > 2 and due_day(life, pay, days[len(days) // 2]) < life.days:
            return pay, days[len(days) // 2]
    return None


def lose_pay(life: Life, pay: Pay, nominal: int, last_day: int, cause: str) -> None:
    """Records that a salary fails to come; `last_day` is the day when money comes again."""
    due = due_day(life, pay, nominal)
    detail = {
        "stream": pay.payer,
        "expected_on": life.almanac.iso[due],
        "amount": money(pay.amount_minor),
        "cause": cause,
    }
    life.plant("income_missed", None, life.time_us(due), life.time_us(last_day), **detail)


def tell_missed(life: Life, story: Story, draws: Draws) -> None:
    found = choose_payday(life, story, draws)
    if found is None:
        return
    pay, nominal = found
    due = due_day(life, pay, nominal)
    if story.variant is None:
        back = nominal + draws.between(45, 150)
        lose_pay(life, pay, nominal, min(back, life.days), "lost_job")
        next_minor = pay.amount_minor * draws.between(80, 105) // 100
        life.pays.append(replace(pay, payer=employer(draws), amount_minor=next_minor, first_day=back))
        pay.last_day = nominal - 1
        for category in ("restaurants", "clothing", "entertainment", "electronics", "online"):
            life.scale(category, nominal + 20, back, 60)
        life.taken.append((GROUP, nominal, back + 40))
        return
    life.plant("income_missed", story.variant, life.time_us(due), life.time_us(due + GRACE_DAYS), stream=pay.payer)
    if story.variant == "late_payroll":
        usual = due_day(life, pay, nominal)
        for delay_days in (3, 2, 1) if story.convincing else (2, 1):
            pay.delays_days[nominal] = delay_days
            if due_day(life, pay, nominal) - usual <= GRACE_DAYS:
                return
        del pay.delays_days[nominal]
    elif story.variant == "new_employer":
        next_minor = pay.amount_minor * draws.between(100, 108) // 100
        life.pays.append(replace(pay, payer=employer(draws), amount_minor=next_minor, first_day=nominal))
        pay.last_day = nominal - 1
    else:
        end = nominal + draws.between(100, 200)
        benefit_minor = pay.amount_minor * draws.between(88, 97) // 100
        benefit = replace(
            pay, payer="Family Benefits Agency", amount_minor=benefit_minor, description="Parental benefit"
        )
        # The benefit's pauses are a list of its own: it comes while the salary doesn't.
        life.pays.append(replace(benefit, first_day=nominal, last_day=end - 1, pauses=list(pay.pauses)))
        pay.pauses.append((nominal, end))


def tell_drop(life: Life, story: Story, draws: Draws) -> None:
    found = choose_payday(life, story, draws)
    if found is None:
        return
    pay, nominal = found
    due = due_day(life, pay, nominal)
    following = next_payday(life, pay, nominal + 1)
    if story.variant is None:
        pct = 100 - min(60, draws.between(28, 42) * life.dial.strength_pct // 100)
        pay.changes.append((due, pct))
        detail = {"stream": pay.payer, "old": money(pay.amount_minor), "new": money(pay.amount_minor * pct // 100)}
        life.plant("income_drop", None, life.time_us(due), life.time_us(due), **detail)
        return
    life.plant("income_drop", story.variant, life.time_us(due), life.time_us(due), stream=pay.payer)
    if story.variant == "unpaid_leave":
        pay.changes.append((due, 80 if story.convincing else 90))
        if following is not None:
            pay.changes.append((due_day(life, pay, following), 100))
    elif story.variant == "supplement_ends":
        pay.changes += [(max(0, due - draws.between(60, 100)), 112), (due, 100)]
    else:
        pay.changes.append((due, 96))


MISSED = Plant("income_missed", 16, ("new_employer", "late_payroll", "parental_leave"), tell_missed, 3, EMPLOYED)
DROP = Plant("income_drop", 20, ("unpaid_leave", "supplement_ends", "tax_class"), tell_drop, 0, EMPLOYED)
