"""Pseudonyms: in place of a customer's id, a keyed hash that only who has the key can make.

BLAKE2b in its keyed mode (RFC 7693, 2.9) with a personalisation for each use, so that a customer and a signal never share a hash.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from state.settings import Settings
from state.signals import Signal

DIGEST_BYTES = 16


class Pseudonyms:
    """The pseudonyms of one key, a secret of any length.

    >>> Pseudonyms("a key for this example").of("c-1")
    '585ff04f9c9b013b4646895b128cf8eb'
    """

    def __init__(self, secret: str) -> None:
        # BLAKE2b takes keys of up to 64 bytes: a longer secret counts whole.
        self._key = blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32, person=b"segone.secret").digest()

    @property
    def fingerprint(self) -> str:
        """Tells one key from another, and nothing about it."""
        return self._hash("", b"segone.key")

    def of(self, customer_id: str) -> str:
        """32 hexadecimal digits, the same for the same customer."""
        return self._hash(customer_id, b"segone.customer")

    def hide(self, body: Any) -> Any:
        """What was said, with the pseudonym in place of the customer's id. A signal's id is a hash of the customer's, which could be
        found by trying: it is replaced in the same way, also where a RETRACT names it."""
        changes: dict[str, str | None] = {"customer_id": self.of(body.customer_id)}
        if isinstance(body, Signal):
            changes["id"] = self._hash(body.id, b"segone.signal")
            changes["retracts"] = body.retracts and self._hash(body.retracts, b"segone.signal")
        return msgspec.structs.replace(body, **changes)

    def _hash(self, text: str, use: bytes) -> str:
        raw = text.encode("utf-8", "surrogatepass")
        return blake2b(raw, digest_size=DIGEST_BYTES, key=self._key, person=use).hexdigest()


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """What outputs call customers by; None where they bear their own ids."""
    return Pseudonyms(settings.privacy.pseudonym_key) if settings.privacy.pseudonym_key else None
