"""Intervals against scipy's, against every possible resample of a small set, and their properties."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quickchange.evaluate.statistics import (
    bootstrap,
    bootstrap_clusters,
    bootstrap_crossed,
    bootstrap_ratio,
    wilson,
)

NUMBERS = st.floats(-1e6, 1e6)
NOISE = np.random.default_rng(0).normal(0, 1, 64)


@pytest.mark.parametrize("pool", ["mean", "median"])
def test_the_bootstrap_is_the_percentile_bootstrap_of_scipy(pool: str) -> None:
    statistic = np.mean if pool == "mean" else np.median
    reference = stats.bootstrap((NOISE,), statistic, n_resamples=10_000, method="percentile", rng=1)
    found = bootstrap(list(NOISE), pool, draws=20_000)  # type: ignore[arg-type]
    assert found.value == pytest.approx(float(statistic(NOISE)))
    assert found[1:] == pytest.approx(tuple(reference.confidence_interval), abs=0.05)  # a median moves in steps


def test_the_mean_of_three_is_resampled_as_all_27_ways_are() -> None:
    values = [0.0, 1.0, 5.0]
    means = [np.mean(pick) for pick in product(values, repeat=3)]
    expected = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
    assert bootstrap(values, "mean", draws=20_000)[1:] == pytest.approx(tuple(expected))


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from(["mean", "median"]))
def test_an_interval_lies_within_the_values_and_draws_are_fixed(values: list[float], pool: str) -> None:
    found = bootstrap(values, pool, draws=50)  # type: ignore[arg-type]
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found == bootstrap([*values, math.nan, math.inf], pool, draws=50)  # type: ignore[arg-type]


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=12), st.integers(1, 8), st.integers(-50, 50))
def test_an_interval_scales_and_shifts_with_its_values(values: list[int], scale: int, shift: int) -> None:
    plain = bootstrap([float(x) for x in values], "mean", draws=50)
    moved = bootstrap([float(scale * x + shift) for x in values], "mean", draws=50)
    assert moved == pytest.approx(tuple(scale * x + shift for x in plain), abs=1e-9)


def test_the_median_is_held_against_an_outlier() -> None:
    assert bootstrap([1.0, 2.0, 3.0, 4.0, 100.0]).value == 3


def test_nothing_known_is_nan() -> None:
    for found in (
        bootstrap([math.nan]),
        bootstrap_ratio([(1.0, math.nan), (1.0, 0.0)]),
        bootstrap_clusters(lambda _: math.nan, np.array([0, 1]), draws=3),
        bootstrap_crossed([[math.nan]]),
    ):
        assert np.isnan(found).all()


def test_a_ratio_is_of_sums_and_pairs_are_drawn_together() -> None:
    pairs = [(2 * x, x) for x in (1.0, 2.0, 30.0)]
    assert bootstrap_ratio([*pairs, (math.nan, 1.0)]) == pytest.approx((2, 2, 2))
    assert bootstrap_ratio([(1.0, 1.0), (0.0, 3.0)]).value == 0.25


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0.1, 9)), min_size=1, max_size=12))
def test_a_ratio_lies_among_the_ratios_of_its_pairs(pairs: list[tuple[float, float]]) -> None:
    found, each = bootstrap_ratio(pairs, draws=50), [a / b for a, b in pairs]
    assert min(each) - 1e-9 <= found.low <= found.high <= max(each) + 1e-9


def test_clusters_are_drawn_whole() -> None:
    seen: list[list[int]] = []

    def record(at: np.ndarray) -> float:  # type: ignore[type-arg]
        seen.append(sorted(at.tolist()))
        return 0.0

    bootstrap_clusters(record, np.array([0, 0, 0, 1, 1, 1]), draws=20)
    assert {tuple(x) for x in seen} == {(0, 0, 1, 1, 2, 2), (0, 1, 2, 3, 4, 5), (3, 3, 4, 4, 5, 5)}


def test_clusters_of_one_are_the_plain_bootstrap() -> None:
    found = bootstrap_clusters(lambda at: float(NOISE[at].mean()), np.arange(len(NOISE)), draws=200)
    assert found == pytest.approx(bootstrap(list(NOISE), "mean", draws=200))


def test_rows_that_disagree_widen_the_interval() -> None:
    same = bootstrap_crossed([NOISE, NOISE, NOISE])  # type: ignore[list-item]
    apart = bootstrap_crossed([NOISE - 3, NOISE, NOISE + 3])  # type: ignore[list-item]
    assert same.value == pytest.approx(apart.value)
    assert apart.high - apart.low > 3 * (same.high - same.low)
    assert bootstrap_crossed([[1.0, math.nan], [3.0, math.nan]]).value == 2


def test_a_table_of_two_by_two_is_resampled_as_all_16_ways_are() -> None:
    table = np.array([[0.0, 1.0], [4.0, 10.0]])
    ways = product((0, 1), repeat=2)
    means = [table[np.ix_(rows, columns)].mean() for rows, columns in product(list(ways), repeat=2)]
    expected = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
    assert bootstrap_crossed(table.tolist(), draws=20_000)[1:] == pytest.approx(tuple(expected))


@given(st.integers(1, 200), st.data())
def test_a_share_has_the_wilson_interval_of_scipy(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    p, low, high = wilson(hits, n)
    reference = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (p, low, high) == pytest.approx((hits / n, reference.low, reference.high), abs=1e-4)
    assert high > low
    assert wilson(n - hits, n) == pytest.approx((1 - p, 1 - high, 1 - low))


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_a_share_of_more_than_all_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"hits is {hits} of n {n}"):
        wilson(hits, n)
