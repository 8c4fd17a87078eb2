"""Money between a customer's own accounts: standing orders to savings, what is left over, help in need.

The amounts of sweeps and help depend on balances, so the ledger works them out; here only their times are set.
"""

from __future__ import annotations

from simulation.life import CURRENT, INTEREST, OBSERVE, SWEEP, TOP_UP, Entry, Life

SECONDS_AFTER_MIDNIGHT = 30 * 60


def look_after_money(life: Life) -> None:
    """Schedules everything that a customer and the bank do with the accounts themselves."""
    draws = life.draws("savings")
    person, savings, fund = life.person, life.account("savings"), life.account("investment")
    if savings >= 0:
        opened = life.accounts[savings].first_day
        plan_minor = person.income_minor * draws.between(2, 8) // 100 // 500 * 500
        planned = draws.chance(20 if person.tight else 50)
        sweeps = draws.chance(70) and not person.tight
        sweep_day, plan_day, second = draws.between(1, 28), draws.between(1, 10), draws.between(28_000, 75_000)
        for day in life.almanac.month_days(plan_day) if planned and not opened else ():
            at_us = life.time_us(life.almanac.business_day(day, 1), 4 * 3600 + draws.below(1200))
            life.shift(at_us, CURRENT, savings, plan_minor, "Savings plan", "standing_order")
        for day in (day for day in life.almanac.month_days(sweep_day) if sweeps and day > opened):
            life.entries.append(Entry(life.time_us(day, second + draws.below(3600)), SWEEP, savings, 0, "internal", ""))
        if not person.tight or draws.chance(50):
            for day in range(opened + 1 + draws.below(7), life.days, 7):
                life.entries.append(
                    Entry(life.time_us(day, second + draws.below(3600)), TOP_UP, savings, 0, "internal", "")
                )
    if fund >= 0 and not life.accounts[fund].first_day:
        fund_minor = person.income_minor * draws.between(3, 10) // 100 // 500 * 500
        for day in life.almanac.month_days(draws.between(2, 15)):
            at_us = life.time_us(life.almanac.business_day(day, 1), 8 * 3600 + draws.below(3600))
            life.shift(at_us, CURRENT, fund, fund_minor, "Fund plan", "standing_order")


def report_accounts(life: Life) -> None:
    """Month by month, interest on the last evening and the balance of each account the morning after."""
    for index, account in enumerate(life.accounts):
        opened = max(0, account.first_day)
        for day in sorted({opened, *life.almanac.month_days(1)}):
            if opened <= day <= min(account.last_day, life.days - 1):
                second = SECONDS_AFTER_MIDNIGHT + index
                life.entries.append(Entry(life.time_us(day, second), OBSERVE, index, 0, "", ""))
                if account.rate_bp and day > opened:
                    life.entries.append(Entry(life.time_us(day, second - 900), INTEREST, index, 0, "interest", ""))
