"""``mbrl train R2D2``, its presets, and that agents of other libraries take part in them."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from mbrl_agents import R2D2
from mbrl_agents.experiments import published
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_envs import cli
from tests.agents.r2d2.agents import agent

PRESETS = ["cartpole", "cartpole-no-velocity", "cue-recall", "r2d2-published", "r2d2-small-public"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_agent_of_a_preset_can_be_made(name: str) -> None:
    preset = published.preset(name)
    assert preset.name == name
    assert "r2d2" in preset.agents
    for label, (cls, _) in preset.agents.items():
        env = preset.environment.make()
        made = find_agent(cls).make(env, preset.arguments[label], seed=0, device="cpu")
        assert made.lr_schedule(0.5) > 0


def test_training_and_evaluating(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "run"
    small = ["--total-timesteps", "400", "--eval-interval", "200", "--eval-episodes", "2", "--n-envs", "2"]
    settings = ["--set", "learning_starts=100", "--env-arg", "delay=2"]
    assert cli.main(["train", "r2d2", "--preset", "cue-recall", *small, *settings, "--out", str(out)]) == 0
    run = RunFolder.open(out)
    assert run.config.agent == "R2D2"
    assert run.config.environment.arguments == {"delay": 2, "num_cues": 4}
    assert run.scores().index.tolist() == [0, 200, 400]
    assert cli.main(["evaluate", str(out), "--eval-episodes", "3"]) == 0
    assert R2D2.load(out / "agent.zip").num_timesteps == 400


def test_comparing(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "compared"
    small = ["--total-timesteps", "300", "--eval-interval", "300", "--eval-episodes", "2", "--seeds", "1", "--jobs", "1"]
    agents = ["--agents", "r2d2", "dqn"]
    assert cli.main(["compare", "--preset", "cue-recall", *agents, *small, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"r2d2", "dqn"}


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "r2d2", "CartPole-v1", "--set", "burn_in=500"]) == 2
    assert "burn_in must be below the environment's time limit of 500 steps, got 500" in capsys.readouterr().err


@pytest.mark.parametrize("env_id", ["CartPole-v1", "mbrl/CueRecall-v0"])
def test_evaluation_hands_in_previous_rewards(env_id: str) -> None:
    learner = agent(env_id, previous_reward=True, burn_in=0)
    evaluator = Evaluator(EnvironmentSpec(env_id), episodes=2, steps=30)
    assert evaluator.scores(learner).shape == (2,)
    evaluator.close()


def test_presets_are_plain_yaml() -> None:
    paths = list(pathlib.Path(published.__file__).parents[1].glob("r2d2/*.yaml"))
    assert {path.stem for path in paths} == set(PRESETS)
    for path in paths:
        assert yaml.safe_load(path.read_text())["agents"]["r2d2"]["agent"] == "R2D2"
