"""What a run is: everything needed to repeat it, as plain data."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import yaml
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.core import schedules
from mbrl_agents.runs.agents import AgentKind, find_agent
from mbrl_agents.runs.environments import EnvironmentSpec, lists
from mbrl_agents.runs.evaluation import default_sizes
from mbrl_agents.runs.old_names import with_todays_names
from mbrl_agents.td_dynamics.schedules import PowerSchedule
from mbrl_envs.checks import boolean, integer_in

FORMAT = "mbrl-run-1"
EVALUATIONS = 30  # at least so many in a run, unless another interval is asked for
_MANY = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """When and how an agent is evaluated.

    Attributes:
        interval: Timesteps between evaluations; there is also one before training and one after.
        episodes: Number of episodes.
        steps: Steps of each episode; None for the environment's own time limit.
    """

    interval: int
    episodes: int
    steps: int | None


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A run: one agent, one environment, one seed.

    Attributes:
        label: What tables and curves call the agent; runs that differ only in the seed share it.
        agent: Name of the agent's class.
        arguments: Constructor arguments as given; may hold ``policy``.
        defaults: All other arguments, with the values that they had.
        environment: The environment.
        n_envs: Number of environments side by side in training.
        seed: Seed of everything random.
        total_timesteps: Transitions to train on.
        evaluation: When and how to evaluate.
        save_replay: Whether the replay memory is kept after training.
    """

    label: str
    agent: str
    arguments: dict[str, Any]
    defaults: dict[str, Any]
    environment: EnvironmentSpec
    n_envs: int
    seed: int
    total_timesteps: int
    evaluation: EvaluationConfig
    save_replay: bool = False

    @property
    def kind(self) -> AgentKind:
        """The agent's class."""
        return find_agent(self.agent)

    @property
    def title(self) -> str:
        """Short name for people."""
        return f"{self.label} seed {self.seed}"

    @property
    def is_program(self) -> bool:
        """Whether the run is one in the device loop: all of it is in the saved agent, so it goes on as if never interrupted."""
        arguments = self.defaults | self.arguments
        by_episodes = isinstance(arguments.get("train_freq"), list) and "episode" in arguments["train_freq"]
        on_device = arguments.get("device_loop") is not False and not by_episodes
        return self.kind.ours and on_device and self.environment.dynamics() is not None

    @property
    def settings(self) -> dict[str, Any]:
        """Plain data in which defaults and given arguments are one."""
        data = self._plain()
        return {**data.pop("defaults"), **data.pop("arguments"), **data}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML."""
        return {"format": FORMAT, **self._plain()}

    def _plain(self) -> dict[str, Any]:
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return data | {"environment": self.environment.to_dict(), "evaluation": dataclasses.asdict(self.evaluation)}

    @classmethod
    def from_dict(cls, data: Any, what: str) -> RunConfig:
        """Reads what :meth:`to_dict` gave; ``what`` names the source in messages.

        Raises:
            ValueError: It is something else, or incomplete.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"{what} is not the configuration of a run: it must say format: {FORMAT}")
        try:
            fields = with_todays_names({name: value for name, value in data.items() if name != "format"})
            fields["environment"] = EnvironmentSpec.read(fields["environment"])
            fields["evaluation"] = EvaluationConfig(**fields["evaluation"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{what} is not a complete configuration of a run: {error}") from error


def make_config(
    agent: str | type[BaseAlgorithm],
    environment: EnvironmentSpec,
    *,
    total_timesteps: int,
    seed: int = 0,
    arguments: dict[str, Any] | None = None,
    label: str | None = None,
    n_envs: int = 1,
    eval_interval: int | None = None,
    eval_episodes: int | None = None,
    eval_steps: int | None = None,
    save_replay: bool = False,
    check: bool = True,
) -> RunConfig:
    """A checked configuration, with defaults filled in: agent, environment and arguments exist and go together.

    ``check=False`` leaves it to the caller to make an agent with the arguments' values, which checks these.

    Raises:
        gymnasium.error.Error, TypeError, ValueError: Something is unknown or out of range.
    """
    kind = find_agent(agent)
    given = {name: _plain_schedule(name, value) for name, value in (arguments or {}).items()}
    kind.check_arguments(given)
    integer_in("total_timesteps", total_timesteps, 1, _MANY)
    integer_in("seed", seed, 0, 2**32 - 1)
    integer_in("n_envs", n_envs, 1, 2**20)
    interval = (
        default_interval(total_timesteps) if eval_interval is None else integer_in("eval_interval", eval_interval, 1, _MANY)
    )
    if boolean("save_replay", save_replay) and not kind.ours:
        raise ValueError(f"{kind.name} has no replay memory that can be kept (without pickle)")
    episodes, length = default_sizes(environment.task(), eval_episodes, eval_steps)
    if check:
        kind.unbuilt(environment.sample(), given)
    config = RunConfig(
        label=label or kind.name,
        agent=kind.name,
        arguments=given,
        defaults={name: value for name, value in kind.defaults().items() if name not in given},
        environment=environment,
        n_envs=n_envs,
        seed=seed,
        total_timesteps=total_timesteps,
        evaluation=EvaluationConfig(interval, episodes, length),
        save_replay=save_replay,
    )
    return _through_yaml(config)


def default_interval(total_timesteps: int) -> int:
    """A round number of steps (1, 2 or 5 times a power of ten) that gives at least 30 evaluations where possible."""
    most = max(total_timesteps // EVALUATIONS, 1)
    power = 10 ** (len(str(most)) - 1)
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most)


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """What differs between two runs, as ``name: old -> new``; saying a default aloud is no difference."""
    return changes(old.settings, new.settings)


def changes(old: Any, new: Any) -> list[str]:
    """What differs between two trees of plain data, as ``name: old -> new``."""
    before, after = _flat(old), _flat(new)
    nothing = object()
    return [
        f"{name}: {_shown(before.get(name, nothing), nothing)} -> {_shown(after.get(name, nothing), nothing)}"
        for name in sorted(before | after)
        if before.get(name, nothing) != after.get(name, nothing)
    ]


def dump(data: dict[str, Any]) -> bytes:
    """Plain data as YAML."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """What a YAML file says, as plain data.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not YAML.
    """
    try:
        return yaml.safe_load(pathlib.Path(path).read_bytes())
    except yaml.YAMLError as error:  # also of bytes that are no text
        raise ValueError(f"{path} cannot be read: it is not YAML: {error}") from error


def _through_yaml(config: RunConfig) -> RunConfig:
    """The configuration as it will be read back (a tuple becomes a list), so that old and new ones compare.

    Raises:
        TypeError: An argument cannot be written.
    """
    plain = lists(config.to_dict())
    try:
        text = dump(plain)
    except yaml.YAMLError as error:
        raise TypeError(f"arguments must be plain data (numbers, strings, lists, dictionaries): {error}") from error
    return dataclasses.replace(RunConfig.from_dict(yaml.safe_load(text), "the configuration"), environment=config.environment)


def _plain_schedule(name: str, value: Any) -> Any:
    """A schedule as plain data, if it is one.

    Raises:
        TypeError: It is a function, which cannot be written down.
    """
    if isinstance(value, PowerSchedule):
        return value.to_json()
    if not callable(value) or isinstance(value, type):
        return value
    plain = schedules.to_json(value)
    if isinstance(plain, dict) and plain["schedule"] == "callable":
        raise TypeError(f"{name} must be a number or Stable-Baselines3's LinearSchedule, which can be written, got {value}")
    return plain


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict) or not data:
        return {prefix[:-1]: data}
    return {name: value for key, each in data.items() for name, value in _flat(each, f"{prefix}{key}.").items()}


def _shown(value: Any, nothing: object) -> str:
    return "(not given)" if value is nothing else repr(value)
