"""Learning in environments: windows of replay, scores, loops, sweeps."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from mbrl_agents import ValueRNN, train_sweep
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.value_rnn import analysis, scoring
from mbrl_agents.value_rnn.sequence_replay import SequenceReplay
from mbrl_envs import conditioning
from mbrl_envs.conditioning.filtering import Filter

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "gamma": 0.7,
    "learning_rate": 1e-2,
    "sequence_length": 30,
    "burn_in": 5,
    "batch_size": 8,
    "buffer_size": 2000,
    "learning_starts": 200,
    "train_freq": 5,
    "seed": 0,
}


@pytest.mark.parametrize("env", [conditioning.CueReward(delays=(3, 5)), conditioning.Starkweather(task=2)], ids=str)
def test_beliefs_on_the_device_are_the_exact_ones(env: conditioning.ConditioningTask) -> None:
    beliefs = jax.jit(Filter(env).beliefs)
    exact = jax.jit(lambda observations: scoring.exact_values(env, observations, jnp.float32(0.9)))
    for trial in conditioning.sample_trials(env, 5, seed=3):
        ours = beliefs(jnp.asarray(trial.observations[:, None]))[:, 0]
        np.testing.assert_allclose(ours, conditioning.beliefs(env, trial.observations), atol=1e-5)
        values = exact(jnp.asarray(trial.observations[:, None]))[:, 0]
        np.testing.assert_allclose(values, conditioning.values(env, trial.observations, 0.9), atol=1e-5)


def test_the_score_of_a_network_without_values() -> None:
    """A fresh linear read-out says 0: the score is minus the root mean square of the exact values."""
    env = conditioning.Starkweather(task=1)
    network = ValueRNN(env=gymnasium.make("mbrl/Starkweather-v0"), **SMALL)
    key = jax.random.PRNGKey(0)
    score = float(
        jax.jit(lambda state: network.learner.evaluate(env, state, key, None, 2000, 100))(network.learner_state)["score"].mean()
    )
    trials = [each.observations for each in conditioning.sample_trials(env, 2000, seed=1, trials_per_episode=12)]
    squares = [np.mean(conditioning.values(env, each[:100], 0.7) ** 2) for each in trials]
    assert score == pytest.approx(-np.mean(np.sqrt(squares)), rel=0.03)


def test_learning_lowers_the_error() -> None:
    spec = EnvironmentSpec("mbrl/CueReward-v0", {"delays": (3, 5)})
    network = ValueRNN(env=gymnasium.make(spec.id, **spec.arguments), **SMALL)
    evaluator = Evaluator(spec)
    before = evaluator.scores(network).mean()
    after = evaluator.scores(network.learn(6000)).mean()
    assert before < -0.15
    assert after > before / 2


def test_gymnasiums_environments(tmp_path: pathlib.Path) -> None:
    """CartPole under uniform actions: the host loop, its scores, saving."""
    network = ValueRNN(env=gymnasium.make("CartPole-v1"), **(SMALL | {"gamma": 0.9}))
    evaluator = Evaluator(EnvironmentSpec("CartPole-v1"), episodes=20)
    before = evaluator.scores(network).mean()
    network.learn(1500)
    after = evaluator.scores(network).mean()
    assert before < -5  # values are between 0 and 10
    assert after > before / 2
    network.save(tmp_path / "network")
    assert evaluator.scores(ValueRNN.load(tmp_path / "network")).mean() == after
    evaluator.close()


def test_a_second_call_begins_a_new_episode() -> None:
    """Where learn() resets environments, windows must not run on from one episode into the next."""
    for device_loop in (True, False):
        network = ValueRNN(
            env=gymnasium.make("mbrl/Starkweather-v0"),
            device_loop=device_loop,
            **(SMALL | {"learning_starts": 99, "train_freq": 1}),
        )
        network.learn(23)
        assert not np.asarray(network.memory.state.stored.truncated)[:23].any()
        network.learn(10)
        assert np.flatnonzero(np.asarray(network.memory.state.stored.truncated)).tolist() == [22]
        assert isinstance(network.replay, SequenceReplay)
        window = network.replay.sample(network.memory.state, jax.random.PRNGKey(0), 1, jnp.float32(0.7))
        assert np.asarray(window.starts)[:, 0].nonzero()[0].tolist() == [0, 23]


def test_a_fitted_network_learns_on_in_an_environment() -> None:
    trials = conditioning.sample_trials(conditioning.CueReward(delays=(3, 5)), 20, seed=0)
    network = ValueRNN(**SMALL)
    network.fit(trials, epochs=20)
    value = network.value(trials[0])
    network.set_env(gymnasium.make("mbrl/CueReward-v0", delays=(3, 5)))
    np.testing.assert_array_equal(network.value(trials[0]), value)
    network.learn(400)
    assert np.abs(network.value(trials[0]) - value).max() > 1e-3
    copied = analysis.clone(network)
    copied.fit(trials, epochs=2)
    network.learn(50)  # the copy has taken nothing of it
    with pytest.raises(ValueError, match="trials must have the 3 features that this network reads, got 2"):
        copied.set_env(gymnasium.make("mbrl/Starkweather-v0"))


def test_actions_are_drawn_whatever_is_asked_for() -> None:
    network = ValueRNN(env="CartPole-v1", **SMALL)
    actions = [int(network.predict(np.zeros(4, np.float32), deterministic=True)[0]) for _ in range(20)]
    assert {*actions} == {0, 1}


class _ManyButtons(gymnasium.Env[np.ndarray, np.ndarray]):
    observation_space, action_space = spaces.Box(0, 1, (2,), np.float32), spaces.MultiBinary(3)


def test_continuous_actions_are_uniform_and_in_the_environments_scale(tmp_path: pathlib.Path) -> None:
    network = ValueRNN(env="Pendulum-v1", **SMALL).learn(60)
    stored = np.asarray(network.memory.state.stored.action)[:60]
    assert stored.shape == (60, 1, 1)
    assert np.abs(stored).max() <= 1
    assert stored.min() < -0.8
    assert stored.max() > 0.8
    actions = np.array([network.predict(np.zeros(3, np.float32))[0] for _ in range(200)])
    assert actions.shape == (200, 1)
    assert actions.min() < -1.6
    assert 1.6 < actions.max() <= 2  # Pendulum's own bounds
    network.save(tmp_path / "network.zip")
    again = ValueRNN.load(tmp_path / "network.zip", env=gymnasium.make("Pendulum-v1"))
    np.testing.assert_array_equal(again.learn(10, reset_num_timesteps=False).action_space.high, [2])


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(ValueError, match="gamma must be below 1 in mbrl/Starkweather-v0, which never ends"):
        ValueRNN(env="mbrl/Starkweather-v0", **(SMALL | {"gamma": 1.0}))
    with pytest.raises(ValueError, match="env must not be a VecNormalize"):
        ValueRNN(env=VecNormalize(make_vec_env("CartPole-v1")), **SMALL)
    with pytest.raises(ValueError, match="needs a Discrete or Box action space"):
        ValueRNN(env=_ManyButtons(), **SMALL)
    with pytest.raises(ValueError, match=r"buffer_size must be at least \(burn_in \+ sequence_length\) \* n_envs = 35, got 30"):
        ValueRNN(env="CartPole-v1", **(SMALL | {"buffer_size": 30}))


def test_sweeps(tmp_path: pathlib.Path) -> None:
    """Sizes make programs, seeds share them; each run is the one that the agent makes alone."""
    common = {name: value for name, value in SMALL.items() if name not in ("seed", "hidden_size")}
    swept = common | {"hidden_size": [4, 8], "gamma": [0.7, 0.5]}
    result = train_sweep(ValueRNN, "mbrl/CueReward-v0", swept, seeds=2, total_timesteps=600, folder=tmp_path / "sweep")
    alone = ValueRNN(env=gymnasium.make("mbrl/CueReward-v0"), **(SMALL | {"hidden_size": 8, "gamma": 0.5, "seed": 1}))
    alone.learn(600)
    trained = result.agent(3)
    assert isinstance(trained, ValueRNN)
    for ours, theirs in zip(jax.tree.leaves(trained.get_parameters()), jax.tree.leaves(alone.get_parameters()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    scores = result.table().query("metric == 'score' and run == 3")["value"]
    assert scores.iloc[-1] > scores.iloc[0]


def test_a_gamma_set_later_counts_everywhere(tmp_path: pathlib.Path) -> None:
    """In prediction errors, analyses, what is learned, and files: all is as if the network had been made with it."""
    env = conditioning.CueReward(delays=(2, 4), iti_min=1)
    trials = conditioning.sample_trials(env, 20, seed=1)
    rest: dict[str, Any] = {"hidden_size": 3, "initialization": "uniform", "seed": 0}
    moved, made = ValueRNN(gamma=0.9, **rest), ValueRNN(gamma=0.5, **rest)
    moved.value(trials)
    moved.gamma = 0.5
    for ours, theirs in zip(moved.rpe(trials), made.rpe(trials), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert analysis.errors(moved, env, trials) == analysis.errors(made, env, trials)
    np.testing.assert_array_equal(*(analysis.refit_readout(each, trials).value(trials[0]) for each in (moved, made)))
    moved.save(tmp_path / "moved")
    loaded = ValueRNN.load(tmp_path / "moved")
    assert (loaded.gamma, loaded.arguments) == (0.5, made.arguments)
    np.testing.assert_array_equal(*(each.fit(trials, epochs=3).losses for each in (loaded, made)))


def test_a_gamma_set_later_counts_in_environments() -> None:
    def learned(gamma: float, later: float | None) -> Any:
        network = ValueRNN(env=gymnasium.make("mbrl/CueReward-v0", delays=(3, 5)), **(SMALL | {"gamma": gamma}))
        if later is not None:
            network.gamma = later
        return network.learn(400).learner_state

    jax.tree.map(np.testing.assert_array_equal, learned(0.9, 0.5), learned(0.5, None))


def test_bad_gammas_set_later_are_refused() -> None:
    network = ValueRNN(env=gymnasium.make("mbrl/Starkweather-v0"), **SMALL)
    for bad, message in (
        (1.0, "gamma must be below 1 in mbrl/Starkweather-v0"),
        (1.5, "gamma must be"),
        ("half", "gamma must be"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            network.gamma = bad  # type: ignore[assignment]
    assert network.gamma == SMALL["gamma"] == network.arguments["gamma"]
