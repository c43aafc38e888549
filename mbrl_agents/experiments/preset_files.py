"""What a preset is: an environment, how much to learn, and settings of agents; and presets in files.

A file is YAML, and its name ends in ``.yaml``::

    environment: {id: mbrl/PanFlute-v0, arguments: {num_pipes: 5}, max_episode_steps: -1}
    total_timesteps: 12000
    eval_interval: 1000
    agents:
      replay: {agent: ReplayDQN, arguments: {learning_rate: 1.0e-4, temperature: 0.1}}

It may also have ``n_envs``, ``eval_episodes`` and ``eval_steps``, which are as the options of ``mbrl train``; ``notes``, a text
for readers; and ``found``, which says where the settings come from: the fields of :class:`Found`.

``mbrl train ReplayDQN --preset FILE`` and ``mbrl compare --preset FILE`` read it; ``mbrl tune export`` writes one.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import pathlib
from typing import Any, NamedTuple

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.objectives import DIRECTIONS, checked_objective
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.config import dump, read_yaml
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.old_names import todays_objective, with_todays_names
from mbrl_envs.checks import integer_in, number_in, one_of

ENDING = ".yaml"
_SIZES = {"n_envs": 2**20, "eval_episodes": 2**31 - 1, "eval_steps": 2**31 - 1}  # that a file may have, and the most allowed
_MOST_STEPS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Regime:
    """How much data there is, and how much is learned from it.

    Attributes:
        total_timesteps: Transitions.
        eval_interval: Timesteps between evaluations.
        arguments: Constructor arguments of all agents.
        n_envs: Environments side by side in training.
        eval_episodes: Episodes of an evaluation; None for the usual number.
        eval_steps: Steps of each; None for the usual number.
    """

    total_timesteps: int
    eval_interval: int
    arguments: dict[str, Any]
    n_envs: int = 1
    eval_episodes: int | None = None
    eval_steps: int | None = None


class Found(NamedTuple):
    """Where settings come from: the study in which they won.

    Attributes:
        study: Its name.
        objective: What the number is; see :mod:`mbrl_agents.experiments.objectives`.
        direction: ``"maximize"`` or ``"minimize"``.
        value: The number with which they won: too good, as it is why they were chosen.
        seeds: Seeds of the search.
        fresh_value: The same settings' number on seeds that had no say in the choice; None if nobody has looked.
        fresh_seeds: These seeds.
    """

    study: str
    objective: str
    direction: str
    value: float
    seeds: tuple[int, ...]
    fresh_value: float | None = None
    fresh_seeds: tuple[int, ...] = ()

    def __str__(self) -> str:
        which = "highest" if self.direction == "maximize" else "lowest"
        text = f"found by study {self.study}, {self.objective} score {self.value:.4g} ({which}, seeds {_listed(self.seeds)})"
        fresh = "" if self.fresh_value is None else f", {self.fresh_value:.4g} on fresh seeds {_listed(self.fresh_seeds)}"
        return text + fresh


@dataclasses.dataclass(frozen=True)
class Preset:
    """An environment and a regime, with each agent's tuned settings.

    Attributes:
        name: Such as ``"procmaze-high"``, or a file's.
        environment: The environment, without time limit.
        regime: How much data.
        arguments: Constructor arguments by the preset's name of the agent.
        agents: Class of each agent, and the arguments that tell it from others of its class, by the same names.
        found: Where the settings come from, if it is known.
        notes: What a reader should know.
    """

    name: str
    environment: EnvironmentSpec
    regime: Regime
    arguments: dict[str, dict[str, Any]]
    agents: dict[str, tuple[str, dict[str, Any]]]
    found: Found | None = None
    notes: str = ""

    def for_label(self, label: str, agent: str, given: dict[str, Any]) -> dict[str, Any]:
        """Constructor arguments of the preset's own agent of that name and class, or of any agent, under those given.

        Raises:
            ValueError: It has no such agent, or several.
        """
        if label in self.agents and self._is_meant(label, agent, given):
            return {**self.arguments[label], **given}
        return self.for_agent(agent, given)

    def _is_meant(self, label: str, agent: str, given: dict[str, Any]) -> bool:
        """Whether an agent of the preset is of a class, and nothing given makes another kind of it."""
        name, special = self.agents[label]
        return name == agent and all(given.get(key, value) == value for key, value in special.items())

    def for_agent(self, agent: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Constructor arguments of an agent of ours, under those given.

        Args:
            agent: Name of its class.
            given: Further arguments; ``latent`` decides which of the latent agents it is.

        Raises:
            ValueError: It has no such agent, or several.
        """
        given = given or {}
        found = [label for label in self.agents if self._is_meant(label, agent, given)]
        alike = [label for label in found if self.agents[label] == self.agents[found[0]]]
        if len(alike) > 1:
            raise ValueError(f"preset {self.name!r} has settings for several {agent}: {', '.join(alike)}; it must be one here")
        if found:
            return {**self.arguments[found[0]], **given}
        own = ", ".join(name + (f" ({_shown(special)})" if special else "") for name, special in self.agents.values())
        raise ValueError(f"preset {self.name!r} has settings for {own}, not for {agent}")


