"""LinearTD beside its formula in plain NumPy, in both loops; policies, saving, sweeps."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents import LinearTD, train_sweep
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.linear_td.policies import FunctionPolicy, HostPolicy, TablePolicy, UniformPolicy
from mbrl_agents.td_dynamics.given_features import to_json
from mbrl_agents.td_dynamics.linear_features import TabularBins
from tests.agents.linear_td.probes import (
    CELLS,
    FEATURES,
    GAMMA,
    RATE,
    SETTINGS,
    STEPS,
    Buttons,
    Corridor,
    Remembers,
    predictions_of,
)


def formula(weights, transitions, read, batch_size=1):
    """One update, in float64."""
    change = np.zeros_like(weights)
    for now, reward, after, terminated in transitions:
        delta = reward + (0 if terminated else GAMMA * read(after) @ weights) - read(now) @ weights
        change += delta * read(now)
    return weights + RATE / batch_size * change


def one_hot(place):
    return np.eye(5)[place - 3]


def test_host_loop_is_the_formula():
    env = Corridor()
    rng = np.random.default_rng(0)
    agent = LinearTD("tabular", env, policy=lambda place: int(rng.integers(1, 3)), batch_size=2, **SETTINGS)
    agent.learn(60)
    weights = np.zeros(5)
    for first in range(0, 60, 12):
        batch = [(now, reward, after, end) for now, _, reward, after, end in env.seen[first : first + 12]]
        weights = formula(weights, batch, one_hot, batch_size=2)
    assert len(env.seen) == 60
    assert sum(each[-1] for each in env.seen) > 1  # episodes ended
    np.testing.assert_allclose(agent.weights, weights, rtol=1e-5, atol=1e-6)


def test_it_finds_the_values_of_a_corridor():
    agent = LinearTD("tabular", Corridor(), policy=[2] * 5, **{**SETTINGS, "episode_steps": 4})
    agent.learn(1600)
    expected = [-(1 - GAMMA**left) / (1 - GAMMA) for left in (4, 3, 2, 1)]
    np.testing.assert_allclose(agent.value(np.arange(3, 7)), expected, atol=1e-3)
    assert agent.value(7) == 0  # the end is never left
    assert agent.value(3).shape == ()
    (score,) = agent.episode_scores(agent.env, 1)
    assert score == pytest.approx(0, abs=1e-3)


def stored(agent):
    """The transitions of the last update."""
    memory = agent.memory.state.stored
    rows = (memory.observation, memory.reward, memory.next_observation, memory.terminated)
    return list(zip(*(np.asarray(each).reshape(-1, *each.shape[2:]) for each in rows), strict=True))


def learned_on_device(num_updates, found=None):
    """An agent in the device loop after some updates; ``found`` gets the weights after each, and its transitions."""
    env = DummyVecEnv([lambda: gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)] * 2)
    agent = LinearTD(FEATURES, env, batch_size=2, device_loop=True, **SETTINGS)
    for i in range(num_updates):
        agent.learn(12, reset_num_timesteps=i == 0)
        if found is not None:
            found.append((agent.weights, stored(agent)))
    return agent


@pytest.fixture(scope="module")
def on_device():
    """An agent after three updates, and these; tests leave it as it is."""
    found = []
    return learned_on_device(3, found), found


def test_device_loop_is_the_formula(on_device):
    agent, found = on_device
    weights = np.zeros(9)
    for after, transitions in found:
        weights = formula(weights, transitions, lambda o: np.asarray(FEATURES(o), float), batch_size=2)
        assert len(transitions) == 12
        np.testing.assert_allclose(after, weights, rtol=1e-4, atol=1e-6)
    assert agent._n_updates == 3


def test_batches_are_episodes(on_device):
    """With the time limit T, an update's transitions are whole episodes, each of which starts from reset."""
    _, found = on_device
    for _, transitions in found:
        starts = np.stack([each[0] for each in transitions[:2]])  # the first step of both lanes
        assert (starts[:, 1] == 0).all()
        for before, after in zip(transitions, transitions[2:], strict=False):
            np.testing.assert_array_equal(before[2], after[0])


