"""The simple model: predicts the next observation, the reward and the end, each from observation and action."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.core.networks import MLP
from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.outcomes import OutcomeModel
from mbrl_agents.model_dqn.weights import ModelHyperparameters
from mbrl_agents.model_dqn.world_model import Outcome


@dataclasses.dataclass(frozen=True)
class SimpleModel:
    """A model whose states are observations; see :class:`~mbrl_agents.model_dqn.world_model.WorldModel`.

    Attributes:
        emission: How the next observation is distributed.
        num_actions: Number of actions.
        hidden: Widths of the hidden layers of each network.
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
    def dynamics(self) -> MLP:
        """p(o′|o, a)."""
        return MLP(self.hidden, self.emission.num_outputs, self.activation)

    @property
    def outcomes(self) -> OutcomeModel:
        """Reward and end."""
        return OutcomeModel(self.hidden, self.activation, self.continuing)

    def init(self, key: jax.Array) -> Any:
        dynamics_key, outcome_key = jax.random.split(key)
        inputs = jnp.zeros((1, self.num_features + self.num_actions))
        return {
            "dynamics": self.dynamics.init(dynamics_key, inputs)["params"],
            "outcomes": self.outcomes.init(outcome_key, inputs),
        }

    def _inputs(self, features: jax.Array, action: jax.Array) -> jax.Array:
        return jnp.concatenate([features, jax.nn.one_hot(action, self.num_actions, dtype=features.dtype)], axis=-1)

    def predict(self, params: Any, features: jax.Array, action: jax.Array) -> jax.Array:
        """What is said of the next observation, (n, o), after observations and actions."""
        return self.dynamics.apply({"params": params["dynamics"]}, self._inputs(features, action))  # type: ignore[return-value]

    def loss(
        self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The negative log-likelihood L(θ) = −mean [w_r log p(r|o, a) + w_d log p(d|o, a) + w_o (1 − d) log p(o′|o, a)].

        Next observations after an end d do not count. The weights w are those of ``hyper``; the parts are without them.
        """
        del key
        next_output = self.predict(params, batch.observation, batch.action)
        non_terminal = 1 - batch.terminated.astype(jnp.float32)
        inputs = self._inputs(batch.observation, batch.action)
        parts = self.outcomes.losses(params["outcomes"], inputs, batch.reward, batch.terminated)
        parts["observation"] = (non_terminal * self.emission.nll(next_output, batch.next_observation)).mean()
        return hyper.weights.total(parts), parts

    def start(self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """The observations."""
        del params, key, hyper
        return batch.observation

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """The observation itself."""
        del params, key, hyper
        return observation

    def read(self, state: jax.Array) -> jax.Array:
        """The observation itself."""
        return state

    def step(self, params: Any, state: jax.Array, action: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        """Observations drawn from what is said of them."""
        return self.emission.sample(self.predict(params, state, action), key), None

    def outcome(self, params: Any, features: jax.Array, action: jax.Array, known: None) -> Outcome:
        del known
        return self.outcomes.expect(params["outcomes"], self._inputs(features, action))
