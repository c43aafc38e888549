"""From action values to actions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core.actions import ActionCodec

KINDS = ("softmax", "epsilon_greedy")


class Exploration(NamedTuple):
    """How much to explore right now, float32 scalars; each may follow a schedule.

    Attributes:
        temperature: Of the softmax policy, > 0.
        epsilon: Probability of a uniform action of the ε-greedy policy, 0 to 1.
    """

    temperature: Any
    epsilon: Any


def select(values: jax.Array, key: jax.Array, kind: str, exploration: Exploration | None) -> jax.Array:
    """Actions, int32 (n,), by action values of shape (n, actions): greedy ones if ``exploration`` is None, else drawn.

    ``"softmax"`` draws from softmax(values / temperature); ``"epsilon_greedy"`` takes the best action, or with probability
    epsilon a uniform one.
    """
    if exploration is None:
        return greedy(values)
    if kind == "softmax":
        return jax.random.categorical(key, values / exploration.temperature, axis=-1).astype(jnp.int32)
    explore_key, action_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, values.shape[:-1]) < exploration.epsilon
    num, num_actions = values.shape
    return jnp.where(explore, ActionCodec(num_actions).uniform(action_key, num), greedy(values))


def greedy(values: jax.Array) -> jax.Array:
    """The best action (the first among equals), int32 (n,)."""
    return jnp.argmax(values, axis=-1).astype(jnp.int32)
