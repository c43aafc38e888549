"""Environments of runs: what is written into a configuration, and what is made of it."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium

from mbrl_envs import FunctionalEnv, FunctionalGymEnv, FunctionalTask, FunctionalVecEnv, functional_task
from mbrl_envs.checks import set_frozen, time_limit
from mbrl_envs.dependencies import advice
from mbrl_envs.multi_agent import MultiAgentEnv

NO_LIMIT = -1
TRUSTED_MODULES = "MBRL_TRUSTED_MODULES"  # environment variable: modules, parted by commas, that ids in files may have imported


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """An environment as plain data.

    Attributes:
        id: Gymnasium id, such as ``"mbrl/PanFlute-v0"`` or ``"CartPole-v1"``.
        arguments: Its constants, as for ``gymnasium.make``; tuples become lists, as they are in files.
        max_episode_steps: Time limit in training; None for the id's own, −1 for none.
        given: Dynamics without an id, which cannot be read back from a file; ``id`` then describes them.
        from_file: Whether it was read from a file, which nobody need have looked at. An id ``"module:name"`` has Gymnasium
            import the module: from a file it is refused, unless that was imported before or ``MBRL_TRUSTED_MODULES`` names it.
    """

    id: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    max_episode_steps: int | None = None
    given: FunctionalEnv | None = dataclasses.field(default=None, compare=False, repr=False)
    from_file: bool = dataclasses.field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        set_frozen(self, arguments=lists(self.arguments))
        time_limit("max_episode_steps", self.max_episode_steps)

    @classmethod
    def of(cls, env: EnvironmentSpec | FunctionalEnv | gymnasium.Env | str) -> EnvironmentSpec:
        """The description of an environment, given in whatever way.

        Raises:
            TypeError: It is none.
            ValueError: It is an environment that cannot be described: neither functional nor made by ``gymnasium.make`` alone.
        """
        if isinstance(env, EnvironmentSpec):
            return env
        if isinstance(env, str):
            return cls(env)
        if isinstance(env, FunctionalEnv):
            return cls(repr(env), {}, NO_LIMIT, env)
        if not isinstance(env, gymnasium.Env):
            raise TypeError(f"env must be a Gymnasium id, environment or functional dynamics, got {type(env).__name__}")
        task, spec = functional_task(env), env.spec
        if task is not None:
            limit = NO_LIMIT if task.max_episode_steps is None else task.max_episode_steps
            if spec is not None and spec.id == getattr(task.env, "env_id", None):
                found = cls(spec.id, _constants(spec), limit)
                if found.dynamics() == task.env:
                    return found
            return cls(repr(task.env), {}, limit, task.env)
        if spec is None or spec.additional_wrappers:
            raise ValueError(f"env must be given by its id: {env} has wrappers or no id, so it could not be made again")
        return cls(spec.id, dict(spec.kwargs), spec.max_episode_steps)

    @classmethod
    def read(cls, data: dict[str, Any]) -> EnvironmentSpec:
        """What :meth:`to_dict` gave and a file has kept.

        Raises:
            TypeError: It is something else.
            ValueError: The time limit is out of range.
        """
        if not isinstance(data, dict) or not isinstance(data.get("id"), str):
            raise TypeError(f"an environment must be a mapping with an id, got {data!r}")
        if unknown := sorted(set(data) - {"id", "arguments", "max_episode_steps"}):
            raise TypeError(f"an environment has no {', '.join(map(repr, unknown))}")
        return cls(**data, from_file=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"id": self.id, "arguments": self.arguments, "max_episode_steps": self.max_episode_steps}

    @property
    def name(self) -> str:
        """A name for titles and folders: the id without namespace and version."""
        return self.id.rpartition("/")[2].rpartition(":")[2].partition("-v")[0]

    @property
    def title(self) -> str:
        """The id with the arguments."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.id}({arguments})" if arguments else self.id

    def make(self, *, max_episode_steps: int | None = None, **more: Any) -> Any:
        """A Gymnasium environment (a ``VecEnv`` if there are several agents); a time limit given here replaces the usual one.

        Raises:
            gymnasium.error.Error, TypeError, ValueError: There is no such environment, or an argument is wrong; or the id is
                from a file and would have a module imported.
        """
        self._check_trusted()
        limit = max_episode_steps if max_episode_steps is not None else self.max_episode_steps
        if isinstance(self.given, MultiAgentEnv):  # no Gymnasium environment: as lanes, of which each agent is one
            return FunctionalVecEnv(self.given, 1, max_episode_steps=limit)
        if self.given is not None:
            env: gymnasium.Env = FunctionalGymEnv(self.given)
            return env if limit is None or limit == NO_LIMIT else gymnasium.wrappers.TimeLimit(env, limit)
        with advice():
            return gymnasium.make(self.id, max_episode_steps=limit, **{**self.arguments, **more})

    def _check_trusted(self) -> None:
        if not self.from_file or self.given is not None:
            return
        trusted = {*sys.modules, *os.environ.get(TRUSTED_MODULES, "").split(",")}
        # Of an environment around another one, the other's id is an argument. Any text before a colon may name a file of code.
        for env_id in (self.id, *_texts(self.arguments)):
            module, colon, _ = env_id.partition(":")
            if colon and module not in trusted:
                raise ValueError(
                    f"environment {env_id!r} was read from a file and would have the module {module!r} imported, which runs "
                    f"its code: if you trust it, set {TRUSTED_MODULES}={module} (in Python: import it first)"
                )

    @functools.cached_property
    def _looked_at(self) -> tuple[FunctionalTask | None, Any]:
        env = self.make()
        task = functional_task(env)
        return task, None if task is None else env  # others may hold much

    def __getstate__(self) -> dict[str, Any]:
        """The fields, for copies and pickles."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def sample(self) -> Any:
        """An environment to look at, such as for its spaces; nobody may step it."""
        task, env = self._looked_at
        return self.make() if task is None else env

    def task(self) -> FunctionalTask | None:
        """Functional dynamics and time limit, or None where there are none."""
        return self._looked_at[0]

    def dynamics(self) -> FunctionalEnv | None:
        """The functional dynamics, or None where there are none."""
        task = self.task()
        return None if task is None else task.env

    def training_env(self, n_envs: int) -> Any:
        """What an agent is trained in: one Gymnasium environment, or a ``VecEnv`` of several."""
        if n_envs == 1:
            return self.make()
        task = self.task()
        if task is not None:
            return FunctionalVecEnv(task.env, n_envs, max_episode_steps=task.max_episode_steps)
        return self.vec_env(n_envs)

    def vec_env(self, n_envs: int, **more: Any) -> Any:
        """A ``VecEnv`` of Gymnasium environments, each in SB3's ``Monitor``."""
        from stable_baselines3.common.env_util import make_vec_env

        return make_vec_env(lambda: self.make(**more), n_envs=n_envs)


def _texts(value: Any) -> Iterator[str]:
    """All strings in plain data, but for names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def lists(value: Any) -> Any:
    """Plain data with lists for tuples, which Python literals have and YAML has not."""
    if isinstance(value, dict):
        return {name: lists(each) for name, each in value.items()}
    return [lists(each) for each in value] if isinstance(value, (list, tuple)) else value


def _constants(spec: Any) -> dict[str, Any]:
    """Constants of one of our environments, as given to ``gymnasium.make``."""
    return {name: value for name, value in spec.kwargs.items() if name not in ("dynamics", "render_mode")}
