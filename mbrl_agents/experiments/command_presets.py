"""``mbrl presets``: the names of presets, and everything that one of them says."""

from __future__ import annotations

import argparse
import dataclasses

from mbrl_agents.experiments import preset_files, published
from mbrl_agents.experiments.preset_files import Preset
from mbrl_agents.runs.agents import normalised_name


def presets(arguments: argparse.Namespace) -> int:
    """``mbrl presets``."""
    if arguments.preset is None:
        if arguments.agent is not None:
            raise ValueError("--agent needs the NAME of a preset")
        for name in published.names():
            found = published.preset(name)
            print(f"{name:22} {found.environment.title}, {found.regime.total_timesteps:,} steps: {', '.join(found.agents)}")
        return 0
    found = published.preset(arguments.preset)
    if arguments.agent is not None:
        found = _only(found, arguments.agent)
    print(preset_files.to_yaml(found).decode(), end="")
    return 0


def _only(preset: Preset, agent: str) -> Preset:
    """A preset with one of its agents, or those of a class.

    Raises:
        ValueError: It has none of that name.
    """
    wanted = normalised_name(agent)
    agents = {
        label: each for label, each in preset.agents.items() if wanted in (normalised_name(label), normalised_name(each[0]))
    }
    if not agents:
        raise ValueError(f"preset {preset.name!r} has {', '.join(preset.agents)}, not {agent!r}")
    return dataclasses.replace(preset, agents=agents)
