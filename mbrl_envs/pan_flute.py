"""PanFlute: pipes of different length that must sound together."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.checks import boolean, integer_in, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import boolean_space
from mbrl_envs.rendering import Picture

MAX_PIPES = 32


class PanFluteState(NamedTuple):
    """State: the cells of all pipes, one pipe after the other, as ``pipes``, bool (P(P+1)/2,)."""

    pipes: jax.Array


class PanFluteEvents(NamedTuple):
    """What may happen at random in one step: ``all_on``, whether the last cell of every pipe turns on, bool scalar."""

    all_on: jax.Array


@dataclasses.dataclass(frozen=True)
class PanFlute(FunctionalEnv[PanFluteState, PanFluteEvents]):
    """Blow P pipes of length 1 … P so that their sounds arrive together.

    A continuing task. Pipe i (i = 0 … P−1) is a shift register of length i+1. **Reset.** All cells are off.

    **Step.** In this order: if the last cell of every pipe is on *before the step*, the step is a success; every pipe shifts by
    one cell towards its end; the first cell of pipe ``action`` turns on, that of every other pipe off; with probability 1/P²
    the last cell of every pipe turns on.

    **Reward.** 1 on a success, else 0. The best play is P−1, …, 1, 0 in a cycle.

    From *The Benefits of Model-Based Generalization in Reinforcement Learning* (arXiv 2211.02222).

    Args:
        num_pipes: Number of pipes P, 1 to 32.
        spontaneous: Whether the random event happens.
        observation: ``"flat"`` for the vector of P(P+1)/2 booleans, pipe after pipe; ``"planes"`` for shape (P, P, 1), a row
            per pipe, cells beyond a pipe's end being False.

    Observation planes:
        on: Cells that are on.
    """

    num_pipes: int = 5
    spontaneous: bool = True
    observation: str = "flat"

    env_id: ClassVar[str] = "mbrl/PanFlute-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        set_frozen(self, num_pipes=integer_in("num_pipes", self.num_pipes, 1, MAX_PIPES))
        boolean("spontaneous", self.spontaneous)
        boolean_space((1,), self.observation)

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""
        return tuple(f"blow pipe {i}" for i in range(self.num_pipes))

    @property
    def num_cells(self) -> int:
        """Number of cells of all pipes, P(P+1)/2."""
        return self.num_pipes * (self.num_pipes + 1) // 2

    @property
    def first(self) -> np.ndarray:
        """Index of each pipe's first cell, int (P,)."""
        return np.cumsum(np.arange(self.num_pipes))

    @property
    def last(self) -> np.ndarray:
        """Index of each pipe's last cell, int (P,)."""
        return self.first + np.arange(self.num_pipes)

    @property
    def pipe_of_cell(self) -> np.ndarray:
        """The pipe that each cell belongs to, int (cells,)."""
        return np.repeat(np.arange(self.num_pipes), np.arange(self.num_pipes) + 1)

    @property
    def all_on_probability(self) -> float:
        """Probability per step that the last cell of every pipe turns on by itself."""
        return 1 / self.num_pipes**2 if self.spontaneous else 0.0

    @property
    def observation_space(self) -> spaces.Box:
        if self.observation == "flat":
            return boolean_space((self.num_cells,), "flat")
        return boolean_space((self.num_pipes, self.num_pipes, 1), self.observation)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.num_pipes)

    def reset(self, key: jax.Array) -> PanFluteState:
        del key  # The start is always the same.
        return PanFluteState(jnp.zeros(self.num_cells, bool))

    def events(self, key: jax.Array) -> PanFluteEvents:
        return PanFluteEvents(draws.event(key, self.all_on_probability))

    def transition(self, state: PanFluteState, action: jax.Array, events: PanFluteEvents) -> Transition:
        return self.sound(state, self.pipe_of_cell.astype(np.int32) == action, events)

    def sound(self, state: PanFluteState, blown: jax.Array, events: PanFluteEvents) -> Transition:
        """One step in which any pipes are blown: ``blown``, bool (cells,), says of each cell whether its pipe is."""
        is_first, is_last = np.zeros(self.num_cells, bool), np.zeros(self.num_cells, bool)
        is_first[self.first], is_last[self.last] = True, True
        success = (state.pipes | ~is_last).all()
        # One shift moves all pipes at once; what spills over from the pipe before is overwritten by the first cells.
        shifted = jnp.concatenate([state.pipes[:1], state.pipes[:-1]])
        pipes = jnp.where(is_first, blown, shifted) | (events.all_on & is_last)
        return Transition(PanFluteState(pipes), success.astype(jnp.float32), jnp.bool_(False))

    def observe(self, state: PanFluteState) -> jax.Array:
        if self.observation == "flat":
            return state.pipes
        rows, columns = np.tril_indices(self.num_pipes)
        planes = jnp.zeros((self.num_pipes, self.num_pipes), bool).at[rows, columns].set(state.pipes)
        return planes[:, :, None]

    def picture(self, state: PanFluteState) -> Picture:
        # Pipes end in the last column, because what matters is that sounds arrive there together.
        rows, columns = np.tril_indices(self.num_pipes)
        cells = np.full((self.num_pipes, self.num_pipes), "background", dtype=object)
        cells[rows, self.num_pipes - 1 - rows + columns] = np.where(np.asarray(state.pipes), "sound", "silent")
        cells[:, -1] = np.where(np.asarray(state.pipes)[self.last], "sound at the end", "end of a pipe")
        legend = ("silent", "sound", "end of a pipe", "sound at the end")
        return Picture(cells, legend, row_labels=tuple(map(str, range(self.num_pipes))), framed=False)
