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

from mbrl_agents.core import schedules
from mbrl_agents.core.compilation import KEPT_PROGRAMS, FirstCallAlone, jit, plain_jit
from mbrl_agents.core.device_loop import DeviceLoop, LoopState, StepRecord, restart_lanes, start_lanes
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.schedules import Now
from mbrl_agents.sb3 import episode_records
from mbrl_agents.sb3.callback_locals import DeviceLoopValues
from mbrl_envs import BatchedEnv, FunctionalTask

if TYPE_CHECKING:
    from mbrl_agents.sb3.jax_agent import JaxAgent

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
        plain_jit(functools.partial(start_lanes, envs)), plain_jit(functools.partial(restart_lanes, envs), donate_argnums=0)
    )


class Programs(NamedTuple):
    """A device loop's compiled programs; ``train`` takes the schedules of a chunk, and the step that counts."""

    collect: Any
    cycles: Any
    train: Any


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def compiled(loop: DeviceLoop) -> Programs:
    """The compiled programs of a device loop; they give up the buffers of the state that goes in."""
    return Programs(*(FirstCallAlone(jit(function, donate_argnums=0)) for function in program_functions(loop)))


def program_functions(loop: DeviceLoop) -> Programs:
    """The programs as functions, not compiled yet."""

    def train(state: LoopState, schedules_: Now, index: jax.Array) -> tuple[LoopState, dict]:
        state, metrics = loop.train(state, jax.tree.map(lambda rows: rows[index], schedules_))
        return state, {name: value[None] for name, value in metrics.items()}

    return Programs(loop.collect, loop.cycles, train)


def learn(
    agent: JaxAgent, task: FunctionalTask, total_timesteps: int, callback: BaseCallback, log_interval: int | None
) -> None:
    """Drives an agent's device loop until ``agent.num_timesteps`` reaches the total or a callback stops it."""
    num_envs = agent.n_envs
    callback.on_training_start(DeviceLoopValues(locals(), self=agent, env=agent.env, replay_buffer=agent.memory), globals())
    rate_limit, keep_on = FIRST_CHUNK, True
    while keep_on and agent.num_timesteps < total_timesteps:
        callback.on_rollout_start()
        if agent._lanes is None:  # a callback has seeded the agent anew
            agent._start_lanes(task, reset=False)
        loop = agent._device_loop(task)  # every time, as callbacks may set arguments
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


class Part(NamedTuple):
    """What one call of a compiled program does.

    Attributes:
        num: Steps of all environments together.
        trainings: Trainings.
        cycles: Whether these are whole cycles of ``train_freq`` steps and a training; else steps, then perhaps a training.
    """

    num: int
    trainings: int
    cycles: bool


