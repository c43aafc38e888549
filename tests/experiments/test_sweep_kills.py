"""Whatever ends a sweep, and whenever: the same call goes on, to the very numbers it would have had."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mbrl_agents import SweepResult, train_sweep
from mbrl_agents.core.processes import process_identity
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.run_folder import DIVERGED, FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from mbrl_agents.runs.scheduler import Scheduler
from mbrl_agents.runs.training_groups import RunInTraining
from tests.experiments.runs import contents
from tests.experiments.sweep_runs import EXECUTIONS, FLUTE, SIZES, SMALL, same_sweeps, sweep

ROOT = pathlib.Path(__file__).parents[2]
STATES = [FINISHED, FINISHED, DIVERGED, DIVERGED]


def train(path: pathlib.Path, execution: str, **changes: Any) -> SweepResult:
    """Two runs that come to their end and two that diverge on the way there; everything is saved at every chance."""
    given = {"total_timesteps": 300, "folder": path, "execution": execution, "checkpoint_seconds": 0}
    return sweep({"learning_rate": [1e-3, 1e30]}, 2, **(given | changes))


@pytest.fixture(scope="module", params=EXECUTIONS)
def execution(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(execution: str, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    """A sweep that was never stopped."""
    return train(tmp_path_factory.mktemp("whole") / "sweep", execution)


def goes_on(path: pathlib.Path, whole: SweepResult, execution: str, **changes: Any) -> None:
    """Whether the same call comes to the same end."""
    result = train(path, execution, **changes)
    assert result.runs()["state"].tolist() == STATES
    same_sweeps(result, whole)
    assert SweepResult.open(path).table().equals(whole.table())
    kept = {file.name for file in whole.first.path.iterdir()}
    for run in result._folders:
        assert {file.name for file in run.path.iterdir() if not file.name.endswith(".part")} == kept


# ---------------------------------------------------------------------- killed at every write


class Killed(BaseException):
    """As SIGKILL: nobody tidies up."""


class Reaper:
    """Lets a process die at its n-th chance, before or after a write; from then on none of its threads writes anything."""

    def __init__(self, moment: int) -> None:
        self.moment, self.chances, self.dead = moment, 0, False
        self._lock, self._replace, self._fsync = threading.Lock(), os.replace, os.fsync

    def _chance(self) -> None:
        with self._lock:
            self.dead |= self.chances == self.moment
            self.chances += 1
        if self.dead:
            raise Killed

    def replace(self, source: Any, target: Any) -> None:
        self._chance()
        self._replace(source, target)
        self._chance()

    def fsync(self, handle: int) -> None:
        self._fsync(handle)
        self._chance()

    def train(self, path: pathlib.Path, learn: Callable[[pathlib.Path], Any]) -> None:
        """Trains a sweep until it dies."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", self.replace)
            patch.setattr(os, "fsync", self.fsync)
            with contextlib.suppress(Killed):
                learn(path)
            for thread in threading.enumerate():
                if thread.name.startswith("mbrl-run"):
                    thread.join()


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sweep_killed_at_a_write_goes_on(every: int, tmp_path: pathlib.Path, whole: SweepResult, execution: str) -> None:
    """At each of its chances to be in the midst of something (by default at some of them, others for each execution)."""
    reaper = Reaper(-1)
    reaper.train(tmp_path / "all", lambda path: train(path, execution))
    assert reaper.chances > 150
    unequal = 0
    for moment in range({"loop": 0, "vmap": 8}[execution] % every, reaper.chances, every):
        path = tmp_path / str(moment)
        Reaper(moment).train(path, lambda path: train(path, execution))
        left = [run.status().timesteps for run in SweepResult.open(path)._folders] if (path / "run-0003").exists() else []
        unequal += len(set(left[:2])) > 1
        # Without checkpoints, arrays are handed from unit to unit in memory alone.
        goes_on(path, whole, execution, checkpoint_seconds=0 if moment % 2 else float("inf"))
    assert unequal > 0 or execution == "loop"  # mapped runs that are not equally far come to be in step again


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        pytest.param(
            "SimpleModelDQN",
            SMALL | {"rollout_length": 2, "rollout_batch_size": 16, "model_learning_rate": 1e-3},
            marks=pytest.mark.slow,
        ),
        ("LinearTD", {"episode_steps": 15}),
    ],
    ids=["SimpleModelDQN", "LinearTD"],
)
def test_so_do_other_agents(agent: str, settings: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """With a learned model, and with a memory that is used up between updates, so that little of it is saved."""

    def learn(path: pathlib.Path) -> SweepResult:
        sizes = SIZES | {"total_timesteps": 300, "checkpoint_seconds": 0, "execution": "loop"}
        return train_sweep(agent, FLUTE, settings, 2, folder=path, **sizes)

    counter = Reaper(-1)
    counter.train(tmp_path / "whole", learn)
    Reaper(counter.chances * 2 // 3).train(tmp_path / "killed", learn)
    done = SweepResult.open(tmp_path / "killed").runs()["timesteps"]
    assert 0 < done.max() < 300
    same_sweeps(learn(tmp_path / "killed"), SweepResult.open(tmp_path / "whole"))


def test_an_end_that_was_saved_but_not_written_down(
    tmp_path: pathlib.Path, whole: SweepResult, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has diverged does not go on from its last agent, nor does a finished one."""
    real = RunFolder.write_status

    def killed_at_the_end(self: RunFolder, status: Any) -> None:
        if status.state in (FINISHED, DIVERGED):
            raise Killed
        real(self, status)

    for _ in range(4):  # each of the runs once
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(RunFolder, "write_status", killed_at_the_end)
            train(tmp_path, execution)
    goes_on(tmp_path, whole, execution)


def test_without_checkpoints_a_killed_sweep_begins_anew(tmp_path: pathlib.Path, whole: SweepResult, execution: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save_finished", Reaper(0).replace)
        with contextlib.suppress(Killed):
            train(tmp_path, execution, checkpoint_seconds=float("inf"))
    assert not list(tmp_path.rglob("agent.zip"))
    goes_on(tmp_path, whole, execution, checkpoint_seconds=float("inf"))


# ---------------------------------------------------------------------- what a kill leaves behind


def test_half_written_files_do_no_harm(tmp_path: pathlib.Path, whole: SweepResult, execution: str) -> None:
    # Killed in the middle of its first write.
    (tmp_path / ".sweep.yaml.abc.part").write_text("format: mb")
    Reaper(100).train(tmp_path, lambda path: train(path, execution))
    assert RunFolder.open(tmp_path / "run-0000").status().state == RUNNING
    run = tmp_path / "run-0000"
    with (run / "metrics.csv").open("a") as file:
        file.write("0,300,sco")
    for name in (".agent.zip.abc.part", ".replay-100.npz.abc.part", ".status.json.abc.part"):
        (run / name).write_bytes(b"half")
    (tmp_path / ".run-0003.abc.part").mkdir()
    (tmp_path / ".run-0003.abc.part" / "config.yaml").write_text("form")
    goes_on(tmp_path, whole, execution)


# ---------------------------------------------------------------------- Ctrl-C, errors


@pytest.mark.parametrize("most", [None, 2])
def test_ctrl_c_saves_and_the_same_call_goes_on(
    tmp_path: pathlib.Path, whole: SweepResult, execution: str, most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.append_metrics

    def press(self: RunFolder, timestep: int, values: Any) -> None:
        real(self, timestep, values)
        if timestep == 100 and self.path.name == "run-0000":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    limits = {"checkpoint_seconds": float("inf"), "max_parallel_runs": most}
    if most is not None:  # units of another size may round differently
        whole = train(tmp_path / "whole", execution, **limits)
    monkeypatch.setattr(RunFolder, "append_metrics", press)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", execution, **limits)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before
    stopped = SweepResult.open(tmp_path / "stopped")
    # None claims that somebody is at work on it, also not those that were still waiting.
    assert set(stopped.runs()["state"]) <= {INTERRUPTED, FINISHED, DIVERGED}
    far = stopped.runs()["timesteps"].tolist()
    assert 100 <= far[0] < 300, far
    for run, timesteps in zip(stopped._folders, far, strict=True):
        assert run.agent_path.is_file() == (timesteps > 0)
    with pytest.raises(ValueError, match="run 0 has not come to its end: it is interrupted"):
        stopped.agent(0)
    # It goes on from there, not from the start: the numbers would be the same.
    begun: dict[str, int] = {}
    begin = RunInTraining.begin

    def note(run: RunInTraining) -> None:
        begin(run)
        begun[run.folder.path.name] = run.timesteps

    monkeypatch.setattr(RunInTraining, "begin", note)
    goes_on(tmp_path / "stopped", whole, execution, **limits)
    ended = [run.path.name for run in stopped._folders if run.path.name not in begun]
    assert begun == {f"run-000{i}": far[i] for i in range(4) if f"run-000{i}" not in ended}
    assert "run-0000" in begun


def test_an_error_in_one_run_is_raised_and_the_others_are_saved(
    tmp_path: pathlib.Path, whole: SweepResult, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.append_metrics

    def full(self: RunFolder, timestep: int, values: Any) -> None:
        if timestep == 200 and self.path.name == "run-0001":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, timestep, values)

    monkeypatch.setattr(RunFolder, "append_metrics", full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, execution, checkpoint_seconds=float("inf"))
    monkeypatch.undo()
    runs = SweepResult.open(tmp_path).runs()
    assert runs["state"][1] == FAILED
    assert RUNNING not in set(runs["state"])
    assert "No space left" in str(RunFolder.open(tmp_path / "run-0001").status().error)
    goes_on(tmp_path, whole, execution)


# ---------------------------------------------------------------------- sweeps that are there already


def no_training(self: Any, **options: Any) -> bool:
    raise AssertionError("there is nothing to train")


def test_a_finished_sweep_comes_back_at_once(
    tmp_path: pathlib.Path, whole: SweepResult, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, execution)
    before = contents(tmp_path)
    monkeypatch.setattr(Scheduler, "__init__", no_training)
    monkeypatch.setattr(Scheduler, "run", no_training)
    again = train(tmp_path, execution)
    assert again.table().equals(whole.table())
    # Neither how it is executed nor a default said aloud makes it another sweep.
    other = next(each for each in EXECUTIONS if each != execution)
    assert train(tmp_path, other, max_parallel_runs=1, checkpoint_seconds=7, n_envs=1).table().equals(whole.table())
    sweep({"learning_rate": [1e-3, 1e30], "gamma": 0.9}, [0, 1], total_timesteps=300, folder=tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("hyperparameters", "changes", "difference"),
    [
        ({"learning_rate": [1e-3, 2e-3]}, {}, r"hyperparameters.learning_rate: \[0.001, 1e\+30\] -> \[0.001, 0.002\]"),
        ({"learning_rate": 1e-3}, {}, r"arguments.learning_rate: \(not given\) -> 0.001; hyperparameters"),
        ({"gamma": 0.5}, {}, r"arguments.gamma: 0.9 -> 0.5"),
        ({"gamma": [0.9, 0.8]}, {}, r"hyperparameters.gamma: \(not given\) -> \[0.9, 0.8\]"),
        ({"batch_size": 8}, {}, r"arguments.batch_size: 16 -> 8"),
        ({}, {"seeds": 3}, r"seeds: \[0, 1\] -> \[0, 1, 2\]"),
        ({}, {"seeds": [1, 0]}, r"seeds: \[0, 1\] -> \[1, 0\]"),
        ({}, {"total_timesteps": 301}, r"total_timesteps: 300 -> 301"),
        ({}, {"n_envs": 2}, r"n_envs: 1 -> 2"),
        ({}, {"eval_interval": 50}, r"evaluation.interval: 100 -> 50"),
        ({}, {"eval_episodes": 5}, r"evaluation.episodes: 4 -> 5"),
        ({}, {"eval_steps": 11}, r"evaluation.steps: 10 -> 11"),
        ({}, {"save_replay": False}, r"save_replay: True -> False"),
        ({}, {"env": "mbrl/ProcMaze-v0"}, r"environment.id: 'mbrl/PanFlute-v0' -> 'mbrl/ProcMaze-v0'"),
        ({}, {"env": EnvironmentSpec(FLUTE, {"num_pipes": 3})}, r"environment.arguments.num_pipes: \(not given\) -> 3"),
        ({}, {"env": EnvironmentSpec(FLUTE, max_episode_steps=30)}, r"environment.max_episode_steps: None -> 30"),
    ],
    ids=str,
)
def test_another_sweep_is_refused_and_nothing_touched(
    hyperparameters: dict[str, Any], changes: dict[str, Any], difference: str, finished: pathlib.Path
) -> None:
    before = contents(finished)
    given = {"seeds": 2, "total_timesteps": 300, "folder": finished} | changes
    with pytest.raises(ValueError, match=f"holds another sweep .*{difference}"):
        sweep({"learning_rate": [1e-3, 1e30]} | hyperparameters, **given)
    assert contents(finished) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("finished")
    train(path, "loop")
    return path


def test_a_run_that_was_tampered_with_is_refused(finished: pathlib.Path) -> None:
    file = finished / "run-0002" / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("seed: 0", "seed: 5"))
    with pytest.raises(ValueError, match=r"run-0002 holds another run \(seed: 5 -> 0\)"):
        train(finished, "loop")
    file.write_text(text)
    train(finished, "loop")


def test_a_sweep_in_which_somebody_is_at_work_is_refused(finished: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = shutil.copytree(finished, tmp_path / "copy")
    status = json.loads((path / "run-0001" / "status.json").read_text())
    busy = {"state": RUNNING, "pid": os.getppid(), "process": process_identity(os.getppid())}
    (path / "run-0001" / "status.json").write_text(json.dumps(status | busy))
    before = contents(path)
    with pytest.raises(FileExistsError, match="run-0001 is being written by process"):
        train(path, "loop")
    assert contents(path) == before


# ---------------------------------------------------------------------- SIGKILL at random moments


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.parametrize(
    ("way", "kills"),
    [("loop", 2), pytest.param("loop", 20, marks=pytest.mark.slow), pytest.param("vmap", 20, marks=pytest.mark.slow)],
)
def test_a_killed_sweep_goes_on(way: str, kills: int, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "tests.experiments.killed_sweeps", str(tmp_path), way, str(kills), "1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout.splitlines()[-1])
    assert report["finished"], told.stderr
    attempts = report["attempts"]
    assert len(attempts) == kills, report
    # Enough of them were in the midst of training, with something learned and something left to learn.
    middle = [each["timesteps"] for each in attempts if each["when"] == "training"]
    assert sum(max(each) > 0 and min(each[:2]) < 5000 for each in middle) >= kills // 2 - 1, report
    one, other = SweepResult.open(tmp_path / "killed"), SweepResult.open(tmp_path / "whole")
    assert one.runs()["state"].tolist() == STATES
    same_sweeps(one, other)
