"""The learner of the model-based agents: Q-learning from what a world model imagines.

*The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222). An update draws real transitions, improves the model on
them, rolls the improved model out from where they began, with the policy as it is, and takes a Q-learning step on what was
imagined. Only the world model differs between the agents.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core import optimizer
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Hyperparameters, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.q_learning import Experience, QLearning
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.model_dqn.world_model import Imagined, WorldModel, imagine


class ModelDQNState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the Q-network.
        target_params: Parameters of the target network.
        optimizer: State of the Q-network's optimiser.
        model: Parameters of the world model.
        model_optimizer: State of its optimiser.
        hyper: Hyperparameters: ``gamma``, ``tau``, ``adam`` (of both optimisers), ``model_learning_rate``, ``model``.
    """

    params: Any
    target_params: Any
    optimizer: Any
    model: Any
    model_optimizer: Any
    hyper: Hyperparameters


@dataclasses.dataclass(frozen=True)
class ModelDQNLearner(Learner):
    """A model-based agent's functions; the fields are what shapes the program.

    Attributes:
        codec: Reads observations.
        q: The Q-network and its learning.
        model: The world model.
        rollout_length: Imagined steps from each start.
        batch_size: Transitions that the model learns from.
        rollout_batch_size: Starts of roll-outs.
        separate_rollout_batch: Whether these are other transitions than those that the model learns from. Both are parts of one
            draw: of independent ones, so that the last are as good as drawn afresh.
    """

    codec: ObservationCodec
    q: QLearning
    model: WorldModel
    rollout_length: int = 10
    batch_size: int = 32
    rollout_batch_size: int = 32
    separate_rollout_batch: bool = False

    @property
    def num_drawn(self) -> int:
        """Transitions that an update has to be given."""
        if self.separate_rollout_batch:
            return self.batch_size + self.rollout_batch_size
        return max(self.batch_size, self.rollout_batch_size)

    def init(self, key: jax.Array, hyper: Hyperparameters) -> ModelDQNState:
        """Fresh parameters; the target network starts as a copy."""
        q_key, model_key = jax.random.split(key)
        params, model = self.q.init(q_key), self.model.init(model_key)
        target, hyper = jax.tree.map(jnp.copy, params), jax.tree.map(jnp.float32, hyper)
        model_optimizer = optimizer.init(model) if self.model.learns else ()
        return ModelDQNState(params, target, self.q.optimizer.init(params), model, model_optimizer, hyper)

    def _perceive(self, state: ModelDQNState, observation: jax.Array, key: jax.Array) -> jax.Array:
        return self.model.perceive(state.model, self.codec.features(observation), key, state.hyper.model)

    def act(
        self, state: ModelDQNState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None
    ) -> Acted:
        """Actions, int32 (n,), for observations of shape (n, …); latent models draw what they perceive, greedy or not."""
        perceive_key, act_key = (key, key) if explore is None else jax.random.split(key)
        return Acted(self.q.act(state.params, self._perceive(state, observation, perceive_key), act_key, explore), carry)

    def q_values(self, state: ModelDQNState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Action values, float32 (n, actions), of observations of shape (n, …); latent models draw what they perceive."""
        return self.q.values(state.params, self._perceive(state, observation, key))

    def update(self, state: ModelDQNState, batch: Batch, key: jax.Array, now: Now) -> Updated:
        """One gradient step of the model, and one of the Q-network on what the model then imagines."""
        model_key, start_key, imagine_key = jax.random.split(key, 3)
        metrics: dict[str, jax.Array] = {}
        if self.model.learns:
            state, metrics = self.update_model(state, _rows(batch, 0, self.batch_size), model_key)
        begin = self.batch_size if self.separate_rollout_batch else 0
        starts = _rows(batch, begin, self.rollout_batch_size)
        start = self.model.start(state.model, starts, start_key, state.hyper.model)

        def choose(features: jax.Array, act_key: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            return self.q.act_with_aux(state.params, features, act_key, now.explore)

        imagined = imagine(self.model, state.model, start, choose, self.rollout_length, imagine_key)
        state, q_metrics = self.q.update(state, self.experience(imagined, state.hyper.gamma), now.learning_rate)
        return Updated(state, q_metrics | metrics)

    def update_model(self, state: ModelDQNState, batch: Batch, key: jax.Array) -> tuple[ModelDQNState, dict]:
        """One gradient step of the model; metrics ``model_loss`` and its parts, ``model_…``."""
        (loss, parts), grads = jax.value_and_grad(self.model.loss, has_aux=True)(state.model, batch, key, state.hyper.model)
        metrics = {"model_loss": loss} | {f"model_{name}": part for name, part in parts.items()}
        return optimizer.learn_model(state, grads, clip=self.q.clip), metrics

    def experience(self, imagined: Imagined, gamma: jax.Array) -> Experience:
        """Imagined steps as transitions: discounts γ·c, weights the running products of the c before."""

        def flat(array: jax.Array) -> jax.Array:
            return array.reshape(-1, *array.shape[2:])

        return Experience(
            features=flat(imagined.features[:-1]),
            action=flat(imagined.action),
            reward=flat(imagined.reward),
            next_features=flat(imagined.features[1:]),
            discount=flat(gamma * imagined.continuation),
            weight=flat(imagined.weights()),
            products=jax.tree.map(flat, imagined.aux),
        )

    def update_target(self, state: ModelDQNState) -> ModelDQNState:
        """Moves the target network towards the network by the fraction τ."""
        return self.q.update_target(state)


def _rows(batch: Batch, begin: int, num: int) -> Batch:
    return jax.tree.map(lambda leaf: leaf[begin : begin + num], batch)
