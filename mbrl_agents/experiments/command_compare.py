"""``mbrl compare``: a sweep whose settings name their agents."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from mbrl_agents.experiments import command_sweep, presets, published
from mbrl_agents.experiments.command_arguments import environment_of, with_preset
from mbrl_agents.experiments.commands import DEFAULT_AGENTS
from mbrl_agents.experiments.sweeps.specification import AGENT, LABEL
from mbrl_agents.runs.agents import find_agent, normalised_name
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.checks import integer_in


def compare(arguments: argparse.Namespace) -> int:
    """``mbrl compare``."""
    preset = with_preset(arguments)
    integer_in("--seeds", arguments.seeds, 1, 10_000)
    if arguments.jobs is not None:
        integer_in("--jobs", arguments.jobs, 1, 1024)
    environment = environment_of(arguments)
    path = pathlib.Path(arguments.out or pathlib.Path("runs") / f"compare_{environment.name}")
    settings = _settings(arguments, environment, preset)
    seeds = list(range(arguments.seed, arguments.seed + arguments.seeds))
    command_sweep.use_one_thread()
    more = {"n_jobs": arguments.jobs, "save_replay": False, "keep_going": True}
    return command_sweep.run(path, None, environment, settings, seeds, arguments, **more)


def _settings(
    arguments: argparse.Namespace, environment: EnvironmentSpec, preset: published.Preset | None
) -> list[dict[str, Any]]:
    """Settings of the agents named, or of those of the preset."""
    given = parse_assignments(arguments.set, "--set")
    if preset is None:
        entries = parse_entries(arguments.agents or DEFAULT_AGENTS, given)
        return [_with_preset(each, environment, arguments.preset) for each in entries]
    # The preset's names of its agents are labels here.
    known = {normalised_name(label): f"{label}={name}" for label, (name, _) in preset.agents.items()}
    names = [known.get(normalised_name(name), name) for name in arguments.agents or list(preset.agents)]
    found = []
    for each in parse_entries(names, given):
        label, agent = each.pop(LABEL), each.pop(AGENT)
        found.append({LABEL: label, AGENT: agent} | preset.for_label(label, agent, each))
    return found


def parse_entries(names: Sequence[str], given: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings from the command line: ``label``, ``agent``, and the agent's arguments.

    Args:
        names: Agents' names, or ``label=name``.
        given: Arguments by ``label.argument``, or by ``argument`` for all agents.

    Raises:
        ValueError: A name is unknown, or an argument is for nobody.
    """
    found: list[dict[str, Any]] = []
    for name in names:
        label, _, agent = name.rpartition("=")
        kind = find_agent(agent)
        found.append({LABEL: label or kind.name, AGENT: kind.name})
    # The more special settings come last, so that they win.
    for name, value in sorted(given.items(), key=lambda item: "." in item[0]):
        label, dot, argument = name.rpartition(".")
        meant = [each for each in found if not dot or normalised_name(each[LABEL]) == normalised_name(label)]
        if not meant:
            labels = ", ".join(each[LABEL] for each in found)
            raise ValueError(f"--set {name}: there is no agent {label!r} in this comparison; there are {labels}")
        if argument in (LABEL, AGENT):
            raise ValueError(f"--set {name}: no agent has an argument {argument!r}; --agents LABEL=AGENT names both")
        for each in meant:
            each[argument] = value
    return found


def _with_preset(setting: dict[str, Any], environment: EnvironmentSpec, preset: str) -> dict[str, Any]:
    """A setting with a preset's arguments where it has none of its own; says so."""
    wanted = presets.PRESETS[preset](find_agent(setting[AGENT]), environment)
    added = {name: value for name, value in wanted.items() if name not in setting}
    if added:
        text = ", ".join(f"{name}={value}" for name, value in added.items())
        print(f"{setting[LABEL]} gets {text} (--preset none for its own defaults)", file=sys.stderr)
    return setting | added
