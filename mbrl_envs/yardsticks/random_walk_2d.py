"""Yardsticks of RandomWalk2D: its transition matrix, and by it exact scores and values of the uniform policy."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mbrl_envs.grid import successors
from mbrl_envs.random_walk_2d import RandomWalk2D
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


def moves(env: RandomWalk2D) -> np.ndarray:
    """Where each action leads from each cell, int (n·n, 4)."""
    ends = successors(env.grid_size)[:, 1:]  # there, action 0 is to stay
    if env.edges == "bounce":
        return np.where(ends == np.arange(env.num_cells)[:, None], np.roll(ends, 2, axis=1), ends)  # the opposite action's
    return ends


def walk(env: RandomWalk2D) -> sparse.csr_array:
    """Transition matrix of the uniform policy, float64 (n·n, n·n); symmetric if walkers stay at edges."""
    ends = moves(env)
    starts = np.repeat(np.arange(env.num_cells), ends.shape[1])
    shares = np.full(ends.size, 1 / ends.shape[1])
    return sparse.csr_array((shares, (starts, ends.ravel())), shape=(env.num_cells, env.num_cells))


def values(env: RandomWalk2D, gamma: float) -> np.ndarray:
    """Expected discounted rewards of the uniform policy from each cell, V = (I − γP)⁻¹ r, float64 (n·n,)."""
    from scipy.sparse.linalg import spsolve

    return spsolve((sparse.eye_array(env.num_cells) - gamma * walk(env)).tocsc(), env.rewards)


def visits(env: RandomWalk2D) -> np.ndarray:
    """Share of time that the uniform policy spends in each cell in the long run, float64 (n·n,).

    Walkers that stay at edges have a symmetric matrix, so all cells share alike. Walkers that bounce visit edges half as often
    and corners a quarter as often: rows and columns are two walks of their own, each with 1 : 2 : … : 2 : 1 (detailed balance).
    """
    share = np.ones(env.grid_size)
    if env.edges == "bounce":
        share[[0, -1]] = 0.5
    share /= share.sum()
    return np.outer(share, share).ravel()


@uniform_solver.register(RandomWalk2D)
def _uniform(env: RandomWalk2D, steps: int | None) -> Score:
    if steps is None:
        return Score(float(visits(env) @ env.rewards))
    matrix, share, total = walk(env), np.eye(1, env.num_cells, env.start)[0], 0.0
    for _ in range(steps):
        total += float(share @ env.rewards)
        share = share @ matrix
    return Score(total / steps)


@optimal_solver.register(RandomWalk2D)
def _optimal(env: RandomWalk2D, steps: int | None) -> Score:
    """In the long run between the goal and its best neighbour, or on the goal if an edge lets one stay; else by going back."""
    ends = moves(env)
    if steps is None:
        neighbours = env.rewards[ends[env.goal_cell]]  # the goal is its own neighbour where an edge is in the way
        return Score(float(env.rewards[env.goal_cell] + neighbours.max()) / 2)
    best = np.zeros(env.num_cells)
    for _ in range(steps):
        best = env.rewards + best[ends].max(axis=1)
    return Score(float(best[env.start]) / steps)
