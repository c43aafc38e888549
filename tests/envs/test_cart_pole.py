"""CartPole beside Gymnasium's own, and its distractors."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mbrl_envs
from mbrl_envs.cart_pole import CartPole, CartPoleEvents, CartPoleState

NOTHING = CartPoleEvents(jnp.zeros(0))


def test_step_is_gymnasiums_from_any_state():
    """From the same float32 state both land on the same state, to rounding."""
    other = gymnasium.make("CartPole-v1").unwrapped
    step = jax.jit(jax.vmap(CartPole().transition, in_axes=(0, 0, None)))
    rng = np.random.default_rng(0)
    scale = np.array([2.5, 3.0, 0.22, 3.0])
    states = rng.uniform(-scale, scale, (3000, 4)).astype(np.float32)
    actions = rng.integers(0, 2, 3000)
    found = step(CartPoleState(jnp.asarray(states), jnp.zeros((3000, 0))), jnp.asarray(actions), NOTHING)
    ends = 0
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        other.reset()
        other.state = state.astype(float)
        expected, reward, terminated, *_ = other.step(int(action))
        np.testing.assert_allclose(found.state.physics[i], expected, rtol=5e-7, atol=5e-7)
        near_edge = np.abs(np.abs(expected[[0, 2]]) - [2.4, 12 * np.pi / 180]).min() < 1e-6
        assert bool(found.terminated[i]) == terminated or near_edge
        assert float(found.reward[i]) == reward
        ends += terminated
    assert 300 < ends < 2700  # both happen often


def test_episode_is_gymnasiums_from_the_same_start():
    env, other = gymnasium.make("mbrl/CartPole-v0"), gymnasium.make("CartPole-v1")
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    assert env.spec.max_episode_steps == other.spec.max_episode_steps == 500
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        other.reset()
        other.unwrapped.state = observation.astype(float)
        rng = np.random.default_rng(seed)
        for _ in range(40):
            action = int(rng.integers(2))
            ours, theirs = env.step(action), other.step(action)
            np.testing.assert_allclose(ours[0], theirs[0], atol=5e-5)
            assert ours[1:4] == theirs[1:4]
            if ours[2]:
                break


def test_start_is_uniform():
    starts = np.asarray(jax.jit(jax.vmap(CartPole().reset))(jax.random.split(jax.random.key(0), 4000)).physics)
    assert starts.shape == (4000, 4)
    assert -0.05 <= starts.min() < -0.0499
    assert 0.0499 < starts.max() < 0.05
    np.testing.assert_allclose(starts.mean(0), 0, atol=5 * 0.1 / np.sqrt(12 * 4000))
    np.testing.assert_allclose(np.cov(starts.T), np.eye(4) * 0.1**2 / 12, atol=1e-4)


def test_distractors_are_normal_and_new_in_every_step():
    env = CartPole(num_distractors=3)
    plain = CartPole()

    def episode(key):
        state = env.reset(key)
        states = [state]
        for i in range(2):
            state = env.step(jax.random.fold_in(key, i), state, jnp.int32(1)).state
            states.append(state)
        return jnp.stack([env.observe(each) for each in states]), plain.observe(plain.reset(key))

    seen, without = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), 3000))
    np.testing.assert_array_equal(seen[:, 0, :4], without)  # what matters is the same
    noise = np.asarray(seen[..., 4:]).reshape(3000, 9)
    np.testing.assert_allclose(noise.mean(0), 0, atol=5 / np.sqrt(3000))
    np.testing.assert_allclose(np.cov(noise.T), np.eye(9), atol=0.12)
    assert env.observation_space.shape == (7,)
    assert gymnasium.make("mbrl/CartPole-v0", num_distractors=3).reset(seed=0)[0].shape == (7,)


@pytest.mark.parametrize("number", [-1, 1025, 1.5, True, "2"])
def test_bad_number_of_distractors(number):
    with pytest.raises((TypeError, ValueError), match="num_distractors"):
        CartPole(num_distractors=number)


def test_scored_over_whole_episodes():
    assert mbrl_envs.CartPole().evaluation_steps == 500
    assert mbrl_envs.CueRecall(delay=160).evaluation_steps == 162
    assert mbrl_envs.PanFlute().evaluation_steps == 100
    short = type("Short", (mbrl_envs.PanFlute,), {"max_episode_steps": 40})
    assert short().evaluation_steps == 40
