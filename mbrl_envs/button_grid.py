"""ButtonGrid: switch all buttons on, again and again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import bitboard, draws
from mbrl_envs.checks import boolean, boolean_array, integer_in, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import GridWorld, boolean_space, cell_at, cells_at, is_cell, move, stack_planes
from mbrl_envs.rendering import Picture

MAX_BUTTONS = 16


class ButtonState(NamedTuple):
    """State of a button world.

    Attributes:
        position: Player's cell, int32 scalar, row * n + column.
        buttons: Distinct cells of the k buttons, int32 (k,).
        on: Which buttons are on, bool (k,).
    """

    position: jax.Array
    buttons: jax.Array
    on: jax.Array


class ButtonEvents(NamedTuple):
    """What may happen at random in one step.

    Attributes:
        all_on: Whether the random event happens (with either meaning), bool scalar.
        layout: The layout that takes the place of the current one if it is drawn anew.
    """

    all_on: jax.Array
    layout: ButtonState


def distinct_cells(words: list[jax.Array], num_cells: int) -> list[jax.Array]:
    """Turns k random words into k distinct cells, every ordered choice being equally likely; k int32 scalars.

    The i-th word becomes a rank among the cells not taken yet; going up through the cells taken, in ascending order, turns
    the rank into a cell. No permutation of the whole grid is made, which would cost a sort on every step.
    """
    taken: list[jax.Array] = []
    cells = []
    for i, word in enumerate(words):
        cell = draws.below(word, num_cells - i)
        for other in taken:
            cell = jnp.where(cell >= other, cell + 1, cell)
        cells.append(cell)
        # Insert into the ascending list by one bubble pass.
        carried = cell
        merged = []
        for other in taken:
            merged.append(jnp.minimum(other, carried))
            carried = jnp.maximum(other, carried)
        taken = [*merged, carried]
    return cells


class Layout(NamedTuple):
    """A drawn layout for any number of players.

    Attributes:
        all_on: Whether the random event happens, bool scalar.
        positions: Distinct cells of the players, int32 (A,).
        buttons: Distinct cells of the buttons, int32 (k,); players may stand on them.
    """

    all_on: jax.Array
    positions: jax.Array
    buttons: jax.Array


def draw_layout(key: jax.Array, num_cells: int, num_buttons: int, num_players: int, probability: float) -> Layout:
    """Draws what is random in a step. The first player, the buttons and the event do not depend on the number of players."""
    source = draws.source(key)
    all_on = draws.happens(draws.word(source, 0), probability)
    others = range(2 + num_buttons, 1 + num_buttons + num_players)
    positions = distinct_cells([draws.word(source, i) for i in (1, *others)], num_cells)
    buttons = distinct_cells([draws.word(source, 2 + i) for i in range(num_buttons)], num_cells)
    # All in one array, so that the source is computed once, not once for each of them.
    drawn = draws.once(jnp.stack([all_on.astype(jnp.int32), *positions, *buttons]))
    return Layout(drawn[0] != 0, drawn[1 : 1 + num_players], drawn[1 + num_players :])


def entered(buttons: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """Which buttons a player has entered *by moving* from a cell to another, bool (k,)."""
    return (buttons == after) & (after != before)


def button_planes(buttons: jax.Array, on: jax.Array, num_cells: int) -> tuple[jax.Array, jax.Array]:
    """The cells of buttons that are on, and of those that are off, bool (cells,) each."""
    boards = [bitboard.one_hot(buttons[i], num_cells) for i in range(len(buttons))]
    nothing = bitboard.from_cells((), num_cells)
    lit = functools.reduce(bitboard.union, [bitboard.where(on[i], board, nothing) for i, board in enumerate(boards)])
    dark = bitboard.map_words(jnp.bitwise_xor, functools.reduce(bitboard.union, boards), lit)
    return bitboard.to_mask(lit, num_cells), bitboard.to_mask(dark, num_cells)


def buttons_of(options: Mapping[str, Any], num_buttons: int, n: int) -> dict[str, Any]:
    """The fields ``buttons`` and ``on`` of a state, as far as options of a reset give them.

    Raises:
        TypeError, ValueError: They are not that many different cells, or booleans.
    """
    given: dict[str, Any] = {}
    if "buttons" in options:
        given["buttons"] = cells_at("options['buttons']", options["buttons"], num_buttons, n)
        if len(np.unique(given["buttons"])) < num_buttons:
            raise ValueError(f"options['buttons'] must be different cells, got {options['buttons']!r}")
    if "on" in options:
        given["on"] = boolean_array("options['on']", options["on"], (num_buttons,))
    return given


@dataclasses.dataclass(frozen=True)
class ButtonGrid(GridWorld, FunctionalEnv[ButtonState, ButtonEvents]):
    """Switch all buttons on by walking over them; then they are laid out anew.

    A continuing task. **Reset.** The player's cell is uniform; k distinct button cells are uniform; all buttons are off.

    **Step.** In this order: if all buttons are on *before the move*, the step is a success; the player moves, unless the edge
    is in the way; a button whose cell the player has entered *by moving* toggles; with probability 1 / (10·n²) all buttons turn
    on (or, without ``activate_on_reset``, the layout is drawn anew); after a success the layout (player, buttons, states) is
    drawn anew.

    **Reward.** 1 on a success, else 0.

    **Options of a reset.** ``position``, the player's row and column; ``buttons``, k different rows and columns; ``on``, k
    booleans. Anything else is as drawn.

    From *The Benefits of Model-Based Generalization in Reinforcement Learning* (arXiv 2211.02222).

    Args:
        grid_size: Side length n, 2 to 32.
        num_buttons: Number of buttons k, 1 to 16 and at most n·n.
        spontaneous: Whether the random event happens.
        observation: ``"flat"`` for a vector of n·n·3 booleans, ``"planes"`` for shape (n, n, 3).
        activate_on_reset: Whether the random event turns all buttons on; else it draws the layout anew, without a reward.

    Observation planes:
        player: The player's cell.
        button on: Buttons that are on.
        button off: Buttons that are off.
    """

    grid_size: int = 5
    num_buttons: int = 3
    spontaneous: bool = True
    observation: str = "flat"
    activate_on_reset: bool = True

    env_id: ClassVar[str] = "mbrl/ButtonGrid-v0"
    continuing: ClassVar[bool] = True
    reset_options: ClassVar[tuple[str, ...]] = ("position", "buttons", "on")

    def __post_init__(self) -> None:
        super().__post_init__()
        boolean("activate_on_reset", self.activate_on_reset)
        set_frozen(self, num_buttons=integer_in("num_buttons", self.num_buttons, 1, min(MAX_BUTTONS, self.num_cells)))

    @property
    def all_on_probability(self) -> float:
        """Probability per step of the random event: that all buttons turn on, or that the layout is drawn anew."""
        return 1 / (10 * self.num_cells) if self.spontaneous else 0.0

    @property
    def observation_space(self) -> spaces.Box:
        return boolean_space((self.grid_size, self.grid_size, 3), self.observation)

    def reset(self, key: jax.Array) -> ButtonState:
        return self.events(key).layout

    def events(self, key: jax.Array) -> ButtonEvents:
        drawn = draw_layout(key, self.num_cells, self.num_buttons, 1, self.all_on_probability)
        layout = ButtonState(drawn.positions[0], drawn.buttons, jnp.zeros(self.num_buttons, bool))
        return ButtonEvents(drawn.all_on, layout)

    def transition(self, state: ButtonState, action: jax.Array, events: ButtonEvents) -> Transition:
        success = state.on.all()
        position = draws.once(move(state.position, action, self.grid_size))
        toggled = entered(state.buttons, state.position, position)
        on, anew = state.on ^ toggled, success
        if self.activate_on_reset:
            on = on | events.all_on
        else:
            anew = anew | events.all_on
        stepped = ButtonState(position, state.buttons, on)
        state = jax.tree.map(lambda new, old: jnp.where(anew, new, old), events.layout, stepped)
        return Transition(state, success.astype(jnp.float32), jnp.bool_(False))

    def observe(self, state: ButtonState) -> jax.Array:
        n = self.grid_size
        planes = [is_cell(state.position, n * n), *button_planes(state.buttons, state.on, n * n)]
        return stack_planes(planes, n, n, self.observation)

    def start_with(self, state: ButtonState, options: Mapping[str, Any]) -> ButtonState:
        if "position" in options:
            position = cell_at("options['position']", options["position"], self.grid_size)
            state = state._replace(position=position)  # type: ignore[arg-type]  # NumPy's arrays do
        return state._replace(**buttons_of(options, self.num_buttons, self.grid_size))

    def picture(self, state: ButtonState) -> Picture:
        n = self.grid_size
        cells = np.full(n * n, "empty", dtype=object)
        for cell, on in zip(state.buttons, state.on, strict=True):
            cells[int(cell)] = "button on" if on else "button off"
        here = cells[int(state.position)]
        cells[int(state.position)] = "player" if here == "empty" else f"player on {here}"
        return Picture(
            cells.reshape(n, n),
            legend=("player", "button off", "button on", "player on button off", "player on button on", "empty"),
        )
