"""Is this an hour at which this customer does not buy?

looks at   the customer's own purchases by hour of the day (UTC), each hour smoothed with its neighbours
needs      `matured_min` learned transactions, and a channel that the customer acts on (no standing orders, fees or interest)
says       nothing by itself; adds "hour" to anomaly.transaction: log10 of how much rarer the hour is than an average one
state      none of its own (24 counters of the profile)
blind to   fraud in the daytime
source     additive smoothing, Manning and Schütze, Foundations of Statistical NLP, section 6.2
"""

from __future__ import annotations

import math

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.events import Transaction
from state.signals import Reason
from state.times import hour_of

NAME = "hour"
VERSION = 1
SIGNAL = None
State = None
CHANNELS = frozenset(("card_present", "ecommerce", "atm", "transfer", "cash"))


class Config(DetectorConfig, frozen=True, kw_only=True):
    matured_min: int = 30
    smoothing: float = 0.5
    rarity_free: float = 0.5
    rarity_max: float = 2.0


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    if view.matured < config.matured_min or transaction.channel not in CHANNELS or transaction.direction == "credit":
        return None
    hours = view.customer.hours
    hour = hour_of(view.time_us)
    near = (hours[hour - 1] + 2 * hours[hour] + hours[(hour + 1) % 24]) / 4
    total = sum(hours)
    share = (near + config.smoothing) / (total + 24 * config.smoothing)
    rarity = min(-math.log10(share * 24), config.rarity_max)
    if rarity <= config.rarity_free:
        return None
    reason = Reason(
        code="HOUR_UNUSUAL",
        feature="hour_share",
        value=share,
        baseline=1 / 24,
        contribution=rarity - config.rarity_free,
        text=f"bought around {hour:02d}:00 UTC, where {100 * share:.1f} % of this customer's purchases fall",
    )
    return Finding((reason,))
