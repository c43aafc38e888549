"""What a world model is to the learner that imagines with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.weights import ModelHyperparameters


class Outcome(NamedTuple):
    """What steps bring, beside the next states.

    Attributes:
        reward: float32 (n,).
        continuation: Probability that the episode goes on, float32 (n,); 1 in continuing tasks.
    """

    reward: jax.Array
    continuation: jax.Array


class Imagined(NamedTuple):
    """Roll-outs of L steps from n states.

    Attributes:
        features: What the Q-network reads before each step and after the last, (L + 1, n, …).
        action: int32 (L, n).
        reward: float32 (L, n).
        continuation: Of each step, float32 (L, n).
        aux: What else ``choose`` returned, with axes (L, …) in front.
    """

    features: jax.Array
    action: jax.Array
    reward: jax.Array
    continuation: jax.Array
    aux: Any = None

    def weights(self) -> jax.Array:
        """Weight of each step: how probable it is that the episode has got there, float32 (L, n)."""
        before = jnp.concatenate([jnp.ones_like(self.continuation[:1]), self.continuation[:-1]])
        return jnp.cumprod(before, axis=0)


class WorldModel(Protocol):
    """A model of the environment, as pure functions; hashable, its fields shape the program.

    What it imagines in are its *states*; what the Q-network reads of a state are *features*: numbers (n, num_features), or
    codes (n, num_codes), each below ``num_features`` (see :class:`~mbrl_agents.core.q_learning.QLearning`).
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

    def loss(
        self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss on a batch of real transitions and its parts."""

    def start(self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters) -> Any:
        """States in which the transitions of a batch began."""

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """Features of observations as numbers, float32 (n, f), for acting."""

    def read(self, state: Any) -> jax.Array:
        """Features of states."""

    def step(self, params: Any, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        """States after a step from each state, and what :meth:`outcome` has to know of it."""

    def outcome(self, params: Any, features: jax.Array, action: jax.Array, known: Any) -> Outcome:
        """Outcomes of steps.

        Apart from :meth:`step`, because the steps of a roll-out wait for each other and their outcomes don't: all at once, they
        read the parameters only once.

        Args:
            params: The parameters.
            features: Features of states, (n, f), or codes (n, k).
            action: What was done there, int32 (n,).
            known: What :meth:`step` said about it.
        """


def imagine(
    model: WorldModel,
    params: Any,
    start: Any,
    choose: Callable[[jax.Array, jax.Array], tuple[jax.Array, Any]],
    length: int,
    key: jax.Array,
) -> Imagined:
    """Rolls a model out.

    Args:
        model: The model.
        params: Its parameters.
        start: States to begin in.
        choose: Function of (features, key) that gives actions, int32 (n,), and anything else that is wanted of each step.
        length: Number of steps.
        key: Raw key.
    """
    keys = jax.random.split(key, length)
    return _roll_out(model, params, start, lambda features, act_key, given: choose(features, act_key), keys, None)


def imagine_along(model: WorldModel, params: Any, start: Any, actions: jax.Array, key: jax.Array) -> Imagined:
    """Rolls a model out, as :func:`imagine` does, with actions that are given: int32 (L, n)."""
    keys = jax.random.split(key, len(actions))
    return _roll_out(model, params, start, lambda features, act_key, given: (given, None), keys, actions)


def _roll_out(
    model: WorldModel, params: Any, start: Any, choose: Callable[[Any, Any, Any], tuple], keys: jax.Array, given: Any
) -> Imagined:
    """Rolls a model out; ``choose`` is handed features, a key, and the step's part of ``given``."""

    def step(state: Any, inputs: tuple[jax.Array, Any]) -> tuple[Any, tuple[jax.Array, jax.Array, Any, Any]]:
        act_key, model_key = jax.random.split(inputs[0])
        features = model.read(state)
        action, aux = choose(features, act_key, inputs[1])
        after, known = model.step(params, state, action, model_key)
        return after, (features, action, known, aux)

    last, (features, action, known, aux) = lax.scan(step, start, (keys, given))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (features, action, known))
    reward, continuation = (each.reshape(action.shape) for each in model.outcome(params, *flat))
    return Imagined(jnp.concatenate([features, model.read(last)[None]]), action, reward, continuation, aux)