def test_saved_and_loaded_it_goes_on_as_if_never_stopped(on_device, tmp_path):
    agent, _ = on_device
    agent.save(tmp_path / "agent.zip")
    again = LinearTD.load(tmp_path / "agent.zip", env=agent.env, device="cpu")
    assert again.learner == agent.learner
    np.testing.assert_array_equal(again.weights, agent.weights)
    alone, points = LinearTD.load(tmp_path / "agent.zip"), np.float32([[-0.5, 0.0], [0.1, 0.03]])
    np.testing.assert_array_equal(alone.value(points), agent.value(points))
    undisturbed = learned_on_device(5)
    assert undisturbed.num_timesteps == agent.num_timesteps + 24
    again.learn(24, reset_num_timesteps=False)
    np.testing.assert_array_equal(again.weights, undisturbed.weights)
    assert (again.weights != alone.weights).any()


def test_functions_are_code_and_not_saved(tmp_path):
    agent = LinearTD(lambda o: o * 10, "mbrl/MountainCar-v0", policy=lambda o: (o[1] > 0).astype(int) * 2, **SETTINGS)
    agent.save(tmp_path / "agent.zip")
    for missing, given in (("features", {"policy": "uniform"}), ("policy", {"features": lambda o: o * 10})):
        with pytest.raises(ValueError, match=f"{missing} was a function .* load"):
            LinearTD.load(tmp_path / "agent.zip", **given)
    again = LinearTD.load(tmp_path / "agent.zip", features=lambda o: o * 10, policy="uniform")
    assert again.learner.features.num_features == 2


def test_kinds_of_policies():
    def policy_of(given, features="linear"):
        return LinearTD(features, "mbrl/MountainCar-v0", policy=given, **SETTINGS).learner.policy

    assert policy_of("uniform") == UniformPolicy(ActionCodec(3))
    table = policy_of(np.arange(24) % 3, CELLS)
    assert isinstance(table, TablePolicy)
    points = np.float32([[-1.2, -0.07], [0.5, 0.06], [-0.4, 0.0]])
    np.testing.assert_array_equal(table(points, None), np.asarray(CELLS.cell(points)) % 3)
    assert isinstance(policy_of(lambda o, key: jax.random.randint(key, (), 0, 3)), FunctionPolicy)
    assert isinstance(policy_of(lambda o: jnp.where(o[1] > 0, 2, 0)), FunctionPolicy)
    draws = policy_of(lambda o: int(np.random.default_rng().integers(3)))  # can be traced, but would be a constant
    assert isinstance(draws, HostPolicy)
    assert isinstance(policy_of(lambda o: 2 if float(o[1]) > 0 else 0), HostPolicy)

    generator = np.random.default_rng(0)

    def epsilon_greedy(o):  # most of the times that it is traced it is a function of the observation
        return generator.integers(3) if generator.random() < 0.03 else jnp.where(o[1] > 0, 2, 0)

    assert all(isinstance(policy_of(epsilon_greedy), HostPolicy) for _ in range(5))

    def with_a_default(o, threshold=0.0):  # which is no place for a random key
        return jnp.where(o[1] > threshold, 2, 0)

    found = policy_of(with_a_default)
    assert isinstance(found, FunctionPolicy)
    assert not found.takes_key


def test_an_agent_of_stable_baselines3_is_a_policy(monkeypatch):
    """It explores as in training; the environment gets its very actions."""
    env = Remembers(gymnasium.make("CartPole-v1"))
    behaviour = DQN("MlpPolicy", env, buffer_size=100, seed=0, device="cpu")
    behaviour.exploration_rate = 0.5
    drawn = predictions_of(behaviour, monkeypatch)
    agent = LinearTD("linear", env, policy=behaviour, **{**SETTINGS, "learning_rate": 1e-3})
    tried = len(drawn)
    agent.learn(60)
    assert agent._n_updates == 10
    np.testing.assert_array_equal(env.actions, drawn[tried:])
    assert len(set(np.ravel(env.actions))) == 2
    assert np.isfinite(agent.weights).all()
    assert np.abs(agent.weights).max() > 0
    agent.predict(np.zeros(4, np.float32))
    assert len(drawn) == tried + 61


