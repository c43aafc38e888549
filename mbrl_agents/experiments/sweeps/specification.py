"""What a sweep is: which runs there are, and whether they can be."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.runs.agents import AgentKind, find_agent, normalised_name
from mbrl_agents.runs.config import RunConfig, make_config
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.programs import Programs
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import FunctionalEnv
from mbrl_envs.checks import integer_in

FORMAT = "mbrl-sweep-1"
MAX_RUNS = 100_000
AGENT, LABEL = "agent", "label"  # columns of settings that name their agents
# What such settings have in common; all others may be added to.
COMMON = ("environment", "n_envs", "total_timesteps", "evaluation")
# Arguments of agents that a sweep decides itself, and what to use instead.
_DECIDED = {
    "env": "the argument env",
    "seed": "the argument seeds",
    "verbose": "the argument progress_bar",
    "tensorboard_log": "the result's table",
    "device": "JAX_PLATFORMS or CUDA_VISIBLE_DEVICES: a sweep runs on all devices that JAX has",
    "device_loop": "nothing: sweeps run on the device loop",
}


def grid(**values: Sequence[Any]) -> dict[str, list[Any]]:
    """All combinations of some hyperparameters' values, as paired lists; the last one changes fastest.

    ``grid(learning_rate=[1e-4, 1e-3], gamma=[0.9, 0.99])`` has 4 settings.

    Raises:
        TypeError, ValueError: A hyperparameter's values are no list, or an empty one.
    """
    for name, each in values.items():
        if isinstance(each, (str, bytes)) or not isinstance(each, (Sequence, np.ndarray)):
            raise TypeError(f"{name} must be a list of values, got {each!r}")
        if len(each) == 0:
            raise ValueError(f"{name} must be a list of at least one value, got {each!r}")
    combinations = list(itertools.product(*values.values()))
    return {name: [combination[i] for combination in combinations] for i, name in enumerate(values)}


@dataclasses.dataclass(frozen=True)
class SweepSpec:
    """The runs of a sweep: every setting with every seed.

    Attributes:
        configs: The runs; run ``i`` has setting ``i // len(seeds)`` and seed ``seeds[i % len(seeds)]``.
        settings: For each setting, what tells it from the others: its swept hyperparameters; if settings name their agents,
            ``label`` and ``agent``.
        seeds: The seeds.
        programs: The programs of the runs that are programs.
    """

    configs: list[RunConfig]
    settings: list[dict[str, Any]]
    seeds: list[int]
    programs: Programs = dataclasses.field(compare=False, repr=False)

    @property
    def num_programs(self) -> int:
        """How many of the runs are programs."""
        return sum(config.is_program for config in self.configs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, by which a sweep in a folder is recognised."""
        first, swept = self.configs[0].to_dict(), list(self.settings[0])
        known = [
            {"label": config.label, "agent": config.agent, **config.arguments} for config in self.configs[:: len(self.seeds)]
        ]
        hyperparameters = {name: [each[name] for each in known] for name in swept}
        if LABEL in swept:  # what the agents' arguments are, the runs say
            return {
                "format": FORMAT,
                **{name: first[name] for name in COMMON},
                "hyperparameters": hyperparameters,
                "seeds": self.seeds,
            }
        common = {name: value for name, value in first["arguments"].items() if name not in swept}
        rest = {name: value for name, value in first.items() if name not in ("format", "label", "seed", "arguments")}
        return {"format": FORMAT, **rest, "arguments": common, "hyperparameters": hyperparameters, "seeds": self.seeds}


def specify(
    agent_class: str | type[BaseAlgorithm] | None,
    env: str | gymnasium.Env | FunctionalEnv | EnvironmentSpec,
    *,
    hyperparameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    seeds: int | Sequence[int],
    total_timesteps: int,
    n_envs: int = 1,
    eval_interval: int | None = None,
    eval_episodes: int | None = None,
    eval_steps: int | None = None,
    save_replay: bool = True,
) -> SweepSpec:
    """Checks everything about a sweep before anything is done; arguments as for :func:`~mbrl_agents.train_sweep`.

    Raises:
        TypeError, ValueError: Something is unknown, out of range, or does not go together.
    """
    environment = EnvironmentSpec.of(env)
    if agent_class is not None:
        _check_names(find_agent(agent_class), environment, hyperparameters or {})
    entries = _entries(agent_class, hyperparameters)
    integer_in("total_timesteps", total_timesteps, 1, 2**31 - 1)
    seed_list = _seeds(seeds)
    integer_in("the number of runs (settings times seeds)", len(entries) * len(seed_list), 1, MAX_RUNS)
    configs: list[RunConfig] = []
    programs = Programs()
    for entry in entries:
        first = make_config(
            entry.kind.cls,
            environment,
            total_timesteps=total_timesteps,
            seed=seed_list[0],
            arguments=entry.arguments,
            label=entry.label,
            n_envs=n_envs,
            eval_interval=eval_interval,
            eval_episodes=eval_episodes,
            eval_steps=eval_steps,
            save_replay=save_replay if entry.kind.ours else False,
            check=False,
        )
        if agent_class is not None:
            _check_train_freq(first)
        # Both refuse arguments that do not go together.
        if first.is_program:
            programs.of(first)
        else:
            entry.kind.unbuilt(environment.sample(), first.arguments)
        configs += [dataclasses.replace(first, seed=seed) for seed in seed_list]
    return SweepSpec(configs, [entry.setting for entry in entries], seed_list, programs)


