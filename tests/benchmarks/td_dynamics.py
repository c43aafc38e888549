"""How long the theory of TD learning takes, and how many episodes its simulation learns from.

Run as ``python -m tests.benchmarks.td_dynamics``. "As written" is the published form of the recursion, which goes through all
pairs of times at every update. Best of several repeats; preparing a covariance is timed apart, as it is done once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mbrl_agents import td_dynamics as td
from mbrl_envs import RandomWalk2D
from mbrl_envs.yardsticks import random_walk_2d
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(("--repeats", "9"), quick=("--repeats", "1"), one_thread=True)

GAMMA, STEP_SIZE, UPDATES = 0.9, 0.025, 500


def best(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Shortest CPU time and wall time of several runs, in ms."""
    found = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        found.append((1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def as_written(covariance: np.ndarray, rewards: np.ndarray, batch: int) -> np.ndarray:
    """The recursion of decoupled features through all pairs of times."""
    now, later = covariance[:, :-1, :-1], covariance[:, :-1, 1:]
    before, both = covariance[:, 1:, :-1], covariance[:, 1:, 1:]
    total, following = np.trace(now, axis1=1, axis2=2), np.trace(later, axis1=1, axis2=2)
    mean_map = total - GAMMA * following
    value = total * rewards / mean_map
    error, moments, losses = value.copy(), value**2, []
    for _ in range(UPDATES):
        losses.append(moments @ total)
        away = rewards - value
        aa = away**2 + 2 * away * error + moments
        aw = away * value - away * error + error * value - moments
        ww = value**2 - 2 * value * error + moments
        q = np.tensordot(aa, now, 1) + GAMMA * np.tensordot(aw, later + before, 1) + GAMMA**2 * np.tensordot(ww, both, 1)
        spread = np.einsum("kts,ts->k", now, q)
        moments = (1 - STEP_SIZE * mean_map) ** 2 * moments + STEP_SIZE**2 / batch * spread
        error = (1 - STEP_SIZE * mean_map) * error
    return np.array(losses)


def decoupled(repeats: int) -> None:
    k, apart = np.arange(1.0, 301), np.abs(np.subtract.outer(np.arange(50), np.arange(50)))
    array, rewards = k[:, None, None] ** -1.2 * np.exp(-apart * np.sqrt(k)[:, None, None] / 10), k**-1.1
    form = td.DecoupledCovariance(array)
    about: Any = {"gamma": GAMMA, "step_size": STEP_SIZE, "batch_size": 5, "num_steps": UPDATES}
    found, plain = td.theory_curve(form, rewards, **about)[:-1], as_written(array, rewards, 5)
    np.testing.assert_allclose(found, plain, rtol=1e-9)
    rows = {
        "as written": lambda: as_written(array, rewards, 5),
        "preparing (once)": lambda: td.DecoupledCovariance(array),
        "`theory_curve`, published": lambda: td.theory_curve(form, rewards, **about),
        "`theory_curve`, all pairings": lambda: td.theory_curve(form, rewards, fourth_moments="gaussian", **about),
        "`plateau`": lambda: td.plateau(form, rewards, gamma=GAMMA, step_size=STEP_SIZE, batch_size=5),
        "`largest_stable_step_size`": lambda: td.largest_stable_step_size(form, gamma=GAMMA, batch_size=5),
    }
    print("Decoupled features, N = 300, T = 50, 500 updates\n\n| what | CPU ms | wall ms |\n|---|---|---|")
    for name, run in rows.items():
        cpu, wall = best(run, repeats)
        print(f"| {name} | {cpu:.4g} | {wall:.4g} |", flush=True)


def walk(repeats: int) -> None:
    env = RandomWalk2D()
    features = np.exp(-((env.positions[:, None] - env.positions) ** 2).sum(axis=-1) / 2)
    start = np.eye(env.num_cells)[env.start]
    weights = np.linalg.solve(features, env.rewards)
    chain = td.ChainCovariance(random_walk_2d.walk(env), start, features, num_steps=51)
    print("\nPlace cells of RandomWalk2D, N = 289, T = 51\n\n| fourth moments | CPU ms per update | wall ms |\n|---|---|---|")
    for moments in ("published", "exact"):
        about: Any = {"gamma": GAMMA, "step_size": 0.05, "batch_size": 10, "fourth_moments": moments, "check_stability": False}
        td.theory_curve(chain, weights, num_steps=1, **about)  # powers of the transition matrix
        cpu, wall = best(lambda about=about: td.theory_curve(chain, weights, num_steps=10, **about), repeats)
        print(f"| {moments} | {cpu / 10:.3g} | {wall / 10:.3g} |", flush=True)
    held = chain.powers.nbytes + chain.features.nbytes + chain.occupancy.nbytes
    print(f"\nHeld: {held / 1e6:.0f} MB; all pairs of times would be {(289 * 51) ** 2 * 8 / 1e6:.0f} MB.")


def simulation() -> None:
    k, apart = np.arange(1.0, 101), np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    form = td.DecoupledCovariance(k[:, None, None] ** -1.2 * np.exp(-apart * np.sqrt(k)[:, None, None] / 10))
    print(
        "\n`simulate_td`, Gaussian features, N = 100, T = 20, 100 repeats\n\n"
        "| B | settings | updates/s, CPU | wall |\n|---|---|---|---|"
    )
    for batch, settings in ((1, 1), (1, 10), (10, 1), (10, 10)):
        etas = list(np.linspace(0.01, 0.05, settings))
        about: Any = {"gamma": GAMMA, "step_size": etas, "batch_size": batch, "num_steps": 200, "repeats": 100}
        td.simulate_td(form, k**-1.1, **about)
        took = best(lambda about=about: td.simulate_td(form, k**-1.1, **about), 2)
        cpu, wall = (200 * 100 * settings * 1000 / ms for ms in took)
        print(f"| {batch} | {settings} | {cpu:,.0f} | {wall:,.0f} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(header("jax", "numpy", "scipy"))
    decoupled(options.repeats)
    walk(options.repeats)
    simulation()


if __name__ == "__main__":
    main()
