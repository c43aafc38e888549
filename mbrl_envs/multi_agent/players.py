"""What the worlds of buttons with several players share: how players walk, what they see, how they look."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mbrl_envs import draws
from mbrl_envs.button_grid import MAX_BUTTONS, Layout, button_planes, buttons_of, entered
from mbrl_envs.checks import integer_in, set_frozen
from mbrl_envs.grid import cells_at, move
from mbrl_envs.rendering import Picture

MAX_AGENTS = 16


class PlayersState(NamedTuple):
    """State of a button world with A players.

    Attributes:
        positions: Players' cells, int32 (A,), row * n + column; several may be in one cell.
        buttons: Distinct cells of the k buttons, int32 (k,).
        on: Which buttons are on, bool (k,).
    """

    positions: jax.Array
    buttons: jax.Array
    on: jax.Array


def check(env: Any, num_players: str, *, teams: int, fewest_buttons: int) -> None:
    """Checks the constants that button worlds share beside those of every grid world, and makes them plain integers.

    Args:
        env: The frozen dataclass, in its making.
        num_players: Name of its constant for the number of players (of each team).
        teams: Number of teams.
        fewest_buttons: Least number of buttons.

    Raises:
        TypeError, ValueError: A constant is not an integer, or out of range.
    """
    ranges = {
        "num_buttons": (fewest_buttons, min(MAX_BUTTONS, env.num_cells)),
        num_players: (1, min(MAX_AGENTS, env.num_cells) // teams),  # they start in cells of their own
    }
    if env.sight is not None:
        ranges["sight"] = (0, env.grid_size - 1)
    set_frozen(env, **{name: integer_in(name, getattr(env, name), *allowed) for name, allowed in ranges.items()})


def start(layout: Layout, on: jax.Array) -> PlayersState:
    """The state of a drawn layout."""
    return PlayersState(layout.positions, layout.buttons, on)


def start_with(state: PlayersState, options: Mapping[str, Any], n: int) -> PlayersState:
    """Changes a drawn start, NumPy leaves, as options of a reset say: ``positions``, ``buttons``, ``on``.

    Raises:
        TypeError, ValueError: They are not that many cells, the buttons' different ones, or booleans.
    """
    if "positions" in options:
        positions = cells_at("options['positions']", options["positions"], len(state.positions), n)
        state = state._replace(positions=positions)  # type: ignore[arg-type]  # NumPy's arrays do
    return state._replace(**buttons_of(options, len(state.buttons), n))


def walk(state: PlayersState, actions: jax.Array, n: int) -> PlayersState:
    """Moves all players and toggles a button once for each player who enters it, so that two at once change nothing."""
    positions = draws.once(jax.vmap(lambda cell, action: move(cell, action, n))(state.positions, actions))
    entries = [entered(state.buttons, before, after) for before, after in zip(state.positions, positions, strict=True)]
    return PlayersState(positions, state.buttons, draws.once(state.on ^ functools.reduce(jnp.logical_xor, entries)))


def places(state: PlayersState, num_cells: int) -> jax.Array:
    """Where each player is, bool (A, cells)."""
    return state.positions[:, None] == np.arange(num_cells, dtype=np.int32)[None]


def any_of(here: jax.Array, whom: np.ndarray) -> jax.Array:
    """Where each player sees any of those that count for it.

    Args:
        here: Where each player is, bool (A, cells).
        whom: Which players count for which, bool (A, A): ``whom[a, b]`` says whether a sees b.

    Returns:
        bool (A, cells).
    """
    each = [whom[:, i, None] & place[None] for i, place in enumerate(here) if whom[:, i].any()]
    return functools.reduce(jnp.logical_or, each, jnp.zeros(here.shape, bool))


def lit_and_dark(state: PlayersState, num_cells: int) -> tuple[jax.Array, jax.Array]:
    """The cells of buttons that are on, and of those that are off, bool (cells,) each; computed once for all who look."""
    lit, dark = button_planes(state.buttons, state.on, num_cells)
    return draws.once(lit), draws.once(dark)


def seen(planes: Sequence[jax.Array], positions: jax.Array, sight: int | None, n: int, form: str) -> jax.Array:
    """Observations of planes, bool (A, cells) or (cells,) each: all there is, or what is within ``sight`` rows and columns.

    With ``sight`` a last plane says where that is.
    """
    num = len(positions)
    everything = [jnp.broadcast_to(plane, (num, n * n)) for plane in planes]
    if sight is not None:
        rows, columns = np.divmod(np.arange(n * n, dtype=np.int32)[None], n)
        row = lax.div(positions, jnp.int32(n))
        column = positions - row * n
        near = (jnp.abs(rows - row[:, None]) <= sight) & (jnp.abs(columns - column[:, None]) <= sight)
        everything = [*(plane & near for plane in everything), near]
    stacked = jnp.stack(everything, axis=-1)
    return stacked.reshape(num, n, n, len(everything)) if form == "planes" else stacked.reshape(num, -1)


def everything(state: PlayersState, n: int) -> np.ndarray:
    """A plane for each player, one for buttons that are on, one for those that are off, bool (n·n, A + 2). NumPy leaves."""
    num = len(state.positions)
    planes = np.zeros((n * n, num + 2), bool)
    planes[state.positions, np.arange(num)] = True
    planes[state.buttons, np.where(state.on, num, num + 1)] = True
    return planes


def picture(state: PlayersState, n: int, teams: Sequence[Sequence[int]], names: Sequence[str], crowd: str) -> Picture:
    """Draws players and buttons.

    Args:
        state: NumPy leaves.
        n: Side length.
        teams: Players who look alike.
        names: What a cell is called in which one player is, or several of one team, for each team.
        crowd: What a cell is called in which there are players of all teams, or several, if there is one team.
    """
    cells = np.full(n * n, "empty", dtype=object)
    for cell, on in zip(state.buttons, state.on, strict=True):
        cells[int(cell)] = "button on" if on else "button off"
    here = [[int(state.positions[i]) for i in team] for team in teams]
    everybody = [cell for cells_of_team in here for cell in cells_of_team]
    for cell in set(everybody):
        present = [name for name, places in zip(names, here, strict=True) if cell in places]
        crowded = len(present) > 1 if len(teams) > 1 else everybody.count(cell) > 1
        who = crowd if crowded else present[0]
        cells[cell] = who if cells[cell] == "empty" else f"{who} on {cells[cell]}"
    looks = [*names, crowd] if len(everybody) > 1 else names
    legend = [*looks, "button off", "button on", *(f"{who} on {what}" for who in looks for what in ("button off", "button on"))]
    return Picture(cells.reshape(n, n), legend=(*legend, "empty"))
