"""Where is the customer: can this journey have been made, is it a trip, or has the customer moved?

looks at   coordinates of payments made in person (card present, cash machine): distance and time from the last one, and distance
           from the usual places
needs      coordinates; for trips and relocations `matured_min` learned payments in person, most of them around one place
says       anomaly.geo. kind "impossible": too far in too short a time; adds "geo" to anomaly.transaction. kind "trip": away from the
           usual places, one OPEN at the start and a CLOSE at the first payment back there. kind "relocation": shopping for everyday
           things at a new place for weeks; it ends the trip that it seemed to be, and the new place becomes the home
state      the SPOTS_MAX places paid at most, 6 numbers each, and the stay in hand: under 700 bytes
blind to   payments without coordinates; a stolen card used nearby; journeys without payments in person
source     haversine formula, Sinnott, Sky and Telescope 68(2), 1984; places by leader clustering, Hartigan, Clustering Algorithms,
           1975, chapter 3
"""

from __future__ import annotations

import math

import msgspec

from operators.detector import DetectorConfig, Finding, Span
from operators.view import View
from state.categories import GROUPS
from state.customer import Customer, Recent, in_person
from state.events import Transaction
from state.signals import Reason
from state.windows import DAY_US

NAME = "geo"
VERSION = 2
SIGNAL = "anomaly.geo"
EARTH_RADIUS_KM = 6371.0088
SPOTS_MAX = 8
EVIDENCE_MAX = 12
EVERYDAY = frozenset(
    GROUPS.index(name) for name in ("groceries", "fuel", "pharmacy", "medical", "home", "personal_care", "utilities")
)
"""What one buys where one lives. Travellers buy some of it, too, but not for weeks."""
JOURNEY = frozenset((GROUPS.index("travel"), GROUPS.index("lodging")))


class Config(DetectorConfig, frozen=True, kw_only=True):
    speed_kmh_max: float = 900.0
    distance_km_min: float = 400.0
    imprecision_km: float = 100.0
    minutes_min: float = 10.0
    strength_max: float = 8.0
    near_km: float = 60.0
    matured_min: int = 10
    home_share_min: float = 0.4
    half_life_days: float = 90.0
    stays_usual: int = 4
    distance_weight: float = 2.0
    distance_max: float = 5.0
    journey: float = 2.0
    abroad: float = 1.0
    next_day: float = 2.0
    trip_s_max: float = 3_888_000.0
    relocation_days: float = 21.0
    relocation_everyday: int = 4
    relocation_strength: float = 4.0
    relocation_quiet_s: Span = 7_776_000.0


class Spot(msgspec.Struct, array_like=True):
    """A place where the customer pays: the first payment's coordinates stand for all within `near_km` of them."""

    lat: float
    lon: float
    weight: float = 0.0
    """Number of payments, fading with `half_life_days`."""
    stays: int = 0
    """How often the customer came here from another spot."""


class State(msgspec.Struct, array_like=True):
    spots: list[Spot] = []
    matured: int = 0
    faded_us: int = 0
    """Up to here the weights have faded; they do so once a day."""
    home: int = -1
    """Index of the spot with most of the weight; −1 while too little is known, or no spot has enough."""
    at: int = -1
    """Index of the spot where the customer was last."""
    since_us: int = 0
    """When the customer came there."""
    everyday: int = 0
    """Everyday payments since."""


