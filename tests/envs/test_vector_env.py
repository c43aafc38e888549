"""The vector environment: lane by lane what Gymnasium's own vectorisation of single environments does, bit for bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import mbrl_envs
from mbrl_envs.batched import PREPARE_FROM, BatchedEnv

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
# From 64 environments on, mazes are prepared; tests below depend on the largest number being among those.
MANY = 70
assert BatchedEnv(mbrl_envs.ProcMaze(), MANY).prepares
assert not BatchedEnv(mbrl_envs.ProcMaze(), PREPARE_FROM - 1).prepares

TASKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "small mazes": ("mbrl/ProcMaze-v0", {"grid_size": 2}, 9),
    "mazes": ("mbrl/ProcMaze-v0", {"observation": "planes"}, 12),
    "open grid": ("mbrl/OpenGrid-v0", {"grid_size": 3}, 11),
    "buttons": ("mbrl/ButtonGrid-v0", {"grid_size": 3, "num_buttons": 2}, 8),
    "flute": ("mbrl/PanFlute-v0", {"num_pipes": 3}, 10),
}


def make_pair(task: str, num_envs: int, mode: AutoresetMode) -> tuple[VectorEnv, SyncVectorEnv]:
    env_id, kwargs, limit = TASKS[task]
    ours = gymnasium.make_vec(env_id, num_envs=num_envs, max_episode_steps=limit, autoreset_mode=mode, **kwargs)
    # Without the passive checker, which is the slowest part of a step.
    single: Callable[[], gymnasium.Env] = lambda: gymnasium.make(  # noqa: E731
        env_id, max_episode_steps=limit, disable_env_checker=True, **kwargs
    )
    return ours, SyncVectorEnv([single] * num_envs, autoreset_mode=mode)


def assert_same_info(ours: Any, theirs: Any) -> None:
    """Also the types of what is inside: which arrays of objects, which masks."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same_info(ours[key], theirs[key])
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.dtype == object
        assert ours.shape == theirs.shape
        for a, b in zip(ours, theirs, strict=True):
            assert_same_info(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours is theirs or ours == theirs


def assert_same_step(ours: tuple, theirs: tuple) -> None:
    for a, b in zip(ours[:4], theirs[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, dtype in zip(ours[:4], (bool, np.float32, bool, bool), strict=True):
        assert a.dtype == dtype
        assert a.flags.writeable
    assert_same_info(ours[4], theirs[4])


def run(pair: tuple[VectorEnv, VectorEnv], steps: int, seed: int) -> np.ndarray:
    """Plays the same random actions in both; returns how many episodes terminated and how many were only truncated."""
    rng = np.random.default_rng(seed)
    ends = np.zeros(2, int)
    for _ in range(steps):
        actions = rng.integers(pair[0].single_action_space.n, size=pair[0].num_envs)
        ours, theirs = (envs.step(actions) for envs in pair)
        assert_same_step(ours, theirs)
        ends += [ours[2].sum(), (ours[3] & ~ours[2]).sum()]
    return ends


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    ("task", "num_envs", "steps"),
    [
        ("buttons", 1, 300),
        *[(task, 5, 250) for task in TASKS],
        ("small mazes", MANY, 120),
        ("mazes", MANY, 40),
    ],
)
def test_every_lane_equals_a_single_environment(task: str, num_envs: int, steps: int, mode: AutoresetMode) -> None:
    pair = make_pair(task, num_envs, mode)
    ours, theirs = (envs.reset(seed=123) for envs in pair)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1] == theirs[1] == {}
    terminated, truncated = run(pair, steps, seed=0)
    assert truncated > 0
    assert (terminated > 0) == (task not in ("buttons", "flute"))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("task", "num_envs"), [("buttons", 5), ("small mazes", MANY)])
