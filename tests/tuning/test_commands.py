"""`mbrl tune`, as it is typed."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

import pytest

from mbrl_agents.experiments import preset_files
from mbrl_agents.experiments.preset_files import Found, Regime
from mbrl_agents.runs.run_folder import RunFolder, runs_below
from mbrl_envs import cli
from tests.experiments.test_commands import fails
from tests.tuning.fakes import FakeTrainer, study_in, work
from tests.tuning.tiny_study import ARGUMENTS
from tuning import Worker, command_studies, open_study
from tuning.confirm import read_confirmation

SET = [part for name, value in ARGUMENTS.items() for part in ("--set", f"{name}={value}")]
SIZES = [
    "--total-timesteps",
    "200",
    "--eval-interval",
    "100",
    "--eval-episodes",
    "4",
    "--eval-steps",
    "10",
    "--seeds-per-trial",
    "2",
]
SPACE = ["--space", "learning_rate=1e-3,1e-2", "--space", "temperature=0.1,0.4"]
RUN = ["tune", "run", "ReplayDQN", "mbrl/PanFlute-v0", *SET, *SIZES, *SPACE, "--confirm", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("trained") / "study"
    assert cli.main([*RUN, "--out", str(path)]) == 0
    return path


def test_what_is_written(trained: pathlib.Path) -> None:
    files = {file.name for file in trained.iterdir() if file.is_file()}
    assert files == {"study.db", "study.id", "heat_map.png", "slices.png", "curves.png", "study.html"}
    (confirmed,) = (trained / "confirmation").iterdir()
    assert len(list(confirmed.glob("runs/run-*/agent.zip"))) == 2


def _runs_again(trained: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    for command in ([*RUN, "--out"], ["tune", "resume", "--confirm", "2"]):
        assert cli.main([*command, str(trained)]) == 0
        out = capsys.readouterr().out
        assert "final score, 4 of 4 trials" in out
        assert "on fresh seeds; the difference of" in out


def test_again_trains_nothing(
    trained: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path
) -> None:
    def nothing(*args: Any) -> None:
        raise AssertionError("there is nothing to train")

    monkeypatch.setattr(Worker, "_work", nothing)
    drawn: list[pathlib.Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(command_studies, "write_report", lambda study, folder: drawn.append(folder) or [])
        _runs_again(trained, capsys)
    assert drawn == [trained, trained]
    assert cli.main(["tune", "best", str(trained)]) == 0
    assert "final score, 4 of 4 trials" in capsys.readouterr().out
    assert cli.main(["tune", "status", "--storage", str(trained / "study.db"), "--study", "PanFlute_ReplayDQN"]) == 0
    assert "4 of 4 trials finished" in capsys.readouterr().out
    assert cli.main(["tune", "plot", str(trained), "--to", str(tmp_path / "p")]) == 0
    assert (tmp_path / "p" / "study.html").is_file()


def test_export(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    """What is exported trains as the best trial was trained: the first of its seeds has the same curve."""
    file, out, study = tmp_path / "best.yaml", tmp_path / "run", open_study(trained / "study.db")
    assert cli.main(["tune", "export", str(trained), "--to", str(file)]) == 0
    best, confirmed = study.best(), read_confirmation(study)
    assert confirmed is not None
    found = preset_files.read(file).found
    assert found == Found("PanFlute_ReplayDQN", "final", "maximize", best.value, (0, 1), confirmed.fresh.value, (2, 3))
    capsys.readouterr()
    assert cli.main(["train", "ReplayDQN", "--preset", str(file), "--out", str(out)]) == 0
    assert f"best.yaml: {found}" in capsys.readouterr().err
    run, curves = RunFolder.open(out), study.curves.read(best.slot)
    assert curves is not None
    assert run.config.arguments == ARGUMENTS | best.setting
    assert run.scores().tolist() == curves[curves["seed"] == 0]["score"].tolist()
    short = ["--total-timesteps", "60", "--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "compared")]
    assert cli.main(["compare", "--preset", str(file), *short]) == 0
    (run,) = runs_below(tmp_path / "compared")
    assert (run.config.label, run.config.arguments) == ("ReplayDQN", ARGUMENTS | best.setting)
    assert "a preset's file must end in .yaml" in fails(capsys, "tune", "export", trained, "--to", tmp_path / "best.txt")


def test_export_without_a_confirmation(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """Into a file of the study's name; sizes that the study leaves open are those that its trials have had."""
    study = study_in(tmp_path, n_envs=2, eval_interval=None)
    work(study)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", "export", str(tmp_path)]) == 0
    preset = preset_files.read("small.yaml")
    assert preset.regime == Regime(100, 2, {}, n_envs=2)
    assert preset.environment == study.spec.environment
    assert preset.found == Found("small", "final", "maximize", study.best().value, (0, 1))


def test_mistakes(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    other = [*RUN[:-4], "--space", "temperature=0.1,0.2", "--out", trained]
    assert "space.temperature.values: [0.1, 0.4] -> [0.1, 0.2]" in fails(capsys, *other)
    assert "say which study: its folder DIR, or --storage URL" in fails(capsys, "tune", "status")
    assert "there is no study in" in fails(capsys, "tune", "best", tmp_path)
    assert "there is no file" in fails(capsys, "tune", "best", "--storage", tmp_path / "x.db")
    assert "there is no study 'x'" in fails(capsys, "tune", "best", trained, "--study", "x")
    assert "--batch-size must be an integer from 1" in fails(capsys, "tune", "worker", trained, "--batch-size", 0)
    sampled = [*RUN[:-2], "--sampler", "tpe", "--out", tmp_path / "sampled"]
    assert "say how many trials the study is to have: tpe goes on for ever" in fails(capsys, *sampled)
    assert "has no trials to be trained yet" in fails(capsys, "tune", "worker", tmp_path / "sampled")
    assert "has no complete trial yet" in fails(capsys, "tune", "best", tmp_path / "sampled")
    unreachable = "postgresql+psycopg2://localhost:1/x"
    assert "cannot be opened" in fails(capsys, "tune", "status", "--storage", unreachable)


def test_without_optuna() -> None:
    """It is an extra: other commands neither need it nor wait for it."""
    code = """
import sys
sys.modules["optuna"] = None
from mbrl_envs import cli
assert cli.main(["tune", "best", "runs"]) == 2
assert cli.main(["--version"]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == 'mbrl: error: this command needs optuna: pip install "mbrl-lab[tuning]"\n'
    code = "import sys, mbrl_envs.cli as c; c.build_parser(); assert not {'optuna', 'torch', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_stopped(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, no_pictures: None
) -> None:
    study_in(tmp_path)

    def press() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_studies, "_trainer", lambda arguments: FakeTrainer(before=press))
    assert cli.main(["tune", "worker", str(tmp_path)]) == 130
    assert "mbrl tune resume, goes on" in capsys.readouterr().err
    assert cli.main(["tune", "status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "small: 0 of 12 trials finished" in out
    assert "8 of 8 trials left, worker " in out
    assert "gone: resume or any worker goes on" in out
