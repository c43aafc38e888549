"""Published settings of networks that are fitted to trials, one file each, complete.

Presets (``mbrl train --preset``) are about learning in environments; here it is about trials, epochs and network sizes.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
from typing import Any

import gymnasium
import yaml

from mbrl_envs.checks import one_of
from mbrl_envs.conditioning import ConditioningTask, Trial, sample_trials
from mbrl_envs.conditioning.trials import conditioning_task

NAMES = ("starkweather", "babayan", "two-cues")


@dataclasses.dataclass(frozen=True)
class Study:
    """Settings of a study.

    Attributes:
        environment: Gymnasium id and arguments of the task.
        episodes: Number of episodes that are learned.
        trials_per_episode: Trials of each; None where episodes end by themselves.
        sizes: Numbers of hidden units.
        network: Arguments of :class:`~mbrl_agents.ValueRNN`, without the size.
        fit: Arguments of :meth:`ValueRNN.fit <mbrl_agents.ValueRNN.fit>`.
        analysis: Arguments of :mod:`mbrl_agents.value_rnn.analysis`.
        shown: Sizes of reward that are shown after learning, where these are others than those learned.
    """

    environment: dict[str, Any]
    episodes: int
    sizes: tuple[int, ...]
    network: dict[str, Any]
    fit: dict[str, Any]
    trials_per_episode: int | None = None
    analysis: dict[str, Any] = dataclasses.field(default_factory=dict)
    shown: tuple[float, ...] = ()

    def task(self, **changes: Any) -> ConditioningTask:
        """The task, with some of its arguments changed."""
        return conditioning_task(gymnasium.make(self.environment["id"], **(self.environment["arguments"] | changes)))

    def trials(self, seed: int, episodes: int | None = None, **changes: Any) -> list[Trial]:
        """Episodes of the task, as many as are learned or another number."""
        number = self.episodes if episodes is None else episodes
        return sample_trials(self.task(**changes), number, seed=seed, trials_per_episode=self.trials_per_episode)


def study(name: str) -> Study:
    """A published study: ``"starkweather"``, ``"babayan"`` or ``"two-cues"`` (the public example).

    Raises:
        ValueError: There is no such study.
    """
    file = importlib.resources.files(__package__).joinpath(f"{one_of('name', name, NAMES)}.yaml")
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Study(**(data | {field: tuple(data[field]) for field in ("sizes", "shown") if field in data}))
