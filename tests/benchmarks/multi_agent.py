"""What several agents cost: steps per second of vectorised environments, beside those with one agent.

Run as ``python -m tests.benchmarks.multi_agent``. 1024 environments, one compiled scan of random actions; million steps of
environments per second, and of agents. All are measured in turns in one run; the best of many short repeats counts.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax

from mbrl_envs import ButtonGrid, FunctionalEnv, FunctionalTask, PanFlute
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute
from tests.benchmarks.environments import LIMIT, NUM_ENVS, rates, with_resets
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(quick=("--steps", "10", "--repeats", "1"), one_thread=True)

ENVS: tuple[FunctionalEnv, ...] = (
    PanFlute(5),
    CoopPanFlute(5, 1),
    CoopPanFlute(5, 2),
    CoopPanFlute(5, 5),
    CoopPanFlute(5, 2, split=True),
    ButtonGrid(5, 3),
    CoopButtonGrid(5, 3, 1),
    CoopButtonGrid(5, 3, 2),
    CoopButtonGrid(5, 3, 4),
    CoopButtonGrid(5, 3, 2, sight=1),
    ButtonContest(5, 3, 1),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    print(header("jax", "gymnasium"))
    programs: dict[str, tuple[Any, Any, jax.Array]] = {}
    for env in ENVS:
        batch = FunctionalTask(env, LIMIT).batched(NUM_ENVS * env.num_agents)
        start = jax.jit(batch.init)(jax.random.split(jax.random.PRNGKey(0), batch.num_envs))
        shape = (options.steps, batch.num_envs)
        actions = jax.random.randint(jax.random.PRNGKey(1), shape, 0, len(env.action_names))
        programs[repr(env)] = (with_resets(batch), start, actions)
    best = rates(programs, options.repeats)
    print("| environment | agents | M environment steps/s | M agent steps/s | beside one agent |")
    print("|---|---|---|---|---|")
    single = 1.0
    for env in ENVS:
        per_env = best[repr(env)] / env.num_agents
        single = best[repr(env)] if type(env) in (PanFlute, ButtonGrid) else single
        print(f"| `{env}` | {env.num_agents} | {per_env:.2f} | {best[repr(env)]:.2f} | {per_env / single:.2f} |", flush=True)


if __name__ == "__main__":
    main()
