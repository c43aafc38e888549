"""What a score means: its name, and what the uniform and the best policy get."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from mbrl_envs import FunctionalEnv


class Yardsticks(NamedTuple):
    """Scores of the policy that draws every action uniformly, and of the best policy."""

    uniform: float
    optimal: float

    @property
    def differ(self) -> bool:
        """Whether there is a scale between them."""
        return self.optimal != self.uniform

    def normalised(self, scores: Any) -> Any:
        """Scores, of any shape, on the scale from the uniform policy (0) to the best one (1); NaN where there is none."""
        span = self.optimal - self.uniform if self.differ else np.nan
        return (np.asarray(scores, float) - self.uniform) / span


@functools.lru_cache(maxsize=32)
def known_yardsticks(dynamics: FunctionalEnv | None, steps: int | None) -> Yardsticks | None:
    """Yardsticks of an environment, or None where they are not known or out of reach."""
    if dynamics is None:
        return None
    from mbrl_envs import yardsticks  # needs much of scipy: half a second and 50 MB

    try:
        uniform = yardsticks.uniform_score(dynamics, steps=steps)
        found = Yardsticks(uniform, yardsticks.optimal_score(dynamics, steps=steps))
    except (TypeError, ValueError):
        return None
    return found if found.differ else None  # where there is nothing to decide they say nothing, least of all about predictions


def yardsticks_of(agent: type, dynamics: FunctionalEnv | None, steps: int | None) -> Yardsticks | None:
    """The yardsticks for scores of a class of agents; None for one whose scores are no returns (see :func:`score_name`)."""
    return None if getattr(agent, "score_name", None) else known_yardsticks(dynamics, steps)


def score_name(agent: type, dynamics: FunctionalEnv | None, steps: int | None) -> str:
    """What the scores of a class of agents are, for axes and tables.

    Args:
        agent: The class; one that predicts instead of acting says what its scores are, in ``score_name``.
        dynamics: The environment's dynamics, if it is functional.
        steps: Steps of an evaluation's episodes.
    """
    if (own := getattr(agent, "score_name", None)) is not None:
        return own
    if dynamics is None:
        return "return"
    return f"reward per step, first {steps} steps" if dynamics.continuing else f"return, at most {steps} steps"
