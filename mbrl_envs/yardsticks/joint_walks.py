"""Dynamic programming over the joint actions of several players in a world of buttons.

A *table* holds a number for every joint state: float64 (n², …, n², 2^k), an axis for each player's cell and one for which
buttons are on (bits). Players move at the same time, but as several toggles of one button add up whatever their order, a joint
step is each player's step after another's: a table of what follows is looked up player by player, 5·A look-ups for each state
in place of 5^A. What is done with a player's five numbers, the best or their mean, says how the player acts; a maximum of means
is the best answer to players who act uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbrl_envs.grid import successors

MOST_STATES = 50_000  # joint states of one layout


def check_size(n: int, k: int, num_players: int, name: str) -> None:
    """Checks that a table is small enough.

    Raises:
        ValueError: It is not.
    """
    states = n ** (2 * num_players) * 2**k
    if states > MOST_STATES:
        raise ValueError(
            f"scores of {name} are out of reach with grid_size={n}, num_buttons={k} and {num_players} players: "
            f"grid_size**(2 * players) * 2**num_buttons may be at most {MOST_STATES}, got {states}"
        )


def player_steps(buttons: np.ndarray, n: int) -> np.ndarray:
    """Where each action takes one player: index of (cell, buttons on) for each of these and each action.

    Args:
        buttons: Button cells, int (k,).
        n: Side length.

    Returns:
        int (n²·2^k, 5).
    """
    to, masks = successors(n), np.arange(1 << len(buttons))
    bit = np.zeros(n * n, int)
    bit[buttons] = 1 << np.arange(len(buttons))
    toggled = np.where(to != np.arange(n * n)[:, None], bit[to], 0)
    following = to[:, None, :] * len(masks) + (masks[None, :, None] ^ toggled[:, None, :])
    return following.reshape(-1, 5)


def joint_step(table: np.ndarray, steps: np.ndarray, acting: Sequence[str]) -> np.ndarray:
    """The table one step earlier: its value after a joint step, from every state.

    Args:
        table: What follows.
        steps: See :func:`player_steps`.
        acting: How each player acts: ``"max"`` and ``"min"`` choose, ``"mean"`` draws uniformly.

    Returns:
        A table.
    """
    for way in ("mean", "min", "max"):  # means first: who chooses does not know yet what others will draw
        for player, own in enumerate(acting):
            if own == way:
                moved = np.moveaxis(table, player, -2)
                after = moved.reshape(*moved.shape[:-2], -1)[..., steps]
                table = np.moveaxis(getattr(after, way)(axis=-1).reshape(moved.shape), -2, player)
    return table


def distinct_starts(n: int, num_players: int) -> np.ndarray:
    """Which cells players may start in: bool (n², …, n²), True where they are distinct."""
    cells = np.indices((n * n,) * num_players)
    distinct = np.ones((n * n,) * num_players, bool)
    for i in range(num_players):
        for j in range(i):
            distinct &= cells[i] != cells[j]
    return distinct
