"""The perfect observer's beliefs on the device; :mod:`mbrl_envs.conditioning.exact` has them in float64."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_envs.conditioning.task import ConditioningTask


@dataclasses.dataclass(frozen=True)
class Filter:
    """Filters observations of a task.

    Attributes:
        task: The task.
    """

    task: ConditioningTask

    def beliefs(self, observations: jax.Array) -> jax.Array:
        """The probability of each hidden state after each step since a reset.

        Args:
            observations: Possible ones, float32 (T, B, F). After an impossible one (such as those after an episode's end) all
                beliefs are 0.

        Returns:
            float32 (T, B, S).
        """
        chain, size = self.task.chain, self.task.chain.num_states
        probabilities = jnp.asarray(chain.probabilities, jnp.float32)
        successors, cue, reward = jnp.asarray(chain.successors), jnp.asarray(chain.cue), jnp.asarray(chain.reward)
        shown = jnp.where(observations[..., :-1].any(axis=-1), observations[..., :-1].argmax(axis=-1), -1)

        def step(belief: jax.Array, seen: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            flow = belief[..., None] * probabilities
            predicted = jnp.zeros((*belief.shape[:-1], size)).at[..., successors].add(flow)
            likely = predicted * ((cue == seen[0][..., None]) & (reward == seen[1][..., None]))
            total = likely.sum(axis=-1, keepdims=True)
            now = likely / jnp.where(total > 0, total, 1)
            return jnp.concatenate([now, jnp.zeros_like(total)], axis=-1), now

        start = jnp.zeros((observations.shape[1], size + 1)).at[:, -1].set(1)
        return lax.scan(step, start, (shown, observations[..., -1]))[1]
