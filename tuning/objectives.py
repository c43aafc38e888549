"""Objectives of studies: one number for a trial, from the learning curves of its runs.

Each run has the number of its curve (:mod:`mbrl_agents.experiments.objectives`), a trial the mean over its runs (seeds). A run
that diverged (its loss was no longer finite, or an evaluation was not) counts with the *worst* evaluation it has shown,
whatever the objective: what it learned before is of no use any more, but the sampler should learn to stay away, which it would
not if the trial failed. Such a trial is never the best one, however good that number is: Optuna is told that it was pruned
(:mod:`tuning.study`). A trial fails only where a run has no finite evaluation at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from optuna.study import StudyDirection

from mbrl_agents.experiments.objectives import DIRECTIONS, checked_objective, objective_value
from mbrl_envs.checks import one_of


class Curve(NamedTuple):
    """The evaluations of a run.

    Attributes:
        seed: Its seed.
        timesteps: When it was evaluated.
        scores: What came out.
        diverged: Whether its loss was no longer finite at some point.
    """

    seed: int
    timesteps: tuple[int, ...]
    scores: tuple[float, ...]
    diverged: bool = False


class Outcome(NamedTuple):
    """What a trial has brought.

    Attributes:
        value: Its number; None if it failed.
        scores: The number of each run; None for one without any finite evaluation.
        diverged: How many runs diverged.
    """

    value: float | None
    scores: tuple[float | None, ...]
    diverged: int


@dataclasses.dataclass(frozen=True)
class Objective:
    """An objective by its name; see the head of this file.

    Attributes:
        name: One of :mod:`mbrl_agents.experiments.objectives`.
        direction: ``"maximize"`` or ``"minimize"``.
        total_timesteps: Timesteps of a whole run.

    Raises:
        ValueError: There is no such objective or direction.
    """

    name: str
    direction: str
    total_timesteps: int

    def __post_init__(self) -> None:
        one_of("direction", self.direction, DIRECTIONS)
        checked_objective(self.name)

    @property
    def sign(self) -> float:
        """1 where more is better, −1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def optuna_direction(self) -> StudyDirection:
        """The direction as Optuna knows it."""
        return StudyDirection.MAXIMIZE if self.direction == "maximize" else StudyDirection.MINIMIZE

    def of_trial(self, curves: Sequence[Curve]) -> Outcome:
        """What a trial's runs say together."""
        scores = tuple(self.of_run(curve) for curve in curves)
        good = [score for score in scores if score is not None]
        value = float(np.mean(good)) if curves and len(good) == len(scores) else None
        return Outcome(value, scores, sum(has_diverged(curve) for curve in curves))

    def of_run(self, curve: Curve) -> float | None:
        """The number of one run; None if it has none."""
        scores = np.asarray(curve.scores, float)
        finite = scores[np.isfinite(scores)]
        if not len(finite):
            return None
        if has_diverged(curve):
            return float(self.sign * (self.sign * finite).min())
        found = objective_value(pd.Series(scores, curve.timesteps), self.name, self.total_timesteps)
        return float(scores[-1]) if found is None else found  # of a run that is to be pruned, say: not yet in the last tenth


def has_diverged(curve: Curve) -> bool:
    """Whether a run has come to numbers that are none."""
    return curve.diverged or not all(math.isfinite(score) for score in curve.scores)
