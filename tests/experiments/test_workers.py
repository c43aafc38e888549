"""Several processes: one that dies costs its run and no other."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from mbrl_agents.runs import workers
from mbrl_agents.runs.run_folder import FAILED, FINISHED, RunFolder
from mbrl_agents.runs.workers import Job
from tests.experiments.runs import config


class Notes:
    """Writes down what it hears, and kills the process of one run."""

    def __init__(self, jobs: list[Job], victim: int) -> None:
        self.jobs, self.victim = jobs, victim
        self.told: dict[int, list[int]] = {}
        self.ends: dict[int, tuple[str, str | None]] = {}

    def progress(self, index: int, timesteps: int, score: float | None) -> None:
        self.told.setdefault(index, []).append(timesteps)
        pid = RunFolder.open(self.jobs[index].path).status().pid
        assert pid != os.getpid()
        if index == self.victim and index not in self.ends:
            os.kill(pid, signal.SIGKILL)

    def ended(self, index: int, state: str, error: str | None) -> None:
        self.ends[index] = (state, error)

    def waiting(self) -> None:
        pass

    def stopping(self) -> None:
        raise AssertionError("nobody has pressed Ctrl-C")


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_worker_is_replaced(tmp_path: pathlib.Path) -> None:
    jobs = [Job(i, config("PPO", seed=i), tmp_path / str(i)) for i in range(3)]
    notes = Notes(jobs, victim=0)
    assert workers.run_jobs(jobs, notes, num_workers=2)
    assert notes.ends[0] == (FAILED, "its process was killed (out of memory?)")
    assert all(notes.ends[i] == (FINISHED, None) for i in (1, 2))
    for i in (1, 2):
        assert RunFolder.open(tmp_path / str(i)).status().state == FINISHED
        assert notes.told[i][-1] == 200
    # The killed run's folder can be gone on with.
    assert workers.execute(Job(0, config("PPO", seed=0), tmp_path / "0"), lambda timesteps, score: True) == (FINISHED, None)


def test_an_unexpected_error_is_that_runs_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "thesis.txt").write_text("dear")
    state, error = workers.execute(Job(0, config("PPO"), tmp_path / "0"), lambda timesteps, score: True)
    assert state == FAILED
    assert "is not a run's folder" in str(error)


def test_environment_variables_are_set_for_children_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with workers._environment(workers.ONE_THREAD):
        assert os.environ["OMP_NUM_THREADS"] == "7"
        assert os.environ["MKL_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in os.environ
