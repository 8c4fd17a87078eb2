"""The board: what is in force in this process, merchant rows and model versions. Read by the customer step at every transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from operators.knowledge.merchant_row import POPULATION, MerchantRow
from operators.knowledge.schemas import compiled
from operators.knowledge.versions import CHAMPION, SHADOW, Model, ModelVersion


class Board:
    """Empty until versions are applied: then nothing is known of merchants and models are their priors.

    A pinned version stays in its role, whatever is applied, until it is unpinned: then the newest applied one is back.
    """

    def __init__(self) -> None:
        self._rows: dict[str, MerchantRow] = {}
        self._newest: dict[tuple[str, str], ModelVersion] = {}
        self._pins: dict[tuple[str, str], ModelVersion] = {}
        self._models: dict[tuple[str, str], Model] = {}
        self._in_force: dict[tuple[str, str], ModelVersion] = {}
        self._followers: list[tuple[Set[str], Callable[[], None]]] = []

    def follow(self, names: Set[str], renew: Callable[[], None]) -> None:
        """Has `renew` called whenever another champion of one of these models comes into force."""
        if names:
            self._followers.append((names, renew))

    def apply_rows(self, rows: Iterable[MerchantRow]) -> None:
        """New rows of merchants take the place of older ones; an empty one says that nothing is known any longer."""
        for row in rows:
            if row.empty:
                self._rows.pop(row.merchant_id, None)
            elif row.scope != POPULATION:  # each merchant's row names what it was shrunk to
                self._rows[row.merchant_id] = row

    def apply_versions(self, versions: Iterable[ModelVersion]) -> None:
        """New versions, each in its role. Raises PayloadError for one that this release can't score with."""
        for version in versions:
            self._newest[version.name, version.role] = version
            self._compile(version.name, version.role)

    def pin(self, version: ModelVersion, role: str = CHAMPION) -> None:
        """Keeps a version in a role. Raises PayloadError for one that this release can't score with."""
        self._pins[version.name, role] = version
        self._compile(version.name, role)

    def unpin(self, name: str, role: str = CHAMPION) -> None:
        self._pins.pop((name, role), None)
        self._compile(name, role)

    def merchant(self, merchant_id: str | None) -> MerchantRow | None:
        """The merchant's row; None where nothing is known of it."""
        return self._rows.get(merchant_id) if merchant_id else None

    def champion(self, name: str) -> Model | None:
        """What scores; None: the prior does."""
        return self._models.get((name, CHAMPION))

    def shadow(self, name: str) -> Model | None:
        """What is compared with the champion, without being heard."""
        return self._models.get((name, SHADOW))

    @property
    def in_force(self) -> dict[tuple[str, str], ModelVersion]:
        """The versions behind `champion` and `shadow`, by name and role; may be asked for from another thread."""
        return self._in_force.copy()

    def _compile(self, name: str, role: str) -> None:
        version = self._pins.get((name, role)) or self._newest.get((name, role))
        if version is None:
            self._models.pop((name, role), None)
            self._in_force.pop((name, role), None)
        elif self._models.get((name, role)) is None or self._models[name, role].version != version.version:
            self._models[name, role] = compiled(version)
            self._in_force[name, role] = version
        else:
            return
        for names, renew in self._followers if role == CHAMPION else ():
            if name in names:
                renew()
