"""The yardsticks' solvers, one by one: against brute force, against search, and enumerations against the generators."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_envs import maze, yardsticks
from mbrl_envs.button_grid import ButtonGrid
from mbrl_envs.grid import ACTION_NAMES, move, successors
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.proc_maze import ProcMaze
from mbrl_envs.yardsticks import button_grid, button_layouts, mazes, proc_maze
from mbrl_envs.yardsticks.button_routes import route_lengths
from mbrl_envs.yardsticks.button_walks import mean_search, still_searching
from mbrl_envs.yardsticks.proc_maze import tree_distances
from mbrl_envs.yardsticks.random_walk import walk_matrix
from mbrl_envs.yardsticks.renewal import finite_rate
from tests.envs import brute_force

SOLVERS = {"optimal": yardsticks.optimal, "uniform": yardsticks.uniform}


# --- Brute force --------------------------------------------------------------------------------------------------------------

TINY = [
    *(PanFlute(p, spontaneous=s) for p in (1, 2, 3) for s in (True, False)),
    *(OpenGrid(n, spontaneous=s) for n in (2, 3) for s in (True, False)),
    *(ProcMaze(n, spontaneous=s) for n in (2, 3) for s in (True, False)),
    *(ButtonGrid(2, k, spontaneous=s) for k in (1, 2, 3, 4) for s in (True, False)),
    *(OpenGrid(n, teleport_on_termination=False) for n in (2, 3)),
    *(ProcMaze(n, teleport_on_termination=False) for n in (2, 3)),
    *(ButtonGrid(2, k, activate_on_reset=False) for k in (1, 2, 3, 4)),
    ButtonGrid(3, 2, activate_on_reset=False),
    ButtonGrid(3, 1, spontaneous=False),
    ButtonGrid(3, 2),
]


@pytest.mark.parametrize("choose", ["optimal", "uniform"])
@pytest.mark.parametrize("env", TINY, ids=str)
def test_agrees_with_brute_force(env, choose):
    for steps in (None, 1, 2, 3, 7, 30):
        expected = brute_force.score(env, choose, steps)
        assert SOLVERS[choose](env, steps=steps) == (pytest.approx(expected, rel=1e-8, abs=1e-13), 0), steps


@pytest.mark.parametrize("n", [2, 3, 5])
def test_solvers_move_as_environments_do(n):
    cells, actions = jnp.arange(n * n)[:, None], jnp.arange(len(ACTION_NAMES))
    assert successors(n).tolist() == move(cells, actions, n).tolist()


@pytest.mark.parametrize("num_buttons", [5, 8, 9])
def test_mean_search_agrees_with_the_sum_over_time(num_buttons):
    # Also where all cells are buttons, which has a symmetry of its own.
    buttons = np.sort(np.random.default_rng(1).permutation(9)[:num_buttons])[None]
    curve = still_searching(buttons, 3, 0.0, 3000)[0]
    tail = curve[-1] / (curve[-2] - curve[-1]) * curve[-1]  # geometric by then
    assert mean_search(buttons, 3, 0.0)[0] == pytest.approx(curve.sum() + tail, rel=1e-6)
    with_event = still_searching(buttons, 3, 0.1, 400)[0]
    assert mean_search(buttons, 3, 0.1)[0] == pytest.approx(with_event.sum(), rel=1e-9)


def test_tree_distances_agree_with_search():
    sample = mazes.sample_mazes(8, 20)
    for is_open in sample.is_open:
        cells = np.flatnonzero(is_open)
        walk = walk_matrix(cells[None], 8)
        distance = np.where(np.eye(len(cells)) == 1, 0, 10**6)
        distance[(walk[0] > 0) & (distance > 0)] = 1
        for middle in range(len(cells)):
            distance = np.minimum(distance, distance[:, middle, None] + distance[middle])
        assert np.array_equal(tree_distances(walk)[0], distance)


def test_buttons_can_always_all_be_switched_on():
    for n, k in [(2, 4), (3, 8), (3, 9), (4, 15), (4, 16)]:
        lengths = route_lengths(button_layouts.all_sets(n, k).cells, n)
        assert lengths.min() >= k
        assert lengths.max() < 4 * k


def test_renewals_of_a_known_length():
    searching = np.array([1.0, 1, 0, 0, 0, 0, 0, 0])  # two steps of search: every third step is a success
    assert finite_rate(searching) == pytest.approx(2 / 8)


# --- Enumerations against the environments' own generators --------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_maze_probabilities_agree_with_the_generator(n):
    expected = brute_force.maze_probabilities(n)
    num = 20_000
    words = jax.jit(jax.vmap(lambda key: maze.generate(key, n)))(jax.random.split(jax.random.key(7), num))[:, 0]
    counts = dict(zip(*(column.tolist() for column in np.unique(np.asarray(words), return_counts=True)), strict=True))
    assert set(counts) == set(expected)
    assert sum(expected.values()) == pytest.approx(1, abs=1e-12)
    chi_square = sum((counts[bits] - num * p) ** 2 / (num * p) for bits, p in expected.items())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_sampled_mazes_agree_with_all_mazes(monkeypatch):
    event = ProcMaze(4).teleport_probability
    # The exact values first: the public functions remember what they found, and must not remember a sample.
    exact = [solver(ProcMaze(4), steps=100).value for solver in (yardsticks.optimal, yardsticks.uniform)]
    monkeypatch.setattr(proc_maze, "EXACT_GRID_SIZE", 0)
    sampled = [function.__wrapped__(4, event, False, 100) for function in (proc_maze._shortest, proc_maze._walk)]
    for (value, error), expected in zip(sampled, exact, strict=True):
        assert 0 < error < 0.2
        assert value == pytest.approx(expected, abs=4 * error)


def test_sampled_buttons_agree_with_all_sets(monkeypatch):
    event = ButtonGrid(5).all_on_probability
    exact = [solver(ButtonGrid(5), steps=steps) for solver in (yardsticks.optimal, yardsticks.uniform) for steps in (None, 100)]
    monkeypatch.setattr(button_layouts, "MOST_ENUMERATED", 0)
    monkeypatch.setattr(button_layouts, "MOST_SETS", 2000)
    monkeypatch.setattr(button_grid, "_length_histogram", button_grid._length_histogram.__wrapped__)
    sampled = [
        button_grid._routes.__wrapped__(5, 3, event, False, None),
        button_grid._routes.__wrapped__(5, 3, event, False, 100),
        button_grid._long_walk.__wrapped__(5, 3, event, False),
        button_grid._walk.__wrapped__(5, 3, event, False, 100),
    ]
    for (value, error), expected in zip(sampled, exact, strict=True):
        assert expected.standard_error == 0
        assert 0 < error < 0.02 * value
        assert value == pytest.approx(expected.value, abs=4 * error)


@pytest.mark.parametrize(("n", "k"), [(2, 2), (3, 3), (4, 2)])
def test_button_sets_weigh_all_sets(n, k):
    reduced = button_layouts.all_sets(n, k)
    assert reduced.weights.sum() == pytest.approx(1, abs=1e-12)
    images = {tuple(sorted(image[cells])) for cells in reduced.cells for image in mazes.orbits(n)}
    assert len(images) == math.comb(n * n, k)
