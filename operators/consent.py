"""Consent: which purposes a statement serves, and whether the customer lets it be made.

A signal type serves the `purposes` of its table in the configuration; a sensitive statement serves `health`, too. It may be
made while none of them is refused. Silence is consent (the bank's legitimate interest) except for purposes that need an
explicit one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from state.customer import Customer

TABLE: Final = "consents"
"""The table of the configuration that belongs to no detector."""
SENSITIVE: Final = "health"


class Consents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[consents]: what silence means."""

    explicit: tuple[str, ...] = (SENSITIVE,)
    """Purposes that need a consent in so many words."""
    without_records: bool = True
    """Whether a customer of whom no consent record ever came, for any purpose, is taken to be asked elsewhere."""

    def withheld(self, customer: Customer, purposes: tuple[str, ...], time_us: int) -> str | None:
        """The first of `purposes` that the customer has not agreed to for what happened at `time_us`, or None."""
        decisions = customer.consents
        for purpose in purposes:
            decision = decisions.get(purpose)
            if decision is None:
                if purpose in self.explicit and (decisions or not self.without_records):
                    return purpose
            elif not decision.holds(time_us):
                return purpose
        return None


def purposes_of(purposes: tuple[str, ...], sensitive: bool) -> tuple[str, ...]:
    """What a statement serves.

    >>> purposes_of(("marketing",), True)
    ('marketing', 'health')
    """
    return (*purposes, SENSITIVE) if sensitive and SENSITIVE not in purposes else purposes
