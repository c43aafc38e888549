"""Workers to be killed, frozen and thawed; prints as JSON what has happened. All is imported once, each worker is forked.

``python -m tests.tuning.killed_workers one FOLDER STORAGE KILLS SEED``: one worker after the other, each killed at a random
moment, the last one left alone. ``… several FOLDER STORAGE KILLS SEED``: three workers at once and as many more as are killed;
one of the three is frozen past its lease, and thaws when the others are through.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from tests.tuning.fakes import FakeTrainer, study_in
from tuning import Worker, curves, open_study

BATCH, SECONDS = 2, 0.1


def start(work: Callable[[], None]) -> int:
    """Forks a child that works."""
    if pid := os.fork():
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def worker(storage: str, folder: pathlib.Path, lease_seconds: float, seconds: float) -> Callable[[], None]:
    """What a child does."""

    def work() -> None:
        study = open_study(storage, "small", folder)
        trainer = FakeTrainer(folder / f"trained-{os.getpid()}.txt", seconds)
        Worker(study, BATCH, trainer, lease_seconds=lease_seconds, poll_seconds=0.05).run()

    return work


def end(pid: int) -> int:
    """Waits for a child; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def one_after_the_other(folder: pathlib.Path, storage: str, kills: int, moments: random.Random) -> dict[str, Any]:
    """Kills workers, one after the other."""
    killed = 0
    for _ in range(kills):
        pid = start(worker(storage, folder, 60.0, SECONDS))
        time.sleep(moments.uniform(0, 1.4 * SECONDS))  # most of them train, some are just telling
        os.kill(pid, signal.SIGKILL)
        killed += end(pid) == -signal.SIGKILL
    return {"killed": killed, "finished": [end(start(worker(storage, folder, 60.0, SECONDS)))]}


def several(folder: pathlib.Path, storage: str, kills: int, moments: random.Random) -> dict[str, Any]:
    """Several workers at once."""
    work = worker(storage, folder, 1.0, 3 * SECONDS)
    frozen = start(work)
    while not (folder / f"trained-{frozen}.txt").exists():
        assert os.waitpid(frozen, os.WNOHANG) == (0, 0)
        time.sleep(0.001)
    os.kill(frozen, signal.SIGSTOP)
    others, victims, killed = [start(work) for _ in range(2)], [start(work) for _ in range(kills)], 0
    for pid in victims:
        time.sleep(moments.uniform(0, 3 * SECONDS))
        os.kill(pid, signal.SIGKILL)
        killed += end(pid) == -signal.SIGKILL
    finished = [end(pid) for pid in others]
    before = told(storage)
    os.kill(frozen, signal.SIGCONT)
    finished.append(end(frozen))
    return {"killed": killed, "finished": finished, "same": told(storage) == before}


def told(storage: str) -> list[tuple[int, float | None]]:
    """What Optuna has been told."""
    trials = open_study(storage, "small").optuna.get_trials(states=(TrialState.COMPLETE,))
    return [(trial.number, trial.value) for trial in trials]


def main(what: str, folder: pathlib.Path, storage: str, kills: int, seed: int) -> None:
    """Does it."""
    curves._picture = lambda table, title: b""  # type: ignore[assignment]
    assert end(start(lambda: study_in(folder, storage) and None)) == 0  # in a child, as JAX, once begun, does not like forks
    scenario = {"one": one_after_the_other, "several": several}[what]
    print(json.dumps(scenario(folder, storage, kills, random.Random(seed))))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
