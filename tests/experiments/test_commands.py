"""The commands, as they are typed."""

from __future__ import annotations

import errno
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from stable_baselines3 import PPO

from mbrl_agents import ReplayDQN
from mbrl_agents.experiments import command_runs
from mbrl_agents.runs import run_folder
from mbrl_agents.runs.run_folder import FINISHED, INTERRUPTED, RUNNING, RunFolder
from mbrl_envs import cli
from tests.experiments.runs import TINY, contents, settings

ROOT = pathlib.Path(__file__).parents[2]
SIZES = ["--total-timesteps", "120", "--eval-interval", "40", "--eval-episodes", "4", "--eval-steps", "10"]
TRAIN = ["train", "replay-dqn", "mbrl/PanFlute-v0", *SIZES, *(part.replace("ReplayDQN.", "") for part in settings("ReplayDQN"))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main([*TRAIN, "--out", str(path)]) == 0
    return path


def fails(capsys: pytest.CaptureFixture, *arguments: Any) -> str:
    """Runs a command that must fail by a mistake of the user, and returns its one line."""
    capsys.readouterr()
    assert cli.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mbrl: error: ")
    return error


def test_train_tells_the_score(trained: pathlib.Path, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path) -> None:
    run = RunFolder.open(trained)
    assert run.status().state == FINISHED
    assert run.config.arguments == TINY["ReplayDQN"]
    assert cli.main([*TRAIN, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert f"ReplayDQN in mbrl/PanFlute-v0: score {run.scores().iloc[-1]:.4g}, normalised" in out
    assert RunFolder.open(tmp_path / "run").scores().equals(run.scores())


def test_train_leaves_a_run_that_is_there_alone(trained: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(trained)
    assert "already holds a run (finished): --force to replace it, or another --out" in fails(capsys, *TRAIN, "--out", trained)
    assert "another configuration (seed: 0 -> 9)" in fails(capsys, *TRAIN, "--seed", 9, "--resume", "--out", trained)
    assert "give one of them" in fails(capsys, *TRAIN, "--force", "--resume", "--out", trained)
    assert cli.main([*TRAIN, "--resume", "--out", str(trained)]) == 0
    assert contents(trained) == before


def test_force_replaces(tmp_path: pathlib.Path) -> None:
    command = [*TRAIN, "--out", str(tmp_path / "run")]
    assert cli.main(command) == 0
    assert cli.main([*command, "--seed", "4", "--force"]) == 0
    assert RunFolder.open(tmp_path / "run").config.seed == 4


def test_evaluate_a_run_and_a_file(trained: pathlib.Path, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path) -> None:
    assert cli.main(["evaluate", str(trained)]) == 0
    one = capsys.readouterr().out
    assert "ReplayDQN in mbrl/PanFlute-v0: score 0." in one
    assert "(4 episodes, acting deterministically" in one
    assert cli.main(["evaluate", str(trained / "agent.zip")]) == 0
    assert capsys.readouterr().out == one
    # Elsewhere, one of ours says what it is, but not where it lived.
    (tmp_path / "moved.zip").write_bytes((trained / "agent.zip").read_bytes())
    arguments = ["evaluate", str(tmp_path / "moved"), "--env", "mbrl/PanFlute-v0", "--eval-episodes", "4", "--eval-steps", "10"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == one
    assert "say which environment, with --env" in fails(capsys, "evaluate", tmp_path / "moved.zip")
    assert "says itself what ReplayDQN has" in fails(capsys, "evaluate", trained, "--set", "temperature=-5")


def test_evaluate_a_file_of_sb3(capsys: pytest.CaptureFixture, tmp_path: pathlib.Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, device="cpu").save(tmp_path / "ppo.zip")
    command = ["evaluate", tmp_path / "ppo.zip", "--env", "CartPole-v1", "--eval-episodes", "2"]
    assert "name its class, with --agent" in fails(capsys, *command)
    assert "is no PPO for this environment with these arguments" in fails(capsys, *command, "--agent", "ppo")
    assert cli.main([*map(str, command), "--agent", "ppo", "--set", "policy_kwargs={'net_arch': [8]}"]) == 0
    assert "PPO in CartPole-v1: score" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_film(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, suffix: str) -> None:
    if suffix == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    file = tmp_path / f"flute.{suffix}"
    assert cli.main(["evaluate", str(trained), "--video", str(file), "--video-steps", "5"]) == 0
    assert f"{file}: 6 frames" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    if suffix == "gif":
        with Image.open(file) as film:
            assert (film.format, film.n_frames, film.info["duration"]) == ("GIF", 6, 250)
    else:
        assert file.read_bytes()[4:8] == b"ftyp"


def test_a_film_that_cannot_be(
    trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "must end in .gif or .mp4" in fails(capsys, "evaluate", trained, "--video", tmp_path / "a.avi")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    error = fails(capsys, "evaluate", trained, "--video", tmp_path / "a.mp4")
    assert 'pip install "mbrl-lab[play]" (or write a .gif)' in error
    assert list(tmp_path.iterdir()) == []


def test_plot(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["plot", str(trained), str(trained.parent), "--out", str(tmp_path / "a" / "curves.png")]) == 0
    assert (tmp_path / "a" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["plot", str(trained), "--normalised", "--out", str(tmp_path / "scaled.png")]) == 0
    assert (tmp_path / "scaled.png").read_bytes() != (tmp_path / "a" / "curves.png").read_bytes()
    assert "there is no run in" in fails(capsys, "plot", tmp_path, "--out", tmp_path / "b.png")
    assert "must end in .png" in fails(capsys, "plot", trained, "--out", tmp_path / "b.bmp")


def test_compare(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    command = ["compare", "mbrl/PanFlute-v0", "--agents", "ReplayDQN", "short=PPO", "--seeds", "2", "--jobs", "1", *SIZES]
    extra = [part.replace("PPO.", "short.") for part in settings("ReplayDQN", "PPO")]
    assert cli.main([*command, *extra, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "short gets gamma=0.9 (--preset none for its own defaults)" in shown.err
    for part in ("ReplayDQN", "short", "best policy", "results.csv, curves.csv, table.csv, curves.png"):
        assert part in shown.out
    assert pd.read_csv(out / "results.csv")[["label", "agent", "runs"]].to_numpy().tolist() == [
        ["ReplayDQN", "ReplayDQN", 2],
        ["short", "PPO", 2],
    ]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main([*command, *extra, "--out", str(out)]) == 0
    assert "4 of 4 runs are finished already" in capsys.readouterr().err
    error = fails(capsys, *command, *extra, "--preset", "none", "--out", out)
    assert "holds another run (gamma: 0.9 -> 0.99)" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train PPO CartPole-v1 --steps 100", "--steps is --total-timesteps now"),
        ("compare CartPole-v1 --first-seed 1", "--first-seed is --seed now"),
        ("evaluate runs --episodes 3", "--episodes is --eval-episodes now"),
        ("evaluate runs --steps 3", "--steps is --eval-steps now"),
        ("tune run PPO CartPole-v1 --space gamma=1 --minimize", "--minimize is --direction minimize now"),
    ],
)
def test_options_of_earlier_versions_say_what_they_are_now(arguments: str, message: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(arguments.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "PPOO", "CartPole-v1"], "there is no agent 'PPOO' (did you mean 'PPO'?)"),
        (["train", "PPO", "CartPoole-v1"], "Did you mean: `CartPole`?"),
        (["train", "PPO", "mbrl/PanFlut-v0"], "PanFlut"),
        (["train", "PPO", "CartPole-v1", "--set", "gama=0.9"], "PPO has no argument 'gama' (did you mean 'gamma'?)"),
        (["train", "PPO", "CartPole-v1", "--set", "gamma"], "--set must look like NAME=VALUE, got 'gamma'"),
        (["train", "PPO", "CartPole-v1", "--set", "gamma=1", "--set", "gamma=0"], "--set gamma is given twice"),
        (["train", "PPO", "CartPole-v1", "--set", "seed=1"], "'seed' cannot be set this way; use --seed"),
        (["train", "SAC", "CartPole-v1"], "SAC cannot be trained here"),
        (["train", "ReplayDQN", "Pendulum-v1"], "ReplayDQN needs a Discrete action space"),
        (["train", "ReplayDQN", "CartPole-v1", "--set", "gamma=7"], "gamma must be"),
        (["train", "PPO", "mbrl/PanFlute-v0", "--env-arg", "pipes=3"], "PanFlute has no argument 'pipes'"),
        (["train", "PPO", "CartPole-v1", "--env-arg", "size"], "--env-arg must look like NAME=VALUE"),
        (["train", "PPO", "CartPole-v1", "--total-timesteps", "0"], "total_timesteps must be"),
        (["train", "PPO", "CartPole-v1", "--seed", "-1"], "seed must be"),
        (["train", "PPO", "CartPole-v1", "--n-envs", "0"], "n_envs must be"),
        (["train", "PPO", "CartPole-v1", "--max-episode-steps", "0"], "max_episode_steps"),
        (["train", "PPO", "CartPole-v1", "--save-replay"], "PPO has no replay memory that can be kept"),
        (["compare", "CartPole-v1", "--seeds", "0"], "--seeds must be"),
        (["compare", "CartPole-v1", "--jobs", "0"], "--jobs must be"),
        (["compare", "CartPole-v1", "--seed", "-2"], "each of seeds must be"),
        (["compare", "CartPole-v1", "--agents", "PPO", "ppo"], "PPO is there twice"),
        (["compare", "CartPole-v1", "--agents", "PPO", "--set", "DQN.gamma=1"], "there is no agent 'DQN' in this comparison"),
        (["train", "DQN", "mbrl/PanFlute-v0", "--preset", "study"], "--preset study is of mbrl compare"),
        (["evaluate", "nowhere"], "there is no run's folder and no agent at nowhere"),
        (["evaluate", "nowhere", "--env-arg", "a=1"], "--env-arg and --max-episode-steps need --env"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "write_atomically", full)
    assert cli.main([*TRAIN, "--out", str(tmp_path / "run")]) == 1
    assert "mbrl: error: cannot write: [Errno 28] No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: Any) -> int:
        raise OSError(errno.ECHILD, "what?")

    monkeypatch.setattr(command_runs, "plot", broken)
    with pytest.raises(OSError, match="what"):
        cli.main(["plot", "x"])


# ---------------------------------------------------------------------- Ctrl-C, for real

LONG = ["--total-timesteps", "1000000", "--eval-interval", "100", "--eval-episodes", "2", "--eval-steps", "5"]


def start(*arguments: Any) -> subprocess.Popen:
    command = [sys.executable, "-m", "mbrl_envs.cli", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def wait_for_scores(process: subprocess.Popen, *folders: pathlib.Path, number: int = 3) -> None:
    """Waits until each run has been evaluated a few times."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        if all((path / "metrics.csv").exists() and len(RunFolder.open(path).scores()) >= number for path in folders):
            return
        time.sleep(0.05)
    raise AssertionError("the runs have not begun")


def test_ctrl_c_leaves_a_usable_run(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run"
    command = [*TRAIN, *LONG, "--out", str(path)]
    process = start(*command)
    wait_for_scores(process, path)
    assert RunFolder.open(path).status().state == RUNNING
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "--resume goes on" in error
    run = RunFolder.open(path)
    status = run.status()
    assert status.state == INTERRUPTED
    agent = ReplayDQN.load(run.agent_path)
    assert agent.num_timesteps == status.timesteps >= 200
    assert run.scores().index.tolist() == list(range(0, status.timesteps + 1, 100))
    assert list(run.unfinished_replays()) == [run.replay_path(status.timesteps)]
    # It goes on from there; a batch system's SIGTERM is the same as Ctrl-C.
    process = start(*command, "--resume")
    wait_for_scores(process, path, number=len(run.scores()) + 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert RunFolder.open(path).status().timesteps > status.timesteps


@pytest.mark.parametrize(
    ("agents", "begun", "waiting"),
    [
        # Runs that are a program are trained first, in the process itself; others in processes of their own.
        (["ReplayDQN", "PPO"], ["ReplayDQN/seed-0", "ReplayDQN/seed-1"], "PPO/seed-0"),
        (["PPO", "other=PPO"], ["PPO/seed-0", "other/seed-0"], "PPO/seed-1"),
    ],
    ids=["programs", "processes"],
)
def test_ctrl_c_stops_a_comparison(tmp_path: pathlib.Path, agents: list[str], begun: list[str], waiting: str) -> None:
    command = ["compare", "mbrl/PanFlute-v0", "--agents", *agents, "--seeds", "2", "--jobs", "2", *LONG]
    process = start(*command, *settings(*(agent for agent in agents if agent in TINY)), "--out", tmp_path / "out")
    folders = [tmp_path / "out" / name for name in begun]
    wait_for_scores(process, *folders)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "stopped; the same command again goes on" in error
    for path in folders:
        run = RunFolder.open(path)
        assert run.status().state == INTERRUPTED
        assert run.agent_path.is_file()
    assert not (tmp_path / "out" / waiting).exists()
    assert not list((tmp_path / "out").glob("*.csv"))
