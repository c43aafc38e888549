"""CartPole: keep a pole upright on a cart, with dynamics on the device and, if asked for, distracting observations."""

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
from mbrl_envs.checks import integer_in, rescaled, set_frozen
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.rendering import Picture

# Gymnasium's constants, SI units; length is half the pole's.
GRAVITY, CART_MASS, POLE_MASS, LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MOST_POSITION, MOST_ANGLE = 2.4, 12 * 2 * math.pi / 360
START = 0.05  # entries of the first state are uniform between minus and plus this
MAX_DISTRACTORS = 1024
_ROWS, _COLUMNS = 8, 33  # of a picture


class CartPoleState(NamedTuple):
    """State.

    Attributes:
        physics: Position (m), velocity (m/s), angle (rad), angular velocity (rad/s), float32 (4,).
        distractors: Numbers that mean nothing, float32 (num_distractors,).
    """

    physics: jax.Array
    distractors: jax.Array


class CartPoleEvents(NamedTuple):
    """What may happen at random in one step: the next ``distractors``, float32 (num_distractors,)."""

    distractors: jax.Array


@dataclasses.dataclass(frozen=True)
class CartPole(FunctionalEnv[CartPoleState, CartPoleEvents]):
    """Push a cart to the left and right so that the pole on it stays up: Gymnasium's CartPole-v1, on the device.

    **Reset.** Position, velocity, angle and angular velocity are drawn uniformly from ±0.05.

    **Options of a reset.** As Gymnasium's: ``low`` and ``high``, other bounds than ±0.05.

    **Step.** A force of 10 N pushes the cart for 0.02 s (Euler's method, the equations of Barto, Sutton & Anderson 1983 as
    Gymnasium has them). The episode terminates when the cart has left ±2.4 m or the pole ±12°. From the same state and action
    this is Gymnasium's step but for rounding: here states are float32, there float64.

    **Reward.** 1 for every step, also the last. Nobody can balance for longer than the time limit of 500 steps, so 500 is the
    best return under it.

    **Distractors.** Standard normal numbers, drawn anew in every step, may be appended to what is seen: a model that predicts
    everything spends itself on them, one that predicts what matters need not (Nikishin et al. 2022, arXiv 2106.03273).

    Args:
        num_distractors: How many, 0 to 1024.

    Observation:
        position: Of the cart, m.
        velocity: Of the cart, m/s.
        angle: Of the pole, rad; 0 is upright.
        angular velocity: Of the pole, rad/s.
    """

    num_distractors: int = 0

    env_id: ClassVar[str] = "mbrl/CartPole-v0"
    continuing: ClassVar[bool] = False
    max_episode_steps: ClassVar[int] = 500
    reset_options: ClassVar[tuple[str, ...]] = ("low", "high")
    action_names: ClassVar[tuple[str, ...]] = ("push left", "push right")

    def __post_init__(self) -> None:
        set_frozen(self, num_distractors=integer_in("num_distractors", self.num_distractors, 0, MAX_DISTRACTORS))

    @property
    def observation_space(self) -> spaces.Box:
        physics = [2 * MOST_POSITION, np.inf, 2 * MOST_ANGLE, np.inf]
        high = np.array(physics + [np.inf] * self.num_distractors, np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def evaluation_steps(self) -> int:
        return self.max_episode_steps

    def reset(self, key: jax.Array) -> CartPoleState:
        source = draws.source(key)
        physics = jnp.stack([draws.uniform(draws.word(source, i), -START, START) for i in range(4)])
        return CartPoleState(physics, self.events(key).distractors)

    def events(self, key: jax.Array) -> CartPoleEvents:
        if not self.num_distractors:
            return CartPoleEvents(jnp.zeros(0, jnp.float32))
        return CartPoleEvents(draws.normal(key, (self.num_distractors,)))

    def transition(self, state: CartPoleState, action: jax.Array, events: CartPoleEvents) -> Transition:
        _, velocity, angle, spin = state.physics
        force = jnp.where(action == 1, FORCE, -FORCE)
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        total = CART_MASS + POLE_MASS
        push = (force + POLE_MASS * LENGTH * spin**2 * sine) / total
        turn = (GRAVITY * sine - cosine * push) / (LENGTH * (4 / 3 - POLE_MASS * cosine**2 / total))
        acceleration = push - POLE_MASS * LENGTH * turn * cosine / total
        physics = state.physics + SECONDS * jnp.stack([velocity, acceleration, spin, turn])
        terminated = (jnp.abs(physics[0]) > MOST_POSITION) | (jnp.abs(physics[2]) > MOST_ANGLE)
        return Transition(CartPoleState(physics, events.distractors), jnp.float32(1), terminated)

    def observe(self, state: CartPoleState) -> jax.Array:
        return jnp.concatenate([state.physics, state.distractors])

    def start_with(self, state: CartPoleState, options: Mapping[str, Any]) -> CartPoleState:
        # Bounds beyond which everything has long ended.
        return state._replace(
            physics=rescaled(state.physics, (-START, START), options, (-2 * MOST_POSITION, 2 * MOST_POSITION))
        )

    def picture(self, state: CartPoleState) -> Picture:
        # The pole's 1 m is drawn as seven cells, and its tilt as it is; the track's 4.8 m take all columns.
        position, _, angle, _ = np.asarray(state.physics, float)
        cells = np.full((_ROWS, _COLUMNS), "background", dtype=object)
        per_metre = (_COLUMNS - 1) / (2 * MOST_POSITION)
        cells[-1] = "quiet"
        cart = (_COLUMNS - 1) / 2 + position * per_metre
        for height in range(_ROWS):
            column = round(cart + height * math.tan(angle))
            if 0 <= column < _COLUMNS:
                cells[-1 - height, column] = "pole" if height else "cart"
        return Picture(cells, legend=("cart", "pole"))
