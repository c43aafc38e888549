"""How fast OMDSAC learns on HalfCheetah-v5, beside Stable-Baselines3's SAC in the same run.

Run as ``python -m tests.benchmarks.omd_sac``; prints a table; needs MuJoCo. All agents step the environment once and update
once (actor and critics of 256 × 256 units, batches of 256) for every timestep, in SB3's host loop. Figures are updates per
second of the process's CPU time, the best of several repeats in turns, after compiling.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3 import SAC

from mbrl_agents import OMDSAC
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded
from tests.benchmarks.training import measure

RECORDED = Recorded(quick=("--updates", "5", "--repeats", "1"), one_thread=True, one_core=True)

ENV_ID, STARTS = "HalfCheetah-v5", 300
COMMON: dict[str, Any] = {"learning_starts": STARTS, "buffer_size": 1_000_000, "seed": 0}


def learner(cls: Any, num: int, **arguments: Any) -> Callable[[], Any]:
    """``num`` steps, each with an update, of an agent that is past the start of learning."""
    agent = cls("MlpPolicy", ENV_ID, **(COMMON | arguments)).learn(STARTS + 20)
    return lambda: agent.learn(num, reset_num_timesteps=False)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=250, help="updates in a repeat")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    small, published = {"model_net_arch": [64, 64]}, {"solver": "identity", "inner_steps": 1, "inner_loop": "all"}
    net = {"model_trunk": "shared", "initializer": "orthogonal"}
    conjugate = {"solver": "cg", "solver_steps": 10}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "SB3's SAC": (SAC, {"device": "cpu"}),
        "OMDSAC, no model": (OMDSAC, {"model_loss": "none"}),
        "OMDSAC, likelihood, model of 2 × 64, one inner step": (OMDSAC, {"model_loss": "mle"} | small),
        "OMDSAC, OMD as published, model of 2 × 64": (OMDSAC, published | net | small),
        "OMDSAC, OMD as published, model of 2 × 256": (OMDSAC, published | net),
        "OMDSAC, OMD, defaults but a model of 2 × 64": (OMDSAC, dict(small)),
        "OMDSAC, OMD, defaults": (OMDSAC, {}),
        "OMDSAC, OMD, 2 × 64, five inner steps, 10 conjugate gradients": (OMDSAC, {"inner_steps": 5} | small | conjugate),
    }
    print(header("jax", "torch", "stable-baselines3", "mujoco"), flush=True)  # the load is that before
    ready = {name: learner(cls, options.updates, **arguments) for name, (cls, arguments) in kinds.items()}
    best = {name: cpu for name, (cpu, _) in measure(ready, options.repeats).items()}
    print("| agent | updates/s | beside SB3's SAC |\n|---|---|---|")
    reference = best["SB3's SAC"]
    for name, seconds in best.items():
        print(f"| {name} | {options.updates / seconds:.0f} | {reference / seconds:.2f} |")


if __name__ == "__main__":
    main()
