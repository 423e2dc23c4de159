"""Bootstrap and Wilson 95 % intervals: how sure a figure over seeds, samples or clips is.

Every bootstrap is a percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
Its draws come from a fixed seed, so the same values always give the same interval. Arrays in, figures out: no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quickchange.evaluate.types import Indices

Pool = Literal["mean", "median"]
ENDS = (2.5, 97.5)  # percentiles of the resampled figures
Z = 1.96  # standard normal quantile of the upper end


class Estimate(NamedTuple):
    """A figure with the lower and upper end of its 95 % interval; three times nan where nothing is known."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(nan, nan, nan)


def bootstrap(values: Sequence[float], pool: Pool = "median", draws: int = 2000) -> Estimate:
    """Median (or mean) of the finite values, with its bootstrap 95 % interval.

    Args:
        values: one figure per seed or sample. Values that are not finite are left out.
        pool: how the values are put together.
        draws: resamples.

    Returns:
        ``UNKNOWN`` where no value is finite.
    """
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if not len(data):
        return UNKNOWN
    gather = np.median if pool == "median" else np.mean
    return _estimate(gather(data), gather(data[_resamples(len(data), draws)], 1))


def bootstrap_ratio(pairs: Sequence[tuple[float, float]], draws: int = 2000) -> Estimate:
    """Sum of the numerators over the sum of the denominators, with its bootstrap 95 % interval.

    Args:
        pairs: one (numerator, denominator) per seed, drawn together. Pairs that are not finite are left out.
        draws: resamples. A resample whose denominators do not sum to more than 0 is left out.

    Returns:
        ``UNKNOWN`` where no pair is finite or the denominators do not sum to more than 0.
    """
    data = np.array([pair for pair in pairs if np.isfinite(pair).all()], np.float64).reshape(-1, 2)
    if not len(data) or data[:, 1].sum() <= 0:
        return UNKNOWN
    above, below = np.moveaxis(data[_resamples(len(data), draws)].sum(1), 1, 0)
    return _estimate(data[:, 0].sum() / data[:, 1].sum(), above[below > 0] / below[below > 0])


def bootstrap_clusters(statistic: Callable[[Indices], float], cluster: Indices, draws: int = 1000) -> Estimate:
    """A statistic of all members, with the interval from resampling whole clusters.

    Members of one cluster resemble each other (frames of one clip), so single members must not be resampled.

    Args:
        statistic: from the indices of members, with repetitions, to a number.
        cluster: i64[N], which cluster each member belongs to.
        draws: resamples. A resample whose statistic is not finite is left out.

    Returns:
        ``UNKNOWN`` where the statistic of no resample is finite.
    """
    members = [np.flatnonzero(cluster == one) for one in np.unique(cluster)]
    picks = _resamples(len(members), draws)
    values = np.array([statistic(np.concatenate([members[i] for i in pick])) for pick in picks])
    values = values[np.isfinite(values)]
    return _estimate(statistic(np.arange(len(cluster))), values) if len(values) else UNKNOWN


def bootstrap_crossed(table: Sequence[Sequence[float]], draws: int = 2000) -> Estimate:
    """Mean of a table, with the interval from resampling its rows and its columns.

    Args:
        table: one row per training seed, one column per held-out seed, equally many in each row. nan: no figure. Rows
            are resampled too, so three training seeds that disagree give a wide interval.
        draws: resamples.

    Returns:
        ``UNKNOWN`` where no figure is finite.
    """
    data = np.asarray(table, np.float64)
    if data.ndim != 2 or not np.isfinite(data).any():
        return UNKNOWN
    rng, (rows, columns) = np.random.default_rng(0), data.shape
    row = rng.integers(0, rows, (draws, rows, 1))
    column = rng.integers(0, columns, (draws, 1, columns))
    drawn = data[row, column].reshape(draws, -1)
    kept = np.isfinite(drawn)
    some = kept.any(1)
    return _estimate(np.nanmean(data), np.where(kept, drawn, 0).sum(1)[some] / kept.sum(1)[some])


def wilson(hits: int, n: int) -> Estimate:
    """A share and its Wilson score interval (Wilson 1927), which unlike the bootstrap's has a width at 0 and 1 too.

    Args:
        hits: how many of ``n``, 0 to ``n``.
        n: 1 or more.

    Raises:
        ValueError: a number is out of range.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"hits is {hits} of n {n}; expected n of 1 or more and hits of 0 to n")
    p, scale = hits / n, 1 + Z * Z / n
    middle, half = p + Z * Z / (2 * n), Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Estimate(p, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def _resamples(count: int, draws: int) -> Indices:
    """Indices of ``draws`` resamples, i64[draws, count]; the same for the same arguments."""
    return np.random.default_rng(0).integers(0, count, (draws, count))


def _estimate(value: ArrayLike, resampled: NDArray[np.floating]) -> Estimate:
    low, high = np.percentile(resampled, ENDS)
    return Estimate(float(np.asarray(value)), float(low), float(high))
