"""Metrics of users: functions that measure whatever they like of a learner."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.core.compilation import by_usual_rules, plain_jit

# Of learner, its state, the environment's dynamics (None where there are none) and a raw key; gives a pytree of numbers.
UserMetrics = Callable[[Any, Any, Any, jax.Array], Any]
_OURS = ("score", "diverged", "train/", "rollout/", "time/")


def measure(function: UserMetrics, learner: Any, state: Any, env: Any, key: jax.Array) -> dict[str, jax.Array]:
    """Calls the function and names its numbers, float32, by their paths in the pytree, as in ``"model/error"``.

    Args:
        function: The function; a single number that it gives has its name.
        learner: The learner.
        state: The learner's state.
        env: The environment's dynamics, or None.
        key: Raw key, uint32 (2,).

    Raises:
        ValueError: It gives something else than numbers, or one with a name that this package uses.
    """
    found: dict[str, jax.Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(function(learner, state, env, key)):
        name = jax.tree_util.keystr(path, simple=True, separator="/") or getattr(function, "__name__", "metric")
        try:
            number = jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metrics must give a pytree of numbers, got {leaf!r} for {name!r}") from error
        if number.shape != () or not (
            (jnp.isrealobj(number) and jnp.issubdtype(number.dtype, jnp.number)) or number.dtype == bool
        ):
            raise ValueError(f"metrics must give a pytree of numbers, got {number.dtype}{list(number.shape)} for {name!r}")
        if name in found or name.startswith(_OURS):
            raise ValueError(f"metrics must give other names than {', '.join(_OURS)}, each once, got {name!r}")
        found[name] = number.astype(jnp.float32)
    if not found:
        raise ValueError("metrics must give at least one number, got none")
    return found


def check(function: UserMetrics | None) -> None:
    """Checks that a function is one.

    Raises:
        TypeError: It is not.
    """
    if function is not None and not callable(function):
        raise TypeError(f"metrics must be a function(learner, state, env, key), got {function!r}")


def check_numbers(function: UserMetrics, learner: Any, state: Any, env: Any) -> None:
    """Checks what a function gives, without running it.

    Args:
        function: The function.
        learner: The learner.
        state: The learner's state, or shapes and dtypes of it.
        env: The environment's dynamics, or None.

    Raises:
        Exception: Whatever the function raises when it is traced.
        ValueError: It gives no numbers; see :func:`measure`.
    """

    def measured(state: Any, key: jax.Array) -> dict[str, jax.Array]:
        return measure(function, learner, state, env, key)

    jax.eval_shape(by_usual_rules(measured), state, jax.ShapeDtypeStruct((2,), jnp.uint32))


@functools.lru_cache(maxsize=32)
def compiled(function: UserMetrics, learner: Any, env: Any) -> Any:
    """:func:`measure`, compiled, as a function of the learner's state and the key."""
    return plain_jit(lambda state, key: measure(function, learner, state, env, key))
