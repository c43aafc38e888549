"""What a sweep refuses, with words that help; nothing has been written then."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents import ReplayDQN, grid, sweep_memory, train_sweep
from mbrl_agents.experiments.sweeps import sweep as sweeps
from mbrl_agents.experiments.sweeps.specification import MAX_RUNS, specify
from mbrl_agents.runs import memory
from mbrl_agents.runs.programs import Programs
from tests.experiments.runs import contents
from tests.experiments.sweep_runs import FLUTE, SMALL


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor compiled, which takes seconds."""

    def begins(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("this should have been refused")

    monkeypatch.setattr(memory, "_temporary", lambda loop, shapes: 1)
    monkeypatch.setattr(sweeps, "advance", begins)


def refused(path: pathlib.Path, error: type[Exception], message: str, **changes: Any) -> None:
    """Whether a call fails for this reason, and leaves the disk as it was."""
    before = contents(path)
    given: dict[str, Any] = {
        "agent_class": "ReplayDQN",
        "env": FLUTE,
        "hyperparameters": {},
        "folder": path / "sweep",
    } | changes
    given["hyperparameters"] = SMALL | given["hyperparameters"]
    with pytest.raises(error, match=message):
        train_sweep(**given)
    assert contents(path) == before
    assert path.is_dir()
    assert not (path / "sweep").exists()


def test_what_is_not_refused_begins(tmp_path: pathlib.Path) -> None:
    """So that the other tests here can fail."""
    with pytest.raises(AssertionError, match="should have been refused"):
        refused(tmp_path, ValueError, "nothing")


@pytest.mark.parametrize(
    ("hyperparameters", "error", "message"),
    [
        (
            {"learning_rate": [1e-3, 1e-4], "gamma": [0.9]},
            ValueError,
            r"lists of one length .*mbrl_agents.grid.*, got learning_rate: 2, gamma: 1",
        ),
        ({"learning_rate": []}, ValueError, "lists of at least one value, got none for learning_rate"),
        ({"learning_rate": np.array([])}, ValueError, "lists of at least one value, got none for learning_rate"),
        ({"learning_rates": [1e-3]}, TypeError, "no argument 'learning_rates' .did you mean 'learning_rate'?"),
        ({"entropy": 1}, TypeError, "ReplayDQN has no argument 'entropy'; it has policy, learning_rate, "),
        ({"seed": [1, 2]}, ValueError, "'seed' cannot be set here; use the argument seeds"),
        ({"env": FLUTE}, ValueError, "'env' cannot be set here; use the argument env"),
        ({"device": "cpu"}, ValueError, "'device' cannot be set here; use JAX_PLATFORMS or CUDA_VISIBLE_DEVICES"),
        ({"device_loop": [True]}, ValueError, "'device_loop' cannot be set here; use nothing: sweeps run on the device loop"),
        ({"verbose": 1}, ValueError, "'verbose' cannot be set here; use the argument progress_bar"),
        ({"tensorboard_log": "logs"}, ValueError, "'tensorboard_log' cannot be set here; use the result's table"),
        ({"learning_rate": [1e-3, float("nan")]}, ValueError, "learning_rate must be a finite number of at least 0, got nan"),
        ({"learning_rate": [1e-3, -1e-3]}, ValueError, "learning_rate must be a finite number of at least 0, got -0.001"),
        ({"learning_rate": ["1e-3"]}, TypeError, "learning_rate must be a finite number of at least 0, got '1e-3'"),
        ({"learning_rate": [1e-3, lambda progress: 1e-3]}, TypeError, "must be a number or Stable-Baselines3's LinearSchedule"),
        ({"temperature": lambda progress: 0.1}, TypeError, "must be a number or Stable-Baselines3's LinearSchedule"),
        ({"learning_rate": LinearSchedule(-1, 0, 1)}, ValueError, r"learning_rate\(progress_remaining=1\) must be"),
        ({"gamma": (0.9, 0.99)}, TypeError, r"gamma must be a finite number .*, got \[0.9, 0.99\]"),
        ({"gamma": [0.9, 1.1]}, ValueError, "gamma must be a finite number of at least 0 and at most 1, got 1.1"),
        ({"temperature": [0.1, 0.0]}, ValueError, "temperature must be a finite number above 0, got 0.0"),
        ({"tau": [True]}, TypeError, "tau must be a finite number"),
        ({"batch_size": [16, 1.5]}, TypeError, "batch_size must be an integer"),
        ({"batch_size": [16, 0]}, ValueError, "batch_size must be an integer from 1 to .*, got 0"),
        ({"buffer_size": [1200, 20], "n_steps": 21}, ValueError, "buffer_size must be at least n_steps . n_envs = 21, got 20"),
        ({"exploration": ["softmax", "greedy"]}, ValueError, "exploration must be one of 'softmax', 'epsilon_greedy'"),
        ({"policy_kwargs": [{"net_arch": [0]}]}, ValueError, "net_arch"),
        ({"policy_kwargs": {"layers": 3}}, TypeError, "policy_kwargs has no 'layers'; it has 'net_arch', 'activation_fn'"),
        ({"train_freq": (1, "episode")}, ValueError, r"train_freq must count steps in a sweep, got \[1, 'episode'\]"),
        ({"train_freq": [1, (2, "episode")]}, ValueError, r"train_freq must count steps in a sweep, got \[2, 'episode'\]"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_hyperparameters(hyperparameters: dict, error: type[Exception], message: str, tmp_path: pathlib.Path) -> None:
    refused(tmp_path, error, message, hyperparameters=hyperparameters)


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        (0, ValueError, "seeds must be an integer from 1 to 100000, got 0"),
        (-1, ValueError, "seeds must be an integer from 1"),
        (1.5, TypeError, "seeds must be an integer from 1 .*, got 1.5"),
        (True, TypeError, "seeds must be an integer from 1 .*, got True"),
        ("3", TypeError, "seeds must be an integer from 1 .*, got '3'"),
        (None, TypeError, "seeds must be an integer from 1 .*, got None"),
        ([], ValueError, r"seeds must be a number of at least 1, or different seeds, got \[\]"),
        ([1, 2, 1], ValueError, r"different seeds, got \[1, 2, 1\]"),
        ([1, -2], ValueError, "each of seeds must be an integer from 0 to 4294967295, got -2"),
        ([2**32], ValueError, "each of seeds must be an integer from 0 to 4294967295"),
        ([1.0], TypeError, "each of seeds must be an integer"),
    ],
    ids=str,
)
def test_seeds(seeds: Any, error: type[Exception], message: str, tmp_path: pathlib.Path) -> None:
    refused(tmp_path, error, message, seeds=seeds)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"total_timesteps": 0}, ValueError, "total_timesteps must be an integer from 1"),
        ({"total_timesteps": 1e4}, TypeError, "total_timesteps must be an integer"),
        ({"n_envs": 0}, ValueError, "n_envs must be an integer from 1"),
        ({"n_envs": 1201}, ValueError, "buffer_size must be at least n_steps . n_envs = 1201, got 1200"),
        ({"eval_interval": 0}, ValueError, "eval_interval must be an integer from 1"),
        ({"eval_episodes": 0}, ValueError, "the number of evaluation episodes must be"),
        ({"eval_steps": 0}, ValueError, "the number of evaluation steps must be"),
        ({"save_replay": 1}, TypeError, "save_replay must be True or False"),
        ({"checkpoint_seconds": -1}, ValueError, "checkpoint_seconds must be a number of at least 0, got -1"),
        ({"checkpoint_seconds": float("nan")}, ValueError, "checkpoint_seconds must be a number of at least 0, got nan"),
        ({"max_parallel_runs": 0}, ValueError, "max_parallel_runs must be an integer from 1"),
        ({"max_parallel_runs": 2.0}, TypeError, "max_parallel_runs must be an integer from 1"),
        ({"execution": "pmap"}, ValueError, "execution must be one of 'loop', 'vmap'; got 'pmap'"),
        ({"execution": ""}, ValueError, "execution must be one of 'loop', 'vmap'; got ''"),
        ({"agent_class": stable_baselines3.DQN}, ValueError, "one of this package's JAX agents, .* got DQN: `mbrl compare`"),
        ({"agent_class": "PPO"}, ValueError, "one of this package's JAX agents, .* got PPO: `mbrl compare`"),
        ({"agent_class": "ReplayDQM"}, ValueError, "no agent 'ReplayDQM' .did you mean 'ReplayDQN'?"),
        ({"agent_class": 3}, TypeError, "an agent must be given by its class or name, got 3"),
        ({"env": "mbrl/PanFlut-v0"}, gymnasium.error.Error, "PanFlut"),
        ({"env": "CartPole-v1"}, ValueError, "env must have functional dynamics .* got CartPole-v1: `mbrl compare CartPole-v1"),
        ({"env": gymnasium.make("CartPole-v1")}, ValueError, "env must have functional dynamics .* got CartPole-v1"),
        ({"env": 7}, TypeError, "env must be a Gymnasium id, environment or functional dynamics, got int"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_other_arguments(changes: dict, error: type[Exception], message: str, tmp_path: pathlib.Path) -> None:
    refused(tmp_path, error, message, **changes)


def test_wrapped_environments(tmp_path: pathlib.Path) -> None:
    """What a wrapper makes of observations and rewards is no part of the dynamics."""
    flute = gymnasium.make(FLUTE)
    message = "env must be given by its id: .* has wrappers"
    refused(tmp_path, ValueError, message, env=gymnasium.wrappers.TransformReward(flute, lambda reward: -float(reward)))
    refused(tmp_path, ValueError, message, env=gymnasium.wrappers.FlattenObservation(flute))


def test_a_class_of_another_library(tmp_path: pathlib.Path) -> None:
    class DQN(ReplayDQN):
        """A user's agent that is called as another one."""

    class Other(stable_baselines3.DQN):
        """None of ours."""

    refused(tmp_path, ValueError, "must have another name: DQN is stable_baselines3's", agent_class=DQN)
    refused(tmp_path, ValueError, "one of this package's JAX agents", agent_class=Other)


def test_too_many_runs(tmp_path: pathlib.Path) -> None:
    settings = {"gamma": np.linspace(0, 1, 1001)}
    message = f"the number of runs .settings times seeds. must be an integer from 1 to {MAX_RUNS}, got 100100"
    refused(tmp_path, ValueError, message, hyperparameters=settings, seeds=100)


# ---------------------------------------------------------------------- folders


def test_folders_of_other_things(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Programs, "plan", None)  # said before anything is compiled
    (tmp_path / "thesis.txt").write_text("dear")
    for path, message in (
        (tmp_path, "exists and holds no sweep: choose another folder"),
        (tmp_path / "thesis.txt", "is a file"),
    ):
        with pytest.raises(FileExistsError, match=message):
            train_sweep("ReplayDQN", FLUTE, SMALL, folder=path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".sweep.yaml.notes").write_text("mine")  # looks like what a kill leaves behind, and is not
    with pytest.raises(FileExistsError, match="holds no sweep"):
        train_sweep("ReplayDQN", FLUTE, SMALL, folder=tmp_path / "sub")
    assert contents(tmp_path) == {"thesis.txt": b"dear", "sub/.sweep.yaml.notes": b"mine"}


@pytest.mark.parametrize("text", ["", "format: mbrl-run-1\n", "[1, 2", "- 1\n"])
def test_a_damaged_sweep(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"sweep\.yaml (does not describe a sweep|cannot be read)"):
        train_sweep("ReplayDQN", FLUTE, SMALL, folder=tmp_path)
    assert contents(tmp_path) == {"sweep.yaml": text.encode()}


# ---------------------------------------------------------------------- what is understood


def test_a_grid() -> None:
    assert grid(learning_rate=[1, 2], gamma=(0.5, 0.6, 0.7)) == {
        "learning_rate": [1, 1, 1, 2, 2, 2],
        "gamma": [0.5, 0.6, 0.7, 0.5, 0.6, 0.7],
    }
    assert grid(gamma=np.array([0.5])) == {"gamma": [0.5]}  # type: ignore[arg-type]
    assert grid() == {}
    nothing: list[Any] = [[], (), np.array([])]
    for values in nothing:
        with pytest.raises(ValueError, match="gamma must be a list of at least one value"):
            grid(learning_rate=[1], gamma=values)
    for wrong in (0.9, "abc", {0.9}, None):
        with pytest.raises(TypeError, match="gamma must be a list of values"):
            grid(gamma=wrong)  # type: ignore[arg-type]


def test_settings_and_seeds_in_order() -> None:
    swept = {"learning_rate": np.array([1e-3, 2e-3], np.float64), "batch_size": [np.int64(8), 16], "gamma": np.float32(0.5)}
    spec = specify("replay-dqn", FLUTE, hyperparameters=swept | {"buffer_size": 99}, seeds=(7, 3), total_timesteps=3000)
    assert [(config.arguments["learning_rate"], config.arguments["batch_size"], config.seed) for config in spec.configs] == [
        (1e-3, 8, 7),
        (1e-3, 8, 3),
        (2e-3, 16, 7),
        (2e-3, 16, 3),
    ]
    assert {type(config.arguments[name]) for config in spec.configs for name in ("learning_rate", "gamma")} == {float}
    assert spec.settings == [{"learning_rate": 1e-3, "batch_size": 8}, {"learning_rate": 2e-3, "batch_size": 16}]
    assert [config.label for config in spec.configs[::2]] == [
        "learning_rate=0.001, batch_size=8",
        "learning_rate=0.002, batch_size=16",
    ]
    assert {config.evaluation.interval for config in spec.configs} == {100}
    assert specify("ReplayDQN", FLUTE, hyperparameters=None, seeds=3, total_timesteps=1).seeds == [0, 1, 2]


def test_the_dry_run_refuses_the_same() -> None:
    with pytest.raises(TypeError, match="did you mean 'gamma'"):
        sweep_memory("ReplayDQN", FLUTE, {"gama": [0.9]})
    with pytest.raises(ValueError, match="execution must be one of"):
        sweep_memory("ReplayDQN", FLUTE, SMALL, execution="pmap")
    with pytest.raises(ValueError, match="functional dynamics"):
        sweep_memory("ReplayDQN", "CartPole-v1")
    with pytest.raises(ValueError, match="max_parallel_runs must be an integer from 1"):
        sweep_memory("ReplayDQN", FLUTE, SMALL, max_parallel_runs=0)
