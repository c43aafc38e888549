"""Covariances from episodes of environments, beside those of the chain that the environment is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from mbrl_agents import td_dynamics as td
from mbrl_agents.td_dynamics.sampling import sample_features
from mbrl_envs import CueRecall, RandomWalk2D
from mbrl_envs.yardsticks import random_walk_2d
from tests.agents.td_dynamics import plain

ENV, TIMES = RandomWalk2D(grid_size=3), 6
BUMPS = np.exp(-((ENV.positions[:, None] - ENV.positions) ** 2).sum(axis=-1) / 2)
CHAIN = td.ChainCovariance(random_walk_2d.walk(ENV), np.eye(9)[ENV.start], BUMPS, num_steps=TIMES)


def bumps(observations: np.ndarray) -> np.ndarray:
    """Place cells, a feature map of rows and columns."""
    return np.exp(-((observations[:, None] - ENV.positions) ** 2).sum(axis=-1) / 2)


def by_hand() -> Callable[[np.ndarray], int]:
    """The uniform policy as a function, so that the environment is stepped."""
    rng = np.random.default_rng(0)
    return lambda observation: int(rng.integers(4))


@pytest.mark.parametrize(
    ("env", "through_gymnasium", "num"),
    [(ENV, False, 20_000), ("mbrl/RandomWalk2D-v0", True, 1500)],
    ids=["functional", "gymnasium"],
)
def test_estimates_are_those_of_the_chain(env: Any, through_gymnasium: bool, num: int) -> None:
    made, policy = (gymnasium.make(env, grid_size=3), by_hand()) if through_gymnasium else (env, None)
    found = td.estimate_covariance(made, bumps, num_episodes=num, num_steps=TIMES, kept=num, policy=policy, seed=1)
    assert found.episodes.shape == (num, TIMES, 9)
    assert np.abs(found.blocks() - CHAIN.blocks()).max() < 3 / np.sqrt(num)
    np.testing.assert_allclose(found.total, CHAIN.total, atol=10 / np.sqrt(num))
    np.testing.assert_allclose(found.total_next, CHAIN.total_next, atol=10 / np.sqrt(num))
    rewards = np.linalg.solve(BUMPS, ENV.rewards)
    for moments in ("published", "exact"):
        setting: dict[str, Any] = {"gamma": 0.8, "step_size": 0.05, "batch_size": 2, "num_steps": 30, "fourth_moments": moments}
        few = td.EpisodeCovariance(found.episodes[:1000], CHAIN.total, CHAIN.total_next)
        np.testing.assert_allclose(
            td.theory_curve(few, rewards, **setting), td.theory_curve(CHAIN, rewards, **setting), rtol=0.03
        )


def test_products_of_moments_have_no_bias() -> None:
    """Σ(t,s) Q(t,s) from few episodes is right on average, though that of a plain estimate would not be."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(8, 8))
    moments = np.eye(2) + 0.3
    weights = td.covariances.WeightMoments(moments, -moments, moments)
    exact = td.DenseCovariance((root @ root.T).reshape(4, 2, 4, 2).transpose(1, 0, 3, 2))
    wanted = exact.noise(weights, 0.8, 0.0, "published")
    found, plainly = [], []
    for _ in range(4000):
        episodes = (rng.normal(size=(3, 8)) @ root.T).reshape(3, 4, 2)
        found.append(td.EpisodeCovariance(episodes).noise(weights, 0.8, 0.0, "published"))
        pairs = np.einsum("eti,esj->itjs", episodes, episodes) / 3
        plainly.append(td.DenseCovariance(pairs).noise(weights, 0.8, 0.0, "published"))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.abs((np.mean(found, axis=0) - wanted) / error).max() < 4
    assert np.abs((np.mean(plainly, axis=0) - wanted) / error).max() > 20


