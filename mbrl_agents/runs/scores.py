"""What a score means: its name, and what the uniform and the best policy get."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from mbrl_envs import FunctionalEnv
from mbrl_envs.score_table import measure


class Yardsticks(NamedTuple):
    """Scores of the policy that draws every action uniformly, and of the best policy; they differ."""

    uniform: float
    optimal: float

    def normalised(self, scores: Any) -> Any:
        """Scores, of any shape, on the scale from the uniform policy (0) to the best one (1)."""
        return (np.asarray(scores, float) - self.uniform) / (self.optimal - self.uniform)


@functools.lru_cache(maxsize=32)
def known_yardsticks(dynamics: FunctionalEnv | None, steps: int | None) -> Yardsticks | None:
    """Yardsticks of an environment, or None where they are not known or out of reach."""
    if dynamics is None:
        return None
    from mbrl_envs import yardsticks  # needs much of scipy: half a second and 50 MB

    try:
        uniform = yardsticks.uniform_score(dynamics, steps=steps)
        optimal = yardsticks.optimal_score(dynamics, steps=steps)
    except (TypeError, ValueError):
        return None
    # Where there is nothing to decide they say nothing, least of all about predictions.
    return Yardsticks(uniform, optimal) if optimal != uniform else None


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
    return "return" if dynamics is None else measure(dynamics.continuing, steps)
