"""``mbrl evaluate --imagine``: what it collects, writes, prints and refuses."""

from __future__ import annotations

import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces
from PIL import Image

from mbrl_agents import PerfectModelDQN, ReplayDQN, SimpleModelDQN
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.experiments import imagination, imagination_pictures
from mbrl_agents.experiments.imagination import FILES, collect, some_starts, summary, write_findings
from mbrl_agents.experiments.imagination_plots import errors_figure
from mbrl_agents.model_dqn.inspection import Rollout, Trajectory
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs import ProcMaze, cli
from tests.experiments.test_commands import fails

SMALL: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [8]},
    "buffer_size": 100,
    "batch_size": 8,
    "temperature": 10.0,
    "seed": 0,
}
MAZE = EnvironmentSpec("mbrl/ProcMaze-v0", {"grid_size": 2, "spontaneous": False})
FLUTE = EnvironmentSpec("mbrl/PanFlute-v0", {"num_pipes": 2})
CART = EnvironmentSpec("CartPole-v1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagination, "REAL_STEPS", 60)
    monkeypatch.setattr(imagination, "SHOWN", 1)


def saved(path: pathlib.Path, cls: Any, spec: EnvironmentSpec) -> list[str]:
    """A fresh agent's file, and the command that evaluates it."""
    cls("MlpPolicy", spec.make(), **SMALL).save(path)
    constants = [part for name, value in spec.arguments.items() for part in ("--env-arg", f"{name}={value}")]
    return ["evaluate", str(path), "--env", spec.id, *constants, "--eval-episodes", "2", "--eval-steps", "5"]


def is_picture(path: pathlib.Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 300 and len(np.unique(np.asarray(image))) > 20


def test_the_perfect_model_of_a_maze(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    command, out = saved(tmp_path / "agent.zip", PerfectModelDQN, MAZE), tmp_path / "out"
    assert cli.main([*command, "--imagine", str(out), "--imagine-steps", "4"]) == 0
    shown = capsys.readouterr().out
    assert f"{out}: {', '.join(FILES)}" in shown
    assert "Brier score 0, log loss 0" in shown
    for part in ("player", "goal", "wall", "empty", "reward", "termination", "1 step ", "2 steps", "4 steps", "0 (0."):
        assert part in shown
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert all(is_picture(out / name) for name in FILES if name.endswith(".png"))
    errors = pd.read_csv(out / "prediction_errors.csv")
    assert list(errors.columns) == ["horizon", "quantity", "measure", "error", "nll", "baseline", "count"]
    assert (errors["error"] == 0).all()
    assert errors["horizon"].max() == 4
    assert pd.read_csv(out / "termination_calibration.csv")["count"].iloc[-1] == 60


def test_any_gymnasium_environment_and_earlier_findings(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert cli.main([*saved(tmp_path / "cart", SimpleModelDQN, CART), "--imagine", str(out), "--imagine-steps", "3"]) == 0
    assert {path.name for path in out.iterdir()} == {*FILES}
    first = (out / "prediction_errors.csv").read_bytes()
    assert "observation[3]" in first.decode()
    # Findings of a continuing task take their place; there is nothing to calibrate.
    command = [*saved(tmp_path / "flute", SimpleModelDQN, FLUTE), "--imagine", str(out), "--imagine-steps", "3"]
    assert cli.main(command) == 0
    left = ("prediction_errors.csv", "prediction_errors.png", "rollouts.png")
    assert {path.name for path in out.iterdir()} == {*left}
    assert f"{out}: {', '.join(left)}" in capsys.readouterr().out
    second = (out / "prediction_errors.csv").read_bytes()
    assert second != first
    assert cli.main([*command, "--imagine-greedy"]) == 0
    assert (out / "prediction_errors.csv").read_bytes() != second


def test_mistakes(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    command, out = saved(tmp_path / "agent", ReplayDQN, FLUTE), tmp_path / "out"
    message = "ReplayDQN has no world model: those that have one are PerfectModelDQN, SimpleModelDQN and LatentModelDQN"
    assert message in fails(capsys, *command, "--imagine", out)
    assert "score" not in capsys.readouterr().out
    wanted = "--imagine-steps must be an integer from 1 to 1000, got"
    for steps in (0, -1, 1001):
        assert f"{wanted} {steps}" in fails(capsys, *command, "--imagine", out, "--imagine-steps", steps)
    for option in (["--imagine-steps", 3], ["--imagine-greedy"]):
        assert "--imagine-steps and --imagine-greedy need --imagine FOLDER" in fails(capsys, *command, *option)
    assert "--imagine needs the name of a folder, got ''" in fails(capsys, *command, "--imagine", "")
    assert f"{tmp_path} holds other things (agent.zip): choose a new folder" in fails(capsys, *command, "--imagine", tmp_path)
    file = tmp_path / "agent.zip"
    assert f"{file} is a file: choose another folder" in fails(capsys, *command, "--imagine", file)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.zip"]
    maze = SimpleModelDQN("MlpPolicy", MAZE.make(), **SMALL)
    with pytest.raises(ValueError, match="steps must be an integer from 1 to 1000, got 0"):
        write_findings(maze, MAZE, out, steps=0)


@pytest.mark.parametrize("spec", [MAZE, CART], ids=lambda spec: spec.id)
def test_what_is_collected_is_what_happened(spec: EnvironmentSpec) -> None:
    agent = SimpleModelDQN("MlpPolicy", spec.make(), **SMALL)
    trajectories = collect(agent, spec, steps=150, seed=3)
    assert sum(len(each.actions) for each in trajectories) == 150
    assert len(trajectories) > 1
    env = spec.make()
    for i, each in enumerate(trajectories):
        observation, _ = env.reset(seed=None if i else 3)
        np.testing.assert_array_equal(each.observations[0], observation)
        for t, action in enumerate(each.actions):
            observation, reward, terminated, *_ = env.step(action)
            np.testing.assert_array_equal(each.observations[t + 1], observation)
            assert each.rewards[t] == reward
            assert terminated == (each.terminated and t == len(each.actions) - 1)
        assert (each.states is None) == (spec is CART)


def test_episodes_have_an_end() -> None:
    agent = SimpleModelDQN("MlpPolicy", FLUTE.make(), **SMALL)
    assert [len(each.actions) for each in collect(agent, FLUTE, steps=250)] == [100, 100, 50]


def test_starts_are_spread() -> None:
    trajectories = [
        Trajectory(np.arange(100 * i, 100 * i + n + 1)[:, None], np.zeros(n, int), np.arange(n), i == 1)
        for i, n in enumerate((4, 6, 2))
    ]
    parts = some_starts(trajectories, 4, 2)
    # Four starts have four steps ahead: 0, 100, 101 and 102.
    assert [part.observations[0, 0] for part in parts] == [100, 101]
    assert all(len(part.actions) == 4 and len(part.observations) == 5 for part in parts)
    assert [part.terminated for part in some_starts(trajectories, 9, 2)] == [True]


@pytest.mark.parametrize(
    ("space", "panels"),
    [
        (spaces.Box(0, 255, (3, 8, 6), np.uint8), 3 * 4),
        (spaces.Box(0, 255, (8, 6, 4), np.uint8), 3 * 4),
        (spaces.Box(-1, 1, (5, 7), np.float32), 3 * 4),
        (spaces.Box(-1, 1, (9,), np.float32), imagination_pictures.MOST_LINES),
        (spaces.Discrete(5), 3),
        (spaces.MultiBinary(7), 3),
    ],
    ids=str,
)
def test_every_kind_of_observation_is_drawn(space: spaces.Space[Any], panels: int) -> None:
    codec, rng = ObservationCodec.of(space), np.random.default_rng(0)
    agent = SimpleNamespace(learner=SimpleNamespace(codec=codec), action_space=spaces.Discrete(2))
    rollout = Rollout(*rng.random((3, 4, codec.num_features)), *rng.random((2, 3)))
    trajectory = Trajectory(np.zeros(4), np.zeros(3, int), np.zeros(3), False)
    figure = imagination_pictures.rollouts_figure([(trajectory, rollout)], agent, None, "title")
    drawn = [axis for axis in figure.axes if axis.get_images() or axis.get_lines()]
    assert len(drawn) == panels


def test_pictures_of_mazes_are_the_environments_own() -> None:
    env = ProcMaze(2)
    view = imagination_pictures._view_of_cells(env, ObservationCodec.of(env.observation_space))
    assert view is not None
    wall = np.tile([0, 0, 1, 0], 4).astype(float)
    assert view.picture(wall).shape == (2 * imagination_pictures.CELL + 4,) * 2 + (3,)
    assert len(np.unique(view.picture(wall))) == len(np.unique([0x33, 0x3A, 0x45]))
    np.testing.assert_array_equal(view.cells(np.arange(16)), [[3, 7], [11, 15]])


def test_many_quantities_leave_room_for_rewards() -> None:
    names = [f"observation[{i}]" for i in range(30)] + ["reward", "termination"]
    rows = [(k, name, "squared error", 1.0, np.nan, 2.0, 5) for name in names for k in (1, 2)]
    table = pd.DataFrame(rows, columns=["horizon", "quantity", "measure", "error", "nll", "baseline", "count"])
    titles = [axis.get_title("left") for axis in errors_figure(table, "title").axes]
    assert titles == [*names[:14], "reward", "termination"]
    short = summary(table)
    assert list(short.columns) == ["predicted", "error", "1 step", "2 steps"]
    assert short["1 step"].iloc[0] == "1 (2)"
