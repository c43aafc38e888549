"""Policies that users bring: what they may be, and what they may return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces


class Predicting:
    """An SB3 agent, or whatever has its ``predict``, as a function of one observation.

    Args:
        agent: The agent; it acts as it does in training (``deterministic=False``).
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def __call__(self, observation: np.ndarray) -> Any:
        """The agent's action."""
        return self.agent.predict(observation, deterministic=False)[0]


def as_function(policy: Any, besides: str = "") -> Callable[..., Any]:
    """A policy as a function.

    Args:
        policy: A function, or an agent with SB3's ``predict``.
        besides: What else it might have been, for the message.

    Raises:
        TypeError: It is neither.
    """
    if hasattr(policy, "predict"):
        return Predicting(policy)
    if not callable(policy):
        raise TypeError(
            f"policy must be {besides}a function of an observation, or an agent with `predict`, got {type(policy).__name__}"
        )
    return policy


def checked_action(given: Any, space: spaces.Space[Any], observation: Any) -> Any:
    """What a policy returned, as an action in the space's own dtype.

    Args:
        given: What it returned.
        space: Actions.
        observation: What it was given, for the message.

    Raises:
        ValueError: It is no action of the space.
    """
    if space.dtype is None and space.contains(given):  # a tuple or dictionary of actions
        return given
    action = np.asarray(given)
    if isinstance(space, spaces.Discrete):
        fits = action.size == 1 and action.dtype.kind in "iu" and space.contains(int(action.item()))
        action = action.reshape(()) if fits else action
    else:
        fits = action.dtype.kind in "iuf" and space.contains(action.astype(space.dtype))
    if not fits:
        raise ValueError(f"policy must return one action of {space}, got {action!r} for {observation!r}")
    return action.astype(space.dtype)
