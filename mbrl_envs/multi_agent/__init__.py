"""Environments with several agents: the structure of ButtonGrid and PanFlute with several decision makers.

* :class:`CoopButtonGrid`, :class:`CoopPanFlute`, :class:`ButtonContest` — dynamics in JAX (:class:`MultiAgentEnv`).
* ``coop_button_grid_v0``, ``coop_pan_flute_v0``, ``button_contest_v0`` — modules with ``parallel_env(...)`` and ``env(...)``,
  as PettingZoo's environments have them (extra ``multi``)::

    from mbrl_envs.multi_agent import coop_pan_flute_v0
    env = coop_pan_flute_v0.parallel_env(num_pipes=5, num_agents=2)

* :class:`AgentLanes` — every agent of every environment as a lane, for agents that share their parameters; what
  :class:`~mbrl_envs.FunctionalVecEnv` and the training loops of ``mbrl_agents`` use of themselves.
"""

import importlib
from typing import Any

from mbrl_envs.multi_agent.button_contest import ButtonContest
from mbrl_envs.multi_agent.coop_button_grid import CoopButtonGrid
from mbrl_envs.multi_agent.coop_pan_flute import CoopPanFlute
from mbrl_envs.multi_agent.lanes import AgentLanes
from mbrl_envs.multi_agent.protocol import MultiAgentEnv

__all__ = ["DYNAMICS", "AgentLanes", "ButtonContest", "CoopButtonGrid", "CoopPanFlute", "MultiAgentEnv"]

DYNAMICS: dict[str, type[MultiAgentEnv]] = {cls.__name__: cls for cls in (CoopButtonGrid, CoopPanFlute, ButtonContest)}

# Imported when first asked for: they need PettingZoo.
_PETTINGZOO = tuple(cls.env_id for cls in DYNAMICS.values())


def __getattr__(name: str) -> Any:
    if name in _PETTINGZOO:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PETTINGZOO})
