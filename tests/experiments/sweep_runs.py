"""Sweeps that take a moment, for the tests of sweeps.

A program takes seconds to compile, and a mapped one is compiled for each number of runs: where it does not matter, tests sweep
over four runs of ``SMALL``.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mbrl_agents import ReplayDQN, SweepResult, train_sweep
from mbrl_agents.sb3.jax_agent import JaxAgent

FLUTE = "mbrl/PanFlute-v0"
EXECUTIONS = ("loop", "vmap")
SMALL: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [16, 16]},
    "batch_size": 16,
    "buffer_size": 1200,
    "learning_starts": 100,
    "learning_rate": 1e-3,
    "max_grad_norm": 10.0,
}
SIZES: dict[str, Any] = {"total_timesteps": 400, "eval_interval": 100, "eval_episodes": 4, "eval_steps": 10}
# In a mapped program, sums are taken in another order: a few units in the last place, which a thousand steps of Adam (of
# 1e-3 at most) carry on to about 1e-6. A single step too many or too few, or a batch of another draw, is 1e-4 and more.
TOLERANCE = {"loop": 0.0, "vmap": 2e-5}


def sweep(hyperparameters: dict[str, Any] | None = None, seeds: Any = 2, env: Any = FLUTE, **changes: Any) -> SweepResult:
    """A small sweep; ``changes`` are further arguments of ``train_sweep``."""
    agent = changes.pop("agent", "ReplayDQN")
    return train_sweep(agent, env, SMALL | (hyperparameters or {}), seeds, **(SIZES | changes))


def alone(arguments: dict[str, Any], seed: int, total: int, env: Any = FLUTE, cls: type = ReplayDQN) -> ReplayDQN:
    """The run as anybody would make it, without a sweep."""
    return cls("MlpPolicy", env, seed=seed, **(SMALL | arguments)).learn(total)


def same_parameters(one: JaxAgent, other: JaxAgent, tolerance: float = 0.0) -> None:
    """Whether two agents' parameters, targets and optimisers are the same: to the bit, or up to rounding."""
    ours, theirs = one.get_parameters(), other.get_parameters()
    for part in ours | theirs:
        for name in ours[part] | theirs[part]:
            a, b, what = ours[part][name], theirs[part][name], f"{part} {name}"
            if tolerance:
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)
            else:
                np.testing.assert_array_equal(a, b, err_msg=what)


def same_memories(one: JaxAgent, other: JaxAgent) -> None:
    """Whether two agents have seen and done the same, to the bit."""
    for a, b in zip(jax.tree.leaves(one.memory.state), jax.tree.leaves(other.memory.state), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def same_runs(one: JaxAgent, other: JaxAgent, tolerance: float = 0.0) -> None:
    """Whether two agents are equally far, have seen and done the same, and have learned the same from it."""
    assert (one.run.clock, one._episode_num) == (other.run.clock, other._episode_num)
    same_memories(one, other)
    same_parameters(one, other, tolerance)


def same_sweeps(one: SweepResult, other: SweepResult, runs: dict[int, int] | None = None) -> None:
    """Whether two sweeps are the same to the bit: tables, agents, memories. ``runs``: which run is which, if not in order."""
    runs = {i: i for i in range(len(one))} if runs is None else runs
    tables = one.table(), other.table()
    for run, twin in runs.items():
        ours, theirs = (each[each["run"] == i].drop(columns="run") for each, i in zip(tables, (run, twin), strict=True))
        assert ours.reset_index(drop=True).equals(theirs.reset_index(drop=True)), f"run {run}"
        same_runs(one.agent(run), other.agent(twin))
