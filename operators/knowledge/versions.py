"""A model version: immutable, in force from the end of a bucket on, named after it and after its own contents."""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from operators.knowledge.calibration import IDENTITY, Line
from operators.knowledge.columns import Layout
from operators.knowledge.forest import Forest, strangeness_of
from operators.knowledge.linear import Linear, Places
from state.digest import digest128
from state.times import rfc3339

CHAMPION: Final = "champion"
SHADOW: Final = "shadow"
LINEAR: Final = "linear"


class ModelVersion(msgspec.Struct, frozen=True):
    """One version of a model. `payload` is what scores (see `Payload`), at most `payload_bytes_max` of the config.

    `metrics` were measured prequentially, on examples that the model had scored before it knew them.
    """

    name: str
    version: str
    effective_from_us: int
    role: str
    """champion or shadow: what it was made as; a pin may put it to other use."""
    kind: str
    payload: bytes
    metrics: dict[str, float]
    threshold: float
    """In log-odds of the score: from here on anomaly.transaction speaks."""
    calibrated: bool
    """Whether its scores have earned to be called probabilities."""


class Payload(msgspec.Struct, array_like=True, frozen=True):
    """What a linear version scores with: `features` names the layout it was learned for, `weights` are doubles."""

    features: int
    base: float
    weights: bytes
    line: Line
    forest: Forest | None = None
    """Half-space trees; None until a window of payments was full."""


class PayloadError(Exception):
    """A version that this release can't score with: learned with other features, or damaged."""


class Model:
    """A version, ready to score. The calibration is multiplied into the weights, so that contributions are those to the score itself."""

    __slots__ = ("calibrated", "linear", "strangeness", "threshold", "version")

    def __init__(
        self,
        version: str,
        linear: Linear,
        threshold: float,
        calibrated: bool,
        line: Line = IDENTITY,
        forest: Forest | None = None,
    ) -> None:
        self.version = version
        self.threshold = threshold
        self.calibrated = calibrated
        self.linear = Linear(linear.layout, line.of(linear.base), [line.slope * weight for weight in linear.weights])
        self.strangeness = strangeness_of(forest) if forest is not None else None

    def logit(self, places: Places) -> float:
        """Log-odds of the calibrated score of values that lie there (`Layout.places`)."""
        return self.linear.logit(places)


def version_name(line: str, effective_from_us: int, *contents: bytes) -> str:
    """What a version is called: when it is in force, and a digest of what it says.

    >>> version_name("transaction", 1_533_081_600_000_000, b"weights")
    'transaction@2018-08-01T00:00:00Z.d7081a8d'
    """
    digest = digest128(*(part.hex() for part in contents)).hex()[:8]
    return f"{line}@{rfc3339(effective_from_us)[:19]}Z.{digest}"


def line_of(version: str) -> str:
    """The line of versions that one belongs to: the name before the @."""
    return version.partition("@")[0]


def encode_payload(features: int, linear: Linear, line: Line, forest: Forest | None = None) -> bytes:
    weights = array("d", linear.weights).tobytes()
    return msgspec.msgpack.encode(Payload(features, linear.base, weights, line, forest))


def compile_version(version: ModelVersion, features: int, layout: Layout) -> Model:
    """Raises PayloadError for a version of other features or another kind."""
    if version.kind != LINEAR:
        raise PayloadError(f"{version.version} is of kind {version.kind!r}, which this release does not know")
    try:
        payload = msgspec.msgpack.decode(version.payload, type=Payload)
        if payload.features != features:
            raise PayloadError(
                f"{version.version} was learned with features {payload.features}, this release has {features}"
            )
        linear = Linear(layout, payload.base, array("d", payload.weights))
    except (msgspec.DecodeError, ValueError) as error:
        raise PayloadError(f"the payload of {version.version} is damaged: {error}") from error
    return Model(version.version, linear, version.threshold, version.calibrated, payload.line, payload.forest)
