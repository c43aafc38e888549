"""What works beside agents, on trials, finite MDPs, features and cells, gives the same under JAX's global switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from mbrl_agents import td_dynamics
from mbrl_agents.omd import finite_mdp, tabular
from mbrl_agents.td_dynamics.episode_sampling import sample
from mbrl_agents.td_dynamics.linear_features import TabularBins
from mbrl_agents.td_dynamics.policy_evaluation import BatchTD
from mbrl_agents.td_dynamics.tabular_control import q_learning
from mbrl_agents.value_rnn import ValueRNN, analysis
from mbrl_envs import MountainCar
from mbrl_envs.conditioning import Starkweather, sample_trials
from tests.agents.test_switches import switched

SWITCHES: list[tuple[str, Any]] = [
    ("jax_enable_x64", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_numpy_rank_promotion", "raise"),
    ("jax_default_prng_impl", "rbg"),
    ("jax_legacy_prng_key", "error"),
]
QUICK = {"jax_enable_x64", "jax_numpy_dtype_promotion", "jax_legacy_prng_key"}
MARKED = [
    pytest.param((name, value), marks=[] if name in QUICK else pytest.mark.slow, id=f"{name}={value}")
    for name, value in SWITCHES
]


def simulation() -> Any:
    covariance = td_dynamics.DecoupledCovariance(np.ones((4, 5, 5)) * np.eye(5))
    settings: dict[str, Any] = {"gamma": 0.5, "step_size": 0.1, "batch_size": 2, "reward_noise": 0.1}
    return td_dynamics.simulate_td(covariance, np.ones(4), num_steps=5, repeats=2, **settings)


def a_chain() -> Any:
    chain = td_dynamics.ChainCovariance(np.full((3, 3), 0.3), np.full(3, 1 / 3), None, num_steps=4)
    settings: dict[str, Any] = {"gamma": 0.5, "step_size": 0.1, "batch_size": 1, "num_steps": 5, "repeats": 2}
    return [td_dynamics.simulate_td(chain, np.ones(3), source=each, **settings) for each in ("process", "gaussian")]


def estimated() -> Any:
    return td_dynamics.estimate_covariance(MountainCar(), lambda seen: seen, num_episodes=4, num_steps=5, seed=0).total


def models() -> Any:
    mdp = finite_mdp.two_states()
    return [tabular.solve(mdp, model_loss=loss, norm_bound=2.0, seeds=2, num_steps=3).returns for loss in tabular.LOSSES]


def cells() -> Any:
    env = MountainCar()
    bins = TabularBins(env.observation_space.low, env.observation_space.high, (4, 4))
    table = q_learning(env, bins, num_episodes=2, max_steps=20)
    episodes = sample(env, bins, table.policy, num_episodes=4, steps=11)
    learner = BatchTD(16, gamma=0.9, step_size=0.01)
    learner.learn(episodes)
    return table.policy, episodes, learner.result.values


def trials() -> Any:
    task = Starkweather(task=2)
    seen = sample_trials(task, 3, seed=1, trials_per_episode=3)
    network = ValueRNN(hidden_size=3, seed=0)
    losses = network.fit(seen, epochs=2).losses
    memory = analysis.memory(network, 20)["duration"].to_numpy()
    return losses, tuple(analysis.errors(network, task, seen, noise=0.05)), memory


@pytest.mark.parametrize("switch", MARKED)
@pytest.mark.parametrize("use", [simulation, a_chain, estimated, models, cells, trials])
def test_libraries_under_switches(use: Callable[[], Any], switch: tuple[str, Any]) -> None:
    assert jax.config.values[switch[0]] != switch[1]
    expected = use()
    for _ in switched(switch):
        jax.clear_caches()
        found = use()
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=5e-4)
