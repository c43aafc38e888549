"""The public functions, and the register of environment families that answers them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, overload

import gymnasium
import numpy as np

from mbrl_envs.checks import integer_in
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.functional_task import required_task

AnyEnv: TypeAlias = FunctionalEnv[Any, Any] | gymnasium.Env[Any, Any] | str
MAX_STEPS = 10_000


class Score(NamedTuple):
    """A score and how well it is known.

    Attributes:
        value: Episodic tasks: expected return of an episode. Continuing tasks: expected reward per step.
        standard_error: Standard error of ``value``, same unit. 0.0 where the number is exact (to rounding); positive where it
            is a mean over randomly drawn layouts, each of them solved exactly.
    """

    value: float
    standard_error: float = 0.0


Solver: TypeAlias = Callable[[Any, int | None], Score]


def _unknown(env: Any, steps: int | None) -> Score:
    known = ", ".join(sorted(cls.__name__ for cls in optimal_solver.registry if cls is not object))
    raise TypeError(f"env must be an environment with known yardsticks ({known}), got {type(env).__name__}")


# A family registers its two solvers, functions of (env, steps), under the class of its dynamics.
optimal_solver = functools.singledispatch(_unknown)
uniform_solver = functools.singledispatch(_unknown)


def _resolve(env: AnyEnv, steps: int | None) -> tuple[FunctionalEnv[Any, Any], int | None]:
    """The dynamics behind an id, a Gymnasium environment or the dynamics themselves; and the number of steps, if it fits."""
    steps = None if steps is None else integer_in("steps", steps, 1, MAX_STEPS)
    if isinstance(env, FunctionalEnv):
        return env, steps
    task = required_task(env)
    limit = task.max_episode_steps
    if steps is not None and limit is not None and steps > limit:
        raise ValueError(f"steps must be at most the environment's own time limit of {limit}, or None, got {steps}")
    return task.env, steps


def optimal(env: AnyEnv, *, steps: int | None = None) -> Score:
    """The score of the best policy, with its standard error.

    Args:
        env: A :class:`~mbrl_envs.functional.FunctionalEnv`, a Gymnasium id such as ``"mbrl/PanFlute-v0"``, or a Gymnasium
            environment made from one.
        steps: None for the long run, without any time limit. Else a number of steps from reset, at least 1 and at most the
            environment's own time limit, if it has one: the cap on an episode's length (episodic tasks), or the steps over
            which the reward is averaged (continuing tasks).

    Returns:
        The score; see :class:`Score`.

    Raises:
        TypeError: ``env`` has no yardsticks, or ``steps`` is not an integer.
        ValueError: ``env`` has no functional dynamics, ``steps`` is out of range, or the number is out of reach for these
            arguments (the message says what is not).
        gymnasium.error.Error: There is no such id.
    """
    return optimal_solver(*_resolve(env, steps))


def uniform(env: AnyEnv, *, steps: int | None = None) -> Score:
    """The score of the policy that draws every action uniformly, with its standard error.

    Arguments, result and errors as for :func:`optimal`.
    """
    return uniform_solver(*_resolve(env, steps))


def optimal_score(env: AnyEnv, *, steps: int | None = None) -> float:
    """The score of the best policy: ``optimal(env, steps=steps).value``; see :func:`optimal`."""
    return optimal(env, steps=steps).value


def uniform_score(env: AnyEnv, *, steps: int | None = None) -> float:
    """The score of the uniformly random policy: ``uniform(env, steps=steps).value``; see :func:`uniform`."""
    return uniform(env, steps=steps).value


@overload
def normalised_score(env: AnyEnv, score: float, *, steps: int | None = None) -> float: ...
@overload
def normalised_score(env: AnyEnv, score: np.ndarray, *, steps: int | None = None) -> np.ndarray: ...
def normalised_score(env: AnyEnv, score: float | np.ndarray, *, steps: int | None = None) -> float | np.ndarray:
    """Puts scores on a scale on which the uniform policy has 0 and the best policy 1.

    ``(score − uniform) / (optimal − uniform)``.

    Args:
        env: As for :func:`optimal`.
        score: One score, or an array of scores of any shape.
        steps: As for :func:`optimal`; it must say how ``score`` was measured.

    Returns:
        A float for a number, an array of the same shape for an array.

    Raises:
        TypeError: As for :func:`optimal`.
        ValueError: As for :func:`optimal`, or both policies score the same, so that there is no scale.
    """
    low, high = uniform_score(env, steps=steps), optimal_score(env, steps=steps)
    if high == low:
        raise ValueError(f"score cannot be normalised: with steps={steps} every policy scores {low:g} in {env}")
    scaled = (np.asarray(score, dtype=np.float64) - low) / (high - low)
    return scaled if isinstance(score, np.ndarray) else float(scaled)
