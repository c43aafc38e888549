"""The Gymnasium environment: what its checkers demand, seeding, actions, and that nothing handed out is changed afterwards."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import mbrl_envs
from mbrl_envs import lane as lanes

IDS = ("mbrl/ProcMaze-v0", "mbrl/OpenGrid-v0", "mbrl/ButtonGrid-v0", "mbrl/PanFlute-v0")
SIZES: list[tuple[str, dict[str, Any]]] = [
    *((env_id, {}) for env_id in IDS),
    ("mbrl/ProcMaze-v0", {"grid_size": 2}),
    ("mbrl/ProcMaze-v0", {"grid_size": 7, "spontaneous": False}),
    ("mbrl/OpenGrid-v0", {"grid_size": 2}),
    ("mbrl/ButtonGrid-v0", {"grid_size": 2, "num_buttons": 4}),
    ("mbrl/ButtonGrid-v0", {"grid_size": 10, "num_buttons": 1}),
    ("mbrl/PanFlute-v0", {"num_pipes": 1}),
    ("mbrl/PanFlute-v0", {"num_pipes": 12}),
]
# Every size in one form, the usual ones in both.
ALL = [
    pytest.param(env_id, {**kwargs, "observation": form}, marks=pytest.mark.slow if kwargs and form == "planes" else [])
    for env_id, kwargs in SIZES
    for form in ("flat", "planes")
]


def name(value: Any) -> str | None:
    return value.removeprefix("mbrl/") if isinstance(value, str) else "-".join(map(str, value.values())) or "default"


def play(env: gymnasium.Env, actions: Any, *, reset_when_ended: bool = True) -> list[tuple]:
    """What each step returns; an ended episode is followed by a reset without a seed."""
    record = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        record.append((observation, reward, terminated, truncated, info))
        if reset_when_ended and (terminated or truncated):
            record.append(env.reset())
    return record


def assert_same(first: Any, second: Any) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:] == b[1:]


# --- Checkers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("env_id", "kwargs"), ALL, ids=name)
def test_checkers_have_nothing_to_say(env_id: str, kwargs: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id, **kwargs)
        check_env(env.unwrapped, skip_render_check=True)
        if kwargs["observation"] == "planes":
            # To SB3 three dimensions are an image, and it would like it larger and of bytes.
            warnings.filterwarnings("ignore", message=".*image")
        sb3_check_env(env)


@pytest.mark.parametrize("env_id", IDS)
def test_checkers_have_nothing_to_say_about_rendering(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id, render_mode="rgb_array").unwrapped)


# --- Time limits ----------------------------------------------------------------------------------------------------------


def steps_until_truncation(env: gymnasium.Env, most: int) -> int | None:
    env.reset(seed=0)
    for step in range(1, most + 1):
        _, _, terminated, truncated, _ = env.step(0)
        assert not terminated
        if truncated:
            return step
    return None


@pytest.mark.parametrize("env_id", ["mbrl/ButtonGrid-v0", "mbrl/PanFlute-v0"])
def test_continuing_tasks_are_truncated_after_a_thousand_steps(env_id: str) -> None:
    assert steps_until_truncation(gymnasium.make(env_id), 1001) == 1000


@pytest.mark.parametrize(("limit", "expected"), [(7, 7), (1, 1), (-1, None)])
def test_another_time_limit(limit: int, expected: int | None) -> None:
    env = gymnasium.make("mbrl/PanFlute-v0", max_episode_steps=limit)
    assert steps_until_truncation(env, 1500) == expected
    assert mbrl_envs.functional_task(env).max_episode_steps == expected


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_has_a_time_limit(env_id: str) -> None:
    assert gymnasium.spec(env_id).max_episode_steps == 1000


# --- Seeding --------------------------------------------------------------------------------------------------------------


def trajectory(env: gymnasium.Env, seed: int | None, steps: int = 60) -> list[tuple]:
    actions = np.random.default_rng(0).integers(env.action_space.n, size=steps)
    return [env.reset(seed=seed), *play(env, actions)]


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_seed_gives_the_same_trajectory(env_id: str) -> None:
    env = gymnasium.make(env_id, max_episode_steps=20)
    first = trajectory(env, 5)
    assert_same(first, trajectory(env, 5))
    assert_same(first, trajectory(gymnasium.make(env_id, max_episode_steps=20), 5))


def mazes(env: gymnasium.Env, seeds: list[int | None]) -> list[tuple]:
    return [tuple(env.reset(seed=seed)[0].tolist()) for seed in seeds]


def test_different_seeds_give_different_mazes() -> None:
    env = gymnasium.make("mbrl/ProcMaze-v0", grid_size=10)
    # Also seeds that are equal in their lowest 32 bits, or longer than 64.
    seeds = [*range(50), 2**31, 2**32, 2**32 + 1, 2**40, 2**63, 2**64, 2**100, 2**100 + 1]
    assert len(set(mazes(env, seeds))) == len(seeds)


def test_resets_without_a_seed_go_on_with_new_episodes() -> None:
    env = gymnasium.make("mbrl/ProcMaze-v0", grid_size=10)
    seen = mazes(env, [3, *[None] * 20])
    assert len(set(seen)) == len(seen)
    assert mazes(env, [3, *[None] * 20]) == seen


def test_without_any_seed_environments_differ() -> None:
    first, second = (mazes(gymnasium.make("mbrl/ProcMaze-v0", grid_size=10), [None] * 3) for _ in range(2))
    assert not set(first) & set(second)


def test_the_seeding_contract() -> None:
    """Episode e starts from fold_in(reset_key, e); step t, counted over all episodes, draws from fold_in(step_key, t)."""
    dynamics = mbrl_envs.ProcMaze(grid_size=3)
    env = mbrl_envs.FunctionalGymEnv(dynamics)
    key = jax.random.PRNGKey(11)
    reset_key, step_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    reset, step, observe = jax.jit(dynamics.reset), jax.jit(dynamics.step), jax.jit(dynamics.observe)
    observation, _ = env.reset(seed=11)
    state, episode = reset(jax.random.fold_in(reset_key, 0)), 0
    for t, action in enumerate(np.random.default_rng(1).integers(5, size=300)):
        np.testing.assert_array_equal(observation, observe(state))
        transition = step(jax.random.fold_in(step_key, t), state, jax.numpy.int32(action))
        observation, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated, info) == (transition.reward, transition.terminated, False, {})
        state = transition.state
        if terminated:
            episode += 1
            state = reset(jax.random.fold_in(reset_key, episode))
            observation, _ = env.reset()
    assert episode > 5
    lane = lanes.start(dynamics, key)
    np.testing.assert_array_equal(lane.reset_key, reset_key)
    np.testing.assert_array_equal(lane.step_key, step_key)


# --- What goes in and out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_observations_are_fresh_writable_arrays(env_id: str) -> None:
    env = gymnasium.make(env_id)

    def handed_out() -> Iterator[np.ndarray]:
        yield env.reset(seed=0)[0]
        for action in [1, 2, 3, 4] * 10:
            observation, _, terminated, _, _ = env.step(action)
            yield observation
            if terminated:
                yield env.reset()[0]

    # Copied before the next step, which might write into what this one has handed out.
    observations, kept = zip(*((each, each.copy()) for each in handed_out()), strict=True)
    for observation, before in zip(observations, kept, strict=True):
        np.testing.assert_array_equal(observation, before)
    for observation in observations:
        assert type(observation) is np.ndarray
        assert observation.flags.writeable
        assert observation.flags.owndata
        observation[...] = ~observation
    for before, changed, after in zip(kept, observations, handed_out(), strict=True):
        np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(~before, changed)


def test_types_of_what_a_step_returns() -> None:
    env = mbrl_envs.FunctionalGymEnv("ProcMaze")
    assert env.reset(seed=0)[1] == {}
    _, reward, terminated, truncated, info = env.step(0)
    assert (type(reward), type(terminated), type(truncated), info) == (float, bool, bool, {})


@pytest.mark.parametrize("action", [1, np.int64(1), np.int8(1), np.uint8(1), np.array(1), jax.numpy.int32(1), True])
def test_integers_of_all_kinds_are_actions(action: Any) -> None:
    env = mbrl_envs.FunctionalGymEnv("PanFlute", num_pipes=3, spontaneous=False)
    env.reset(seed=0)
    observation = env.step(action)[0]
    assert observation.tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    "action", [5, -1, 2**70, 1.0, 1.5, np.float32(1), "1", None, [1], np.array([1]), np.array([1, 2]), float("nan"), {}]
)
def test_what_is_no_action_is_refused(action: Any) -> None:
    env = mbrl_envs.FunctionalGymEnv("PanFlute")
    start, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be in Discrete"):
        env.step(action)
    np.testing.assert_array_equal(env.step(0)[0].sum(), start.sum() + 1)  # the refused one has not counted


def test_a_step_before_the_first_reset_is_refused() -> None:
    for env in (mbrl_envs.FunctionalGymEnv("ProcMaze"), gymnasium.make("mbrl/ProcMaze-v0")):
        for call in (lambda env=env: env.step(0), lambda env=env: env.unwrapped.state):
            with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
                call()


def test_the_state_can_be_looked_at() -> None:
    env = mbrl_envs.FunctionalGymEnv("ButtonGrid")
    observation, _ = env.reset(seed=0)
    for action in [1, 1, 2, 2, 3, 3, 4, 4] * 5:
        state = env.state
        assert state.on.dtype == bool
        assert state.position.dtype == state.buttons.dtype == np.int32
        np.testing.assert_array_equal(env.dynamics.observe(jax.tree.map(jax.numpy.asarray, state)), observation)
        observation = env.step(action)[0]


# --- Rendering, copies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_render_modes(env_id: str) -> None:
    picture_env, text_env = (gymnasium.make(env_id, render_mode=mode) for mode in ("rgb_array", "ansi"))
    shapes = set()
    for env in (picture_env, text_env):
        env.reset(seed=0)
    for _ in range(3):
        picture, text = picture_env.render(), text_env.render()
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert isinstance(text, str)
        assert "step" in text
        shapes.add(picture.shape)
        for env in (picture_env, text_env):
            env.step(1)
    assert len(shapes) == 1


def test_without_a_render_mode_render_warns() -> None:
    env = mbrl_envs.FunctionalGymEnv("ProcMaze")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


@pytest.mark.parametrize("mode", ["human", "RGB", 3, ["ansi"]])
def test_unknown_render_modes_are_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="render_mode must be"):
        mbrl_envs.FunctionalGymEnv("ProcMaze", render_mode=mode)


def copied_by_pickle(env: gymnasium.Env) -> gymnasium.Env:
    return pickle.loads(pickle.dumps(env))


@pytest.mark.parametrize("copied", [copy.deepcopy, copied_by_pickle])
@pytest.mark.parametrize("env_id", IDS)
def test_copies_go_on_alike_and_apart(env_id: str, copied: Any) -> None:
    env = gymnasium.make(env_id, max_episode_steps=15)
    fresh = copied(env)
    assert_same(trajectory(fresh, 4), trajectory(env, 4))
    twin = copied(env)
    actions = np.random.default_rng(2).integers(env.action_space.n, size=40)
    assert_same(play(twin, actions), play(env, actions))
