"""What a sweep is: which runs there are, and whether they can be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.runs.agents import AgentKind, find_agent
from mbrl_agents.runs.config import RunConfig, make_config
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.programs import Programs
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import FunctionalEnv
from mbrl_envs.checks import integer_in

FORMAT = "mbrl-sweep-1"
MOST_RUNS = 100_000
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
    """The runs of a sweep: every setting of the hyperparameters with every seed.

    Attributes:
        configs: The runs; run ``i`` has setting ``i // len(seeds)`` and seed ``seeds[i % len(seeds)]``.
        settings: For each setting, the hyperparameters that were given as lists.
        seeds: The seeds.
        programs: The programs of the runs.
    """

    configs: list[RunConfig]
    settings: list[dict[str, Any]]
    seeds: list[int]
    programs: Programs = dataclasses.field(compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, by which a sweep in a folder is recognised."""
        first = self.configs[0].to_dict()
        swept = list(self.settings[0])
        common = {name: value for name, value in first["arguments"].items() if name not in swept}
        hyperparameters = {name: [config.arguments[name] for config in self.configs[:: len(self.seeds)]] for name in swept}
        left_out = ("format", "label", "seed", "arguments")
        rest = {name: value for name, value in first.items() if name not in left_out}
        return {"format": FORMAT, **rest, "arguments": common, "hyperparameters": hyperparameters, "seeds": self.seeds}


def specify(
    agent_class: str | type[BaseAlgorithm],
    env: str | gymnasium.Env | FunctionalEnv | EnvironmentSpec,
    *,
    hyperparameters: Mapping[str, Any] | None,
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
    kind = find_agent(agent_class)
    environment = EnvironmentSpec.of(env)
    _check_functional(kind, environment)
    integer_in("total_timesteps", total_timesteps, 1, 2**31 - 1)
    swept, common = _split(kind, dict(hyperparameters or {}))
    settings = [{name: values[i] for name, values in swept.items()} for i in range(_length(swept))]
    seed_list = _seeds(seeds)
    integer_in("the number of runs (settings times seeds)", len(settings) * len(seed_list), 1, MOST_RUNS)
    configs: list[RunConfig] = []
    programs = Programs()
    for setting in settings:
        first = make_config(
            agent_class,
            environment,
            steps=total_timesteps,
            seed=seed_list[0],
            arguments=common | setting,
            label=setting_label(setting) or kind.name,
            num_envs=n_envs,
            eval_interval=eval_interval,
            eval_episodes=eval_episodes,
            eval_steps=eval_steps,
            save_replay=save_replay,
            check=False,
        )
        _check_train_freq(first)
        programs.of(first)  # refuses arguments that do not go together
        configs += [dataclasses.replace(first, seed=seed) for seed in seed_list]
    return SweepSpec(configs, settings, seed_list, programs)


def setting_label(setting: Mapping[str, Any]) -> str:
    """A setting in words, such as ``"learning_rate=0.001, temperature=0.1"``."""
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in setting.items())


def _split(kind: AgentKind, given: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What was given as lists, and what as one value for all runs."""
    for name, instead in _DECIDED.items():
        if name in given:
            raise ValueError(f"hyperparameters: {name!r} cannot be set here; use {instead}")
    kind.check_arguments(given)
    swept = {name: _plain_list(value) for name, value in given.items() if isinstance(value, (list, np.ndarray))}
    return swept, {name: _plain_value(value) for name, value in given.items() if name not in swept}


def _length(swept: dict[str, list[Any]]) -> int:
    lengths = {name: len(values) for name, values in swept.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            "hyperparameters must be lists of one length (setting i has the i-th value of each; mbrl_agents.grid makes all "
            f"combinations), got {shown}"
        )
    if 0 in lengths.values():
        raise ValueError(f"hyperparameters must be lists of at least one value, got none for {', '.join(lengths)}")
    return next(iter(lengths.values()), 1)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, (Sequence, np.ndarray)) and not isinstance(seeds, (str, bytes)):
        found = [integer_in("each of seeds", seed, 0, 2**32 - 1) for seed in seeds]
        if not found or len(set(found)) < len(found):
            raise ValueError(f"seeds must be a number of at least 1, or different seeds, got {list(seeds)}")
        return found
    return list(range(integer_in("seeds", seeds, 1, MOST_RUNS)))


def _check_functional(kind: AgentKind, environment: EnvironmentSpec) -> None:
    if not issubclass(kind.cls, JaxAgent):
        raise ValueError(
            f"agent_class must be one of this package's JAX agents, whose training is a program, got {kind.name}: "
            "`mbrl compare` trains any agent with many seeds, a process on each core"
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
