"""The policies whose values are learned: pure functions for both loops, and anything callable for the host loop."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_agents.common import exploration
from mbrl_agents.td_dynamics.given_features import TableFeatures
from mbrl_agents.td_dynamics.linear_features import Features, TabularBins

UNIFORM = "uniform"
_SAMPLES = 16  # observations on which a policy is tried


@dataclasses.dataclass(frozen=True)
class UniformPolicy:
    """Every action equally often."""

    num_actions: int

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions from 0, int32 (n,)."""
        return exploration.uniform(key, observation.shape[0], self.num_actions)


@dataclasses.dataclass(frozen=True, eq=False)
class TablePolicy:
    """An action for each cell of a grid, or each discrete observation.

    Attributes:
        actions: Actions from 0, int32 (S,).
        cells: The grid; None for discrete observations.
    """

    actions: np.ndarray
    cells: TabularBins | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TablePolicy):
            return False
        return self.cells == other.cells and np.array_equal(self.actions, other.actions)

    def __hash__(self) -> int:
        return hash((self.cells, hashlib.sha256(self.actions.tobytes()).digest()))

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions from 0, int32 (n,)."""
        del key
        return jnp.asarray(self.actions)[observation if self.cells is None else self.cells.cell(observation)]


@dataclasses.dataclass(frozen=True)
class FunctionPolicy:
    """A JAX function of one observation, and of a key if it takes two arguments, to an action of the space.

    Attributes:
        function: The function.
        takes_key: Whether it takes a key.
        start: Smallest action of the space.
    """

    function: Callable[..., Any]
    takes_key: bool
    start: int

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions from 0, int32 (n,)."""
        if self.takes_key:
            actions = jax.vmap(self.function)(observation, jax.random.split(key, observation.shape[0]))
        else:
            actions = jax.vmap(self.function)(observation)
        return actions.astype(jnp.int32) - self.start


@dataclasses.dataclass(frozen=True)
class HostPolicy:
    """Anything that maps one observation (a NumPy array) to an action; the host loop calls it.

    Attributes:
        function: The function.
        space: Actions.
    """

    function: Callable[[Any], Any]
    space: spaces.Discrete = dataclasses.field(hash=False)

    def choose(self, observations: np.ndarray) -> np.ndarray:
        """Actions from 0, int32 (n,), of observations (n, …).

        Raises:
            ValueError: One is no action of the space.
        """
        found = []
        for observation in observations:
            action = np.asarray(self.function(observation))
            if action.size != 1 or action.dtype.kind not in "iu" or not self.space.contains(int(action.item())):
                raise ValueError(f"policy must return one action of {self.space}, got {action!r} for {observation!r}")
            found.append(int(action.item()))
        return np.array(found, np.int32) - np.int32(self.space.start)

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        raise RuntimeError("a policy that is no JAX function cannot be part of a compiled program")


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


Policy = UniformPolicy | TablePolicy | FunctionPolicy | HostPolicy


def as_policy(given: Any, features: Features, observations: spaces.Space[Any], actions: spaces.Discrete) -> Policy:
    """Anything that names a policy, as a policy in the given spaces.

    Args:
        given: ``"uniform"``; integers (S,), an action of the space for each cell of the features (a grid, or discrete
            observations); a JAX function of (observation) or (observation, key) to an action; any other function of one
            observation; or an agent with SB3's ``predict``.
        features: The features.
        observations: Observation space.
        actions: Action space.

    Raises:
        TypeError: It is none of these.
        ValueError: It has not one action for each cell, or returns what is no action.
    """
    if isinstance(given, str):
        if given != UNIFORM:
            raise ValueError(f"policy must be 'uniform' if it is given by name, got {given!r}")
        return UniformPolicy(int(actions.n))
    if isinstance(given, (list, tuple, np.ndarray, jax.Array)):
        return _table(given, features, actions)
    if hasattr(given, "predict"):
        given = Predicting(given)
    if not callable(given):
        raise TypeError(f"policy must be 'uniform', integers, a function or an agent, got {type(given).__name__}")
    examples = np.stack([np.asarray(observations.sample()) for _ in range(_SAMPLES)])
    host = HostPolicy(given, actions)
    for takes_key in (True, False):
        if _is_traceable(given, examples[0], takes_key):
            policy = FunctionPolicy(given, takes_key, int(actions.start))
            found = np.asarray(policy(jnp.asarray(examples), jax.random.PRNGKey(0)))
            if found.shape != (_SAMPLES,) or found.min() < 0 or found.max() >= actions.n:
                raise ValueError(f"policy must return one action of {actions} for one observation, got {found + actions.start}")
            return policy
    host.choose(examples[:1])
    return host


def _table(given: Any, features: Features, actions: spaces.Discrete) -> TablePolicy:
    table = np.asarray(given)
    cells = features if isinstance(features, TabularBins) else None
    if cells is None and not isinstance(features, TableFeatures):
        raise ValueError(f"policy may be a table where features tell cells apart, got features {type(features).__name__}")
    number = cells.num_cells if cells is not None else features.num_inputs
    if table.dtype.kind not in "iu" or table.shape != (number,):
        raise ValueError(f"policy must be {number} integers, an action for each cell, got {table.dtype} {table.shape}")
    table = table.astype(np.int64) - int(actions.start)
    if table.min() < 0 or table.max() >= actions.n:
        raise ValueError(f"policy must have actions of {actions}, got {table.min()} to {table.max()}")
    return TablePolicy(table.astype(np.int32), cells)


def _is_traceable(function: Callable[..., Any], example: np.ndarray, takes_key: bool) -> bool:
    """Whether it is a JAX function: it can be traced, and what it returns depends on what goes in.

    A function that draws from NumPy's generator can be traced as well, once, and would always do the same then.
    """
    traced = []

    def watch(*arguments: Any) -> Any:
        action = function(*arguments)
        traced.append(isinstance(action, jax.core.Tracer) and action.ndim == 0 and jnp.issubdtype(action.dtype, jnp.integer))
        return action

    arguments = (jnp.asarray(example), jax.random.PRNGKey(0)) if takes_key else (jnp.asarray(example),)
    try:
        jax.eval_shape(watch, *arguments)
    except Exception:  # whatever a function that is no JAX function may raise
        return False
    return bool(traced and traced[-1])
