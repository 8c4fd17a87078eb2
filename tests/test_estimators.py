"""River's estimators behind our door: golden bytes, exact freezing, and agreement with plain formulas."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import statistics
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import operators
import state
from state.estimators import MOMENTS_BYTES, QUANTILE_BYTES, Logistic, Moments, Quantile, sigmoid

VALUES = (1.0, 2.5, -3.0)
GOLDEN_MOMENTS = (
    "9b779ca223b9ec3f7b14ae47e17aa43fb81e85eb51b8ee3f017b14ae47e17aa43f"
    "9b779ca223b9ec3f7b14ae47e17aa43fb81e85eb51b8ee3f01627fd93d7958f83f"
    "7b14ae47e17aa43fb81e85eb51b8ee3f017b14ae47e17aa43f7b14ae47e17aa43f"
)
GOLDEN_QUANTILE = (
    "666666666666ee3f0000000000000000666666666666de3f666666666666ee3f333333333333ef3f000000000000f03f"
    "000000000000f03fcdcccccccccc0e40cdcccccccccc1a406666666666661b400000000000001c40000000000000f03f"
    "0000000000000040000000000000104000000000000018400000000000001c40000000000000f03f0000000000000040"
    "721cc7711cc71140ed25b497d05e204000000000000024400501"
)
finite = st.floats(-1e15, 1e15)


def moments_of(values: tuple[float, ...], fading_factor: float = 0.04) -> Moments:
    moments = Moments.new(fading_factor)
    for value in values:
        moments.learn(value)
    return moments


def quantile_of(values: tuple[float, ...], q: float = 0.95) -> Quantile:
    quantile = Quantile.new(q)
    for value in values:
        quantile.learn(value)
    return quantile


def test_the_bytes_of_moments_are_those_of_the_pinned_river() -> None:
    """If this fails, River's layout has changed: profiles on disk need an upgrade (state/frozen.py)."""
    assert moments_of(VALUES).freeze() == (3, bytes.fromhex(GOLDEN_MOMENTS))
    thawed = Moments.thaw(3, bytes.fromhex(GOLDEN_MOMENTS))
    assert (thawed.n, thawed.mean) == (3, moments_of(VALUES).mean)


def test_the_bytes_of_quantiles_are_those_of_the_pinned_river() -> None:
    assert quantile_of((5.0, 1.0, 4.0, 2.0, 3.0, 10.0, 7.5)).freeze() == (7, bytes.fromhex(GOLDEN_QUANTILE))
    assert Quantile.thaw(7, bytes.fromhex(GOLDEN_QUANTILE)).value == 4.444444444444445


@given(st.lists(finite, max_size=30), st.lists(finite, max_size=30), st.floats(0.001, 1.0))
def test_freezing_in_the_middle_changes_no_bit(before: list[float], after: list[float], fading_factor: float) -> None:
    moments, quantile = moments_of(tuple(before), fading_factor), quantile_of(tuple(before), 0.5)
    thawed_moments, thawed_quantile = Moments.thaw(*moments.freeze()), Quantile.thaw(*quantile.freeze())
    for value in after:
        for one in (moments, thawed_moments, quantile, thawed_quantile):
            one.learn(value)
    assert thawed_moments.freeze() == moments.freeze()
    assert thawed_quantile.freeze() == quantile.freeze()
    assert (thawed_moments.mean, thawed_moments.variance) == (moments.mean, moments.variance)
    assert thawed_quantile.value == quantile.value


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_moments_are_the_exponentially_weighted_ones(values: list[float], fading_factor: float) -> None:
    mean = values[0]
    square = values[0] ** 2
    for value in values[1:]:
        mean += fading_factor * (value - mean)
        square += fading_factor * (value**2 - square)
    moments = moments_of(tuple(values), fading_factor)
    assert moments.mean == pytest.approx(mean, abs=1e-9)
    assert moments.variance == pytest.approx(max(0.0, square - mean**2), abs=1e-6)
    assert moments.variance >= 0.0 and moments.n == len(values)


def test_a_constant_has_no_variance_below_zero() -> None:
    assert moments_of((0.1,) * 1_000).variance >= 0.0


def test_nothing_learned_is_nothing_known() -> None:
    assert (Moments.new(0.1).mean, Moments.new(0.1).variance, Quantile.new(0.5).value) == (0.0, 0.0, None)


def test_the_median_of_many_is_close_to_the_exact_one() -> None:
    values = [math.sin(number) * 100 for number in range(2_000)]
    assert quantile_of(tuple(values), 0.5).value == pytest.approx(statistics.median(values), abs=5.0)


@pytest.mark.parametrize("length", [0, MOMENTS_BYTES - 1, MOMENTS_BYTES + 1])
def test_moments_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="another River release"):
        Moments.thaw(1, bytes(length))


@pytest.mark.parametrize("length", [0, QUANTILE_BYTES - 1, QUANTILE_BYTES + 1])
def test_quantiles_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="another River release"):
        Quantile.thaw(1, bytes(length))


def test_no_damaged_byte_makes_river_panic() -> None:
    """A panic is a BaseException: it would pass every handler and end the worker."""
    moments, quantile = moments_of(VALUES).freeze()[1], quantile_of(VALUES).freeze()[1]
    refused = 0
    for raw, thaw in ((moments, Moments.thaw), (quantile, Quantile.thaw)):
        for at in range(len(raw)):
            for value in (0, 1, 2, 127, 255):
                try:
                    thaw(3, raw[:at] + bytes([value]) + raw[at + 1 :])
                except ValueError:
                    refused += 1
    assert refused == 4 * 3


@given(st.floats(-800, 800))
def test_the_logistic_function_is_monotone_symmetric_and_bounded(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0, abs=1e-15)
    assert sigmoid(x) <= sigmoid(x + 1.0)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-20, 20)), st.floats(-10, 10))
def test_terms_explain_rivers_own_prediction(values: dict[str, float], intercept: float) -> None:
    model = Logistic("m@1", intercept, {"a": 1.0, "b": -2.0, "c": 0.5})
    assert sigmoid(intercept + sum(model.terms(values).values())) == pytest.approx(model.predict(values), abs=1e-9)


def modules_of(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("name", [*modules_of(state), *modules_of(operators)])
def test_doctests(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_doctests() -> None:
    finder = doctest.DocTestFinder()
    names = [*modules_of(state), *modules_of(operators)]
    assert sum(bool(test.examples) for name in names for test in finder.find(importlib.import_module(name))) >= 15
