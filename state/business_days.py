"""The calendar of payments: days as numbers since 1970-01-01 (UTC), and the days on which banks of a currency are closed.

Who pays when is a matter of the currency's payment system more than of the customer's country: the euro's is closed on six
days a year all over the euro area, whatever is celebrated in a town. Holidays come from the library `holidays`.
"""

from __future__ import annotations

from datetime import date
from functools import cache, lru_cache
from typing import Final

import holidays

EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
DAY_US: Final = 86_400_000_000
LAST_DAY: Final = date(2201, 12, 31).toordinal() - EPOCH_ORDINAL
MARKETS: Final = {"EUR": "XECB"}
"""Payment systems that the library knows by name."""
SATURDAY_SUNDAY: Final = frozenset((5, 6))


def day_of(time_us: int) -> int:
    """
    >>> day_of(86_400_000_000 * 2 + 5)
    2
    """
    return time_us // DAY_US


def date_of(day: int) -> date:
    """
    >>> date_of(20_000).isoformat()
    '2024-10-04'
    """
    return date.fromordinal(min(day, LAST_DAY) + EPOCH_ORDINAL)


def day_in_month(month: int, day_of_month: int) -> int:
    """The day number of a day of a month (counted from year 0, January = 0), or of the month's last day if it has fewer.

    >>> date_of(day_in_month(2024 * 12 + 1, 31)).isoformat()
    '2024-02-29'
    """
    year, month_of_year = divmod(month, 12)
    first = date(year, month_of_year + 1, 1).toordinal() - EPOCH_ORDINAL
    return first + min(day_of_month, month_length(month)) - 1


@lru_cache(maxsize=4096)
def month_length(month: int) -> int:
    """
    >>> month_length(2023 * 12 + 1)
    28
    """
    year, month_of_year = divmod(month, 12)
    following = date(year + (month_of_year == 11), (month_of_year + 1) % 12 + 1, 1)
    return following.toordinal() - date(year, month_of_year + 1, 1).toordinal()


@lru_cache(maxsize=1024)
def closed_days(currency: str, year: int) -> frozenset[int]:
    """The holidays of a year as day numbers; none for a currency of no country that the library knows.

    >>> [date_of(day).isoformat() for day in sorted(closed_days("EUR", 2024))][:3]
    ['2024-01-01', '2024-03-29', '2024-04-01']
    """
    market, country = MARKETS.get(currency), currency[:2]
    if market is not None:
        closed = holidays.financial_holidays(market, years=year)
    elif country in _countries():
        closed = holidays.country_holidays(country, years=year)
    else:
        return frozenset()
    return frozenset(day.toordinal() - EPOCH_ORDINAL for day in closed)


@cache
def _countries() -> frozenset[str]:
    """Codes of the countries that the library knows. To ask imports them all, a tenth of a worker's start: so only where needed."""
    return frozenset(holidays.list_supported_countries(include_aliases=False))


@cache
def weekend(currency: str) -> frozenset[int]:
    """The days of the week (Monday is 0) on which banks are closed: where most pray on Fridays, often Friday and Saturday.

    >>> sorted(weekend("EUR")), sorted(weekend("KWD"))
    ([5, 6], [4, 5])
    """
    country = currency[:2]
    if currency in MARKETS or country not in _countries():
        return SATURDAY_SUNDAY
    return frozenset(holidays.country_holidays(country).weekend)


def is_weekend(day: int, currency: str) -> bool:
    """
    >>> is_weekend(20_001, "EUR"), is_weekend(20_000, "EUR")  # Saturday, Friday
    (True, False)
    """
    return (day + 3) % 7 in weekend(currency)


@lru_cache(maxsize=16_384)
def roll(day: int, step: int, currency: str) -> int:
    """The day itself if banks are open, else the next open one in the direction of `step` (-1, 1; 0 leaves it as it is).

    >>> date_of(roll(day_in_month(2024 * 12 + 2, 30), 1, "EUR")).isoformat()  # a Saturday before Easter Monday
    '2024-04-02'
    """
    while step and (is_weekend(day, currency) or day in closed_days(currency, date_of(day).year)):
        day += step
    return day