def step(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    lat, lon = transaction.lat, transaction.lon
    if lat is None or lon is None or not in_person(transaction.channel) or transaction.direction == "credit":
        return None
    finding = _impossible(config, lat, lon, view)
    if finding is not None:
        return finding
    if state.home < 0:
        return None
    km = _km_from_usual(config, state, lat, lon)
    said = view.customer.said
    if km <= config.near_km:
        if said and any(s.type == SIGNAL and s.kind == "trip" and s.state == "OPEN" for s in said):
            return Finding((), ends="trip")
        return None
    if any(s.type == SIGNAL and s.kind == "impossible" and s.active_until_us >= view.time_us for s in said):
        return None  # Somebody else may be there.
    return _away(config, state, km, transaction, view)


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> None:
    if recent.lat is None or recent.lon is None or not in_person(recent.channel) or recent.key & 128:
        return
    state.matured += 1
    spots = state.spots
    here = spots[state.at] if state.at >= 0 else None
    if here is None or not is_near(config, here, recent.lat, recent.lon):
        state.at = _spot_at(config, state, recent.lat, recent.lon)
        here = spots[state.at]
        here.stays += 1
        state.since_us, state.everyday = recent.time_us, 0
    here.weight += 1.0
    state.everyday += (recent.key & 127) in EVERYDAY
    if (
        state.home >= 0
        and state.home != state.at
        and _lives_there(config, recent.time_us - state.since_us, state.everyday)
    ):
        # The new home takes the old one's weight. What was the home is a place to travel to from now on.
        old = spots[state.home]
        here.weight, old.weight, old.stays = old.weight + 1.0, 0.0, 0
        state.home = state.at
    elif state.home < 0 or recent.time_us - state.faded_us >= DAY_US:
        fading = 0.5 ** (max(0, recent.time_us - state.faded_us) / DAY_US / config.half_life_days)
        for spot in spots:
            spot.weight *= fading
        state.faded_us = recent.time_us
        state.home = _home(config, state)


def is_near(config: Config, spot: Spot, lat: float, lon: float) -> bool:
    # A degree of latitude is 111 km everywhere: that settles most cases without trigonometry.
    if abs(spot.lat - lat) * 111.0 > config.near_km:
        return False
    return (spot.lat == lat and spot.lon == lon) or distance_km(spot.lat, spot.lon, lat, lon) <= config.near_km


def _home(config: Config, state: State) -> int:
    if state.matured < config.matured_min:
        return -1
    weights = [spot.weight for spot in state.spots]
    most = max(weights)
    return weights.index(most) if most >= config.home_share_min * sum(weights) else -1


def _lives_there(config: Config, stay_us: int, everyday: int) -> bool:
    return stay_us >= config.relocation_days * DAY_US and everyday >= config.relocation_everyday


def _spot_at(config: Config, state: State, lat: float, lon: float) -> int:
    """The first spot within `near_km`; else a new one, in place of the one paid at least if there are too many."""
    spots = state.spots
    for index, spot in enumerate(spots):
        if is_near(config, spot, lat, lon):
            return index
    if len(spots) < SPOTS_MAX:
        spots.append(Spot(lat, lon))
        return len(spots) - 1
    least = min((spot.weight, index) for index, spot in enumerate(spots) if index != state.home)[1]
    spots[least] = Spot(lat, lon)
    return least


def _km_from_usual(config: Config, state: State, lat: float, lon: float) -> float:
    """Distance from the home, or from a nearer place that the customer visits again and again."""
    home = state.spots[state.home]
    km = 0.0 if home.lat == lat and home.lon == lon else distance_km(home.lat, home.lon, lat, lon)
    if km > config.near_km:
        for spot in state.spots:
            if spot is not home and spot.stays >= config.stays_usual:
                km = min(km, distance_km(spot.lat, spot.lon, lat, lon))
    return km


def _away(config: Config, state: State, km: float, transaction: Transaction, view: View) -> Finding | None:
    lat, lon = transaction.lat, transaction.lon
    assert lat is not None and lon is not None
    group = view.key & 127
    since_us, everyday, ids = _stay(config, state, lat, lon, view)
    everyday += group in EVERYDAY
    days = (view.time_us - since_us) / DAY_US
    if _lives_there(config, view.time_us - since_us, everyday):
        text = f"{days:.0f} days of everyday payments {km:.0f} km from the usual places"
        moved = Reason("PLACE_NEW", "days_there", days, config.relocation_days, config.relocation_strength, text)
        return Finding(
            (moved,),
            details={"kind": "relocation", "km": km, "days": days},
            transaction_ids=ids,
            kind="relocation",
            quiet_s=config.relocation_quiet_s,
            ends="trip",
            suspicious=False,
        )
    far = min(config.distance_weight * math.log2(km / config.near_km), config.distance_max)
    text = f"paid in person {km:.0f} km from the usual places"
    reasons = [Reason("AWAY_FROM_USUAL", "km_from_usual", km, config.near_km, far, text)]
    if group in JOURNEY:
        text = "a payment of the kind that is made on journeys"
        reasons.append(Reason("JOURNEY_SPENDING", "group", GROUPS[group], "everyday", config.journey, text))
    countries = view.customer.countries
    if transaction.country and countries and transaction.country not in countries:
        text = f"in {transaction.country}, where this customer has not paid before"
        reasons.append(Reason("COUNTRY_NEW", "country", transaction.country, sorted(countries), config.abroad, text))
    if days >= 0.5:
        text = f"there for {days:.1f} days"
        reasons.append(Reason("STAYS_AWAY", "days_there", days, 0.5, config.next_day, text))
    return Finding(
        tuple(reasons),
        details={"kind": "trip", "km": km},
        transaction_ids=ids,
        kind="trip",
        quiet_s=config.trip_s_max,
        suspicious=False,
    )


def _stay(config: Config, state: State, lat: float, lon: float, view: View) -> tuple[int, int, tuple[str, ...]]:
    """Since when the customer has been around here without a payment elsewhere, how many everyday payments there were, and the
    recent payments of this stay."""
    since_us, everyday = view.time_us, 0
    ids: list[str] = []
    for recent in reversed(view.customer.recent):
        if recent.time_us > view.time_us or not recent.learned or recent.lat is None or recent.lon is None:
            continue
        if not in_person(recent.channel) or recent.key & 128:
            continue
        if distance_km(recent.lat, recent.lon, lat, lon) > config.near_km:
            return since_us, everyday, tuple(ids[:EVIDENCE_MAX])
        since_us = recent.time_us
        everyday += (recent.key & 127) in EVERYDAY
        ids.append(recent.transaction_id)
    if state.at >= 0:
        spot = state.spots[state.at]
        if is_near(config, spot, lat, lon):
            since_us, everyday = min(since_us, state.since_us), everyday + state.everyday
    return since_us, everyday, tuple(ids[:EVIDENCE_MAX])


def _impossible(config: Config, lat: float, lon: float, view: View) -> Finding | None:
    place = view.customer.place_before(view.time_us)
    if place is None:
        return None
    if place.lat == lat and place.lon == lon:
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
        text=f"paid in person {km:.0f} km from the last place {hours:.1f} hours before: at least {speed_kmh:.0f} km/h",
    )
    return Finding(
        (reason,),
        details={"kind": "impossible", "km": km, "hours": hours},
        transaction_ids=(place.transaction_id,),
        kind="impossible",
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
