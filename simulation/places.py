"""Towns where customers live, travel to, and where merchants are."""

from __future__ import annotations

from typing import NamedTuple


class Town(NamedTuple):
    """`lat` and `lon` in degrees; no two towns are closer than 80 km, the far ones are 3,000 km from every home."""

    name: str
    country: str
    lat: float
    lon: float


HOME_TOWNS = (
    Town("Hamburg", "DE", 53.55, 9.99),
    Town("Leipzig", "DE", 51.34, 12.37),
    Town("Munich", "DE", 48.14, 11.58),
    Town("Mannheim", "DE", 49.49, 8.47),
    Town("Vienna", "AT", 48.21, 16.37),
    Town("Graz", "AT", 47.07, 15.44),
    Town("Lyon", "FR", 45.76, 4.84),
    Town("Nantes", "FR", 47.22, -1.55),
    Town("Lille", "FR", 50.63, 3.06),
    Town("Toulouse", "FR", 43.60, 1.44),
    Town("Utrecht", "NL", 52.09, 5.12),
    Town("Groningen", "NL", 53.22, 6.57),
    Town("Valencia", "ES", 39.47, -0.38),
    Town("Bilbao", "ES", 43.26, -2.93),
    Town("Turin", "IT", 45.07, 7.69),
    Town("Bologna", "IT", 44.49, 11.34),
    Town("Porto", "PT", 41.16, -8.63),
    Town("Tampere", "FI", 61.50, 23.76),
    Town("Cork", "IE", 51.90, -8.47),
    Town("Bratislava", "SK", 48.15, 17.61),
)
NEAR_TOWNS = (
    Town("Paris", "FR", 48.86, 2.35),
    Town("Barcelona", "ES", 41.39, 2.17),
    Town("Rome", "IT", 41.90, 12.50),
    Town("Palermo", "IT", 38.12, 13.36),
    Town("Prague", "CZ", 50.08, 14.44),
    Town("Copenhagen", "DK", 55.68, 12.57),
    Town("Krakow", "PL", 50.06, 19.94),
    Town("Split", "HR", 43.51, 16.44),
    Town("Athens", "GR", 37.98, 23.73),
    Town("London", "GB", 51.51, -0.13),
    Town("Edinburgh", "GB", 55.95, -3.19),
    Town("Faro", "PT", 37.02, -7.93),
)
FAR_TOWNS = (
    Town("New York", "US", 40.71, -74.01),
    Town("Miami", "US", 25.76, -80.19),
    Town("Mexico City", "MX", 19.43, -99.13),
    Town("Bangkok", "TH", 13.76, 100.50),
    Town("Singapore", "SG", 1.35, 103.82),
    Town("Tokyo", "JP", 35.68, 139.69),
    Town("Cape Town", "ZA", -33.92, 18.42),
    Town("Lima", "PE", -12.05, -77.04),
)
TOWNS = HOME_TOWNS + NEAR_TOWNS + FAR_TOWNS
ONLINE = len(TOWNS)
"""The index after the last town: merchants without a place."""

FIRST_FAR = len(HOME_TOWNS) + len(NEAR_TOWNS)
