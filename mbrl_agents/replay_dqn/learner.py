"""The learner of replay DQN: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Hyperparameters, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.q_learning import Experience, QLearning
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now


class DQNState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the Q-network.
        target_params: Parameters of the target network.
        optimizer: State of the optimiser.
        hyper: Hyperparameters: ``gamma``, ``tau`` (the fraction of the way that the target network goes), ``adam``.
    """

    params: Any
    target_params: Any
    optimizer: Any
    hyper: Hyperparameters


@dataclasses.dataclass(frozen=True)
class DQNLearner(Learner):
    """Replay DQN's functions; the fields are what shapes the program.

    Attributes:
        codec: Reads observations.
        q: The Q-network and its learning.
    """

    codec: ObservationCodec
    q: QLearning

    def init(self, key: jax.Array, hyper: Hyperparameters) -> DQNState:
        """Fresh parameters; the target network starts as a copy."""
        params = self.q.init(key)
        return DQNState(params, jax.tree.map(jnp.copy, params), self.q.optimizer.init(params), jax.tree.map(jnp.float32, hyper))

    def act(self, state: DQNState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None) -> Acted:
        """Actions, int32 (n,), for observations of shape (n, …)."""
        return Acted(self.q.act(state.params, self.codec.features(observation), key, explore), carry)

    def q_values(self, state: DQNState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Action values, float32 (n, actions), of observations of shape (n, …); the key is not used."""
        del key
        return self.q.values(state.params, self.codec.features(observation))

    def update(self, state: DQNState, batch: Batch, key: jax.Array, now: Now) -> Updated:
        """One gradient step on a batch of replayed transitions; the key is not used."""
        del key
        experience = Experience(batch.observation, batch.action, batch.reward, batch.next_observation, batch.discount)
        return Updated(*self.q.update(state, experience, now.learning_rate))

    def update_target(self, state: DQNState) -> DQNState:
        """Moves the target network towards the network by the fraction τ."""
        return self.q.update_target(state)
