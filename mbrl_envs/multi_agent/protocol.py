"""The protocol of environments with several agents: that of one agent, with an axis of agents where it matters."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from gymnasium import spaces

from mbrl_envs.functional import FunctionalEnv, Transition

StateT = TypeVar("StateT")
EventsT = TypeVar("EventsT")


class MultiAgentEnv(FunctionalEnv[StateT, EventsT]):
    """Base class of dynamics with A agents, who act at the same time and whose episodes begin and end together.

    The functions are those of :class:`~mbrl_envs.functional.FunctionalEnv`; ``transition`` takes A actions, int32 (A,), and
    returns A rewards, float32 (A,), ``observe`` returns A observations, (A, …). ``terminated`` stays one bool. The spaces are
    those of one agent, and the same for all, so that agents can share their parameters; what an agent sees therefore says
    which one it is.

    Everything random still comes from ``events``, drawn in the same order as with one agent: with ``num_agents=1`` an
    environment does the same as its single-agent counterpart, number for number.

    Class attributes:
        env_id: Name, as PettingZoo's environments have one (``metadata["name"]``). Not a Gymnasium id.
    """

    env_id: ClassVar[str]

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """Number of agents, A."""

    @property
    def agent_names(self) -> tuple[str, ...]:
        """Names of the agents, in the order of the axis of agents."""
        return tuple(f"player_{i}" for i in range(self.num_agents))

    @property
    @abc.abstractmethod
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""

    @property
    def state_space(self) -> spaces.Space[Any] | None:
        """Gymnasium space of :meth:`global_state`; None if there is none."""
        return None

    def global_state(self, state: StateT) -> np.ndarray:
        """All that there is to see of ``state`` (NumPy leaves), for who trains all agents together. Not traced.

        Raises:
            NotImplementedError: The environment has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no global_state and state_space")

    @abc.abstractmethod
    def transition(self, state: StateT, action: jax.Array, events: EventsT) -> Transition:
        """Applies the actions of all agents, int32 (A,), and ``events``; the reward is float32 (A,)."""

    @abc.abstractmethod
    def observe(self, state: StateT) -> jax.Array:
        """What each agent sees of ``state``, (A, …) with the observation space's shape and dtype."""


def require_one_agent(env: FunctionalEnv, instead: str) -> None:
    """Checks that there is no axis of agents.

    Args:
        env: The dynamics.
        instead: What to use if there is.

    Raises:
        TypeError: ``env`` is a :class:`MultiAgentEnv`.
    """
    if isinstance(env, MultiAgentEnv):
        raise TypeError(f"dynamics must be those of one agent, got {env} with {env.num_agents}: use {instead}")
