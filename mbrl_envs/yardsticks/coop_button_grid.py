"""Yardsticks of the cooperative ButtonGrid: every layout solved exactly by dynamic programming over joint actions, averaged.

As with one player (:mod:`mbrl_envs.yardsticks.button_grid`) the fastest way to switch all buttons on is best, in the long run
and over any number of steps. Scores are those of players who see everything; with ``sight`` they are an upper bound.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import LinearOperator, gmres

from mbrl_envs.multi_agent.coop_button_grid import CoopButtonGrid
from mbrl_envs.yardsticks.button_layouts import FEWEST_SETS, ButtonSets, button_sets
from mbrl_envs.yardsticks.joint_walks import check_size, distinct_starts, joint_step, player_steps
from mbrl_envs.yardsticks.renewal import finite_rate, long_run_rate, route_rate, with_error
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver

OPERATIONS = 1e9  # what an average may cost: about ten seconds of one core
PRECISION = 1e-11


@optimal_solver.register(CoopButtonGrid)
def _optimal(env: CoopButtonGrid, steps: int | None) -> Score:
    """The shortest joint way over the buttons."""
    size = (env.grid_size, env.num_buttons, env.num_agents)
    return _routes(*size, env.all_on_probability, not env.activate_on_reset, steps)


@uniform_solver.register(CoopButtonGrid)
def _uniform(env: CoopButtonGrid, steps: int | None) -> Score:
    """The joint random walk over the buttons."""
    size = (env.grid_size, env.num_buttons, env.num_agents)
    if steps is None:
        return _long_walk(*size, env.all_on_probability, not env.activate_on_reset)
    return _walk(*size, env.all_on_probability, not env.activate_on_reset, steps)


def _sets(n: int, k: int, players: int, joint_steps: float) -> ButtonSets:
    """Button sets to average over, each taking so many joint steps of a whole table."""
    check_size(n, k, players, "CoopButtonGrid")
    each = n ** (2 * players) * 2**k * 5 * players * joint_steps
    return button_sets(n, k, max(FEWEST_SETS, OPERATIONS / each))


def joint_lengths(buttons: Sequence[int], n: int, players: int) -> np.ndarray:
    """Fewest joint steps from every joint position, with all buttons off, until all are on, int (n², …, n²)."""
    steps = player_steps(np.asarray(buttons), n)
    length = np.full((*(n * n,) * players, 1 << len(buttons)), np.inf)
    length[..., -1] = 0
    while True:
        after = np.minimum(length, 1 + joint_step(length, steps, ["min"] * players))
        if np.array_equal(after, length):
            return length[..., 0].astype(int)
        length = after


def _walk_step(table: np.ndarray, steps: np.ndarray, event: float) -> np.ndarray:
    """One step of uniform players: what is expected of the next state, unless all buttons are on then."""
    after = (1 - event) * joint_step(table, steps, ["mean"] * (table.ndim - 1))
    after[..., -1] = 0
    return after


def mean_joint_search(buttons: Sequence[int], n: int, players: int, event: float) -> np.ndarray:
    """Expected steps of uniform players from every joint position, with all buttons off, until all are on, (n², …, n²).

    Raises:
        ArithmeticError: The linear solver has not converged.
    """
    steps, shape = player_steps(np.asarray(buttons), n), (*(n * n,) * players, 1 << len(buttons))
    size = int(np.prod(shape))
    one = np.ones(shape)
    one[..., -1] = 0

    def less_a_step(flat: np.ndarray) -> np.ndarray:
        return flat - _walk_step(flat.reshape(shape), steps, event).reshape(-1)

    solution, failed = gmres(
        LinearOperator((size, size), matvec=less_a_step, dtype=np.float64), one.reshape(-1), rtol=PRECISION, restart=200
    )
    if failed:
        raise ArithmeticError(f"the search among buttons {list(buttons)} did not converge")
    return solution.reshape(shape)[..., 0]


def still_searching(buttons: Sequence[int], n: int, players: int, event: float, num_steps: int) -> np.ndarray:
    """P(not all buttons on after t steps) of uniform players, averaged over starts, for t = 0 … num_steps − 1, (num_steps,)."""
    steps, starts = player_steps(np.asarray(buttons), n), distinct_starts(n, players)
    table = np.ones((*(n * n,) * players, 1 << len(buttons)))
    table[..., -1] = 0
    searching = np.empty(num_steps)
    for t in range(num_steps):
        searching[t] = table[..., 0][starts].mean()
        table = _walk_step(table, steps, event)
    return searching


@functools.lru_cache(maxsize=8)
def _length_histogram(n: int, k: int, players: int) -> tuple[np.ndarray, ButtonSets]:
    """How often the shortest joint way has t steps: for every set of buttons the fraction of starts (M, T), and the sets."""
    sets, starts = _sets(n, k, players, 4 * n), distinct_starts(n, players)
    lengths = [joint_lengths(buttons, n, players)[starts] for buttons in sets.cells]
    num_times = max(int(each.max()) for each in lengths) + 1
    return np.stack([np.bincount(each, minlength=num_times) / each.size for each in lengths]), sets


@functools.lru_cache(maxsize=64)
def _routes(n: int, k: int, players: int, event: float, restarts: bool, steps: int | None) -> Score:
    fractions, sets = _length_histogram(n, k, players)
    return with_error(lambda row: route_rate(row, event, steps, restarts=restarts), fractions, sets.weights, sets.sampled)


@functools.lru_cache(maxsize=64)
def _long_walk(n: int, k: int, players: int, event: float, restarts: bool) -> Score:
    sets, starts = _sets(n, k, players, 200), distinct_starts(n, players)
    restart = event if restarts else 0.0
    searches = np.array([mean_joint_search(buttons, n, players, event)[starts].mean() for buttons in sets.cells])
    return with_error(lambda mean: long_run_rate(float(mean), restart), searches, sets.weights, sets.sampled)


@functools.lru_cache(maxsize=64)
def _walk(n: int, k: int, players: int, event: float, restarts: bool, steps: int) -> Score:
    sets = _sets(n, k, players, steps)
    restart = event if restarts else 0.0
    searching = np.stack([still_searching(buttons, n, players, event, steps) for buttons in sets.cells])
    return with_error(lambda row: finite_rate(row, restart), searching, sets.weights, sets.sampled)
