"""River's estimators behind our door: golden bytes, exact freezing, and agreement with plain formulas."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import stats

import operators
import state
from state.estimators import Moments, MomentsTable, sigmoid

VALUES = (1.0, 2.5, -3.0)
GOLDEN_MOMENTS = "07000000030000009b779ca223b9ec3f627fd93d7958f83f"
finite = st.floats(-1e15, 1e15)


KEYS_MAX = 48


def moments_of(values: Sequence[float], fading_factor: float = 0.04, key: int = 7) -> MomentsTable:
    table = MomentsTable()
    for value in values:
        table.learn(key, value, fading_factor, KEYS_MAX)
    return table


def test_the_bytes_of_moments_stay_as_they_are() -> None:
    """If this fails, profiles on disk need an upgrade (state/frozen.py)."""
    assert moments_of(VALUES).freeze() == bytes.fromhex(GOLDEN_MOMENTS)
    assert MomentsTable(bytes.fromhex(GOLDEN_MOMENTS)).get(7) == moments_of(VALUES).get(7)


@given(st.lists(finite, min_size=1, max_size=40), st.floats(0.001, 1.0))
def test_moments_are_rivers_own_to_the_last_bit(values: list[float], fading_factor: float) -> None:
    """Taken apart and put together before each value, River's estimators must not notice."""
    mean, variance = stats.EWMean(fading_factor), stats.EWVar(fading_factor)
    for value in values:
        mean.update(value)
        variance.update(value)
    learned = Moments(len(values), mean.get(), max(0.0, variance.get()))
    assert moments_of(values, fading_factor).get(7) == learned


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), finite), max_size=60), st.integers(1, 9))
def test_a_table_holds_the_moments_of_the_keys_learned_last(pairs: list[tuple[int, float]], limit: int) -> None:
    table, values, order = MomentsTable(), dict[int, list[float]](), list[int]()
    for key, value in pairs:
        table.learn(key, value, 0.04, limit)
        values.setdefault(key, []).append(value)
        order = [*(each for each in order if each != key), key]
        for forgotten in order[:-limit]:
            del values[forgotten]
        order = order[-limit:]
        table = MomentsTable(table.freeze())
    assert list(table) == order and len(table) == len(order)
    for key, learned in values.items():
        assert table.get(key) == moments_of(learned, key=key).get(key)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_moments_are_the_exponentially_weighted_ones(values: list[float], fading_factor: float) -> None:
    mean = values[0]
    square = values[0] ** 2
    for value in values[1:]:
        mean += fading_factor * (value - mean)
        square += fading_factor * (value**2 - square)
    moments = moments_of(values, fading_factor).get(7)
    assert moments is not None
    assert moments.mean == pytest.approx(mean, abs=1e-9)
    assert moments.variance == pytest.approx(max(0.0, square - mean**2), abs=1e-6)
    assert moments.variance >= 0.0 and moments.n == len(values)


def test_a_constant_has_no_variance_below_zero() -> None:
    moments = moments_of((0.1,) * 1_000).get(7)
    assert moments is not None and moments.variance >= 0.0


def test_nothing_learned_is_nothing_known() -> None:
    assert (MomentsTable().get(7), moments_of(VALUES).get(8)) == (None, None)


@pytest.mark.parametrize("length", [1, 23, 25])
def test_moments_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        MomentsTable(bytes(length))


def test_no_damaged_byte_makes_river_panic() -> None:
    """A panic is a BaseException: it would pass every handler and end the worker."""
    raw = moments_of(VALUES).freeze()
    for at in range(len(raw)):
        for value in (0, 1, 2, 127, 255):
            table = MomentsTable(raw[:at] + bytes([value]) + raw[at + 1 :])
            for key in table:
                table.learn(key, 1.0, 0.04, KEYS_MAX)


@given(st.floats(-800, 800))
def test_the_logistic_function_is_monotone_symmetric_and_bounded(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0, abs=1e-15)
    assert sigmoid(x) <= sigmoid(x + 1.0)


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
