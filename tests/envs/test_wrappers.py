"""Distractors appended to observations."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs import Distractors, functional_task

NUMBER = 5


def distracted(number: int = NUMBER) -> gymnasium.Env:
    return Distractors(gymnasium.make("Pendulum-v1"), number)


def observations(env: gymnasium.Env, seed: int | None, steps: int = 30) -> np.ndarray:
    seen = [env.reset(seed=seed)[0]]
    actions = np.random.default_rng(0).uniform(-2, 2, (steps, 1)).astype(np.float32)
    return np.array(seen + [env.step(action)[0] for action in actions])


def test_the_environment_itself_is_as_without() -> None:
    with_them, without = observations(distracted(), 3), observations(gymnasium.make("Pendulum-v1"), 3)
    np.testing.assert_array_equal(with_them[:, :-NUMBER], without)
    assert with_them.dtype == without.dtype
    np.testing.assert_array_equal(observations(distracted(0), 3), without)


def test_they_are_normal_and_new_every_time() -> None:
    drawn = observations(distracted(50), 0, 199)[:, 3:]
    assert np.unique(drawn).size == drawn.size
    assert abs(drawn.mean()) < 0.05
    assert drawn.std() == pytest.approx(1, abs=0.03)
    correlations = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())
    assert abs(correlations[0, 1]) < 0.05


def test_seeds() -> None:
    env = distracted()
    first, again, other = observations(env, 7), observations(env, 7), observations(env, 8)
    np.testing.assert_array_equal(first, again)
    assert (first[:, 3:] != other[:, 3:]).all()
    after = observations(env, None)  # goes on, does not begin anew
    assert (after[:, 3:] != other[:, 3:]).all()


def test_nested_ones_are_independent() -> None:
    """Each layer draws its own numbers, also if layers are alike, whatever stands between them."""

    def layers(inner: int, outer: int) -> np.ndarray:
        env = gymnasium.wrappers.TimeLimit(Distractors(gymnasium.make("Pendulum-v1"), inner), 500)
        return observations(Distractors(env, outer), 3, 199)[:, 3:]

    for drawn in (layers(2, 2), layers(2, 3)):
        assert np.unique(drawn).size == drawn.size
        correlations = np.corrcoef(drawn, rowvar=False) - np.eye(drawn.shape[1])
        assert np.abs(correlations).max() < 0.3  # 4 standard errors
    three = Distractors(Distractors(Distractors(gymnasium.make("Pendulum-v1"), 1), 1), 1)
    assert np.unique(three.reset(seed=0)[0][3:]).size == 3
    np.testing.assert_array_equal(layers(2, 2)[:, :2], observations(distracted(2), 3, 199)[:, 3:])  # the innermost is as alone


def test_the_space_and_gymnasiums_own_checks() -> None:
    env = distracted()
    assert isinstance(env.observation_space, gymnasium.spaces.Box)
    assert env.observation_space.shape == (3 + NUMBER,)
    np.testing.assert_array_equal(env.observation_space.high, [1, 1, 8, *[np.inf] * NUMBER])
    check_env(env, skip_render_check=True)
    assert functional_task(env) is None  # what is seen is not what its dynamics show


def test_by_its_id() -> None:
    arguments = {"env_id": "Pendulum-v1", "num_distractors": NUMBER}
    env = EnvironmentSpec("mbrl/Distracted-v0", arguments).make()
    np.testing.assert_array_equal(observations(env, 3), observations(distracted(), 3))
    env.reset()
    ends = [env.step(env.action_space.sample())[3] for _ in range(200)]
    assert ends.index(True) == 199  # the time limit of the environment itself
    for limit, first_end in ((250, 249), (-1, None)):
        longer = EnvironmentSpec("mbrl/Distracted-v0", {**arguments, "time_limit": limit}).make()
        longer.reset()
        ends = [longer.step(longer.action_space.sample())[3] for _ in range(300)]
        assert (ends.index(True) if True in ends else None) == first_end


@pytest.mark.parametrize("number", [-1, 2000, 1.5])
def test_bad_numbers(number: float) -> None:
    with pytest.raises((TypeError, ValueError), match="num_distractors must be"):
        distracted(number)  # type: ignore[arg-type]


def test_bad_observations() -> None:
    for env_id in ("mbrl/PanFlute-v0", "FrozenLake-v1"):
        with pytest.raises(ValueError, match="env must have real-valued Box observations of one axis"):
            Distractors(gymnasium.make(env_id), 3)
