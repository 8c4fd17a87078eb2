"""The Fraud Detection Handbook's fifteen hand-made windows, for the baselines: what a bank's data scientist would build first.

amount; weekend; night; for 1, 7 and 30 days the customer's number of payments and mean amount (this one included), and the
merchant's number of payments and share of frauds, both up to the label delay before the payment.
"""

from __future__ import annotations

import numpy as np
from fraud_payments import Array, Payments

from state.windows import DAY_US, HOUR_US

WINDOWS_DAYS = (1, 7, 30)
NIGHT_ENDS_HOUR = 6


def hand_made_windows(payments: Payments, label_delay_days: int) -> Array:
    """One row a payment, fifteen columns."""
    delay_us = label_delay_days * DAY_US
    known_in_time = (payments.fraud == 1) & (payments.known_us - payments.time_us <= delay_us)
    days = payments.time_us // DAY_US
    # 1970-01-01 was a Thursday.
    columns = [payments.amounts, (days + 3) % 7 >= 5, payments.time_us % DAY_US < NIGHT_ENDS_HOUR * HOUR_US]
    customers = _Timeline(payments.customers, payments.time_us)
    merchants = _Timeline(payments.merchants, payments.time_us)
    for length_days in WINDOWS_DAYS:
        counts, sums = customers.within(payments.amounts, length_days * DAY_US, 0)
        columns += [counts, sums / np.maximum(counts, 1)]
        counts, frauds = merchants.within(known_in_time, length_days * DAY_US, delay_us)
        columns += [counts, frauds / np.maximum(counts, 1)]
    return np.column_stack(columns).astype(np.float64)


class _Timeline:
    """The payments of each owner laid end to end in one line, far enough apart that no window reaches the neighbour's."""

    def __init__(self, owners: Array, time_us: Array) -> None:
        seconds = (time_us - time_us.min()) // 1_000_000
        gap_s = int(seconds.max()) + 366 * 86_400
        self._place_s = (owners + 1) * gap_s + seconds
        self._order = np.argsort(self._place_s, kind="stable")
        self._sorted_s = self._place_s[self._order]

    def within(self, values: Array, length_us: int, delay_us: int) -> tuple[Array, Array]:
        """Number of payments and sum of their values in (t − delay − length, t − delay] for each payment's time t."""
        sums = np.concatenate(([0.0], np.cumsum(values[self._order], dtype=np.float64)))
        end_s = self._place_s - delay_us // 1_000_000
        last = np.searchsorted(self._sorted_s, end_s, side="right")
        first = np.searchsorted(self._sorted_s, end_s - length_us // 1_000_000, side="right")
        return (last - first).astype(np.float64), sums[last] - sums[first]
