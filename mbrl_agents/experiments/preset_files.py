"""What a preset is: an environment, how much to learn, and settings of agents; and presets in files.

A file is YAML, and its name ends in ``.yaml``::

    environment: {id: mbrl/PanFlute-v0, arguments: {num_pipes: 5}, max_episode_steps: -1}
    steps: 12000
    eval_interval: 1000
    agents:
      replay: {agent: ReplayDQN, arguments: {learning_rate: 1.0e-4, temperature: 0.1}}

``mbrl train ReplayDQN --preset FILE`` and ``mbrl compare --preset FILE`` read it; ``mbrl tune export`` writes one.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import yaml

from mbrl_agents.common.files import write_atomically
from mbrl_agents.experiments.agents import find_agent
from mbrl_agents.experiments.environments import EnvironmentSpec
from mbrl_envs.checks import integer_in

ENDING = ".yaml"
_MOST_STEPS = 2**31 - 1


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


@dataclasses.dataclass(frozen=True)
class Preset:
    """An environment and a regime, with each agent's tuned settings.

    Attributes:
        name: Such as ``"procmaze-high"``, or a file's.
        environment: The environment, without time limit.
        regime: How much data.
        arguments: Constructor arguments by the preset's name of the agent.
        agents: Class of each agent, and the arguments that tell it from others of its class, by the same names.
    """

    name: str
    environment: EnvironmentSpec
    regime: Regime
    arguments: dict[str, dict[str, Any]]
    agents: dict[str, tuple[str, dict[str, Any]]]

    def for_agent(self, agent: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Constructor arguments of an agent of ours, under those given.

        Args:
            agent: Name of its class.
            given: Further arguments; ``latent`` decides which of the latent agents it is.

        Raises:
            ValueError: It has no such agent.
        """
        for label, (name, special) in self.agents.items():
            wanted = {key: (given or {}).get(key, value) for key, value in special.items()}
            if name == agent and wanted == special:
                return {**self.arguments[label], **(given or {})}
        own = ", ".join(name + (f" ({_shown(special)})" if special else "") for name, special in self.agents.values())
        raise ValueError(f"preset {self.name!r} has settings for {own}, not for {agent}")


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def write(preset: Preset, path: str | os.PathLike[str]) -> None:
    """Writes a preset into a file.

    Raises:
        ValueError: The name does not end in ``.yaml``.
    """
    if not str(path).endswith(ENDING):
        raise ValueError(f"a preset's file must end in {ENDING}, got {str(path)!r}")
    agents = {
        label: {"agent": name, "arguments": special | preset.arguments[label]}
        for label, (name, special) in preset.agents.items()
    }
    regime = preset.regime
    data = {"environment": preset.environment.to_dict(), "steps": regime.steps, "eval_interval": regime.eval_interval}
    write_atomically(path, yaml.safe_dump(data | {"agents": agents}, sort_keys=False, allow_unicode=True).encode())


def read(path: str | os.PathLike[str]) -> Preset:
    """Reads a preset from a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no preset: which part is wrong.
    """
    try:
        data = yaml.safe_load(pathlib.Path(path).read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    data = _fields(data, f"{path}", {"environment", "steps", "eval_interval", "agents"})
    environment = _fields(data["environment"], f"{path}: environment", {"id"}, {"arguments", "max_episode_steps"})
    steps = integer_in(f"{path}: steps", data["steps"], 1, _MOST_STEPS)
    interval = integer_in(f"{path}: eval_interval", data["eval_interval"], 1, _MOST_STEPS)
    if not isinstance(data["agents"], dict) or not data["agents"]:
        raise ValueError(f"{path}: agents must name at least one agent, got {data['agents']!r}")
    agents, arguments = {}, {}
    for label, given in data["agents"].items():
        settings = _fields(given, f"{path}: agents: {label}", {"agent"}, {"arguments"})
        arguments[label] = settings.get("arguments") or {}
        agents[label] = find_agent(settings["agent"]).name, _special(arguments[label])
    return Preset(pathlib.Path(path).name, EnvironmentSpec(**environment), Regime(steps, interval, {}), arguments, agents)


def _special(arguments: dict[str, Any]) -> dict[str, Any]:
    """What tells agents of one class apart: the kind of latent model."""
    return {name: value for name, value in arguments.items() if name == "latent"}


def _fields(data: Any, what: str, needed: set[str], others: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    """The data, if it is a mapping with these keys.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{what} must be a mapping with {', '.join(sorted(needed))}, got {data!r}")
    if missing := needed - set(data):
        raise ValueError(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := set(data) - needed - others:
        allowed = ", ".join(sorted(needed | others))
        raise ValueError(f"{what} must have no key but {allowed}, got {', '.join(sorted(map(str, unknown)))}")
    return data
