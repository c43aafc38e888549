"""Refusal to compute in a process that was forked from one in which JAX had been used: it would wait for ever.

JAX computes on threads, and threads do not survive a fork. A child of a process that has only imported JAX is as good as new.
So no adapter touches a device before its first reset, and ``gymnasium.vector.AsyncVectorEnv`` may fork its workers.
"""

from __future__ import annotations

import os
import weakref
from typing import ClassVar, NoReturn

MESSAGE = (
    "JAX had been used in the process that this one was forked from, and would hang here. Start processes with 'spawn' or "
    "'forkserver' (AsyncVectorEnv(..., context='spawn'), multiprocessing.get_context('spawn')), or fork them before anything "
    "computes with JAX, such as the first reset of one of these environments"
)


class Programs:
    """Compiled functions, as attributes, that raise an error in a forked process: at no cost in others, as nothing is asked."""

    functions: ClassVar[tuple[str, ...]]  # names of the attributes

    def __init__(self) -> None:
        _alive.add(self)


def check() -> None:
    """Checks that this process may use JAX.

    Raises:
        RuntimeError: It was forked from one that had used it.
    """
    if _state.lost:
        _refuse()


class _State:
    used_at_fork = False
    lost = False


_alive: weakref.WeakSet[Programs] = weakref.WeakSet()
_state = _State()


def _refuse(*_arguments: object) -> NoReturn:
    raise RuntimeError(MESSAGE)


def _jax_is_used() -> bool:
    """Whether JAX has started its threads. There is no public way to ask that does not start them."""
    try:
        from jax._src.xla_bridge import backends_are_initialized
    except ImportError:  # then we know only of what we have compiled ourselves
        return bool(_alive)
    return backends_are_initialized()


def _before_fork() -> None:
    _state.used_at_fork = _jax_is_used()


def _in_child() -> None:
    if _state.used_at_fork:
        _state.lost = True
        for programs in list(_alive):
            for name in programs.functions:
                setattr(programs, name, _refuse)


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
