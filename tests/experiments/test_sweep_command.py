"""`mbrl train` with several seeds or values, as it is typed."""

from __future__ import annotations

import pathlib
from typing import Any

import pandas as pd
import pytest

from mbrl_agents import SweepResult
from mbrl_agents.experiments import command_arguments
from mbrl_agents.runs.run_folder import FINISHED
from mbrl_agents.runs.scheduler import Scheduler
from mbrl_envs import cli
from tests.experiments.runs import contents
from tests.experiments.sweep_runs import SMALL, alone, same_parameters
from tests.experiments.test_commands import fails

TRAIN = ["train", "ReplayDQN", "mbrl/PanFlute-v0", "--total-timesteps", "300", "--eval-interval", "100", "--eval-episodes", "4"]
TRAIN += [
    "--eval-steps",
    "10",
    *(part for name, value in SMALL.items() if name != "learning_rate" for part in ("--set", f"{name}={value}")),
]
SEEDS = ["--seeds", "2"]
RATES = ["--sweep", "learning_rate=1e-4,1e-3"]
PICTURES = ["curves.png", "hyperparameters.png"]
FILES = ["curves.csv", "results.csv", "sweep.yaml", "table.csv"]


def files(path: pathlib.Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.is_file())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("trained") / "sweep"
    assert cli.main([*TRAIN, *SEEDS, *RATES, "--save-replay", "--out", str(path)]) == 0
    return path


def test_what_is_written(trained: pathlib.Path) -> None:
    assert files(trained) == sorted([*PICTURES, *FILES])
    assert sorted(path.name for path in trained.iterdir() if path.is_dir()) == [f"run-000{i}" for i in range(4)]
    result = SweepResult.open(trained)
    assert result.runs()["learning_rate"].tolist() == [1e-4, 1e-4, 1e-3, 1e-3]
    assert result.runs()["seed"].tolist() == [0, 1, 0, 1]
    assert result.runs()["state"].eq(FINISHED).all()
    pd.testing.assert_frame_equal(pd.read_csv(trained / "table.csv"), result.table(), rtol=1e-14)
    pd.testing.assert_frame_equal(pd.read_csv(trained / "results.csv"), result.summary(), rtol=1e-14)
    for name in PICTURES:
        assert (trained / name).read_bytes().startswith(b"\x89PNG")
    same_parameters(result.agent(3), alone({"learning_rate": 1e-3}, 1, 300))
    assert (trained / "run-0000" / "replay.npz").is_file()


