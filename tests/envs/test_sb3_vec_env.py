"""Stable-Baselines3's vector environment: equal to SB3's own of monitored single environments, and SB3's agents learn on it."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from sb3_contrib import QRDQN
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize

from mbrl_envs import FunctionalVecEnv, PanFlute, ProcMaze

TASKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "small mazes": ("mbrl/ProcMaze-v0", {"grid_size": 2}, 9),
    "planes": ("mbrl/OpenGrid-v0", {"grid_size": 3, "observation": "planes"}, 12),
    "flute": ("mbrl/PanFlute-v0", {"num_pipes": 3}, 10),
}


def make_pair(task: str, num_envs: int) -> tuple[FunctionalVecEnv, DummyVecEnv]:
    env_id, kwargs, limit = TASKS[task]
    single = lambda: Monitor(gymnasium.make(env_id, max_episode_steps=limit, disable_env_checker=True, **kwargs))  # noqa: E731
    return FunctionalVecEnv(env_id, num_envs, max_episode_steps=limit, **kwargs), DummyVecEnv([single] * num_envs)


def assert_same_step(ours: Any, theirs: Any) -> int:
    """Compares two steps; returns the number of ended episodes."""
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    for mine, other, done in zip(ours[3], theirs[3], ours[2], strict=True):
        assert set(mine) == set(other)
        assert mine["TimeLimit.truncated"] is other["TimeLimit.truncated"]
        assert ("terminal_observation" in mine) == ("episode" in mine) == done
        if done:
            np.testing.assert_array_equal(mine["terminal_observation"], other["terminal_observation"])
            assert {key: mine["episode"][key] for key in "rl"} == {key: other["episode"][key] for key in "rl"}
            assert (type(mine["episode"]["r"]), type(mine["episode"]["l"])) == (float, int)
            assert 0 <= mine["episode"]["t"] < 1000
    return int(ours[2].sum())


@pytest.mark.parametrize(
    ("task", "num_envs", "steps"), [("small mazes", 1, 200), ("planes", 5, 200), ("flute", 5, 200), ("small mazes", 70, 60)]
)
def test_it_equals_sb3s_own_of_monitored_single_environments(task: str, num_envs: int, steps: int) -> None:
    pair = make_pair(task, num_envs)
    rng = np.random.default_rng(0)
    for seed in (123, None):  # the second reset goes on with new episodes
        if seed is not None:
            assert pair[0].seed(seed) == pair[1].seed(seed) == [seed + i for i in range(num_envs)]
        ours, theirs = (envs.reset() for envs in pair)
        np.testing.assert_array_equal(ours, theirs)
        ends = truncations = 0
        for _ in range(steps):
            actions = rng.integers(pair[0].action_space.n, size=num_envs)
            ours, theirs = (envs.step(actions) for envs in pair)
            ends += assert_same_step(ours, theirs)
            truncations += sum(info["TimeLimit.truncated"] for info in ours[3])
        assert truncations > 0
        assert (truncations < ends) == (task != "flute")


def test_what_is_written_into_what_a_step_returned_has_no_effect() -> None:
    """PPO adds the bootstrapped value to the rewards in place."""
    first, second = make_pair("small mazes", 4)[0], make_pair("small mazes", 4)[0]
    for envs in (first, second):
        envs.seed(0)
        envs.reset()
    for _ in range(60):
        ours, theirs = first.step(np.arange(4)), second.step(np.arange(4))
        assert_same_step(ours, theirs)
        observation, rewards, dones, infos = ours
        observation[...] = ~observation
        rewards += 1000
        dones[...] = ~dones
        for info in infos:
            info.clear()


def test_seeds() -> None:
    mazes = FunctionalVecEnv("ProcMaze", 3, grid_size=10)
    mazes.seed(5)
    first = mazes.reset()
    following = mazes.reset()
    assert (first != following).any(axis=1).all()
    mazes.seed(5)
    np.testing.assert_array_equal(mazes.reset(), first)
    np.testing.assert_array_equal(mazes.reset(), following)
    mazes.seed(6)  # lane i has seed 6 + i
    np.testing.assert_array_equal(mazes.reset()[:2], first[1:])
    unseeded = [FunctionalVecEnv("ProcMaze", 3, grid_size=10).reset() for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any(axis=1).all()


def test_questions_about_the_environments() -> None:
    envs = FunctionalVecEnv(ProcMaze(grid_size=3), 4, render_mode="ansi")
    envs.reset()
    assert envs.get_attr("render_mode") == ["ansi"] * 4
    assert envs.get_attr("grid_size", indices=[0, 2]) == [3, 3]
    assert envs.get_attr("dynamics", indices=1) == [ProcMaze(grid_size=3)]
    assert [spec.id for spec in envs.get_attr("spec", 0)] == ["mbrl/ProcMaze-v0"]
    assert ["environment 2" in text for text in envs.env_method("render", indices=[1, 2])] == [False, True]
    assert envs.env_is_wrapped(Monitor) == [True] * 4
    assert envs.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=0) == [False]
    assert envs.has_attr("grid_size")
    assert not envs.has_attr("colour")
    with pytest.raises(AttributeError, match="colour"):
        envs.get_attr("colour")
    with pytest.raises(AttributeError, match="grid_size"):
        envs.set_attr("grid_size", 5)
    with pytest.raises(AttributeError, match="render"):
        envs.env_method("fly")
    envs.close()


def test_pictures() -> None:
    envs = FunctionalVecEnv("ProcMaze", 4, render_mode="rgb_array")
    envs.reset()
    images = envs.get_images()
    assert len(images) == 4
    tiled = envs.render()
    assert tiled.shape == (2 * images[0].shape[0], 2 * images[0].shape[1], 3)
    assert envs.metadata["render_fps"] == 4  # what SB3's video recorder asks for


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Maze",), "dynamics must be one of"),
        (("ProcMaze", 0), "num_envs must be"),
        (("ProcMaze", 2, 0), "max_episode_steps"),
        (("ProcMaze", 2, 5, "human"), "render_mode"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FunctionalVecEnv(*arguments)


@pytest.mark.parametrize("actions", [[0, 0], [0, 0, 5], [0.0, 1.0, 2.0], [[0], [0], [0]]])
def test_bad_actions_are_refused(actions: Any) -> None:
    envs = FunctionalVecEnv("PanFlute", 3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros(3, int))
    envs.reset()
    with pytest.raises(ValueError, match="action"):
        envs.step(np.array(actions))


# --- SB3's wrappers and agents --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The environment is already wrapped:UserWarning")
def test_wrappers(tmp_path: pathlib.Path) -> None:
    envs = VecMonitor(FunctionalVecEnv("PanFlute", 3, max_episode_steps=8), str(tmp_path / "log"))
    stacked = VecFrameStack(envs, 2)
    normalised = VecNormalize(stacked, norm_obs=False)
    observation = normalised.reset()
    assert observation.shape == (3, 30)
    assert observation.dtype == bool
    for _ in range(8):
        observation, rewards, dones, infos = normalised.step(np.array([0, 1, 2]))
    assert dones.all()
    assert [info["episode"]["l"] for info in infos] == [8, 8, 8]
    assert infos[0]["terminal_observation"].shape == (30,)
    assert rewards.dtype == np.float32
    assert len((tmp_path / "log.monitor.csv").read_text().splitlines()) == 2 + 3


@pytest.mark.parametrize("env", [PanFlute(num_pipes=3), ProcMaze(grid_size=3)], ids=lambda env: type(env).__name__)
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"n_steps": 64, "n_epochs": 2}),
        (DQN, {"learning_starts": 200, "buffer_size": 3000, "train_freq": 8}),
        (QRDQN, {"learning_starts": 200, "buffer_size": 3000, "train_freq": 8}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_agents_run(env: Any, algorithm: type[BaseAlgorithm], settings: dict[str, Any], tmp_path: pathlib.Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = FunctionalVecEnv(env, 4, max_episode_steps=50)
        model = algorithm("MlpPolicy", envs, policy_kwargs={"net_arch": [16]}, seed=0, device="cpu", **settings)
        model.learn(2000)
        assert model.num_timesteps >= 2000
        assert len(model.ep_info_buffer) > 0
        monitored = [(info["r"], info["l"]) for info in model.ep_info_buffer]
        if env.continuing:
            assert {length for _, length in monitored} == {50}
        else:  # every step costs 1 until the goal, which even random play finds in some episodes
            assert all(score == -length for score, length in monitored)
            assert 1 <= min(length for _, length in monitored) < 50
            assert max(length for _, length in monitored) <= 50
        # Episodes of 50 steps that are all counted to their end; without a warning that no monitor wraps them.
        returns, lengths = evaluate_policy(model, envs, n_eval_episodes=6, return_episode_rewards=True)
        assert len(returns) == 6
        assert max(lengths) <= 50
        if not env.continuing:
            assert returns == [-length for length in lengths]
        model.save(tmp_path / "agent")
        again = algorithm.load(tmp_path / "agent", env=FunctionalVecEnv(env, 4, max_episode_steps=50), device="cpu")
        observation = envs.reset()
        np.testing.assert_array_equal(*(each.predict(observation, deterministic=True)[0] for each in (model, again)))


def test_ppo_learns_a_small_flute() -> None:
    """Best: blow 1, 0, 1, 0, …, rewarded on every other step and after some of the random events; uniform play: 0.44."""
    env = PanFlute(num_pipes=2)
    envs = FunctionalVecEnv(env, 8, max_episode_steps=100)
    settings = {"n_steps": 32, "batch_size": 64, "n_epochs": 4, "learning_rate": 3e-3, "gamma": 0.8, "ent_coef": 0.0}
    model = PPO("MlpPolicy", envs, policy_kwargs={"net_arch": [16]}, seed=0, device="cpu", **settings)
    before, _ = evaluate_policy(model, envs, n_eval_episodes=16, deterministic=False)
    model.learn(6000)
    after, _ = evaluate_policy(model, envs, n_eval_episodes=16, deterministic=False)
    assert before < 50
    assert after > 58
