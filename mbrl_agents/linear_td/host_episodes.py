"""Episodes of a policy that is no JAX function, for the theory of their features."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core.predictions import Played


def host_play(env: VecEnv, act: Callable[[np.ndarray], np.ndarray], num_episodes: int, num_steps: int) -> Played:
    """Episodes from reset in any environments; as those of the learner's ``play``.

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
