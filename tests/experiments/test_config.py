"""Configurations survive YAML, and differences between them are told."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import pytest
import yaml

from mbrl_agents.experiments import presets
from mbrl_agents.runs import config as configs
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.config import RunConfig, default_interval, differences
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs.conditioning import CueReward
from tests.experiments.runs import config


@pytest.mark.parametrize(
    ("steps", "interval"), [(15_000, 500), (100_000, 2000), (1_000_000, 20_000), (100, 2), (30, 1), (29, 1), (1, 1), (300, 10)]
)
def test_intervals_are_round_and_give_enough_evaluations(steps: int, interval: int) -> None:
    assert default_interval(steps) == interval


def test_a_configuration_survives_yaml() -> None:
    environment = EnvironmentSpec("mbrl/ProcMaze-v0", {"grid_size": 5, "spontaneous": False}, -1)
    original = config("DQN", environment, arguments={"train_freq": (4, "step"), "learning_rate": 1e-5})
    again = RunConfig.from_dict(yaml.safe_load(configs.dump(original.to_dict())), "it")
    assert again == original
    assert again.environment == environment
    assert again.arguments == {"train_freq": [4, "step"], "learning_rate": 1e-5}
    assert again.defaults["gamma"] == 0.99
    assert "learning_rate" not in again.defaults


def test_a_configuration_of_an_earlier_version_is_read() -> None:
    made = config(n_envs=2)
    old = {
        "steps" if name == "total_timesteps" else "num_envs" if name == "n_envs" else name: value
        for name, value in made.to_dict().items()
    }
    assert {"steps", "num_envs"} <= set(old)
    assert RunConfig.from_dict(old, "it") == made


def test_a_tuple_is_the_list_that_comes_back() -> None:
    """Else a run that was stopped would be another run, and could not be gone on with."""
    made = gymnasium.make("mbrl/CueReward-v0", delays=(2, 3))
    for environment in (EnvironmentSpec("mbrl/CueReward-v0", {"delays": (2, 3)}, -1), EnvironmentSpec.of(made)):
        original = config("LinearTD", environment)
        again = RunConfig.from_dict(yaml.safe_load(configs.dump(original.to_dict())), "it")
        assert configs.differences(again, original) == []
        assert again.environment == original.environment
        assert original.environment.dynamics() == CueReward(delays=(2, 3))


def test_the_studys_environments_are_evaluated_as_in_the_study() -> None:
    made = configs.make_config("ReplayDQN", EnvironmentSpec("mbrl/ProcMaze-v0"), total_timesteps=1000)
    assert (made.evaluation.episodes, made.evaluation.steps) == (32, 100)
    other = configs.make_config("PPO", EnvironmentSpec("CartPole-v1"), total_timesteps=1000)
    assert (other.evaluation.episodes, other.evaluation.steps) == (10, None)


@pytest.mark.parametrize(
    ("agent", "changes"),
    [
        ("ReplayDQN", {}),
        ("OMD", {"gamma": 0.9}),
        ("PPO", {"gamma": 0.9}),
        ("DQN", {"gamma": 0.9, "train_freq": 1, "target_update_interval": 100}),
    ],
)
def test_agents_in_the_studys_environments_discount_alike(agent: str, changes: dict[str, Any]) -> None:
    kind = find_agent(agent)
    assert presets.study(kind, EnvironmentSpec("mbrl/ProcMaze-v0")) == changes
    assert presets.study(kind, EnvironmentSpec("CartPole-v1")) == {}


def test_differences() -> None:
    one = config()
    assert differences(one, one) == []
    changed = dataclasses.replace(one, seed=3, arguments={**one.arguments, "gamma": 0.5})
    assert differences(one, changed) == ["gamma: 0.9 -> 0.5", "seed: 0 -> 3"]
    assert differences(one, config(arguments={**one.arguments, "gamma": 0.9})) == []


@pytest.mark.parametrize(
    "data", [None, [], {}, {"format": "other"}, {"format": configs.FORMAT}, {"format": configs.FORMAT, "x": 1}]
)
def test_what_is_no_configuration_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"it is not|it is no"):
        RunConfig.from_dict(data, "it")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"total_timesteps": 0}, ValueError, "total_timesteps must be"),
        ({"total_timesteps": 1.5}, TypeError, "total_timesteps must be"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"n_envs": 0}, ValueError, "n_envs must be"),
        ({"eval_interval": 0}, ValueError, "eval_interval must be"),
        ({"eval_episodes": 0}, ValueError, "the number of evaluation episodes must be"),
        ({"eval_steps": 0}, ValueError, "the number of evaluation steps must be"),
        ({"arguments": {"gamma": 2}}, ValueError, "gamma must be"),
        ({"arguments": {"gama": 0.9}}, TypeError, "did you mean 'gamma'"),
        ({"agent": "PPO", "save_replay": True}, ValueError, "PPO has no replay memory that can be kept"),
    ],
)
def test_mistakes_are_told(changes: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config(**{"arguments": {}, **changes})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (("mbrl/PanFlute-v0", {"pipes": 5}), "PanFlute has no argument 'pipes'"),
        (("mbrl/PanFlute-v0", {"num_pipes": 99}), "num_pipes must be"),
        (("mbrl/PanFlut-v0", {}), "PanFlut"),
        (("mbrl/PanFlute-v0", {}, 0), "max_episode_steps"),
    ],
)
def test_mistakes_in_environments_are_told(environment: tuple, message: str) -> None:
    with pytest.raises(Exception, match=message):
        config(environment=EnvironmentSpec(*environment))
