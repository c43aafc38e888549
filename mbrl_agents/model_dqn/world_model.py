"""What a world model is to the learner that imagines with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.common.replay import Batch


class Step(NamedTuple):
    """One imagined step.

    Attributes:
        state: The model's states after it.
        reward: float32 (n,).
        continuation: Probability that the episode goes on, float32 (n,); 1 in continuing tasks.
    """

    state: Any
    reward: jax.Array
    continuation: jax.Array


class Imagined(NamedTuple):
    """Roll-outs of L steps from n states.

    Attributes:
        features: What the Q-network reads before each step and after the last, (L + 1, n, …).
        action: int32 (L, n).
        reward: float32 (L, n).
        continuation: Of each step, float32 (L, n).
    """

    features: jax.Array
    action: jax.Array
    reward: jax.Array
    continuation: jax.Array

    def weights(self) -> jax.Array:
        """Weight of each step: how probable it is that the episode has got there, float32 (L, n)."""
        before = jnp.concatenate([jnp.ones_like(self.continuation[:1]), self.continuation[:-1]])
        return jnp.cumprod(before, axis=0)


class WorldModel(Protocol):
    """A model of the environment, as pure functions; hashable, its fields shape the program.

    What it imagines in are its *states*; what the Q-network reads of a state are *features*: numbers (n, num_features), or
    codes (n, num_codes), each below ``num_features`` (see :class:`~mbrl_agents.common.q_learning.QLearning`).
    """

    def __hash__(self) -> int:
        """Equal models make the same program."""

    @property
    def num_features(self) -> int:
        """Number of features, or of values that codes have."""

    @property
    def num_codes(self) -> int:
        """Number of codes; 0 if features are numbers."""

    @property
    def learns(self) -> bool:
        """Whether there is anything to learn."""

    def init(self, key: jax.Array) -> Any:
        """Fresh parameters."""

    def loss(self, params: Any, batch: Batch, key: jax.Array, weights: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss on a batch of real transitions and its parts; ``weights`` are those of the parts."""

    def start(self, params: Any, batch: Batch, key: jax.Array) -> Any:
        """States in which the transitions of a batch began."""

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Features of observations as numbers, float32 (n, f), for acting."""

    def read(self, state: Any) -> jax.Array:
        """Features of states."""

    def step(self, params: Any, state: Any, action: jax.Array, key: jax.Array) -> Step:
        """One step of every state."""


def imagine(
    model: WorldModel,
    params: Any,
    start: Any,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    length: int,
    key: jax.Array,
) -> Imagined:
    """Rolls a model out.

    Args:
        model: The model.
        params: Its parameters.
        start: States to begin in.
        choose: Function of (features, key) that gives actions, int32 (n,).
        length: Number of steps.
        key: Raw key.
    """

    def step(state: Any, step_key: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        act_key, model_key = jax.random.split(step_key)
        features = model.read(state)
        action = choose(features, act_key)
        after = model.step(params, state, action, model_key)
        return after.state, (features, action, after.reward, after.continuation)

    last, (features, action, reward, continuation) = lax.scan(step, start, jax.random.split(key, length))
    return Imagined(jnp.concatenate([features, model.read(last)[None]]), action, reward, continuation)
