"""Spending groups: merchant category codes (ISO 18245) folded into the few groups in which a household thinks.

A transaction without a usable code is grouped by its channel. Groups are small integers; their order is part of the
stored state, so new ones are only ever added at the end.
"""

from __future__ import annotations

GROUPS: tuple[str, ...] = (
    "other",
    "groceries",
    "restaurants",
    "fuel",
    "transport",
    "travel",
    "lodging",
    "medical",
    "pharmacy",
    "clothing",
    "electronics",
    "home",
    "utilities",
    "telecom",
    "insurance",
    "education",
    "entertainment",
    "gambling",
    "digital",
    "personal_care",
    "cash",
    "financial",
    "government",
    "charity",
    "shopping",
    "services",
)

# First and last code (inclusive) and group. Later rows win over earlier ones, so a range may have exceptions below it.
_MCC_RANGES: tuple[tuple[int, int, str], ...] = (
    (700, 999, "services"),  # agriculture, veterinary, landscaping
    (1500, 1799, "home"),  # contractors
    (2700, 2899, "services"),  # printing, cleaning preparations
    (3000, 3299, "travel"),  # airlines
    (3300, 3499, "travel"),  # car rental
    (3500, 3999, "lodging"),  # hotel chains
    (4000, 4199, "transport"),
    (4119, 4119, "medical"),  # ambulances
    (4214, 4215, "services"),  # movers, couriers
    (4225, 4225, "services"),  # warehousing
    (4400, 4499, "travel"),  # cruises, boats
    (4500, 4599, "travel"),  # airlines, airports
    (4700, 4759, "travel"),  # travel agencies
    (4784, 4784, "transport"),  # tolls
    (4789, 4789, "transport"),
    (4800, 4899, "telecom"),
    (4816, 4816, "digital"),  # network services
    (4829, 4829, "financial"),  # money transfer
    (4899, 4899, "entertainment"),  # cable and pay television
    (4900, 4999, "utilities"),
    (5000, 5199, "shopping"),  # wholesale
    (5045, 5046, "electronics"),
    (5065, 5065, "electronics"),
    (5021, 5039, "home"),
    (5047, 5047, "medical"),
    (5051, 5085, "home"),
    (5122, 5122, "pharmacy"),
    (5137, 5139, "clothing"),
    (5172, 5172, "fuel"),
    (5192, 5192, "entertainment"),  # books, newspapers
    (5198, 5198, "home"),
    (5200, 5299, "home"),
    (5262, 5262, "shopping"),  # online marketplaces
    (5300, 5399, "shopping"),
    (5400, 5499, "groceries"),
    (5500, 5599, "transport"),  # vehicles and parts
    (5541, 5542, "fuel"),
    (5551, 5551, "entertainment"),  # boats
    (5552, 5552, "fuel"),  # charging of electric vehicles
    (5600, 5699, "clothing"),
    (5700, 5729, "home"),
    (5715, 5715, "groceries"),  # alcohol
    (5732, 5734, "electronics"),
    (5733, 5733, "entertainment"),  # musical instruments
    (5735, 5735, "entertainment"),  # records
    (5811, 5814, "restaurants"),
    (5815, 5818, "digital"),
    (5832, 5832, "shopping"),  # antiques
    (5912, 5912, "pharmacy"),
    (5921, 5921, "groceries"),  # wine and spirits
    (5931, 5937, "shopping"),
    (5940, 5941, "entertainment"),  # bicycles, sport
    (5942, 5943, "education"),  # books, stationery
    (5944, 5944, "clothing"),  # jewellery, watches
    (5945, 5947, "entertainment"),  # toys, cameras, gifts
    (5948, 5949, "clothing"),
    (5950, 5950, "home"),
    (5960, 5960, "insurance"),
    (5961, 5969, "shopping"),  # mail order
    (5962, 5962, "travel"),
    (5968, 5968, "digital"),  # subscriptions
    (5970, 5973, "entertainment"),
    (5975, 5976, "medical"),
    (5977, 5977, "personal_care"),
    (5978, 5978, "electronics"),
    (5983, 5983, "fuel"),
    (5992, 5992, "home"),
    (5993, 5993, "shopping"),
    (5994, 5994, "entertainment"),
    (5995, 5995, "home"),  # pets
    (5996, 5998, "home"),
    (5999, 5999, "shopping"),
    (6010, 6011, "cash"),
    (6012, 6299, "financial"),
    (6300, 6399, "insurance"),
    (6513, 6513, "home"),  # rent
    (6529, 6999, "financial"),
    (7011, 7033, "lodging"),
    (7032, 7032, "entertainment"),  # sporting camps
    (7200, 7299, "personal_care"),
    (7210, 7221, "services"),  # laundry, photographers
    (7276, 7278, "services"),
    (7300, 7399, "services"),
    (7372, 7372, "digital"),
    (7500, 7549, "transport"),  # rental, parking, repairs of cars
    (7512, 7519, "travel"),
    (7600, 7699, "home"),  # repairs
    (7622, 7622, "electronics"),
    (7629, 7629, "electronics"),
    (7800, 7999, "entertainment"),
    (7800, 7802, "gambling"),
    (7995, 7995, "gambling"),
    (8000, 8099, "medical"),
    (8100, 8199, "services"),  # legal
    (8200, 8299, "education"),
    (8351, 8351, "education"),  # child care
    (8398, 8398, "charity"),
    (8600, 8699, "charity"),
    (8641, 8641, "entertainment"),  # clubs
    (8699, 8699, "services"),
    (8675, 8675, "transport"),  # automobile associations
    (8700, 8999, "services"),
    (9200, 9999, "government"),
    (9406, 9406, "gambling"),  # state lotteries
)

_OF_MCC: dict[str, int] = {
    f"{code:04d}": GROUPS.index(group) for first, last, group in _MCC_RANGES for code in range(first, last + 1)
}
_OF_CHANNEL: dict[str, int] = {
    "atm": GROUPS.index("cash"),
    "cash": GROUPS.index("cash"),
    "fee": GROUPS.index("financial"),
    "interest": GROUPS.index("financial"),
    "internal": GROUPS.index("financial"),
}


def group_of(mcc: str | None, channel: str) -> int:
    """The spending group of a transaction as an index into GROUPS; 0 is `other`.

    >>> GROUPS[group_of("5411", "card_present")], GROUPS[group_of(None, "atm")], GROUPS[group_of("0001", "transfer")]
    ('groceries', 'cash', 'other')
    """
    group = _OF_MCC.get(mcc) if mcc is not None else None
    return _OF_CHANNEL.get(channel, 0) if group is None else group
