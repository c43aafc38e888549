"""How fast OMD learns: what its model is trained for, ways to solve its linear system, both loops.

Run as ``python -m tests.benchmarks.omd``; prints a table. CartPole, one update of model and Q-networks per step, all else as by
default (batch 256, networks of 2 × 32 units). Times are the smallest of several repeats in turns; compiling is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mbrl_agents import OMD
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded
from tests.benchmarks.training import measure

RECORDED = Recorded(
    ("--steps", "400", "--repeats", "3"), quick=("--repeats", "1", "--steps", "20", "--loops", "device"), one_core=True
)

WAYS: dict[str, dict[str, Any]] = {
    "omd, identity": {},
    "omd, conjugate gradients": {"solver": "cg"},
    "mle": {"model_loss": "mle"},
    "vep": {"model_loss": "vep"},
    "vagram": {"model_loss": "vagram"},
}
LOOPS = {"device": "mbrl/CartPole-v0", "host": "CartPole-v1"}


def learning(loop: str, arguments: dict[str, Any], num: int) -> Callable[[], Any]:
    """``num`` steps of an agent that has left its uniform actions behind."""
    agent = OMD("MlpPolicy", LOOPS[loop], device_loop=loop == "device", seed=0, **arguments)
    agent.learn(1000 + num)
    return lambda: agent.learn(num, reset_num_timesteps=False)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500, help="in each repeat (default: %(default)s)")
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=LOOPS)
    options = parser.parse_args()
    print(header("jax", "stable-baselines3"))
    best = measure(
        {f"{loop} | {way}": learning(loop, WAYS[way], options.steps) for loop in options.loops for way in WAYS}, options.repeats
    )
    first = next(iter(best.values()))[0]
    print("| loop | model's loss | CPU ms per step | beside the first | steps/s (wall) |\n|---|---|---|---|---|")
    for name, (cpu, wall) in best.items():
        print(f"| {name} | {cpu / options.steps * 1e3:.3f} | {cpu / first:.2f} | {options.steps / wall:.0f} |")


if __name__ == "__main__":
    main()
