"""What a study gains by training trials in batches: the same trials in one batch, and one trial at a time.

Run as ``python -m tests.benchmarks.study_batches [--trials 6 --steps 12000 --repeats 2]``; prints a table. ReplayDQN in
PanFlute (five pipes) at the study's settings, three seeds a trial, SQLite; every study begins anew, so compiling counts. *One
run at a time* is what a loop over seeds inside an objective does. All are measured in turns in one process; the smallest of
the repeats counts.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
from typing import Any

import jax
import psutil

from mbrl_agents.runs.environments import EnvironmentSpec
from tests.benchmarks import machine
from tests.benchmarks.recorded import Recorded
from tuning import Worker, create_study
from tuning.training import SweepTrainer

RECORDED = Recorded(("--trials", "4", "--repeats", "1"), quick=("--trials", "2", "--steps", "200", "--repeats", "1"))

SEEDS = 3
RATES = (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4)
# Trials of a batch, and runs at once (None: as many as there are cores).
WAYS: dict[str, tuple[int | None, int | None]] = {"one batch": (None, None), "trial by trial": (1, None), "run by run": (1, 1)}


def search(trials: int, steps: int, batch_size: int, parallel: int | None) -> tuple[float, float]:
    """Wall and CPU seconds of a study."""
    jax.clear_caches()
    space = {"learning_rate": list(RATES[: -(-trials // 2)]), "temperature": [0.05, 0.1][: min(trials, 2)]}
    with tempfile.TemporaryDirectory() as folder:
        flute = EnvironmentSpec("mbrl/PanFlute-v0", {"num_pipes": 5})
        study = create_study(
            "ReplayDQN", flute, space, total_timesteps=steps, seeds_per_trial=SEEDS, folder=pathlib.Path(folder)
        )
        study.set_trials(trials)
        process, began = psutil.Process(), time.perf_counter()
        before = process.cpu_times()
        Worker(study, batch_size, SweepTrainer(max_parallel_runs=parallel)).run()
        after = process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        return time.perf_counter() - began, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    print(machine.header("jax", "optuna"), flush=True)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(options.repeats):
        for name, (batch_size, parallel) in WAYS.items():
            found[name].append(search(options.trials, options.steps, batch_size or options.trials, parallel))
    print(f"{options.trials} trials of {SEEDS} seeds and {options.steps:,} steps\n")
    print("| way | wall, s | CPU, s | wall beside one batch |\n|---|---|---|---|")
    best: dict[str, Any] = {name: min(each) for name, each in found.items()}
    for name, (wall, cpu) in best.items():
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {wall / best['one batch'][0]:.2f} |")


if __name__ == "__main__":
    main()
