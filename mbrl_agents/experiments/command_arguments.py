"""From the command line's arguments to what the functions behind it take."""

from __future__ import annotations

import argparse
import ast
import sys
from typing import Any

from mbrl_agents.experiments import published
from mbrl_agents.experiments.environments import EnvironmentSpec

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
        arguments.env_from_file = arguments.env_id is None
        arguments.env_id = found.environment.id
        arguments.env_constants = found.environment.arguments
        if arguments.max_episode_steps is None:
            arguments.max_episode_steps = found.environment.max_episode_steps
        if arguments.steps is None:
            arguments.steps = found.regime.steps
            if arguments.eval_interval is None:
                arguments.eval_interval = found.regime.eval_interval
        for name in ("n_envs", "eval_episodes", "eval_steps"):
            if getattr(arguments, name) is None:
                setattr(arguments, name, getattr(found.regime, name))
        if found.found is not None:
            print(f"{found.name}: {found.found}", file=sys.stderr)
    if arguments.env_id is None:
        raise ValueError("ENV_ID is missing: say which environment, such as mbrl/PanFlute-v0, or name a --preset")
    if arguments.steps is None:
        arguments.steps = arguments.default_steps
    if arguments.n_envs is None:
        arguments.n_envs = 1
    return found


def training_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all runs of a command have in common, for :func:`~mbrl_agents.experiments.config.make_config`."""
    return {
        "steps": arguments.steps,
        "num_envs": arguments.n_envs,
        "eval_interval": arguments.eval_interval,
        "eval_episodes": arguments.eval_episodes,
        "eval_steps": arguments.eval_steps,
    }


def environment_of(arguments: argparse.Namespace, env_id: str | None = None) -> EnvironmentSpec:
    """The environment that a command names; what it says itself goes before what its preset says."""
    constants = getattr(arguments, "env_constants", {}) | parse_assignments(arguments.env_arg, "--env-arg")
    from_file = env_id is None and getattr(arguments, "env_from_file", False)
    return EnvironmentSpec(env_id or arguments.env_id, constants, arguments.max_episode_steps, from_file=from_file)


def parse_assignments(pairs: list[str], option: str) -> dict[str, Any]:
    """``["gamma=0.9", "policy_kwargs={'net_arch': [64]}"]`` as a dict; values are Python literals or else plain strings.

    Raises:
        ValueError: A pair has no ``=``, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        # A label in front of the name may hold what an identifier may not.
        if not equals or not name.rpartition(".")[2].isidentifier():
            raise ValueError(f"{option} must look like NAME=VALUE, got {pair!r}")
        if name in values:
            raise ValueError(f"{option} {name} is given twice")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def parse_lists(pairs: list[str], option: str) -> dict[str, list[Any]]:
    """``["gamma=0.9,0.99", "net_arch=[[64], [64, 64]]"]`` as lists of values, read as by :func:`parse_assignments`.

    Raises:
        ValueError: A pair has no ``=``, a name comes twice, or there is no value.
    """
    lists: dict[str, list[Any]] = {}
    for name, value in parse_assignments(pairs, option).items():
        if isinstance(value, str):  # no Python literal: plain words
            value = [_literal(part) for part in value.split(",")]
        lists[name] = list(value) if isinstance(value, (list, tuple)) else [value]
        if not lists[name] or "" in lists[name]:
            raise ValueError(f"{option} {name} must have values between its commas, got {value!r}")
    return lists


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
