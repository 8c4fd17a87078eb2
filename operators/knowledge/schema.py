"""What a model is made of: a versioned layout of features, and how what was seen is packed until its outcome is known."""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

from operators.knowledge.columns import Feature, Layout
from operators.knowledge.versions import CHAMPION

_GIVEN: Final = struct.Struct("<ee")


class Seen(NamedTuple):
    """What was packed: the features as they were scored, and the log-odds that the champion and the shadow gave."""

    values: tuple[float, ...]
    champion: float
    shadow: float | None

    def given(self, role: str) -> float | None:
        return self.champion if role == CHAMPION else self.shadow


class Schema(NamedTuple):
    """`version` goes up with any change of `layout`: examples and versions of another one are not understood."""

    version: int
    layout: Layout
    strange: tuple[int, ...] = ()
    """The features that half-space trees look at, by their place."""
    strangeness: str = ""
    """The feature that they give, if there is one."""

    @property
    def packed_bytes(self) -> int:
        return self.layout.packed_bytes + _GIVEN.size

    def pack_scores(self, packed_values: bytes, champion: float, shadow: float | None) -> bytes:
        """What waits for its outcome: features, then the scores that they were given."""
        return packed_values + _GIVEN.pack(_bounded(champion), math.nan if shadow is None else _bounded(shadow))

    def unpack(self, packed: bytes) -> Seen:
        """
        >>> schema = plain(1, "views", "growth")
        >>> schema.unpack(schema.pack_scores(schema.layout.pack((1.0, 0.5)), -3.5, None))
        Seen(values=(1.0, 0.5), champion=-3.5, shadow=None)
        """
        champion, shadow = _GIVEN.unpack_from(packed, self.layout.packed_bytes)
        values = self.layout.unpack(packed[: self.layout.packed_bytes])
        return Seen(values, champion, None if math.isnan(shadow) else shadow)


def plain(version: int, *names: str) -> Schema:
    """Features that are plain numbers, with one weight each."""
    return Schema(version, Layout(tuple(Feature(name=name) for name in names)))


def _bounded(logit: float) -> float:
    """Beyond ±60 a score is 0 or 1 to the last digit: half floats need not hold more."""
    return logit if -60.0 <= logit <= 60.0 else max(-60.0, min(60.0, logit))