def test_resets_in_the_middle(task: str, num_envs: int, mode: AutoresetMode) -> None:
    pair = make_pair(task, num_envs, mode)
    rng = np.random.default_rng(3)
    mask = rng.random(num_envs) < 0.5
    some = [int(seed) if chosen else None for seed, chosen in zip(rng.integers(2**62, size=num_envs), mask, strict=True)]
    resets: list[dict[str, Any]] = [
        {"seed": 7},
        {},
        {"seed": some},
        {"seed": list(range(num_envs))},
        {"options": {"reset_mask": mask}},
        {"seed": 2**32 - 2, "options": {"reset_mask": ~mask}},
        {"seed": some, "options": {"reset_mask": rng.random(num_envs) < 0.5}},
        {"options": {}},
    ]
    for i, reset in enumerate(resets):
        ours, theirs = (envs.reset(**copy.deepcopy(reset)) for envs in pair)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert_same_info(ours[1], theirs[1])
        run(pair, 17 if num_envs < MANY else 8, seed=i)


def test_a_restarting_lane_ignores_its_action() -> None:
    first, second = (gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=8, grid_size=2, max_episode_steps=5) for _ in range(2))
    for envs in (first, second):
        envs.reset(seed=0)
    rng = np.random.default_rng(0)
    restarting, ignored = np.zeros(8, bool), 0
    for _ in range(200):
        actions = rng.integers(5, size=8)
        others = np.where(restarting, rng.integers(5, size=8), actions)
        ignored += (actions != others).sum()
        ours, same = first.step(actions), second.step(others)
        assert_same_step(ours, same)
        assert not ours[1][restarting].any()
        assert not (ours[2] | ours[3])[restarting].any()
        restarting = ours[2] | ours[3]
    assert ignored > 100


def test_arrays_handed_out_are_not_changed_later() -> None:
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=3, max_episode_steps=4, autoreset_mode=AutoresetMode.SAME_STEP)

    def handed_out() -> Iterator[np.ndarray]:
        yield envs.reset(seed=0)[0]
        for _ in range(20):
            *arrays, info = envs.step([0, 1, 2])
            yield from arrays
            yield from info.get("final_obs", [])

    # Copied before the next step, which might write into what this one has handed out.
    arrays, kept = zip(*((each, each.copy()) for each in handed_out()), strict=True)
    for array, copied in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copied)
    for array in arrays:
        array[...] = ~array if array.dtype == bool else array + 1
    for again, copied in zip(handed_out(), kept, strict=True):
        np.testing.assert_array_equal(again, copied)


def test_without_a_seed_lanes_differ_and_runs_differ() -> None:
    mazes = [
        tuple(observation.tolist())
        for _ in range(2)
        for observation in gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=4, grid_size=7).reset()[0]
    ]
    assert len(set(mazes)) == 8


