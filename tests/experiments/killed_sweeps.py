"""Trains a sweep that is killed again and again; ``python -m tests.experiments.killed_sweeps FOLDER EXECUTION KILLS SEED``.

Everything is imported once; a child is forked for each attempt, before JAX has made a backend (which does not survive a fork).
``FOLDER/whole`` is a sweep that is left alone, ``FOLDER/killed`` the same with kills at random moments. Prints as JSON what has
happened.
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
from typing import Any

from jax._src import xla_bridge

from mbrl_agents.runs.agents import known_agents
from tests.experiments.sweep_runs import sweep

TOTAL, INTERVAL = 5000, 50
DIVERGING = 1e30  # a step size


def train(folder: pathlib.Path, execution: str) -> None:
    """The sweep; one setting diverges at once."""
    sweep(
        {"learning_rate": [1e-3, DIVERGING]},
        2,
        total_timesteps=TOTAL,
        eval_interval=INTERVAL,
        folder=folder,
        execution=execution,
        checkpoint_seconds=0,
    )


def start(folder: pathlib.Path, execution: str) -> int:
    """Forks a child that trains."""
    if pid := os.fork():
        return pid
    try:
        train(folder, execution)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def timesteps(folder: pathlib.Path) -> list[int]:
    """How far the runs are, as of their saved agents."""
    return [json.loads(file.read_text())["timesteps"] for file in sorted(folder.glob("run-*/status.json"))]


def measured(folder: pathlib.Path) -> dict[str, int]:
    """Size of each run's metrics, which grow as it goes forward."""
    return {file.parent.name: file.stat().st_size for file in folder.glob("run-*/metrics.csv")}


def wait_until(changed: Any, pid: int) -> bool:
    """Waits for something to happen; False if the child has ended before."""
    while not changed():
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.001)
    return True


def begin(folder: pathlib.Path, execution: str) -> tuple[int, float]:
    """Starts a sweep; returns when a run has gone forward, with the seconds it took."""
    began = time.monotonic()
    pid = start(folder, execution)
    assert wait_until(lambda: max(measured(folder).values(), default=0) > 100, pid)
    return pid, time.monotonic() - began


def end(pid: int) -> int:
    """Waits for a child; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: pathlib.Path, execution: str, kills: int, seed: int) -> None:
    """Trains both sweeps."""
    known_agents()  # the last imports
    assert not xla_bridge._backends
    whole, killed, moments = folder / "whole", folder / "killed", random.Random(seed)

    pid, _ = begin(folder / "first", execution)  # compiles, for the others
    os.kill(pid, signal.SIGKILL)
    end(pid)
    pid, starting = begin(whole, execution)
    began = time.monotonic()
    assert end(pid) == 0
    training = time.monotonic() - began

    # While the folders are made; while the program starts; while it trains and saves.
    rest = ["starting"] * max(kills // 5, 1) + ["training"] * kills
    rest = rest[: kills - 1 - (kills > 10)]
    moments.shuffle(rest)
    attempts: list[dict[str, Any]] = []
    for when in [*["folders"] * (kills - len(rest)), *rest]:
        before = measured(killed)
        pid = start(killed, execution)
        if when == "folders":
            wait_until((killed / "run-0000" if attempts else killed).exists, pid)
            seconds = moments.uniform(0, 0.01)
        elif when == "starting":
            seconds = moments.uniform(0, starting)
        else:
            wait_until(lambda before=before: any(size > before.get(run, 0) for run, size in measured(killed).items()), pid)
            seconds = moments.uniform(0, training / kills)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        if end(pid) != -signal.SIGKILL:
            break
        parts = len(list(killed.rglob("*.part")))
        attempts.append({"when": when, "seconds": seconds, "timesteps": timesteps(killed), "parts": parts})
    finished = end(start(killed, execution)) == 0
    print(json.dumps({"attempts": attempts, "finished": finished, "starting": starting, "training": training}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
