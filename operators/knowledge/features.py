"""The features of a transaction: what the fused score is made of. Names, curves and order are versioned by `VERSION`.

part        features
own         strengths of the detectors' findings: the customer's own baseline
merchant    the merchant's row of the table: frauds that became known, business, a run of frauds that is still on
pooled      amounts, times and places as such, and what the customer's last days were like: learned from all customers
strangeness half-space trees, how rare such a transaction is among all
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from operators.detector import Finding
from operators.knowledge.columns import Cross, Feature, Layout
from operators.knowledge.memory import Memory
from operators.knowledge.merchant_table import MerchantRow
from operators.knowledge.versions import CHAMPION
from operators.view import View
from state.categories import GROUPS
from state.habits import major_units
from state.times import hour_of
from state.windows import DAY_US, unpack_key

VERSION: Final = 1
"""Goes up with any change of LAYOUT: examples and versions of another one are not understood."""

OWN: Final = ("amount", "novelty", "hour", "velocity", "geo", "duplicate_charge")
"""Detectors whose findings' strengths are features by the detector's name."""
HEAT_FLOOR: Final = 1e-4
PEAK_DAYS_MAX: Final = 90.0
NEVER_DAYS: Final = 365.0

_AMOUNTS: Final = tuple(step / 2 for step in range(1, 17))
_COUNTS: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
_RATIOS: Final = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
_AGES: Final = (0.0, 7.0, 10.0, 14.0, 18.0, 22.0, 26.0, 28.0, 30.0, 35.0, 40.0)
_RATES: Final = (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)

LAYOUT: Final = Layout(
    (
        *(Feature(name=name) for name in OWN),
        Feature(name="merchant_rate_7d", knots=_RATES),
        Feature(name="merchant_rate_30d", knots=_RATES),
        Feature(name="merchant_run", knots=_COUNTS),
        Feature(name="merchant_run_days", knots=_AGES),
        Feature(name="merchant_n_1d", knots=_COUNTS),
        Feature(name="log_amount", knots=tuple(step / 4 for step in range(4, 33))),
        Feature(name="ratio_usual", knots=_RATIOS),
        Feature(name="ratio_30d", knots=_RATIOS),
        Feature(name="n_24h", knots=_COUNTS),
        Feature(name="mean_24h", knots=_AMOUNTS),
        Feature(name="mean_7d", knots=_AMOUNTS),
        Feature(name="heat_day", knots=tuple(-9.0 + 0.75 * step for step in range(17))),
        Feature(name="heat_week", knots=tuple(-9.0 + 0.75 * step for step in range(17))),
        Feature(name="peak", knots=_AMOUNTS),
        Feature(name="customer_frauds", knots=(0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)),
        Feature(name="customer_fraud_days", knots=(5.0, 8.0, 10.0, 14.0, 21.0, 30.0, 60.0, 90.0, 200.0)),
        Feature(name="matured", knots=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
        Feature(name="group", categories=len(GROUPS)),
        Feature(name="hour_of_day", categories=24),
    ),
    (
        Cross(
            first="merchant_run", second="merchant_run_days", first_edges=(0.5, 1.5, 2.5, 4.5, 8.5), second_edges=_AGES
        ),
        Cross(first="merchant_run", second="log_amount", first_edges=(0.5, 1.5, 2.5, 4.5, 8.5), second_edges=_AMOUNTS),
        Cross(first="log_amount", second="group", first_edges=_AMOUNTS, second_categories=len(GROUPS)),
        Cross(first="log_amount", second="hour_of_day", first_edges=_AMOUNTS, second_categories=24),
        Cross(first="log_amount", second="peak", first_edges=_AMOUNTS, second_edges=_AMOUNTS),
        Cross(first="ratio_usual", second="log_amount", first_edges=_RATIOS, second_edges=_AMOUNTS),
    ),
)
PARTS: Final = {
    "own": frozenset(OWN),
    "merchant": frozenset(name for name in LAYOUT.names if name.startswith("merchant_") and "*" not in name),
    "pooled": frozenset(
        name for name in LAYOUT.names if name not in OWN and not name.startswith("merchant_") and "*" not in name
    ),
}


def of_findings(findings: Mapping[str, Finding] | None) -> list[float]:
    """The strengths of the detectors' findings, in the order of OWN."""
    if findings is None:
        return [0.0] * len(OWN)
    return [finding.strength if (finding := findings.get(name)) is not None else 0.0 for name in OWN]


def values(view: View, findings: Mapping[str, Finding] | None, row: MerchantRow | None, memory: Memory) -> list[float]:
    """The features of the transaction that `view` was filled for, in the order of LAYOUT. `memory` has passed time up to it."""
    result = of_findings(findings)
    time_us, log_amount = view.time_us, view.log_amount
    if row is None:
        result += (0.0, 0.0, 0.0, -1.0, 0.0)
    else:
        prior = math.log(row.prior)
        age_days = (time_us - row.run_from_us) / DAY_US if row.run else -1.0
        result += (
            math.log(row.rate_7d) - prior,
            math.log(row.rate_30d) - prior,
            float(row.run),
            age_days,
            float(row.n_1d),
        )
    _, _, n_24h, sum_24h, n_7d, sum_7d, n_30d, sum_30d = view.overall_totals
    currency, _, group = unpack_key(view.key)
    usual_minor = math.expm1(view.priors.log_mean) / major_units(1, currency)
    weight = view.priors.overall_weight
    mean_30d = (sum_30d + weight * usual_minor) / (n_30d + weight)
    fraud_days = (time_us - memory.fraud_us) / DAY_US if memory.fraud_us else NEVER_DAYS
    result += (
        log_amount,
        log_amount - view.amount_mean,
        log_amount - math.log1p(major_units(mean_30d, currency)),
        float(n_24h),
        math.log1p(major_units(sum_24h / n_24h, currency)) if n_24h else 0.0,
        math.log1p(major_units(sum_7d / n_7d, currency)) if n_7d else 0.0,
        math.log(memory.heat_day + HEAT_FLOOR),
        math.log(memory.heat_week + HEAT_FLOOR),
        memory.peak,
        memory.frauds,
        min(fraud_days, NEVER_DAYS),
        math.log1p(view.matured),
        float(group),
        float(hour_of(time_us)),
    )
    return result


class Seen(NamedTuple):
    """What was packed: the features as they were scored, and the log-odds that the champion and the shadow gave."""

    values: tuple[float, ...]
    champion: float
    shadow: float | None

    def given(self, role: str) -> float | None:
        return self.champion if role == CHAMPION else self.shadow


_GIVEN: Final = struct.Struct("<ff")
PACKED_BYTES: Final = LAYOUT.packed_bytes + _GIVEN.size


def pack_scores(packed_values: bytes, champion: float, shadow: float | None) -> bytes:
    """What waits for a label with a transaction: its features, then the scores that they were given."""
    return packed_values + _GIVEN.pack(champion, math.nan if shadow is None else shadow)


def unpack(packed: bytes) -> Seen:
    """
    >>> seen = unpack(pack_scores(LAYOUT.pack([1.0] * len(LAYOUT.features)), -3.5, None))
    >>> seen.values[0], seen.champion, seen.shadow
    (1.0, -3.5, None)
    """
    champion, shadow = _GIVEN.unpack_from(packed, LAYOUT.packed_bytes)
    return Seen(LAYOUT.unpack(packed[: LAYOUT.packed_bytes]), champion, None if math.isnan(shadow) else shadow)
