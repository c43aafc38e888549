"""The simple model: predicts the next observation, the reward and the end, each from observation and action."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.common.replay import Batch
from mbrl_agents.model_dqn.heads import Emission, Heads, binary_cross_entropy, reward_nll
from mbrl_agents.model_dqn.weights import LossWeights
from mbrl_agents.model_dqn.world_model import Step


@dataclasses.dataclass(frozen=True)
class SimpleModel:
    """A model whose states are observations; see :class:`~mbrl_agents.model_dqn.world_model.WorldModel`.

    Attributes:
        emission: How the next observation is distributed.
        num_actions: Number of actions.
        hidden: Widths of the hidden layers of each head.
        activation: Their activation function.
        continuing: Whether the task never ends: nothing is predicted about that, and the continuation is 1.
    """

    emission: Emission
    num_actions: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "elu"
    continuing: bool = False

    num_codes = 0
    learns = True

    @property
    def num_features(self) -> int:
        return self.emission.codec.num_features

    @property
    def network(self) -> Heads:
        """Heads for reward mean, next observation and, in episodic tasks, the logit of termination."""
        ends = () if self.continuing else (1,)
        return Heads(self.hidden, (1, self.emission.num_outputs, *ends), self.activation)

    def init(self, key: jax.Array) -> Any:
        return self.network.init(key, jnp.zeros((1, self.num_features + self.num_actions)))["params"]

    def predict(self, params: Any, features: jax.Array, action: jax.Array) -> tuple[jax.Array, ...]:
        """Reward mean (n,), what is said of the next observation (n, o), logit of termination (n,) (in episodic tasks)."""
        inputs = jnp.concatenate([features, jax.nn.one_hot(action, self.num_actions)], axis=-1)
        reward, following, *ends = self.network.apply({"params": params}, inputs)
        return reward[:, 0], following, *(end[:, 0] for end in ends)

    def loss(self, params: Any, batch: Batch, key: jax.Array, weights: LossWeights) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Negative log-likelihood of rewards, ends, and next observations (but of those after an end)."""
        del key
        reward, following, *ends = self.predict(params, batch.observation, batch.action)
        goes_on = 1 - batch.terminated.astype(jnp.float32)
        parts = {
            "reward": reward_nll(reward, batch.reward).mean(),
            "observation": (goes_on * self.emission.nll(following, batch.next_observation)).mean(),
        }
        if ends:
            parts["termination"] = binary_cross_entropy(ends[0], 1 - goes_on).mean()
        return weights.total(parts), parts

    def start(self, params: Any, batch: Batch, key: jax.Array) -> jax.Array:
        """The observations."""
        del params, key
        return batch.observation

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """The observation itself."""
        del params, key
        return observation

    def read(self, state: jax.Array) -> jax.Array:
        """The observation itself."""
        return state

    def step(self, params: Any, state: jax.Array, action: jax.Array, key: jax.Array) -> Step:
        reward, following, *ends = self.predict(params, state, action)
        continuation = jax.nn.sigmoid(-ends[0]) if ends else jnp.ones_like(reward)
        return Step(self.emission.sample(following, key), reward, continuation)
