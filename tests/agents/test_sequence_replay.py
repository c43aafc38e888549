"""The replay of sequences: by hand, and against plain lists under random streams."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Transitions
from mbrl_agents.core.sequence_replay import SequenceLayout, SequenceReplay

GO_ON, TERMINATE, TRUNCATE, CUT = range(4)  # what happens with a transition; CUT: the environment is reset after it
LAYOUT = SequenceLayout(burn_in=2, length=3, overlap=0, n_steps=2)  # windows of 7 observations at every third step
LAYOUTS = [
    LAYOUT,
    SequenceLayout(0, 1, 0, 1),
    SequenceLayout(1, 4, 2, 1),
    SequenceLayout(3, 4, 1, 3),
    SequenceLayout(5, 5, 4, 2),
    SequenceLayout(0, 6, 3, 4),
]


@dataclasses.dataclass
class Step:
    obs: float
    action: int
    reward: float
    tag: float  # of what the learner says of it
    row: int  # counted from the beginning of time


@functools.lru_cache
def compiled(replay: SequenceReplay) -> tuple[Any, Any, Any]:
    return jax.jit(replay.add), jax.jit(replay.cut), jax.jit(replay.sequences)


class Streams:
    """Numbered transitions that go into a replay memory and into plain lists alike.

    Observation t of lane e is the number 1000·e + t, counted over all episodes, so that it tells where it belongs.
    """

    def __init__(self, layout: SequenceLayout, lanes: int, rows: int) -> None:
        observations = ObservationCodec.of(spaces.Box(-np.inf, np.inf, (1,), np.float32))
        extras = (((), "float32"), ((2,), "float32"))
        self.replay = SequenceReplay(observations, ActionCodec(3), rows, lanes, layout=layout, extras=extras)
        self.state: Any = self.replay.init()
        self.add, self.cut, self.sequences = compiled(self.replay)
        self.lanes, self.rows, self.layout = lanes, rows, layout
        self.time, self.rng, self.row = np.zeros(lanes, int), np.random.default_rng(1), 0
        self.episodes: list[list[tuple[list[Step], list[int]]]] = [[([], [GO_ON])] for _ in range(lanes)]

    def step(self, *happens: int) -> None:
        obs = (1000 * np.arange(self.lanes) + self.time).astype(np.float32)
        action = self.rng.integers(3, size=self.lanes).astype(np.int32)
        reward, tag = self.rng.integers(-5, 5, self.lanes).astype(np.float32), obs + np.float32(0.5)
        terminated, truncated = (np.array([what == end for what in happens]) for end in (TERMINATE, TRUNCATE))
        new = Transitions(obs[:, None], action, reward, obs[:, None] + 1, terminated, truncated)
        self.state = self.add(self.state, new._replace(extras=(tag, np.stack([tag, -tag], axis=1))))
        if CUT in happens:
            self.state, happens = self.cut(self.state), (*(what if what in (TERMINATE, TRUNCATE) else CUT for what in happens),)
        for lane, what in enumerate(happens):
            steps, end = self.episodes[lane][-1]
            steps.append(Step(float(obs[lane]), int(action[lane]), float(reward[lane]), float(tag[lane]), self.row))
            if what != GO_ON:
                end[0] = what
                self.episodes[lane].append(([], [GO_ON]))
            self.time[lane] += 1 if what == GO_ON else 2
        self.row += 1

    def wanted(self) -> list[dict[str, Any]]:
        """Every sequence that can be drawn."""
        layout, found = self.layout, []
        for steps, (end,) in (episode for lane in self.episodes for episode in lane):
            for first in range(0, len(steps), layout.stride):
                whole = first + layout.window <= len(steps)
                rest = end != GO_ON and (first == 0 or first + layout.burn_in + layout.overlap < len(steps))
                if (whole or rest) and steps[first].row >= self.row - self.rows:
                    found.append(self._sequence(steps, end, first))
        return sorted(found, key=lambda sequence: sequence["observations"])

    def _sequence(self, steps: list[Step], end: int, first: int) -> dict[str, Any]:
        window = steps[first : first + self.layout.window]
        shown = [step.obs for step in window]
        if len(window) < self.layout.window:
            shown.append(window[-1].obs + 1)
        last = len(shown) - 1
        begin = 0 if first == 0 else self.layout.burn_in
        return {
            "observations": shown,
            "actions": [step.action for step in window[:last]],
            "rewards": [step.reward for step in window[:last]],
            "extras": None if first == 0 else steps[first].tag,
            "trained": [float(begin <= t < last) for t in range(self.layout.trainable)],
            "terminated": len(window) < self.layout.window and end == TERMINATE,
        }

    def found(self) -> list[dict[str, Any]]:
        batch, sequences = jax.device_get(self.sequences(self.state, np.arange(self.rows * self.lanes, dtype=np.int32))), []
        for i in np.flatnonzero(np.asarray(self.state.sums[0]).ravel()):
            last = batch.last[i]
            assert (batch.observation[last:, i] == batch.observation[last, i]).all()  # padding
            tag, both = batch.extras[0][i], batch.extras[1][i]
            assert batch.from_start[i] or (both == [tag, -tag]).all()
            sequences.append(
                {
                    "observations": batch.observation[: last + 1, i, 0].tolist(),
                    "actions": batch.action[:last, i].tolist(),
                    "rewards": batch.reward[:last, i].tolist(),
                    "extras": None if batch.from_start[i] else float(tag),
                    "trained": batch.trained[:, i].tolist(),
                    "terminated": bool(batch.terminated[i]),
                }
            )
        return sorted(sequences, key=lambda sequence: sequence["observations"])


def one_lane(*happens: int, rows: int = 40, layout: SequenceLayout = LAYOUT) -> Streams:
    streams = Streams(layout, 1, rows)
    for what in happens:
        streams.step(what)
    return streams


def observations(streams: Streams) -> list[list[float]]:
    return [sequence["observations"] for sequence in streams.found()]


# --- By hand ------------------------------------------------------------------------------------------------------------------


def test_an_unfinished_episode_gives_only_whole_sequences() -> None:
    assert observations(one_lane(*[GO_ON] * 6)) == []
    streams = one_lane(*[GO_ON] * 6)
    assert not streams.replay.ready(streams.state)
    assert observations(one_lane(*[GO_ON] * 7)) == [[0, 1, 2, 3, 4, 5, 6]]
    assert observations(one_lane(*[GO_ON] * 10)) == [[0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 9]]


def test_the_end_of_an_episode_completes_its_last_sequences() -> None:
    whole, second, third = one_lane(*[GO_ON] * 9, TERMINATE).found()
    assert whole["observations"] == [0, 1, 2, 3, 4, 5, 6]
    assert whole["trained"] == [1, 1, 1, 1, 1]  # from the start of the episode there is no burn-in
    assert second["observations"] == [3, 4, 5, 6, 7, 8, 9]
    assert (second["trained"], second["terminated"], second["extras"]) == ([0, 0, 1, 1, 1], False, 3.5)
    assert third["observations"] == [6, 7, 8, 9, 10]  # 10 is terminal
    assert (third["trained"], third["terminated"]) == ([0, 0, 1, 1, 0], True)


def test_every_step_is_trained_on_once_without_overlap() -> None:
    for length in range(1, 25):
        found = one_lane(*[GO_ON] * (length - 1), TERMINATE).found()
        trained = [sequence["observations"][t] for sequence in found for t in range(5) if sequence["trained"][t]]
        assert sorted(trained) == list(range(length))


def test_broken_off_episodes_end_at_what_came_last() -> None:
    (sequence,) = one_lane(GO_ON, GO_ON, CUT).found()
    assert (sequence["observations"], sequence["terminated"]) == ([0, 1, 2, 3], False)


def test_the_ring_wraps_exactly() -> None:
    streams = one_lane(*[GO_ON] * 12, rows=12)
    assert [sequence[0] for sequence in observations(streams)] == [0, 3]
    streams.step(GO_ON)
    assert [sequence[0] for sequence in observations(streams)] == [3, 6]
    assert observations(streams)[1] == [6, 7, 8, 9, 10, 11, 12]  # over the edge of the ring


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((-1, 3, 0, 1), "burn_in"), ((0, 2, 0, 3), "sequence_length must be at least n_steps=3"), ((0, 3, 3, 1), "overlap")],
)
def test_layouts_out_of_range(numbers: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceLayout(*numbers)
    with pytest.raises(ValueError, match="buffer_size must hold a sequence"):
        one_lane(rows=6)


# --- Against plain lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, dataclasses.astuple(layout))))
def test_it_holds_what_plain_lists_hold(layout: SequenceLayout) -> None:
    for seed, spare in ((0, 0), (1, 5), (2, 23)):
        streams, rng = Streams(layout, 3, layout.window + spare), np.random.default_rng(seed)
        for i in range(120):
            streams.step(*rng.choice([GO_ON, TERMINATE, TRUNCATE, CUT], 3, p=[0.86, 0.06, 0.06, 0.02]))
            if i % 3 == 0:
                assert streams.found() == streams.wanted()
        assert streams.wanted()


# --- Priorities ---------------------------------------------------------------------------------------------------------------


def test_priorities() -> None:
    """New sequences have the largest there has been; those that were overwritten since they were drawn get none."""
    streams = one_lane(*[GO_ON] * 12, rows=12)
    replay, key = streams.replay, jax.random.PRNGKey(0)
    batch = replay.sequences(streams.state, jnp.array([0, 3]))
    streams.state = replay.update_priorities(streams.state, batch, jnp.array([4.0, 0.5]))
    np.testing.assert_array_equal(np.asarray(streams.state.sums[0]).ravel()[[0, 3]], [4, 0.5])
    drawn = np.asarray(replay.sample(streams.state, key, 900, jnp.float32(0.9)).leaf)
    assert abs((drawn == 0).sum() - 800) <= 1  # stratified
    np.testing.assert_allclose(replay.sequences(streams.state, jnp.array([0, 3, 0])).relative, [8, 1, 8])
    streams.step(GO_ON)  # over the row of the first one; the one from 6 is whole now
    np.testing.assert_array_equal(np.asarray(streams.state.sums[0]).ravel()[[0, 3, 6]], [0, 0.5, 4])
    streams.state = replay.update_priorities(streams.state, batch, jnp.array([9.0, 2.0]))
    np.testing.assert_array_equal(np.asarray(streams.state.sums[0]).ravel()[[0, 3, 6]], [0, 2, 4])
    assert streams.state.largest == 4  # the 9 was of nothing that is there


def test_files_keep_everything() -> None:
    streams, rng = Streams(LAYOUT, 2, 30), np.random.default_rng(0)
    for num in (11, 60):
        while streams.row < num:
            streams.step(*rng.choice([GO_ON, TERMINATE, TRUNCATE], 2, p=[0.9, 0.05, 0.05]))
        arrays = {name: np.array(leaf) for name, leaf in streams.replay.to_arrays(streams.state).items()}
        again = streams.replay.from_arrays(Named(arrays), "here")
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(again), jax.device_get(streams.state))


class Named(dict):
    """Arrays by name, as files give them."""

    @property
    def names(self) -> list[str]:
        return list(self)
