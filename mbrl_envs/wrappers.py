"""Wrappers around environments of any kind."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl_envs.cart_pole import MAX_DISTRACTORS
from mbrl_envs.checks import checked_seed, integer_in
from mbrl_envs.dependencies import advice


class Distractors(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    """Appends numbers that mean nothing to the observations: independent, N(0, 1), new ones at every reset and step.

    They come from a generator of their own, so the environment itself does what it does without them. After
    ``reset(seed=...)`` they are always the same. Wrapped around each other, each has a generator of its own, too.

    Args:
        env: Environment whose observations are a Box of real numbers with one axis.
        num_distractors: How many, 0 to 1024.

    Raises:
        TypeError: ``num_distractors`` is no integer.
        ValueError: It is out of range, or the observations are others.
    """

    def __init__(self, env: gymnasium.Env, num_distractors: int) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, num_distractors=num_distractors)
        gymnasium.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.dtype.kind != "f":
            raise ValueError(f"env must have real-valued Box observations of one axis to append distractors to, got {space}")
        self.num_distractors = integer_in("num_distractors", num_distractors, 0, MAX_DISTRACTORS)
        infinite = np.full(self.num_distractors, np.inf, space.dtype)
        low, high = np.concatenate([space.low, -infinite]), np.concatenate([space.high, infinite])
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)
        self._depth = _wrapped(env)
        self._generator = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """See :meth:`gymnasium.Env.reset`."""
        if seed is not None:
            seed = checked_seed(seed)
            own = (self._depth,) if self._depth else ()
            self._generator = np.random.default_rng(np.random.SeedSequence([seed, self.num_distractors], spawn_key=own))
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_distractors(observation), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """See :meth:`gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_distractors(observation), reward, terminated, truncated, info

    def _with_distractors(self, observation: np.ndarray) -> np.ndarray:
        drawn = self._generator.standard_normal(self.num_distractors)
        return np.concatenate([observation, drawn], dtype=self.observation_space.dtype)


def _wrapped(env: gymnasium.Env) -> int:
    """How many :class:`Distractors` there are around an environment."""
    number = 0
    while isinstance(env, gymnasium.Wrapper):
        number, env = number + isinstance(env, Distractors), env.env
    return number


def make_distracted(env_id: str, num_distractors: int, time_limit: int | None = None, **arguments: Any) -> Distractors:
    """An environment of an id with :class:`Distractors`, its time limit included; registered as ``mbrl/Distracted-v0``.

    Args:
        env_id: Gymnasium id, such as ``"HalfCheetah-v5"``.
        num_distractors: How many, 0 to 1024.
        time_limit: Most steps of an episode; None for the id's own limit, −1 for none. (``max_episode_steps``, which
            ``gymnasium.make`` keeps to itself, can only shorten episodes.)
        **arguments: The environment's own arguments.

    Raises:
        gymnasium.error.Error, TypeError, ValueError: There is no such environment, or an argument is wrong.
    """
    with advice():
        return Distractors(gymnasium.make(env_id, max_episode_steps=time_limit, **arguments), num_distractors)
