"""How well linear values predict returns: the score by which runs are compared; and episodes of features, for the theory.

A score is that of :mod:`mbrl_agents.common.predictions`, beside the discounted return that followed (bootstrapped by V itself
where the episode was cut). The chance in returns is part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.common import predictions
from mbrl_agents.common.predictions import Played
from mbrl_agents.linear_td.learner import LinearTDLearner, LinearTDState
from mbrl_envs import FunctionalEnv

if TYPE_CHECKING:
    from mbrl_agents.linear_td.agent import LinearTD


def play(learner: LinearTDLearner, env: FunctionalEnv, key: jax.Array, num_episodes: int, num_steps: int) -> Played:
    """Episodes of the policy from reset, without time limit; a pure function."""

    def act(observation: jax.Array, step_key: jax.Array) -> jax.Array:
        return learner.act_greedily(None, observation, step_key)  # type: ignore[arg-type]  # the policy is given

    return predictions.play(env, act, key, num_episodes, num_steps)


def device_scores(
    learner: LinearTDLearner, env: FunctionalEnv, state: LinearTDState, key: jax.Array, num_episodes: int, num_steps: int
) -> jax.Array:
    """Scores in episodes of at most ``num_steps`` steps after reset; a pure function.

    Args:
        learner: The agent's functions.
        env: The dynamics.
        state: What it has learned.
        key: Raw key, uint32 (2,).
        num_episodes: Number of episodes, side by side.
        num_steps: Steps of each.

    Returns:
        float32 (num_episodes,).
    """
    played = play(learner, env, key, num_episodes, num_steps)
    values = learner.value(state, played.observations)
    return played.scores(values[:-1], played.returns(values, state.hyper.gamma))


def host_scores(agent: LinearTD, env: VecEnv, num_episodes: int) -> np.ndarray:
    """Scores in whole episodes of any environment, float (num_episodes,)."""
    return predictions.host_scores(
        env, lambda observation: agent.predict(observation)[0], agent.value, agent.gamma, num_episodes
    )
