"""Whom a payment goes to or comes from, as far as it may come back: the same payee under names that drift."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from state.categories import GROUPS, group_of
from state.digest import digest64, name_digest
from state.events import Transaction

IN_PERSON: Final = frozenset(("card_present", "atm", "cash"))
"""Nobody's standing payments are made in person: such payments have no payee here."""
FIRM: Final = frozenset(("direct_debit", "standing_order", "fee", "interest"))
"""Channels of contracts: what comes this way comes again, even if the amount varies."""
EVERYDAY: Final = frozenset(
    GROUPS.index(name)
    for name in (
        "groceries",
        "restaurants",
        "fuel",
        "transport",
        "travel",
        "lodging",
        "pharmacy",
        "medical",
        "clothing",
        "cash",
    )
)
"""Shops where one comes back often and by no contract: their likeness to a rhythm is chance."""
NAME_CHARACTERS_MAX: Final = 24
FIRST_WORD_CHARACTERS_MIN: Final = 4
NOISE: Final = frozenset(
    ("www", "com", "net", "org", "the", "inc", "ltd", "llc", "gmbh", "payment", "pos", "card", "sepa")
)
"""Words that payment processors add to a shop's name, now and then."""
_words = re.compile(r"[^\W\d_]{2,}").findall


class Payee(NamedTuple):
    """`digest` is the same for all payments of one payee, `reference` for those of one contract there (0 if none is given)."""

    digest: int
    reference: int
    name: str


def payee_of(transaction: Transaction) -> Payee | None:
    """The payee of a transaction, or None where no standing payment is to be expected."""
    if transaction.channel in IN_PERSON:
        return None
    if transaction.channel == "ecommerce" and group_of(transaction.mcc, transaction.channel) in EVERYDAY:
        return None
    name = transaction.counterparty or transaction.merchant_name or transaction.description or transaction.merchant_id
    if name is None:
        return None
    if transaction.merchant_id is not None:
        digest = name_digest(transaction.merchant_id)
    elif transaction.counterparty is not None:
        digest = counterparty_digest(transaction.counterparty)
    else:
        digest = shop_digest(name, transaction.city or "")
    reference = digest64(transaction.description) if transaction.description else 0
    return Payee(digest, reference, name[:NAME_CHARACTERS_MAX].strip())


@lru_cache(maxsize=65_536)
def counterparty_digest(counterparty: str) -> int:
    """A counterparty by name may carry a number that changes; one by account number is that number.

    >>> counterparty_digest("Acme Foods 03/2024") == counterparty_digest("ACME FOODS 04/2024")
    True
    >>> counterparty_digest("YZ-87144583") == counterparty_digest("YZ-87144584")
    False
    """
    words = _words(counterparty.casefold()) if " " in counterparty else []
    return digest64("by name " + " ".join(words) if words else counterparty)


@lru_cache(maxsize=65_536)
def shop_digest(name: str, city: str) -> int:
    """A shop known by its name alone: numbers, processors' noise and the town come and go; the first word stays.

    >>> shop_digest("NETFLIX.COM 8123", "") == shop_digest("Netflix Amsterdam 4711", "Amsterdam")
    True
    >>> shop_digest("Al Market", "") == shop_digest("Al Foods", "")
    False
    """
    town = set(_words(city.casefold()))
    words = [word for word in _words(name.casefold()) if word not in NOISE and word not in town]
    if not words:
        return digest64(name)
    return digest64("by word " + (words[0] if len(words[0]) >= FIRST_WORD_CHARACTERS_MIN else " ".join(words[:2])))
