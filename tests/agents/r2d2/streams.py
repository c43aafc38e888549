"""Streams of numbered transitions for the sequence buffer, and a buffer of plain lists to compare with.

Observation t of environment e is the number 1000·e + t, counted over all episodes, so that it tells where it belongs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnasium import spaces

from mbrl_agents.r2d2 import SequenceLayout, SequenceReplayBuffer

NUM_ACTIONS = 3
OBSERVATIONS = spaces.Box(-np.inf, np.inf, (1,), np.float32)
GO_ON, TERMINATE, TRUNCATE, CUT = range(4)  # what happens with a transition; CUT: the environment is reset after it


@dataclasses.dataclass
class Slot:
    obs: float
    previous_action: int
    previous_reward: float
    state: float  # tag of the recurrent state before it
    step: int


@dataclasses.dataclass
class Episode:
    slots: list[Slot]
    ended: bool = False
    terminated: bool = False


class NaiveBuffer:
    """What SequenceReplayBuffer should hold, of one environment: all slots for ever; what is overwritten is left out."""

    def __init__(self, capacity: int, layout: SequenceLayout) -> None:
        self.capacity, self.layout = capacity, layout
        self.episodes: list[Episode] = []

    def sequences(self) -> list[dict[str, Any]]:
        """Every sequence that can be drawn, oldest first."""
        layout, found, written = self.layout, [], sum(len(episode.slots) for episode in self.episodes)
        place = 0  # of the episode's first slot, counted from the beginning of time
        for episode in self.episodes:
            num = len(episode.slots)
            for first in range(0, num, layout.stride):
                whole = first + layout.window <= num
                # The end completes a sequence that trains on steps of its own.
                rest = episode.ended and num > 1 and (first == 0 or first + layout.burn_in + layout.overlap < num - 1)
                if (whole or rest) and place + first >= written - self.capacity:
                    found.append(self._sequence(episode, first))
            place += num
        return found

    def _sequence(self, episode: Episode, first: int) -> dict[str, Any]:
        slots = episode.slots[first : first + self.layout.window]
        reaches_end = episode.ended and first + self.layout.window >= len(episode.slots)
        last = len(slots) - 1
        begin = 0 if first == 0 else self.layout.burn_in
        return {
            "observations": [slot.obs for slot in slots],
            "previous_actions": [slot.previous_action for slot in slots],
            "previous_rewards": [slot.previous_reward for slot in slots],
            "state": 0.0 if first == 0 else slots[0].state,
            "trained": [float(begin <= t < last) for t in range(self.layout.trainable)],
            "last": last,
            "terminated": reaches_end and episode.terminated,
        }


class Streams:
    """Numbered transitions that go into a SequenceReplayBuffer and into plain lists alike."""

    def __init__(self, layout: SequenceLayout, n_envs: int, capacity: int, **changes: Any) -> None:
        given: dict[str, Any] = {"device": "cpu", "n_envs": n_envs, "layout": layout, "state_shapes": ((2, 3),), "seed": 0}
        self.buffer = SequenceReplayBuffer(capacity * n_envs, OBSERVATIONS, spaces.Discrete(NUM_ACTIONS), **(given | changes))
        self.naive = [NaiveBuffer(capacity, layout) for _ in range(n_envs)]
        self.n_envs, self.time = n_envs, np.zeros(n_envs, int)
        self.starts = np.ones(n_envs, bool)
        self.rng = np.random.default_rng(1)

    def step(self, *happens: int) -> None:
        """One transition of each environment, and what happens with it."""
        obs = 1000.0 * np.arange(self.n_envs) + self.time
        actions, rewards = self.rng.integers(NUM_ACTIONS, size=self.n_envs), self.rng.integers(-5, 5, self.n_envs).astype(float)
        tags = obs + 0.5
        state = np.broadcast_to(tags[None, :, None], (2, self.n_envs, 3))
        done = np.array([what in (TERMINATE, TRUNCATE) for what in happens])
        infos = [{"TimeLimit.truncated": what == TRUNCATE} for what in happens]
        self.buffer.add(obs[:, None], obs[:, None] + 1, actions, rewards, done, infos, (state,), self.starts)
        for env, what in enumerate(happens):
            self._note(env, what, float(obs[env]), int(actions[env]), float(rewards[env]), float(tags[env]))
            self.time[env] += 2 if done[env] else 1
        self.starts = done | np.array([what == CUT for what in happens])

    def _note(self, env: int, what: int, obs: float, action: int, reward: float, tag: float) -> None:
        episodes = self.naive[env].episodes
        if self.starts[env]:
            if episodes and not episodes[-1].ended:
                episodes[-1].ended = True  # cut: its last observation is the final one
            episodes.append(Episode([Slot(obs, NUM_ACTIONS, 0.0, tag, 0)]))
        else:
            step = len(episodes[-1].slots)
            episodes[-1].slots.append(Slot(obs, *self.pending[env], tag, step))
        self.pending = getattr(self, "pending", {}) | {env: (action, reward)}
        if what in (TERMINATE, TRUNCATE):
            episodes[-1].slots.append(Slot(obs + 1, action, reward, np.nan, len(episodes[-1].slots)))
            episodes[-1].ended, episodes[-1].terminated = True, what == TERMINATE

    def stored(self) -> list[dict[str, Any]]:
        """Every sequence in the buffer."""
        indices = self.buffer.sequences
        return [] if not len(indices) else unbatched(self.buffer._get_samples(indices))

    def check(self) -> None:
        expected = [sequence for naive in self.naive for sequence in naive.sequences()]
        by_content = sorted(self.stored(), key=lambda sequence: sequence["observations"])
        assert by_content == sorted(expected, key=lambda sequence: sequence["observations"])


def unbatched(samples: Any) -> list[dict[str, Any]]:
    """A batch as plain values, one dictionary for each sequence, without padding."""
    found = []
    for i, last in enumerate(samples.last):
        real = slice(0, int(last) + 1)
        states = [state[:, i] for state in samples.states]
        assert all(float(state.min()) == float(state.max()) for state in states)
        assert bool((samples.observations[int(last) :, i] == samples.observations[int(last), i]).all())  # padding
        found.append(
            {
                "observations": samples.observations[real, i, 0].tolist(),
                "previous_actions": samples.previous_actions[real, i].tolist(),
                "previous_rewards": samples.previous_rewards[real, i].tolist(),
                "state": float(states[0].max()),
                "trained": samples.trained[:, i].tolist(),
                "last": int(last),
                "terminated": bool(samples.terminated[i]),
            }
        )
    return found
