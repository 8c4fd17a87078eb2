"""River's estimators behind our door: golden bytes, exact freezing, and agreement with plain formulas."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import statistics
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import stats

import operators
import state
from state.estimators import QUANTILE_BYTES, MomentsTable, Quantile, sigmoid

VALUES = (1.0, 2.5, -3.0)
GOLDEN_MOMENTS = "07000000030000009b779ca223b9ec3f627fd93d7958f83f"
GOLDEN_QUANTILE = (
    "666666666666ee3f0000000000000000666666666666de3f666666666666ee3f333333333333ef3f000000000000f03f"
    "000000000000f03fcdcccccccccc0e40cdcccccccccc1a406666666666661b400000000000001c40000000000000f03f"
    "0000000000000040000000000000104000000000000018400000000000001c40000000000000f03f0000000000000040"
    "721cc7711cc71140ed25b497d05e204000000000000024400501"
)
finite = st.floats(-1e15, 1e15)


KEYS_MAX = 48


def moments_of(values: Sequence[float], fading_factor: float = 0.04, key: int = 7) -> MomentsTable:
    table = MomentsTable()
    for value in values:
        table.learn(key, value, fading_factor, KEYS_MAX)
    return table


def quantile_of(values: Sequence[float], q: float = 0.95) -> Quantile:
    quantile = Quantile.new(q)
    for value in values:
        quantile.learn(value)
    return quantile


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
    assert moments_of(values, fading_factor).get(7) == (len(values), mean.get(), max(0.0, variance.get()))


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


def test_the_bytes_of_quantiles_are_those_of_the_pinned_river() -> None:
    assert quantile_of((5.0, 1.0, 4.0, 2.0, 3.0, 10.0, 7.5)).freeze() == (7, bytes.fromhex(GOLDEN_QUANTILE))
    assert Quantile.thaw(7, bytes.fromhex(GOLDEN_QUANTILE)).value == 4.444444444444445


@given(st.lists(finite, max_size=30), st.lists(finite, max_size=30), st.floats(0.01, 0.99))
def test_freezing_in_the_middle_changes_no_bit(before: list[float], after: list[float], q: float) -> None:
    quantile = quantile_of(before, q)
    thawed = Quantile.thaw(*quantile.freeze())
    for value in after:
        quantile.learn(value)
        thawed.learn(value)
    assert thawed.freeze() == quantile.freeze()
    assert thawed.value == quantile.value


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
    assert (MomentsTable().get(7), moments_of(VALUES).get(8), Quantile.new(0.5).value) == (None, None, None)


def test_the_median_of_many_is_close_to_the_exact_one() -> None:
    values = [math.sin(number) * 100 for number in range(2_000)]
    assert quantile_of(tuple(values), 0.5).value == pytest.approx(statistics.median(values), abs=5.0)


@pytest.mark.parametrize("length", [1, 23, 25])
def test_moments_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        MomentsTable(bytes(length))


@pytest.mark.parametrize("length", [0, QUANTILE_BYTES - 1, QUANTILE_BYTES + 1])
def test_quantiles_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="another River release"):
        Quantile.thaw(1, bytes(length))


def test_no_damaged_byte_makes_river_panic() -> None:
    """A panic is a BaseException: it would pass every handler and end the worker."""
    moments, quantile = moments_of(VALUES).freeze(), quantile_of(VALUES).freeze()[1]
    for raw, use in ((moments, _learn_on), (quantile, lambda raw: Quantile.thaw(3, raw).learn(1.0))):
        for at in range(len(raw)):
            for value in (0, 1, 2, 127, 255):
                with suppress(ValueError):
                    use(raw[:at] + bytes([value]) + raw[at + 1 :])


def _learn_on(raw: bytes) -> None:
    table = MomentsTable(raw)
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
