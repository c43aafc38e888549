"""How fast replay DQN trains, beside the floor of its matrix products and beside Stable-Baselines3's DQN.

Run as ``python -m tests.benchmarks.training``; prints two tables. Times are CPU times of the process (all threads), the
smallest of several interleaved repeats, so that other work on the machine disturbs them little.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import torch
from stable_baselines3 import DQN

import mbrl_envs  # noqa: F401  (registers the ids)
from mbrl_agents import ReplayDQN
from mbrl_agents.core.compilation import jit
from mbrl_agents.sb3 import device_training
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(("--repeats", "4"), quick=("--repeats", "1", "--steps", "20"), one_core=True)

BATCH, FEATURES, HIDDEN, ACTIONS = 320, 64, 200, 5
WIDTHS = (FEATURES, HIDDEN, HIDDEN, HIDDEN, ACTIONS)


def matrix_products(num: int) -> Callable[[], Any]:
    """``num`` times the products of one update: target network, network, and its gradient; 232 MFLOP.

    Inputs and weights of the two networks differ and change from one round to the next: equal ones would be computed once.
    """
    keys = iter(jax.random.split(jax.random.PRNGKey(0), 20))
    weights = [[0.05 * jax.random.normal(next(keys), shape) for shape in itertools.pairwise(WIDTHS)] for _ in "ab"]
    inputs = [jax.random.normal(next(keys), (BATCH, FEATURES)) for _ in "ab"]
    error = jax.random.normal(next(keys), (BATCH, ACTIONS))

    def one(_: Any, carry: jax.Array) -> jax.Array:
        layers, outputs = [inputs[1] + carry], []
        following = inputs[0] - carry
        for target, weight in zip(*weights, strict=True):
            following = following @ target
            layers.append(layers[-1] @ weight)
            outputs += [following, layers[-1]]
        gradient = error + carry
        for i in reversed(range(len(WIDTHS) - 1)):
            outputs.append(layers[i].T @ gradient)
            if i:
                gradient = gradient @ weights[1][i].T
                outputs.append(gradient)
        outputs = jax.lax.optimization_barrier(outputs)  # whole products, not the entries used below
        return 1e-9 * sum(output[0, 0] for output in outputs)

    run = jit(lambda: jax.lax.fori_loop(0, num, one, jnp.float32(0)))
    return lambda: jax.block_until_ready(run())


def device_loop(num: int) -> Callable[[], Any]:
    """``num`` steps of the device loop at the study's settings, one update per step."""
    env = gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=-1)
    agent = ReplayDQN("MlpPolicy", env, learning_rate=5e-5, temperature=0.1, seed=0)
    agent.learn(2000)
    task = agent._functional_task()
    assert task is not None
    program = agent.program_in(task)

    def run() -> None:
        device_training.run_chunk(agent, program, num, 10**6)

    return run


def host_loop(agent_class: Any, env_id: str, num: int) -> Callable[[], Any]:
    """``num`` steps of the host loop, or of SB3's DQN, with equal network, batch and training frequency."""
    shared: dict[str, Any] = {
        "learning_rate": 1e-4,
        "buffer_size": 50_000,
        "learning_starts": 500,
        "batch_size": 128,
        "train_freq": 1,
        "gradient_steps": 1,
        "gamma": 0.99,
        "target_update_interval": 500,
        "seed": 0,
    }
    if agent_class is ReplayDQN:
        special: dict[str, Any] = {"device_loop": False, "exploration": "epsilon_greedy"}
        network = {"net_arch": [128, 128], "activation_fn": "relu"}
    else:
        special, network = {}, {"net_arch": [128, 128], "activation_fn": torch.nn.ReLU}
    agent = agent_class("MlpPolicy", env_id, policy_kwargs=network, **shared, **special)
    agent.learn(1000)
    return lambda: agent.learn(num, reset_num_timesteps=False)


def measure(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Smallest CPU and wall seconds of each, taken in turns."""
    best = dict.fromkeys(functions, (np.inf, np.inf))
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            taken = time.process_time() - cpu, time.perf_counter() - wall
            best[name] = min(best[name][0], taken[0]), min(best[name][1], taken[1])
    return best


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    repeats, num = options.repeats, options.steps
    torch.set_num_threads(1)
    print(header("jax", "torch", "stable-baselines3"))
    best = measure({"matrix products alone": matrix_products(num), "device loop": device_loop(num)}, repeats)
    floor = best["matrix products alone"][0]
    print(f"replay DQN, ProcMaze n=4, batch {BATCH}, one update per step\n")
    print("| | CPU ms per step | ratio | steps/s (wall) |\n|---|---|---|---|")
    for name, (cpu, wall) in best.items():
        print(f"| {name} | {cpu / num * 1e3:.3f} | {cpu / floor:.2f} | {num / wall:.0f} |")

    num = 5 * num // 3
    print("\nhost loop beside SB3's DQN: network 2x128 ReLU, batch 128, one update per step\n")
    print("| environment | agent | CPU ms per step | steps/s (wall) | rate beside SB3 |\n|---|---|---|---|---|")
    for env_id in ("CartPole-v1", "mbrl/ProcMaze-v0"):
        best = measure({cls.__name__: host_loop(cls, env_id, num) for cls in (DQN, ReplayDQN)}, repeats)
        for name, (cpu, wall) in best.items():
            ratio = best["DQN"][1] / wall
            print(f"| {env_id} | {name} | {cpu / num * 1e3:.3f} | {num / wall:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
