"""How well values predict returns: episodes to judge them by, on the device and in any environment.

A score is minus the root mean square, over the steps of an episode, of V(t) minus what it should be, so that more is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import evaluation
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.returns import lambda_returns
from mbrl_envs import FunctionalEnv


class Played(NamedTuple):
    """Episodes side by side, of T steps.

    Attributes:
        observations: (T + 1, n, …).
        rewards: float32 (T, n); 0 after an episode's end.
        running: Whether an episode had not ended before each observation, bool (T + 1, n).
    """

    observations: jax.Array
    rewards: jax.Array
    running: jax.Array

    def cut(self) -> jax.Array:
        """Whether each step was the last of its episode, ended or cut off, bool (T, n)."""
        steps = len(self.rewards)
        return (jnp.arange(steps)[:, None] == steps - 1) | ~self.running[1:]

    def returns(self, values: jax.Array, gamma: jax.Array) -> jax.Array:
        """The discounted returns that followed each step, bootstrapped by ``values`` (T + 1, n) at a cut, float32 (T, n)."""
        return lambda_returns(self.rewards, gamma * self.running[1:], values[1:], jnp.where(self.cut(), 0.0, 1.0))

    def scores(self, values: jax.Array, wanted: jax.Array) -> jax.Array:
        """Scores of values (T, n), beside what they should be, float32 (n,)."""
        counts = self.running[:-1]
        squares = jnp.where(counts, jnp.square(values - wanted), 0)
        return -jnp.sqrt(squares.sum(axis=0) / counts.sum(axis=0))


def play(
    env: FunctionalEnv,
    act: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    num_episodes: int,
    num_steps: int,
) -> Played:
    """Episodes from reset, without time limit; a pure function.

    Args:
        env: The dynamics.
        act: Function of (observations, key) that gives actions as learners have them.
        key: Raw key, uint32 (2,).
        num_episodes: Number of episodes, side by side.
        num_steps: Steps of each.
    """
    env_key, act_key = jax.random.split(key)
    actions = ActionCodec.of(env.action_space)

    def step(episodes: evaluation.Episodes, step_key: jax.Array) -> tuple[evaluation.Episodes, Any]:
        observation = evaluation.observe(env, episodes)
        after = evaluation.advance(env, episodes, actions.to_env(act(observation, step_key)))
        return after, (observation, after.total - episodes.total, episodes.running)

    keys = jax.random.split(act_key, num_steps)
    last, (observations, rewards, running) = lax.scan(step, evaluation.begin(env, env_key, num_episodes), keys)
    observations = jnp.concatenate([observations, evaluation.observe(env, last)[None]])
    return Played(observations, rewards, jnp.concatenate([running, last.running[None]]))


def host_scores(
    env: VecEnv,
    act: Callable[[np.ndarray], np.ndarray],
    value: Callable[[np.ndarray], np.ndarray],
    gamma: float,
    num_episodes: int,
) -> np.ndarray:
    """Scores in whole episodes of any environment, beside the returns that followed.

    Args:
        env: The environments.
        act: Function of observations (n, …) that gives actions.
        value: Function that gives values (T + 1,) of an episode's observations (T + 1, …).
        gamma: Discount factor.
        num_episodes: Number of episodes.

    Returns:
        float (num_episodes,).
    """
    observation = np.asarray(env.reset())
    seen: list[list[np.ndarray]] = [[each] for each in observation]
    rewards: list[list[float]] = [[] for _ in seen]
    found: list[list[float]] = [[] for _ in seen]
    # So many of each environment: the first ones to end of all together would be the short ones.
    wanted = [(num_episodes + i) // len(seen) for i in range(len(seen))]
    while any(len(own) < number for own, number in zip(found, wanted, strict=True)):
        next_observation, reward, done, infos = env.step(act(observation))
        observation = np.asarray(next_observation)
        for i, info in enumerate(infos):
            rewards[i].append(float(reward[i]))
            if not done[i]:
                seen[i].append(observation[i])
                continue
            if len(found[i]) < wanted[i]:
                values = value(np.stack([*seen[i], np.asarray(info["terminal_observation"])]))
                found[i].append(_episode_score(values, rewards[i], gamma, bool(info.get("TimeLimit.truncated", False))))
            seen[i], rewards[i] = [observation[i]], []
    return np.concatenate(found)


def _episode_score(values: np.ndarray, rewards: list[float], gamma: float, truncated: bool) -> float:
    """The score of one episode, bootstrapped by the values themselves where it was cut."""
    wanted, next_return = np.zeros(len(rewards)), float(values[-1]) if truncated else 0.0
    for t in reversed(range(len(rewards))):
        wanted[t] = next_return = rewards[t] + gamma * next_return
    return -float(np.sqrt(np.mean(np.square(values[:-1] - wanted))))
