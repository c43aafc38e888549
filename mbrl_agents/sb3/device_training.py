"""``learn()`` on the device loop: chunks of steps, and what the host does between them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EventCallback,
    EveryNTimesteps,
)

from mbrl_agents.core import chunks
from mbrl_agents.core.chunks import Chunk, Pace
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState, StepRecord
from mbrl_agents.core.slots import slot_functions
from mbrl_agents.sb3 import episode_records
from mbrl_agents.sb3.agent_base import AgentBase
from mbrl_agents.sb3.callback_locals import DeviceLoopValues
from mbrl_envs import FunctionalTask


def start_environments(agent: AgentBase, task: FunctionalTask, reset: bool) -> Program:
    """Makes the run's environments, or has them begin anew where SB3 would reset its own; returns the program."""
    program = agent.program_in(task)
    assert program.envs is not None
    functions = slot_functions(program.envs)
    others = agent.run.slots is None or agent._slots_task != task
    if others or reset:
        agent._begin_episodes()
    if others:
        run = agent.run
        agent.change_run(slots=agent._put(functions.start(run.keys.environments, run.clock.vector_steps)))
    elif reset:
        agent.change_run(slots=functions.restart(agent.run.slots))
    agent._slots_task = task
    return program


def learn(
    agent: AgentBase, task: FunctionalTask, total_timesteps: int, callback: BaseCallback, log_interval: int | None
) -> None:
    """Drives an agent's run until ``agent.num_timesteps`` reaches the total or a callback stops it."""
    num_envs = agent.n_envs
    callback.on_training_start(DeviceLoopValues(locals(), self=agent, env=agent.env, replay_buffer=agent.memory), globals())
    pace, keep_on = Pace(), True
    while keep_on and agent.num_timesteps < total_timesteps:
        callback.on_rollout_start()
        if agent.run.slots is None:  # a callback has seeded the agent anew
            start_environments(agent, task, reset=False)
        program = agent.program_in(task)  # every time, as callbacks may set arguments
        left = -(-(total_timesteps - agent.num_timesteps) // num_envs)
        most = min(left, steps_until_due(callback, agent.num_timesteps, num_envs))
        began = time.perf_counter()
        chunk = run_chunk(agent, program, most, total_timesteps, pace.steps)
        seconds = time.perf_counter() - began
        pace.note(len(chunk.records.reward), seconds)
        try:
            keep_on = _report(agent, chunk, seconds, callback, log_interval, total_timesteps)
        finally:
            agent._told_timesteps = None
        callback.on_rollout_end()
        agent._interrupt.raise_if_pressed()
    callback.on_training_end()


def run_chunk(agent: AgentBase, program: Program, most: int, total_timesteps: int, pace: int | None = None) -> Chunk:
    """Runs at least one and at most ``most`` steps, about ``pace`` of them, with the trainings that are due."""

    def advanced(state: RunState) -> tuple[RunState, Chunk]:
        part = chunks.next_part(program, state, most, most if pace is None else pace)
        tables = agent.schedules.tables(agent.num_timesteps, total_timesteps, agent.n_envs, program.max_chunk, part.num)
        return chunks.on_host(part, *chunks.run_part(chunks.compiled(program), part, state, tables))

    return agent.advance_run(program, advanced)


def _count_episode(agent: AgentBase, info: dict[str, Any]) -> None:
    agent._episode_num += 1
    agent._update_info_buffer([info], np.ones(1, bool))


def steps_until_due(callback: BaseCallback, num_timesteps: int, num_envs: int) -> int:
    """Steps (of all environments together) until one of SB3's callbacks next acts on the model."""
    due = [2**31 - 1]
    if isinstance(callback, CallbackList):
        due += [steps_until_due(child, num_timesteps, num_envs) for child in callback.callbacks]
    if isinstance(callback, (EvalCallback, CheckpointCallback)):
        frequency = callback.eval_freq if isinstance(callback, EvalCallback) else callback.save_freq
        if frequency > 0:
            due.append(frequency - callback.n_calls % frequency)
    elif isinstance(callback, EveryNTimesteps):
        due.append(max(-(-(callback.n_steps - (num_timesteps - callback.last_time_trigger)) // num_envs), 1))
    elif isinstance(callback, EventCallback) and callback.callback is not None:
        due.append(steps_until_due(callback.callback, num_timesteps, num_envs))
    return min(due)


def _report(
    agent: AgentBase,
    chunk: Chunk,
    seconds: float,
    callback: BaseCallback,
    log_interval: int | None,
    total_timesteps: int,
) -> bool:
    """Tells callbacks, statistics and loggers of a chunk's steps, which took so many seconds; returns whether to go on."""
    records = chunk.records
    num, num_envs = records.reward.shape
    done = records.terminated | records.truncated
    keep_on, episodes_due = True, False
    failure: BaseException | None = None
    before, told = agent.num_timesteps - num * num_envs, vars(agent)
    for i in range(num):
        told["_told_timesteps"] = before + (i + 1) * num_envs
        agent._update_current_progress_remaining(agent.num_timesteps, total_timesteps)
        infos = [_info(agent, records, i, slot) if done[i, slot] else {} for slot in range(num_envs)]
        for slot in np.flatnonzero(done[i]):
            episode = infos[slot]["episode"]
            episode_records.keep(agent.env, int(slot), episode, seconds / num * episode["l"])
        # One that has asked for the end, or failed, is not called again, though the chunk's other steps have happened.
        if keep_on:
            rewards, dones, actions = records.reward[i].copy(), done[i].copy(), agent.actions.to_env(records.action[i].copy())
            callback.update_locals({"rewards": rewards, "dones": dones, "infos": infos, "actions": actions})
            try:
                keep_on = callback.on_step()
            except BaseException as error:
                keep_on, failure = False, error
        for slot in np.flatnonzero(done[i]):
            _count_episode(agent, infos[slot])
            episodes_due |= log_interval is not None and agent._episode_num % log_interval == 0
    if failure is not None:
        raise failure
    _log(agent, chunk, episodes_due or (log_interval is not None and not done.any()))
    return keep_on


def _info(agent: AgentBase, records: StepRecord, step: int, slot: int) -> dict[str, Any]:
    seconds = (time.time_ns() - agent.start_time) / 1e9
    return DeviceLoopValues(
        {
            "TimeLimit.truncated": bool(records.truncated[step, slot] and not records.terminated[step, slot]),
            "episode": {
                "r": float(records.episode_return[step, slot]),
                "l": int(records.episode_length[step, slot]),
                "t": round(seconds, 6),
            },
        }
    )


def _log(agent: AgentBase, chunk: Chunk, dump: bool) -> None:
    agent._record_exploration()
    agent.logger.record("rollout/reward_per_step", float(chunk.records.reward.mean()))
    agent.logger.record("train/learning_rate", agent.lr_schedule(agent._current_progress_remaining))
    for name, values in chunk.metrics.items():  # may name the learning rate, where the learner itself changes it
        if len(values):
            agent.logger.record(f"train/{name}", float(values.mean()))
    agent.logger.record("train/n_updates", agent._n_updates, exclude="tensorboard")
    if dump:
        agent.dump_logs()
