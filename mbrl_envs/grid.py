"""What the grid worlds share: constants and spaces, actions and moves, and boolean observation planes."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jax import lax

from mbrl_envs.checks import boolean, integer_in, one_of, set_frozen
from mbrl_envs.maze import MAX_GRID_SIZE

OBSERVATION_FORMS = ("flat", "planes")
ACTION_NAMES = ("no-op", "up", "left", "down", "right")


class GridWorld:
    """Mixin of dynamics on an n × n grid. Their dataclasses have the three fields, with values of their own."""

    grid_size: int
    spontaneous: bool
    observation: str

    action_names: ClassVar[tuple[str, ...]] = ACTION_NAMES

    def __post_init__(self) -> None:
        set_frozen(self, grid_size=integer_in("grid_size", self.grid_size, 2, MAX_GRID_SIZE))
        boolean("spontaneous", self.spontaneous)
        boolean_space((1,), self.observation)

    @property
    def num_cells(self) -> int:
        """Number of cells, n·n."""
        return self.grid_size**2

    @property
    def action_space(self) -> spaces.Discrete:
        """Gymnasium space of one action."""
        return spaces.Discrete(len(ACTION_NAMES))


def boolean_space(shape: tuple[int, ...], form: str) -> spaces.Box:
    """The space of boolean arrays of ``shape``, flattened (``form="flat"``) or as they are (``form="planes"``).

    Raises:
        ValueError: The form is another.
    """
    one_of("observation", form, OBSERVATION_FORMS)
    shape = shape if form == "planes" else (int(np.prod(shape)),)
    return spaces.Box(0, 1, shape, dtype=np.dtype(np.bool_))  # type: ignore[arg-type]  # Gymnasium accepts bool


def stack_planes(planes: list[jax.Array], rows: int, columns: int, form: str) -> jax.Array:
    """Stacks bool planes of shape (rows*columns,) on the last axis: (rows, columns, c), or flattened."""
    stacked = jnp.stack(planes, axis=-1)
    return stacked.reshape(rows, columns, len(planes)) if form == "planes" else stacked.reshape(-1)


def move(cell: jax.Array, action: jax.Array, n: int) -> jax.Array:
    """The cell that ``action`` (see ``ACTION_NAMES``) leads to on an n × n grid, clipped at its edge; int32 scalars."""
    row = lax.div(cell, jnp.int32(n))  # not `//`, which also corrects the sign
    column = cell - row * n
    # Comparisons instead of a table of offsets: a table look-up is a gather, which does not vectorise.
    up, left, down, right = (jnp.asarray(action == i, jnp.int32) for i in range(1, 5))
    row, column = row - up + down, column - left + right
    return jnp.clip(row, 0, n - 1) * n + jnp.clip(column, 0, n - 1)


def successors(n: int) -> np.ndarray:
    """Where :func:`move` leads with each action from each cell, in NumPy, int (n², 5)."""
    row, column = np.divmod(np.arange(n * n), n)
    offsets = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
    return np.stack([np.clip(row + down, 0, n - 1) * n + np.clip(column + right, 0, n - 1) for down, right in offsets], axis=1)


def cell_at(name: str, value: Any, n: int) -> np.int32:
    """The cell of a row and a column that a user gave, row * n + column.

    Raises:
        TypeError: It is not two integers.
        ValueError: It lies outside the n × n grid.
    """
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise TypeError(f"{name} must be a row and a column, got {value!r}")
    row, column = (integer_in(name, each, 0, n - 1) for each in value)
    return np.int32(row * n + column)


def cells_at(name: str, value: Any, number: int, n: int) -> np.ndarray:
    """As :func:`cell_at`, for so many rows and columns, int32 (number,)."""
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != number:
        raise TypeError(f"{name} must be {number} times a row and a column, got {value!r}")
    return np.array([cell_at(name, each, n) for each in value])


def is_cell(cell: jax.Array, num_cells: int) -> jax.Array:
    """The bool plane of shape (num_cells,) with only ``cell`` on."""
    return jnp.arange(num_cells, dtype=jnp.int32) == cell
