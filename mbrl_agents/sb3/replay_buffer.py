"""The replay memory as the host sees it: the attributes and methods of SB3's ``ReplayBuffer`` around arrays on the device."""

from __future__ import annotations

import functools
import io
import os
from typing import Any

import jax
import numpy as np

from mbrl_agents.core import files
from mbrl_agents.core.checks import finite
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.core.replay import Batch, Replay, ReplayState, Transitions


@functools.lru_cache(maxsize=32)
def _compiled(replay: Replay) -> tuple[Any, Any, Any]:
    return (
        plain_jit(replay.init),
        plain_jit(replay.add, donate_argnums=0),
        plain_jit(replay.sample, static_argnums=2),
    )


class DeviceReplayBuffer:
    """Holds a :class:`~mbrl_agents.core.replay.ReplayState`.

    Args:
        replay: The memory's layout.
    """

    def __init__(self, replay: Replay) -> None:
        self.lay_out(replay)
        self.state: ReplayState = self._init()

    def lay_out(self, replay: Replay) -> None:
        """Goes on with another layout, of arrays of the same shapes."""
        self.replay = replay
        self._init, self._add, self._sample = _compiled(replay)

    def __getstate__(self) -> dict[str, Any]:
        """Layout and arrays, for copies and pickles."""
        return {"replay": self.replay, "state": jax.device_get(self.state)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.lay_out(state["replay"])
        self.state = jax.tree.map(jax.numpy.array, state["state"])

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
        self.state = self._init()

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Stores a transition of every environment.

        Args:
            obs: Observations before the step, (n_envs, …).
            next_obs: Observations after it, before any automatic reset, (n_envs, …).
            action: Actions as learners have them: integers (n_envs,), or floats (n_envs, size).
            reward: Rewards, (n_envs,); kept as float32.
            done: Whether the step ended the episode, as an SB3 ``VecEnv`` says it, bool or float (n_envs,).
            infos: What it says besides; ``"TimeLimit.truncated"`` is read.

        Raises:
            ValueError: An observation or a reward is not finite, or an observation is none of the space; nothing is stored.
        """
        obs, next_obs, reward, done = (np.asarray(each) for each in (obs, next_obs, reward, done))
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
        )
        self.state = self._add(self.state, new)

    def cut(self) -> None:
        """Notes that episodes end with the newest row: environments begin anew, without having ended."""
        if self.size():
            newest = (self.pos - 1) % self.replay.rows
            stored = self.state.stored
            truncated = stored.truncated.at[newest].set(~stored.terminated[newest])
            self.state = self.state._replace(stored=stored._replace(truncated=truncated))

    def sample(self, batch_size: int, key: jax.Array, gamma: float) -> Batch:
        """Draws a batch; see :meth:`mbrl_agents.core.replay.Replay.sample`."""
        return self._sample(self.state, key, batch_size, gamma)

    def save(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Writes all rows in use to an NPZ file, whole or not at all."""
        stored = jax.tree.map(lambda leaf: np.asarray(leaf)[: self.size()], self.state.stored)
        counts = {"position": np.asarray(self.pos), "size": np.asarray(self.size())}
        arrays = files.flatten(stored, copy=False) | counts
        files.write_to(path, "npz", lambda file: files.write_arrays(file, arrays))

    def load(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or of a memory with another layout.
        """
        source, what = files.read_from(path, "npz", "replay memory")
        with files.ArrayFile(source, what) as arrays:
            self._read(arrays, what)

    def _read(self, arrays: files.ArrayFile, what: str) -> None:
        templates = files.flatten(self.state.stored)
        counts = [int(arrays[name]) if name in arrays.names else -1 for name in ("size", "position")]
        size, position, own = *counts, {*arrays.names} - {"size", "position"}
        if not (0 <= size <= self.replay.rows and 0 <= position < self.replay.rows) or own != set(templates):
            raise ValueError(f"{what} holds no replay memory of at most {self.replay.rows} rows per environment")
        if size < self.replay.rows and position != size:
            raise ValueError(f"{what} is a full ring of {size} rows; this memory has {self.replay.rows}")
        for name, template in templates.items():
            given = arrays[name]
            if given.shape != (size, *template.shape[1:]) or given.dtype != template.dtype:
                raise ValueError(
                    f"{what}: {name} must have shape {(size, *template.shape[1:])} and dtype {template.dtype}, "
                    f"got {given.shape} and {given.dtype}"
                )
            template[:size] = given
        stored = files.unflatten(self.state.stored, templates, what)
        self.state = ReplayState(stored, jax.numpy.int32(position), jax.numpy.int32(size))