def next_part(loop: DeviceLoop, calls: int, timesteps: int, most: int) -> Part:
    """How a run goes on for at least one and at most ``most`` steps; a function of where it is, so equal for runs in step.

    Args:
        loop: The program.
        calls: Steps of all environments together so far.
        timesteps: Transitions so far (since learning last began at 0).
        most: Most steps.
    """
    plan, num_envs = loop.plan, loop.envs.num_envs
    into_cycle = calls % plan.train_freq
    # Steps to the first cycle's end at which there is enough to learn from.
    ends = -(-(plan.learning_starts + 1 - timesteps) // num_envs)
    first_training = max(-(-(into_cycle + max(ends, 1)) // plan.train_freq), 1) * plan.train_freq - into_cycle
    if plan.gradient_steps == 0:
        first_training = most + 1
    whole = into_cycle == 0 and first_training == plan.train_freq
    if whole and most >= plan.train_freq:
        cycles = most // plan.train_freq
        return Part(cycles * plan.train_freq, cycles, True)
    num = min(most, first_training)
    return Part(num, int(num == first_training), False)


def run_part(programs: Programs, part: Part, state: LoopState, schedules_: Now) -> tuple[LoopState, StepRecord, dict[str, Any]]:
    """Calls the programs for a part of a run; records and metrics have leading axes of ``max_chunk`` rows or fewer."""
    if part.cycles:
        return programs.cycles(state, schedules_, part.trainings)
    state, records = programs.collect(state, schedules_, part.num)
    if not part.trainings:
        return state, records, {}
    state, metrics = programs.train(state, schedules_, part.num - 1)
    return state, records, metrics


def run_chunk(agent: JaxAgent, loop: DeviceLoop, num: int, total_timesteps: int) -> tuple[StepRecord, dict[str, np.ndarray]]:
    """Runs at least one and at most ``num`` steps, with the trainings that are due.

    Returns:
        Records of the steps, and metrics of the trainings, as NumPy arrays with leading axes of these.
    """
    part = next_part(loop, agent._calls, agent.num_timesteps, num)
    tables = schedule_tables(agent, loop, total_timesteps, part.num)
    with agent.arrays_lock:
        state, records, metrics = run_part(compiled(loop), part, agent.loop_state(), tables)
        agent.adopt(state)
    return (
        jax.tree.map(lambda leaf: np.asarray(leaf)[: part.num], records),
        {name: np.asarray(values)[: part.trainings] for name, values in metrics.items()},
    )


def count_chunk(agent: JaxAgent, records: StepRecord, total_timesteps: int) -> None:
    """Counts a chunk's steps and episodes, as :func:`learn` does, without telling anybody.

    Args:
        agent: The agent.
        records: NumPy arrays of shape (steps, lanes).
        total_timesteps: Where the training ends.
    """
    num, num_envs = records.reward.shape
    agent.num_timesteps += num * num_envs
    agent._update_current_progress_remaining(agent.num_timesteps, total_timesteps)
    done = records.terminated | records.truncated
    for step, lane in zip(*np.nonzero(done), strict=True):
        _count_episode(agent, _info(agent, records, int(step), int(lane)))


def _count_episode(agent: JaxAgent, info: dict[str, Any]) -> None:
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


def schedule_tables(agent: JaxAgent, loop: DeviceLoop, total_timesteps: int, used: int | None = None) -> Now:
    """Values for the next ``max_chunk`` steps: exploration as of a step's beginning, step size as of its end.

    Args:
        agent: The agent.
        loop: Its program.
        total_timesteps: Where the training ends.
        used: How many of these steps will be taken; None for all.

    Raises:
        TypeError, ValueError: A schedule gives a value for one of them that is out of range.
    """
    timesteps = agent.num_timesteps + agent.n_envs * np.arange(loop.max_chunk + 1)
    progress = np.maximum(1 - timesteps / total_timesteps, 0)
    return Now(
        Exploration(
            schedules.table(agent._temperature_schedule, progress[:-1], "temperature", used),
            schedules.table(agent._epsilon_schedule, progress[:-1], "epsilon", used),
        ),
        schedules.table(agent.lr_schedule, progress[1:], "learning_rate", used),
    )


def _report(
    agent: JaxAgent,
    records: StepRecord,
    metrics: dict,
    callback: BaseCallback,
    log_interval: int | None,
    total_timesteps: int,
) -> bool:
    """Tells callbacks, statistics and loggers of a chunk's steps; returns whether to go on."""
    num, num_envs = records.reward.shape
    done = records.terminated | records.truncated
    keep_on, episodes_due = True, False
    failure: BaseException | None = None
    for i in range(num):
        agent.num_timesteps += num_envs
        agent._update_current_progress_remaining(agent.num_timesteps, total_timesteps)
        infos = [_info(agent, records, i, lane) if done[i, lane] else {} for lane in range(num_envs)]
        for lane in np.flatnonzero(done[i]):
            episode_records.keep(agent.env, int(lane), infos[lane]["episode"])
        # One that has asked for the end, or failed, is not called again, though the chunk's other steps have happened.
        if keep_on:
            rewards, dones, actions = records.reward[i].copy(), done[i].copy(), agent.actions.to_env(records.action[i].copy())
            callback.update_locals({"rewards": rewards, "dones": dones, "infos": infos, "actions": actions})
            try:
                keep_on = callback.on_step()
            except BaseException as error:
                keep_on, failure = False, error
        for lane in np.flatnonzero(done[i]):
            _count_episode(agent, infos[lane])
            episodes_due |= log_interval is not None and agent._episode_num % log_interval == 0
    if failure is not None:
        raise failure
    _log(agent, records, metrics, episodes_due or (log_interval is not None and not done.any()))
    return keep_on


def _info(agent: JaxAgent, records: StepRecord, step: int, lane: int) -> dict[str, Any]:
    seconds = (time.time_ns() - agent.start_time) / 1e9
    return DeviceLoopValues(
        {
            "TimeLimit.truncated": bool(records.truncated[step, lane] and not records.terminated[step, lane]),
            "episode": {
                "r": float(records.episode_return[step, lane]),
                "l": int(records.episode_length[step, lane]),
                "t": round(seconds, 6),
            },
        }
    )


def _log(agent: JaxAgent, records: StepRecord, metrics: dict, dump: bool) -> None:
    agent._record_exploration()
    agent.logger.record("rollout/reward_per_step", float(records.reward.mean()))
    agent.logger.record("train/learning_rate", agent.lr_schedule(agent._current_progress_remaining))
    for name, values in metrics.items():  # may name the learning rate, where the learner itself changes it
        if len(values):
            agent.logger.record(f"train/{name}", float(values.mean()))
    agent.logger.record("train/n_updates", agent._n_updates, exclude="tensorboard")
    if dump:
        agent.dump_logs()
