"""MountainCar's policy evaluation: episodes sampled and batch TD updates a second, on the study's cells and features.

Run as ``python -m tests.benchmarks.mountain_car``; half a minute. Compiling is left out. Episodes have 350 transitions; each
update takes B of them and all 2352 Fourier modes of 42 × 28 cells, on the tabular path (one run, and as many side by side as
there are cores) and on the general one. On a machine that does other things as well, look at the seconds of CPU time.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mbrl_agents.td_dynamics.episode_sampling import sample, sample_episodes
from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_agents.td_dynamics.linear_features import FourierModes
from mbrl_agents.td_dynamics.policy_evaluation import BatchTD
from mbrl_agents.td_dynamics.tabular_control import q_learning
from mbrl_envs import MountainCar
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(quick=("--episodes", "2000"))

ENV, POSITIONS = MountainCar(), 351
CELLS = FourierModes(ENV.observation_space.low, ENV.observation_space.high, (42, 28))


def measured(name: str, number: int, call: Callable[[], object]) -> None:
    """Prints how many a second of wall and of CPU time a call did."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"| {name} | {number / wall:_.0f} | {number / cpu:_.0f} |".replace("_", " "), flush=True)


def learner(batch_size: int, path: str, every: int) -> BatchTD:
    """A fresh learner at the study's learning rate of .1."""
    return BatchTD(
        CELLS.num_cells,
        features=CELLS.table(),
        path=path,
        gamma=0.99,
        step_size=0.1 / (POSITIONS - 1),
        batch_size=batch_size,
        every=every,
    )


def updates(episodes: Episodes, batch_size: int, path: str, runs: int) -> None:
    """Measures updates of some runs side by side."""
    learners = [learner(batch_size, path, 50) for _ in range(runs)]
    num = len(episodes.lengths) // batch_size
    with ThreadPoolExecutor(runs) as pool:
        learners[0].learn(Episodes(*(each[: 50 * batch_size] for each in episodes)))  # compiles, for its own shape
        list(pool.map(lambda each: each.learn(episodes), learners))  # and for this one
        name = f"updates, B = {batch_size}, {path}, {runs} run{'s' if runs > 1 else ''}"
        measured(name, runs * num, lambda: list(pool.map(lambda each: each.learn(episodes), learners)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=400_000)
    options = parser.parse_args()
    print(header("jax", "jaxlib"))
    print("\n| what | a second | a second of CPU time |\n|---|---|---|")
    q_learning(ENV, CELLS, num_episodes=10_000, max_steps=1)  # compiles
    began: list[np.ndarray] = []
    measured(
        "Q-learning, episodes of at most 1000 steps",
        10_000,
        lambda: began.append(q_learning(ENV, CELLS, seed=11, num_episodes=10_000).policy),
    )
    policy = began[0]
    sample(ENV, CELLS, policy, num_episodes=10, steps=POSITIONS)  # compiles
    number = options.episodes
    measured("episodes sampled into memory", number, lambda: sample(ENV, CELLS, policy, num_episodes=number, steps=POSITIONS))
    with tempfile.TemporaryDirectory() as folder:
        measured(
            "episodes sampled to disk",
            number,
            lambda: sample_episodes(folder, ENV, CELLS, policy, num_episodes=number, steps=POSITIONS),
        )
    episodes = sample(ENV, CELLS, policy, num_episodes=number // 4, steps=POSITIONS)
    few = Episodes(*(each[:2000] for each in episodes))
    for batch_size in (1, 2, 4, 8):
        for runs in sorted({1, os.cpu_count() or 1}):
            updates(episodes, batch_size, "tabular", runs)
    for batch_size in (1, 8):
        updates(few, batch_size, "general", 1)
    print(f"\nmost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
