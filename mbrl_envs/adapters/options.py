"""What adapters pass between users and dynamics besides observations and actions: options of a reset, and infos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbrl_envs.functional import FunctionalEnv


def known_options(env: FunctionalEnv, options: Any) -> dict[str, Any]:
    """The options of a reset, if these dynamics have them all.

    Args:
        env: The dynamics.
        options: A mapping, or None for none.

    Raises:
        TypeError: It is no mapping.
        ValueError: There is no such option.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be None or a dictionary, got {options!r} of type {type(options).__name__}")
    if unknown := [name for name in options if name not in env.reset_options]:
        allowed = ", ".join(map(repr, env.reset_options)) or "none"
        raise ValueError(f"options of {type(env).__name__} are {allowed}; got {unknown[0]!r}")
    return dict(options)


def informs(env: FunctionalEnv) -> bool:
    """Whether the dynamics have anything to say in infos; see :meth:`FunctionalEnv.info`."""
    return type(env).info is not FunctionalEnv.info
