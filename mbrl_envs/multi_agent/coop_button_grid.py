"""Cooperative ButtonGrid: several players, one set of buttons, one reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs.button_grid import ButtonGrid, draw_layout
from mbrl_envs.checks import boolean
from mbrl_envs.functional import Transition
from mbrl_envs.grid import GridWorld, boolean_space
from mbrl_envs.multi_agent import players
from mbrl_envs.multi_agent.players import PlayersState
from mbrl_envs.multi_agent.protocol import MultiAgentEnv
from mbrl_envs.rendering import Picture


class CoopButtonEvents(NamedTuple):
    """What may happen at random in one step.

    Attributes:
        all_on: Whether the random event happens (with either meaning), bool scalar.
        layout: The layout that takes the place of the current one if it is drawn anew.
    """

    all_on: jax.Array
    layout: PlayersState


@dataclasses.dataclass(frozen=True)
class CoopButtonGrid(GridWorld, MultiAgentEnv[PlayersState, CoopButtonEvents]):
    """Switch all buttons on, together, without undoing what others have done.

    :class:`~mbrl_envs.button_grid.ButtonGrid` with A players, who share the buttons and the reward.

    **Reset.** The players' cells are uniform and distinct; the buttons' cells are uniform and distinct; all buttons are off.

    **Step.** As in ButtonGrid, with all players moving at the same time. They do not stand in each other's way: several may be
    in one cell. A button toggles *once for each player* who enters its cell by moving; entered by two at once, it stays as it
    was.

    **Reward.** 1 for every player on a success, else 0.

    **Options of a reset.** ``positions``, a row and a column for each player; ``buttons``, k different rows and columns;
    ``on``, k booleans. Anything else is as drawn.

    Args:
        grid_size: Side length n, 2 to 32.
        num_buttons: Number of buttons k, 1 to 16 and at most n·n.
        num_agents: Number of players A, 1 to 16 and at most n·n.
        spontaneous: Whether the random event happens.
        sight: None if players see the whole grid; else, 0 to n − 1, how many rows and columns around its own cell each sees.
        observation: ``"flat"`` for a vector of booleans, ``"planes"`` for shape (n, n, c): c = 5, or 3 with one player (whose
            observation is that of ButtonGrid); one more with ``sight``.
        activate_on_reset: Whether the random event turns all buttons on; else it draws the layout anew, without a reward.

    Observation planes:
        player: The cell of the player who sees it.
        players before: Cells of players with lower numbers; left out with one player.
        players after: Cells of players with higher numbers; left out with one player.
        button on: Buttons that are on.
        button off: Buttons that are off.
        in sight: The cells that the player sees, all others being False in every plane; only with ``sight``.
    """

    grid_size: int = 5
    num_buttons: int = 3
    num_agents: int = 2
    spontaneous: bool = True
    sight: int | None = None
    observation: str = "flat"
    activate_on_reset: bool = True

    env_id: ClassVar[str] = "coop_button_grid_v0"
    continuing: ClassVar[bool] = True
    reset_options: ClassVar[tuple[str, ...]] = ("positions", "buttons", "on")

    def __post_init__(self) -> None:
        super().__post_init__()
        boolean("activate_on_reset", self.activate_on_reset)
        players.check(self, "num_agents", teams=1, fewest_buttons=1)

    @property
    def all_on_probability(self) -> float:
        """Probability per step of the random event; that of ButtonGrid."""
        return ButtonGrid(self.grid_size, self.num_buttons, self.spontaneous).all_on_probability

    @property
    def observation_space(self) -> spaces.Box:
        planes = (3 if self.num_agents == 1 else 5) + (self.sight is not None)
        return boolean_space((self.grid_size, self.grid_size, planes), self.observation)

    @property
    def state_space(self) -> spaces.Box:
        return boolean_space((self.grid_size, self.grid_size, self.num_agents + 2), self.observation)

    def global_state(self, state: PlayersState) -> np.ndarray:
        return players.everything(state, self.grid_size).reshape(self.state_space.shape)

    def reset(self, key: jax.Array) -> PlayersState:
        return self.events(key).layout

    def events(self, key: jax.Array) -> CoopButtonEvents:
        drawn = draw_layout(key, self.num_cells, self.num_buttons, self.num_agents, self.all_on_probability)
        return CoopButtonEvents(drawn.all_on, players.start(drawn, jnp.zeros(self.num_buttons, bool)))

    def transition(self, state: PlayersState, action: jax.Array, events: CoopButtonEvents) -> Transition:
        success = state.on.all()
        stepped = players.walk(state, action, self.grid_size)
        anew = success
        if self.activate_on_reset:
            stepped = stepped._replace(on=stepped.on | events.all_on)
        else:
            anew = anew | events.all_on
        state = jax.tree.map(lambda new, old: jnp.where(anew, new, old), events.layout, stepped)
        return Transition(state, jnp.full(self.num_agents, success, jnp.float32), jnp.bool_(False))

    def observe(self, state: PlayersState) -> jax.Array:
        here, number = players.places(state, self.num_cells), np.arange(self.num_agents)
        # Others in order of their numbers, so that two in one cell do not see the same and do the same for ever.
        orders = (number[:, None] > number, number[:, None] < number) if self.num_agents > 1 else ()
        others = [players.any_of(here, whom) for whom in orders]
        buttons = players.lit_and_dark(state, self.num_cells)
        return players.seen([here, *others, *buttons], state.positions, self.sight, self.grid_size, self.observation)

    def start_with(self, state: PlayersState, options: Mapping[str, Any]) -> PlayersState:
        return players.start_with(state, options, self.grid_size)

    def picture(self, state: PlayersState) -> Picture:
        return players.picture(state, self.grid_size, [range(self.num_agents)], ["player"], "several players")
