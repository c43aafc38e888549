"""How well linear values predict returns: the score by which runs are compared; and episodes of features, for the theory.

A score is that of :mod:`mbrl_agents.core.predictions`, beside the discounted return that followed (bootstrapped by V itself
where the episode was cut). The chance in returns is part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import predictions
from mbrl_agents.core.predictions import Played
from mbrl_agents.linear_td.learner import LinearTDLearner, LinearTDState
from mbrl_envs import FunctionalEnv

if TYPE_CHECKING:
    from mbrl_agents.linear_td.agent import LinearTD


def play(learner: LinearTDLearner, env: FunctionalEnv, key: jax.Array, num_episodes: int, num_steps: int) -> Played:
    """Episodes of the policy from reset, without time limit; a pure function.

    Args:
        learner: What has the policy.
        env: The dynamics.
        key: Random key, uint32 (2,).
        num_episodes: n.
        num_steps: T, steps of each episode.

    Returns:
        Observations (T + 1, n, …), rewards float32 (T, n), and whether episodes go on, bool (T + 1, n).
    """

    def act(observation: jax.Array, step_key: jax.Array) -> jax.Array:
        return learner.act_greedily(None, observation, step_key)  # type: ignore[arg-type]  # the policy is given

    return predictions.play(env, act, key, num_episodes, num_steps)


def host_play(env: VecEnv, act: Callable[[np.ndarray], np.ndarray], num_episodes: int, num_steps: int) -> Played:
    """Episodes from reset in any environments, as :func:`play`.

    Args:
        env: The environments; they are left in the middle of an episode.
        act: Function of observations (n, …) that gives the environments' actions.
        num_episodes: Number of episodes, rounded up to a multiple of the environments.
        num_steps: Steps of each.

    Raises:
        ValueError: An episode is cut off before so many steps.
    """
    rounds = [_host_round(env, act, num_steps) for _ in range(-(-num_episodes // env.num_envs))]
    return Played(*(jnp.concatenate(arrays, axis=1) for arrays in zip(*rounds, strict=True)))


def _host_round(env: VecEnv, act: Callable[[np.ndarray], np.ndarray], num_steps: int) -> list[np.ndarray]:
    """An episode of each environment: the arrays of :class:`Played`."""
    observation, alive = np.asarray(env.reset()), np.ones(env.num_envs, bool)
    observations, rewards, running = [observation], [], [alive]
    for t in range(1, num_steps + 1):
        following, reward, done, infos = env.step(act(observation))
        observation, ended = np.asarray(following), np.zeros_like(alive)
        last = observation.copy()
        for i in np.flatnonzero(alive & done):
            ended[i] = not infos[i].get("TimeLimit.truncated", False)
            last[i] = infos[i]["terminal_observation"]
            if not ended[i] and t < num_steps:
                raise ValueError(f"episode_steps must be at most {t}, where the environment cuts episodes off, got {num_steps}")
        rewards.append(np.where(alive, reward, 0))
        alive = alive & ~ended
        observations.append(last)
        running.append(alive)
    return [np.stack(arrays) for arrays in (observations, rewards, running)]


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
