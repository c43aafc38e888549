"""Presets by name: the study's own settings (``"procmaze-high"`` and so on), and those that come with an agent.

*The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222) tuned step size and temperature of five agents in three
environments and two regimes of data; ``tuned_hyperparameters.csv`` has the 30 results.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
import os
import pathlib
from typing import Any

from mbrl_agents.experiments import preset_files
from mbrl_agents.experiments.environments import NO_LIMIT, EnvironmentSpec
from mbrl_agents.experiments.preset_files import Preset, Regime

# What the study calls its agents, and what they are here.
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "replay": ("ReplayDQN", {}),
    "perfect": ("PerfectModelDQN", {}),
    "simple": ("SimpleModelDQN", {}),
    "categorical": ("LatentModelDQN", {"latent": "categorical"}),
    "gaussian": ("LatentModelDQN", {"latent": "gaussian"}),
}


REGIMES = {
    "high": Regime(1_000_000, 500, {"gradient_steps": 1, "target_update_interval": 100}),
    "low": Regime(100_000, 50, {"gradient_steps": 10, "target_update_interval": 10}),
}


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets by name."""
    text = importlib.resources.files(__package__).joinpath("tuned_hyperparameters.csv").read_text(encoding="utf-8")
    found: dict[str, Preset] = {}
    for row in csv.DictReader(text.splitlines()):
        environment, regime = row["environment"], REGIMES[row["regime"]]
        name = f"{environment.lower()}-{row['regime']}"
        spec = EnvironmentSpec(f"mbrl/{environment}-v0", {}, NO_LIMIT)
        preset = found.setdefault(name, Preset(name, spec, regime, {}, AGENTS))
        tuned = {"learning_rate": float(row["step_size"]), "temperature": float(row["temperature"])}
        preset.arguments[row["agent"]] = AGENTS[row["agent"]][1] | regime.arguments | tuned
    return found


def preset(name: str | os.PathLike[str]) -> Preset:
    """A preset by its name, or from a file (see :mod:`~mbrl_agents.experiments.preset_files`), whose name ends in ``.yaml``.

    Raises:
        ValueError: There is none.
    """
    if str(name).endswith(preset_files.ENDING):
        return preset_files.read(name)
    known, bundled = presets(), _bundled()
    if str(name).lower() in bundled:
        preset = preset_files.read(bundled[str(name).lower()])
        return dataclasses.replace(preset, name=str(name).lower())
    if str(name).lower() not in known:
        names = ", ".join([*known, *bundled])
        raise ValueError(f"there is no preset {str(name)!r}; there are {names}, or files ending in {preset_files.ENDING}")
    return known[str(name).lower()]


@functools.cache
def _bundled() -> dict[str, pathlib.Path]:
    """Files of presets that lie beside the agents they are for, by their names."""
    agents = pathlib.Path(__file__).parents[1]
    return {path.stem: path for path in sorted(agents.glob(f"*/*{preset_files.ENDING}"))}
