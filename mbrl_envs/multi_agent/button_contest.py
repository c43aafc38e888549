"""Competitive ButtonGrid: one team wants all buttons on, the other wants them off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.button_grid import ButtonGrid, draw_layout
from mbrl_envs.checks import boolean
from mbrl_envs.functional import Transition
from mbrl_envs.grid import GridWorld, boolean_space
from mbrl_envs.multi_agent import players
from mbrl_envs.multi_agent.players import PlayersState
from mbrl_envs.multi_agent.protocol import MultiAgentEnv
from mbrl_envs.rendering import Picture


class ContestEvents(NamedTuple):
    """What may happen at random in one step.

    Attributes:
        all_alike: Whether the random event happens (with either meaning), bool scalar.
        way: Which way all buttons turn then: True for on, bool scalar.
        layout: The layout that takes the place of the current one if it is drawn anew.
    """

    all_alike: jax.Array
    way: jax.Array
    layout: PlayersState


@dataclasses.dataclass(frozen=True)
class ButtonContest(GridWorld, MultiAgentEnv[PlayersState, ContestEvents]):
    """Switch all buttons on, or off, against a team that wants the opposite.

    A zero-sum game on :class:`~mbrl_envs.button_grid.ButtonGrid`'s grid. Team *on* (players 0, 2, …) wins when all buttons are
    on, team *off* (players 1, 3, …) when all are off; they are laid out anew after a win.

    **Reset.** The players' cells are uniform and distinct; the buttons' cells are uniform and distinct; of the ways in which
    some buttons are on and some off, each is equally likely.

    **Step.** In this order: if all buttons are on or all are off *before the move*, a team has won; all players move at the
    same time (several may be in one cell); a button toggles *once for each player*, of either team, who enters its cell by
    moving; with probability 1 / (10·n²) all buttons turn on or all turn off, each with one half (or, without
    ``activate_on_reset``, the layout is drawn anew); after a win the layout (players, buttons, states) is drawn anew.

    **Reward.** 1 for every player of the team that has won, −1 for the others, else 0. Between teams that play equally well it
    is 0 on average: the game is symmetric.

    **Options of a reset.** ``positions``, a row and a column for each player; ``buttons``, k different rows and columns;
    ``on``, k booleans. Anything else is as drawn.

    Args:
        grid_size: Side length n, 2 to 32.
        num_buttons: Number of buttons k, 2 to 16 and at most n·n.
        players_per_team: Number of players of each team, 1 to 8 and at most n·n / 2.
        spontaneous: Whether the random event happens.
        sight: None if players see the whole grid; else, 0 to n − 1, how many rows and columns around its own cell each sees.
        observation: ``"flat"`` for a vector of booleans, ``"planes"`` for shape (n, n, c): c = 4, or 6 with several players in
            a team; one more with ``sight``.
        activate_on_reset: Whether the random event turns all buttons the same way; else it draws the layout anew, without a
            reward.

    Observation planes:
        player: The cell of the player who sees it.
        team-mates before: Cells of team-mates with lower numbers; left out with one player in a team.
        team-mates after: Cells of team-mates with higher numbers; left out with one player in a team.
        opponents: Cells of the other team's players.
        button as wanted: Buttons that are as the player's own team wants them.
        button as not wanted: Buttons that are not.
        in sight: The cells that the player sees, all others being False in every plane; only with ``sight``.
    """

    grid_size: int = 5
    num_buttons: int = 3
    players_per_team: int = 1
    spontaneous: bool = True
    sight: int | None = None
    observation: str = "flat"
    activate_on_reset: bool = True

    env_id: ClassVar[str] = "button_contest_v0"
    continuing: ClassVar[bool] = True
    reset_options: ClassVar[tuple[str, ...]] = ("positions", "buttons", "on")

    def __post_init__(self) -> None:
        super().__post_init__()
        boolean("activate_on_reset", self.activate_on_reset)
        players.check(self, "players_per_team", teams=2, fewest_buttons=2)

    @property
    def num_agents(self) -> int:
        return 2 * self.players_per_team

    @property
    def agent_names(self) -> tuple[str, ...]:
        return tuple(f"{team}_{i}" for i in range(self.players_per_team) for team in ("on", "off"))

    @property
    def teams(self) -> tuple[range, range]:
        """Numbers of the players of team on and of team off."""
        return range(0, self.num_agents, 2), range(1, self.num_agents, 2)

    @property
    def all_alike_probability(self) -> float:
        """Probability per step of the random event; that of ButtonGrid."""
        return ButtonGrid(self.grid_size, self.num_buttons, self.spontaneous).all_on_probability

    @property
    def observation_space(self) -> spaces.Box:
        planes = (4 if self.players_per_team == 1 else 6) + (self.sight is not None)
        return boolean_space((self.grid_size, self.grid_size, planes), self.observation)

    @property
    def state_space(self) -> spaces.Box:
        return boolean_space((self.grid_size, self.grid_size, self.num_agents + 2), self.observation)

    def global_state(self, state: PlayersState) -> np.ndarray:
        return players.everything(state, self.grid_size).reshape(self.state_space.shape)

    def reset(self, key: jax.Array) -> PlayersState:
        return self.events(key).layout

    def events(self, key: jax.Array) -> ContestEvents:
        k = self.num_buttons
        drawn = draw_layout(key, self.num_cells, k, self.num_agents, self.all_alike_probability)
        source, beyond = draws.source(key), 1 + k + self.num_agents  # the words after those of the layout
        mixed = draws.below(draws.word(source, beyond), 2**k - 2) + 1  # all but none and all
        on = (mixed >> np.arange(k, dtype=np.int32)) & 1 != 0
        way = draws.once(draws.happens(draws.word(source, beyond + 1), 0.5))
        return ContestEvents(drawn.all_on, way, players.start(drawn, on))

    def transition(self, state: PlayersState, action: jax.Array, events: ContestEvents) -> Transition:
        won = state.on.all().astype(jnp.int32) - (~state.on).all().astype(jnp.int32)  # by team on
        stepped = players.walk(state, action, self.grid_size)
        anew = won != 0
        if self.activate_on_reset:
            stepped = stepped._replace(on=jnp.where(events.all_alike, events.way, stepped.on))
        else:
            anew = anew | events.all_alike
        state = jax.tree.map(lambda new, old: jnp.where(anew, new, old), events.layout, stepped)
        side = np.where(np.arange(self.num_agents) % 2 == 0, np.int32(1), np.int32(-1))
        return Transition(state, (won * side).astype(jnp.float32), jnp.bool_(False))

    def observe(self, state: PlayersState) -> jax.Array:
        here, number = players.places(state, self.num_cells), np.arange(self.num_agents)
        mates = number[:, None] % 2 == number % 2
        # Team-mates in order of their numbers, so that two in one cell do not see the same and do the same for ever.
        orders = (mates & (number[:, None] > number), mates & (number[:, None] < number)) if self.players_per_team > 1 else ()
        others = [players.any_of(here, whom) for whom in (*orders, ~mates)]
        lit, dark = players.lit_and_dark(state, self.num_cells)
        for_on = (number % 2 == 0)[:, None]
        buttons = jnp.where(for_on, lit, dark), jnp.where(for_on, dark, lit)
        return players.seen([here, *others, *buttons], state.positions, self.sight, self.grid_size, self.observation)

    def start_with(self, state: PlayersState, options: Mapping[str, Any]) -> PlayersState:
        return players.start_with(state, options, self.grid_size)

    def picture(self, state: PlayersState) -> Picture:
        return players.picture(state, self.grid_size, self.teams, ["player for on", "player for off"], "players of both teams")
