"""MountainCar beside Gymnasium's own."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mbrl_envs
from mbrl_envs import FunctionalTask, functional_task
from mbrl_envs.mountain_car import MountainCar, MountainCarState


def test_step_is_gymnasiums_from_any_state():
    """From the same float32 state both land on the same state, to one unit in the last place of what is added up."""
    other = gymnasium.make("MountainCar-v0").unwrapped
    rng = np.random.default_rng(0)
    number = 5000
    position = np.clip(rng.uniform(-1.25, 0.65, number), -1.2, 0.6).astype(np.float32)  # often right at an edge
    velocity = np.clip(rng.uniform(-0.075, 0.075, number), -0.07, 0.07).astype(np.float32)
    actions = rng.integers(0, 3, number)
    step = jax.jit(jax.vmap(MountainCar().transition, in_axes=(0, 0, None)))
    found = step(MountainCarState(jnp.asarray(position), jnp.asarray(velocity)), jnp.asarray(actions), None)
    other.reset()
    ends = stops = 0
    for i in range(number):
        other.state = (float(position[i]), float(velocity[i]))
        (after, speed), reward, terminated, *_ = other.step(int(actions[i]))
        assert abs(float(found.state.position[i]) - after) <= 1.2e-7
        assert abs(float(found.state.velocity[i]) - speed) <= 7.5e-9 or abs(after + 1.2) < 2e-7
        assert bool(found.terminated[i]) == terminated or abs(after - 0.5) < 2e-7
        assert float(found.reward[i]) == reward == -1
        ends, stops = ends + terminated, stops + (after == np.float32(-1.2))
    assert ends > 200
    assert stops > 50


@pytest.mark.parametrize("seed", range(20))
def test_episode_is_gymnasiums_from_the_same_start(seed):
    env, other = gymnasium.make("mbrl/MountainCar-v0"), gymnasium.make("MountainCar-v0")
    observation, _ = env.reset(seed=seed)
    assert observation.dtype == np.float32
    other.reset()
    other.unwrapped.state = observation.astype(float)
    rng = np.random.default_rng(seed)
    action = 1
    for _ in range(200):
        if seed % 2 == 0:
            action = int(rng.integers(3))
        elif observation[1] != 0:  # with the motion: this one reaches the goal
            action = 2 if observation[1] > 0 else 0
        observation, *ours = env.step(action)
        expected, *theirs = other.step(action)
        np.testing.assert_allclose(observation, expected, atol=2e-5, rtol=0)
        assert ours == theirs  # reward, terminated, truncated, info
        if theirs[1] or theirs[2]:
            break
    assert theirs[1] == (seed % 2 == 1)  # the goal is reached by half of them, the time limit by the others
    assert theirs[2] == (seed % 2 == 0)


def test_spaces_and_time_limit_are_gymnasiums_unless_told():
    env, other = gymnasium.make("mbrl/MountainCar-v0"), gymnasium.make("MountainCar-v0")
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    assert functional_task(env) == FunctionalTask(MountainCar(), 200)
    longer = gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=350)
    assert functional_task(longer) == FunctionalTask(MountainCar(), 350)
    assert mbrl_envs.functional_task(gymnasium.make_vec("mbrl/MountainCar-v0", num_envs=2)).max_episode_steps == 200


def test_start_is_uniform_at_rest():
    starts = jax.jit(jax.vmap(MountainCar().reset))(jax.random.split(jax.random.key(0), 4000))
    position = np.asarray(starts.position)
    assert (np.asarray(starts.velocity) == 0).all()
    assert -0.6 <= position.min() < -0.599
    assert -0.401 < position.max() < -0.4
    np.testing.assert_allclose(position.mean(), -0.5, atol=5 * 0.2 / np.sqrt(12 * 4000))
    np.testing.assert_allclose(position.var(), 0.2**2 / 12, rtol=0.05)


def test_goal_velocity_is_gymnasiums():
    for goal_velocity in (0.0, 0.03):
        other = gymnasium.make("MountainCar-v0", goal_velocity=goal_velocity).unwrapped
        env = MountainCar(goal_velocity=goal_velocity)
        other.reset()
        for velocity in (0.005, 0.02, 0.04):
            other.state = (0.49, velocity)
            expected = other.step(2)[2]
            out = env.transition(MountainCarState(jnp.float32(0.49), jnp.float32(velocity)), jnp.int32(2), None)
            assert bool(out.terminated) == expected


@pytest.mark.parametrize("given", [-0.01, 0.071, float("nan"), True, "0.01", None])
def test_bad_goal_velocity(given):
    with pytest.raises((TypeError, ValueError), match=r"goal_velocity must be a finite number of at least 0 and at most 0\.07"):
        MountainCar(goal_velocity=given)


@pytest.mark.parametrize(
    ("position", "velocity", "name"),
    [(-1.2, 0.0, "car"), (-0.5, -0.01, "car, rolling left"), (0.6, 0.07, "car, rolling right")],
)
def test_picture_shows_the_car_on_the_hill(position, velocity, name):
    cells = MountainCar().picture(MountainCarState(np.float32(position), np.float32(velocity))).cells
    ((row, column),) = np.argwhere(cells == name)
    assert cells[row + 1, column] == "ground"
    assert column == round((position + 1.2) / 0.05)
    assert (cells == "flag").sum() == 1
