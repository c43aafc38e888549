"""Yardsticks of ButtonGrid: every layout solved exactly, averaged over layouts.

The random event comes with probability q per step whatever the agent does, and a success draws a new layout whatever came
before. So a policy matters only through the time τ until it has switched all buttons on, and earlier is always better: the
steps saved are spent on the next layouts, where more steps never mean fewer successes. The shortest way is therefore optimal
both in the long run and over any number of steps. The same holds if the event, too, draws a new layout, then without a success.

Few enough button sets are enumerated (up to symmetry), more are sampled; starts are always averaged exactly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from mbrl_envs.button_grid import ButtonGrid
from mbrl_envs.yardsticks.button_layouts import FEWEST_SETS, ButtonSets, button_sets
from mbrl_envs.yardsticks.button_routes import route_lengths
from mbrl_envs.yardsticks.button_walks import mean_search, still_searching
from mbrl_envs.yardsticks.renewal import finite_rate, long_run_rate, route_rate, with_error
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver

OPERATIONS = 2e9  # what an average may cost: less than ten seconds of one core


@optimal_solver.register(ButtonGrid)
def _optimal(env: ButtonGrid, steps: int | None) -> Score:
    """The shortest way over the buttons."""
    return _routes(env.grid_size, env.num_buttons, env.all_on_probability, not env.activate_on_reset, steps)


@uniform_solver.register(ButtonGrid)
def _uniform(env: ButtonGrid, steps: int | None) -> Score:
    """The random walk over the buttons."""
    if steps is None:
        return _long_walk(env.grid_size, env.num_buttons, env.all_on_probability, not env.activate_on_reset)
    return _walk(env.grid_size, env.num_buttons, env.all_on_probability, not env.activate_on_reset, steps)


def _for_sets(function: Callable[[np.ndarray], np.ndarray], sets: ButtonSets, elements: float) -> np.ndarray:
    """Applies ``function`` to parts of the sets, each so small that ``elements`` per set stay in the cache."""
    parts = max(1, int(len(sets.cells) * elements / (1 << 17)))
    return np.concatenate([function(part) for part in np.array_split(sets.cells, min(parts, len(sets.cells)))])


def _sets(n: int, k: int, operations: float) -> ButtonSets:
    """Sets of buttons for a number that is always within reach, ``operations`` being the work for one set."""
    return button_sets(n, k, max(FEWEST_SETS, OPERATIONS / operations))


@functools.lru_cache(maxsize=8)
def _length_histogram(n: int, k: int) -> tuple[np.ndarray, ButtonSets]:
    """How often the shortest way has t moves: for every set of buttons the fraction of the starts (M, T), and the sets."""
    sets = _sets(n, k, 20 * k * n**3 + 2 * k * k * (k + 4) * 2**k)
    lengths = _for_sets(lambda buttons: route_lengths(buttons, n), sets, k * (n * n + 2**k))
    num_times = int(lengths.max()) + 1
    flat = (lengths + num_times * np.arange(len(lengths))[:, None]).reshape(-1)
    return np.bincount(flat, minlength=len(lengths) * num_times).reshape(-1, num_times) / (n * n), sets


@functools.lru_cache(maxsize=64)
def _routes(n: int, k: int, event: float, restarts: bool, steps: int | None) -> Score:
    fractions, sets = _length_histogram(n, k)
    return with_error(lambda row: route_rate(row, event, steps, restarts=restarts), fractions, sets.weights, sets.sampled)


@functools.lru_cache(maxsize=64)
def _long_walk(n: int, k: int, event: float, restarts: bool) -> Score:
    sets = _sets(n, k, 20 * k**3 * 2**k)
    restart = event if restarts else 0.0
    searches = _for_sets(lambda buttons: mean_search(buttons, n, event), sets, k * k * 2**k)
    return with_error(lambda mean: long_run_rate(float(mean), restart), searches, sets.weights, sets.sampled)


@functools.lru_cache(maxsize=64)
def _walk(n: int, k: int, event: float, restarts: bool, steps: int) -> Score:
    affordable = OPERATIONS / (n * n * 2**k * steps)
    if affordable < min(FEWEST_SETS, math.comb(n * n, k)):
        raise ValueError(
            f"steps={steps} is out of reach for the uniform score of ButtonGrid with grid_size={n} and num_buttons={k}: "
            f"steps * grid_size**2 * 2**num_buttons may be at most {OPERATIONS / FEWEST_SETS:.0e}; steps=None is feasible"
        )
    sets = button_sets(n, k, affordable)
    restart = event if restarts else 0.0
    searching = _for_sets(lambda buttons: still_searching(buttons, n, event, steps), sets, n * n * 2**k)
    return with_error(lambda row: finite_rate(row, restart), searching, sets.weights, sets.sampled)
