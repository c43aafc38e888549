"""The perfect model: the environment's own dynamics."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.weights import ModelHyperparameters
from mbrl_agents.model_dqn.world_model import Outcome
from mbrl_envs import FunctionalEnv, draws


@dataclasses.dataclass(frozen=True)
class PerfectModel:
    """Rolls out stored environment states in the true environment; see :class:`~mbrl_agents.model_dqn.world_model.WorldModel`.

    Attributes:
        env: The dynamics; None for an agent that only acts.
        codec: Reads its observations.
    """

    env: FunctionalEnv | None
    codec: ObservationCodec

    num_codes = 0
    learns = False

    @property
    def num_features(self) -> int:
        return self.codec.num_features

    def init(self, key: jax.Array) -> Any:
        """There are no parameters."""
        del key
        return {}

    def loss(
        self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        raise NotImplementedError("the perfect model does not learn")

    def start(self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters) -> Any:
        """The environment's states, as they were stored."""
        del params, key, hyper
        return batch.env_state

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """The observation itself."""
        del params, key, hyper
        return observation

    def read(self, state: Any) -> jax.Array:
        """What the environment shows."""
        assert self.env is not None
        return self.codec.features(jax.vmap(self.env.observe)(state))

    def step(self, params: Any, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, Outcome]:
        """One step of the environment, which has its outcome already."""
        del params
        assert self.env is not None
        keys = jax.vmap(draws.fold_in, in_axes=(None, 0))(key, jnp.arange(len(action), dtype=jnp.uint32))
        out = jax.vmap(self.env.step)(keys, state, action)
        return out.state, Outcome(out.reward, 1 - out.terminated.astype(jnp.float32))

    def outcome(self, params: Any, features: jax.Array, action: jax.Array, known: Outcome) -> Outcome:
        """What the environment said; after a termination the continuation, and so the weight, is 0."""
        del params, features, action
        return known
