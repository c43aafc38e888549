"""Replay memories under random operations, beside a list of everything that was ever stored."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbrl_agents.core import sequence_replay
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Replay, Transitions
from mbrl_agents.core.run import RunState
from mbrl_agents.linear_td.learner import RolloutBuffer
from mbrl_agents.sb3.replay_buffer import DeviceReplayBuffer
from mbrl_agents.value_rnn.sequence_replay import SequenceReplay
from mbrl_envs import PanFlute

GAMMA = 0.8
DISCRETE, VECTORS = ActionCodec(5), ActionCodec.of(spaces.Box(-1, 1, (2,)))
SAMPLED = 32
MODULUS = 2**16  # observations are numbered up to this, then anew; no ring below is that large


class Row(NamedTuple):
    """One transition of one lane."""

    number: int
    action: int
    reward: float
    following: int
    terminated: bool
    truncated: bool


class Spaces:
    """Observations that tell a number, one of each kind that is stored in its own way; and how their features tell it."""

    bits = (
        spaces.MultiBinary(16),
        lambda n: (n[:, None] >> np.arange(16)) % 2 == 1,
        lambda f: (f.astype(int) << np.arange(16)).sum(-1),
    )
    bytes = (
        spaces.Box(0, 255, (2, 1), np.uint8),
        lambda n: np.stack([n // 256, n % 256], 1).astype(np.uint8)[..., None],
        lambda f: np.rint(f * 255).astype(int) @ [256, 1],
    )
    float = spaces.Box(-1e6, 1e6, (2,), np.float32), lambda n: np.stack([n, -n], 1).astype(np.float32), lambda f: f[..., 0]
    index = spaces.Discrete(MODULUS), lambda n: n, lambda f: f.argmax(-1)


class Owner:
    """A run that is nothing but a memory."""

    def __init__(self, replay: Replay) -> None:
        self.replay, self.run = replay, RunState(None, replay.init(), None, None, None, None)  # type: ignore[arg-type]
        self.arrays_lock = threading.RLock()

    def change_run(self, memory: Any) -> None:
        self.run = self.run._replace(memory=memory)


class Beside:
    """A replay memory and a list.

    Args:
        replay: The layout.
        kind: What is observed: one of :class:`Spaces`.
    """

    def __init__(self, replay: Replay, kind: tuple[Any, Callable, Callable]) -> None:
        self.replay, (_, self.show, self.read) = replay, kind
        self.owner = Owner(replay)
        self.ours, self._add = DeviceReplayBuffer(self.owner), jax.jit(replay.add)
        self.rows: list[list[Row]] = []
        self.forget()

    def forget(self) -> None:
        self.ours.reset()
        self.rows.clear()

    def add(self, rng: np.random.Generator, ends: float) -> None:
        lanes = self.replay.lanes
        first = len(self.rows) * 2 * lanes % MODULUS
        before, after = first + np.arange(lanes), first + lanes + np.arange(lanes)
        terminated = rng.random(lanes) < ends
        truncated = ~terminated & (rng.random(lanes) < ends)
        action, reward = rng.integers(5, size=lanes).astype(np.int32), rng.normal(size=lanes).astype(np.float32)
        shown = self.action(action)
        states = None
        if self.replay.env is not None:
            whole = jax.tree.map(lambda leaf: leaf[0, 0], self.ours.state.stored.env_state)
            states = jax.tree.map(lambda leaf: np.broadcast_to(before[:, None] % 2 == 1, (lanes, *leaf.shape)), whole)
        new = Transitions(self.show(before), shown, reward, self.show(after), terminated, truncated, states)
        self.owner.change_run(memory=self._add(self.ours.state, new))
        columns = (before, action, reward, after, terminated, truncated)
        self.rows.append([Row(*each) for each in zip(*(column.tolist() for column in columns), strict=True)])

    def action(self, number: Any) -> Any:
        """As learners have it."""
        return number if self.replay.actions == DISCRETE else np.stack([number / 8, number / -8], -1).astype(np.float32)

    def cut(self) -> None:
        self.ours.cut()
        if self.rows:
            self.rows[-1] = [row._replace(truncated=not row.terminated) for row in self.rows[-1]]

    def reload(self) -> None:
        """Written, and read by another buffer."""
        stream = io.BytesIO()
        self.ours.save(stream)
        self.owner = Owner(self.replay)
        self.ours = DeviceReplayBuffer(self.owner)
        stream.seek(0)
        self.ours.load(stream)

    @property
    def kept(self) -> list[list[Row]]:
        return self.rows[-self.replay.rows :]

    def check(self, key: jax.Array) -> None:
        """Compares everything that can be drawn, and a draw."""
        assert (self.ours.size(), self.ours.pos) == (len(self.kept), len(self.rows) % self.replay.rows)


class Transitional(Beside):
    """The replay memory of transitions."""

    def __init__(self, replay: Replay, kind: Any) -> None:
        super().__init__(replay, kind)
        self._gather = jax.jit(replay.gather)
        self._everywhere = jnp.repeat(jnp.arange(replay.rows), replay.lanes), jnp.tile(jnp.arange(replay.lanes), replay.rows)

    def expected(self, age: int, lane: int) -> tuple[Row, float, float, Row]:
        """First row, return, discount and last row of the n-step transition that begins in the ``age``-th oldest row."""
        path = [row[lane] for row in self.kept[age : age + self.replay.n_steps]]
        ends = [i for i, row in enumerate(path) if row.terminated or row.truncated]
        path = path[: ends[0] + 1] if ends else path
        total = sum(GAMMA**i * row.reward for i, row in enumerate(path))
        return path[0], total, 0.0 if path[-1].terminated else GAMMA ** len(path), path[-1]

    def check(self, key: jax.Array) -> None:
        super().check(key)
        if not self.rows:
            return
        everything = {}
        whole = jax.device_get(self._gather(self.ours.state, *self._everywhere, jnp.float32(GAMMA)))
        for age in range(len(self.kept)):
            row = (len(self.rows) - len(self.kept) + age) % self.replay.rows
            for lane in range(self.replay.lanes):
                wanted = everything[self.kept[age][lane].number] = self.expected(age, lane)
                self.compare(whole, row * self.replay.lanes + lane, wanted)
        drawn = jax.device_get(self.ours.sample(SAMPLED, key, GAMMA))
        for i, number in enumerate(self.read(drawn.observation)):
            self.compare(drawn, i, everything[int(number)])

    def compare(self, batch: Any, i: int, wanted: tuple[Row, float, float, Row]) -> None:
        first, total, discount, last = wanted
        assert self.read(batch.observation[i]) == first.number
        assert self.read(batch.next_observation[i]) == last.following
        np.testing.assert_array_equal(batch.action[i], self.action(np.int32(first.action)))
        assert batch.terminated[i] == last.terminated
        np.testing.assert_allclose((batch.reward[i], batch.discount[i]), (total, discount), rtol=1e-5, atol=1e-6)
        for leaf in jax.tree.leaves(batch.env_state):
            assert (leaf[i] == (first.number % 2 == 1)).all()


class Sequential(Beside):
    """The replay memory of sequences."""

    def __init__(self, replay: SequenceReplay, kind: Any) -> None:
        super().__init__(replay, kind)
        self.layout, self._windows = replay, jax.jit(replay.windows)
        self._everywhere = jnp.repeat(jnp.arange(replay.rows), replay.lanes), jnp.tile(jnp.arange(replay.lanes), replay.rows)

    def check(self, key: jax.Array) -> None:
        super().check(key)
        if not self.rows:
            return
        windows = jax.device_get(self._windows(self.ours.state, *self._everywhere))
        lanes, number = self.replay.lanes, max(len(self.kept) - self.layout.window, 0) + 1
        for first in range(number):
            for lane in range(lanes):
                self.compare(windows, first * lanes + lane, first, lane)
        drawn = jax.device_get(self.ours.sample(SAMPLED, key, GAMMA))  # type: ignore[arg-type]
        oldest = {row.number: (age, lane) for age, rows in enumerate(self.kept[:number]) for lane, row in enumerate(rows)}
        for i, first_number in enumerate(self.read(drawn.inputs[0])):
            self.compare(drawn, i, *oldest[int(first_number)])

    def compare(self, windows: Any, i: int, first: int, lane: int) -> None:
        rows = [each[lane] for each in self.kept]
        is_whole = len(self.rows) < self.replay.rows  # nothing is overwritten yet; just full, the ring does not know
        started = False
        for t in range(self.layout.window):
            age = first + t
            if age >= len(rows):
                assert windows.trained[t, i] == 0
                continue
            row, before = rows[age], rows[age - 1] if age else None
            begins = is_whole if before is None else before.terminated or before.truncated
            started |= begins
            assert windows.starts[t, i] == begins
            assert self.read(windows.inputs[t, i]) == row.number
            assert self.read(windows.final_inputs[t, i]) == row.following
            assert windows.rewards[t, i] == np.float32(row.reward)
            assert windows.non_terminal[t, i] == (not row.terminated)
            is_last = row.terminated or row.truncated or t == self.layout.window - 1 or age == len(rows) - 1
            assert windows.last[t, i] == is_last
            assert windows.trained[t, i] == (started or t >= self.layout.burn_in)


class Fresh(Beside):
    """The memory of what was collected since the last update: all of it, each transition once."""

    def __init__(self, replay: RolloutBuffer, kind: Any) -> None:
        super().__init__(replay, kind)
        ignored = jax.random.PRNGKey(0), 0, jnp.float32(1.0)  # all are drawn, whatever key, number and γ
        self._everything = jax.jit(lambda state: replay.sample(state, *ignored))

    def check(self, key: jax.Array) -> None:
        super().check(key)
        drawn = jax.device_get(self._everything(self.ours.state))
        assert len(drawn.reward) == self.replay.rows * self.replay.lanes
        for age, rows in enumerate(self.kept):
            first = (len(self.rows) - len(self.kept) + age) % self.replay.rows * self.replay.lanes
            own = slice(first, first + self.replay.lanes)
            for shown, numbers in (
                (drawn.observation, [row.number for row in rows]),
                (drawn.next_observation, [row.following for row in rows]),
            ):
                np.testing.assert_array_equal(shown[own], self.show(np.array(numbers)))
            np.testing.assert_array_equal(drawn.reward[own], np.float32([row.reward for row in rows]))
            np.testing.assert_array_equal(drawn.non_terminal[own], [not row.terminated for row in rows])


class Phase(NamedTuple):
    """Rows that are added, with the probability that each ends an episode, and what comes then."""

    rows: int
    ends: float
    then: str


phases = st.builds(
    Phase,
    st.integers(0, 12),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.sampled_from(["go on", "go on", "cut", "reload", "forget"]),
)


def explore(beside: Beside, examples: int, rows: int) -> int:
    """Adds so many rows in each of so many examples; returns how many transitions were stored."""
    stored = 0

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(phases, min_size=1, max_size=12), st.integers(0, 2**16))
    def run(wanted: list[Phase], lots: int) -> None:
        nonlocal stored
        rng, added = np.random.default_rng(lots), 0
        beside.forget()
        while True:
            for phase in wanted:
                for _ in range(phase.rows or 1):
                    beside.add(rng, phase.ends)
                    added += 1
                    stored += beside.replay.lanes
                    if added == rows:
                        beside.check(jax.random.PRNGKey(lots))
                        return
                if phase.then != "go on":
                    getattr(beside, phase.then)()
                beside.check(jax.random.PRNGKey(added))

    run()
    return stored


def transitional(kind: str, actions: ActionCodec, rows: int, lanes: int, n_steps: int, stores_states: bool = False) -> Beside:
    space = getattr(Spaces, kind)
    env = PanFlute(2) if stores_states else None
    return Transitional(Replay(ObservationCodec.of(space[0]), actions, rows, lanes, n_steps, env), space)


def sequential(kind: str, rows: int, lanes: int, length: int, burn_in: int) -> Beside:
    space = getattr(Spaces, kind)
    codec = ObservationCodec.of(space[0])
    return Sequential(SequenceReplay(codec, DISCRETE, rows, lanes, sequence_length=length, burn_in=burn_in), space)


def fresh(kind: str, actions: ActionCodec, rows: int, lanes: int) -> Beside:
    space = getattr(Spaces, kind)
    return Fresh(RolloutBuffer(ObservationCodec.of(space[0]), actions, rows, lanes), space)


LIGHT = [
    (transitional, ("bits", DISCRETE, 11, 2, 3, True)),
    (sequential, ("float", 10, 2, 4, 2)),
    (fresh, ("bits", DISCRETE, 7, 2)),
]
MORE = [
    (transitional, ("bits", DISCRETE, 7, 1, 1)),
    (transitional, ("bytes", VECTORS, 5, 3, 5)),
    (transitional, ("float", VECTORS, 40, 2, 4)),
    (transitional, ("float", VECTORS, 3, 1, 3, True)),
    (transitional, ("index", DISCRETE, 9, 2, 2)),
    (sequential, ("bits", 13, 3, 5, 0)),
    (sequential, ("float", 6, 1, 4, 2)),
    (sequential, ("bytes", 30, 2, 7, 3)),
    (sequential, ("index", 8, 1, 10, 3)),
    (fresh, ("bytes", DISCRETE, 5, 3)),
    (fresh, ("float", VECTORS, 10, 1)),
    (fresh, ("index", DISCRETE, 4, 2)),
]


def test_every_kind_of_memory_is_among_them() -> None:
    ours = {kind for kind in (Replay, *Replay.__subclasses__()) if kind.__module__.startswith("mbrl_agents.")}
    beside_lists_elsewhere = {sequence_replay.SequenceReplay}  # by test_sequence_replay
    assert ours - beside_lists_elsewhere == {type(make(*layout).replay) for make, layout in LIGHT}


@pytest.mark.parametrize(("make", "layout"), LIGHT)
def test_a_memory_holds_what_a_list_holds(make: Callable[..., Beside], layout: tuple) -> None:
    assert explore(make(*layout), examples=12, rows=60) >= 12 * 60


@pytest.mark.slow
@pytest.mark.parametrize(("make", "layout"), [*LIGHT, *MORE])
def test_every_memory_holds_what_a_list_holds(make: Callable[..., Beside], layout: tuple) -> None:
    """Ten thousand rows each."""
    assert explore(make(*layout), examples=50, rows=200) >= 10_000
