"""Times: UTC microseconds inside, RFC 3339 outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1)
"""Naive, because arithmetic on naive times is quicker; it stands for UTC."""
NEVER_US = 1 << 62
"""After any time there can be."""


def rfc3339(time_us: int) -> str:
    """The one spelling of a time in ids and outputs: UTC, six digits after the second, Z.

    >>> rfc3339(1_735_689_600_000_001), rfc3339(0)
    ('2025-01-01T00:00:00.000001Z', '1970-01-01T00:00:00.000000Z')
    """
    day, of_day_us = divmod(time_us, 86_400_000_000)
    of_day_s, us = divmod(of_day_us, 1_000_000)
    minutes, s = divmod(of_day_s, 60)
    return "%sT%02d:%02d:%02d.%06dZ" % (_date(day), minutes // 60, minutes % 60, s, us)  # noqa: UP031 - an f-string takes half as long again


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    """Most times that are spelled lie within a few days."""
    return (EPOCH + timedelta(days=day)).date().isoformat()


def hour_of(time_us: int) -> int:
    """The hour of the day in UTC, 0 to 23.

    >>> hour_of(3_600_000_000 * 25)
    1
    """
    return time_us // 3_600_000_000 % 24


def parse_rfc3339(text: str) -> int:
    """The reverse of `rfc3339`, for texts that we wrote ourselves: UTC microseconds.

    >>> parse_rfc3339("1970-01-01T00:00:01.000000Z")
    1000000
    """
    time = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    return (time - EPOCH) // timedelta(microseconds=1)
