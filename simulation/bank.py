"""What all customers share: merchants, billers, prices, rates. Depends on the seed alone (and, for how far it goes, on the days)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import orjson

from simulation.places import TOWNS, Town
from simulation.randomness import Draws, Ints, identify


class Category(NamedTuple):
    """One kind of everyday spending, for an average customer. Amounts in minor units, rates in thousandths a week."""

    name: str
    mccs: tuple[str, ...]
    weekly_milli: int
    median_minor: int
    spread_pct: int
    hour: int
    hour_spread_min: int
    weekend_pct: int
    online_pct: int
    abroad_pct: int
    price_rise_pct: int
    words: tuple[str, ...]


CATEGORIES = (
    Category("groceries", ("5411",), 2400, 2600, 45, 17, 150, 120, 4, 40, 4, ("Market", "Grocery", "Foods")),
    Category("restaurants", ("5812",), 900, 2300, 40, 19, 100, 160, 8, 400, 5, ("Kitchen", "Bistro", "Tavern")),
    Category("coffee", ("5814",), 1900, 420, 25, 9, 90, 80, 0, 150, 5, ("Coffee", "Bakery", "Espresso")),
    Category("transport", ("4111", "4121"), 1200, 340, 35, 8, 140, 50, 20, 200, 3, ("Transit", "Taxi", "Metro")),
    Category("fuel", ("5541",), 450, 5200, 20, 18, 150, 110, 0, 30, 3, ("Fuel", "Station", "Petrol")),
    Category(
        "medical",
        ("5912", "8011", "8021", "8062"),
        190,
        2200,
        55,
        11,
        130,
        30,
        6,
        10,
        4,
        ("Pharmacy", "Clinic", "Care"),
    ),
    Category("clothing", ("5651", "5661"), 280, 4700, 50, 15, 150, 180, 30, 120, 2, ("Wear", "Fashion", "Shoes")),
    Category("electronics", ("5732",), 80, 9500, 70, 16, 160, 140, 45, 15, 0, ("Electronics", "Digital", "Media")),
    Category("entertainment", ("7832", "7922"), 450, 1700, 35, 20, 80, 190, 25, 200, 4, ("Cinema", "Theatre", "Live")),
    Category("household", ("5200", "5712"), 260, 3400, 60, 14, 150, 200, 25, 10, 3, ("Home", "Garden", "Living")),
    Category("online", ("5399", "5942"), 800, 2400, 55, 20, 140, 110, 100, 30, 2, ("Shop", "Store", "Direct")),
    Category("beauty", ("7230", "5977"), 160, 3100, 35, 13, 150, 70, 10, 20, 4, ("Salon", "Hair", "Beauty")),
    Category("cash", ("6011",), 420, 6000, 45, 13, 210, 100, 0, 150, 0, ("ATM", "Cashpoint", "Cash")),
    Category("travel", ("4511", "7011"), 15, 12_000, 50, 19, 160, 110, 60, 20, 4, ("Travel", "Hotel", "Air")),
    Category("baby", ("5641",), 0, 3600, 40, 11, 160, 120, 35, 0, 3, ("Kids", "Baby", "Toys")),
    Category("education", ("8299", "5943"), 0, 6500, 45, 12, 150, 40, 55, 0, 3, ("Academy", "Campus", "Books")),
)
CATEGORY = {category.name: index for index, category in enumerate(CATEGORIES)}
PER_TOWN = 6
"""Merchants of one category in one town."""

# fmt: off
FIRST_PARTS = (
    "Al", "Bre", "Cor", "Del", "El", "Fa", "Gra", "Hol", "In", "Jas", "Kel", "Lu", "Mar", "Nor", "Or", "Pal", "Quin", "Ros",
    "Sol", "Tal", "Ul", "Ver", "Wil", "Zel",
)
LAST_PARTS = (
    "ander", "ba", "co", "dano", "era", "feld", "gano", "hart", "ino", "ka", "lia", "mond", "nova", "ora", "pria", "ra",
    "stad", "ton", "via", "za",
)
# fmt: on

BILLER_KINDS = {
    "energy": ("4900", "Energy"),
    "water": ("4900", "Water"),
    "telecom": ("4814", "Mobile"),
    "internet": ("4816", "Net"),
    "insurance": ("6300", "Insurance"),
    "streaming": ("5815", "Stream"),
    "music": ("5815", "Music"),
    "gym": ("7997", "Fitness"),
    "software": ("5734", "Cloud"),
    "news": ("5968", "Daily"),
    "childcare": ("8351", "Kindergarten"),
    "university": ("8220", "University"),
    "moving": ("4214", "Movers"),
    "jeweller": ("5944", "Jewels"),
    "venue": ("7299", "Events"),
    "notary": ("8111", "Notary"),
    "garage": ("5511", "Motors"),
}
BILLERS_PER_KIND = 6
FALL_BP = 200
LENT = ("mortgage", "loan")


class Rate(NamedTuple):
    """One observation of a market rate, in basis points."""

    day: int
    series: str
    product: str
    value_bp: int


class Bank:
    """Merchants by index (town, category, number), each as the JSON fragment that its transactions carry."""

    def __init__(self, seed: int, days: int) -> None:
        self.seed, self.days = seed, days
        self.prices = price_levels(days)
        draws = Draws(seed, "bank")
        self.merchant_ids: list[str] = []
        self.fragments: list[str] = []
        for town in (*TOWNS, None):
            for category in CATEGORIES:
                for number in range(PER_TOWN):
                    name = f"{invented_name(draws)} {draws.pick(category.words)}"
                    self._add(name, category.mccs[number % len(category.mccs)], town, draws)
        self._billers = len(self.fragments)
        for mcc, word in BILLER_KINDS.values():
            for _ in range(BILLERS_PER_KIND):
                self._add(f"{invented_name(draws)} {word}", mcc, None, draws)

    def _add(self, name: str, mcc: str, town: Town | None, draws: Draws) -> None:
        merchant_id = "m-" + identify(self.seed, "merchant", len(self.merchant_ids), length=12)
        fields: dict[str, str | float] = {"merchant_id": merchant_id, "merchant_name": name, "mcc": mcc}
        if town is None:
            fields["country"] = draws.pick(("DE", "FR", "NL", "IE", "LU", "GB", "US", "ES"))
        else:
            fields |= {"country": town.country, "city": town.name}
            fields["lat"] = (round(town.lat * 10_000) + draws.between(-400, 400)) / 10_000
            fields["lon"] = (round(town.lon * 10_000) + draws.between(-400, 400)) / 10_000
        fields["description"] = " ".join((name, town.name if town else "online")).upper()
        self.merchant_ids.append(merchant_id)
        self.fragments.append("," + orjson.dumps(fields).decode()[1:-1])

    def by_contract(self, merchant: int, description: str) -> str:
        """A merchant's fragment with a description of its own in place of the usual one, which is the last field."""
        return self.fragments[merchant].rpartition(',"description":')[0] + fragment(description=description)

    def merchant(self, town: int, category: str, number: int) -> int:
        """Index of a merchant; `town` may be ONLINE."""
        return (town * len(CATEGORIES) + CATEGORY[category]) * PER_TOWN + number

    def biller(self, kind: str, number: int) -> int:
        return self._billers + list(BILLER_KINDS).index(kind) * BILLERS_PER_KIND + number

    def compromised(self, town: int) -> list[tuple[int, int]]:
        """(merchant, first day) of the shops whose terminals are skimmed for 28 days, one in each half of the period."""
        draws = Draws(self.seed, "compromised", town)
        half = self.days // 2
        kinds = ("restaurants", "groceries", "clothing", "fuel", "electronics")
        return [
            (
                self.merchant(town, draws.pick(kinds), draws.below(PER_TOWN)),
                n * half + draws.below(max(1, half - 40)),
            )
            for n in range(2)
        ]

    def rates(self) -> list[Rate]:
        """Weekly observations of the market: random walks that stay between 25 and 900 basis points. What is lent falls by FALL_BP in
        the second half of the period, so that many a loan could be had for less."""
        walks = (
            ("mortgage_20y", "mortgage", 380),
            ("deposit", "savings", 250),
            ("loan_5y", "loan", 690),
            ("policy", "", 350),
        )
        rates = []
        for number, (series, product, value_bp) in enumerate(walks):
            draws = Draws(self.seed, "rates", number)
            for day in range(0, self.days, 7):
                value_bp = min(900, max(25, value_bp + 5 * draws.between(-3, 3)))
                fallen_bp = fall_bp(day, self.days) if product in LENT else 0
                rates.append(Rate(day, series, product, max(25, value_bp - fallen_bp)))
        return rates


def fall_bp(day: int, days: int) -> int:
    """How far the rates of what is lent have fallen: by a tenth more each week, from three fifths of the period on.

    >>> fall_bp(300, 500), fall_bp(335, 500), fall_bp(499, 500)
    (0, 100, 200)
    """
    return min(FALL_BP, max(0, day - days * 3 // 5) // 7 * FALL_BP // 10)


def price_levels(days: int) -> Ints:
    """Shape (categories, days), in 1/1000 of the first day's prices: each category drifts at its own pace."""
    yearly = np.array([category.price_rise_pct for category in CATEGORIES], dtype=np.int64)
    return 1000 + yearly[:, None] * 10 * np.arange(days, dtype=np.int64)[None, :] // 365


def invented_name(draws: Draws) -> str:
    return draws.pick(FIRST_PARTS) + draws.pick(LAST_PARTS)


def fragment(**fields: str) -> str:
    """Further fields of a transaction as a JSON fragment: `,"a":"b"`."""
    return "," + orjson.dumps(fields).decode()[1:-1]
