"""Rewards per step of tasks that start afresh after every success."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from mbrl_envs.yardsticks.scores import Score

ERROR_GROUPS = 25


def long_run_rate(mean_search: float) -> float:
    """Successes per step for ever: one in every E[N] + 1 steps, the success being the step after the search's N."""
    return 1 / (mean_search + 1)


def finite_rate(searching: np.ndarray) -> float:
    """Successes per step over the first S steps from reset.

    A cycle is a search of N steps and the success, C = N + 1 steps, and cycles are independent. Step t is a success with the
    renewal probability u(t) = P(C = t) + Σ_{s<t} P(C = s) · u(t − s).

    Args:
        searching: P(N > t) for t = 0 … S − 1, float64 (S,).

    Returns:
        Expected number of successes, divided by S.
    """
    ends = np.concatenate([[0.0], -np.diff(searching, prepend=1.0)])  # P(C = t) = P(N = t − 1) for t = 0 … S
    impulse = np.zeros_like(ends)
    impulse[0] = 1
    renewals = lfilter(ends, np.concatenate([[1.0], -ends[1:]]), impulse)
    return float(renewals.sum()) / len(searching)


def route_rate(lengths: np.ndarray, event: float, steps: int | None) -> float:
    """Successes per step of who always takes the shortest way.

    Args:
        lengths: How often that has t moves, for t = 0 … T − 1, float64 (T,), with sum 1.
        event: Probability per step that the search ends by itself.
        steps: None for the long run, else the number of steps from reset.
    """
    searching = (1 - event) ** np.arange(len(lengths)) * (1 - np.cumsum(lengths))  # P(N > t)
    if steps is None:
        return long_run_rate(float(searching.sum()))
    return finite_rate(np.pad(searching, (0, max(0, steps - len(searching))))[:steps])


def with_error(function: Callable[[np.ndarray], float], rows: np.ndarray, weights: np.ndarray, sampled: bool) -> Score:
    """A function of the mean row, with the standard error that the choice of rows leaves.

    The function is not linear, so the error is taken from its values on ``ERROR_GROUPS`` parts of the sample.

    Args:
        function: Maps a mean row to a number.
        rows: One row (or number) for each layout, float64 (M, ...).
        weights: Weights with sum 1, float64 (M,).
        sampled: Whether the rows are a random sample; else the error is 0.
    """
    value = function(np.tensordot(weights, rows, axes=1))
    if not sampled:
        return Score(value)
    parts = [function(part.mean(axis=0)) for part in np.array_split(rows, ERROR_GROUPS)]
    return Score(value, float(np.std(parts, ddof=1) / np.sqrt(ERROR_GROUPS)))
