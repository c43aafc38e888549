"""Rewards per step of tasks that start afresh after every success.

A search takes N = min(τ, G) steps, τ being the steps until all is done by acting and G the step of the random event, geometric
with probability q. Either the event brings the success, so that a cycle C = N + 1 steps after its start always ends with one.
Or it starts afresh without a success: ``restart`` = q (else 0). Then a cycle ends with a success at step c if τ = c − 1 and no
event came before, which has probability P(C = c, success) = (1 − q) · P(N > c − 2) − P(N > c − 1), and without one at step c
with probability q · P(N > c − 1). As 0 gives the former case, all formulas hold for both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from mbrl_envs.yardsticks.scores import Score

ERROR_GROUPS = 25


def long_run_rate(mean_search: float, restart: float = 0.0) -> float:
    """Successes per step for ever: P(success) / E[C] = (1 − qE[N]) / (1 + (1 − q)E[N]) with q = ``restart``."""
    return (1 - restart * mean_search) / (1 + (1 - restart) * mean_search)


def finite_rate(searching: np.ndarray, restart: float = 0.0) -> float:
    """Successes per step over the first S steps from reset.

    Cycles are independent. Step t ends one with the renewal probability u(t) = P(C = t) + Σ_{s<t} P(C = s) · u(t − s), and is a
    success with probability P(C = t, success) + Σ_{s<t} u(s) · P(C = t − s, success).

    Args:
        searching: P(N > t) for t = 0 … S − 1, float64 (S,).
        restart: Probability q per step that all starts afresh without a success.

    Returns:
        Expected number of successes, divided by S.
    """
    before = np.concatenate([[1.0], (1 - restart) * searching[:-1]])  # P(C > t − 1) for t = 1 … S
    successes = np.concatenate([[0.0], before - searching])  # for t = 0 … S
    ends = successes + np.concatenate([[0.0], restart * searching])
    impulse = np.zeros_like(ends)
    impulse[0] = 1
    renewals = lfilter(successes, np.concatenate([[1.0], -ends[1:]]), impulse)
    return float(renewals.sum()) / len(searching)


def route_rate(lengths: np.ndarray, event: float, steps: int | None, *, restarts: bool = False) -> float:
    """Successes per step of who always takes the shortest way.

    Args:
        lengths: How often that has t moves, for t = 0 … T − 1, float64 (T,), with sum 1.
        event: Probability per step that the search ends by itself.
        steps: None for the long run, else the number of steps from reset.
        restarts: Whether the event starts afresh without a success.
    """
    restart = event if restarts else 0.0
    searching = (1 - event) ** np.arange(len(lengths)) * (1 - np.cumsum(lengths))  # P(N > t)
    if steps is None:
        return long_run_rate(float(searching.sum()), restart)
    return finite_rate(np.pad(searching, (0, max(0, steps - len(searching))))[:steps], restart)


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
