"""Throughput of the whole suite, beside gymnax and Minigrid.

Run as ``python -m tests.benchmarks.suite --other-python PATH``, PATH being an interpreter of a virtual environment of its own
with gymnax and minigrid (gymnax 1.0.1 pins an older Gymnasium). Random actions, 1024 environments: one compiled scan, and for
ours also ``VectorEnv.step`` from Python. Minigrid steps one environment at a time, as it is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time

import gymnasium
import jax
import numpy as np

from mbrl_envs import BatchedEnv
from mbrl_envs.registration import DYNAMICS
from tests.benchmarks.environments import NUM_ENVS, rates, with_resets
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(quick=("--steps", "10"), needs=("OTHER_PYTHON",))

OTHERS = """
import importlib.metadata, json, time, gymnasium, gymnax, jax, minigrid
rates = {}
for name in ("FourRooms-misc", "CartPole-v1", "Breakout-MinAtar"):
    env, params = gymnax.make(name)
    keys = jax.random.split(jax.random.PRNGKey(0), 1024)
    _, state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    def step(carry, key):
        state, = carry
        ks = jax.random.split(key, 1024)
        actions = jax.vmap(lambda k: env.action_space(params).sample(k))(ks)
        out = jax.vmap(env.step, in_axes=(0, 0, 0, None))(ks, state, actions, params)
        return (out[1],), (out[0].sum(), out[2].sum())
    run = jax.jit(lambda s, ks: jax.lax.scan(step, (s,), ks))
    ks = jax.random.split(jax.random.PRNGKey(1), 300)
    jax.block_until_ready(run(state, ks))
    best = 0
    for _ in range(5):
        began = time.perf_counter(); jax.block_until_ready(run(state, ks))
        best = max(best, 300 * 1024 / (time.perf_counter() - began))
    rates["gymnax " + name] = best
for name in ("MiniGrid-FourRooms-v0", "MiniGrid-MultiRoom-N2-S4-v0"):
    env = gymnasium.make(name); env.reset(seed=0); best = 0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated: env.reset()
        best = max(best, 1000 / (time.perf_counter() - began))
    rates["Minigrid " + name] = best
versions = {name: importlib.metadata.version(name) for name in ("gymnax", "minigrid", "jax", "gymnasium")}
print(json.dumps([versions, rates]))
"""


def vector_rate(env_id: str, num: int = 200) -> float:
    """Steps per second of ``VectorEnv.step`` from Python."""
    envs = gymnasium.make_vec(env_id, num_envs=NUM_ENVS)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(envs.single_action_space.n, size=(num, NUM_ENVS))  # type: ignore[attr-defined]
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for row in actions:
            envs.step(row)
        best = max(best, num * NUM_ENVS / (time.perf_counter() - began))
    return best


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    other = os.environ.get("OTHER_PYTHON")
    parser.add_argument(
        "--other-python", default=other, help="an interpreter with gymnax and minigrid (default: $OTHER_PYTHON)"
    )
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    print(header("jax", "gymnasium"))
    print("| environment | compiled scan, M steps/s | VectorEnv.step, M steps/s |\n|---|---|---|")
    for dynamics in DYNAMICS.values():
        env = dynamics()
        batched = BatchedEnv(env, NUM_ENVS, env.max_episode_steps)
        state = jax.jit(batched.init)(jax.random.split(jax.random.PRNGKey(0), NUM_ENVS))
        actions = jax.random.randint(jax.random.PRNGKey(1), (options.steps, NUM_ENVS), 0, env.action_space.n)
        scan = rates({"scan": (with_resets(batched), state, actions)}, 5)["scan"]
        print(f"| {env.env_id} | {scan:.2f} | {vector_rate(env.env_id, options.steps) / 1e6:.2f} |", flush=True)
    if options.other_python:
        # What fails there fails here, with its traceback: an error is no row of a table.
        found = subprocess.run([options.other_python, "-c", OTHERS], stdout=subprocess.PIPE, text=True, check=True)
        versions, others = json.loads(found.stdout.splitlines()[-1])
        for name, rate in others.items():
            print(f"| {name} | {rate / 1e6:.4g} | – |")
        print("\nThe others, in an environment of their own:", ", ".join(f"{name} {each}" for name, each in versions.items()))


if __name__ == "__main__":
    main()
