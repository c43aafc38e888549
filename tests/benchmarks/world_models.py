"""What the model-based agents cost beside replay DQN: CPU time per step and run, ProcMaze n=4, the study's settings.

Run as ``taskset -c 0 python -m tests.benchmarks.world_models``; prints two tables. All agents take turns, and the best of
several repeats counts; the second table has what matrix products and optimisers alone would take. On two cores XLA spreads
small operations over both, which saves wall time and costs CPU time: hence one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

import mbrl_envs
from mbrl_agents import LatentModelDQN, PerfectModelDQN, ReplayDQN, SimpleModelDQN
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.schedules import Now
from mbrl_agents.sb3 import device_training
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded
from tests.benchmarks.training import matrix_products, measure

RECORDED = Recorded(quick=("--steps", "5", "--repeats", "1"), one_core=True)

AGENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "replay": (ReplayDQN, {}),
    "perfect": (PerfectModelDQN, {}),
    "simple": (SimpleModelDQN, {}),
    "gaussian": (LatentModelDQN, {"latent": "gaussian"}),
    "categorical": (LatentModelDQN, {"latent": "categorical"}),
}
START = 500


def training(name: str, num: int) -> Callable[[], Any]:
    """``num`` steps of the device loop with one update per step."""
    agent_class, special = AGENTS[name]
    env = gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=-1)
    agent = agent_class("MlpPolicy", env, temperature=0.1, learning_starts=START, seed=0, **special)
    program = device_training.start_environments(agent, mbrl_envs.functional_task(env), reset=False)

    def advance(steps: int) -> None:
        while steps:
            steps -= len(device_training.run_chunk(agent, program, steps, 10**6).records.reward)

    advance(START + 1)
    return lambda: advance(num)


def products(jaxpr: Any) -> float:
    """Operations of the matrix products of a program, those of its loops each time they are run."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _), left = equation.params["dimension_numbers"], equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        values = (each if isinstance(each, (list, tuple)) else [each] for each in equation.params.values())
        parts = (getattr(each, "jaxpr", each) for each in itertools.chain(*values))
        inner = sum(products(part) for part in parts if hasattr(part, "eqns"))
        total += inner * (equation.params["length"] if equation.primitive.name == "scan" else 1)
    return total


def work(name: str) -> tuple[float, int]:
    """Operations of the products of an update, and how many parameters the optimisers go through."""
    agent_class, special = AGENTS[name]
    env = gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=-1)
    agent = agent_class("MlpPolicy", env, temperature=0.1, seed=0, **special)
    now = Now(Exploration(*np.float32([0.1, 0.0])), np.float32(1e-4))
    state = agent.learner_state
    program = jax.make_jaxpr(agent.program.train)(agent.run, now)
    needed, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))  # without what XLA leaves out as well
    learned = [getattr(state, part) for part in ("params", "model") if hasattr(state, part)]
    return products(needed), sum(leaf.size for leaf in jax.tree.leaves(learned))


def bandwidth(size: int = 1 << 22) -> float:
    """Bytes per second of one addition of long vectors: two are read, one is written."""
    one, other = jnp.ones(size), jnp.ones(size)
    add = jax.jit(lambda one, other: one + 0.5 * other)
    best = measure({"add": lambda: jax.block_until_ready(add(one, other))}, 20)["add"][0]
    return 3 * 4 * size / best


def floors(best: dict[str, tuple[float, float]], steps: int, repeats: int) -> None:
    """Prints what products and the optimiser's traffic alone would take, at the rates that both reach here."""
    num = 5 * steps
    rate = work("replay")[0] * num / measure({"products": matrix_products(num)}, repeats)["products"][0]
    traffic = bandwidth()
    print(
        f"\nFloors: products at {rate / 1e9:.0f} GFLOP/s, what replay's own reach here; 7 arrays of 4 bytes for each parameter "
        f"that an optimiser changes, at {traffic / 1e9:.0f} GB/s\n"
    )
    print("| agent | MFLOP per update | parameters | floor, ms | measured, ms | ratio |\n|---|---|---|---|---|---|")
    for name, (cpu, _) in best.items():
        operations, parameters = work(name)
        floor, measured = 1e3 * (operations / rate + 7 * 4 * parameters / traffic), cpu / steps * 1e3
        row = f"{operations / 1e6:.0f} | {parameters / 1e6:.2f} M | {floor:.2f} | {measured:.2f} | {measured / floor:.1f}"
        print(f"| {name} | {row} |")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    print(header("jax", "flax", "optax"))
    best = measure({name: training(name, options.steps) for name in AGENTS}, options.repeats)
    print("| agent | CPU ms per step | beside replay | steps/s |\n|---|---|---|---|")
    for name, (cpu, wall) in best.items():
        print(f"| {name} | {cpu / options.steps * 1e3:.2f} | {cpu / best['replay'][0]:.2f} | {options.steps / wall:.0f} |")
    floors(best, options.steps, options.repeats)


if __name__ == "__main__":
    main()
