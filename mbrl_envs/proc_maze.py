"""ProcMaze: a new random maze in every episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import bitboard, draws, maze
from mbrl_envs.checks import boolean, boolean_array
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.grid import GridWorld, boolean_space, cell_at, is_cell, move, stack_planes
from mbrl_envs.rendering import Picture


class MazeState(NamedTuple):
    """State of a maze world.

    Attributes:
        position: Player's cell, int32 scalar, row * n + column.
        goal: Goal's cell, int32 scalar.
        open: Open cells as bits, uint32 (ceil(n*n/32),); see :mod:`mbrl_envs.bitboard`.
    """

    position: jax.Array
    goal: jax.Array
    open: jax.Array


class MazeEvents(NamedTuple):
    """What may happen at random in one step: ``teleport``, the random event (with either meaning), a bool scalar."""

    teleport: jax.Array


@dataclasses.dataclass(frozen=True)
class ProcMaze(GridWorld, FunctionalEnv[MazeState, MazeEvents]):
    """Find the goal in a maze that is drawn anew for every episode.

    **Reset.** A random depth-first maze (see :mod:`mbrl_envs.maze`); player and goal are drawn independently and uniformly from
    its open cells, and may coincide.

    **Step.** In this order: the episode terminates if the player *stands on the goal before moving*, so that the agent sees the
    state in which it has arrived; the player moves, unless a wall or the edge is in the way; with probability
    0.1 / ((n+1)·⌈n/2⌉ − n mod 2) it is teleported onto the goal (or, without ``teleport_on_termination``, the episode
    terminates with this step).

    **Reward.** −1 on every step, so that the return is minus the length of the episode.

    **Options of a reset.** ``position`` and ``goal``, a row and a column each, which must be open; ``walls``, bool (n, n), a
    maze of one's own. Anything else is drawn.

    From *The Benefits of Model-Based Generalization in Reinforcement Learning* (arXiv 2211.02222).

    Args:
        grid_size: Side length n, 2 to 32.
        spontaneous: Whether the random event happens.
        observation: ``"flat"`` for a vector of n·n·4 booleans, ``"planes"`` for shape (n, n, 4).
        teleport_on_termination: Whether the random event teleports the player onto the goal, so that the episode terminates one
            step later; else it terminates the episode at once, and the player moves as usual.

    Observation planes:
        player: The player's cell.
        goal: The goal's cell.
        wall: Walls.
        empty: Open cells, also those of player and goal: in every cell either ``wall`` or ``empty`` is on.
    """

    grid_size: int = 4
    spontaneous: bool = True
    observation: str = "flat"
    teleport_on_termination: bool = True

    env_id: ClassVar[str] = "mbrl/ProcMaze-v0"
    continuing: ClassVar[bool] = False
    expensive_reset: ClassVar[bool] = True
    reset_options: ClassVar[tuple[str, ...]] = ("position", "goal", "walls")

    def __post_init__(self) -> None:
        super().__post_init__()
        boolean("teleport_on_termination", self.teleport_on_termination)

    @property
    def teleport_probability(self) -> float:
        """Probability per step of the random event: the teleport onto the goal, or the episode's end."""
        n = self.grid_size
        return 0.1 / ((n + 1) * -(-n // 2) - n % 2) if self.spontaneous else 0.0

    @property
    def observation_space(self) -> spaces.Box:
        return boolean_space((self.grid_size, self.grid_size, 4), self.observation)

    def reset(self, key: jax.Array) -> MazeState:
        source = draws.source(key)
        words = maze.carve(source, self.grid_size)
        board = tuple(words[i] for i in range(words.shape[0]))
        num_open = bitboard.count(board)
        position, goal = (
            draws.once(bitboard.select(board, draws.below(draws.word(source, index), num_open))) for index in maze.FREE_WORDS
        )
        return MazeState(position, goal, words)

    def events(self, key: jax.Array) -> MazeEvents:
        return MazeEvents(draws.event(key, self.teleport_probability))

    def transition(self, state: MazeState, action: jax.Array, events: MazeEvents) -> Transition:
        terminated = state.position == state.goal
        target = move(state.position, action, self.grid_size)
        position = jnp.where(bitboard.contains(state.open, target), target, state.position)
        if self.teleport_on_termination:
            position = jnp.where(events.teleport, state.goal, position)
        else:
            terminated = terminated | events.teleport
        return Transition(state._replace(position=position), jnp.float32(-1), terminated)

    def observe(self, state: MazeState) -> jax.Array:
        n = self.grid_size
        player, goal = is_cell(state.position, n * n), is_cell(state.goal, n * n)
        board = tuple(state.open[i] for i in range(bitboard.num_words(n * n)))
        empty = bitboard.to_mask(board, n * n)
        return stack_planes([player, goal, ~empty, empty], n, n, self.observation)

    def start_with(self, state: MazeState, options: Mapping[str, Any]) -> MazeState:
        n = self.grid_size
        if "walls" in options:
            walls = boolean_array("options['walls']", options["walls"], (n, n))
            words = bitboard.from_mask(~walls.ravel())
            state = state._replace(open=words)  # type: ignore[arg-type]  # NumPy's arrays do
        for name in ("position", "goal"):
            if name in options:
                given: dict[str, Any] = {name: cell_at(f"options[{name!r}]", options[name], n)}
                state = state._replace(**given)
            if not np.asarray(bitboard.to_mask(jnp.asarray(state.open), n * n))[getattr(state, name)]:
                here = divmod(int(getattr(state, name)), n)
                whose = "was given" if name in options else "was drawn for another maze, so give it along with options['walls']"
                raise ValueError(f"options[{name!r}] must be an open cell of the maze; {here} is a wall ({whose})")
        return state

    def picture(self, state: MazeState) -> Picture:
        n = self.grid_size
        is_open = np.asarray(bitboard.to_mask(jnp.asarray(state.open), n * n))
        cells = np.where(is_open, "empty", "wall").astype(object)
        cells[int(state.goal)] = "goal"
        cells[int(state.position)] = "player on goal" if state.position == state.goal else "player"
        return Picture(cells.reshape(n, n), legend=("player", "goal", "player on goal", "wall", "empty"))
