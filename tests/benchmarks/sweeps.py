"""What many runs of replay DQN cost, as one program: time, compilation, memory.

Run as ``python -m tests.benchmarks.sweeps``; prints a table for each execution (``--executions loop vmap``). ProcMaze n=4 at
the study's settings, one update of 232 MFLOP per step; learning has begun. CPU time is that of all threads of the process;
wall time is compared to one run that has one core to itself (a second process, pinned). All are measured in turns; the
smallest of several repeats counts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import jax
import psutil

import mbrl_envs
from mbrl_agents import ReplayDQN
from mbrl_agents.runs.executor import Execution, Run, RunGroup, make_execution
from mbrl_agents.sb3 import device_training
from mbrl_agents.sb3.jax_agent import JaxAgent
from tests.benchmarks import machine
from tests.benchmarks.recorded import Recorded
from tests.benchmarks.training import matrix_products, measure

RECORDED = Recorded(("--repeats", "2"), quick=("--executions", "loop", "--sizes", "1", "--steps", "20", "--repeats", "1"))

TOTAL = 10**6


def new_run(seed: int) -> Run:
    """A run that is about to learn."""
    env = gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=-1)
    rates = (2.5e-5, 5e-5, 1e-4)
    agent = ReplayDQN("MlpPolicy", env, learning_rate=rates[seed % 3], temperature=0.1, learning_starts=500, seed=seed)
    return run_of(agent, seed)


def run_of(agent: JaxAgent, seed: int) -> Run:
    """An agent's run, with its environments at their start."""
    program = device_training.start_environments(agent, mbrl_envs.functional_task(agent.env), reset=False)
    return Run(agent.run, program, agent.schedules, TOTAL, 32, 100, seed)


def forward(group: RunGroup, num: int) -> None:
    """``num`` steps of a group of runs, done when this returns."""
    done = 0
    while done < num:
        done += len(group.advance(num - done, num - done)[0].records.reward)


def groups(execution: Execution, num_runs: int) -> list[RunGroup]:
    """Runs that have taken their first steps."""
    runs = [new_run(seed) for seed in range(num_runs)]
    made = [execution.group(group) for group in ([runs] if execution.together else [[each] for each in runs])]
    for group in made:
        group.advance(1000, 1000)
    return made


def all_forward(pool: ThreadPoolExecutor, made: Sequence[RunGroup], num: int) -> Callable[[], Any]:
    """``num`` steps of every run, as many groups at a time as the pool has workers."""
    return lambda: list(pool.map(lambda group: forward(group, num), made))


def alone_on_one_core(pipe: Any, num: int) -> None:
    """In a process that has one core: answers with the seconds that ``num`` steps took."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    (group,) = groups(make_execution("loop"), 1)
    pipe.send(None)
    while pipe.recv():
        began = time.perf_counter()
        group.advance(num, num)
        pipe.send(time.perf_counter() - began)


def times(executions: Sequence[str], sizes: Sequence[int], num: int, repeats: int) -> None:
    """Prints CPU and wall time per run-step."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=alone_on_one_core, args=(theirs, num), daemon=True)
    child.start()
    ours.recv()
    print("| execution | runs | CPU ms per run-step | beside products | wall ms per run-step | beside one core |")
    print("|---|---|---|---|---|---|")
    for kind in executions:
        execution = make_execution(kind)
        with ThreadPoolExecutor(execution.workers) as pool:
            for size in sizes:
                made = groups(execution, size)
                alone: list[float] = []

                def one_core(alone: list[float] = alone) -> None:
                    ours.send(True)
                    alone.append(ours.recv())

                best = measure(
                    {"floor": matrix_products(num), "runs": all_forward(pool, made, num), "one core": one_core}, repeats
                )
                cpu, wall = (each / num / size * 1e3 for each in best["runs"])
                floor, single = best["floor"][0] / num * 1e3, min(alone) / num * 1e3
                row = f"{cpu:.3f} | {cpu / floor:.2f} | {wall:.3f} | {wall / single:.2f}"
                print(f"| {kind} | {size} | {row} |", flush=True)
    ours.send(False)


def start_up(kind: str, num_runs: int, rows: int) -> None:
    """Prints, from a fresh process, what it takes to start a sweep, and the memory of all of it."""
    code = f"import time, mbrl_agents\nfrom tests.benchmarks import sweeps\nsweeps.whole_sweep({kind!r}, {num_runs}, {rows})"
    subprocess.run([sys.executable, "-c", code], check=True)


def whole_sweep(kind: str, num_runs: int, rows: int) -> None:
    """In a fresh process: a short sweep through the public function."""
    from mbrl_agents import train_sweep

    before = psutil.Process().memory_info().rss
    compiled: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(seconds) if "backend_compile" in name else None
    )
    began = time.perf_counter()
    train_sweep(
        "ReplayDQN",
        "mbrl/ProcMaze-v0",
        {"temperature": 0.1, "buffer_size": rows},
        seeds=num_runs,
        total_timesteps=1100,
        eval_interval=1100,
        execution=kind,
    )
    seconds, most = time.perf_counter() - began, most_memory()
    print(
        f"| {kind} | {num_runs} | {sum(compiled):.1f} | {seconds:.1f} | {before / 1e6:.0f} | {most / 1e6:.0f} | "
        f"{(most - before) / num_runs / 1e6:.1f} |",
        flush=True,
    )


def most_memory() -> int:
    """The most memory that this process has had, bytes; not what the process that started it had, as ``getrusage`` tells."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    on_cpu = jax.default_backend() == "cpu"
    parser.add_argument("--executions", nargs="+", default=["loop", "vmap"] if on_cpu else ["vmap"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 30] if on_cpu else [1, 4, 16, 64, 256])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(machine.header("jax"), f"device: {jax.devices()[0].device_kind}\n")
    times(given.executions, given.sizes, given.steps, given.repeats)
    print("\nA sweep of 1100 steps (100 updates) with 100 000 rows of replay memory for each run, in a fresh process:\n")
    columns = ("execution", "runs", "compiling, s", "all of it, s", "MB after imports", "most MB", "MB per run")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for kind in given.executions:
        for size in (given.sizes[0], given.sizes[-1]):
            start_up(kind, size, 100_000)


if __name__ == "__main__":
    main()
