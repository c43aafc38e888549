"""Replay of sequences: every observation is stored once, however many sequences it is part of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from mbrl_agents.core.checks import finite
from mbrl_agents.r2d2.samples import SequenceSamples
from mbrl_agents.r2d2.sequences import SequenceLayout
from mbrl_agents.r2d2.state_store import StateStore
from mbrl_agents.r2d2.sum_tree import SumTree


class SequenceReplayBuffer(ReplayBuffer):
    """Replay buffer of sequences that never cross an episode's end.

    Each environment has a ring of *slots*. A slot is what the agent saw at one time: observation, previous action, previous
    reward. An episode of L transitions takes L + 1 slots, the last one for its final observation, from which a truncated
    episode bootstraps. A sequence is known by its first slot; it can be drawn once its last slot is written, and until its
    first slot is overwritten (which comes before any other of its slots is). Recurrent states are stored for first slots only.

    Args:
        buffer_size: Slots over all environments: one for each transition, and one more for each episode.
        observation_space: Observation space; integers keep their dtype (uint8 for images).
        action_space: Discrete action space.
        device: Device of sampled tensors.
        n_envs: Number of environments.
        layout: Lengths of sequences.
        state_shapes: (layers, hidden) of each array of the recurrent state.
        stored_state: Whether sequences start from the state that the agent had then, or (except at an episode's start, where it
            is the same) from zeros.
        priority_exponent: Sequences are drawn in proportion to priority**exponent; 0 draws uniformly.
        seed: Seed of the draws.

    Raises:
        ValueError: Not even one sequence fits into an environment's ring.
    """

    observations: np.ndarray | dict[str, np.ndarray]  # type: ignore[assignment]

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        device: th.device | str = "auto",
        n_envs: int = 1,
        *,
        layout: SequenceLayout,
        state_shapes: tuple[tuple[int, int], ...],
        stored_state: bool = True,
        priority_exponent: float = 0.9,
        seed: int | None = None,
    ) -> None:
        BaseBuffer.__init__(self, buffer_size // n_envs, observation_space, action_space, device, n_envs)
        if self.buffer_size < layout.window + 1:
            raise ValueError(
                f"buffer_size must hold a sequence for each environment, at least {layout.window + 1} "
                f"(burn_in + sequence_length + n_steps + 1) times {n_envs}, got {buffer_size}"
            )
        self.layout, self.stored_state, self.priority_exponent = layout, stored_state, priority_exponent
        self.num_actions = int(action_space.n)
        slots = n_envs * self.buffer_size
        self.observations = _zeros(slots, observation_space)
        self.previous_actions = np.full(slots, self.num_actions, np.int64)
        self.previous_rewards = np.zeros(slots, np.float32)
        # Of sequences, by their first slot.
        self._from_start = np.zeros(slots, bool)
        self._last = np.zeros(slots, np.int64)
        self._terminated = np.zeros(slots, bool)
        self._state_of = np.zeros(slots, np.int64)
        self._tree = SumTree(slots)
        self._largest = 1.0  # priority**exponent that sequences get before they are first trained on
        # First slots within an episode lie a stride apart, so no more than this many are in the ring at once.
        self._states = StateStore(state_shapes, n_envs, self.buffer_size // layout.stride + 2 if stored_state else 1)
        # Of each environment's stream: next slot, step in the episode, action and reward that belong to the next slot.
        self._next = np.zeros(n_envs, np.int64)
        self._step = np.zeros(n_envs, np.int64)
        self._action = np.full(n_envs, self.num_actions, np.int64)
        self._reward = np.zeros(n_envs, np.float32)
        self._all_envs = np.arange(n_envs)
        self._base = self._all_envs * self.buffer_size
        self.optimize_memory_usage, self.handle_timeout_termination = False, True  # SB3 asks
        self._offsets = np.arange(layout.window)[:, None]
        self._wrapped = np.zeros(n_envs, bool)
        self.seed(seed)

    def seed(self, seed: int | None) -> None:
        """Has draws begin anew."""
        self._rng = np.random.default_rng(seed)

    # ------------------------------------------------------------------ what there is

    def size(self) -> int:
        """Slots in use, the least of any environment."""
        return int(np.where(self._wrapped, self.buffer_size, self._next).min())

    @property
    def sequences(self) -> np.ndarray:
        """First slots of all sequences that can be drawn, int64 (n,)."""
        return np.flatnonzero(self._tree.leaves)

    @property
    def empty(self) -> bool:
        """Whether there is no sequence yet."""
        return not self._tree.total > 0

    @property
    def state_shapes(self) -> tuple[tuple[int, int], ...]:
        """(layers, hidden) of each array of the recurrent state."""
        return self._states.shapes

    # ------------------------------------------------------------------ adding

    def add(
        self,
        obs: np.ndarray | dict[str, np.ndarray],
        next_obs: np.ndarray | dict[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
        states: tuple[np.ndarray, ...] = (),
        episode_starts: np.ndarray | None = None,
    ) -> None:
        """Adds one transition of each environment.

        Args:
            obs: Observations.
            next_obs: Observations after them; of an ended episode its final one, not the next episode's first.
            action: Actions, int (n_envs,) or (n_envs, 1).
            reward: Rewards, (n_envs,).
            done: Whether the episode has ended, (n_envs,).
            infos: Of an ended episode, ``TimeLimit.truncated`` says that it was truncated.
            states: Recurrent states before ``obs``, (layers, n_envs, hidden) each.
            episode_starts: Whether ``obs`` begins an episode; an unfinished one before it is closed as truncated at the last
                observation there is. By default where the episode before has ended.

        Raises:
            ValueError: An observation or a reward is not finite; nothing is stored.
        """
        for what, given in (("observations", obs), ("observations", next_obs), ("rewards", reward)):
            finite(what, given)
        if episode_starts is not None and True in episode_starts.tolist():
            self._cut(np.flatnonzero(episode_starts & (self._step > 0)))
        slots = self._write(self._all_envs, obs)
        # Lists, because NumPy takes microseconds to say that none of a few booleans is True.
        begins, complete = self.layout.begins(self._step), self.layout.completed_at(self._step)
        if True in begins.tolist():
            self._begin(np.flatnonzero(begins), slots, states)
        if True in complete.tolist():
            first = self._base[complete] + (self._next[complete] - self.layout.window) % self.buffer_size
            self._offer(first, self.layout.window - 1, False)
        self._step += 1
        self._action[:] = action.reshape(self.n_envs)
        self._reward[:] = reward
        for env in np.flatnonzero(done) if True in done.tolist() else ():
            self._finish(int(env), _row(next_obs, env), terminated=not infos[env].get("TimeLimit.truncated", False))

    def _write(self, envs: np.ndarray, obs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
        """Writes the next slot of some environments; returns the slots."""
        slots = self._base[envs] + self._next[envs]
        if any(self._tree.leaves[slots].tolist()):  # sequences that begin there are gone
            self._tree.update(slots, 0.0)
        if isinstance(self.observations, dict):
            for key, stored in self.observations.items():
                stored[slots] = obs[key].reshape(len(envs), *stored.shape[1:])
        else:
            self.observations[slots] = obs.reshape(len(envs), *self.observations.shape[1:])  # type: ignore[union-attr]
        self.previous_actions[slots] = self._action[envs]
        self.previous_rewards[slots] = self._reward[envs]
        self._next[envs] += 1
        if self.buffer_size in self._next.tolist():
            over = self._next == self.buffer_size
            self._next[over], self._wrapped[over] = 0, True
            self.full = bool(self._wrapped.all())
        return slots

    def _begin(self, envs: np.ndarray, slots: np.ndarray, states: tuple[np.ndarray, ...]) -> None:
        """Notes with which state sequences begin in the slots of some environments."""
        slots = slots[envs]
        at_start = self._step[envs] == 0
        self._from_start[slots] = at_start
        if not self.stored_state or at_start.all():
            return
        self._state_of[slots[~at_start]] = self._states.put(envs[~at_start], states)

    def _finish(self, env: int, final_obs: np.ndarray | dict[str, np.ndarray], terminated: bool) -> None:
        """Ends an episode with its final observation."""
        self._write(np.array([env]), final_obs)
        self._close(env, int(self._step[env]), terminated)

    def _cut(self, envs: np.ndarray) -> None:
        """Ends episodes that were left unfinished: the last observation written becomes the final one."""
        for env in envs:
            self._close(int(env), int(self._step[env]) - 1, terminated=False)

    def _close(self, env: int, num_steps: int, terminated: bool) -> None:
        """Offers the last sequences of an episode whose final observation is the last slot written."""
        if num_steps:
            starts = self.layout.left_at_end(num_steps)
            first = self._base[env] + (self._next[env] - 1 - (num_steps - starts)) % self.buffer_size
            self._offer(first, num_steps - starts, terminated)
        self._step[env], self._action[env], self._reward[env] = 0, self.num_actions, 0

    def _offer(self, first: np.ndarray, last: np.ndarray | int, terminated: bool) -> None:
        """Lets sequences be drawn from now on."""
        self._last[first], self._terminated[first] = last, terminated
        self._tree.update(first, self._largest)

    # ------------------------------------------------------------------ drawing

    def sample(  # type: ignore[override]
        self, batch_size: int, env: VecNormalize | None = None, importance_exponent: float = 0.0
    ) -> SequenceSamples:
        """Draws sequences, with replacement.

        Args:
            batch_size: Number of sequences.
            env: Normalises observations and rewards, if given.
            importance_exponent: β of the importance weights (N·P)^−β, divided by the largest of the batch.

        Raises:
            ValueError: There is no sequence yet.
        """
        return self._get_samples(self._tree.sample(batch_size, self._rng), env, importance_exponent)

    def _get_samples(  # type: ignore[override]
        self, batch_inds: np.ndarray, env: VecNormalize | None = None, importance_exponent: float = 0.0
    ) -> SequenceSamples:
        """The sequences with these first slots."""
        first = batch_inds
        from_start = self._from_start[first]
        if not from_start.all():
            order = np.argsort(~from_start, kind="stable")
            first, from_start = first[order], from_start[order]
        last = self._last[first]
        base = first - first % self.buffer_size
        slots = base + (first - base + np.minimum(self._offsets, last)) % self.buffer_size
        steps = self._offsets[: self.layout.trainable]
        trained = (steps < last) & ((steps >= self.layout.burn_in) | from_start)
        rewards = self._normalize_reward(self.previous_rewards[slots], env)
        weights = (self._tree.leaves[first] / self._tree.leaves[first].min()) ** -importance_exponent
        return SequenceSamples(
            self._tensors(slots, env),
            self.to_torch(self.previous_actions[slots], copy=False),
            self.to_torch(rewards, copy=False),
            self._initial_states(first, from_start),
            int(from_start.sum()),
            self.to_torch(trained.astype(np.float32), copy=False),
            last,
            self._terminated[first],
            self.to_torch(weights.astype(np.float32), copy=False),
            first,
        )

    def _tensors(self, slots: np.ndarray, env: VecNormalize | None) -> th.Tensor | dict[str, th.Tensor]:
        """Observations in some slots."""
        if isinstance(self.observations, dict):
            found: Any = {key: stored[slots] for key, stored in self.observations.items()}
        else:
            found = self.observations[slots]
        found = self._normalize_obs(found, env)
        if isinstance(found, dict):
            return {key: self.to_torch(array, copy=False) for key, array in found.items()}
        return self.to_torch(found, copy=False)

    def _initial_states(self, first: np.ndarray, from_start: np.ndarray) -> tuple[th.Tensor, ...]:
        """Recurrent states before the first slots of sequences, float32 (layers, B, hidden) each."""
        if not self.stored_state or from_start.all():
            shapes = ((layers, len(first), hidden) for layers, hidden in self._states.shapes)
            return tuple(th.zeros(shape, device=self.device) for shape in shapes)
        states = self._states.get(self._state_of[first])
        return tuple(self.to_torch(state * ~from_start[:, None], copy=False) for state in states)

    def update_priorities(self, indices: np.ndarray, priorities: np.ndarray) -> None:
        """Sets the priorities of sequences that were just drawn.

        Args:
            indices: ``SequenceSamples.indices``.
            priorities: float (B,), at least 0.
        """
        # Never 0, which would mean that there is no such sequence.
        scaled = np.maximum(priorities, 1e-6) ** self.priority_exponent
        alive = self._tree.leaves[indices] > 0
        self._tree.update(indices[alive], scaled[alive])
        self._largest = float(scaled.max(initial=self._largest))


def _zeros(slots: int, space: spaces.Space) -> Any:
    """Room for observations: an array (slots, …) of the space's dtype, or a dictionary of such."""
    if isinstance(space, spaces.Dict):
        return {key: _zeros(slots, part) for key, part in space.spaces.items()}
    shape = space.shape if space.shape else (1,)  # SB3 gives Discrete observations this shape
    dtype = np.dtype(np.float32) if space.dtype == np.float64 else space.dtype
    return np.zeros((slots, *shape), dtype)


def _row(obs: np.ndarray | dict[str, np.ndarray], row: Any) -> Any:
    """The observation of one environment, with a leading axis of 1."""
    return {key: array[row][None] for key, array in obs.items()} if isinstance(obs, dict) else obs[row][None]
