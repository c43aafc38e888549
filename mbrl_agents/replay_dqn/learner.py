"""The learner of replay DQN: pure functions that know neither environment nor loop.

Mnih et al. 2015 (arXiv 1312.5602) with the choices of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222):
softmax exploration, squared TD error, AdamW. Double Q-learning: van Hasselt, Guez & Silver 2016 (arXiv 1509.06461).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.common import exploration, optimizer
from mbrl_agents.common.exploration import Exploration
from mbrl_agents.common.networks import MLP
from mbrl_agents.common.observations import ObservationCodec
from mbrl_agents.common.optimizer import AdamHyperparameters
from mbrl_agents.common.replay import Batch


class DQNHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32 scalars.

    Attributes:
        gamma: Discount factor.
        tau: Fraction of the way that the target network goes to the network at each target update (1 copies it).
        adam: Numbers of the optimiser.
    """

    gamma: Any
    tau: Any
    adam: AdamHyperparameters


class DQNState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the Q-network.
        target_params: Parameters of the target network.
        optimizer: State of the optimiser.
        hyper: Hyperparameters.
    """

    params: Any
    target_params: Any
    optimizer: Any
    hyper: DQNHyperparameters


@dataclasses.dataclass(frozen=True)
class DQNLearner:
    """Replay DQN's functions; the fields are what shapes the program.

    Attributes:
        codec: Reads observations.
        num_actions: Number of actions.
        hidden: Widths of the Q-network's hidden layers.
        activation: Its activation function.
        double_q: Whether the network chooses the action that the target network values.
        explore: ``"softmax"`` or ``"epsilon_greedy"``.
        clip: Whether gradients are clipped.
    """

    codec: ObservationCodec
    num_actions: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "elu"
    double_q: bool = False
    explore: str = "softmax"
    clip: bool = False

    @property
    def network(self) -> MLP:
        """The Q-network."""
        return MLP(self.hidden, self.num_actions, self.activation)

    def init(self, key: jax.Array, hyper: DQNHyperparameters) -> DQNState:
        """Fresh parameters; the target network starts as a copy."""
        params = self.network.init(key, jnp.zeros((1, self.codec.num_features)))["params"]
        hyper = jax.tree.map(jnp.float32, hyper)
        return DQNState(params, jax.tree.map(jnp.copy, params), optimizer.init(params), hyper)

    def values(self, params: Any, features: jax.Array) -> jax.Array:
        """Action values (…, actions) of features (…, f)."""
        return self.network.apply({"params": params}, features)  # type: ignore[return-value]

    def act(self, state: DQNState, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Exploring actions, int32 (n,), for observations of shape (n, …)."""
        values = self.values(state.params, self.codec.features(observation))
        return exploration.select(values, key, self.explore, explore)

    def act_greedily(self, state: DQNState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Greedy actions, int32 (n,); the key is not used."""
        del key
        return exploration.greedy(self.values(state.params, self.codec.features(observation)))

    def update(self, state: DQNState, batch: Batch, key: jax.Array, learning_rate: jax.Array) -> tuple[DQNState, dict]:
        """One gradient step on the mean squared TD error of a batch; the key is not used.

        The target is r + γⁿ·max_a Q⁻(s′, a), or r + γⁿ·Q⁻(s′, argmax_a Q(s′, a)) with double Q-learning.

        Returns:
            New state, and ``{"loss", "q_mean"}``, float32 scalars.
        """
        del key
        next_values = self.values(state.target_params, batch.next_observation)
        if self.double_q:
            best = exploration.greedy(self.values(state.params, batch.next_observation))
            next_value = jnp.take_along_axis(next_values, best[:, None], axis=-1)[:, 0]
        else:
            next_value = next_values.max(axis=-1)
        target = batch.reward + batch.discount * next_value
        taken = jax.nn.one_hot(batch.action, self.num_actions)

        def loss_function(params: Any) -> tuple[jax.Array, jax.Array]:
            value = (self.values(params, batch.observation) * taken).sum(axis=-1)
            return jnp.square(value - target).mean(), value.mean()

        (loss, q_mean), grads = jax.value_and_grad(loss_function, has_aux=True)(state.params)
        params, optimizer_state = optimizer.apply(
            state.params, grads, state.optimizer, learning_rate, state.hyper.adam, clip=self.clip
        )
        return state._replace(params=params, optimizer=optimizer_state), {"loss": loss, "q_mean": q_mean}

    def update_target(self, state: DQNState) -> DQNState:
        """Moves the target network towards the network by the fraction τ."""
        tau = state.hyper.tau

        def mix(target: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(tau >= 1, new, target + tau * (new - target))

        return state._replace(target_params=jax.tree.map(mix, state.target_params, state.params))
