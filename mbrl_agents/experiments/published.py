"""The study's own settings, by name: ``"procmaze-high"`` and so on.

*The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222) tuned step size and temperature of five agents in three
environments and two regimes of data; ``tuned_hyperparameters.csv`` has the 30 results.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
from typing import Any

from mbrl_agents.experiments.environments import NO_LIMIT, EnvironmentSpec

# What the study calls its agents, and what they are here.
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "replay": ("ReplayDQN", {}),
    "perfect": ("PerfectModelDQN", {}),
    "simple": ("SimpleModelDQN", {}),
    "categorical": ("LatentModelDQN", {"latent": "categorical"}),
    "gaussian": ("LatentModelDQN", {"latent": "gaussian"}),
}


@dataclasses.dataclass(frozen=True)
class Regime:
    """How much data there is, and how much is learned from it.

    Attributes:
        steps: Transitions.
        eval_interval: Timesteps between evaluations.
        arguments: Constructor arguments of all agents.
    """

    steps: int
    eval_interval: int
    arguments: dict[str, Any]


REGIMES = {
    "high": Regime(1_000_000, 500, {"gradient_steps": 1, "target_update_interval": 100}),
    "low": Regime(100_000, 50, {"gradient_steps": 10, "target_update_interval": 10}),
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """An environment and a regime, with each agent's tuned settings.

    Attributes:
        name: Such as ``"procmaze-high"``.
        environment: The environment, without time limit.
        regime: How much data.
        arguments: Constructor arguments by the study's name of the agent.
    """

    name: str
    environment: EnvironmentSpec
    regime: Regime
    arguments: dict[str, dict[str, Any]]

    def for_agent(self, agent: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Constructor arguments of an agent of ours, under those given.

        Args:
            agent: Name of its class.
            given: Further arguments; ``latent`` decides which of the latent agents it is.

        Raises:
            ValueError: The study has no such agent.
        """
        for label, (name, special) in AGENTS.items():
            wanted = {key: (given or {}).get(key, value) for key, value in special.items()}
            if name == agent and wanted == special:
                return {**self.arguments[label], **(given or {})}
        own = ", ".join(dict.fromkeys(name for name, _ in AGENTS.values()))
        raise ValueError(f"preset {self.name!r} has settings for {own} (latent: categorical or gaussian), not for {agent}")


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets by name."""
    text = importlib.resources.files(__package__).joinpath("tuned_hyperparameters.csv").read_text(encoding="utf-8")
    found: dict[str, Preset] = {}
    for row in csv.DictReader(text.splitlines()):
        environment, regime = row["environment"], REGIMES[row["regime"]]
        name = f"{environment.lower()}-{row['regime']}"
        spec = EnvironmentSpec(f"mbrl/{environment}-v0", {}, NO_LIMIT)
        preset = found.setdefault(name, Preset(name, spec, regime, {}))
        tuned = {"learning_rate": float(row["step_size"]), "temperature": float(row["temperature"])}
        preset.arguments[row["agent"]] = AGENTS[row["agent"]][1] | regime.arguments | tuned
    return found


def preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        ValueError: There is none.
    """
    known = presets()
    if name.lower() not in known:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(known)}")
    return known[name.lower()]
