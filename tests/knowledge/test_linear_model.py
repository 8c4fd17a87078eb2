"""Columns, curves, crosses: contributions are exact, and equal what the learner's own dot product says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.knowledge.calibration import IDENTITY, Line
from operators.knowledge.columns import HALF_MAX, Cross, Feature, Layout
from operators.knowledge.features import LAYOUT, OWN, PARTS, SCHEMA, VERSION
from operators.knowledge.linear import Linear, prior
from operators.knowledge.versions import (
    LINEAR,
    Model,
    ModelVersion,
    PayloadError,
    compile_version,
    encode_payload,
    line_of,
)
from state.estimators import OnlineLogistic, sigmoid

SMALL = Layout(
    (
        Feature(name="strength"),
        Feature(name="z", knots=(-1.0, 0.0, 2.0, 5.0)),
        Feature(name="hour", categories=24),
    ),
    (Cross(first="z", second="hour", first_edges=(0.0, 3.0), second_categories=24),),
)
number = st.floats(-70_000, 70_000) | st.floats(-6, 6)
values = st.tuples(st.floats(-20, 20), number, st.floats(-3, 30))
weights = st.lists(st.floats(-8, 8), min_size=SMALL.width, max_size=SMALL.width)


@given(values, weights, st.floats(-10, 10), st.floats(0.2, 5.0), st.floats(-5, 5))
def test_base_and_contributions_add_up_to_the_calibrated_score(
    given_values: tuple[float, ...], own: list[float], base: float, slope: float, offset: float
) -> None:
    seen = SMALL.unpack(SMALL.pack(given_values))
    places = SMALL.places(seen)
    raw = Model("m", Linear(SMALL, base, own), 0.0, False, IDENTITY).logit(places)
    model = Model("m", Linear(SMALL, base, own), 0.0, False, Line(slope, offset))
    contributions = model.linear.contributions(places)
    assert len(contributions) == len(SMALL.names)
    assert abs(sigmoid(model.linear.base + sum(contributions)) - sigmoid(model.logit(places))) <= 1e-9
    assert model.logit(places) == pytest.approx(slope * raw + offset, abs=1e-9, rel=1e-9)


@given(values, weights, st.floats(-10, 10))
def test_a_compiled_model_scores_as_rivers_regression_does(
    given_values: tuple[float, ...], own: list[float], base: float
) -> None:
    seen = SMALL.unpack(SMALL.pack(given_values))
    learned = OnlineLogistic.new(own, base, 0.1)
    logit = Model("m", Linear(SMALL, base, own), 0.0, False).logit(SMALL.places(seen))
    assert logit == pytest.approx(learned.logit(SMALL.columns(seen)), abs=1e-9, rel=1e-9)


@given(values)
def test_a_curve_is_continuous_and_its_columns_share_one(given_values: tuple[float, ...]) -> None:
    columns = Layout((SMALL.features[1],)).columns((given_values[1],))
    assert 1 <= len(columns) <= 2
    assert sum(columns.values()) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 and 0 <= at < 4 for at, share in columns.items())


@given(st.floats(-1, 5))
def test_a_prior_slope_is_a_straight_line_between_the_outermost_knots(z: float) -> None:
    model = Model("prior", prior(SMALL, -4.0, {"z": 1.5, "strength": 2.0}), 0.0, False)
    assert model.logit(SMALL.places((1.0, z, 3.0))) == pytest.approx(-4.0 + 2.0 + 1.5 * z)


@given(st.lists(st.floats(allow_nan=False), min_size=len(LAYOUT.features), max_size=len(LAYOUT.features)))
def test_any_features_can_be_packed_and_scored(given_values: list[float]) -> None:
    packed = SCHEMA.pack_scores(LAYOUT.pack(given_values), 3.0, None)
    assert len(packed) == SCHEMA.packed_bytes <= 64
    seen = SCHEMA.unpack(packed)
    assert all(abs(value) <= HALF_MAX for value in seen.values)
    model = Model("m", prior(LAYOUT, -7.0, dict.fromkeys(OWN, 1.0)), 0.0, False)
    assert math.isfinite(model.logit(LAYOUT.places(seen.values)))
    assert seen.shadow is None and seen.champion == 3.0
    assert max(LAYOUT.columns(seen.values)) < LAYOUT.width


def test_each_feature_belongs_to_one_part() -> None:
    named = sorted(name for names in PARTS.values() for name in names)
    assert named == sorted(feature.name for feature in LAYOUT.features)


def version_of(payload: bytes, kind: str = LINEAR) -> ModelVersion:
    return ModelVersion("transaction", "transaction@x", 0, "champion", kind, payload, {}, 0.0, True)


def test_a_version_scores_as_what_it_was_made_of_and_another_is_refused() -> None:
    model = prior(LAYOUT, -7.0, dict.fromkeys(OWN, 1.0))
    version = version_of(encode_payload(VERSION, model, Line(2.0, 1.0)))
    compiled = compile_version(version, VERSION, LAYOUT)
    places = LAYOUT.places(tuple(float(at % 3) for at in range(len(LAYOUT.features))))
    expected = 2.0 * Model("m", model, 0.0, False).logit(places) + 1.0
    assert compiled.logit(places) == pytest.approx(expected)
    assert compiled.calibrated and line_of(compiled.version) == "transaction"
    with pytest.raises(PayloadError, match="features"):
        compile_version(version, VERSION + 1, LAYOUT)
    with pytest.raises(PayloadError, match="kind"):
        compile_version(version_of(version.payload, "forest"), VERSION, LAYOUT)
    with pytest.raises(PayloadError, match="damaged"):
        compile_version(version_of(version.payload[:-3]), VERSION, LAYOUT)


@settings(max_examples=30)
@given(st.lists(st.tuples(values, st.booleans(), st.floats(0.5, 10.0)), max_size=30))
def test_a_regression_frozen_at_any_time_learns_on_bit_for_bit(
    stream: list[tuple[tuple[float, ...], bool, float]],
) -> None:
    straight = OnlineLogistic.new([0.0] * SMALL.width, -3.0, 0.2)
    frozen = OnlineLogistic.new([0.0] * SMALL.width, -3.0, 0.2)
    for given_values, label, weight in stream:
        columns = SMALL.columns(SMALL.unpack(SMALL.pack(given_values)))
        straight.learn(columns, label, weight)
        frozen.learn(columns, label, weight)
        frozen = OnlineLogistic.thaw(frozen.freeze(), 0.2)
    assert frozen.freeze() == straight.freeze()


def test_a_firm_prior_outlives_what_was_expected_anyway_and_still_gives_way_to_errors() -> None:
    """Payments that looked strange and were none, each scored at one in a hundred or less."""
    loose, firm = (OnlineLogistic.new([2.0, 0.0], -7.0, 0.2, firmness) for firmness in (0.0, 100.0))
    for model in (loose, firm):
        for _ in range(200):
            model.learn({0: 1.0, 1: 1.0}, 0, 1.0)
    assert loose.weights[0] < 1.7 and firm.weights[0] > 1.95
    assert firm.weights[1] < -0.3, "nothing was believed of it"
    for _ in range(300):
        firm.learn({0: 1.0}, 1, 1.0)
    assert firm.weights[0] > 3.0
