"""How well a network predicts in an environment: the score by which training is followed and runs are compared.

A score is minus the root mean square of V̂(t) − V(t) over the steps of an episode, so that more is better and 0 is perfect. In
cue–reward tasks V is exact, the value that a perfect observer gives; elsewhere V(t) is the return that followed in the same
episode (bootstrapped by the network itself where the episode was cut), whose chance is part of the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.common import evaluation
from mbrl_agents.value_rnn import targets
from mbrl_agents.value_rnn.learner import ValueRNNLearner, ValueRNNState
from mbrl_envs import FunctionalEnv
from mbrl_envs.conditioning import ConditioningTask, state_values
from mbrl_envs.conditioning.filtering import Filter

if TYPE_CHECKING:
    from mbrl_agents.value_rnn.agent import ValueRNN


def device_scores(
    learner: ValueRNNLearner, env: FunctionalEnv, state: ValueRNNState, key: jax.Array, num_episodes: int, num_steps: int
) -> jax.Array:
    """Scores in episodes of at most ``num_steps`` steps after reset, under uniform actions; a pure function.

    Args:
        learner: The network's functions.
        env: The dynamics.
        state: What it has learned.
        key: Raw key, uint32 (2,).
        num_episodes: Number of episodes, side by side.
        num_steps: Steps of each.

    Returns:
        float32 (num_episodes,).
    """
    env_key, act_key = jax.random.split(key)

    def step(episodes: evaluation.Episodes, step_key: jax.Array) -> tuple[evaluation.Episodes, Any]:
        observation = evaluation.observe(env, episodes)
        after = evaluation.advance(env, episodes, learner.act_greedily(state, observation, step_key))
        return after, (observation, after.total - episodes.total, episodes.running, after.running)

    keys = jax.random.split(act_key, num_steps)
    last, (observations, rewards, running, goes_on) = lax.scan(step, evaluation.begin(env, env_key, num_episodes), keys)
    network, levels = learner.network, state.hyper.td.levels
    inputs = learner.codec.features(jnp.concatenate([observations, evaluation.observe(env, last)[None]]))
    values = network.value(state.params, network.cell.unroll(state.params, inputs), levels)
    if isinstance(env, ConditioningTask):
        wanted = exact_values(env, observations, state.hyper.gamma)
    else:
        cut = jnp.arange(num_steps)[:, None] == num_steps - 1
        wanted = targets.td_targets(values[1:], rewards, goes_on, cut | ~goes_on, state.hyper.gamma, jnp.float32(1))
    squares = jnp.where(running, jnp.square(values[:-1] - wanted), 0)
    return -jnp.sqrt(squares.sum(axis=0) / running.sum(axis=0))


def exact_values(env: ConditioningTask, observations: jax.Array, gamma: jax.Array) -> jax.Array:
    """What a perfect observer expects after each step, float32 (T, B): :func:`mbrl_envs.conditioning.values` on the device."""
    # γ may differ between runs of one program: the values of states are solved for on the host, when it runs.
    shape = jax.ShapeDtypeStruct((env.chain.num_states,), jnp.float32)
    of_states = jax.pure_callback(lambda given: _state_values(env, given), shape, gamma, vmap_method="sequential")
    return Filter(env).beliefs(observations) @ of_states


def _state_values(env: ConditioningTask, gamma: Any) -> np.ndarray:
    # A γ of 1 is refused in continuing tasks (ValueRNN); one just below may have been rounded to it.
    return state_values(env, min(float(gamma), 1.0 - 1e-6 if env.continuing else 1.0)).astype(np.float32)


def host_scores(network: ValueRNN, env: VecEnv, num_episodes: int) -> np.ndarray:
    """Scores in whole episodes of any environment, under uniform actions from the environment's own action space.

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
        following, reward, done, infos = env.step(np.array([env.action_space.sample() for _ in seen]))
        observation = np.asarray(following)
        for i, info in enumerate(infos):
            rewards[i].append(float(reward[i]))
            if not done[i]:
                seen[i].append(observation[i])
                continue
            truncated = bool(info.get("TimeLimit.truncated", False))
            if len(found[i]) < wanted[i]:
                found[i].append(
                    _episode_score(network, [*seen[i], np.asarray(info["terminal_observation"])], rewards[i], truncated)
                )
            seen[i], rewards[i] = [observation[i]], []
    return np.concatenate(found)


def _episode_score(network: ValueRNN, observations: list[np.ndarray], rewards: list[float], truncated: bool) -> float:
    features = np.asarray(network.learner.codec.features(jnp.asarray(np.stack(observations))))
    values = network.value(features)
    wanted, following = np.zeros(len(rewards)), float(values[-1]) if truncated else 0.0
    for t in reversed(range(len(rewards))):
        wanted[t] = following = rewards[t] + network.gamma * following
    return -float(np.sqrt(np.mean(np.square(values[:-1] - wanted))))
