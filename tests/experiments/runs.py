"""Runs that take a moment, for the tests in this folder."""

from __future__ import annotations

import pathlib
from typing import Any

from mbrl_agents.runs.config import RunConfig, make_config
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.training import Report

FLUTE = EnvironmentSpec("mbrl/PanFlute-v0")
TINY: dict[str, dict[str, Any]] = {
    "ReplayDQN": {
        "policy_kwargs": {"net_arch": [8]},
        "learning_starts": 40,
        "batch_size": 16,
        "buffer_size": 150,  # wraps round
        "learning_rate": 1e-3,
    },
    "SimpleModelDQN": {
        "policy_kwargs": {"net_arch": [8]},
        "learning_starts": 40,
        "batch_size": 16,
        "buffer_size": 150,
        "rollout_length": 2,
        "rollout_batch_size": 16,
    },
    "LinearTD": {"episode_steps": 15},
    "ValueRNN": {
        "hidden_size": 4,
        "learning_starts": 40,
        "batch_size": 4,
        "buffer_size": 150,
        "sequence_length": 10,
        "burn_in": 2,
        "train_freq": 20,
    },
    "PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 1},
    "DQN": {"learning_starts": 40, "buffer_size": 1000},
}


def config(agent: str = "ReplayDQN", environment: EnvironmentSpec = FLUTE, **changes: Any) -> RunConfig:
    """A small run; ``changes`` are arguments of ``make_config``."""
    given: dict[str, Any] = {"total_timesteps": 200, "eval_interval": 50, "eval_episodes": 4, "eval_steps": 10}
    given |= {"arguments": TINY.get(agent, {})}
    return make_config(agent, environment, **(given | changes))


def folder(path: pathlib.Path, agent: str = "ReplayDQN", **changes: Any) -> RunFolder:
    """The folder of a small run, not trained yet."""
    return RunFolder.create(path, config(agent, **changes))


def stop_at(timesteps: int) -> Report:
    """A report that asks for the end once so many timesteps are done."""
    return lambda done, score: done < timesteps


def settings(*agents: str) -> list[str]:
    """The small runs' arguments for a command line."""
    return [part for agent in agents for name, value in TINY[agent].items() for part in ("--set", f"{agent}.{name}={value}")]


def contents(path: pathlib.Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
