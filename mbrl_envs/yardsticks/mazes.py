"""Averages over random mazes: exact on small grids, over a fixed random sample on larger ones."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from mbrl_envs import bitboard, maze
from mbrl_envs.yardsticks.random_walk import adjacency
from mbrl_envs.yardsticks.scores import Score

EXACT_GRID_SIZE = 6  # 21 000 mazes in 2 s; the next size would take minutes and gigabytes
SEED = 0


class Mazes(NamedTuple):
    """Mazes to average over.

    Attributes:
        is_open: Which cells are open, bool (M, n·n).
        weights: Weights with sum 1, float64 (M,).
        sampled: Whether they are a random sample, rather than all mazes with their probabilities.
    """

    is_open: np.ndarray
    weights: np.ndarray
    sampled: bool


def orbits(n: int) -> np.ndarray:
    """The 8 rotations and reflections of an n × n grid: where each cell goes, int (8, n·n)."""
    square = np.arange(n * n).reshape(n, n)
    return np.stack([np.rot90(image, turns).reshape(-1) for image in (square, square.T) for turns in range(4)])


@functools.lru_cache(maxsize=EXACT_GRID_SIZE)
def enumerate_mazes(n: int) -> dict[int, float]:
    """All mazes that :func:`mbrl_envs.maze.generate` can draw, up to rotation and reflection.

    Follows the generator's tree of choices, breadth first. What the generator does next depends on the open cells and on the
    way back, of which only cells that still have an expandable neighbour matter (a cell never regains one), so branches that
    agree in both are merged. The start cells are reduced by symmetry.

    Args:
        n: Side length, at most ``EXACT_GRID_SIZE``.

    Returns:
        Probability of each maze (of its class, if symmetric copies are left out), by its open cells as bits of an integer.
    """
    neighbours = [np.flatnonzero(row).tolist() for row in adjacency(n)]
    neighbour_bits = [sum(1 << other for other in others) for others in neighbours]

    def expandable(open_cells: int, cell: int) -> list[int]:
        return [c for c in neighbours[cell] if not open_cells >> c & 1 and (open_cells & neighbour_bits[c]).bit_count() == 1]

    branches: dict[tuple[int, tuple[int, ...]], float] = defaultdict(float)
    for root in orbits(n).min(axis=0).tolist():
        branches[1 << root, (root,)] += 1 / n**2
    finished: dict[int, float] = defaultdict(float)
    while branches:
        grown: dict[tuple[int, tuple[int, ...]], float] = defaultdict(float)
        for (open_cells, way_back), probability in branches.items():
            choices = expandable(open_cells, way_back[-1]) if way_back else []
            if not choices:
                finished[open_cells] += probability
            for chosen in choices:
                wider = open_cells | 1 << chosen
                alive = tuple(cell for cell in (*way_back, chosen) if expandable(wider, cell))
                grown[wider, alive] += probability / len(choices)
        branches = grown
    return dict(finished)


@functools.lru_cache(maxsize=EXACT_GRID_SIZE)
def all_mazes(n: int) -> Mazes:
    """Every maze of side ``n`` up to symmetry, with its probability; ``n`` at most ``EXACT_GRID_SIZE``."""
    found = enumerate_mazes(n)
    bits = np.array(list(found), dtype=np.int64)
    images = np.stack([((bits[:, None] >> image & 1) << np.arange(n * n)).sum(axis=1) for image in orbits(n)])
    canonical, index = np.unique(images.min(axis=0), return_inverse=True)
    weights = np.bincount(index, weights=np.array(list(found.values())))
    return Mazes((canonical[:, None] >> np.arange(n * n) & 1).astype(bool), weights, sampled=False)


@functools.lru_cache(maxsize=8)
def sample_mazes(n: int, num: int) -> Mazes:
    """Draws ``num`` mazes of side ``n`` with the environment's own generator and a fixed seed."""

    @jax.jit
    def draw(keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: bitboard.to_mask(maze.generate(key, n), n * n))(keys)

    is_open = np.asarray(draw(jax.random.split(jax.random.key(SEED), num)))
    return Mazes(is_open, np.full(num, 1 / num), sampled=True)


def _groups(is_open: np.ndarray, elements: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mazes with equally many open cells m, at most ``elements`` / m² together: their numbers (B,) and cells (B, m)."""
    num_open = is_open.sum(axis=1)
    for m in np.unique(num_open):
        members = np.flatnonzero(num_open == m)
        for part in np.array_split(members, -(-len(members) * m * m // elements)):
            yield part, np.nonzero(is_open[part])[1].reshape(len(part), m)


def average(mazes: Mazes, value: Callable[[np.ndarray], np.ndarray], elements: int = 1 << 17) -> Score:
    """Averages a function of mazes.

    Args:
        mazes: What to average over.
        value: Maps the open cells of B mazes, int (B, m), to one number each, float64 (B,).
        elements: Most elements of a (B, m, m) array that ``value`` is given to make.

    Returns:
        The average and its standard error.
    """
    values = np.empty(len(mazes.weights))
    for members, cells in _groups(mazes.is_open, elements):
        values[members] = value(cells)
    error = values.std(ddof=1) / np.sqrt(len(values)) if mazes.sampled else 0.0
    return Score(float(mazes.weights @ values), float(error))