def _listed(seeds: tuple[int, ...]) -> str:
    """``0 1 2``, or ``3 to 12`` if there are many in a row."""
    if len(seeds) > 3 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return " ".join(map(str, seeds))


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def write(preset: Preset, path: str | os.PathLike[str]) -> None:
    """Writes a preset into a file.

    Raises:
        ValueError: The name does not end in ``.yaml``.
    """
    if not str(path).endswith(ENDING):
        raise ValueError(f"a preset's file must end in {ENDING}, got {str(path)!r}")
    write_atomically(path, to_yaml(preset))


def to_yaml(preset: Preset) -> bytes:
    """A preset as a file has it."""
    agents = {
        label: {"agent": name, "arguments": special | preset.arguments[label]}
        for label, (name, special) in preset.agents.items()
    }
    regime = preset.regime
    data = {
        "environment": preset.environment.to_dict(),
        "total_timesteps": regime.total_timesteps,
        "eval_interval": regime.eval_interval,
    }
    data |= {name: getattr(regime, name) for name in _SIZES if getattr(regime, name) is not None}
    data |= {"notes": preset.notes} if preset.notes else {}
    data["agents"] = agents
    if preset.found is not None:
        data["found"] = {name: value for name, value in preset.found._asdict().items() if value not in (None, ())}
    return dump(data)


def read(path: str | os.PathLike[str]) -> Preset:
    """Reads a preset from a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no preset: which part is wrong.
    """
    return parse(read_yaml(path), f"{path}", pathlib.Path(path).name)


def is_preset(path: str | os.PathLike[str]) -> bool:
    """Tells presets, which name an environment and agents, from YAML files of other settings.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    data = read_yaml(path)
    return isinstance(data, dict) and {"environment", "agents"} <= set(data)


def parse(data: Any, what: str, name: str) -> Preset:
    """A preset of a name from what a file says; ``what`` names the source in messages.

    Raises:
        ValueError: It is no preset: which part is wrong.
    """
    is_old = isinstance(data, dict) and "steps" in data
    data = with_todays_names(data) if is_old else data
    data = fields(data, what, {"environment", "total_timesteps", "eval_interval", "agents"}, {*_SIZES, "found", "notes"})
    environment = fields(data["environment"], f"{what}: environment", {"id"}, {"arguments", "max_episode_steps"})
    total_timesteps = integer_in(f"{what}: total_timesteps", data["total_timesteps"], 1, _MOST_STEPS)
    interval = integer_in(f"{what}: eval_interval", data["eval_interval"], 1, _MOST_STEPS)
    if not isinstance(notes := data.get("notes", ""), str):
        raise ValueError(f"{what}: notes must be a text, got {notes!r}")
    if not isinstance(data["agents"], dict) or not data["agents"]:
        raise ValueError(f"{what}: agents must name at least one agent, got {data['agents']!r}")
    agents, arguments = {}, {}
    for label, given in data["agents"].items():
        settings = fields(given, f"{what}: agents: {label}", {"agent"}, {"arguments"})
        arguments[label] = copy.deepcopy(settings.get("arguments") or {})  # YAML's anchors share them
        agents[label] = find_agent(settings["agent"]).name, _special(arguments[label])
    sizes = {size: integer_in(f"{what}: {size}", data[size], 1, most) for size, most in _SIZES.items() if size in data}
    regime = Regime(total_timesteps, interval, {}, **sizes)
    found = _found(data["found"], f"{what}: found", is_old) if "found" in data else None
    return Preset(name, EnvironmentSpec.read(environment), regime, arguments, agents, found, notes)


def _found(data: Any, what: str, is_old: bool) -> Found:
    """What a file says about where its settings come from.

    Raises:
        TypeError, ValueError: It is something else.
    """
    data = fields(data, what, {"study", "objective", "direction", "value", "seeds"}, {"fresh_value", "fresh_seeds"})
    if not isinstance(data["study"], str):
        raise ValueError(f"{what}: study must be a text, got {data['study']!r}")
    one_of(f"{what}: direction", data["direction"], DIRECTIONS)
    if is_old:
        data = data | {"objective": todays_objective(data["objective"], data["direction"])}
    checked_objective(data["objective"], f"{what}: objective")
    for name in {"value", "fresh_value"} & set(data):
        number_in(f"{what}: {name}", data[name], -math.inf)
    for name in {"seeds", "fresh_seeds"} & set(data):
        if not isinstance(data[name], list):
            raise ValueError(f"{what}: {name} must be a list of integers, got {data[name]!r}")
        data[name] = tuple(integer_in(f"{what}: {name}", seed, 0, 2**32 - 1) for seed in data[name])
    return Found(**data)


def _special(arguments: dict[str, Any]) -> dict[str, Any]:
    """Argument that tells agents of one class apart: the kind of latent model, or the loss of a model."""
    return {name: value for name, value in arguments.items() if name in ("latent", "model_loss")}


def fields(data: Any, what: str, needed: set[str], others: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
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
