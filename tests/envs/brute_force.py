"""An independent solver: the full Markov decision process of a tiny environment, read off its own ``transition``."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from mbrl_envs import bitboard
from mbrl_envs.button_grid import ButtonEvents, ButtonGrid, ButtonState
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.open_grid import OpenGrid, OpenGridState
from mbrl_envs.pan_flute import PanFlute, PanFluteEvents, PanFluteState
from mbrl_envs.proc_maze import MazeEvents, MazeState, ProcMaze
from mbrl_envs.yardsticks.mazes import enumerate_mazes, orbits


class Weighted(NamedTuple):
    """A pytree with a leading axis of length N, and the probabilities of its N items."""

    items: Any
    probabilities: np.ndarray


class Process(NamedTuple):
    """transitions (S·A, S), without those that terminate; rewards (S, A); start (S,)."""

    transitions: sparse.csr_array
    rewards: np.ndarray
    start: np.ndarray


def build(env: FunctionalEnv, states: Any, start: np.ndarray, events: Weighted) -> Process:
    """Evaluates ``env.transition`` for every state, action and event; the events' probabilities are those of one step."""
    num_actions = int(env.action_space.n)
    step = jax.vmap(env.transition, (None, None, 0))
    step = jax.vmap(jax.vmap(step, (None, 0, None)), (0, None, None))
    outcome = jax.jit(step)(states, jnp.arange(num_actions), events.items)

    def rows(tree: Any, batch: int) -> np.ndarray:
        leaves = [np.asarray(leaf).reshape(*np.shape(leaf)[:batch], -1).astype(np.int64) for leaf in jax.tree.leaves(tree)]
        return np.concatenate(leaves, axis=-1).reshape(-1, sum(leaf.shape[-1] for leaf in leaves))

    known, reached = rows(states, 1), rows(outcome.state, 3)
    sizes = tuple(np.maximum(known.max(axis=0), reached.max(axis=0)) + 1)
    codes = np.ravel_multi_index(tuple(known.T), sizes)  # a number for each state
    order = np.argsort(codes)
    reached_codes = np.ravel_multi_index(tuple(reached.T), sizes)
    following = order[np.minimum(np.searchsorted(codes[order], reached_codes), len(codes) - 1)]
    assert np.array_equal(codes[following], reached_codes), "the states are not closed under transition"
    following = following.reshape(outcome.reward.shape)
    pair = np.repeat(np.arange(len(start) * num_actions), len(events.probabilities))
    probabilities = (events.probabilities * (1 - np.asarray(outcome.terminated, np.float64))).reshape(-1)
    shape = (len(start) * num_actions, len(start))
    transitions = sparse.coo_array((probabilities, (pair, following.reshape(-1))), shape).tocsr()
    rewards = np.asarray(outcome.reward, np.float64) @ events.probabilities
    return Process(transitions, rewards, start)


def solve(process: Process, choose: str, steps: int | None, continuing: bool) -> float:
    """Score under the best (``choose="optimal"``) or the uniform policy by value iteration."""
    reduce = {"optimal": np.max, "uniform": np.mean}[choose]
    value = np.zeros(len(process.start))
    if steps is None and continuing:
        return _gain(process, reduce)
    for _ in range(steps or 100_000):
        after = (process.transitions @ value).reshape(process.rewards.shape)
        before, value = value, reduce(process.rewards + after, axis=1)
        if steps is None and np.abs(value - before).max() < 1e-12:
            break
    return float(process.start @ value) / (steps if continuing and steps else 1)


def _gain(process: Process, reduce: Any) -> float:
    value = np.zeros(len(process.start))
    for _ in range(100_000):
        # Half of the time nothing happens: same gain per step taken, and no period.
        moved = process.rewards + (process.transitions @ value).reshape(process.rewards.shape)
        after = reduce(0.5 * moved + 0.5 * value[:, None], axis=1)
        gains, value = after - value, after - after[0]
        if np.ptp(gains) < 1e-12:
            break
    return float(2 * gains.mean())


def _flag(name: type, probability: float) -> Weighted:
    return Weighted(name(jnp.array([False, True])), np.array([1 - probability, probability]))


def open_grid(env: OpenGrid) -> Process:
    states = OpenGridState(jnp.arange(env.num_cells))
    return build(env, states, np.full(env.num_cells, 1 / env.num_cells), _flag(MazeEvents, env.teleport_probability))


def pan_flute(env: PanFlute) -> Process:
    states = jnp.array(list(itertools.product([False, True], repeat=env.num_cells)))
    start = np.zeros(len(states))
    start[0] = 1
    return build(env, PanFluteState(states), start, _flag(PanFluteEvents, env.all_on_probability))


def maze_probabilities(n: int) -> dict[int, float]:
    """Every maze (bits) with its probability, symmetric copies included."""
    full: dict[int, float] = {}
    for bits, probability in enumerate_mazes(n).items():
        for image in orbits(n):
            copy = sum(1 << int(cell) for i, cell in enumerate(image) if bits >> i & 1)
            full[copy] = full.get(copy, 0.0) + probability / 8
    return full


def proc_maze(env: ProcMaze) -> Process:
    n = env.grid_size
    rows, start = [], []
    for bits, probability in maze_probabilities(n).items():
        cells = [cell for cell in range(n * n) if bits >> cell & 1]
        for position, goal in itertools.product(cells, cells):
            rows.append((position, goal, bits))
            start.append(probability / len(cells) ** 2)
    position, goal, words = (jnp.array(column) for column in zip(*rows, strict=True))
    assert bitboard.num_words(n * n) == 1
    states = MazeState(position, goal, words[:, None].astype(jnp.uint32))
    return build(env, states, np.array(start), _flag(MazeEvents, env.teleport_probability))


def button_grid(env: ButtonGrid) -> Process:
    """Button sets are taken in ascending order: which button is which makes no difference."""
    cells, k = range(env.num_cells), env.num_buttons
    layouts = list(itertools.product(cells, itertools.combinations(cells, k)))
    masks = list(itertools.product([False, True], repeat=k))
    rows = [(position, buttons, mask) for position, buttons in layouts for mask in masks]
    states = ButtonState(*(jnp.array(column) for column in zip(*rows, strict=True)))
    start = np.array([not any(mask) for _, _, mask in rows]) / len(layouts)
    position, buttons = (jnp.array(column) for column in zip(*layouts, strict=True))
    fresh = ButtonState(position, buttons, jnp.zeros((len(layouts), k), bool))
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), fresh)
    all_on = np.repeat([False, True], len(layouts))
    q = env.all_on_probability
    events = Weighted(ButtonEvents(jnp.array(all_on), twice), np.where(all_on, q, 1 - q) / len(layouts))
    return build(env, states, start, events)


BUILDERS = {OpenGrid: open_grid, PanFlute: pan_flute, ProcMaze: proc_maze, ButtonGrid: button_grid}


def score(env: FunctionalEnv, choose: str, steps: int | None) -> float:
    """The score of a tiny environment by brute force."""
    return solve(process_of(env), choose, steps, env.continuing)


_processes: dict[FunctionalEnv, Process] = {}


def process_of(env: FunctionalEnv) -> Process:
    if env not in _processes:
        _processes[env] = BUILDERS[type(env)](env)
    return _processes[env]
