"""Is money spent on a device that this customer never used, or a large amount where the customer has never been?

looks at   whether the device, the merchant and the country are known to the customer, and how large the amount is
needs      `matured_min` learned transactions: for a new customer everything is new
says       nothing by itself; adds "novelty" to anomaly.transaction
state      none of its own (the profile's 256 merchants, 64 countries and 32 devices)
blind to   small purchases in new places on a known device, which are everyday life; whether a new device is the customer's new phone
source     Bahnsen et al., Feature engineering strategies for credit card fraud detection, 2016
"""

from __future__ import annotations

from operators.detector import DetectorConfig, Finding
from operators.view import View
from operators.wording import counted
from state.customer import device_digest
from state.events import Transaction
from state.signals import Reason

NAME = "novelty"
VERSION = 2
SIGNAL = None
State = None


class Config(DetectorConfig, frozen=True, kw_only=True):
    matured_min: int = 10
    z_free: float = 0.5
    z_full: float = 2.5
    merchant: float = 1.0
    country: float = 2.5
    device: float = 1.5


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    if view.matured < config.matured_min or transaction.direction == "credit":
        return None
    customer = view.customer
    reasons = []
    device = device_digest(transaction)
    if device and customer.devices and device not in customer.devices:
        reasons.append(
            Reason(
                code="DEVICE_NEW",
                feature="device_known",
                value=0,
                baseline=len(customer.devices),
                contribution=config.device,
                text=f"paid on a device that is new beside {counted(len(customer.devices), 'known one')}",
            )
        )
    share = min(1.0, (view.amount_z - config.z_free) / (config.z_full - config.z_free))
    if share <= 0.0:
        return Finding(tuple(reasons)) if reasons else None
    if view.merchant and not customer.knows_merchant(view.merchant, view.time_us):
        reasons.append(
            Reason(
                code="MERCHANT_NEW",
                feature="merchant_known",
                value=0,
                baseline=len(customer.merchants),
                contribution=config.merchant * share,
                text=f"a large amount at a merchant that is new among {counted(len(customer.merchants), 'known one')}",
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
