"""Batch TD(0) with linear values as a learner for both loops, and the memory that hands it what was just collected."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core import predictions
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Learner, Updated
from mbrl_agents.core.predictions import Played
from mbrl_agents.core.replay import Replay, ReplayState
from mbrl_agents.core.returns import td_target
from mbrl_agents.core.schedules import Now
from mbrl_agents.linear_td.policies import Policy
from mbrl_agents.td_dynamics.linear_features import Features
from mbrl_envs import FunctionalEnv


class LinearTDHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32.

    Attributes:
        gamma: Discount factor.
        exponent: χ of the step sizes η (1 + n / delay)^(−χ) after n updates; 0 for those that are given from outside.
        delay: The delay.
    """

    gamma: Any
    exponent: Any = 0.0
    delay: Any = 1.0


class LinearTDState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: ``{"weights": w}``, float32 (N,).
        hyper: Hyperparameters.
        updates: Updates made, int32.
    """

    params: dict[str, jax.Array]
    hyper: LinearTDHyperparameters
    updates: Any


class Rollout(NamedTuple):
    """The transitions of an update, n of them.

    Attributes:
        observation: Observations (n, …).
        reward: float32 (n,).
        next_observation: Observations after the step, before any automatic reset, (n, …).
        non_terminal: 0 where the step ended the episode for good, else 1; float32 (n,).
    """

    observation: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    non_terminal: jax.Array


@dataclasses.dataclass(frozen=True)
class RolloutBuffer(Replay):
    """A memory as long as the steps between two updates, all of which an update gets, each once."""

    def sample(  # type: ignore[override]  # all transitions instead of some
        self, state: ReplayState, key: jax.Array, batch_size: int, gamma: jax.Array
    ) -> Rollout:
        """All transitions."""
        del key, batch_size, gamma
        stored = jax.tree.map(lambda leaf: leaf.reshape(self.rows * self.lanes, *leaf.shape[2:]), state.stored)
        return Rollout(
            self._read(stored.observation),
            stored.reward,
            self._read(stored.next_observation),
            (~stored.terminated).astype(jnp.float32),
        )

    def _read(self, stored: jax.Array) -> jax.Array:
        """Observations as the environment gives them."""
        if self.codec.kind == "index":
            return stored + self.codec.start
        return (self.codec.decode(stored) if self.codec.kind == "bits" else stored).reshape(-1, *self.codec.shape)


@dataclasses.dataclass(frozen=True)
class LinearTDLearner(Learner):
    """Functions of linear TD; the fields are what shapes the program.

    Attributes:
        features: ψ.
        policy: The policy whose value is learned.
        start: Smallest value of discrete observations; features count from 0.
        batch_size: B, episodes of an update.
    """

    features: Features
    policy: Policy
    start: int
    batch_size: int

    def init(self, key: jax.Array, hyper: LinearTDHyperparameters) -> LinearTDState:
        """Weights of 0; nothing is random."""
        del key
        hyper = jax.tree.map(lambda each: jnp.asarray(each, jnp.float32), hyper)
        return LinearTDState({"weights": jnp.zeros(self.features.num_features, jnp.float32)}, hyper, jnp.int32(0))

    def read(self, observation: jax.Array) -> jax.Array:
        """ψ of observations as the environment gives them."""
        return self.features(observation - self.start if self.features.discrete else observation)

    def value(self, state: LinearTDState, observation: jax.Array) -> jax.Array:
        """V, float32 (…)."""
        return self.read(observation) @ state.params["weights"]

    def act_by_policy(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """The policy's actions, int32 (n,)."""
        return self.policy(observation - self.start if self.features.discrete else observation, key)

    def act(
        self, state: LinearTDState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None
    ) -> Acted:
        """The policy's actions, greedy or not: the policy is given."""
        del state, explore
        return Acted(self.act_by_policy(observation, key), carry)

    def update(self, state: LinearTDState, batch: Rollout, key: jax.Array, now: Now) -> Updated:
        """One step of batch TD(0), w ← w + (η/B) Σ_t ψ_t δ_t over all transitions with TD errors δ_t; the key is not used."""
        del key
        weights, features, hyper = state.params["weights"], self.read(batch.observation), state.hyper
        next_values = self.read(batch.next_observation) @ weights
        errors = td_target(batch.reward, hyper.gamma * batch.non_terminal, next_values) - features @ weights
        learning_rate = now.learning_rate * (1 + state.updates / hyper.delay) ** -hyper.exponent
        weights = weights + learning_rate / self.batch_size * (errors @ features)
        metrics = {"loss": jnp.mean(jnp.square(errors)), "learning_rate": learning_rate}
        return Updated(state._replace(params={"weights": weights}, updates=state.updates + 1), metrics)

    def play(self, env: FunctionalEnv, key: jax.Array, num_episodes: int, num_steps: int) -> Played:
        """Episodes of the policy from reset, without time limit.

        Args:
            env: The dynamics.
            key: Random key, uint32 (2,).
            num_episodes: n.
            num_steps: T, steps of each episode.

        Returns:
            Observations (T + 1, n, …), rewards float32 (T, n), and whether episodes go on, bool (T + 1, n).
        """
        return predictions.play(env, self.act_by_policy, key, num_episodes, num_steps)

    def evaluate(
        self, env: FunctionalEnv, state: LinearTDState, key: jax.Array, explore: Exploration, num_episodes: int, num_steps: int
    ) -> dict[str, jax.Array]:
        """How well values predict the discounted return that followed, bootstrapped by V itself where an episode was cut.

        Scores are those of :mod:`mbrl_agents.core.predictions`. The chance in returns is part of them.
        """
        del explore
        played = self.play(env, key, num_episodes, num_steps)
        values = self.value(state, played.observations)
        return {"score": played.scores(values[:-1], played.returns(values, state.hyper.gamma))}
