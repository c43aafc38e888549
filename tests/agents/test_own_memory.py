"""A replay memory with a state of its own, from outside the package: it is used, saved, loaded and mapped like any other."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents import ReplayDQN, SweepResult, train_sweep
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch, Replay, ReplayState, Transitions
from tests.agents.comparing import assert_same
from tests.agents.small import TINY, both_loops, flute


class DrawnState(NamedTuple):
    """Stored transitions, and how often each was drawn, float32 (rows, lanes); ``total``: draws ever, int32."""

    stored: Transitions
    position: jax.Array
    size: jax.Array
    priorities: jax.Array
    total: jax.Array


@dataclasses.dataclass(frozen=True)
class DrawnLess(Replay):
    """Draws in proportion to priorities: 1 of a new transition, halved by every draw."""

    def init(self) -> DrawnState:  # type: ignore[override]
        zeros = jnp.zeros((self.rows, self.lanes), jnp.float32)
        return DrawnState(*super().init(), priorities=zeros, total=jnp.int32(0))

    def add(self, state: Any, new: Transitions) -> Any:
        return super().add(state._replace(priorities=state.priorities.at[state.position].set(1.0)), new)

    def draw(self, state: Any, key: jax.Array, batch_size: int, gamma: jax.Array) -> tuple[Batch, ReplayState]:
        flat = jax.random.categorical(key, jnp.log(state.priorities).ravel(), shape=(batch_size,))
        row, lane = flat // self.lanes, flat % self.lanes
        priorities = state.priorities.at[row, lane].multiply(0.5)
        return self.gather(state, row, lane, gamma), state._replace(priorities=priorities, total=state.total + batch_size)


class DrawnLessDQN(ReplayDQN):
    """ReplayDQN with that memory."""

    def _make_replay(self, codec: ObservationCodec, rows: int) -> Replay:
        return DrawnLess(codec, self.actions, rows, self.n_envs, self.n_steps)


SMALL = TINY | {"buffer_size": 60}  # wraps round


def agent(device_loop: bool = True, **changes: Any) -> DrawnLessDQN:
    return DrawnLessDQN("MlpPolicy", flute(), device_loop=device_loop, **(SMALL | changes))


@both_loops
@pytest.mark.parametrize("gradient_steps", [1, 2])
def test_it_changes_as_it_is_drawn_from(device_loop: bool, gradient_steps: int) -> None:
    learner = agent(device_loop, gradient_steps=gradient_steps).learn(100)
    state, batch = jax.device_get(learner.memory.state), learner.batch_size
    assert state.total == learner._n_updates * batch > 0
    assert state.priorities.shape == (60, 1)
    draws = -np.log2(state.priorities)
    np.testing.assert_array_equal(draws, np.round(draws))
    assert 60 <= draws.sum() <= state.total
    # A uniform batch has the newest transition in it one time in four; of these, it fills a third of the first.
    assert draws[state.position - 1, 0] >= 5


def test_both_loops_draw_the_same() -> None:
    """From one memory with one key."""
    learner = agent().learn(70)
    key = learner.run.keys.of_update(learner._n_updates)[0]
    batch, state = learner.replay.draw(learner.memory.state, key, 16, jnp.float32(0.9))
    drawn = learner.memory.sample(16, key, 0.9)
    assert_same(drawn, batch)
    assert_same(learner.memory.state, state)


@both_loops
def test_it_is_saved_and_loaded_and_goes_on(device_loop: bool, tmp_path: pathlib.Path) -> None:
    learner = agent(device_loop).learn(45)
    learner.save(tmp_path / "agent")
    learner.save_replay_buffer(tmp_path / "memory")
    again = DrawnLessDQN.load(tmp_path / "agent", env=flute())
    again.load_replay_buffer(tmp_path / "memory")
    assert_same(again.memory.state, learner.memory.state)
    if device_loop:
        for each in (learner, again):
            each.learn(40, reset_num_timesteps=False)
        assert_same(again.run, learner.run)
    with pytest.raises(ValueError, match="holds no replay memory"):
        ReplayDQN("MlpPolicy", flute(), **SMALL).load_replay_buffer(tmp_path / "memory")


def swept(execution: str, **more: Any) -> SweepResult:
    arguments = {name: value for name, value in SMALL.items() if name != "seed"} | {"gamma": [0.9, 0.5]}
    sizes = {"eval_interval": 40, "eval_episodes": 2, "eval_steps": 10}
    return train_sweep(DrawnLessDQN, flute(), arguments, [1], 100, execution=execution, **sizes, **more)


@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_it_is_swept(execution: str) -> None:
    """Run by run and mapped, it is the memory of the run alone."""
    result = swept(execution)
    for run, gamma in enumerate((0.9, 0.5)):
        alone = agent(gamma=gamma).learn(100)
        theirs, ours = result.agent(run), alone
        assert_same(
            theirs.memory.state._replace(priorities=(), stored=()), ours.memory.state._replace(priorities=(), stored=())
        )
        np.testing.assert_array_equal(theirs.memory.state.stored.action, ours.memory.state.stored.action)
        np.testing.assert_array_equal(theirs.memory.state.priorities, ours.memory.state.priorities)


def test_only_where_it_writes_is_equal_for_runs_in_step() -> None:
    assert agent().replay.differs_in_step() == DrawnState(True, False, False, True, True)
