"""Many lanes at once: prepared starts change no number, are each used once, and never run out."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from jax import lax

from mbrl_envs import BatchedEnv, ButtonGrid, FunctionalEnv, OpenGrid, PanFlute, ProcMaze
from mbrl_envs import lane as lanes
from mbrl_envs.batched import BULK, PREPARE_FROM, PREPARED_STARTS, BatchState
from mbrl_envs.functional import Transition
from mbrl_envs.proc_maze import MazeState

NEXT_STEP, SAME_STEP = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


@dataclasses.dataclass(frozen=True)
class Hasty(ProcMaze):
    """Mazes in which every step terminates, as it does where start and goal coincide."""

    def transition(self, state: MazeState, action: jax.Array, events: Any) -> Transition:
        return super().transition(state, action, events)._replace(terminated=jnp.bool_(True))


@dataclasses.dataclass(frozen=True)
class Uneven(ProcMaze):
    """Mazes that action 1 ends at once."""

    def transition(self, state: MazeState, action: jax.Array, events: Any) -> Transition:
        return super().transition(state, action, events)._replace(terminated=action == 1)


def keys_of(num: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.PRNGKey(seed), num)


class Played:
    """What happened, arrays (steps, lanes, …), and the state in which it ended."""

    def __init__(self, batched: BatchedEnv, steps: int, seed: int = 0) -> None:
        env, num = batched.env, batched.num_envs

        @jax.jit
        def run(keys: jax.Array, action_key: jax.Array) -> Any:
            def step(state: BatchState, step_key: jax.Array) -> Any:
                actions = jax.random.randint(step_key, (num,), 0, env.action_space.n)
                # The first lanes do nothing but wait, for the sake of `Uneven`.
                after, out = batched.step(state, jnp.where(jnp.arange(num) < num // 3, 0, actions))
                return after, (out, state.lanes.state, state.lanes.episode, after.lanes.state, after.lanes.episode)

            start = batched.init(keys)
            return start.lanes, *lax.scan(step, start, jax.random.split(action_key, steps))

        played = jax.device_get(run(keys_of(num, seed), jax.random.PRNGKey(seed + 1)))
        self.first, self.last, (self.out, self.state, self.episode, self.next_state, self.next_episode) = played


def assert_equal(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@functools.cache
def starts_of(env: ProcMaze, num_lanes: int, num_episodes: int, seed: int) -> Any:
    """By definition: the start of each lane's episodes, (lanes, episodes, …), with JAX's own ``fold_in``."""

    def start(key: jax.Array, episode: jax.Array) -> Any:
        return env.reset(jax.random.fold_in(jax.random.fold_in(key, 0), episode))

    both = jax.vmap(jax.vmap(start, in_axes=(None, 0)), in_axes=(0, None))
    return jax.device_get(jax.jit(both)(keys_of(num_lanes, seed), jnp.arange(num_episodes, dtype=jnp.uint32)))


# Environment, lanes, time limit, steps. With ten lanes, eight starts of each are drawn at once; with 1100, one.
CASES: dict[str, tuple[ProcMaze, int, int | None, int]] = {
    "every step ends, few lanes": (Hasty(grid_size=3), 10, None, 200),
    "every step ends, many lanes": (Hasty(grid_size=2), BULK + 76, None, 60),
    "some wait, others end": (Uneven(grid_size=2), 100, 30, 600),
    "small mazes": (ProcMaze(grid_size=2), PREPARE_FROM, None, 3000),
    "truncated together": (ProcMaze(grid_size=4), 300, 3, 300),
}


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        ("every step ends, few lanes", SAME_STEP),
        ("every step ends, many lanes", SAME_STEP),
        ("some wait, others end", SAME_STEP),
        ("small mazes", NEXT_STEP),
        ("truncated together", NEXT_STEP),
    ],
    ids=lambda value: value if isinstance(value, str) else value.value,
)
def test_prepared_starts_change_no_number_and_are_each_used_once(case: str, mode: AutoresetMode) -> None:
    env, num, limit, steps = CASES[case]
    prepared, fresh = (Played(BatchedEnv(env, num, limit, mode, prepare=prepare), steps) for prepare in (True, False))
    assert prepared.last.prepared is not None
    assert fresh.last.prepared is None
    for name in ("first", "out", "state", "episode", "next_state", "next_episode"):
        assert_equal(getattr(prepared, name), getattr(fresh, name))
    assert_equal(prepared.last.lanes, fresh.last.lanes)

    # Every episode starts as it should, and follows the one before: none is left out, none comes twice.
    begins = prepared.next_episode != prepared.episode
    assert begins.any(axis=0).all()
    assert (prepared.next_episode == prepared.episode + begins).all()
    assert (prepared.episode[1:] == prepared.next_episode[:-1]).all()
    num_episodes = int(prepared.next_episode.max()) + 1
    expected = starts_of(env, num, num_episodes, 0)
    step, lane = np.nonzero(begins)
    assert_equal(
        jax.tree.map(lambda leaf: leaf[step, lane], prepared.next_state),
        jax.tree.map(lambda leaf: leaf[lane, prepared.next_episode[step, lane]], expected),
    )
    assert_equal(prepared.first.state, jax.tree.map(lambda leaf: leaf[:, 0], expected))
    if "every step" in case:
        assert begins.all()
    if case == "some wait, others end":  # Quick lanes have used up all they had several times while others had no room.
        assert prepared.last.lanes.episode.max() > prepared.last.lanes.episode.min() + 3 * PREPARED_STARTS


def test_no_maze_comes_twice() -> None:
    """With a grid this large, a repeated maze would be a repeated start."""
    played = Played(BatchedEnv(Hasty(grid_size=12), 64, None, SAME_STEP, prepare=True), 80)
    codes = np.concatenate([played.state.open.reshape(80 * 64, -1), played.state.position.reshape(-1, 1)], axis=1)
    assert len(np.unique(codes, axis=0)) == 80 * 64


def test_restarts_from_outside_use_prepared_starts_too() -> None:
    env, num = ProcMaze(grid_size=2), 40
    prepared, fresh = (BatchedEnv(env, num, 4, prepare=prepare) for prepare in (True, False))
    rng = np.random.default_rng(0)
    functions = [(jax.jit(each.step), jax.jit(each.restart), jax.jit(each.reseed)) for each in (prepared, fresh)]
    states = [jax.jit(each.init)(keys_of(num)) for each in (prepared, fresh)]
    for i in range(60):
        actions, mask, keys = rng.integers(5, size=num), jnp.asarray(rng.random(num) < 0.3), keys_of(num, 100 + i)
        for j, (step, restart, reseed) in enumerate(functions):
            states[j] = step(states[j], jnp.asarray(actions))[0]
            if i % 2 == 0:
                states[j] = restart(states[j], mask)
            if i % 5 == 0:
                states[j] = reseed(states[j], keys, ~mask)
        assert_equal(states[0].lanes, states[1].lanes)
        assert_equal(states[0].ended, states[1].ended)


def test_episodes_are_counted_beyond_32_bits_without_trouble() -> None:
    """A lane's count of episodes wraps after 2**32; the prepared ones must still be its own."""
    env, num = Hasty(grid_size=2), 5
    last = []
    for prepare in (True, False):
        batched = BatchedEnv(env, num, None, SAME_STEP, prepare=prepare)
        state = batched.init(keys_of(num))
        near_the_end = state.lanes._replace(episode=jnp.full(num, 2**32 - 30, jnp.uint32))
        filled = state.prepared._replace(until=near_the_end.episode + 1) if prepare else None
        state = BatchState(near_the_end, state.ended, filled)
        run = jax.jit(lambda state, b=batched: lax.scan(lambda s, _: b.step(s, jnp.zeros(num, jnp.int32)), state, None, 60))
        last.append(jax.device_get(run(state)))
    assert (last[0][0].lanes.episode == 30).all()
    assert_equal(last[0][0].lanes, last[1][0].lanes)
    assert_equal(last[0][1], last[1][1])