def test_memory_does_not_grow_with_all_pairs_of_times() -> None:
    env = RandomWalk2D()
    positions = env.positions

    def features(observations: np.ndarray) -> np.ndarray:
        return np.exp(-((observations[:, None] - positions) ** 2).sum(axis=-1) / 2)

    for _ in sample_features(env, features, num_episodes=2, num_steps=51):  # compile beforehand
        pass
    tracemalloc.start()
    found = td.estimate_covariance(env, features, num_episodes=160, num_steps=51, kept=30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.episodes.shape == (30, 51, 289)
    assert peak < 200e6 < 0.2 * (289 * 51) ** 2 * 8  # all pairs of times take 1.7 GB


def test_features_are_0_after_the_end() -> None:
    """CueRecall ends after two steps with the question; its third observation is the terminal one."""
    env = CueRecall(delay=0, num_cues=2)
    for policy in (None, lambda observation: 0):
        chunks = sample_features(
            env if policy is None else gymnasium.make("mbrl/CueRecall-v0", delay=0, num_cues=2),
            lambda observations: 1.0 + observations, num_episodes=5, num_steps=5, policy=policy,
        )  # fmt: skip
        episodes = np.concatenate(list(chunks))
        assert episodes.shape == (5, 5, 3)
        assert (episodes[:, :2] >= 1).all()
        assert (episodes[:, 2:] == 0).all()


def test_agents_are_policies_and_seeds_decide() -> None:
    class Upward:
        def predict(self, observation: Any, deterministic: bool = True) -> tuple[int, None]:
            assert not deterministic, "as in training"
            del observation
            return 0, None

    episode = next(sample_features(RandomWalk2D(5), lambda seen: seen, num_episodes=1, num_steps=4, policy=Upward()))
    assert episode[0].tolist() == [[2, 2], [1, 2], [0, 2], [0, 2]]
    play = [
        np.concatenate(list(sample_features(RandomWalk2D(5), np.asarray, num_episodes=7, num_steps=9, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert (play[0] == play[1]).all()
    assert (play[0] != play[2]).any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"env": 3}, TypeError, "env must be a Gymnasium environment, its id, or functional dynamics, got int"),
        ({"features": lambda seen: seen[:-1]}, ValueError, r"features must turn 6 observations into .* shape \(6, N\), got"),
        ({"features": lambda seen: seen * np.nan}, ValueError, "features must turn"),
        ({"num_episodes": 1}, ValueError, "num_episodes must be"),
        ({"num_steps": 1}, ValueError, "num_steps must be"),
        ({"kept": 1}, ValueError, "kept must be"),
        ({"policy": 3}, TypeError, "policy must be a function of an observation"),
        ({"policy": lambda seen: 4}, ValueError, r"policy must return one action of Discrete\(4\), got array\(4\)"),
        ({"env": "limited", "policy": lambda seen: 0}, ValueError, "num_steps=6: env truncates episodes after 3 steps"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"env": ENV, "features": bumps, "num_episodes": 4, "num_steps": TIMES}
    arguments = good | changes
    if arguments["env"] == "limited":
        arguments["env"] = gymnasium.make("mbrl/RandomWalk2D-v0", grid_size=3, max_episode_steps=3)
    with pytest.raises(error, match=message):
        td.estimate_covariance(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((1, 4, 2)),), "episodes must have shape"),
        ((np.ones((4, 2)),), "episodes must be a non-empty array of 3 dimensions"),
        ((np.ones((4, 3, 2)), np.eye(2)), "total and total_next must be given together"),
        ((np.ones((4, 3, 2)), np.eye(3), np.eye(3)), "total and total_next must have shape"),
    ],
)
def test_bad_episodes(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        td.EpisodeCovariance(*arguments)


# --- Schedules ------------------------------------------------------------------------------------------------------------


def test_suggested_schedules_are_the_best_there_are() -> None:
    covariance = td.DecoupledCovariance(plain.published_setting(10, 6)[0])
    rewards = plain.published_setting(10, 6)[1]
    common: dict[str, Any] = {"gamma": 0.9, "batch_size": 1, "num_steps": 200, "reward_noise": 0.5}
    found = {
        family: td.suggest_schedule(covariance, rewards, gamma=0.9, budget=200, batch_size=1, reward_noise=0.5, family=family)
        for family in ("constant", "power", "delayed_power")
    }
    grid = found["constant"].largest_stable * np.geomspace(1e-3, 0.99, 60)
    constants = [td.theory_curve(covariance, rewards, step_size=eta, **common)[-1] for eta in grid]
    powers = [
        td.theory_curve(covariance, rewards, step_size=td.PowerSchedule(eta, chi), **common)[-1]
        for eta in grid[20:]
        for chi in np.linspace(0, 1, 11)
    ]
    last = {family: each.losses[-1] for family, each in found.items()}
    assert last["constant"] <= min(constants) * 1.0001
    assert last["power"] <= min(powers) * 1.001
    assert last["delayed_power"] <= last["power"] < last["constant"]
    best = found["delayed_power"]
    assert best.constant_losses[-1] == pytest.approx(last["constant"], rel=1e-3)
    assert best.schedule.step_sizes(200).max() < best.largest_stable
    # Simulation agrees, and the suggested schedule is really better than the best constant one.
    simulated = td.simulate_td(
        covariance, rewards, repeats=1000, seed=1, **(common | {"step_size": [best.schedule, best.best_constant]})
    )[:, :, -1]
    for each, losses in zip(simulated, (best.losses, best.constant_losses), strict=True):
        assert abs(each.mean() - losses[-1]) < 4 * each.std() / np.sqrt(1000)
    gain = simulated[1] - simulated[0]
    assert gain.mean() > 3 * gain.std() / np.sqrt(1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 3}, "budget must be an integer from 4 to"),
        ({"family": "cosine"}, "family must be one of"),
        ({"max_evaluations": 5}, "max_evaluations must be"),
    ],
)
def test_bad_searches(changes: dict[str, Any], message: str) -> None:
    covariance, rewards = plain.published_setting(3, 4)
    with pytest.raises(ValueError, match=message):
        td.suggest_schedule(covariance, rewards, **({"gamma": 0.5, "budget": 100, "batch_size": 4} | changes))


@pytest.mark.parametrize("arguments", [(0.0,), (0.1, -1.0), (0.1, 1.0, 0.0), (float("nan"),)])
def test_bad_schedules(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"(step_size|exponent|delay) must be"):
        td.PowerSchedule(*arguments)
