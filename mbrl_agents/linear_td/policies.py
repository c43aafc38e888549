"""The policies whose values are learned: pure functions for both loops, and anything callable for the host loop."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_agents.core import keys
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.compilation import by_usual_rules
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.sb3.host_policies import as_function, checked_action
from mbrl_agents.td_dynamics.given_features import TableFeatures
from mbrl_agents.td_dynamics.linear_features import Features, TabularBins

ActionSpace = spaces.Discrete | spaces.Box

UNIFORM = "uniform"
_SAMPLES = 512  # observations on which a policy is tried


@dataclasses.dataclass(frozen=True)
class UniformPolicy:
    """Every action equally often."""

    actions: ActionCodec

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions as learners have them, (n,) or (n, size)."""
        return self.actions.uniform(key, observation.shape[0])


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
        actions: What actions are.
    """

    function: Callable[..., Any]
    takes_key: bool
    actions: ActionCodec

    def in_env(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions as the function returns them, (n, …)."""
        if self.takes_key:
            return jax.vmap(self.function)(observation, jax.random.split(key, observation.shape[0]))
        return jax.vmap(self.function)(observation)

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Actions as learners have them, (n,) or (n, size)."""
        return self.actions.from_env(self.in_env(observation, key))


@dataclasses.dataclass(frozen=True)
class HostPolicy:
    """Anything that maps one observation (a NumPy array) to an action; the host loop calls it.

    Attributes:
        function: The function.
        space: Actions.
    """

    function: Callable[[Any], Any]
    space: ActionSpace = dataclasses.field(hash=False)

    def choose(self, observations: np.ndarray) -> np.ndarray:
        """The environment's actions, (n, …), of observations (n, …).

        Raises:
            ValueError: One is no action of the space.
        """
        return np.stack([checked_action(self.function(each), self.space, each) for each in observations])

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        raise RuntimeError("a policy that is no JAX function cannot be part of a compiled program")


Policy = UniformPolicy | TablePolicy | FunctionPolicy | HostPolicy


def as_policy(given: Any, features: Features, observations: spaces.Space[Any], actions: ActionSpace) -> Policy:
    """Anything that names a policy, as a policy in the given spaces.

    Args:
        given: ``"uniform"``; integers (S,), a discrete action for each cell of the features (a grid, or discrete
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
        return UniformPolicy(ActionCodec.of(actions))
    if isinstance(given, (list, tuple, np.ndarray, jax.Array)):
        return _table(given, features, actions)
    given = as_function(given, besides="'uniform', integers, ")
    given_examples = np.stack([np.asarray(observations.sample()) for _ in range(_SAMPLES)])
    examples = ObservationCodec.of(observations).from_host(given_examples)
    host = HostPolicy(given, actions)
    takes_key = _takes_key(given)
    if _is_traceable(given, examples[0], takes_key, actions):
        policy = FunctionPolicy(given, takes_key, ActionCodec.of(actions))
        found = np.asarray(policy.in_env(jnp.asarray(examples), keys.from_seed(0)))
        for action, observation in zip(found, examples, strict=True):
            checked_action(action, actions, observation)
        if takes_key or _says_the_same(given, examples, found):
            return policy
    host.choose(given_examples[:1])
    return host


def _takes_key(function: Callable[..., Any]) -> bool:
    """Whether it needs a second argument, which is then the random key; one with a default is its own affair."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not say
        return False
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in by_place and each.default is inspect.Parameter.empty for each in arguments) == 2


def _says_the_same(function: Callable[..., Any], examples: np.ndarray, compiled: np.ndarray) -> bool:
    """Whether a function called again and again says the same, which is what it said when it was compiled.

    One that draws from NumPy's generator now and then (ε-greedily, say) is compiled as it was at that moment.
    """
    first, second = (np.stack([np.asarray(function(jnp.asarray(each))) for each in examples]) for _ in range(2))
    # Compiled, a tie may go the other way.
    return np.array_equal(first, second) and bool(np.isclose(first, compiled, rtol=1e-4, atol=1e-5).mean() > 0.99)


def _table(given: Any, features: Features, actions: ActionSpace) -> TablePolicy:
    if not isinstance(actions, spaces.Discrete):
        raise ValueError(f"policy may be a table where actions are Discrete, got {actions}")
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


def _is_traceable(function: Callable[..., Any], example: np.ndarray, takes_key: bool, space: ActionSpace) -> bool:
    """Whether it can be traced, and what it returns then depends on what goes in."""
    traced = []
    kind = jnp.integer if isinstance(space, spaces.Discrete) else jnp.floating

    def watch(*arguments: Any) -> Any:
        action = function(*arguments)
        like_one = isinstance(action, jax.core.Tracer) and action.shape == space.shape
        traced.append(like_one and jnp.issubdtype(action.dtype, kind))
        return action

    arguments = (jnp.asarray(example), keys.from_seed(0)) if takes_key else (jnp.asarray(example),)
    try:
        jax.eval_shape(by_usual_rules(watch), *arguments)
    except Exception:  # whatever a function that is no JAX function may raise
        return False
    return bool(traced and traced[-1])
