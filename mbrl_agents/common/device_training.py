"""``learn()`` on the device loop: chunks of steps, and what the host does between them."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EventCallback,
    EveryNTimesteps,
)

from mbrl_agents.common import schedules
from mbrl_agents.common.compilation import jit
from mbrl_agents.common.device_loop import DeviceLoop, Schedules, StepRecord, restart_lanes, start_lanes
from mbrl_agents.common.exploration import Exploration
from mbrl_envs import BatchedEnv, FunctionalTask

if TYPE_CHECKING:
    from mbrl_agents.common.jax_agent import JaxAgent

SECONDS_PER_CHUNK = 0.5  # how long Ctrl-C and the progress bar may have to wait
FIRST_CHUNK = 50


class LaneFunctions(NamedTuple):
    """Compiled functions that start environments and begin their next episodes."""

    start: Any
    restart: Any


@functools.lru_cache(maxsize=32)
def lane_functions(envs: BatchedEnv) -> LaneFunctions:
    """The compiled functions for a batch of environments."""
    return LaneFunctions(
        jax.jit(functools.partial(start_lanes, envs)), jax.jit(functools.partial(restart_lanes, envs), donate_argnums=0)
    )


class _Programs(NamedTuple):
    """A device loop's compiled programs."""

    collect: Any
    cycles: Any
    train: Any


@functools.lru_cache(maxsize=16)
def _compiled(loop: DeviceLoop) -> _Programs:
    return _Programs(*(jit(function, donate_argnums=0) for function in (loop.collect, loop.cycles, loop.train)))


def learn(agent: JaxAgent, task: FunctionalTask, total_timesteps: int, callback: BaseCallback, log_interval: int) -> None:
    """Drives an agent's device loop until ``agent.num_timesteps`` reaches the total or a callback stops it."""
    loop = agent._device_loop(task)
    num_envs = agent.n_envs
    callback.on_training_start(locals(), globals())
    rate_limit, keep_on = FIRST_CHUNK, True
    while keep_on and agent.num_timesteps < total_timesteps:
        callback.on_rollout_start()
        left = -(-(total_timesteps - agent.num_timesteps) // num_envs)
        num = min(loop.max_chunk, rate_limit, left, steps_until_due(callback, agent.num_timesteps, num_envs))
        began = time.perf_counter()
        records, metrics = run_chunk(agent, loop, num, total_timesteps)
        seconds = time.perf_counter() - began
        keep_on = _report(agent, records, metrics, callback, log_interval, total_timesteps)
        callback.on_rollout_end()
        agent._interrupt.raise_if_pressed()
        done = len(records.reward)
        rate_limit = int(np.clip(done * SECONDS_PER_CHUNK / max(seconds, 1e-9), 1, 4 * done + 1))
    callback.on_training_end()


def run_chunk(agent: JaxAgent, loop: DeviceLoop, num: int, total_timesteps: int) -> tuple[StepRecord, dict]:
    """Runs at least one and at most ``num`` steps, with the trainings that are due.

    Returns:
        Records of the steps, and metrics of the trainings, as NumPy arrays with leading axes of these.
    """
    programs, plan, num_envs = _compiled(loop), loop.plan, agent.n_envs
    schedules_ = _schedules(agent, loop.max_chunk, total_timesteps)
    into_cycle = agent._calls % plan.train_freq
    # Steps to the first cycle's end at which there is enough to learn from.
    ends = -(-(plan.learning_starts + 1 - agent.num_timesteps) // num_envs)
    first_training = max(-(-(into_cycle + max(ends, 1)) // plan.train_freq), 1) * plan.train_freq - into_cycle
    if plan.gradient_steps == 0:
        first_training = num + 1
    whole = into_cycle == 0 and first_training == plan.train_freq
    if whole and num >= plan.train_freq:
        cycles = num // plan.train_freq
        num = cycles * plan.train_freq
        state, records, metrics = programs.cycles(agent.loop_state(), schedules_, cycles)
    else:
        cycles = 0
        num = min(num, first_training)
        state, records = programs.collect(agent.loop_state(), schedules_, num)
        metrics = {}
        if num == first_training:
            cycles = 1
            state, row = programs.train(state, schedules_.learning_rate[num - 1])
            metrics = {name: value[None] for name, value in row.items()}
    agent.adopt(state)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:num], records), {k: np.asarray(v)[:cycles] for k, v in metrics.items()}


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


def _schedules(agent: JaxAgent, num: int, total_timesteps: int) -> Schedules:
    """Values for the next ``num`` steps: exploration as of a step's beginning, step size as of its end."""
    timesteps = agent.num_timesteps + agent.n_envs * np.arange(num + 1)
    progress = np.maximum(1 - timesteps / total_timesteps, 0)
    return Schedules(
        Exploration(
            schedules.table(agent._temperature_schedule, progress[:-1]),
            schedules.table(agent._epsilon_schedule, progress[:-1]),
        ),
        schedules.table(agent.lr_schedule, progress[1:]),  # type: ignore[arg-type]
    )


def _report(
    agent: JaxAgent,
    records: StepRecord,
    metrics: dict,
    callback: BaseCallback,
    log_interval: int,
    total_timesteps: int,
) -> bool:
    """Tells callbacks, statistics and loggers of a chunk's steps; returns whether to go on."""
    num, num_envs = records.reward.shape
    done = records.terminated | records.truncated
    keep_on, episodes_due = True, False
    for i in range(num):
        agent.num_timesteps += num_envs
        agent._update_current_progress_remaining(agent.num_timesteps, total_timesteps)
        infos = [_info(agent, records, i, lane) if done[i, lane] else {} for lane in range(num_envs)]
        rewards, dones, actions = records.reward[i].copy(), done[i].copy(), records.action[i].copy()
        callback.update_locals({"self": agent, "rewards": rewards, "dones": dones, "infos": infos, "actions": actions})
        # A callback that has asked for the end is not called again, though the chunk's other steps have happened.
        keep_on = keep_on and callback.on_step()
        agent._update_info_buffer(infos, dones)
        for _ in range(int(dones.sum())):
            agent._episode_num += 1
            episodes_due |= agent._episode_num % log_interval == 0
    _log(agent, records, metrics, episodes_due or not done.any())
    return keep_on


def _info(agent: JaxAgent, records: StepRecord, step: int, lane: int) -> dict[str, Any]:
    seconds = (time.time_ns() - agent.start_time) / 1e9
    return {
        "TimeLimit.truncated": bool(records.truncated[step, lane] and not records.terminated[step, lane]),
        "episode": {
            "r": float(records.episode_return[step, lane]),
            "l": int(records.episode_length[step, lane]),
            "t": round(seconds, 6),
        },
    }


def _log(agent: JaxAgent, records: StepRecord, metrics: dict, dump: bool) -> None:
    agent._record_exploration()
    agent.logger.record("rollout/reward_per_step", float(records.reward.mean()))
    for name, values in metrics.items():
        if len(values):
            agent.logger.record(f"train/{name}", float(values.mean()))
    agent.logger.record("train/n_updates", agent._n_updates, exclude="tensorboard")
    agent.logger.record("train/learning_rate", agent.lr_schedule(agent._current_progress_remaining))
    if dump:
        agent.dump_logs()
