"""OpenGrid: ProcMaze without walls, its goal in the corner."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.checks import boolean
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import GridWorld, boolean_space, cell_at, is_cell, move, stack_planes
from mbrl_envs.proc_maze import MazeEvents
from mbrl_envs.rendering import Picture


class OpenGridState(NamedTuple):
    """State: the player's cell ``position``, int32 scalar, row * n + column."""

    position: jax.Array


@dataclasses.dataclass(frozen=True)
class OpenGrid(GridWorld, FunctionalEnv[OpenGridState, MazeEvents]):
    """Walk to the bottom-right corner of an empty grid.

    **Reset.** The player's cell is drawn uniformly from all cells, the goal included.

    **Step.** In this order: the episode terminates if the player *stands on the goal before moving*; the player moves, unless
    the edge is in the way; with probability 0.1 / n it is teleported onto the goal (or, without ``teleport_on_termination``,
    the episode terminates with this step).

    **Reward.** −1 on every step.

    **Options of a reset.** ``position``, the player's row and column.

    From *The Benefits of Model-Based Generalization in Reinforcement Learning* (arXiv 2211.02222).

    Args:
        grid_size: Side length n, 2 to 32.
        spontaneous: Whether the random event happens.
        observation: ``"flat"`` for a vector of n·n booleans, ``"planes"`` for shape (n, n, 1).
        teleport_on_termination: Whether the random event teleports the player onto the goal, so that the episode terminates one
            step later; else it terminates the episode at once, and the player moves as usual.

    Observation planes:
        player: The player's cell.
    """

    grid_size: int = 10
    spontaneous: bool = True
    observation: str = "flat"
    teleport_on_termination: bool = True

    env_id: ClassVar[str] = "mbrl/OpenGrid-v0"
    reset_options: ClassVar[tuple[str, ...]] = ("position",)
    continuing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        boolean("teleport_on_termination", self.teleport_on_termination)

    @property
    def goal(self) -> int:
        """The goal's cell: the last one."""
        return self.num_cells - 1

    @property
    def teleport_probability(self) -> float:
        """Probability per step of the random event: the teleport onto the goal, or the episode's end."""
        return 0.1 / self.grid_size if self.spontaneous else 0.0

    @property
    def observation_space(self) -> spaces.Box:
        return boolean_space((self.grid_size, self.grid_size, 1), self.observation)

    def reset(self, key: jax.Array) -> OpenGridState:
        return OpenGridState(draws.below(draws.word(draws.source(key), 0), self.num_cells))

    def events(self, key: jax.Array) -> MazeEvents:
        return MazeEvents(draws.event(key, self.teleport_probability))

    def transition(self, state: OpenGridState, action: jax.Array, events: MazeEvents) -> Transition:
        terminated = state.position == self.goal
        position = move(state.position, action, self.grid_size)
        if self.teleport_on_termination:
            position = jnp.where(events.teleport, self.goal, position)
        else:
            terminated = terminated | events.teleport
        return Transition(OpenGridState(position), jnp.float32(-1), terminated)

    def observe(self, state: OpenGridState) -> jax.Array:
        n = self.grid_size
        return stack_planes([is_cell(state.position, n * n)], n, n, self.observation)

    def start_with(self, state: OpenGridState, options: Mapping[str, Any]) -> OpenGridState:
        if "position" in options:
            state = OpenGridState(cell_at("options['position']", options["position"], self.grid_size))  # type: ignore[arg-type]
        return state

    def picture(self, state: OpenGridState) -> Picture:
        n = self.grid_size
        cells = np.full(n * n, "empty", dtype=object)
        cells[self.goal] = "goal"
        cells[int(state.position)] = "player on goal" if state.position == self.goal else "player"
        return Picture(cells.reshape(n, n), legend=("player", "goal", "player on goal", "empty"))
