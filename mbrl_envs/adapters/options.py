"""What adapters pass between users and dynamics besides observations and actions: options of a reset, and infos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbrl_envs.functional import FunctionalEnv


def known_options(env: FunctionalEnv, options: Any, *, others: bool = False) -> dict[str, Any]:
    """The options of a reset that these dynamics have.

    Args:
        env: The dynamics.
        options: A mapping, or None for none.
        others: Whether there may be others, which are left out; PettingZoo's tests give some to every environment.

    Raises:
        TypeError: It is no mapping.
        ValueError: There is no such option.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be None or a dictionary, got {options!r} of type {type(options).__name__}")
    if not others and (unknown := [name for name in options if name not in env.reset_options]):
        allowed = ", ".join(map(repr, env.reset_options)) or "none"
        raise ValueError(f"options of {type(env).__name__} are {allowed}; got {unknown[0]!r}")
    return {name: value for name, value in options.items() if name in env.reset_options}


def informs(env: FunctionalEnv) -> bool:
    """Whether the dynamics have anything to say in infos; see :meth:`FunctionalEnv.info`."""
    return type(env).info is not FunctionalEnv.info
