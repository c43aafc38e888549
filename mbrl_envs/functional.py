"""The protocol that every environment's dynamics follow.

An environment is a frozen dataclass of constants. Its methods are pure JAX functions of arrays, so they can be
``jit``-ted, ``vmap``-ped and scanned; everything stateful (time limits, automatic resets, seeding, NumPy) lives in
:mod:`mbrl_envs.adapters`, once for all environments.

Randomness enters a step in one place: :meth:`FunctionalEnv.events` draws everything random that may happen in the step,
:meth:`FunctionalEnv.transition` is deterministic given these events. A simulator written in another way can therefore be
fed the same events and compared step by step, and an exact solver can enumerate them.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from mbrl_envs.rendering import Picture

StateT = TypeVar("StateT")
EventsT = TypeVar("EventsT")


class Transition(NamedTuple):
    """What one step of the dynamics returns.

    Attributes:
        state: The next state, a pytree of arrays.
        reward: float32 scalar.
        terminated: bool scalar; True when the *next* state is terminal (Gymnasium's ``terminated``).
    """

    state: Any
    reward: jax.Array
    terminated: jax.Array


class FunctionalEnv(abc.ABC, Generic[StateT, EventsT]):
    """Base class of all dynamics: constants as dataclass fields, behaviour as pure functions.

    Class attributes:
        env_id: Gymnasium id under which the environment is registered.
        continuing: True when the task never terminates; its score is then the mean reward per step.
        max_episode_steps: Time limit with which the environment is registered. There always is one: it is a truncation, to be
            bootstrapped through, so that no tool hangs on a task that never ends, or on a policy that never reaches the goal.
        reset_options: Names of the options that a reset takes, see :meth:`start_with`.
        expensive_reset: True when a reset costs much more than a step, so that batched adapters prepare resets in bulk.

    Raises:
        TypeError, ValueError: A constant is of a wrong type or out of range (of every environment in this package).
    """

    env_id: ClassVar[str]
    continuing: ClassVar[bool]
    max_episode_steps: ClassVar[int] = 1000
    expensive_reset: ClassVar[bool] = False
    reset_options: ClassVar[tuple[str, ...]] = ()

    @property
    def num_agents(self) -> int:
        """Number of agents: one, unless it is a :class:`~mbrl_envs.multi_agent.MultiAgentEnv`."""
        return 1

    @property
    @abc.abstractmethod
    def observation_space(self) -> spaces.Space[Any]:
        """Gymnasium space of one observation."""

    @property
    @abc.abstractmethod
    def action_space(self) -> spaces.Space[Any]:
        """Gymnasium space of one action."""

    @property
    def evaluation_steps(self) -> int:
        """Most steps of an episode by which agents are scored, unless told: 100, as in the published study, or its limit."""
        return min(100, self.max_episode_steps)

    @abc.abstractmethod
    def reset(self, key: jax.Array) -> StateT:
        """Draws the state at the start of an episode from a JAX random key, raw (uint32 (2,)) or typed."""

    @abc.abstractmethod
    def events(self, key: jax.Array) -> EventsT:
        """Draws everything random that may happen in one step, independent of state and action."""

    @abc.abstractmethod
    def transition(self, state: StateT, action: jax.Array, events: EventsT) -> Transition:
        """Applies ``action`` (an int32 scalar, or an array of the action space's shape) and ``events`` to ``state``."""

    @abc.abstractmethod
    def observe(self, state: StateT) -> jax.Array:
        """Returns the observation of ``state``, of the observation space's shape and dtype."""

    @abc.abstractmethod
    def picture(self, state: StateT) -> Picture:
        """Describes ``state`` (NumPy leaves) as cells with a legend, for :mod:`mbrl_envs.rendering`. Not traced."""

    def start_with(self, state: StateT, options: Mapping[str, Any]) -> StateT:
        """Changes the state that was drawn for a start as the options of a reset say. Not traced.

        Args:
            state: The drawn state, NumPy leaves.
            options: Values of some of ``reset_options``. What they do not settle stays as it was drawn.

        Raises:
            TypeError, ValueError: A value is of a wrong type or out of range, or they do not go together.
        """
        del options
        return state

    def info(self, state: StateT) -> dict[str, np.ndarray]:
        """What adapters tell of ``state`` beside its observation, by name: one integer for each state. Not traced.

        Args:
            state: NumPy leaves, possibly with leading axes, which the values then have.
        """
        del state
        return {}

    def step(self, key: jax.Array, state: StateT, action: jax.Array) -> Transition:
        """One step: draws the events from ``key`` and applies them."""
        return self.transition(state, action, self.events(key))
