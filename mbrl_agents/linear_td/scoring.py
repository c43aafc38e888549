"""How well linear values predict returns: the score by which runs are compared; and episodes of features, for the theory.

A score is minus the root mean square, over the steps of an episode, of V(o_t) minus the discounted return that followed
(bootstrapped by V itself where the episode was cut), so that more is better. The chance in returns is part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.common import evaluation
from mbrl_agents.linear_td.learner import LinearTDLearner, LinearTDState
from mbrl_agents.value_rnn.targets import td_targets
from mbrl_envs import FunctionalEnv

if TYPE_CHECKING:
    from mbrl_agents.linear_td.agent import LinearTD


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


def play(learner: LinearTDLearner, env: FunctionalEnv, key: jax.Array, num_episodes: int, num_steps: int) -> Played:
    """Episodes of the policy from reset, without time limit; a pure function."""
    env_key, act_key = jax.random.split(key)

    def step(episodes: evaluation.Episodes, step_key: jax.Array) -> tuple[evaluation.Episodes, Any]:
        observation = evaluation.observe(env, episodes)
        after = evaluation.advance(env, episodes, learner.act_greedily(None, observation, step_key))  # type: ignore[arg-type]
        return after, (observation, after.total - episodes.total, episodes.running)

    keys = jax.random.split(act_key, num_steps)
    last, (observations, rewards, running) = lax.scan(step, evaluation.begin(env, env_key, num_episodes), keys)
    observations = jnp.concatenate([observations, evaluation.observe(env, last)[None]])
    return Played(observations, rewards, jnp.concatenate([running, last.running[None]]))


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
    cut = jnp.arange(num_steps)[:, None] == num_steps - 1
    goes_on = played.running[1:]
    wanted = td_targets(values[1:], played.rewards, goes_on, cut | ~goes_on, state.hyper.gamma, jnp.float32(1))
    squares = jnp.where(played.running[:-1], jnp.square(values[:-1] - wanted), 0)
    return -jnp.sqrt(squares.sum(axis=0) / played.running[:-1].sum(axis=0))


def host_scores(agent: LinearTD, env: VecEnv, num_episodes: int) -> np.ndarray:
    """Scores in whole episodes of any environment.

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
        observation, reward, done, infos = env.step(agent.predict(observation)[0])  # type: ignore[assignment]
        for i, info in enumerate(infos):
            rewards[i].append(float(reward[i]))
            seen[i].append(np.asarray(info["terminal_observation"]) if done[i] else observation[i])
            if done[i]:
                if len(found[i]) < wanted[i]:
                    truncated = bool(info.get("TimeLimit.truncated", False))
                    found[i].append(_episode_score(agent, np.stack(seen[i]), rewards[i], truncated))
                seen[i], rewards[i] = [observation[i]], []
    return np.concatenate(found)


def _episode_score(agent: LinearTD, observations: np.ndarray, rewards: list[float], truncated: bool) -> float:
    values = agent.value(observations)
    wanted, following = np.zeros(len(rewards)), float(values[-1]) if truncated else 0.0
    for t in reversed(range(len(rewards))):
        wanted[t] = following = rewards[t] + agent.gamma * following
    return -float(np.sqrt(np.mean(np.square(values[:-1] - wanted))))
