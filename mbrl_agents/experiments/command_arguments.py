"""From the command line's arguments to what the functions behind it take."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mbrl_agents.experiments import published
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs.assignments import literal, parse_assignments, split_assignments

OTHER_PRESETS = ("study", "none")  # of mbrl compare; see mbrl_agents.experiments.presets


def preset_of(arguments: argparse.Namespace) -> published.Preset | None:
    """The preset (one of the study's, or a file) that a command names, if it does; ``"study"`` and ``"none"`` are none.

    Raises:
        ValueError: There is none of the name, or it is for another environment.
    """
    if arguments.preset in (None, *OTHER_PRESETS):
        return None
    found = published.preset(arguments.preset)
    if arguments.env_id not in (None, found.environment.id):
        raise ValueError(f"preset {found.name!r} is for {found.environment.id}, got {arguments.env_id}")
    return found


def with_preset(arguments: argparse.Namespace) -> published.Preset | None:
    """Fills in what a preset says and the command line does not: environment, time limit, steps, evaluations.

    Where the preset's settings come from is said on the error output, if the preset says it.
    """
    if (found := preset_of(arguments)) is not None:
        # An id that is typed is the preset's as well, but its arguments may name environments, too.
        arguments.env_from_file = arguments.env_id is None or bool(found.environment.arguments)
        arguments.env_id = found.environment.id
        arguments.env_constants = found.environment.arguments
        if arguments.max_episode_steps is None:
            arguments.max_episode_steps = found.environment.max_episode_steps
        if arguments.total_timesteps is None:
            arguments.total_timesteps = found.regime.total_timesteps
            if arguments.eval_interval is None:
                arguments.eval_interval = found.regime.eval_interval
        for name in ("n_envs", "eval_episodes", "eval_steps"):
            if getattr(arguments, name) is None:
                setattr(arguments, name, getattr(found.regime, name))
        if found.found is not None:
            print(f"{found.name}: {found.found}", file=sys.stderr)
    if arguments.env_id is None:
        raise ValueError("ENV_ID is missing: say which environment, such as mbrl/PanFlute-v0, or name a --preset")
    if arguments.total_timesteps is None:
        arguments.total_timesteps = arguments.default_total_timesteps
    if arguments.n_envs is None:
        arguments.n_envs = 1
    return found


def training_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all runs of a command have in common, for :func:`~mbrl_agents.runs.config.make_config`."""
    return {
        "total_timesteps": arguments.total_timesteps,
        "n_envs": arguments.n_envs,
        "eval_interval": arguments.eval_interval,
        "eval_episodes": arguments.eval_episodes,
        "eval_steps": arguments.eval_steps,
    }


def environment_of(arguments: argparse.Namespace, env_id: str | None = None) -> EnvironmentSpec:
    """The environment that a command names; what it says itself goes before what its preset says."""
    constants = getattr(arguments, "env_constants", {}) | parse_assignments(arguments.env_arg, "--env-arg")
    from_file = env_id is None and getattr(arguments, "env_from_file", False)
    return EnvironmentSpec(env_id or arguments.env_id, constants, arguments.max_episode_steps, from_file=from_file)


def parse_lists(pairs: list[str], option: str) -> dict[str, list[Any]]:
    """``["gamma=0.9,0.99", "net_arch=[[64], [64, 64]]"]`` as lists of values, read as by :func:`parse_values`.

    Raises:
        ValueError: A pair has no ``=``, a name comes twice, or there is no value.
    """
    return {name: parse_values(text, f"{option} {name}") for name, text in split_assignments(pairs, option).items()}


def parse_values(text: str, what: str) -> list[Any]:
    """``"0.9,0.99"`` as a list of values: Python literals, or else plain words.

    Raises:
        ValueError: There is none, or none between two commas.
    """
    value = literal(text)
    if isinstance(value, str):  # no Python literal: plain words
        value = [literal(part.strip()) for part in value.split(",")]
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values or "" in values:
        raise ValueError(f"{what} must have values between its commas, got {value!r}")
    return values
