"""The policy object that Stable-Baselines3 expects of an agent, around a JAX learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import maybe_transpose
from stable_baselines3.common.utils import is_vectorized_observation

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import num_observations
from mbrl_agents.sb3 import agent_file

Act = Callable[[Any, Any, bool], tuple[Any, Any]]


AGENTS: dict[str, Any] = {}
"""Classes of agents by name, as far as they have been imported: what a saved policy is the policy of."""


class JaxPolicy(BasePolicy):
    """Predicts through a function on NumPy arrays; has no torch parameters.

    Args:
        observation_space: Observation space.
        action_space: Action space.
        act: Maps a batch of observations, what is remembered, and whether to act greedily to actions as learners have them
            and what is remembered from then on.
        actions: What these are to the environment.
        initial_carry: What is remembered at the start of so many episodes; a pytree of arrays (n, …).
        save: Saves the agent to a path.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        act: Act,
        actions: ActionCodec,
        initial_carry: Callable[[int], Any],
        save: Callable[[Any], None],
    ) -> None:
        super().__init__(observation_space, action_space)
        self._act = act
        self._actions = actions
        self._initial_carry = initial_carry
        self._save = save

    def save(self, path: str) -> None:
        """Saves the policy with its weights: an agent's file, which :meth:`load` and the agent's ``load`` read."""
        self._save(path)

    @classmethod
    def load(cls, path: str, device: Any = "auto") -> Self:
        """Loads the policy of a saved agent, or one that was saved by itself. No code in the file is executed.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or of an agent whose class has not been imported.
        """
        name = agent_file.read_data(path).get("class")
        if name not in AGENTS:
            raise ValueError(f"{path} holds a policy of {name!r}: import that class first (imported are {sorted(AGENTS)})")
        return AGENTS[name].load(path, device=str(device)).policy

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.predict`.

        Raises:
            ValueError: The observation is not of the observation space's shape, or the state is none of the agent's.
        """
        batch, vectorized = as_batch(observation, self.observation_space)
        carry = self.carry_of(state, episode_start, num_observations(batch))
        chosen, carry = self._act(batch, carry, deterministic)
        actions = self._actions.to_env(chosen)
        if leaves := jax.tree.leaves(carry):
            state = tuple(np.array(leaf) for leaf in leaves)
        return (actions if vectorized else actions.squeeze(axis=0)), state

    def carry_of(self, state: Any, episode_start: Any, num: int) -> Any:
        """The carry in SB3's ``state``, or the initial one where there is none, and where an episode starts.

        Raises:
            ValueError: The state has other arrays than the agent's.
        """
        initial = self._initial_carry(num)
        first, structure = jax.tree.leaves(initial), jax.tree.structure(initial)
        return jax.tree.unflatten(structure, _remembered(first, state, episode_start)) if first else initial

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        batch, _ = as_batch(observation, self.observation_space)
        return th.as_tensor(self._act(batch, self._initial_carry(num_observations(batch)), deterministic)[0])


def _remembered(first: list[Any], state: Any, episode_start: Any) -> list[np.ndarray]:
    """The arrays of ``state``, or the ``first`` ones where there is none, and where an episode starts.

    Raises:
        ValueError: The state has other arrays.
    """
    own = [np.asarray(each) for each in first]
    if state is None:
        return own
    given, wanted = [np.asarray(each) for each in state], [each.shape for each in own]
    if [each.shape for each in given] != wanted:
        raise ValueError(f"state must be arrays of shapes {wanted}, as predict returns them, got {[e.shape for e in given]}")
    if episode_start is None:
        return given
    starts = np.broadcast_to(np.asarray(episode_start, bool).reshape(-1), len(own[0]))
    return [np.where(starts.reshape(-1, *[1] * (each.ndim - 1)), each, old) for each, old in zip(own, given, strict=True)]


POLICIES: dict[str, type[BasePolicy]] = dict.fromkeys(("MlpPolicy", "CnnPolicy", "MultiInputPolicy"), JaxPolicy)
"""Policies of agents whose networks read all kinds of observations, by name."""


def as_batch(observation: Any, space: spaces.Space[Any]) -> tuple[Any, bool]:
    """One observation, or a batch, as a batch (n, …) of arrays in the space's structure, and whether it was one.

    Images may have their channels first or last, as by SB3's ``maybe_transpose``.

    Raises:
        ValueError: It is not of the space's structure or shape.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inside: Any = space.spaces
        named = isinstance(inside, dict)
        names: Any = list(inside) if named else range(len(inside))
        fits = isinstance(observation, dict if named else (tuple, list)) and len(observation) == len(names)
        if not fits or (named and {*observation} != {*names}):
            raise ValueError(f"observation must have the parts of {space}, got {observation!r}")
        parts = [as_batch(observation[name], inside[name]) for name in names]
        if len({vectorized for _, vectorized in parts}) > 1:
            raise ValueError(f"observation must be one observation of {space} or a batch, got some parts of each kind")
        batches = [batch for batch, _ in parts]
        return dict(zip(names, batches, strict=True)) if named else tuple(batches), parts[0][1]
    array = maybe_transpose(np.asarray(observation), space)
    vectorized = is_vectorized_observation(array, space)
    return array.reshape(-1, *(space.shape or ())), vectorized