def test_many_batches_under_vmap() -> None:
    """Runs side by side, as training loops have them: each batch does the same as alone."""
    batched = BatchedEnv(ProcMaze(grid_size=2), 8, 6, SAME_STEP, prepare=True)
    keys = jax.random.split(jax.random.PRNGKey(4), (3, 8))
    actions = jax.random.randint(jax.random.PRNGKey(5), (80, 3, 8), 0, 5)

    def run(keys: jax.Array, actions: jax.Array) -> Any:
        return lax.scan(batched.step, batched.init(keys), actions)

    together = jax.device_get(jax.jit(jax.vmap(run, in_axes=(0, 1)))(keys, actions))
    alone = jax.jit(run)
    for i in range(3):
        state, out = jax.device_get(alone(keys[i], actions[:, i]))
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], together[1]), out)
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], together[0].lanes), state.lanes)


@pytest.mark.parametrize("env", [ProcMaze(), OpenGrid(), ButtonGrid(), PanFlute()], ids=lambda env: type(env).__name__)
def test_starts_are_prepared_only_where_it_pays(env: FunctionalEnv) -> None:
    assert BatchedEnv(env, PREPARE_FROM).prepares == isinstance(env, ProcMaze)
    assert not BatchedEnv(env, PREPARE_FROM - 1).prepares
    assert BatchedEnv(env, 2, prepare=True).prepares
    assert not BatchedEnv(env, 1000, prepare=False).prepares


@pytest.mark.parametrize(("env", "mode"), [(ProcMaze(grid_size=2), SAME_STEP), (OpenGrid(grid_size=2), NEXT_STEP)])
def test_a_lane_does_the_same_alone_as_among_others(env: FunctionalEnv, mode: AutoresetMode) -> None:
    """Written out with the functions of a lane, one step after the other."""
    num, limit, steps = 3, 5, 40
    batched = BatchedEnv(env, num, limit, mode)
    state, keys = batched.init(keys_of(num)), keys_of(num)
    step, observe = jax.jit(batched.step), jax.jit(env.observe)
    advance, next_start, restart = (
        jax.jit(functools.partial(lanes.advance, env)),
        jax.jit(functools.partial(lanes.next_start, env)),
        jax.jit(lanes.restart),
    )
    singles = [jax.jit(functools.partial(lanes.start, env))(key) for key in keys]
    ended = [False] * num
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = rng.integers(env.action_space.n, size=num)
        state, out = step(state, jnp.asarray(actions))
        for i, action in enumerate(actions):
            if ended[i]:
                singles[i], reward, terminated, truncated = restart(singles[i], next_start(singles[i])), 0, False, False
            else:
                singles[i], transition = advance(singles[i], jnp.int32(action))
                reward, terminated = transition.reward, transition.terminated
                truncated = singles[i].elapsed >= limit
            if mode == SAME_STEP:
                assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], out.final_state), singles[i].state)
            assert (out.reward[i], out.terminated[i], out.truncated[i]) == (reward, terminated, truncated)
            ended[i] = bool(terminated or truncated)
            if ended[i] and mode == SAME_STEP:
                singles[i], ended[i] = restart(singles[i], next_start(singles[i])), False
            np.testing.assert_array_equal(out.observation[i], observe(singles[i].state))
            assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], state.lanes), singles[i])
