"""Is a large amount spent where this customer has never been?

looks at   whether the merchant and the country are known to the customer, and how large the amount is
needs      `matured_min` learned transactions: for a new customer everything is new
says       nothing by itself; adds "novelty" to anomaly.transaction
state      none of its own (the profile's 256 merchants and 64 countries)
blind to   small purchases in new places, which are everyday life
source     Bahnsen et al., Feature engineering strategies for credit card fraud detection, 2016
"""

from __future__ import annotations

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.events import Transaction
from state.signals import Reason

NAME = "novelty"
VERSION = 1
SIGNAL = None
State = None


class Config(DetectorConfig, frozen=True, kw_only=True):
    matured_min: int = 10
    z_free: float = 0.5
    z_full: float = 2.5
    merchant: float = 1.0
    country: float = 2.5


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    if view.matured < config.matured_min or view.amount_z <= config.z_free or transaction.direction == "credit":
        return None
    customer = view.customer
    share = min(1.0, (view.amount_z - config.z_free) / (config.z_full - config.z_free))
    reasons = []
    if view.merchant and not customer.knows_merchant(view.merchant, view.time_us):
        reasons.append(
            Reason(
                code="MERCHANT_NEW",
                feature="merchant_known",
                value=0,
                baseline=len(customer.merchants),
                contribution=config.merchant * share,
                text=f"a large amount at a merchant that is new among {len(customer.merchants)} known ones",
            )
        )
    country = transaction.country
    if country and customer.countries and not customer.knows_country(country, view.time_us):
        reasons.append(
            Reason(
                code="COUNTRY_NEW",
                feature="country",
                value=country,
                baseline=sorted(customer.countries),
                contribution=config.country * share,
                text=f"a large amount in {country}, where this customer has not paid before",
            )
        )
    return Finding(tuple(reasons)) if reasons else None
