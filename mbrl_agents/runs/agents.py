"""Agents by name: our own, Stable-Baselines3's and sb3-contrib's."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space

from mbrl_agents.catalogue import AGENTS
from mbrl_agents.core import schedules
from mbrl_agents.sb3.jax_agent import JaxAgent

# What a run sets itself; saying it twice would let the folder claim something else than what was done.
_SET_BY_RUNS = {"seed": "--seed", "env": "the environment's id", "verbose": "nothing: runs report through their folder"}
_NOT_ARGUMENTS = {"self", "env", "_init_setup_model"}


@dataclasses.dataclass(frozen=True)
class AgentKind:
    """A class of agents.

    Attributes:
        name: Its name, as users see it.
        cls: The class.
        package: Where it is from.
    """

    name: str
    cls: type[BaseAlgorithm]
    package: str

    @property
    def ours(self) -> bool:
        """Whether it is one of this package's JAX agents: what they save is no pickle."""
        return issubclass(self.cls, JaxAgent)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The constructor's arguments by name, without the first one (the policy, mostly) and the environment."""
        given = inspect.signature(self.cls).parameters
        return {name: parameter for name, parameter in given.items() if name not in {*_NOT_ARGUMENTS, self.first_argument}}

    @property
    def first_argument(self) -> str:
        """Name of the constructor's first argument: ``"policy"``, but for agents to which something else comes first."""
        return getattr(self.cls, "first_argument", "policy")

    def default_policy(self, observation_space: spaces.Space[Any]) -> str:
        """Name of the usual policy for observations of this kind."""
        kind = "Mlp"
        if isinstance(observation_space, spaces.Dict):
            kind = "MultiInput"
        elif isinstance(observation_space, spaces.Box) and is_image_space(observation_space):
            kind = "Cnn"
        known = getattr(self.cls, "policy_aliases", {})
        usual = [policy for policy in (f"{kind}Policy", f"{kind}LstmPolicy") if policy in known]
        return next(iter(usual or known), f"{kind}Policy")

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Checks names of constructor arguments.

        Raises:
            TypeError: One is unknown.
            ValueError: One is set by the run itself.
        """
        for name, instead in _SET_BY_RUNS.items():
            if name in arguments:
                raise ValueError(f"{self.name}: {name!r} cannot be set this way; use {instead}")
        allowed = self.parameters
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in allowed.values()):
            return
        for name in arguments:
            if name not in allowed and name != self.first_argument:
                settable = [self.first_argument, *(each for each in allowed if each not in _SET_BY_RUNS)]
                raise TypeError(f"{self.name} has no argument {name!r}{_closest(name, settable)}; it has {', '.join(settable)}")

    def defaults(self) -> dict[str, Any]:
        """Default arguments, as plain data; what is no plain data appears as text."""
        return {
            name: _plain(parameter.default)
            for name, parameter in self.parameters.items()
            if parameter.default is not inspect.Parameter.empty and name not in _SET_BY_RUNS
        }

    def make(self, env: Any, arguments: dict[str, Any], seed: int | None, **more: Any) -> BaseAlgorithm:
        """Makes an agent in an environment; ``arguments`` may hold its first argument, ``policy`` mostly."""
        given = dict(arguments)
        first = given.pop(self.first_argument, None)
        if first is None:
            first = self.default_policy(env.observation_space)
        if isinstance(given.get("train_freq"), list):  # YAML knows no tuples, SB3 no lists
            given["train_freq"] = tuple(given["train_freq"])
        for name, value in given.items():
            if isinstance(value, dict) and "schedule" in value:
                given[name] = schedules.from_json(name, value)
        return self.cls(first, env, seed=seed, **given, **more)

    def unbuilt(self, env: Any, arguments: dict[str, Any]) -> BaseAlgorithm | None:
        """An agent without networks, whose constructor has checked its arguments and the environment.

        Returns:
            The agent; None if agents of this kind cannot be made without networks.

        Raises:
            TypeError, ValueError: The constructor refuses.
        """
        if "_init_setup_model" not in inspect.signature(self.cls).parameters:
            return None
        try:
            agent = self.make(env, arguments, seed=0, _init_setup_model=False)
        except AssertionError as error:  # SB3's way of saying no
            raise ValueError(f"{self.name} cannot be trained here: {' '.join(str(error).split())}") from error
        if hasattr(agent, "check_environment"):  # of agents that ask more of an environment than its spaces
            agent.check_environment()
        return agent


@functools.cache
def known_agents() -> dict[str, AgentKind]:
    """All agents by name, our own first."""
    import sb3_contrib
    import stable_baselines3

    modules = {name: importlib.import_module(module) for name, module in AGENTS.items()}
    kinds = {name: AgentKind(name, getattr(module, name), "mbrl_agents") for name, module in modules.items()}
    for module in (stable_baselines3, sb3_contrib):
        for name in module.__all__:
            cls = getattr(module, name)
            if inspect.isclass(cls) and issubclass(cls, BaseAlgorithm):
                kinds.setdefault(name, AgentKind(name, cls, module.__name__))
    return kinds


_OTHERS: dict[str, AgentKind] = {}  # classes of users, by name


def find_agent(agent: str | type[BaseAlgorithm]) -> AgentKind:
    """The agent of a name, in any spelling: ``ReplayDQN``, ``replaydqn``, ``replay-dqn``, ``replay_dqn``; or of a class.

    A class of our own kind that is not one of this package's (a subclass of ``ReplayDQN``, say) has its name from then on.

    Raises:
        TypeError: It is neither a name nor a class of agents.
        ValueError: There is none of that name, or another one.
    """
    if inspect.isclass(agent) and issubclass(agent, BaseAlgorithm):
        return _kind_of(agent)
    if not isinstance(agent, str):
        raise TypeError(f"an agent must be given by its class or name, got {agent!r}")
    by_key = {normalised_name(known): kind for known, kind in (known_agents() | _OTHERS).items()}
    if (kind := by_key.get(normalised_name(agent))) is None:
        known = ", ".join(known_agents())
        raise ValueError(f"there is no agent {agent!r}{_closest(agent, list(known_agents()))}; there are {known}")
    return kind


def _kind_of(cls: type[BaseAlgorithm]) -> AgentKind:
    name = cls.__name__
    if (known := known_agents().get(name)) is not None:
        if known.cls is cls:
            return known
        raise ValueError(f"{cls} must have another name: {name} is {known.package}'s")
    _OTHERS[name] = AgentKind(name, cls, "mbrl_agents" if issubclass(cls, JaxAgent) else cls.__module__)
    return _OTHERS[name]


def normalised_name(name: str) -> str:
    """What two spellings of one name have in common."""
    return name.replace("-", "").replace("_", "").lower()


def _closest(name: str, known: list[str]) -> str:
    by_key = {normalised_name(each): each for each in known}
    close = difflib.get_close_matches(normalised_name(name), list(by_key), n=1, cutoff=0.6)
    return f" (did you mean {by_key[close[0]]!r}?)" if close else ""


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return getattr(value, "__name__", repr(value))
