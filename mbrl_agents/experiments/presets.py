"""Settings under which agents of different origin compare on equal terms.

Stable-Baselines3's defaults are made for other tasks: its DQN discounts by 0.99, learns after every fourth step and copies the
target network every 10 000. In the study (arXiv 2211.02222) all agents discount by 0.9, learn after every step and copy the
target network every 100.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbrl_agents.runs.agents import AgentKind
from mbrl_agents.runs.environments import EnvironmentSpec

STUDY_ENVIRONMENTS = ("mbrl/ProcMaze-v0", "mbrl/OpenGrid-v0", "mbrl/ButtonGrid-v0", "mbrl/PanFlute-v0")
STUDY_DISCOUNT = {"gamma": 0.9}
STUDY_Q_LEARNING = {"train_freq": 1, "target_update_interval": 100}


def study(kind: AgentKind, environment: EnvironmentSpec) -> dict[str, Any]:
    """The study's settings as far as an agent has them at all, and not as defaults."""
    if environment.id not in STUDY_ENVIRONMENTS:
        return {}
    settings = STUDY_DISCOUNT | (STUDY_Q_LEARNING if kind.name in ("DQN", "QRDQN") else {})
    known = kind.parameters
    return {name: value for name, value in settings.items() if name in known and known[name].default != value}


def none(kind: AgentKind, environment: EnvironmentSpec) -> dict[str, Any]:
    """Each agent's own defaults."""
    del kind, environment
    return {}


PRESETS: dict[str, Callable[[AgentKind, EnvironmentSpec], dict[str, Any]]] = {"study": study, "none": none}
