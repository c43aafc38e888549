"""What LinearTD predicts of its own learning, beside learning."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents import LinearTD
from mbrl_agents.td_dynamics.linear_features import FourierBasis
from mbrl_envs import MountainCar
from tests.agents.linear_td.probes import FEATURES, GAMMA, SETTINGS, STEPS, Corridor


def test_predicted_curve_is_the_mean_of_many_runs():
    """Uniform actions from the valley, three place-like features of the velocity; 400 runs of 30 updates, in windows of 10."""
    env = gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)
    features = FourierBasis((-0.6, -0.004), (-0.4, 0.004), (0, 2))
    agent = LinearTD(features, env, batch_size=2, **{**SETTINGS, "learning_rate": 0.05})
    predicted = agent.predict_curve(30, num_episodes=4000, fourth_moments="exact")
    learner, begin = agent.learner, agent.learner_state

    @jax.jit
    def run(key):
        def update(weights, own):
            played = learner.play(MountainCar(), own, 2, STEPS)
            psi = learner.read(played.observations)
            delta = played.rewards + GAMMA * psi[1:] @ weights - psi[:-1] @ weights
            return weights + 0.05 / 2 * jnp.einsum("tb,tbn->n", delta, psi[:-1]), weights

        return jax.lax.scan(update, begin.params["weights"], jax.random.split(key, 30))[1]

    weights = np.asarray(jax.lax.map(run, jax.random.split(jax.random.PRNGKey(5), 400)), float)
    sample = learner.play(MountainCar(), jax.random.PRNGKey(9), 4000, STEPS)
    psi = np.asarray(learner.read(sample.observations), float)
    now, later = psi[:-1].reshape(-1, 3), psi[1:].reshape(-1, 3)
    true = np.linalg.solve(now.T @ (now - GAMMA * later), now.T @ np.asarray(sample.rewards, float).ravel())
    losses = np.einsum("rkn,nm,rkm->rk", weights - true, now.T @ now / 4000, weights - true)
    for first in range(0, 30, 10):
        window = losses[:, first : first + 10].mean(axis=1)
        error = window.std(ddof=1) / np.sqrt(400) + 2e-3 * window.mean()  # and that of the moments
        assert abs(window.mean() - predicted[first : first + 10].mean()) < 4 * error
    assert losses[:, -1].mean() < 0.5 * losses[:, 0].mean()


def test_predicted_curve_in_any_environment():
    """Where nothing is left to chance it is what learning does: to the right, four steps from place 3 to the end."""
    agent = LinearTD("tabular", Corridor(), policy=lambda place: 2, **{**SETTINGS, "episode_steps": 4})
    predicted = agent.predict_curve(20, num_episodes=2, fourth_moments="exact")
    values = np.append(-(1 - GAMMA ** np.arange(4, 0, -1)) / (1 - GAMMA), 0)
    learned = [np.square(agent.weights - values).sum()]
    for _ in range(20):
        agent.learn(4)
        learned.append(np.square(agent.weights - values).sum())
    np.testing.assert_allclose(predicted, learned, rtol=1e-4)
    assert learned[-1] < 0.3 * learned[0]
    agent.env = None  # as when it was loaded without one
    with pytest.raises(ValueError, match="predict_curve needs an environment"):
        agent.predict_curve(3)


def test_predicted_curves_of_both_loops_agree():
    """The same estimate from other episodes of the same environment: it lies within what chance makes of it."""
    env = DummyVecEnv([lambda: gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)] * 6)
    device, host = (LinearTD(FEATURES, env, device_loop=each, **SETTINGS) for each in (True, False))
    expected = np.log([device.predict_curve(40, num_episodes=300, seed=seed) for seed in range(10)])
    found = host.predict_curve(40, num_episodes=300)
    distance = np.abs(np.log(found) - expected.mean(axis=0)) / expected.std(axis=0, ddof=1)
    assert distance.max() < 4
    np.testing.assert_array_equal(found, host.predict_curve(40, num_episodes=300))
    cut = LinearTD(FEATURES, env, device_loop=False, **{**SETTINGS, "episode_steps": STEPS + 6})
    with pytest.raises(ValueError, match="episode_steps must be at most 6, where the environment cuts episodes off, got 12"):
        cut.predict_curve(3)


def test_prediction_refuses_unstable_step_sizes():
    agent = LinearTD(FEATURES, "mbrl/MountainCar-v0", **{**SETTINGS, "learning_rate": 5.0})
    with pytest.raises(ValueError, match="step_size"):
        agent.predict_curve(10, num_episodes=50)