class _Entry(NamedTuple):
    """A setting: its agent and arguments, what it is called, and what tells it from others."""

    kind: AgentKind
    label: str
    arguments: dict[str, Any]
    setting: dict[str, Any]


def _check_names(kind: AgentKind, environment: EnvironmentSpec, given: Any) -> None:
    """Checks that runs of an agent are programs, and the names of what is given."""
    _check_functional(kind, environment)
    for name, instead in _DECIDED.items():
        if name in given:
            raise ValueError(f"hyperparameters: {name!r} cannot be set here; use {instead}")
    if isinstance(given, Mapping):
        kind.check_arguments(dict(given))


def _entries(agent_class: str | type[BaseAlgorithm] | None, given: Any) -> list[_Entry]:
    """All settings, from columns; or, where they name their agents, from rows."""
    given = {} if given is None and agent_class is not None else given
    if isinstance(given, Mapping):
        swept, common = _split(given)
        entries = [_entry(agent_class, common | own, own) for own in _rows(swept)]
    elif agent_class is None and isinstance(given, Sequence) and given and all(isinstance(each, Mapping) for each in given):
        entries = [_entry(None, {name: _plain_value(value) for name, value in each.items()}, {}) for each in given]
    else:
        raise TypeError(
            f"hyperparameters must be a dictionary; without agent_class, a list of settings that name agents, got {given!r}"
        )
    known: set[str] = set()
    for each in entries if agent_class is None else ():
        if normalised_name(each.label) in known:
            raise ValueError(f"{each.label} is there twice: give one of them another label, as in other={each.kind.name}")
        known.add(normalised_name(each.label))
    return entries


def _entry(agent_class: str | type[BaseAlgorithm] | None, given: dict[str, Any], own: dict[str, Any]) -> _Entry:
    """A setting from all that is given for it, and from what it does not share with all others."""
    if agent_class is not None:
        kind = find_agent(agent_class)
        return _Entry(kind, setting_label(own) or kind.name, given, own)
    if AGENT not in given:
        raise ValueError(f"without agent_class, each setting must name its agent, got {given}")
    kind = find_agent(given[AGENT])
    arguments, own = ({name: value for name, value in each.items() if name not in (AGENT, LABEL)} for each in (given, own))
    label = given.get(LABEL, "_".join([kind.name, *(f"{name}={value}" for name, value in own.items())]))
    if not isinstance(label, str) or not re.fullmatch(r"[\w=][\w=.-]*", label):  # a folder is called so
        raise ValueError(f"a label must consist of letters, digits, '-', '_', '=' and '.', got {label!r}")
    return _Entry(kind, label, arguments, {LABEL: label, AGENT: kind.name} | own)


def setting_label(setting: Mapping[str, Any]) -> str:
    """A setting in words, such as ``"learning_rate=0.001, temperature=0.1"``."""
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in setting.items())


def _split(given: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What was given as lists, and what as one value for all runs."""
    swept = {name: _plain_list(value) for name, value in given.items() if isinstance(value, (list, np.ndarray))}
    return swept, {name: _plain_value(value) for name, value in given.items() if name not in swept}


def _rows(swept: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Settings from columns."""
    lengths = {name: len(values) for name, values in swept.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            "hyperparameters must be lists of one length (setting i has the i-th value of each; mbrl_agents.grid makes all "
            f"combinations), got {shown}"
        )
    if 0 in lengths.values():
        raise ValueError(f"hyperparameters must be lists of at least one value, got none for {', '.join(lengths)}")
    return [{name: values[i] for name, values in swept.items()} for i in range(next(iter(lengths.values()), 1))]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, (Sequence, np.ndarray)) and not isinstance(seeds, (str, bytes)):
        found = [integer_in("each of seeds", seed, 0, 2**32 - 1) for seed in seeds]
        if not found or len(set(found)) < len(found):
            raise ValueError(f"seeds must be a number of at least 1, or different seeds, got {list(seeds)}")
        return found
    return list(range(integer_in("seeds", seeds, 1, MAX_RUNS)))


def _check_functional(kind: AgentKind, environment: EnvironmentSpec) -> None:
    if not issubclass(kind.cls, JaxAgent):
        raise ValueError(
            f"agent_class must be one of this package's JAX agents, whose training is a program, got {kind.name}: "
            "`mbrl compare`, or settings that name their agents, train any agent with many seeds, a process on each core"
        )
    if environment.dynamics() is None:
        raise ValueError(
            f"env must have functional dynamics (one of the mbrl/ environments, without wrappers), got {environment.title}: "
            f"`mbrl compare {environment.id} --agents {kind.name}` trains many seeds there, a process on each core, and "
            f"{kind.name}(...).learn() a single run"
        )


def _check_train_freq(config: RunConfig) -> None:
    frequency = config.arguments.get("train_freq")
    if isinstance(frequency, list) and frequency[1] != "step":
        raise ValueError(f"hyperparameters: train_freq must count steps in a sweep, got {frequency}")


def _plain_list(values: list[Any] | np.ndarray) -> list[Any]:
    return [_plain_value(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


def _plain_value(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else value
