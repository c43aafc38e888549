"""Yardsticks of OpenGrid: exact for every size and number of steps up to the limit."""

from __future__ import annotations

import numpy as np

from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.yardsticks.random_walk import mean_episode_length, shortest_episode_length, walk_matrix
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


@optimal_solver.register(OpenGrid)
def _optimal(env: OpenGrid, steps: int | None) -> Score:
    """Straight to the corner: from (row, column) it is 2(n − 1) − row − column moves away."""
    distance = np.add.outer(np.arange(env.grid_size), np.arange(env.grid_size))
    at_once = not env.teleport_on_termination
    return Score(-float(shortest_episode_length(distance, env.teleport_probability, steps, at_once=at_once).mean()))


@uniform_solver.register(OpenGrid)
def _uniform(env: OpenGrid, steps: int | None) -> Score:
    """A random walk from a uniform start to the last cell; see :func:`~.random_walk.mean_episode_length`."""
    walk = walk_matrix(np.arange(env.num_cells)[None], env.grid_size)
    goal = slice(env.goal, env.goal + 1)
    at_once = not env.teleport_on_termination
    return Score(-mean_episode_length(walk, env.teleport_probability, steps, goal, at_once=at_once).item())
