"""How well a network predicts in an environment: the score by which training is followed and runs are compared.

A score is that of :mod:`mbrl_agents.core.predictions`: minus the root mean square of V̂(t) − V(t), so that 0 is perfect. In
cue–reward tasks V is exact, the value that a perfect observer gives; elsewhere V(t) is the return that followed in the same
episode (bootstrapped by the network itself where the episode was cut), whose chance is part of the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import predictions
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
    played = predictions.play(
        env, lambda observation, step_key: learner.act_greedily(state, observation, step_key), key, num_episodes, num_steps
    )
    network, gamma = learner.network, state.hyper.gamma
    inputs = learner.codec.features(played.observations)
    values = network.value(state.params, network.cell.unroll(state.params, inputs), state.hyper.td.levels)
    if isinstance(env, ConditioningTask):
        wanted = exact_values(env, played.observations[:-1], gamma)
    else:
        wanted = played.returns(values, gamma)
    return played.scores(values[:-1], wanted)


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
    """Scores in whole episodes of any environment, under uniform actions from its own action space, float (num_episodes,)."""

    def act(observation: np.ndarray) -> np.ndarray:
        return np.array([env.action_space.sample() for _ in observation])

    def value(observations: np.ndarray) -> np.ndarray:
        return network.value(np.asarray(network.learner.codec.features(jnp.asarray(observations))))

    return predictions.host_scores(env, act, value, network.gamma, num_episodes)
