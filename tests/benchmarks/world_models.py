"""What the model-based agents cost beside replay DQN: CPU time per step and run, ProcMaze n=4, the study's settings.

Run as ``taskset -c 0 python -m tests.benchmarks.world_models``; prints a table. All agents take turns, and the best of several
repeats counts. On two cores XLA spreads small operations over both, which saves wall time and costs CPU time: hence one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium

import mbrl_envs
from mbrl_agents import LatentModelDQN, PerfectModelDQN, ReplayDQN, SimpleModelDQN
from mbrl_agents.common import device_training
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded
from tests.benchmarks.training import measure

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
    loop = agent.begin(mbrl_envs.functional_task(env), 10**6)

    def advance(steps: int) -> None:
        while steps:
            record, _ = device_training.run_chunk(agent, loop, steps, 10**6)
            agent.num_timesteps += len(record.reward)
            steps -= len(record.reward)

    advance(START + 1)
    return lambda: advance(num)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    print(header("jax"))
    best = measure({name: training(name, options.steps) for name in AGENTS}, options.repeats)
    print("| agent | CPU ms per step | beside replay | steps/s |\n|---|---|---|---|")
    for name, (cpu, wall) in best.items():
        print(f"| {name} | {cpu / options.steps * 1e3:.2f} | {cpu / best['replay'][0]:.2f} | {options.steps / wall:.0f} |")


if __name__ == "__main__":
    main()
