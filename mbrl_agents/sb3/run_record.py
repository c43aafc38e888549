"""A run that is trained without an agent of its own, and saved as that agent would be."""

from __future__ import annotations

import io
import os
import time
from collections import deque
from typing import Any

import numpy as np

from mbrl_agents.core import files, keys
from mbrl_agents.core.chunks import new_run
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState, StepRecord
from mbrl_agents.core.slots import slot_functions
from mbrl_agents.sb3 import agent_file, device_training, persistence
from mbrl_agents.sb3.agent_base import AgentBase
from mbrl_envs import FunctionalTask, forks


class RunRecord:
    """A run of the device loop, and what is counted beside its arrays.

    Args:
        like: An agent with the run's arguments, but for the seed; it needs no networks. Runs may share one.
        task: What the run learns in.
        seed: Its seed.
        total_timesteps: Where its training ends.

    Attributes:
        program: Its program.
        run: Its arrays; None while somebody else has them.
        num_episodes: Episodes so far.
        episodes: The latest of them.
    """

    def __init__(self, like: AgentBase, task: FunctionalTask, seed: int, total_timesteps: int) -> None:
        forks.check()
        self._like, self._seed, self._total, self._began = like, seed, total_timesteps, time.time_ns()
        like._slots_task = task
        self.program: Program = like.program_in(task)
        self.run: RunState | None = None
        self.num_episodes, self.episodes = 0, deque[dict[str, Any]](maxlen=like._stats_window_size)

    def begin(self) -> None:
        """Makes the arrays of a new run."""
        like, program = self._like, self.program
        assert program.envs is not None
        key = keys.from_seed(self._seed)
        run = like._put(new_run(program, key, like._make_hyperparameters(), like.target_update_interval))
        start = slot_functions(program.envs).start
        self.run = run._replace(slots=like._put(start(run.keys.environments, run.clock.vector_steps)))

    def take_over(self, agent: AgentBase, task: FunctionalTask) -> None:
        """Goes on with the run of an agent, which was loaded."""
        device_training.start_environments(agent, task, reset=False)
        self.run, self.num_episodes = agent.run, agent._episode_num
        self.episodes.extend(agent.ep_info_buffer or ())

    @property
    def num_timesteps(self) -> int:
        """Transitions so far."""
        assert self.run is not None
        return int(self.run.clock.num_timesteps)

    def count(self, records: StepRecord) -> None:
        """Counts the episodes of a chunk of steps, as ``learn`` does; NumPy arrays (steps, slots)."""
        seconds = round((time.time_ns() - self._began) / 1e9, 6)
        for step, slot in zip(*np.nonzero(records.terminated | records.truncated), strict=True):
            total, length = records.episode_return[step, slot], records.episode_length[step, slot]
            self.episodes.append({"r": float(total), "l": int(length), "t": seconds})
            self.num_episodes += 1

    def save(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """As :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.save`."""
        assert self.run is not None
        progress = 1 - self.num_timesteps / self._total
        counted = persistence.Counted(self._seed, self.num_episodes, self._total, progress, self.episodes)
        agent_file.save(path, persistence.content(self._like, self.run, counted))

    def save_replay_buffer(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """As :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.save_replay_buffer`."""
        assert self.run is not None
        files.save_arrays(path, self.program.replay.to_arrays(self.run.memory))
