"""Plays every environment through every adapter, under JAX's defaults or some of its global switches, and prints what it saw.

Run in an interpreter of its own, as ``python -m tests.envs.switches NAME VALUE …``: switches are global, and what is compiled
under one stays. The last line is a digest of all numbers, equal for all switches that only say how JAX shall work.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

import mbrl_envs
from mbrl_envs import multi_agent
from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv
from mbrl_envs.registration import DYNAMICS

LANES, STEPS = 3, 6
SMALL: dict[str, dict[str, Any]] = {"ProcMaze": {"grid_size": 6}, "CueRecall": {"delay": 2}, "CartPole": {"num_distractors": 2}}
MORE = [mbrl_envs.RandomWalk2D(edges="bounce", one_hot=True), mbrl_envs.ButtonGrid(activate_on_reset=False)]
SEVERAL = [
    multi_agent.CoopButtonGrid(3, 2, 3, sight=1),
    multi_agent.CoopPanFlute(3, 2, split=True),
    multi_agent.ButtonContest(3, 2, 2),
    multi_agent.CoopButtonGrid(3, 2, 2, observation="planes"),
]


def played(env: mbrl_envs.FunctionalEnv) -> list[Any]:
    """Observations, rewards and ends of one environment and of a few lanes of it."""
    single = gymnasium.wrappers.TimeLimit(mbrl_envs.FunctionalGymEnv(env), 4)
    several = mbrl_envs.FunctionalVectorEnv(env, LANES, 4, AutoresetMode.SAME_STEP)
    seen: list[Any] = [single.reset(seed=5)[0], several.reset(seed=5)[0]]
    for t in range(STEPS):
        action = t % int(env.action_space.n)
        out = single.step(action)
        seen += out[:4]
        seen += [single.reset()[0]] if out[2] or out[3] else []
        seen += several.step(np.full(LANES, action))[:4]
    return seen


def played_together(env: multi_agent.MultiAgentEnv) -> list[Any]:
    """The same of environments with several agents, through PettingZoo's interface and Stable-Baselines3's."""
    parallel, vec = FunctionalParallelEnv(env, 4), mbrl_envs.FunctionalVecEnv(env, 2, 4)
    vec.seed(5)
    seen: list[Any] = [*parallel.reset(seed=5)[0].values(), vec.reset()]
    for t in range(STEPS):
        action = t % int(env.action_space.n)
        for group in parallel.step(dict.fromkeys(parallel.agents, action))[:4]:
            seen += group.values()
        seen += [] if parallel.agents else parallel.reset()[0].values()
        seen += vec.step(np.full(vec.num_envs, action))[:3]
    return seen


def main(switches: dict[str, Any]) -> None:
    """Sets the switches, plays, prints."""
    for name, value in switches.items():
        jax.config.update(name, value)
    digest, failed = hashlib.sha256(), False
    kinds = [kind(**SMALL.get(name, {})) for name, kind in DYNAMICS.items()]
    for env in (*kinds, *MORE, *SEVERAL):
        try:
            seen = played_together(env) if isinstance(env, multi_agent.MultiAgentEnv) else played(env)
        except Exception as error:
            failed = True
            print(f"{env}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        for each in seen:
            array = np.asarray(each)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    print("failed" if failed else digest.hexdigest())


if __name__ == "__main__":
    main({name: ast.literal_eval(value) for name, value in zip(sys.argv[1::2], sys.argv[2::2], strict=True)})
