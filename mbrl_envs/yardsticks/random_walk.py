"""The uniformly random walk on grid cells, and how long it takes to a goal.

With the five actions equally likely, the walk's transition matrix P over the m open cells is symmetric: 1/5 between
neighbours, the rest on the diagonal. Hence a walk that starts uniformly stays uniform, which is what makes the formulas below
short.

Throughout, an *event* of probability q per step ends the search as well, whatever the walk does. The search then takes
N = min(τ, G) steps, with τ the walk's own first-passage time and G geometric, and P(N > t) = (1 − q)^t · P(τ > t).

An episode ends on the step after the arrival, L = min(τ, G) + 1 = N + 1, if the event takes the walk to the goal. If it ends
the episode at once (``at_once``), L = min(τ + 1, G), so that P(L > t + 1) = (1 − q) · P(N > t) and
E[min(L, S)] = 1 + (1 − q) · E[min(N, S − 1)].
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mbrl_envs.grid import ACTION_NAMES, successors

NEGLIGIBLE = 1e-16


def adjacency(n: int) -> np.ndarray:
    """Which cells of an n × n grid are neighbours: 0.0 or 1.0, shape (n·n, n·n)."""
    between = np.zeros((n * n, n * n))
    np.put_along_axis(between, successors(n), 1.0, axis=1)
    np.fill_diagonal(between, 0)  # to stay is no move
    return between


def walk_matrix(cells: np.ndarray, n: int) -> np.ndarray:
    """Transition matrices of the uniform policy.

    Args:
        cells: The open cells of B grids with m open cells each, int (B, m), row * n + column.
        n: Side length of the grids.

    Returns:
        Probabilities, float64 (B, m, m).
    """
    between = adjacency(n)[cells[:, :, None], cells[:, None, :]] / len(ACTION_NAMES)
    diagonal = np.arange(cells.shape[1])
    between[:, diagonal, diagonal] = 1 - between.sum(axis=2)
    return between


def mean_episode_length(
    walk: np.ndarray, event: float, steps: int | None, goals: slice = slice(None), *, at_once: bool = False
) -> np.ndarray:
    """Expected length of an episode of the uniform policy, from a uniform start, for each of several goals.

    Args:
        walk: Transition matrices P of connected grids, float64 (B, m, m).
        event: Probability q per step that the event ends the search, in [0, 1).
        steps: Cap on the length, or None.
        goals: Which of the m cells to take as goals, G of them.
        at_once: Whether the event ends the episode at once.

    Returns:
        Expected lengths, float64 (B, G).
    """
    search = _mean_search(walk, event)[:, goals] if steps is None else _capped_search(walk, event, steps - 1, goals)
    return 1 + (1 - event if at_once else 1) * search


def _mean_search(walk: np.ndarray, event: float) -> np.ndarray:
    """E[N] for every goal, (B, m).

    With s = 1 − q, the Green's function G = (I − sP)⁻¹ and a goal g, E_i[s^τ] = G_ig / G_gg. Its mean over i is 1 / (m·q·G_gg),
    as the columns of G have the sum 1/q, and E[N] = (1 − E[s^τ]) / q. Taking the divergent part out, G = Z + 1/(m·q), leaves
    E[N] = m·Z_gg / (1 + m·q·Z_gg), which holds at q = 0 too.
    """
    m, stay = walk.shape[-1], 1 - event
    potential = np.diagonal(np.linalg.inv(np.eye(m) - stay * walk + stay / m), axis1=1, axis2=2) - 1 / m  # Z_gg
    return m * potential / (1 + m * event * potential)


def _capped_search(walk: np.ndarray, event: float, most: int, goals: slice) -> np.ndarray:
    """E[min(N, most)] = Σ_{t < most} P(N > t) for the given goals, (B, G): the walk that stops at the goal, step by step."""
    num, m, _ = walk.shape
    grid, start, end = np.nonzero(walk)
    chain = sparse.csr_array(((1 - event) * walk[grid, start, end], (grid * m + start, grid * m + end)))
    elsewhere = np.tile(1 - np.eye(m)[:, goals], (num, 1))
    searching = elsewhere  # row: start, column: goal
    total = np.zeros((num, elsewhere.shape[1]))
    for _ in range(most):
        now = searching.reshape(num, m, -1).sum(axis=1)
        total += now
        if now.max() < NEGLIGIBLE:
            break
        searching = chain @ searching
        searching *= elsewhere
    return total / m


def shortest_episode_length(distance: np.ndarray, event: float, steps: int | None, *, at_once: bool = False) -> np.ndarray:
    """Expected length of an episode on a shortest path of ``distance`` moves.

    1 + Σ_{t<d} (1 − q)^t = 1 + (1 − (1 − q)^d) / q, and with a cap S on the length, d is at most S − 1. The event comes
    whatever the agent does, so the shortest path is best: it arrives no later than any other on every draw of the event.

    Args:
        distance: Moves to the goal, int array of any shape.
        event: Probability q per step that the event ends the search.
        steps: Cap S on the length, or None.
        at_once: Whether the event ends the episode at once.

    Returns:
        Expected lengths, float64 of the same shape.
    """
    moves = distance if steps is None else np.minimum(distance, steps - 1)
    search = moves if event == 0 else -np.expm1(moves * np.log1p(-event)) / event
    return 1 + (1 - event if at_once else 1) * search
