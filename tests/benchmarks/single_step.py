"""One ``env.step`` from Python through ``gymnasium.make``, beside Gymnasium's own NumPy CartPole.

Run as ``python -m tests.benchmarks.single_step``. Resets at episodes' ends are included; the smallest of several repeats, taken
in turns, counts.
"""

from __future__ import annotations

import argparse
import time

import gymnasium

import mbrl_envs
from mbrl_envs.registration import DYNAMICS
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(quick=("--steps", "50", "--repeats", "1"))


def microseconds(env: gymnasium.Env, num: int) -> float:
    """Time of a step, in µs."""
    step, actions = env.step, [int(env.action_space.sample()) for _ in range(num)]
    began = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            env.reset()
    return (time.perf_counter() - began) / num * 1e6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    assert mbrl_envs.__name__  # imported for its registration
    ids = ["CartPole-v1", *(dynamics.env_id for dynamics in DYNAMICS.values())]
    envs = {env_id: gymnasium.make(env_id) for env_id in ids}
    for env in envs.values():
        env.reset(seed=0)
        env.action_space.seed(0)
        microseconds(env, 300)
    best = dict.fromkeys(ids, float("inf"))
    for _ in range(options.repeats):
        for env_id, env in envs.items():
            best[env_id] = min(best[env_id], microseconds(env, options.steps))
    print(header("jax", "gymnasium", "numpy"))
    print("| environment | µs per step | beside CartPole-v1 |\n|---|---|---|")
    for env_id, time_ in best.items():
        print(f"| {env_id} | {time_:.1f} | {time_ / best['CartPole-v1']:.2f} |")


if __name__ == "__main__":
    main()
