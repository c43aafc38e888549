"""Cooperative PanFlute: several players, one flute."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs.checks import boolean, integer_in, set_frozen
from mbrl_envs.functional import Transition
from mbrl_envs.grid import boolean_space
from mbrl_envs.multi_agent.protocol import MultiAgentEnv
from mbrl_envs.pan_flute import MAX_PIPES, PanFlute, PanFluteEvents, PanFluteState
from mbrl_envs.rendering import Picture


@dataclasses.dataclass(frozen=True)
class CoopPanFlute(MultiAgentEnv[PanFluteState, PanFluteEvents]):
    """Blow the pipes of one flute, together, so that their sounds arrive together.

    :class:`~mbrl_envs.pan_flute.PanFlute` with A players, each of whom blows a pipe or does nothing (the last action).

    **Reset.** All cells are off.

    **Step.** As in PanFlute, but the first cell of every pipe that *any* player blows turns on; blown by several players, a
    pipe sounds as if blown by one.

    **Reward.** 1 for every player on a success, else 0. A chord takes one note of each pipe, each at a time of its own, and
    consecutive chords overlap: A players can sound A chords in every P steps.

    Args:
        num_pipes: Number of pipes P, 1 to 32.
        num_agents: Number of players A, 1 to P.
        spontaneous: Whether the random event happens.
        split: Whether each player sees only its own pipes, those whose number leaves the remainder a when divided by A, for
            player a; it sees the cells of others as off. It may blow all of them.
        observation: ``"flat"`` for the vector of P(P+1)/2 booleans, pipe after pipe, and then A booleans; ``"planes"`` for
            shape (P, P, 1 + A). With one player the A booleans or planes are left out.

    Observation planes:
        on: Cells that are on.
        player a: A plane for each player, on everywhere in that of the player who sees it, else off.
    """

    num_pipes: int = 5
    num_agents: int = 2
    spontaneous: bool = True
    split: bool = False
    observation: str = "flat"

    env_id: ClassVar[str] = "coop_pan_flute_v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        set_frozen(self, num_pipes=integer_in("num_pipes", self.num_pipes, 1, MAX_PIPES))
        set_frozen(self, num_agents=integer_in("num_agents", self.num_agents, 1, self.num_pipes))
        boolean("spontaneous", self.spontaneous)
        boolean("split", self.split)
        boolean_space((1,), self.observation)

    @property
    def flute(self) -> PanFlute:
        """The flute, as one player has it."""
        return PanFlute(self.num_pipes, self.spontaneous, self.observation)

    @property
    def num_marks(self) -> int:
        """Number of entries (or planes) that say who sees: A, or none for a single player."""
        return self.num_agents if self.num_agents > 1 else 0

    @property
    def all_on_probability(self) -> float:
        """Probability per step that the last cell of every pipe turns on by itself."""
        return self.flute.all_on_probability

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called; the no-op comes last, so that the others are those of PanFlute."""
        return (*self.flute.action_names, "no-op")

    @property
    def observation_space(self) -> spaces.Box:
        if self.observation == "flat":
            return boolean_space((self.flute.num_cells + self.num_marks,), "flat")
        return boolean_space((self.num_pipes, self.num_pipes, 1 + self.num_marks), self.observation)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.num_pipes + 1)

    @property
    def state_space(self) -> spaces.Box:
        return self.flute.observation_space

    def global_state(self, state: PanFluteState) -> np.ndarray:
        pipes = np.array(state.pipes)
        if self.observation == "flat":
            return pipes
        cells = np.zeros((self.num_pipes, self.num_pipes, 1), bool)
        rows, columns = np.tril_indices(self.num_pipes)
        cells[rows, columns, 0] = pipes
        return cells

    def reset(self, key: jax.Array) -> PanFluteState:
        return self.flute.reset(key)

    def events(self, key: jax.Array) -> PanFluteEvents:
        return self.flute.events(key)

    def transition(self, state: PanFluteState, action: jax.Array, events: PanFluteEvents) -> Transition:
        pipe = self.flute.pipe_of_cell.astype(np.int32)
        blown = functools.reduce(jnp.logical_or, [pipe == action[a] for a in range(self.num_agents)])
        state, reward, terminated = self.flute.sound(state, blown, events)
        return Transition(state, jnp.broadcast_to(reward, (self.num_agents,)), terminated)

    def observe(self, state: PanFluteState) -> jax.Array:
        return jnp.stack([self._seen_by(a, state) for a in range(self.num_agents)])

    def _seen_by(self, agent: int, state: PanFluteState) -> jax.Array:
        own = self.flute.pipe_of_cell % self.num_agents == agent
        seen = self.flute.observe(PanFluteState(state.pipes & own) if self.split else state)
        mark = np.arange(self.num_marks) == agent
        return jnp.concatenate([seen, jnp.broadcast_to(mark, (*seen.shape[:-1], self.num_marks))], axis=-1)

    def picture(self, state: PanFluteState) -> Picture:
        return self.flute.picture(state)
