"""The part of every JAX agent that has to do with the device loop: its environments, its state, and what it may run on."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import jax.numpy as jnp
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from mbrl_agents.core import keys
from mbrl_agents.core.device_loop import DeviceLoop, Lanes, LoopState, Streams
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.sb3 import device_training
from mbrl_agents.sb3.saved_agent import SavedAgent
from mbrl_envs import BatchedEnv, FunctionalTask, functional_task


class DeviceLoopAgent(SavedAgent):
    """Keeps the device loop's environments (*lanes*), and gives its state away and takes it back."""

    device_loop: bool | None
    learner_state: Any
    _streams: Streams
    _calls: int
    _lanes: Lanes | None = None
    _lanes_task: FunctionalTask | None = None

    def _functional_task(self) -> FunctionalTask | None:
        """Dynamics and time limit for the device loop, or None if the host loop is to be used."""
        if self.device_loop is False:
            return None
        task = functional_task(self.env)
        by_steps = isinstance(self.train_freq, TrainFreq) and self.train_freq.unit == TrainFrequencyUnit.STEP
        if self.device_loop and (task is None or not by_steps):
            raise ValueError(
                "device_loop=True needs an environment with functional dynamics (mbrl/…, without wrappers that change it) and "
                f"a train_freq in steps; got {self.env} and {self.train_freq}"
            )
        return task if by_steps else None

    def _batched_env(self, task: FunctionalTask) -> BatchedEnv:
        return task.batched(self.n_envs)

    def _device_loop(self, task: FunctionalTask) -> DeviceLoop:
        own = self._own
        return DeviceLoop(own.learner, own.plan, own.replay, self._batched_env(task))

    def _start_lanes(self, task: FunctionalTask, reset: bool) -> None:
        """Makes the device loop's environments, or has them begin anew where SB3 would reset its own."""
        functions = device_training.lane_functions(self._batched_env(task))
        others = self._lanes is None or self._lanes_task != task
        if others or reset:
            self.memory.cut()
        if others:
            # An agent that has played already is not to play the same episodes again.
            stream = self._own._env_stream if self._calls == 0 else keys.fold_in(self._own._env_stream, self._calls)
            self._lanes = self._own._put(functions.start(keys.split(stream, self.n_envs)))
        elif reset:
            self._lanes = functions.restart(self._lanes)
        self._lanes_task = task

    def loop_state(self) -> LoopState:
        """The device loop's state, put together from the agent's parts."""
        assert self._lanes is not None
        own, memory = self._own, self.memory.state
        interval = jnp.int32(own.target_update_interval)
        return LoopState(self.learner_state, memory, self._lanes, self._streams, own.clock, interval)

    def adopt(self, state: LoopState) -> None:
        """Takes over the device loop's state; arrays given to a compiled chunk are gone, these are the ones that count."""
        self.learner_state, self._lanes, self._streams = state.learner, state.lanes, state.streams
        self.memory.state = state.replay
        self._calls, self._n_updates = int(state.clock.calls), int(state.clock.updates)

    def begin(self, task: FunctionalTask, total_timesteps: int) -> DeviceLoop:
        """Makes the agent ready for the device loop's chunks without :meth:`learn`, new or loaded; returns the loop.

        Args:
            task: What to learn in.
            total_timesteps: Where the training ends.
        """
        self._total_timesteps, self._num_timesteps_at_start, self.start_time = total_timesteps, 0, time.time_ns()
        if self.ep_info_buffer is None:
            self.ep_info_buffer = deque(maxlen=self._stats_window_size)
            self.ep_success_buffer = deque(maxlen=self._stats_window_size)
        self._start_lanes(task, reset=False)
        return self._device_loop(task)

    def forget_arrays(self) -> None:
        """Lets go of all arrays of the device loop's state, of which somebody else now has the only copy."""
        self.learner_state = self._lanes = self._streams = self.memory.state = None  # type: ignore[assignment]

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Sets the environment; see :meth:`stable_baselines3.common.base_class.BaseAlgorithm.set_env`."""
        if isinstance(env, VecEnv):
            ObservationCodec.of(env.observation_space).check_normalizer(unwrap_vec_normalize(env))
        super().set_env(env, force_reset)
        if force_reset:
            self._lanes = None
