"""A study's presets in one file: environments × regimes, with settings that agents share and a table of those they do not.

The file is YAML with these keys:

* ``environments``: by name, each an ``environment``, as in :mod:`~mbrl_agents.experiments.preset_files`, and perhaps ``notes``;
* ``regimes``: by name, each with ``total_timesteps``, ``eval_interval``, and ``arguments`` of all agents;
* ``agents``: by name, each an ``agent`` and its ``arguments``;
* ``table``: a CSV file beside it with the columns ``agent, environment, regime, learning_rate, temperature``, a row for each;
* ``n_envs``, ``eval_episodes``, ``eval_steps``, as in a preset's file;
* ``blocks``: not read; a place for settings that agents share by YAML's anchors.
"""

from __future__ import annotations

import csv
import pathlib
from typing import Any

from mbrl_agents.experiments import preset_files
from mbrl_agents.experiments.preset_files import Preset, fields
from mbrl_agents.runs.config import read_yaml

_TUNED = ("learning_rate", "temperature")  # columns of the table
_SIZES = ("n_envs", "eval_episodes", "eval_steps")


def read(path: pathlib.Path) -> dict[str, Preset]:
    """All presets of a study by name, such as ``"procmaze-high"``: the environment's name and the regime's.

    Raises:
        OSError: A file cannot be read.
        ValueError: Something is missing or wrong.
    """
    needed = {"environments", "regimes", "agents", "table", *_SIZES}
    data = fields(read_yaml(path), f"{path}", needed, {"blocks"})
    with (path.parent / data["table"]).open(encoding="utf-8") as file:
        table = {(row["agent"], row["environment"], row["regime"]): row for row in csv.DictReader(file)}
    found: dict[str, dict[str, Any]] = {}
    for name, place in data["environments"].items():
        for regime, amount in data["regimes"].items():
            if missing := [label for label in data["agents"] if (label, name, regime) not in table]:
                raise ValueError(f"{path}: table {data['table']} lacks {', '.join(missing)} in {name}, {regime}")
            rows = {label: table[label, name, regime] for label in data["agents"]}
            found[f"{name.lower()}-{regime}"] = {
                "environment": place["environment"],
                "total_timesteps": amount["total_timesteps"],
                "eval_interval": amount["eval_interval"],
                **{size: data[size] for size in _SIZES},
                **({"notes": place["notes"]} if "notes" in place else {}),
                "agents": {label: _tuned(each, amount["arguments"], rows[label]) for label, each in data["agents"].items()},
            }
    return {name: preset_files.parse(each, f"{path}: {name}", name) for name, each in found.items()}


def _tuned(agent: dict[str, Any], regime: dict[str, Any], row: dict[str, str]) -> dict[str, Any]:
    """An agent with the regime's arguments and those of its row in the table."""
    tuned = {argument: float(row[argument]) for argument in _TUNED}
    return agent | {"arguments": tuned | regime | agent["arguments"]}
