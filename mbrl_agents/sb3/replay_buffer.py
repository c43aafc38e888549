"""The replay memory as the host sees it: the attributes and methods of SB3's ``ReplayBuffer`` around arrays on the device."""

from __future__ import annotations

import io
import os
import threading
from typing import Any, Protocol

import jax
import numpy as np

from mbrl_agents.core import files
from mbrl_agents.core.checks import finite
from mbrl_agents.core.chunks import memory_functions, whole_memory
from mbrl_agents.core.replay import Batch, Replay, ReplayState, Transitions
from mbrl_agents.core.run import RunState


class Owner(Protocol):
    """Who has a run, an agent mostly."""

    replay: Replay
    run: RunState
    arrays_lock: threading.RLock

    def change_run(self, **parts: Any) -> None:
        """Puts other parts in the place of some of the run's."""


class DeviceReplayBuffer:
    """The memory of a run; all arrays are the run's.

    Args:
        owner: Who has the run.

    Attributes:
        extras: What the learner says of the transition that is added next; see :class:`~mbrl_agents.core.learner.Acted`.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.extras: Any = ()

    @property
    def replay(self) -> Replay:
        """The memory's layout."""
        return self._owner.replay

    @property
    def state(self) -> ReplayState:
        """The memory's arrays, those of the run."""
        return self._owner.run.memory

    def _set(self, state: ReplayState) -> None:
        self._owner.change_run(memory=state)

    @property
    def buffer_size(self) -> int:
        """Rows per environment."""
        return self.replay.rows

    @property
    def n_envs(self) -> int:
        """Number of environments."""
        return self.replay.lanes

    @property
    def pos(self) -> int:
        """Row that is written next."""
        return int(self.state.position)

    @property
    def full(self) -> bool:
        """Whether every row has been written."""
        return self.size() == self.replay.rows

    def size(self) -> int:
        """Number of rows written."""
        return int(self.state.size)

    def reset(self) -> None:
        """Forgets everything."""
        self._set(memory_functions(self.replay).init())

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Stores a transition of every environment.

        Args:
            obs: Observations before the step, (n_envs, …), or dictionaries or tuples of such.
            next_obs: Observations after it, before any automatic reset, (n_envs, …).
            action: Actions as learners have them: integers (n_envs,), or floats (n_envs, size).
            reward: Rewards, (n_envs,); kept as float32.
            done: Whether the step ended the episode, as an SB3 ``VecEnv`` says it, bool or float (n_envs,).
            infos: What it says besides; ``"TimeLimit.truncated"`` is read.

        Raises:
            ValueError: An observation or a reward is not finite, or an observation is none of the space; nothing is stored.
        """
        reward, done = np.asarray(reward), np.asarray(done)
        for what, given in (("observations", obs), ("observations", next_obs), ("rewards", reward)):
            finite(what, given)
        done = done.astype(bool)
        truncated = done & np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        new = Transitions(
            observation=self.replay.codec.to_storage(obs),
            action=np.asarray(action, self.replay.actions.row.dtype).reshape(self.n_envs, *self.replay.actions.row.shape),
            reward=reward.astype(np.float32),
            next_observation=self.replay.codec.to_storage(next_obs),
            terminated=done & ~truncated,
            truncated=truncated,
            extras=self.extras,
        )
        with self._owner.arrays_lock:  # the call is given the old arrays, which another thread may be saving
            state = self.state
            try:
                state = memory_functions(self.replay).add(state, new)
            finally:
                self._set(whole_memory(self.replay, state))

    def cut(self) -> None:
        """Notes that episodes end with the newest row: environments begin anew, without having ended."""
        if self.size():
            self._set(self.replay.cut(self.state))

    def update_priorities(self, batch: Any, priorities: Any) -> None:
        """Sets the priorities of what was drawn; see :meth:`mbrl_agents.core.replay.Replay.update_priorities`."""
        with self._owner.arrays_lock:
            self._set(memory_functions(self.replay).update_priorities(self.state, batch, priorities))

    def sample(self, batch_size: int, key: jax.Array, gamma: float) -> Batch:
        """Draws a batch; see :meth:`mbrl_agents.core.replay.Replay.draw`."""
        with self._owner.arrays_lock:
            batch, state = memory_functions(self.replay).draw(self.state, key, batch_size, gamma)
            self._set(state)
        return batch

    def save(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Writes all rows in use to an NPZ file, whole or not at all."""
        files.save_arrays(path, self.replay.to_arrays(self.state))

    def load(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or of a memory with another layout.
        """
        source, what = files.read_from(path, "npz", "replay memory")
        with files.ArrayFile(source, what) as arrays:
            self._set(self.replay.from_arrays(arrays, what))
