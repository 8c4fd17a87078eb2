"""Can the customer have travelled from the last place to this one in the time between?

looks at   coordinates of payments made in person (card present, cash machine): great-circle distance and the time between
needs      coordinates of both places
says       anomaly.geo with kind "impossible"; adds "geo" to anomaly.transaction
state      none of its own (the profile's recent places)
blind to   payments without coordinates; a stolen card used nearby
source     haversine formula, Sinnott, Sky and Telescope 68(2), 1984; airliners cruise at about 900 km/h
"""

from __future__ import annotations

import math

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.customer import in_person
from state.events import Transaction
from state.signals import Reason

NAME = "geo"
VERSION = 1
SIGNAL = "anomaly.geo"
State = None
EARTH_RADIUS_KM = 6371.0088


class Config(DetectorConfig, frozen=True, kw_only=True):
    speed_kmh_max: float = 900.0
    distance_km_min: float = 400.0
    imprecision_km: float = 100.0
    minutes_min: float = 10.0
    strength_max: float = 8.0


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    lat, lon = transaction.lat, transaction.lon
    if lat is None or lon is None or not in_person(transaction.channel):
        return None
    place = view.customer.place_before(view.time_us)
    if place is None:
        return None
    km = distance_km(place.lat, place.lon, lat, lon)
    if km < config.distance_km_min:
        return None
    hours = (view.time_us - place.time_us) / 3.6e9
    # Terminals report the town of their owner, not of the till, and clocks differ by minutes.
    speed_kmh = (km - config.imprecision_km) / max(hours, config.minutes_min / 60)
    if speed_kmh <= config.speed_kmh_max:
        return None
    strength = min(4.0 + 2.0 * math.log2(speed_kmh / config.speed_kmh_max), config.strength_max)
    reason = Reason(
        code="SPEED_IMPOSSIBLE",
        feature="kmh",
        value=speed_kmh,
        baseline=config.speed_kmh_max,
        contribution=strength,
        text=f"paid in person {km:.0f} km from the last place {hours:.1f} hours before: {speed_kmh:.0f} km/h",
    )
    return Finding(
        (reason,),
        details={"kind": "impossible", "km": km, "hours": hours},
        transaction_ids=(place.transaction_id,),
    )


def distance_km(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Great-circle distance between two points in degrees.

    >>> round(distance_km(48.8566, 2.3522, 40.7128, -74.0060))
    5837
    """
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    h = (
        math.sin((phi_b - phi_a) / 2) ** 2
        + math.cos(phi_a) * math.cos(phi_b) * math.sin(math.radians(lon_b - lon_a) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))
