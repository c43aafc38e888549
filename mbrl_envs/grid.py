"""What the grid worlds share: actions and moves, and boolean observation planes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jax import lax

from mbrl_envs.checks import one_of

OBSERVATION_FORMS = ("flat", "planes")
ACTION_NAMES = ("no-op", "up", "left", "down", "right")


def boolean_space(shape: tuple[int, ...], form: str) -> spaces.Box:
    """The space of boolean arrays of ``shape``, flattened (``form="flat"``) or as they are (``form="planes"``)."""
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
    row = row - (action == 1) + (action == 3)
    column = column - (action == 2) + (action == 4)
    return jnp.clip(row, 0, n - 1) * n + jnp.clip(column, 0, n - 1)


def is_cell(cell: jax.Array, num_cells: int) -> jax.Array:
    """The bool plane of shape (num_cells,) with only ``cell`` on."""
    return jnp.arange(num_cells, dtype=jnp.int32) == cell
