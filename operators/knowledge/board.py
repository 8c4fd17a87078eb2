"""The board: what is in force in this process, merchant rows and model versions. Read by the customer step at every transaction."""

from __future__ import annotations

from collections.abc import Iterable

from operators.knowledge.merchant_table import POPULATION, MerchantRow
from operators.knowledge.versions import CHAMPION, ModelVersion


class Board:
    """Empty until versions are applied: then merchants have no row and models are their priors."""

    def __init__(self) -> None:
        self._merchants: dict[str, MerchantRow] = {}
        self._populations: dict[str, MerchantRow] = {}
        self._champions: dict[str, ModelVersion] = {}
        self._shadows: dict[str, ModelVersion] = {}

    def apply_rows(self, rows: Iterable[MerchantRow]) -> None:
        for row in rows:
            (self._populations if row.scope == POPULATION else self._merchants)[row.merchant_id] = row

    def apply_versions(self, versions: Iterable[ModelVersion]) -> None:
        for version in versions:
            (self._champions if version.role == CHAMPION else self._shadows)[version.name] = version

    def merchant(self, merchant_id: str | None) -> MerchantRow | None:
        """The merchant's row; None where nothing is known of it."""
        return self._merchants.get(merchant_id) if merchant_id else None

    def champion(self, name: str) -> ModelVersion | None:
        return self._champions.get(name)

    def shadow(self, name: str) -> ModelVersion | None:
        return self._shadows.get(name)