@pytest.mark.parametrize(
    "wrong", [lambda o: 3, lambda o: -1, lambda o: 0.5, lambda o: [0, 1], lambda o: jnp.int32(7) + (o[0] > 9), lambda o: None]
)
def test_policies_that_return_wrong_actions_are_refused(wrong):
    with pytest.raises(ValueError, match="policy must return one action of Discrete"):
        LinearTD("linear", "mbrl/MountainCar-v0", policy=wrong, **SETTINGS)


def test_policies_that_go_wrong_later_are_noticed():
    calls = iter(range(100))
    agent = LinearTD("tabular", Corridor(), policy=lambda place: 1 if next(calls) < 9 else 5, **SETTINGS)
    with pytest.raises(ValueError, match="policy must return one action"):
        agent.learn(30)


@pytest.mark.slow
def test_sweep():
    hyperparameters = {
        "learning_rate": [0.01, RATE],
        "gamma": [0.5, GAMMA],
        "episode_steps": STEPS,
        "features": to_json(FEATURES),
    }
    env = gymnasium.make("mbrl/MountainCar-v0", max_episode_steps=STEPS)
    result = train_sweep("LinearTD", env, hyperparameters, seeds=2, total_timesteps=10 * STEPS)
    for run in (1, 3):
        alone = LinearTD(
            FEATURES,
            env,
            **{**SETTINGS, "learning_rate": [0.01, RATE][run // 2], "gamma": [0.5, GAMMA][run // 2], "seed": run % 2},
        )
        alone.learn(10 * STEPS)
        np.testing.assert_allclose(result.agent(run).weights, alone.weights, rtol=1e-5)


@pytest.mark.parametrize(
    ("features", "changes", "message"),
    [
        (np.eye(5), {}, "TableFeatures, which read a Discrete space"),
        (TabularBins((0,), (1,), 3), {}, "of 1 entries; observations are"),
        ("tabular", {}, "'tabular' are for a Discrete space"),
        (CELLS, {"policy": [0, 1]}, "policy must be 24 integers"),
        (CELLS, {"policy": [3] * 24}, "policy must have actions of"),
        (CELLS, {"policy": [0.5] * 24}, "policy must be 24 integers"),
        ("linear", {"policy": [0, 1, 2]}, "where features tell cells apart"),
        (CELLS, {"policy": "greedy"}, "policy must be 'uniform'"),
        (CELLS, {"policy": 3}, "policy must be 'uniform', integers, a function of an observation, or an agent"),
        (CELLS, {"gamma": 1.0}, "gamma must be a finite number of at least 0 and below 1"),
        (CELLS, {"gamma": -0.5}, "gamma"),
        (CELLS, {"learning_rate": -1}, "learning_rate"),
        (CELLS, {"batch_size": 0}, "batch_size"),
        (CELLS, {"episode_steps": 0}, "episode_steps"),
    ],
)
def test_bad_arguments(features, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LinearTD(features, "mbrl/MountainCar-v0", **{**SETTINGS, **changes})


def test_more_bad_arguments():
    env = DummyVecEnv([lambda: gymnasium.make("mbrl/MountainCar-v0")] * 4)
    with pytest.raises(ValueError, match="batch_size \\* episode_steps must be a multiple of the 4 environments, got 6"):
        LinearTD(CELLS, env, **SETTINGS)
    agent = LinearTD(CELLS, "mbrl/MountainCar-v0", policy=lambda o: 1, device_loop=True, **SETTINGS)
    with pytest.raises(ValueError, match="device_loop=True needs a policy that is a JAX function"):
        agent.learn(6)
    with pytest.raises(ValueError, match="device_loop=True needs"):
        agent.predict_curve(3)
    with pytest.raises(ValueError, match=r"observations must have shape \(…, 2\), got \(3,\)"):
        agent.value(np.zeros(3))
    with pytest.raises(ValueError, match="needs a Discrete or Box action space, got MultiBinary"):
        LinearTD("linear", Buttons(), **SETTINGS)


def test_divergence_is_said_aloud() -> None:
    agent = LinearTD("linear", "mbrl/MountainCar-v0", learning_rate=1e6, seed=0)
    with pytest.warns(RuntimeWarning, match="the weights have diverged: learning_rate 1000000.0 is too large"):
        agent.learn(4000)
