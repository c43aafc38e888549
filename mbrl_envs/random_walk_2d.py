"""RandomWalk2D: exploring a square at random, for the prediction of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs.checks import boolean, integer_in, one_of, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import boolean_space, cell_at, is_cell, move
from mbrl_envs.rendering import Picture

MAX_GRID_SIZE = 64
EDGES = ("stay", "bounce")


class RandomWalkState(NamedTuple):
    """State: the walker's cell ``position``, int32 scalar, row * n + column."""

    position: jax.Array


class NoEvents(NamedTuple):
    """Nothing happens at random but what the policy does."""


@dataclasses.dataclass(frozen=True)
class RandomWalk2D(FunctionalEnv[RandomWalkState, NoEvents]):
    """Walk about in a square; how much reward is near?

    A continuing task, made for the prediction of values: the policy that draws actions uniformly explores by a random walk.
    **Reset.** The walker stands in the central cell, (n // 2, n // 2).

    **Step.** It moves to the neighbour above, to the left, below or to the right. Where the edge is in the way it stays, or
    moves one cell in the opposite direction (``edges``).

    **Reward.** exp(−d² / (2 · reward_width²)), with d the distance of the cell it stands on *before moving* from the goal.

    **Options of a reset.** ``position``, the walker's row and column.

    After *Dynamics of Temporal Difference Reinforcement Learning* (Bordelon et al., NeurIPS 2023): 17 × 17 cells, episodes of
    50 steps (51 positions), features of place cells, a bump of reward at (11, 11) or (14, 14). There the walker bounces off
    edges: use ``edges="bounce"`` for the published walk. Default edges, place and width of the reward are our own choice.

    Args:
        grid_size: Side length n, 2 to 64.
        goal: Row and column of the goal, each 0 to n − 1; None for (n // 4, n // 4).
        reward_width: Width of the reward in cells, 0 to 64; with 0 it is on the goal alone.
        one_hot: Whether observations are n·n booleans, one per cell, instead of row and column.
        edges: A step over an edge does nothing (``"stay"``) or is reversed: from row 0, up leads to row 1 (``"bounce"``).

    Observation:
        row: Row of the walker's cell, 0 to n − 1.
        column: Its column, 0 to n − 1.
    """

    grid_size: int = 17
    goal: tuple[int, int] | None = None
    reward_width: int = 2
    one_hot: bool = False
    edges: str = "stay"

    env_id: ClassVar[str] = "mbrl/RandomWalk2D-v0"
    reset_options: ClassVar[tuple[str, ...]] = ("position",)
    continuing: ClassVar[bool] = True
    action_names: ClassVar[tuple[str, ...]] = ("up", "left", "down", "right")

    def __post_init__(self) -> None:
        size = integer_in("grid_size", self.grid_size, 2, MAX_GRID_SIZE)
        set_frozen(self, grid_size=size, reward_width=integer_in("reward_width", self.reward_width, 0, MAX_GRID_SIZE))
        boolean("one_hot", self.one_hot)
        one_of("edges", self.edges, EDGES)
        if self.goal is not None:
            set_frozen(self, goal=divmod(int(cell_at("goal (if not None)", self.goal, size)), size))

    @property
    def num_cells(self) -> int:
        """Number of cells, n·n."""
        return self.grid_size**2

    @property
    def start(self) -> int:
        """The central cell."""
        return self.grid_size // 2 * (self.grid_size + 1)

    @property
    def goal_cell(self) -> int:
        """The cell where reward is largest."""
        row, column = (self.grid_size // 4,) * 2 if self.goal is None else self.goal
        return row * self.grid_size + column

    @property
    def positions(self) -> np.ndarray:
        """Row and column of every cell, int (n·n, 2)."""
        return np.stack(np.divmod(np.arange(self.num_cells), self.grid_size), axis=1)

    @property
    def rewards(self) -> np.ndarray:
        """Reward of a step from each cell, float64 (n·n,)."""
        squared = ((self.positions - self.positions[self.goal_cell]) ** 2).sum(axis=1)
        if self.reward_width == 0:
            return (squared == 0).astype(np.float64)
        return np.exp(-squared / (2 * self.reward_width**2))

    @property
    def observation_space(self) -> spaces.Box:
        if self.one_hot:
            return boolean_space((self.num_cells,), "flat")
        return spaces.Box(0, self.grid_size - 1, (2,), dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self.action_names))

    def reset(self, key: jax.Array) -> RandomWalkState:
        del key  # The start is always the same.
        return RandomWalkState(jnp.int32(self.start))

    def events(self, key: jax.Array) -> NoEvents:
        del key
        return NoEvents()

    def transition(self, state: RandomWalkState, action: jax.Array, events: NoEvents) -> Transition:
        del events
        reward = jnp.asarray(self.rewards, jnp.float32)[state.position]
        moved = move(state.position, action + 1, self.grid_size)  # there, action 0 is to stay
        if self.edges == "bounce":
            opposite = move(state.position, jnp.where(action < 2, action + 3, action - 1), self.grid_size)
            moved = jnp.where(moved == state.position, opposite, moved)
        return Transition(RandomWalkState(moved), reward, jnp.bool_(False))

    def observe(self, state: RandomWalkState) -> jax.Array:
        if self.one_hot:
            return is_cell(state.position, self.num_cells)
        return jnp.stack([state.position // self.grid_size, state.position % self.grid_size]).astype(jnp.float32)

    def start_with(self, state: RandomWalkState, options: Mapping[str, Any]) -> RandomWalkState:
        if "position" in options:
            state = RandomWalkState(cell_at("options['position']", options["position"], self.grid_size))  # type: ignore[arg-type]
        return state

    def picture(self, state: RandomWalkState) -> Picture:
        cells = np.full(self.num_cells, "empty", dtype=object)
        cells[self.rewards > 0.5] = "near the goal"
        cells[self.goal_cell] = "goal"
        cells[int(state.position)] = "player on goal" if state.position == self.goal_cell else "player"
        legend = ("player", "goal", "player on goal", "near the goal", "empty")
        return Picture(cells.reshape(self.grid_size, self.grid_size), legend)
