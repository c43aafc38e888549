"""MountainCar: rock an underpowered car out of a valley, with dynamics on the device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.checks import number_in, rescaled, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.rendering import Picture

# Gymnasium's constants.
LEFT_EDGE, RIGHT_EDGE, GOAL, MOST_SPEED = -1.2, 0.6, 0.5, 0.07
FORCE, GRAVITY = 0.001, 0.0025
START_LOW, START_HIGH = -0.6, -0.4
_ROWS, _COLUMNS = 10, 37  # of a picture; a column is 0.05 wide


class MountainCarState(NamedTuple):
    """State: ``position`` and ``velocity`` of the car, float32 scalars."""

    position: jax.Array
    velocity: jax.Array


@dataclasses.dataclass(frozen=True)
class MountainCar(FunctionalEnv[MountainCarState, None]):
    """Rock a car out of a valley that is too steep for its engine: Gymnasium's MountainCar-v0, on the device.

    **Reset.** The position is drawn uniformly from −0.6 to −0.4, the velocity is 0.

    **Options of a reset.** As Gymnasium's: ``low`` and ``high``, other bounds of the position.

    **Step.** The velocity changes by 0.001 (action − 1) − 0.0025 cos(3 position) and is clipped to ±0.07; the position changes
    by the new velocity and is clipped to −1.2 … 0.6, and a car that runs into the left edge stops. The episode terminates at a
    position of 0.5 or more. From the same state and action this is Gymnasium's step but for rounding: here states are float32,
    there float64, of which float32 is shown. After one step the two differ by at most 1.2e-7 in position and 7.5e-9 in
    velocity. Over an episode of 200 steps, differences mostly stay below 1e-5; they may grow where a car only just runs into
    the left edge.

    **Reward.** −1 for every step, also the last. The registered time limit is that of MountainCar-v0, 200 steps; policies that
    are not good yet need more, so that studies of values set ``max_episode_steps`` themselves.

    From *Efficient Memory-based Learning for Robot Control* (A. Moore 1990).

    Args:
        goal_velocity: Least velocity with which the goal must be reached, 0 to 0.07.

    Observation:
        position: Of the car, −1.2 to 0.6; the valley's bottom is at −π/6.
        velocity: Of the car, per step, −0.07 to 0.07.
    """

    goal_velocity: float = 0.0

    env_id: ClassVar[str] = "mbrl/MountainCar-v0"
    continuing: ClassVar[bool] = False
    max_episode_steps: ClassVar[int] = 200
    reset_options: ClassVar[tuple[str, ...]] = ("low", "high")
    action_names: ClassVar[tuple[str, ...]] = ("push left", "no push", "push right")

    def __post_init__(self) -> None:
        set_frozen(self, goal_velocity=number_in("goal_velocity", self.goal_velocity, 0, MOST_SPEED))

    @property
    def observation_space(self) -> spaces.Box:
        low, high = np.array([LEFT_EDGE, -MOST_SPEED], np.float32), np.array([RIGHT_EDGE, MOST_SPEED], np.float32)
        return spaces.Box(low, high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(3)

    @property
    def evaluation_steps(self) -> int:
        return self.max_episode_steps

    def reset(self, key: jax.Array) -> MountainCarState:
        position = draws.uniform(draws.word(draws.source(key), 0), START_LOW, START_HIGH)
        return MountainCarState(position, jnp.float32(0))

    def events(self, key: jax.Array) -> None:
        del key  # Nothing is random but the start.

    def transition(self, state: MountainCarState, action: jax.Array, events: None) -> Transition:
        del events
        push = (action - 1).astype(jnp.float32) * FORCE
        velocity = jnp.clip(state.velocity + push - GRAVITY * jnp.cos(3 * state.position), -MOST_SPEED, MOST_SPEED)
        position = jnp.clip(state.position + velocity, LEFT_EDGE, RIGHT_EDGE)
        velocity = jnp.where((position <= LEFT_EDGE) & (velocity < 0), 0.0, velocity)
        terminated = (position >= GOAL) & (velocity >= self.goal_velocity)
        return Transition(MountainCarState(position, velocity), jnp.float32(-1), terminated)

    def observe(self, state: MountainCarState) -> jax.Array:
        return jnp.stack([state.position, state.velocity])

    def start_with(self, state: MountainCarState, options: Mapping[str, Any]) -> MountainCarState:
        position = rescaled(state.position, (START_LOW, START_HIGH), options, (LEFT_EDGE, RIGHT_EDGE))
        return state._replace(position=position)

    def picture(self, state: MountainCarState) -> Picture:
        cells = np.full((_ROWS, _COLUMNS), "background", dtype=object)
        step = (RIGHT_EDGE - LEFT_EDGE) / (_COLUMNS - 1)
        heights = [round((math.sin(3 * (LEFT_EDGE + i * step)) + 1) / 2 * (_ROWS - 3)) for i in range(_COLUMNS)]
        for column, height in enumerate(heights):
            cells[_ROWS - 1 - height :, column] = "ground"
        flag, car = (round((x - LEFT_EDGE) / step) for x in (GOAL, float(state.position)))
        cells[_ROWS - 2 - heights[flag], flag] = "flag"
        velocity = float(state.velocity)
        cells[_ROWS - 2 - heights[car], car] = (
            "car" if velocity == 0 else "car, rolling right" if velocity > 0 else "car, rolling left"
        )
        return Picture(cells, legend=("car", "car, rolling left", "car, rolling right", "flag", "ground"))
