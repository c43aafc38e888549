"""Numbers about several runs: means, interquartile means, intervals.

scipy.stats is imported when needed: it takes half a second and 50 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BOOTSTRAP_FROM = 5  # runs, below which the interquartile mean is no better than the mean


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Student's t interval of the mean over runs; None with fewer than two of them.

    With the few seeds that one usually has this is the better choice: a bootstrap of three numbers covers the mean far less
    often than it says.
    """
    import scipy.stats

    numbers = np.asarray(values, float)
    if numbers.size < 2:
        return None
    half = scipy.stats.t.ppf((1 + confidence) / 2, numbers.size - 1) * scipy.stats.sem(numbers)
    return Interval(float(numbers.mean() - half), float(numbers.mean() + half))


def mean_band(values: np.ndarray, confidence: float = 0.95, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap of the mean over runs at each of many points, for the bands of curves.

    Unlike t intervals of few runs, such a band stays within what the runs have shown; with fewer than ten it is too narrow.

    Args:
        values: Scores of shape (points, runs); NaN where a run has none.
        confidence: Confidence level.
        seed: Seed of the resampling.

    Returns:
        Lower and upper ends, (points,); the mean itself where there is but one run.
    """
    import scipy.stats

    means = np.nanmean(values, axis=1)
    low, high = means.copy(), means.copy()
    present = ~np.isnan(values)
    # Points at which the same runs are there are done together.
    for pattern in np.unique(present, axis=0):
        points = (present == pattern).all(axis=1)
        if pattern.sum() >= 2:
            interval = scipy.stats.bootstrap(
                (values[np.ix_(points, pattern)],),
                np.mean,
                axis=-1,
                n_resamples=1000,
                batch=100,
                confidence_level=confidence,
                method="percentile",
                random_state=np.random.default_rng(seed),
            ).confidence_interval
            low[points], high[points] = interval.low, interval.high
    return low, high


def interquartile_mean(values: Sequence[float] | np.ndarray, axis: int | None = None) -> np.ndarray | float:
    """Mean of the middle half (a quarter is left out at each end, rounded down): robust, but less wasteful than the median."""
    import scipy.stats

    result = scipy.stats.trim_mean(np.asarray(values, float), 0.25, axis=axis)
    return float(result) if np.ndim(result) == 0 else result


def stratified_bootstrap(
    strata: Sequence[Sequence[float]],
    statistic: Callable[..., np.ndarray | float] = interquartile_mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of a statistic of runs on several tasks, each task's runs resampled among themselves.

    As Agarwal et al. 2021 (arXiv 2108.13264) advise; worth it from about ten runs in total.

    Args:
        strata: Scores of the runs of each task (normalised, if there are several tasks).
        statistic: Function of ``(scores, axis=-1)``, all tasks' scores together on the last axis.
        confidence: Confidence level.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval; None if a task has fewer than two runs.
    """
    import scipy.stats

    samples = [np.asarray(stratum, float) for stratum in strata]
    if not samples or any(sample.size < 2 for sample in samples):
        return None

    def of_all(*resampled: np.ndarray, axis: int = -1) -> np.ndarray | float:
        return statistic(np.concatenate(resampled, axis=axis), axis=axis)

    result = scipy.stats.bootstrap(
        samples,
        of_all,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def probability_of_improvement(
    ours: Sequence[float] | np.ndarray, others: Sequence[float] | np.ndarray, resamples: int = 2000, seed: int = 0
) -> tuple[float, Interval | None]:
    """How probable it is that a run of one agent scores higher than a run of another: P(X > Y) + P(X = Y) / 2.

    As Agarwal et al. 2021 (arXiv 2108.13264) define it, on one task.

    Args:
        ours: A score for each run of the one, (n,).
        others: A score for each run of the other, (m,).
        resamples: Resamples of the runs of each.
        seed: Seed of the resampling.

    Returns:
        The share of pairs, in [0, 1]; and its 95 % percentile bootstrap interval, None where an agent has fewer than two runs.
    """
    x, y = np.asarray(ours, float), np.asarray(others, float)

    def share(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        higher, equal = x[..., :, None] > y[..., None, :], x[..., :, None] == y[..., None, :]
        return (higher + 0.5 * equal).mean((-2, -1))

    if min(x.size, y.size) < 2:
        return float(share(x, y)), None
    random = np.random.default_rng(seed)
    drawn = (each[random.integers(each.size, size=(resamples, each.size))] for each in (x, y))
    low, high = np.quantile(share(*drawn), (0.025, 0.975))
    return float(share(x, y)), Interval(float(low), float(high))


def steps_until_held(curve: pd.Series, score: float, times: int = 4) -> int | None:
    """The first timestep from which so many evaluations in a row have at least a score.

    Args:
        curve: Scores by timestep.
        score: The score.
        times: Evaluations in a row, at least 1.

    Returns:
        The timestep of the first of them; None where there is none.
    """
    held = (curve >= score).rolling(times).sum() == times
    if not held.any():
        return None
    return int(curve.index[int(np.argmax(held.to_numpy())) - times + 1])


def describe(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean, spread, interquartile mean and intervals of some numbers; NaN for what cannot be said."""
    numbers, nan = np.asarray(values, float), float("nan")
    low, high = mean_interval(numbers) or (nan, nan)
    row = {"mean": float(numbers.mean()) if numbers.size else nan, "low": low, "high": high}
    row["std"] = float(numbers.std(ddof=1)) if numbers.size > 1 else nan
    row |= dict.fromkeys(("iqm", "iqm_low", "iqm_high"), nan)
    if numbers.size >= BOOTSTRAP_FROM:
        row["iqm"] = float(interquartile_mean(numbers))
        row["iqm_low"], row["iqm_high"] = stratified_bootstrap([numbers.tolist()]) or (nan, nan)
    return row
