"""Agents that learn models, remember, or learn by temporal differences, behind Stable-Baselines3's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbrl_agents.catalogue import AGENTS

if TYPE_CHECKING:
    from mbrl_agents.experiments.sweeps import SweepResult, grid, sweep_memory, train_sweep
    from mbrl_agents.linear_td import LinearTD
    from mbrl_agents.model_dqn import LatentModelDQN, PerfectModelDQN, SimpleModelDQN
    from mbrl_agents.omd.agent import OMD
    from mbrl_agents.omd_sac.agent import OMDSAC
    from mbrl_agents.r2d2 import R2D2
    from mbrl_agents.r2d2_jax import JaxR2D2
    from mbrl_agents.replay_dqn import ReplayDQN
    from mbrl_agents.value_rnn import ValueRNN

__all__ = [
    "OMD",
    "OMDSAC",
    "R2D2",
    "JaxR2D2",
    "LatentModelDQN",
    "LinearTD",
    "PerfectModelDQN",
    "ReplayDQN",
    "SimpleModelDQN",
    "SweepResult",
    "ValueRNN",
    "grid",
    "sweep_memory",
    "train_sweep",
]

# Imported when first asked for: they bring torch, Stable-Baselines3 and pandas along, which take seconds.
_LAZY = AGENTS | dict.fromkeys(("SweepResult", "grid", "sweep_memory", "train_sweep"), "mbrl_agents.experiments.sweeps")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
