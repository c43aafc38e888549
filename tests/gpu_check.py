"""An accelerator's first six minutes: are its numbers the CPU's, and how fast are many runs of the study's agents on it?

Run as ``python -m tests.gpu_check``; on a CPU alone it compares that with itself. First some hundred steps of replay, the
perfect and the categorical model (ProcMaze n=4, settings of the preset procmaze-high, learning begun early), each run by
itself and mapped over runs, beside the same on the CPU with the same keys: products in full float32, largest difference of
the networks' parameters. Then steps a second of 1, 30 and 256 runs in one program, as users have it. What does not fit into
``--minutes`` is left out and said. Ends with 1 if numbers differ by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from mbrl_agents.experiments.published import preset
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.executor import Run, make_execution
from tests.benchmarks.machine import header
from tests.benchmarks.sweeps import forward, run_of

AGENTS, SIZES, STARTS = ("replay", "perfect", "categorical"), (1, 30, 256), 20
MOST = 1e-3  # of the largest parameter: what rounding makes of it in some hundred updates, with room


def new_run(label: str, seed: int) -> Run:
    """A run of one of the study's agents that learns after a few steps."""
    chosen = preset("procmaze-high")
    kind = find_agent(chosen.agents[label][0])
    env = chosen.environment.training_env(1)
    agent: Any = kind.make(env, chosen.arguments[label] | {"learning_starts": STARTS}, seed)
    return run_of(agent, seed)


# --- numbers ------------------------------------------------------------------------------------------------------------------


def parameters(label: str, device: jax.Device, execution: str, num: int) -> list[np.ndarray]:
    """Parameters of two runs after ``num`` steps, an array for each run."""
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        way = make_execution(execution, devices=[device])
        runs = [new_run(label, seed) for seed in (0, 1)]
        groups = [way.group(runs)] if way.together else [way.group([run]) for run in runs]
        for group in groups:
            forward(group, num)
        states = [state for group in groups for state in group.states(range(len(runs) // len(groups)))]
    return [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.learner.params)]) for state in states]


def check(agents: Sequence[str], num: int) -> bool:
    """Prints how far numbers are from the CPU's; returns whether all are near."""
    device, cpu = jax.devices()[0], jax.devices("cpu")[0]
    print("| agent | execution | largest difference from the CPU's parameters, of the largest one |")
    print("|---|---|---|")
    near = True
    for label in agents:
        wanted = parameters(label, cpu, "loop", num)
        for execution in ("loop", "vmap"):
            given = parameters(label, device, execution, num)
            apart = max(abs(a - b).max() / abs(b).max() for a, b in zip(given, wanted, strict=True))
            near &= bool(apart <= MOST)
            print(f"| {label} | {execution} | {apart:.1e} |", flush=True)
    return near


# --- speed --------------------------------------------------------------------------------------------------------------------


def rates(agents: Sequence[str], sizes: Sequence[int], num: int, until: float) -> Iterator[str]:
    """Rows of the table of speeds."""
    for size in sizes:
        for label in agents:
            if time.monotonic() > until:
                yield f"| {label} | {size} | not reached | – | – |"
                continue
            runs = [new_run(label, seed) for seed in range(size)]
            group = make_execution("vmap").group(runs)
            began = time.perf_counter()
            forward(group, 2 * STARTS)
            compiled = time.perf_counter() - began
            began = time.perf_counter()
            forward(group, num)
            seconds = time.perf_counter() - began
            yield f"| {label} | {size} | {num / seconds:.0f} | {size * num / seconds:.0f} | {compiled:.0f} |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=AGENTS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="runs in one program")
    parser.add_argument("--steps", type=int, default=300, help="steps of every run that are timed")
    parser.add_argument("--check-steps", type=int, default=100, help="steps after which parameters are compared")
    parser.add_argument("--minutes", type=float, default=5.5, help="nothing new is begun after so many")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    print(header("jax", "jaxlib", "flax"))
    print(f"{', '.join(f'{each.platform} {each.device_kind}' for each in jax.devices())}\n")
    near = check(options.agents, options.check_steps)
    print("\n| agent | runs | steps a second of each | of all | seconds to compile and begin |")
    print("|---|---|---|---|---|")
    for row in rates(options.agents, options.sizes, options.steps, until):
        print(row, flush=True)
    if not near:
        sys.exit("numbers differ by more than rounding")


if __name__ == "__main__":
    main()