# --- Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three() -> VectorEnv:
    envs = gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=3)
    envs.reset(seed=0)
    return envs


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 0], "shape"),
        ([0, 0, 0, 0], "shape"),
        (np.zeros((3, 1), int), "shape"),
        (0, "shape"),
        (None, "shape"),
        ("012", "shape"),
        ([0.0, 1.0, 2.0], "integers"),
        ([None, 0, 0], "integers"),
        (["0", "1", "2"], "integers"),
        (np.zeros(3, bool), "integers"),
        ([0, 0, 5], "Discrete"),
        ([0, -1, 0], "Discrete"),
        (np.array([0, 0, 2**63], np.uint64), "Discrete"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(three: VectorEnv, actions: Any, message: str) -> None:
    observation = three.reset(seed=1)[0]
    with pytest.raises(ValueError, match=message):
        three.step(actions)
    after = three.step(np.zeros(3, np.int64))[0]
    three.reset(seed=1)
    np.testing.assert_array_equal(three.step([0, 0, 0])[0], after)
    assert (after != observation).any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_of_all_kinds_are_actions(three: VectorEnv, dtype: Any) -> None:
    for actions in (np.array([0, 1, 4], dtype), jax.numpy.asarray(np.array([0, 1, 4], dtype).astype(np.int32))):
        three.reset(seed=1)
        first_cells = three.step(actions)[0][:, [0, 1, 3, 6, 10]]
        np.testing.assert_array_equal(first_cells[:, 1:], np.eye(5, dtype=bool)[[0, 1, 4]][:, 1:])


@pytest.mark.parametrize(
    "mask", [[True, False, False], np.zeros(3, bool), np.ones(2, bool), np.ones(3, int), np.ones((3, 1), bool), True, "all"]
)
def test_bad_masks_are_refused(three: VectorEnv, mask: Any) -> None:
    with pytest.raises(ValueError, match="reset_mask"):
        three.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("seed", [-1, [0, -1, 2], [0, 1.5, 2], ["a", 1, 2], [True, 1, 2]])
def test_bad_seeds_are_refused(three: VectorEnv, seed: Any) -> None:
    with pytest.raises(gymnasium.error.Error, match=r"[Ss]eed"):
        three.reset(seed=seed)


@pytest.mark.parametrize("seed", [[], [1, 2], [1, 2, 3, 4]])
def test_as_many_seeds_as_environments(three: VectorEnv, seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must have one entry for each of the 3"):
        three.reset(seed=seed)


@pytest.mark.parametrize("num_envs", [0, -1, 2**20 + 1, 2**70, 1.5, "3", True, None])
def test_bad_numbers_of_environments_are_refused(num_envs: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="num_envs must be an integer from 1 to"):
        gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=num_envs)


@pytest.mark.parametrize("limit", [0, -2, 1.5, "5", 2**31])
def test_bad_time_limits_are_refused(limit: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_episode_steps"):
        gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=2, max_episode_steps=limit)


@pytest.mark.parametrize("mode", [AutoresetMode.DISABLED, "Disabled", "same step", None, 1])
def test_other_autoreset_modes_are_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="autoreset_mode must be NEXT_STEP or SAME_STEP"):
        mbrl_envs.FunctionalVectorEnv("PanFlute", 2, autoreset_mode=mode)


def test_before_the_first_reset_nothing_works() -> None:
    envs = gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=2, render_mode="ansi")
    for call in (lambda: envs.step([0, 0]), envs.render):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()


# --- The rest of the interface --------------------------------------------------------------------------------------------


def test_spaces_and_metadata() -> None:
    for mode in (*MODES, "NextStep", "SameStep"):
        envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=np.int64(3), autoreset_mode=mode)
        assert envs.metadata["autoreset_mode"] == AutoresetMode(mode)
    assert type(envs.num_envs) is int
    assert envs.observation_space.shape == (3, 64)
    assert envs.single_observation_space.shape == (64,)
    assert envs.action_space == gymnasium.vector.utils.batch_space(envs.single_action_space, 3)
    assert envs.reset(seed=0)[0] in envs.observation_space
    assert all(envs.step(envs.action_space.sample())[0] in envs.observation_space for _ in range(5))
    envs.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, mbrl_envs.PanFlute.max_episode_steps),  # the id's own
        ({"max_episode_steps": None}, None),  # unlike gymnasium.make, Gymnasium's make_vec hands a given None on
        ({"max_episode_steps": -1}, None),
        ({"max_episode_steps": 30}, 30),
    ],
    ids=str,
)
def test_time_limit(given: dict[str, Any], expected: int | None) -> None:
    envs = gymnasium.make_vec("mbrl/PanFlute-v0", num_envs=2, **given)
    assert envs.unwrapped.functional_task.max_episode_steps == expected


def test_render() -> None:
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=3, render_mode="rgb_array")
    envs.reset(seed=0)
    pictures = envs.render()
    assert len(pictures) == 3
    assert {(picture.dtype.name, picture.ndim) for picture in pictures} == {("uint8", 3)}
    assert (pictures[0] != pictures[1]).any()
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=2, render_mode="ansi")
    envs.reset(seed=0)
    assert ["environment 1" in text for text in envs.render()] == [False, True]
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=2)
    envs.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert envs.render() is None


@pytest.mark.parametrize("num_envs", [3, MANY])
def test_copies_go_on_alike_and_apart(num_envs: int) -> None:
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=num_envs, grid_size=2, max_episode_steps=6)
    fresh = copy.deepcopy(envs)
    for each in (envs, fresh):
        each.reset(seed=1)
    run((envs, fresh), 15, seed=0)
    for copied in (copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))):
        run((envs, copied(envs)), 15, seed=1)