def test_the_same_again_trains_nothing(
    trained: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def nothing(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("there is nothing to train")

    monkeypatch.setattr(Scheduler, "__init__", nothing)
    before = {name: content for name, content in contents(trained).items() if not name.endswith(".png")}
    assert cli.main([*TRAIN, *SEEDS, *RATES, "--save-replay", "--out", str(trained)]) == 0
    assert {name: content for name, content in contents(trained).items() if not name.endswith(".png")} == before
    out = capsys.readouterr().out
    assert "mbrl/PanFlute-v0 after 300 steps" in out
    rows = [line for line in out.splitlines() if "0.001" in line or "0.0001" in line]
    assert len(rows) == 2
    assert "4 runs; " in out
    assert "results.csv, curves.csv, table.csv, curves.png, hyperparameters.png, and a folder for each run" in out


def test_another_sweep_in_its_place(trained: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(trained)
    command = [*TRAIN, *RATES, "--save-replay", "--out", trained]
    assert "holds another sweep (seeds: [0, 1] -> [0, 1, 2])" in fails(capsys, *command, "--seeds", 3)
    assert "holds another sweep (seeds: [0, 1] -> [1, 2])" in fails(capsys, *command, "--seeds", 2, "--seed", 1)
    # A run's folder is no sweep's, and a sweep's is no run's.
    assert "holds no sweep" in fails(capsys, *TRAIN, *SEEDS, "--out", trained / "run-0000")
    assert "is not a run's folder" in fails(capsys, *TRAIN, "--out", trained)
    assert contents(trained) == before


def test_force_replaces_a_sweep_and_nothing_else(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    short = [*TRAIN, "--total-timesteps", "50", "--eval-interval", "50", "--execution", "loop"]
    out = tmp_path / "sweep"
    assert cli.main([*short, "--seeds", "2", "--out", str(out)]) == 0
    assert files(out) == sorted(["curves.png", *FILES])  # nothing was swept but the seed
    assert cli.main([*short, "--seeds", "1", "--seed", "6", "--out", str(out), "--force"]) == 0
    assert SweepResult.open(out).runs()["seed"].tolist() == [6]
    assert not (out / "run-0001").exists()
    before = contents(out)
    assert "no argument 'learnin_rate'" in fails(capsys, *short, *SEEDS, "--force", "--set", "learnin_rate=1", "--out", out)
    assert contents(out) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("dear")
    assert "holds no sweep" in fails(capsys, *short, *SEEDS, "--force", "--out", tmp_path / "thesis")
    assert contents(tmp_path / "thesis") == {"thesis.txt": b"dear"}


def test_a_dry_run_writes_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*TRAIN, *SEEDS, *RATES, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 runs; a run takes ")
    assert "4 will be in memory at once" in out
    assert cli.main([*TRAIN, *SEEDS, *RATES, "--dry-run", "--max-parallel-runs", "3", "--execution", "loop"]) == 0
    assert "3 will be in memory at once" in capsys.readouterr().out
    assert "has no argument 'gama'" in fails(capsys, *TRAIN, "--sweep", "gama=0.9", "--dry-run")
    assert contents(tmp_path) == {}


def test_pairs_and_combinations(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    several = [*RATES, "--sweep", "gamma=0.8,0.9", "--sweep", "tau=1"]
    for more, runs in ([], 4), (["--paired"], 2):
        if more:  # all lists are of one length then
            several = [*RATES, "--sweep", "gamma=0.8,0.9"]
        assert cli.main([*TRAIN, *several, *more, "--dry-run"]) == 0
        assert capsys.readouterr().out.startswith(f"{runs} runs; ")
    assert "lists of one length" in fails(capsys, *TRAIN, *RATES, "--sweep", "gamma=0.8", "--paired")


def test_pairs_are_trained_as_such(tmp_path: pathlib.Path) -> None:
    short = [*TRAIN, "--total-timesteps", "50", "--eval-interval", "50", "--out", str(tmp_path / "sweep"), "--paired"]
    assert cli.main([*short, *RATES, "--sweep", "gamma=0.8,0.9", "--max-parallel-runs", "1"]) == 0
    result = SweepResult.open(tmp_path / "sweep")
    assert [result.setting(run) for run in range(2)] == [
        {"learning_rate": 1e-4, "gamma": 0.8},
        {"learning_rate": 1e-3, "gamma": 0.9},
    ]
    assert "hyperparameters.png" in files(tmp_path / "sweep")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "learning_rate"], "--sweep must look like NAME=VALUE, got 'learning_rate'"),
        (["--sweep", "=1"], "--sweep must look like NAME=VALUE"),
        (["--sweep", "learning_rate="], "--sweep learning_rate must have values between its commas"),
        (["--sweep", "learning_rate=1e-4,,1e-3"], "--sweep learning_rate must have values between its commas"),
        (["--sweep", "learning_rate=[]"], "--sweep learning_rate must have values between its commas"),
        (["--sweep", "tau=1", "--sweep", "tau=0.5"], "--sweep tau is given twice"),
        (["--sweep", "batch_size=8,16"], "batch_size: give either --set or --sweep"),
        (["--sweep", "gama=0.9"], "ReplayDQN has no argument 'gama' (did you mean 'gamma'?)"),
        (["--sweep", "gamma=0.9,7"], "gamma must be a finite number of at least 0 and at most 1, got 7"),
        (["--sweep", "seed=1,2"], "'seed' cannot be set here; use the argument seeds"),
        (["--seeds", "0"], "--seeds must be an integer from 1"),
        (["--seeds", "-1"], "--seeds must be an integer from 1"),
        (["--seeds", "2", "--seed", "-1"], "each of seeds must be an integer from 0"),
        (["--seeds", "2", "--total-timesteps", "0"], "total_timesteps must be an integer from 1"),
        (["--seeds", "2", "--max-parallel-runs", "0"], "max_parallel_runs must be an integer from 1"),
        (["--seeds", "2", "--env-arg", "pipes=3"], "PanFlute has no argument 'pipes'"),
        (["--seeds", "2", "--n-envs", "0"], "n_envs must be"),
        (["--dry-run"], "--dry-run is for several runs: give --seeds or --sweep as well"),
        (["--paired"], "--paired is for several runs: give --seeds or --sweep as well"),
        (["--execution", "loop"], "--execution is for several runs: give --seeds or --sweep as well"),
        (["--max-parallel-runs", "2"], "--max-parallel-runs is for several runs: give --seeds or --sweep as well"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *TRAIN, *arguments)
    assert contents(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_agents_and_environments_that_have_no_program(capsys: pytest.CaptureFixture, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    assert "JAX agents, whose training is a program, got PPO" in fails(
        capsys, "train", "PPO", "mbrl/PanFlute-v0", *SEEDS, "--out", out
    )
    assert "env must have functional dynamics" in fails(capsys, "train", "ReplayDQN", "CartPole-v1", *SEEDS, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.9", [0.9]),
        ("1e-4,1e-3", [1e-4, 1e-3]),
        ("1e-4, 1e-3", [1e-4, 1e-3]),
        ("[0.5, 0.6]", [0.5, 0.6]),
        ("(1, 2)", [1, 2]),
        ("softmax,epsilon_greedy", ["softmax", "epsilon_greedy"]),
        ("softmax, epsilon_greedy", ["softmax", "epsilon_greedy"]),
        ("'softmax'", ["softmax"]),
        ("None,0.5", [None, 0.5]),
        ("True,False", [True, False]),
        ("[[64], [64, 64]]", [[64], [64, 64]]),
        ("{'net_arch': [8]},{'net_arch': [16, 16]}", [{"net_arch": [8]}, {"net_arch": [16, 16]}]),
        ("1,two", [1, "two"]),
    ],
)
def test_lists_are_read_as_they_are_meant(text: str, values: list[Any]) -> None:
    assert command_arguments.parse_lists([f"name={text}"], "--sweep") == {"name": values}


def test_lists_with_nothing_in_them() -> None:
    for text in ("", ",", "1,", ",1", "a,,b", "[]", "()"):
        if text == "1,":  # a Python tuple of one
            assert command_arguments.parse_lists(["name=1,"], "--sweep") == {"name": [1]}
            continue
        with pytest.raises(ValueError, match="--sweep name must have values between its commas"):
            command_arguments.parse_lists([f"name={text}"], "--sweep")
