"""Yardsticks of ProcMaze: every maze, start and goal solved exactly, averaged over mazes.

All mazes are known for grids up to ``mazes.EXACT_GRID_SIZE``, with their probabilities. Larger grids are averaged over a fixed
sample of mazes, as many as take some seconds, and the standard error says how much that leaves open.
"""

from __future__ import annotations

import functools

import numpy as np

from mbrl_envs.proc_maze import ProcMaze
from mbrl_envs.yardsticks.mazes import EXACT_GRID_SIZE, Mazes, all_mazes, average, sample_mazes
from mbrl_envs.yardsticks.random_walk import mean_episode_length, shortest_episode_length, walk_matrix
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver

OPERATIONS = 2e9  # what a sample may cost: a few seconds of one core
MOST_OPERATIONS = 2e10  # what all mazes, or the smallest sample, may cost
FEWEST_MAZES, MOST_MAZES = 50, 10_000


def _mazes(n: int, operations: float) -> Mazes:
    """All mazes of side ``n``, or as large a sample as is affordable at ``operations`` for each of them."""
    if n <= EXACT_GRID_SIZE and len(all_mazes(n).weights) * operations <= MOST_OPERATIONS:
        return all_mazes(n)
    return sample_mazes(n, min(MOST_MAZES, max(FEWEST_MAZES, int(OPERATIONS / operations))))


def _typical_open_cells(n: int) -> float:
    return 0.62 * n * n


@optimal_solver.register(ProcMaze)
def _optimal(env: ProcMaze, steps: int | None) -> Score:
    """The shortest path, averaged over mazes, starts and goals."""
    return _shortest(env.grid_size, env.teleport_probability, not env.teleport_on_termination, steps)


@uniform_solver.register(ProcMaze)
def _uniform(env: ProcMaze, steps: int | None) -> Score:
    """The random walk, averaged over mazes, starts and goals; finite without a cap and without random events too."""
    return _walk(env.grid_size, env.teleport_probability, not env.teleport_on_termination, steps)


def tree_distances(walk: np.ndarray) -> np.ndarray:
    """Distances between all open cells of mazes, from the walks on them.

    A maze is a tree, because every cell is opened beside exactly one open cell. In a tree the distance of two cells is their
    electrical resistance, Y_ii + Y_jj − 2·Y_ij with Y any inverse of the Laplacian 5·(I − P) up to constants.

    Args:
        walk: Transition matrices P, float64 (B, m, m).

    Returns:
        Numbers of moves, int (B, m, m).
    """
    m = walk.shape[-1]
    inverse = np.linalg.inv(5 * (np.eye(m) - walk) + 1 / m)
    height = np.diagonal(inverse, axis1=1, axis2=2)
    return np.rint(height[:, :, None] + height[:, None, :] - 2 * inverse).astype(int)


@functools.lru_cache(maxsize=64)
def _shortest(n: int, event: float, at_once: bool, steps: int | None) -> Score:
    def value(cells: np.ndarray) -> np.ndarray:
        distance = tree_distances(walk_matrix(cells, n))
        return -shortest_episode_length(distance, event, steps, at_once=at_once).mean(axis=(1, 2))

    m = _typical_open_cells(n)
    return average(_mazes(n, 0.2 * m**3 + 40 * m**2), value)


@functools.lru_cache(maxsize=64)
def _walk(n: int, event: float, at_once: bool, steps: int | None) -> Score:
    def value(cells: np.ndarray) -> np.ndarray:
        return -mean_episode_length(walk_matrix(cells, n), event, steps, at_once=at_once).mean(axis=1)

    m = _typical_open_cells(n)
    if steps is None:
        return average(_mazes(n, m**3), value)
    most = int(MOST_OPERATIONS / FEWEST_MAZES / (3 * m**2))
    if steps > most:
        raise ValueError(f"steps must be at most {most}, or None, for the uniform score of ProcMaze({n}), got {steps}")
    return average(_mazes(n, 3 * m**2 * steps), value)
