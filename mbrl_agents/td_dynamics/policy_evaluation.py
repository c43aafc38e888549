"""Linear TD(0) on sampled episodes of cells, compiled: with any features of the cells, and its fast equal for some.

One update takes B episodes of T steps (T − 1 transitions):

    w ← w + (η/B) Σ_b Σ_t ψ(s_t) δ_t,    δ_t = r_t + γ V(s_{t+1}) − V(s_t),    V = Ψ w.

Values then change by (η/B) Ψ Ψᵀ u, u being the sum of δ in each cell. If the Gram matrix Ψ Ψᵀ is c times the identity, as it is
for all Fourier modes of a grid, this is tabular TD with the step size c η: no sum over features is needed, and the weights are
Ψᵀ V / c if they began at 0. This *tabular path* takes 1.6 µs for an episode of 350 steps, whatever the number of features; the
*general path* is the formula as it stands.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_agents.td_dynamics.least_squares import check_cells, count, largest_stable_step
from mbrl_envs.checks import integer_in, number_in, one_of

_SCALED_IDENTITY = 1e-9  # largest error of a Gram matrix, beside its diagonal
PATHS = ("auto", "tabular", "general")
_MANY = 2**31 - 1


class Evaluation(NamedTuple):
    """Result of batch TD; with K step sizes side by side, shapes are those in brackets.

    Attributes:
        values: V of every cell, float32 (S,) [(K, S)].
        weights: w, float32 (N,) [(K, N)]; with tabular features the values.
        batches: Updates after which values were recorded, int64 (records,).
        records: The values then, float32 (records, S) [(records, K, S)].
    """

    values: np.ndarray
    weights: np.ndarray
    batches: np.ndarray
    records: np.ndarray

    def errors(self, truth: Any, weighting: Any = None) -> np.ndarray:
        """Mean of (V − truth)² over cells at each record, float64 (records,) [(records, K)].

        Args:
            truth: Values to compare with, (S,).
            weighting: How much each cell counts, (S,), not negative; None for all cells alike.

        Raises:
            ValueError: They are not one finite number for each cell, or all weights are 0.
        """
        number = self.records.shape[-1]
        truth = _of_cells("truth", truth, number, 1)
        weighting = np.ones(number) if weighting is None else _of_cells("weighting", weighting, number, 1)
        if weighting.min() < 0 or weighting.sum() == 0:
            raise ValueError("weighting must not be negative, nor 0 in all cells")
        return np.square(self.records - truth) @ (weighting / weighting.sum())


def gram_scale(features: np.ndarray) -> float | None:
    """The number c if the Gram matrix of features (S, N) is c times the identity, up to rounding; else None."""
    gram = features @ features.T
    scale = float(np.diag(gram).mean())
    return scale if scale > 0 and np.abs(gram - scale * np.eye(len(gram))).max() <= _SCALED_IDENTITY * scale else None


class BatchTD:
    """Learns the values of cells by batch TD(0), from w = 0, from episodes handed in block by block, each used once.

    Args:
        num_cells: Number of cells, S.
        gamma: Discount factor γ, in [0, 1).
        step_size: η, at least 0; or several, with which learning goes on side by side from the same episodes, on the tabular
            path only. (The MountainCar study divides its learning rate by the number of transitions, 350: do so here.)
        batch_size: Episodes of an update, B.
        features: Ψ, (S, N) finite numbers, a row for each cell; None for one feature per cell.
        reward: Reward of every step before an episode's end; after it, rewards are 0.
        every: Updates between records of the values, each of S numbers.
        path: ``"tabular"``, ``"general"``, or ``"auto"`` for the former where it is exact.

    Raises:
        TypeError, ValueError: An argument is of a wrong type, length or range, or the tabular path is asked for with features
            whose Gram matrix is not a multiple of the identity.
    """

    def __init__(
        self,
        num_cells: int,
        *,
        gamma: float,
        step_size: float | Sequence[float],
        batch_size: int = 1,
        features: Any = None,
        reward: float = -1.0,
        every: int = 1000,
        path: str = "auto",
    ) -> None:
        self.num_cells = integer_in("num_cells", num_cells, 1, _MANY)
        several = np.ndim(step_size) == 1 and np.size(step_size) > 0
        each: list[Any] = list(step_size) if several else [step_size]  # type: ignore[arg-type]
        self.gamma, self.step_size = arguments.discount(gamma), step_size
        batch_size, every = integer_in("batch_size", batch_size, 1, _MANY), integer_in("every", every, 1, _MANY)
        self._table = None if features is None else _of_cells("features", features, num_cells, 2)
        self._scale = _scale(self._table, one_of("path", path, PATHS))
        if several and self._scale is None:
            raise ValueError("step_size must be one number on the general path, got several")
        self._update = _Update(num_cells, batch_size, every, tabular=self._scale is not None, several=several)
        rates = np.array([number_in("step_size", one, 0) for one in each]) * (self._scale or 1.0) / batch_size
        numbers = (gamma, number_in("reward", reward, -np.inf), rates if several else rates[0])
        self._numbers = tuple(np.asarray(number, np.float32) for number in numbers)
        self._device_table = None if self._scale is not None else jnp.asarray(self._table, jnp.float32)
        number = num_cells if self._device_table is None else self._device_table.shape[1]
        self._learned = jnp.zeros((number, len(rates)) if several else number, jnp.float32)
        self._records: list[np.ndarray] = []
        self._left: Episodes | None = None  # too few for ``every`` updates

    @property
    def num_batches(self) -> int:
        """Updates made so far."""
        return self._update.every * sum(map(len, self._records))

    def learn(self, block: Episodes, most: int | None = None) -> None:
        """Learns from a block of episodes; those left over from a whole number of ``every`` updates wait for the next block.

        Args:
            block: Cells, integers (n, T), and lengths, integers (n,).
            most: Updates (of all blocks) not to go beyond, a multiple of ``every``; None for no end.

        Raises:
            ValueError: A cell is out of range, or shapes are wrong.
            FloatingPointError: The values diverged; the message names a step size that would not.
        """
        cells, lengths = (np.asarray(array) for array in block)
        check_cells(cells, self.num_cells)
        if lengths.shape != cells.shape[:1]:
            raise ValueError(f"lengths must be one for each of {len(cells)} episodes, got shape {lengths.shape}")
        if self._left is not None:
            cells, lengths = np.concatenate([self._left.cells, cells]), np.concatenate([self._left.lengths, lengths])
        every, size = self._update.every, self._update.batch_size
        records = len(cells) // (every * size)
        room = records if most is None else (most - self.num_batches) // every
        records = min(records, room)
        used = records * every * size
        self._left = Episodes(cells[used:], lengths[used:]) if records < room or most is None else None
        if not records:
            return
        shape = (records, every, size)
        arrays = cells[:used].reshape(*shape, cells.shape[1]), lengths[:used].reshape(shape)
        self._learned, values = _program(self._update)(self._learned, *arrays, self._numbers, self._device_table)
        self._records.append(np.asarray(values))
        if not np.isfinite(np.asarray(self._learned)).all():
            raise FloatingPointError(self._diverged(Episodes(cells[:used], lengths[:used])))

    def _diverged(self, block: Episodes) -> str:
        text = f"values diverged with step_size = {np.max(self.step_size):g}"
        if self._scale is None:
            return text
        most = largest_stable_step(count([block], self.num_cells), gamma=self.gamma) / self._scale
        return f"{text}; the largest with which the mean update converges is {most:.4g} (with few episodes per batch, less)"

    @property
    def result(self) -> Evaluation:
        """What has been learned so far."""
        values = weights = np.asarray(self._learned).T
        shape = values.shape if self._table is None or self._scale is not None else (self.num_cells,)
        records = np.concatenate([np.zeros((0, *shape), np.float32), *self._records])
        batches = self._update.every * np.arange(1, len(records) + 1)
        if self._table is not None and self._scale is not None:
            weights = (values.astype(np.float64) @ self._table / self._scale).astype(np.float32)
        elif self._table is not None:
            values = (self._table @ weights.astype(np.float64)).astype(np.float32)
        return Evaluation(values, weights, batches, records)


def evaluate(blocks: Iterable[Episodes], num_cells: int, *, num_batches: int | None = None, **settings: Any) -> Evaluation:
    """Learns the values of cells from blocks of episodes by :class:`BatchTD`.

    Args:
        blocks: Episodes in blocks, such as ``store.blocks(65536, order=0)`` or ``[sample(...)]``.
        num_cells: Number of cells.
        num_batches: Updates after which to stop, a multiple of ``every``; None for all episodes (but those left over from the
            last ``every`` updates).
        **settings: All others of :class:`BatchTD`.

    Returns:
        The values, and how they came about.

    Raises:
        TypeError, ValueError, FloatingPointError: As there, or there are too few episodes.
    """
    learner = BatchTD(num_cells, **settings)
    every = learner._update.every
    if num_batches is not None and integer_in("num_batches", num_batches, 1, 2**63 - 1) % every:
        raise ValueError(f"num_batches must be a multiple of every = {every}, got {num_batches}")
    for block in blocks:
        learner.learn(block, num_batches)
        if learner.num_batches == num_batches:
            break
    if learner.num_batches < (num_batches or every):
        raise ValueError(f"blocks hold episodes for {learner.num_batches} batches, which is less than {num_batches or every}")
    return learner.result


def _of_cells(name: str, given: Any, num_cells: int, dimensions: int) -> np.ndarray:
    """Finite numbers, float64 (S, …).

    Raises:
        ValueError: They are not, or not one (a row) for each cell.
    """
    array = arguments.finite_array(name, given, (dimensions,))
    if len(array) != num_cells:
        each = "a row" if dimensions == 2 else "a value"
        raise ValueError(f"{name} must have {each} for each of {num_cells} cells, got shape {array.shape}")
    return array


def _scale(table: np.ndarray | None, path: str) -> float | None:
    """The factor of the step size on the tabular path; None for the general one."""
    if path == "general":
        if table is None:
            raise ValueError("path 'general' needs features, got None")
        return None
    scale = 1.0 if table is None else gram_scale(table)
    if scale is None and path == "tabular":
        raise ValueError("path 'tabular' needs features whose Gram matrix is a multiple of the identity; these are not")
    return scale


@dataclasses.dataclass(frozen=True)
class _Update:
    """Shape of the program: cells, episodes of an update, updates between records, the path, and if there are several η."""

    num_cells: int
    batch_size: int
    every: int
    tabular: bool
    several: bool

    def one(self, weights: jax.Array, cells: jax.Array, lengths: jax.Array, numbers: Any, table: Any) -> jax.Array:
        """One update on episodes (B, T); ``weights`` are (S,) or (N,), or (S, K) for several step sizes."""
        gamma, reward, rate = numbers
        steps = cells.shape[1]
        # All along one axis, and the last step counted with 0: XLA's gather and scatter are much slower with more axes.
        flat, t = cells.ravel().astype(jnp.int32), jnp.arange(cells.size) % steps
        until = jnp.repeat(lengths.astype(jnp.int32), steps, total_repeat_length=cells.size)
        values = weights.at[flat].get(mode="promise_in_bounds") if self.tabular else table[flat] @ weights
        following = jnp.concatenate([values[1:], values[:1]])
        rewards, counts = jnp.where(t < until, reward, 0), t < steps - 1
        if self.several:
            rewards, counts = rewards[:, None], counts[:, None]
        amounts = jnp.where(counts, rate * (rewards + gamma * following - values), 0)
        if self.tabular:
            return weights.at[flat].add(amounts, mode="promise_in_bounds")
        return weights + amounts @ table[flat]


@functools.lru_cache(maxsize=16)
def _program(update: _Update) -> Any:
    """The compiled program of (weights, cells, lengths, numbers, table) to the weights, and the values of each record."""

    def run(weights: Any, cells: Any, lengths: Any, numbers: Any, table: Any) -> tuple[jax.Array, jax.Array]:
        def step(weights: jax.Array, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            return update.one(weights, *batch, numbers, table), None

        def record(weights: jax.Array, batches: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            weights, _ = lax.scan(step, weights, batches)
            return weights, weights.T if update.tabular else table @ weights

        return lax.scan(record, weights, (cells, lengths))

    return plain_jit(run)
