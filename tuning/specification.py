"""What a study is: an agent, an environment, a search space, how a trial is trained and judged, and who proposes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.config import changes, default_interval
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.old_names import todays_objective, with_todays_names
from mbrl_envs.checks import integer_in, one_of
from tuning.objectives import Objective
from tuning.pruning import Ladder
from tuning.spaces import Range, Space

FORMAT, OLD_FORMAT = "mbrl-study-2", "mbrl-study-1"
SAMPLERS = ("grid", "tpe", "cmaes", "qmc", "random")
_MANY = 2**31 - 1
_INTEGERS = {
    "total_timesteps": (1, _MANY),
    "seeds_per_trial": (1, 10_000),
    "seed": (0, 2**32 - 10_001),
    "sampler_seed": (0, 2**32 - 1),
    "n_envs": (1, 2**20),
    "eval_interval": (1, _MANY),
    "eval_episodes": (1, 2**20),
    "eval_steps": (1, 10_000_000),
}
_OPTIONAL = ("eval_interval", "eval_episodes", "eval_steps")


@dataclasses.dataclass(frozen=True)
class StudySpec:
    """A study as plain data; whoever opens it with another one is told the difference.

    Attributes:
        agent: The agent's name.
        environment: The environment.
        space: What is searched.
        total_timesteps: Transitions of each run.
        arguments: Constructor arguments that all trials share.
        seeds_per_trial: Runs of each trial; all trials have the same seeds, so that they compare.
        seed: The first of them.
        objective: See :mod:`mbrl_agents.experiments.objectives`.
        direction: ``"maximize"`` or ``"minimize"``.
        sampler: ``"grid"``, ``"tpe"``, ``"cmaes"``, ``"qmc"`` or ``"random"``.
        sampler_seed: Decides what it proposes, or in which order a grid is gone through.
        pruning: Whether trials that do badly are stopped early: ``"none"`` (or None), ``"halving"`` or ``"halving-N"``; see
            :mod:`tuning.pruning`.
        n_envs: Environments side by side in each run.
        eval_interval: Timesteps between evaluations; None for about 30 in a run.
        eval_episodes: Episodes of an evaluation; None for the usual number.
        eval_steps: Steps of each; None for the usual number.
    """

    agent: str
    environment: EnvironmentSpec
    space: Space
    total_timesteps: int
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds_per_trial: int = 3
    seed: int = 0
    objective: str = "final"
    direction: str = "maximize"
    sampler: str = "grid"
    sampler_seed: int = 0
    pruning: str | None = "none"
    n_envs: int = 1
    eval_interval: int | None = None
    eval_episodes: int | None = None
    eval_steps: int | None = None

    @property
    def seeds(self) -> list[int]:
        """The seeds of every trial."""
        return list(range(self.seed, self.seed + self.seeds_per_trial))

    @property
    def judge(self) -> Objective:
        """The objective."""
        return self.judge_at(self.total_timesteps)

    def judge_at(self, timestep: int) -> Objective:
        """The objective of runs that end at a timestep: what a trial that has come to a rung is worth."""
        return Objective(self.objective, self.direction, timestep)

    @property
    def ladder(self) -> Ladder:
        """The rungs at which trials are judged."""
        interval = default_interval(self.total_timesteps) if self.eval_interval is None else self.eval_interval
        return Ladder.of(self.pruning, self.total_timesteps, interval, self.judge.sign)

    @property
    def sizes(self) -> dict[str, Any]:
        """How a run is trained and evaluated, for ``train_sweep``."""
        given = {"eval_interval": self.eval_interval, "eval_episodes": self.eval_episodes, "eval_steps": self.eval_steps}
        known = {name: value for name, value in given.items() if value is not None}
        return {"total_timesteps": self.total_timesteps, "n_envs": self.n_envs, **known}

    def settings(self, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Hyperparameters of several points, as ``train_sweep`` takes them: paired lists, and what all have in common."""
        return self.arguments | {name: [point[name] for point in points] for name in self.space.dimensions}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"format": FORMAT, **data, "environment": self.environment.to_dict(), "space": self.space.to_dict()}

    @classmethod
    def from_dict(cls, data: Any, what: str) -> StudySpec:
        """Reads what :meth:`to_dict` gave; ``what`` names the source in messages.

        Raises:
            ValueError: It is something else, or incomplete.
        """
        if not isinstance(data, dict) or data.get("format") not in (FORMAT, OLD_FORMAT):
            raise ValueError(f"{what} is not one of our studies: its description must say format: {FORMAT}")
        fields = {name: value for name, value in data.items() if name != "format"}
        if data["format"] == OLD_FORMAT:
            fields = with_todays_names(fields)
            fields["objective"] = todays_objective(fields.get("objective"), fields.get("direction"))
        try:
            environment = EnvironmentSpec.read(fields.pop("environment"))
            return cls(environment=environment, space=Space.from_dict(fields.pop("space")), **fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{what} has an incomplete description: {error}") from error

    def differences(self, other: dict[str, Any]) -> list[str]:
        """What differs from another description, as ``name: theirs -> ours``."""
        return changes(_as_stored(other), _as_stored(self.to_dict()))

    def check(self) -> StudySpec:
        """Checks everything before anything is written or trained; returns it with plain numbers.

        Raises:
            TypeError, ValueError: Something is unknown, out of range, or does not go together.
        """
        find_agent(self.agent)
        if self.environment.given is not None:
            raise ValueError(f"a study's environment must have an id, so that workers can make it, got {self.environment.id}")
        given = {name: getattr(self, name) for name in _INTEGERS}
        known = {name: value for name, value in given.items() if not (value is None and name in _OPTIONAL)}
        numbers: dict[str, Any] = {name: integer_in(name, value, *_INTEGERS[name]) for name, value in known.items()}
        plain = dataclasses.replace(self, pruning="none" if self.pruning is None else self.pruning, **numbers)
        plain._check_together()
        return plain

    def _check_together(self) -> None:
        _ = self.judge
        _ = self.ladder
        self._check_sampler()
        if both := sorted(set(self.space.dimensions) & set(self.arguments)):
            raise ValueError(f"{', '.join(both)}: in the search space and among the fixed arguments; give it once")
        self._check_space()
        try:
            json.dumps(self.to_dict())
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"arguments must be plain data (numbers, strings, lists, dictionaries), as they are stored: {error}"
            ) from error

    def _check_sampler(self) -> None:
        one_of("sampler", self.sampler, SAMPLERS)
        ranges = [name for name, each in self.space.dimensions.items() if isinstance(each, Range)]
        if self.sampler == "grid" and ranges:
            raise ValueError(
                f"a grid needs lists of values, and {', '.join(ranges)} has a range: give values (grid2:LOW:HIGH), or another "
                "sampler (tpe, cmaes, qmc, random)"
            )
        if self.sampler == "cmaes" and not ranges:
            raise ValueError("cmaes needs at least one range of numbers (log:LOW:HIGH): it knows nothing about lists of values")

    def _check_space(self) -> None:
        """Whether the agent takes every value (of a range, its ends), and all make one program."""
        probes = self.space.probes()
        settings = self.settings([point for _, point in probes])
        sweep = specify(self.agent, self.environment, hyperparameters=settings, seeds=[self.seed], **self.sizes)
        first, *others = [sweep.programs.of(config) for config in sweep.configs]
        structural = dict.fromkeys(name for (name, _), loop in zip(probes[1:], others, strict=True) if loop != first)
        if structural:
            raise ValueError(
                f"{', '.join(map(str, structural))} cannot be searched: it shapes the program, which all trials share. Make a "
                "study for each of its values, and fix it there"
            )


def _as_stored(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data as it is read back from a storage: a tuple is a list there."""
    return json.loads(json.dumps(data))
