"""``learn()`` on the host loop: Stable-Baselines3's own, with the learner's compiled functions."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.type_aliases import TrainFreq

from mbrl_agents.core.compilation import jit, plain_jit
from mbrl_agents.core.device_loop import Learner, TrainingPlan, choose_action, train, update_keys
from mbrl_agents.core.replay import Replay
from mbrl_agents.core.schedules import Now

if TYPE_CHECKING:
    from mbrl_agents.sb3.jax_agent import JaxAgent


class HostFunctions:
    """A learner's compiled functions for the host loop."""

    def __init__(self, learner: Learner, plan: TrainingPlan, replay: Replay) -> None:
        self.choose = jit(functools.partial(choose_action, learner, plan, replay.actions))
        self.train = jit(functools.partial(train, learner, plan, replay), donate_argnums=0)
        self.update = jit(learner.update, donate_argnums=0)
        self.update_target = jit(learner.update_target)
        self.act = jit(learner.act)
        self.act_greedily = jit(learner.act_greedily)


@functools.lru_cache(maxsize=32)
def host_functions(learner: Learner, plan: TrainingPlan, replay: Replay) -> HostFunctions:
    """The compiled functions of a learner, made once."""
    return HostFunctions(learner, plan, replay)


@functools.lru_cache(maxsize=32)
def compiled_init(learner: Learner) -> Any:
    """A learner's compiled ``init``."""
    return plain_jit(learner.init)


def learn(agent: JaxAgent, total_timesteps: int, callback: Any, log_interval: int | None) -> None:
    """SB3's loop; its parts are those of :meth:`OffPolicyAlgorithm.learn`."""
    callback.on_training_start(locals(), globals())
    assert agent.env is not None
    assert isinstance(agent.train_freq, TrainFreq)
    while agent.num_timesteps < total_timesteps:
        rollout = agent.collect_rollouts(
            agent.env,
            callback=callback,
            train_freq=agent.train_freq,
            replay_buffer=agent.replay_buffer,
            learning_starts=agent.learning_starts,
            log_interval=log_interval,
        )
        if not rollout.continue_training:
            break
        if agent.num_timesteps > agent.learning_starts:
            steps = agent.gradient_steps if agent.gradient_steps >= 0 else rollout.episode_timesteps
            if steps > 0:
                agent.train(steps, agent.batch_size)
        agent._interrupt.raise_if_pressed()
    callback.on_training_end()


def take_steps(agent: JaxAgent, gradient_steps: int, batch_size: int, now: Now) -> dict[str, Any]:
    """Gradient steps on batches from the replay memory; returns the metrics of the last one."""
    usual = batch_size == agent.batch_size
    learner, plan = (agent.learner, agent.plan) if usual else agent._of_batch_size(batch_size)
    if agent._vec_normalize_env is not None:
        return _take_normalized_steps(agent, learner, plan, gradient_steps, now)
    # A rollout in episodes may ask for any number; the compiled training is one of `plan.gradient_steps`.
    plan = dataclasses.replace(plan, gradient_steps=gradient_steps)
    functions = host_functions(learner, plan, agent.replay)
    updates = np.int32(agent._n_updates)
    agent.learner_state, metrics = functions.train(agent.learner_state, agent.memory.state, agent._streams, updates, now)
    agent._n_updates += gradient_steps
    return metrics


def _take_normalized_steps(
    agent: JaxAgent, learner: Learner, plan: TrainingPlan, gradient_steps: int, now: Now
) -> dict[str, Any]:
    """The same, with observations and rewards normalised by a ``VecNormalize`` after they are drawn."""
    assert agent._vec_normalize_env is not None
    normalizer, batch_size, metrics = agent._vec_normalize_env, plan.batch_size, {}
    functions = host_functions(learner, plan, agent.replay)
    shape = (batch_size, *agent.observation_space.shape)  # type: ignore[misc]
    for _ in range(gradient_steps):
        sample_key, update_key = update_keys(agent._streams, agent._n_updates)
        batch = agent.memory.sample(batch_size, sample_key, agent.gamma)
        before, after = (
            np.asarray(normalizer.normalize_obs(np.array(each).reshape(shape)), np.float32).reshape(batch_size, -1)
            for each in (batch.observation, batch.next_observation)
        )
        reward = normalizer.normalize_reward(np.array(batch.reward)).astype(np.float32)
        arrays = (jnp.asarray(each) for each in (before, after, reward))
        batch = batch._replace(**dict(zip(("observation", "next_observation", "reward"), arrays, strict=True)))
        agent.learner_state, metrics = functions.update(agent.learner_state, batch, update_key, now)
        agent._n_updates += 1
    return metrics
