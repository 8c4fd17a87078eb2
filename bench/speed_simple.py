"""The peers' simple work: for each payment of a customer two sliding windows, a z-score and a River model, and one line of output.

All three contestants (our engine, a loop by hand, Quix Streams) call the same code on the same bytes, so they differ in nothing but what
is around it. Needs orjson and River only: Quix runs in an environment of its own.
"""

from __future__ import annotations

import math
from typing import Any, Final

import orjson
from river._river_rust import stats

TOPIC_IN: Final = "speed.payments"
WINDOWS_US: Final = (3_600_000_000, 86_400_000_000)
FADING: Final = 0.05


class Profile:
    """One customer: the payments of the longest window, a head and a sum for each window, and River's moving mean and variance."""

    __slots__ = ("amounts", "heads", "mean", "sums", "times_us", "variance")

    def __init__(self, frozen: bytes | None = None) -> None:
        self.mean: Any = stats.RsEWMean(FADING)
        self.variance: Any = stats.RsEWVar(FADING)
        self.times_us: list[int] = []
        self.amounts: list[int] = []
        self.heads, self.sums = [0, 0], [0, 0]
        if frozen:
            self.times_us, self.amounts, self.heads, self.sums, mean, variance = orjson.loads(frozen)
            self.mean.__setstate__(bytes.fromhex(mean))
            self.variance.__setstate__(bytes.fromhex(variance))

    def freeze(self) -> bytes:
        mean, variance = self.mean.__getstate__().hex(), self.variance.__getstate__().hex()
        return orjson.dumps([self.times_us, self.amounts, self.heads, self.sums, mean, variance])

    def work(self, time_us: int, amount: int) -> list[float]:
        """Counts and sums of both windows with this payment, and its z-score against what was before it."""
        times_us, amounts, heads, sums = self.times_us, self.amounts, self.heads, self.sums
        spread = math.sqrt(max(0.0, self.variance.get()))
        z = (amount - self.mean.get()) / spread if spread > 0.0 else 0.0
        self.mean.update(float(amount))
        self.variance.update(float(amount))
        times_us.append(time_us)
        amounts.append(amount)
        for window, length_us in enumerate(WINDOWS_US):
            head = heads[window]
            sums[window] += amount
            while times_us[head] <= time_us - length_us:
                sums[window] -= amounts[head]
                head += 1
            heads[window] = head
        gone = heads[-1]
        if gone > 64:
            del times_us[:gone], amounts[:gone]
            heads[:] = [head - gone for head in heads]
        count = len(times_us)
        return [count - heads[0], sums[0], count - heads[1], sums[1], z]


def line_of(payment: dict[str, Any], profile: Profile) -> bytes:
    """What is said about one payment; changes its customer's profile."""
    found = profile.work(payment["time_us"], payment["amount"])
    return orjson.dumps({"id": payment["id"], "customer_id": payment["customer_id"], "found": found})
