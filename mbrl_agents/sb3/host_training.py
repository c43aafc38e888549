"""``learn()`` on the host loop: Stable-Baselines3's own, with the learner's compiled functions."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.type_aliases import TrainFreq

from mbrl_agents.core.compilation import jit
from mbrl_agents.core.learner import Learner, begin_anew
from mbrl_agents.core.program import Program, TrainingPlan
from mbrl_agents.core.run import RunState
from mbrl_agents.core.schedules import Now
from mbrl_agents.sb3.agent_base import AgentBase


class HostFunctions:
    """A program's compiled functions for the host loop.

    They are called in every step, and every array that they are given or give back costs time. So a training is given the
    buffers of the learner, to write into (a call that cannot be made leaves them as they are), and gives back a memory only if
    it has changed it.
    """

    def __init__(self, program: Program) -> None:
        learner, changes = program.learner, program.replay.changes_when_drawn()

        def gradient_steps(learner: Any, memory: Any, *more: Any) -> tuple[Any, Any, dict]:
            learner, memory, metrics = program.gradient_steps(learner, memory, *more)
            return learner, memory if changes else None, metrics

        self._number = program.plan.gradient_steps
        self._gradient_steps = jit(gradient_steps, donate_argnums=(0, 1) if changes else 0)
        self.choose = jit(program.choose)
        self.update = jit(learner.update, donate_argnums=0)
        self.update_target = jit(learner.update_target)
        self.act = jit(learner.act)
        self.begin_anew = jit(functools.partial(begin_anew, learner))

    def train(self, state: RunState, now: Now) -> tuple[RunState, dict]:
        """:meth:`~mbrl_agents.core.program.Program.train`; the clock stays on the host, where it is read without waiting."""
        updates = state.clock.updates
        learner, memory, metrics = self._gradient_steps(state.learner, state.memory, state.keys, updates, now)
        clock = state.clock._replace(updates=np.int32(updates + self._number))
        return state._replace(learner=learner, memory=state.memory if memory is None else memory, clock=clock), metrics


@functools.lru_cache(maxsize=32)
def host_functions(program: Program) -> HostFunctions:
    """The compiled functions of a program, made once."""
    return HostFunctions(program)


def learn(agent: AgentBase, total_timesteps: int, callback: Any, log_interval: int | None) -> None:
    """SB3's loop; its parts are those of :meth:`OffPolicyAlgorithm.learn`."""
    callback.on_training_start(locals(), globals())
    assert agent.env is not None
    assert isinstance(agent.train_freq, TrainFreq)
    while agent.num_timesteps < total_timesteps:
        rollout = agent.collect_rollouts(
            agent.env,
            callback=callback,
            train_freq=agent.train_freq,
            replay_buffer=agent.memory,  # type: ignore[arg-type]  # has what the loop asks of one
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


def store_tuples(
    agent: AgentBase,
    action: np.ndarray,
    new_obs: tuple[Any, ...],
    reward: np.ndarray,
    dones: np.ndarray,
    infos: list[dict[str, Any]],
) -> None:
    """``OffPolicyAlgorithm._store_transition`` for observations that are tuples, which SB3 does not know."""
    next_obs = tuple(np.array(part) for part in new_obs)
    for i in np.flatnonzero(dones):
        for part, last in zip(next_obs, infos[i].get("terminal_observation", ()), strict=False):
            part[i] = last
    if agent._vec_normalize_env is not None:  # of rewards: it refuses tuples of observations
        reward = agent._vec_normalize_env.get_original_reward()
    agent.memory.add(agent._last_obs, next_obs, action, reward, dones, infos)
    agent._last_obs = new_obs  # type: ignore[assignment]


def take_steps(agent: AgentBase, gradient_steps: int, batch_size: int, now: Now) -> dict[str, Any]:
    """Gradient steps on batches from the replay memory; returns the metrics of the last one."""
    usual = batch_size == agent.batch_size
    learner, plan = (agent.learner, agent.plan) if usual else agent._of_batch_size(batch_size)
    if agent._vec_normalize_env is not None:
        return _take_normalized_steps(agent, learner, plan, gradient_steps, now)
    # A rollout in episodes may ask for any number; the compiled training is one of `plan.gradient_steps`.
    program = Program(learner, dataclasses.replace(plan, gradient_steps=gradient_steps), agent.replay)
    return agent.advance_run(program, host_functions(program).train, now)


def _joined(observation: Any, number: int) -> np.ndarray:
    """Features of observations whose choices are ones among zeros already, float32 (number, f)."""
    parts = list(observation.values()) if isinstance(observation, dict) else [observation]
    return np.concatenate([np.asarray(part, np.float32).reshape(number, -1) for part in parts], axis=-1)


def _take_normalized_steps(
    agent: AgentBase, learner: Learner, plan: TrainingPlan, gradient_steps: int, now: Now
) -> dict[str, Any]:
    """The same, with observations and rewards normalised by a ``VecNormalize`` after they are drawn."""
    assert agent._vec_normalize_env is not None
    normalizer, batch_size, metrics = agent._vec_normalize_env, plan.batch_size, {}
    functions = host_functions(Program(learner, plan, agent.replay))
    codec = agent.replay.codec
    for _ in range(gradient_steps):
        run = agent.run
        sample_key, update_key = run.keys.of_update(run.clock.updates)
        batch = agent.memory.sample(batch_size, sample_key, agent.gamma)
        before, after = (
            _joined(normalizer.normalize_obs(codec.split(np.array(each))), batch_size)
            for each in (batch.observation, batch.next_observation)
        )
        reward = normalizer.normalize_reward(np.array(batch.reward)).astype(np.float32)
        arrays = (jnp.asarray(each) for each in (before, after, reward))
        batch = batch._replace(**dict(zip(("observation", "next_observation", "reward"), arrays, strict=True)))
        updated = functions.update(run.learner, batch, update_key, now)
        agent.change_run(learner=updated.state)
        if updated.priorities is not None:
            agent.memory.update_priorities(batch, updated.priorities)
        metrics = updated.metrics
        agent._n_updates += 1
    return metrics
