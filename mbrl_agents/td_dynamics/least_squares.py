"""What TD learning on cells converges to, and how fast it may go, from counts of transitions (LSTD; Bradtke & Barto 1996)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_envs.checks import integer_in

MOST_CELLS = 46340  # whose square is an int32
_BLOCK = 8192


class Counts(NamedTuple):
    """Transitions counted over episodes.

    Attributes:
        moves: How often cell j came after cell i, float64 (S, S).
        running: How often a cell was left before its episode's end, float64 (S,).
        num_episodes: Number of episodes.
    """

    moves: np.ndarray
    running: np.ndarray
    num_episodes: int

    @property
    def visits(self) -> np.ndarray:
        """How often each cell was left, float64 (S,)."""
        return self.moves.sum(axis=1)


def count(blocks: Iterable[Episodes], num_cells: int) -> Counts:
    """Counts the transitions of blocks of episodes; cells are 0 … ``num_cells`` − 1.

    Raises:
        ValueError: A cell is out of range, or there are no episodes.
    """
    num_cells = integer_in("num_cells", num_cells, 1, MOST_CELLS)
    moves, running, num_episodes = np.zeros(num_cells**2), np.zeros(num_cells), 0
    for cells, lengths in blocks:
        check_cells(cells, num_cells)
        for first in range(0, len(cells), _BLOCK):  # int32 counts cannot overflow in a block
            part = slice(first, first + _BLOCK)
            found = _program(num_cells)(cells[part], np.asarray(lengths[part]))
            moves += np.asarray(found[0])
            running += np.asarray(found[1])
        num_episodes += len(cells)
    if num_episodes == 0:
        raise ValueError("blocks must hold at least one episode, got none")
    return Counts(moves.reshape(num_cells, num_cells), running, num_episodes)


@functools.lru_cache(maxsize=8)
def _program(num_cells: int) -> Any:
    """The compiled program of (cells, lengths) to counts of moves and of cells left before the end; quicker than NumPy."""

    def counts(cells: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        t = jnp.arange(cells.shape[1] - 1)

        def add(carry: tuple[jax.Array, jax.Array], episode: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            moves, running = carry
            here, length = episode[0].astype(jnp.int32), episode[1]
            moves = moves.at[here[:-1] * num_cells + here[1:]].add(1, mode="promise_in_bounds")
            return (moves, running.at[here[:-1]].add((t < length).astype(jnp.int32), mode="promise_in_bounds")), None

        begin = jnp.zeros(num_cells**2, jnp.int32), jnp.zeros(num_cells, jnp.int32)
        return lax.scan(add, begin, (cells, lengths))[0]

    return plain_jit(counts)


def check_cells(cells: np.ndarray, num_cells: int) -> None:
    """Raises a ValueError unless ``cells`` are integers (n, T), T at least 2, from 0 to ``num_cells`` − 1."""
    if cells.ndim != 2 or cells.dtype.kind not in "iu" or cells.shape[1] < 2:
        raise ValueError(f"cells must be integers (episodes, steps), at least 2 steps, got {cells.dtype} {cells.shape}")
    if cells.size and (cells.min() < 0 or cells.max() >= num_cells):
        raise ValueError(f"cells must be from 0 to {num_cells - 1}, got {cells.min()} to {cells.max()}")


def td_values(counts: Counts, *, gamma: float, reward: float = -1.0) -> np.ndarray:
    """The values at which TD(0) updates are 0 on average: Σ n(s, s′) (r + γ V(s′) − V(s)) = 0 in every cell.

    Args:
        counts: Transitions.
        gamma: Discount factor, in [0, 1).
        reward: Reward of every step before an episode's end.

    Returns:
        float64 (S,); 0 in cells that were never left.

    Raises:
        TypeError, ValueError: γ is out of range.
    """
    gamma = arguments.discount(gamma)
    visits = counts.visits
    left = visits > 0
    # Of cells that were only ever arrived at, the value stays what it is at the start: 0.
    between = counts.moves[np.ix_(left, left)] / visits[left, None]
    values = np.zeros(len(visits))
    values[left] = np.linalg.solve(np.eye(int(left.sum())) - gamma * between, reward * counts.running[left] / visits[left])
    return values


def largest_stable_step(counts: Counts, *, gamma: float) -> float:
    """The step size η up to which ``V ← V + η · (mean update of an episode)`` converges: 2 min Re λ / |λ|², λ of A.

    Single episodes may ask for less; :func:`mbrl_agents.td_dynamics.largest_stable_step_size` knows their noise as well.
    """
    gamma = arguments.discount(gamma)
    left = counts.visits > 0
    matrix = (np.diag(counts.visits[left]) - gamma * counts.moves[np.ix_(left, left)]) / counts.num_episodes
    rates = np.linalg.eigvals(matrix)
    return float((2 * rates.real / np.abs(rates) ** 2).min())
