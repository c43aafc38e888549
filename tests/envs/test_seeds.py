"""Seeds: any integer that Python or NumPy has, and nothing else, through every adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import mbrl_envs
from mbrl_envs import Distractors, PanFlute, RandomWalk2D, conditioning
from mbrl_envs.multi_agent import CoopButtonGrid

INTEGERS = [np.int64(11), np.int32(11), np.uint8(11), np.uint64(11)]


def _parallel() -> Any:
    from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv

    return FunctionalParallelEnv(CoopButtonGrid(3, 2))


MAKERS: dict[str, Callable[[], Any]] = {
    "Env": lambda: gymnasium.make("mbrl/ButtonGrid-v0", grid_size=3, num_buttons=2),
    "VectorEnv": lambda: gymnasium.make_vec("mbrl/ButtonGrid-v0", 3, grid_size=3, num_buttons=2),
    "ParallelEnv": _parallel,
    "Distractors": lambda: Distractors(gymnasium.make("Pendulum-v1"), 3),
    "CartPoleNoVelocity": lambda: gymnasium.make("mbrl/CartPoleNoVelocity-v0"),
}


def seen(observation: Any) -> list[Any]:
    return [each.tolist() for each in (observation.values() if isinstance(observation, dict) else [observation])]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_numpys_integers_are_integers(make: Callable[[], Any]) -> None:
    plain = make()
    has_generator = not hasattr(plain, "possible_agents")  # PettingZoo's have none
    expected = seen(plain.reset(seed=11)[0])
    assert seen(plain.reset(seed=12)[0]) != expected
    plain.reset(seed=11)
    drawn = plain.unwrapped.np_random.integers(10**9) if has_generator else None
    for seed in INTEGERS:
        env = make()
        env.reset(seed=5)
        assert seen(env.reset(seed=seed)[0]) == expected, repr(seed)
        if has_generator:
            assert env.np_random_seed == 11  # not the old one
            assert env.unwrapped.np_random.integers(10**9) == drawn


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("seed", [-1, np.int64(-1), 1.0, np.float64(1), True, "1", np.bool_(True)], ids=repr)
def test_what_is_no_seed_is_refused(make: Callable[[], Any], seed: Any) -> None:
    with pytest.raises(gymnasium.error.Error, match="seed must be None"):
        make().reset(seed=seed)


def test_lists_and_arrays_of_seeds() -> None:
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", 3)
    expected = envs.reset(seed=[4, 5, 6])[0]
    np.testing.assert_array_equal(envs.reset(seed=np.array([4, 5, 6]))[0], expected)
    np.testing.assert_array_equal(envs.reset(seed=[np.int32(4), np.uint8(5), 6])[0], expected)
    np.testing.assert_array_equal(envs.reset(seed=4)[0], expected)
    for wrong in ([4, True, 6], [4, 5, -6], [4, 5, 6.0]):
        with pytest.raises(gymnasium.error.Error, match="seed must be None or a non-negative integer, got"):
            envs.reset(seed=wrong)
    with pytest.raises(ValueError, match="seed must have one entry for each of the 3 environments, got 2"):
        envs.reset(seed=[4, 5])


def test_numpys_integers_seed_vec_envs_and_trials() -> None:
    vec, plain = (mbrl_envs.FunctionalVecEnv(RandomWalk2D(), 2) for _ in range(2))
    vec.seed(np.int64(3))
    plain.seed(3)
    np.testing.assert_array_equal(vec.reset(), plain.reset())
    task = conditioning.CueReward()
    first, second = (conditioning.sample_trials(task, 2, seed) for seed in (7, np.int64(7)))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)
    assert PanFlute() == PanFlute(np.int64(5))
