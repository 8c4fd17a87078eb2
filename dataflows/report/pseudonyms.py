"""Pseudonyms: what a page says instead of ids, so that who looks at it learns the story and not whose it is.

Ids are replaced wherever they stand: in fields that hold one, and inside texts. A pseudonym is a keyed BLAKE2b (RFC 7693) of
the id: whoever lacks the key can neither turn it back nor test a guess. A signal keeps its own id, which names a line of
RUN: who may read RUN finds the customer with `segone explain RUN ID`.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

DIGEST_BYTES = 8
"""Among a million customers two share a pseudonym with a probability of 3e-8."""

NAME_CHARACTERS_MIN = 3
"""Shorter names stand inside of too many words to be looked for in texts."""

_KINDS = {
    "customer_id": "C",
    "transaction_id": "T",
    "transaction_ids": "T",
    "original_transaction_id": "T",
    "episode": "T",
    "event_id": "T",
    "account_id": "A",
    "counterparty": "P",
    "stream": "P",
}
_OTHER_KIND = "X"
_KEPT = frozenset({"id", "retracts", "signal_id", "merchant_id"})
"""Ids that name no person: signals, and shops, whose names are shown as well."""


class Pseudonyms:
    """`key` None reveals: every id stays as it is."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    @property
    def revealing(self) -> bool:
        return self._key is None

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of an id. `kind` is the field that holds it; ids of different kinds are told apart by a letter.

        >>> Pseudonyms(b"key").of("customer_id", "c-1"), Pseudonyms(None).of("customer_id", "c-1")
        ('C~43I74OTS3OKZG', 'c-1')
        """
        if self._key is None:
            return name
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES, key=self._key).digest()
        return f"{_KINDS.get(kind, _OTHER_KIND)}~{b32encode(digest).decode().rstrip('=')}"

    def customer(self, customer_id: str) -> str:
        return self.of("customer_id", customer_id)

    def mask(self, body: Any, names: Mapping[str, str] | None) -> Any:
        """A copy of a JSON value without ids. `names` (name: field) are looked for inside of texts, besides the ids found in
        `body` itself. None says that the customer's names are not known: then a reason's code stands for its text, which may hold
        any of them."""
        if self._key is None:
            return body
        if names is None:
            return self.mask(_with_codes(body), {})
        found = {name: self.of(kind, name) for name, kind in names.items() if len(name) >= NAME_CHARACTERS_MIN}
        found |= {name: self.of(kind, name) for kind, name in _ids(body) if len(name) >= NAME_CHARACTERS_MIN}
        # The longest first: an id may be the beginning of another.
        return self._masked(body, "", sorted(found.items(), key=lambda pair: -len(pair[0])))

    def _masked(self, value: Any, field: str, found: list[tuple[str, str]]) -> Any:
        if isinstance(value, dict):
            # A reason holds an id in `value` where its `feature` is one.
            feature = str(value.get("feature", ""))
            named = feature if _holds_id(feature) else ""
            return {
                key: self._masked(each, named if named and key in ("value", "baseline") else key, found)
                for key, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._masked(each, field, found) for each in value]
        if not isinstance(value, str) or field in _KEPT:
            return value
        if _holds_id(field):
            return self.of(field, value)
        for name, pseudonym in found:
            value = value.replace(name, pseudonym)
        return value


def _with_codes(value: Any) -> Any:
    if isinstance(value, dict):
        said = {key: _with_codes(each) for key, each in value.items()}
        return said | {"text": str(value["code"]).replace("_", " ").lower()} if "code" in value else said
    return [_with_codes(each) for each in value] if isinstance(value, list | tuple) else value


def _holds_id(field: str) -> bool:
    return field not in _KEPT and (field in _KINDS or field.endswith(("_id", "_ids")))


def _ids(value: Any, field: str = "") -> Iterable[tuple[str, str]]:
    """Every (field, id) in a JSON value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _ids(each, key)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _ids(each, field)
    elif isinstance(value, str) and _holds_id(field):
        yield field, value
